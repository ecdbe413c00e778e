//! What every stream of changes must do.
//!
//! Three suites, as not every stream of a test can do everything: [`stream()`] for all, [`reshaping()`] where shards can be
//! split and merged, [`losing()`] where records, shards and cursors can be made to go.
#![expect(clippy::unwrap_used, reason = "a clause fails by panicking, as a test does")]

pub mod losing;
pub mod reshaping;

use async_trait::async_trait;

use super::table::schema;
use crate::domain::change::{Change, Event, Image, Record};
use crate::domain::key::Key;
use crate::domain::number::Number;
use crate::domain::value::{Item, Value};
use crate::ports::failure::{Failure, FailureKind};
use crate::ports::stream::{
    ChangeStream, Cursor, MAX_RECORDS_PER_PAGE, ReadFrom, RecordPage, Shard, ShardState, StreamStatus,
};

pub use losing::{Loses, losing};
pub use reshaping::{Reshapes, reshaping};

/// Empty pages in a row after which an open shard holds no more.
const EMPTY_PAGES: usize = 5;

/// Pages after which a listing or a shard that does not end is taken for endless.
const PAGES: usize = 10_000;

/// A stream, and who changes the table whose changes it carries.
#[async_trait]
pub trait Source: Send + Sync {
    /// The stream.
    fn stream(&self) -> &dyn ChangeStream;

    /// Inserts [`item`] of this number; the change goes into an open shard.
    async fn insert(&self, number: u32);
}

