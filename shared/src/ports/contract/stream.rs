//! What every stream of changes must do.
//!
//! Three suites, as not every stream of a test can do everything: [`stream`] for all, [`reshaping`] where shards can be
//! split and merged, [`losing`] where records, shards and cursors can be made to go.
#![expect(clippy::unwrap_used, reason = "a clause fails by panicking, as a test does")]

use std::collections::BTreeSet;

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

/// A stream whose shards can be changed.
#[async_trait]
pub trait Reshapes: Source {
    /// Splits a shard in two.
    async fn split(&self, shard: &str);

    /// Merges two shards into one.
    async fn merge(&self, one: &str, other: &str);
}

/// A stream that can be made to lose what it holds.
#[async_trait]
pub trait Loses: Source {
    /// Removes the records of a shard up to a sequence number, and that one.
    async fn trim(&self, shard: &str, through: &str);

    /// Removes a shard.
    async fn drop_shard(&self, shard: &str);

    /// Makes all cursors too old.
    async fn expire_cursors(&self);
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

/// Holds an adapter to what streams must do whose shards split and merge.
pub async fn reshaping<S: Reshapes>(fresh: impl AsyncFn() -> S) {
    a_split_shard_ends_and_its_children_go_on(&fresh().await).await;
    a_merged_shard_has_two_parents(&fresh().await).await;
    every_shard_is_listed_once(&fresh().await).await;
}

/// Holds an adapter to what streams must do that lose records, shards and cursors.
pub async fn losing<S: Loses>(fresh: impl AsyncFn() -> S) {
    the_trim_horizon_is_the_oldest_record_that_is_left(&fresh().await).await;
    what_was_trimmed_is_told_or_passed_over(&fresh().await).await;
    a_cursor_outlives_the_records_before_it(&fresh().await).await;
    an_expired_cursor_is_told_and_can_be_had_anew(&fresh().await).await;
    a_shard_that_is_gone_is_not_found(&fresh().await).await;
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

/// The parent is closed and can be read to its end; what comes later is the children's, who name it.
pub async fn a_split_shard_ends_and_its_children_go_on(source: &dyn Reshapes) {
    insert(source, 0..5).await;
    let parent = only_shard(source).await;
    source.split(&parent.id).await;
    insert(source, 5..10).await;

    let shards = shards(source.stream()).await;
    let (records, end) = read(source.stream(), &parent.id, &ReadFrom::TrimHorizon).await;

    assert_eq!((numbers(&records), end), ((0..5).collect(), None));
    let last = records.last().unwrap().sequence.clone();
    assert_eq!(read(source.stream(), &parent.id, &ReadFrom::After(last)).await, (Vec::new(), None));
    assert_eq!(shards.iter().find(|shard| shard.id == parent.id).unwrap().state, ShardState::Closed);
    let children: Vec<&Shard> = shards.iter().filter(|shard| shard.id != parent.id).collect();
    assert_eq!(children.len(), 2);
    let mut later = Vec::new();
    for child in children {
        assert_eq!((&child.parents, child.state), (&vec![parent.id.clone()], ShardState::Open));
        later.extend(read(source.stream(), &child.id, &ReadFrom::TrimHorizon).await.0);
    }
    assert_eq!(numbers(&later), (5..10).collect::<Vec<_>>());
}

/// A merged shard names both its parents, which have ended.
pub async fn a_merged_shard_has_two_parents(source: &dyn Reshapes) {
    let first = only_shard(source).await;
    source.split(&first.id).await;
    let halves: BTreeSet<String> =
        shards(source.stream()).await.into_iter().map(|shard| shard.id).filter(|id| *id != first.id).collect();
    let ids: Vec<&String> = halves.iter().collect();
    source.merge(ids[0], ids[1]).await;
    insert(source, 0..3).await;

    let shards = shards(source.stream()).await;

    let is_merged = |shard: &&Shard| shard.id != first.id && !halves.contains(&shard.id);
    let merged = shards.iter().find(is_merged).expect("the merged shard is listed");
    assert_eq!(merged.parents.iter().cloned().collect::<BTreeSet<_>>(), halves);
    assert_eq!(merged.state, ShardState::Open);
    assert!(shards.iter().all(|shard| shard.id == merged.id || shard.state == ShardState::Closed));
    assert_eq!(numbers(&read(source.stream(), &merged.id, &ReadFrom::TrimHorizon).await.0), [0, 1, 2]);
}

/// However many pages a listing takes, a shard is on one of them.
pub async fn every_shard_is_listed_once(source: &dyn Reshapes) {
    for _ in 0..6 {
        let open = shards(source.stream()).await.into_iter().find(|shard| shard.state == ShardState::Open);
        source.split(&open.expect("a shard is open").id).await;
    }

    let shards = shards(source.stream()).await;

    assert_eq!(shards.len(), 13, "{shards:?}");
    assert_eq!(shards.iter().filter(|shard| shard.parents.is_empty()).count(), 1);
    assert_eq!(shards.iter().filter(|shard| shard.state == ShardState::Open).count(), 7);
}

/// `TrimHorizon` begins with what is left.
pub async fn the_trim_horizon_is_the_oldest_record_that_is_left(source: &dyn Loses) {
    insert(source, 0..5).await;
    let shard = only_shard(source).await;
    let all = read(source.stream(), &shard.id, &ReadFrom::TrimHorizon).await.0;

    source.trim(&shard.id, &all[1].sequence).await;

    assert_eq!(read(source.stream(), &shard.id, &ReadFrom::TrimHorizon).await.0, all[2..]);
    assert_eq!(read(source.stream(), &shard.id, &ReadFrom::After(all[2].sequence.clone())).await.0, all[3..]);
}

/// What was to be read and is gone is `Trimmed`, or, where the stream does not tell, reading begins with what is left.
pub async fn what_was_trimmed_is_told_or_passed_over(source: &dyn Loses) {
    insert(source, 0..5).await;
    let shard = only_shard(source).await;
    let all = read(source.stream(), &shard.id, &ReadFrom::TrimHorizon).await.0;
    let cursor = source.stream().open(&shard.id, &ReadFrom::TrimHorizon).await.unwrap();

    source.trim(&shard.id, &all[2].sequence).await;

    match source.stream().open(&shard.id, &ReadFrom::After(all[0].sequence.clone())).await {
        Ok(cursor) => assert_eq!(read_on(source.stream(), cursor).await.0, all[3..]),
        refused => assert_kind(&refused, FailureKind::Trimmed),
    }
    match source.stream().read(&cursor, MAX_RECORDS_PER_PAGE).await {
        Ok(_) => assert_eq!(read_on(source.stream(), cursor).await.0, all[3..]),
        refused => assert_kind(&refused, FailureKind::Trimmed),
    }
}

/// A cursor goes on where it was, though records before it go, and go again.
pub async fn a_cursor_outlives_the_records_before_it(source: &dyn Loses) {
    insert(source, 0..6).await;
    let shard = only_shard(source).await;
    let all = read(source.stream(), &shard.id, &ReadFrom::TrimHorizon).await.0;
    let cursor = source.stream().open(&shard.id, &ReadFrom::After(all[3].sequence.clone())).await.unwrap();

    for trimmed in [0, 2] {
        source.trim(&shard.id, &all[trimmed].sequence).await;
        assert_eq!(read_on(source.stream(), cursor.clone()).await.0, all[4..]);
    }
}

/// A cursor that is too old is `Expired`; one that is opened after the last record goes on.
pub async fn an_expired_cursor_is_told_and_can_be_had_anew(source: &dyn Loses) {
    insert(source, 0..5).await;
    let shard = only_shard(source).await;
    let all = read(source.stream(), &shard.id, &ReadFrom::TrimHorizon).await.0;
    let cursor = source.stream().open(&shard.id, &ReadFrom::After(all[2].sequence.clone())).await.unwrap();

    source.expire_cursors().await;

    assert_kind(&source.stream().read(&cursor, MAX_RECORDS_PER_PAGE).await, FailureKind::Expired);
    assert_eq!(read(source.stream(), &shard.id, &ReadFrom::After(all[2].sequence.clone())).await.0, all[3..]);
}

/// A shard that is gone is neither listed nor read.
pub async fn a_shard_that_is_gone_is_not_found(source: &dyn Loses) {
    let shard = only_shard(source).await;

    source.drop_shard(&shard.id).await;

    assert_eq!(shards(source.stream()).await, []);
    assert_kind(&source.stream().open(&shard.id, &ReadFrom::TrimHorizon).await, FailureKind::NotFound);
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