/// The item of a number; all have one partition key, and with it one shard at any time.
#[must_use]
pub fn item(number: u32) -> Item {
    let at = Value::N(Number::parse(&number.to_string()).expect("a number"));
    let value = Value::L(vec![Value::B(vec![0, 255]), Value::S(format!("value {number}"))]);
    [("id", Value::S("one partition".to_owned())), ("at", at), ("value", value)]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// The change that inserts the item of a number, in a stream that carries items: for sources that make it by hand.
#[must_use]
pub fn insertion(number: u32, created: crate::domain::change::Created) -> Change {
    let item = item(number);
    Change {
        key: Key::of(&schema(), &item).expect("the item has the table's key"),
        event: Event::Insert,
        image: Image::Item(item),
        old: None,
        created,
        actor: crate::domain::change::Actor::Client,
    }
}

/// Holds an adapter to what every stream must do; `fresh` makes one of the table that [`schema`] describes, without
/// changes in it. Its records carry the new item.
pub async fn stream<S: Source>(fresh: impl AsyncFn() -> S) {
    it_describes_itself(&fresh().await).await;
    every_change_comes_once_and_in_order(&fresh().await).await;
    no_more_records_come_than_asked_for(&fresh().await).await;
    reading_begins_right_after_a_sequence_number(&fresh().await).await;
    reading_begins_at_a_time_or_before_it(&fresh().await).await;
    a_cursor_may_be_used_again(&fresh().await).await;
    an_open_shard_says_so(&fresh().await).await;
    an_open_shard_goes_on(&fresh().await).await;
    a_shard_that_is_not_there_is_not_found(&fresh().await).await;
}

/// A stream that takes up changes says so, and how long it keeps them.
pub async fn it_describes_itself(source: &dyn Source) {
    let description = source.stream().describe().await.unwrap();

    assert_eq!(description.status, StreamStatus::Enabled);
    assert!(description.arn.starts_with("arn:aws"), "{}", description.arn);
    assert!(description.retention.as_secs() >= 24 * 60 * 60, "{:?}", description.retention);
}

/// All changes come, in the order they were made, each with a sequence number of its own and its item.
pub async fn every_change_comes_once_and_in_order(source: &dyn Source) {
    insert(source, 0..25).await;

    let records = read_all(source).await;

    assert_eq!(numbers(&records), (0..25).collect::<Vec<_>>());
    let sequences: Vec<&str> = records.iter().map(|record| record.sequence.as_str()).collect();
    assert!(sequences.windows(2).all(|pair| is_before(pair[0], pair[1])), "{sequences:?} do not grow");
    for (number, record) in (0..).zip(&records) {
        let change = record.change.as_ref().unwrap();
        assert_eq!(change.key, Key::of(&schema(), &item(number)).unwrap());
        assert_eq!((change.event, &change.image), (Event::Insert, &Image::Item(item(number))));
        assert!(change.created.from_ms < change.created.until_ms, "{:?}", change.created);
    }
}

/// A page has as many records as were asked for at most, and at least one may be asked for.
pub async fn no_more_records_come_than_asked_for(source: &dyn Source) {
    insert(source, 0..7).await;
    let shard = only_shard(source).await;

    for limit in [1, 3, MAX_RECORDS_PER_PAGE] {
        let (pages, _) = pages(source.stream(), &shard.id, &ReadFrom::TrimHorizon, limit).await;

        assert!(pages.iter().all(|page| page.records.len() <= limit as usize), "more than {limit} came");
        assert_eq!(pages.iter().map(|page| page.records.len()).sum::<usize>(), 7);
    }
}

/// `After` begins with the record that follows, also where that is still to come.
pub async fn reading_begins_right_after_a_sequence_number(source: &dyn Source) {
    insert(source, 0..10).await;
    let shard = only_shard(source).await;
    let all = read(source.stream(), &shard.id, &ReadFrom::TrimHorizon).await.0;

    for n in [0, 4, 8, 9] {
        let after = ReadFrom::After(all[n].sequence.clone());
        assert_eq!(read(source.stream(), &shard.id, &after).await.0, all[n + 1..], "after record {n}");
    }
    let cursor = source.stream().open(&shard.id, &ReadFrom::After(all[9].sequence.clone())).await.unwrap();
    insert(source, 10..11).await;
    assert_eq!(numbers(&read_on(source.stream(), cursor).await.0), [10]);
}

/// `Time` passes over no record that was created then or later; it may give earlier ones.
pub async fn reading_begins_at_a_time_or_before_it(source: &dyn Source) {
    insert(source, 0..5).await;
    let shard = only_shard(source).await;
    let all = read(source.stream(), &shard.id, &ReadFrom::TrimHorizon).await.0;

    for (n, record) in all.iter().enumerate() {
        let created = record.change.as_ref().unwrap().created;
        for time in [created.from_ms, created.until_ms - 1] {
            let got = read(source.stream(), &shard.id, &ReadFrom::Time(time)).await.0;
            assert!(got.ends_with(&all[n..]), "records are missing that were not created before {time}");
        }
    }
    assert_eq!(read(source.stream(), &shard.id, &ReadFrom::Time(0)).await.0, all);
}

/// Reading does not use a cursor up.
pub async fn a_cursor_may_be_used_again(source: &dyn Source) {
    insert(source, 0..6).await;
    let shard = only_shard(source).await;
    let mut cursor = source.stream().open(&shard.id, &ReadFrom::TrimHorizon).await.unwrap();

    for _ in 0..PAGES {
        let (first, second) = (page(source.stream(), &cursor, 2).await, page(source.stream(), &cursor, 2).await);
        assert_eq!(first.records, second.records);
        cursor = second.next.expect("the shard is open");
        if numbers(&first.records).contains(&5) {
            return;
        }
    }
    panic!("the last record did not come");
}

/// A shard is open until it ends.
pub async fn an_open_shard_says_so(source: &dyn Source) {
    insert(source, 0..2).await;

    assert_eq!(only_shard(source).await.state, ShardState::Open);
}

/// An open shard always has a next cursor, and gives what comes in later.
pub async fn an_open_shard_goes_on(source: &dyn Source) {
    insert(source, 0..2).await;
    let shard = only_shard(source).await;

    let (records, end) = read(source.stream(), &shard.id, &ReadFrom::TrimHorizon).await;
    assert_eq!(numbers(&records), [0, 1]);
    let cursor = end.expect("an open shard has no end");
    insert(source, 2..4).await;

    assert_eq!(numbers(&read_on(source.stream(), cursor).await.0), [2, 3]);
}

/// A shard that never was is not there to be read.
pub async fn a_shard_that_is_not_there_is_not_found(source: &dyn Source) {
    let opened = source.stream().open("shardId-00000000000000099999-none0000", &ReadFrom::TrimHorizon).await;

    assert_kind(&opened, FailureKind::NotFound);
}

/// All shards, over all pages; fails when one comes twice.
pub async fn shards(stream: &dyn ChangeStream) -> Vec<Shard> {
    let mut shards: Vec<Shard> = Vec::new();
    let mut after: Option<String> = None;
    for _ in 0..PAGES {
        let page = stream.shards(after.as_deref()).await.unwrap();
        for shard in page.shards {
            assert!(shards.iter().all(|other| other.id != shard.id), "{} comes twice", shard.id);
            shards.push(shard);
        }
        after = page.next;
        if after.is_none() {
            return shards;
        }
    }
    panic!("the listing does not end");
}

/// Reads a shard to its end, or to where an open one gives no more: its records, and where reading goes on.
pub async fn read(stream: &dyn ChangeStream, shard: &str, from: &ReadFrom) -> (Vec<Record>, Option<Cursor>) {
    let cursor = stream.open(shard, from).await.unwrap();
    read_on(stream, cursor).await
}

async fn read_on(stream: &dyn ChangeStream, cursor: Cursor) -> (Vec<Record>, Option<Cursor>) {
    let (pages, end) = follow(stream, cursor, MAX_RECORDS_PER_PAGE).await;
    (pages.into_iter().flat_map(|page| page.records).collect(), end)
}

async fn pages(
    stream: &dyn ChangeStream,
    shard: &str,
    from: &ReadFrom,
    limit: u32,
) -> (Vec<RecordPage>, Option<Cursor>) {
    let cursor = stream.open(shard, from).await.unwrap();
    follow(stream, cursor, limit).await
}

async fn follow(stream: &dyn ChangeStream, cursor: Cursor, limit: u32) -> (Vec<RecordPage>, Option<Cursor>) {
    let (mut cursor, mut pages, mut empty) = (cursor, Vec::new(), 0);
    for _ in 0..PAGES {
        let page = page(stream, &cursor, limit).await;
        empty = if page.records.is_empty() { empty + 1 } else { 0 };
        let next = page.next.clone();
        pages.push(page);
        match next {
            Some(next) if empty < EMPTY_PAGES => cursor = next,
            end => return (pages, end),
        }
    }
    panic!("the shard does not end");
}

async fn page(stream: &dyn ChangeStream, cursor: &Cursor, limit: u32) -> RecordPage {
    stream.read(cursor, limit).await.unwrap()
}

/// The records of all shards, in the order of the listing.
async fn read_all(source: &dyn Source) -> Vec<Record> {
    let mut records = Vec::new();
    for shard in shards(source.stream()).await {
        records.extend(read(source.stream(), &shard.id, &ReadFrom::TrimHorizon).await.0);
    }
    records
}

async fn only_shard<S: Source + ?Sized>(source: &S) -> Shard {
    let mut shards = shards(source.stream()).await;
    assert_eq!(shards.len(), 1, "the stream has one shard at first");
    shards.remove(0)
}

async fn insert<S: Source + ?Sized>(source: &S, numbers: std::ops::Range<u32>) {
    for number in numbers {
        source.insert(number).await;
    }
}

/// Which items the changes are of.
fn numbers(records: &[Record]) -> Vec<u32> {
    let number = |record: &Record| match record.change.as_ref().unwrap().key.to_item().get("at") {
        Some(Value::N(number)) => number.text().parse().unwrap(),
        other => panic!("{other:?} is no number"),
    };
    records.iter().map(number).collect()
}

/// Orders sequence numbers by value.
fn is_before(one: &str, other: &str) -> bool {
    let order = |text: &str| {
        let digits = text.trim_start_matches('0').to_owned();
        (digits.len(), digits)
    };
    order(one) < order(other)
}

fn assert_kind<T: std::fmt::Debug>(result: &Result<T, Failure>, kind: FailureKind) {
    assert!(matches!(result, Err(failure) if failure.kind == kind), "expected {kind:?}, got {result:?}");
}
