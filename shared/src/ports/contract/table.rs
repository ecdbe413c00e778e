//! The contract of [`Table`], held by a table whose key is `id` (S) and `at` (N).
#![expect(clippy::unwrap_used, reason = "a clause fails by panicking, as a test does")]

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;

use crate::domain::condition::{Condition, Term, Write};
use crate::domain::job::{Consistency, MAX_KEYS_PER_GET};
use crate::domain::key::{Key, KeyAttribute, KeySchema, KeyType};
use crate::domain::number::Number;
use crate::domain::value::{Item, Value};
use crate::ports::failure::{Failure, FailureKind};
use crate::ports::table::{
    Applied, Batch, Content, GetRequest, Got, MAX_WRITES_PER_BATCH, Page, Readiness, ScanRequest, Table,
};

/// Requests after which a batch that still is not done never will be.
const TRIES: usize = 20;

/// Pages after which a scan that has not ended goes in circles.
const MAX_PAGES: usize = 1000;

/// The key schema of the tables that the suite asks for.
#[must_use]
pub fn schema() -> KeySchema {
    KeySchema {
        partition: KeyAttribute { name: "id".into(), kind: KeyType::S },
        sort: Some(KeyAttribute { name: "at".into(), kind: KeyType::N }),
    }
}

/// Holds an adapter to all clauses; `fresh` makes an empty table with the key of [`schema`].
pub async fn table<T: Table>(fresh: impl AsyncFn() -> T) {
    a_table_describes_itself(&fresh().await).await;
    every_type_of_attribute_comes_back_as_it_was(&fresh().await).await;
    segments_share_the_items_out(&fresh().await).await;
    a_partition_is_in_one_segment(&fresh().await).await;
    pages_follow_each_other_to_the_end(&fresh().await).await;
    a_page_begins_after_a_key_that_is_gone(&fresh().await).await;
    keys_alone_can_be_read(&fresh().await).await;
    only_what_is_there_is_got(&fresh().await).await;
    requests_cost_units(&fresh().await).await;
    each_term_of_a_condition_counts(&fresh().await).await;
    a_conditional_delete_deletes_only_what_it_expects(&fresh().await).await;
    a_put_replaces_the_whole_item(&fresh().await).await;
    one_of_many_conditional_creates_wins(&fresh().await).await;
    a_batch_puts_and_deletes(&fresh().await).await;
    requests_beyond_the_limits_are_refused(&fresh().await).await;
}

/// The description names the key schema and says that the table can be read.
pub async fn a_table_describes_itself(table: &dyn Table) {
    let description = table.describe().await.unwrap();
    assert_eq!(table.time_to_live().await.unwrap(), None);

    assert_eq!(description.readiness, Readiness::Ready);
    assert_eq!(description.key_schema, schema());
}

/// Values of every type, numbers of all 38 digits among them, are read exactly as they were written.
pub async fn every_type_of_attribute_comes_back_as_it_was(table: &dyn Table) {
    let most = number("12345678901234567890123456789012345678");
    let least = number("-0.00000012345678901234567890123456789012345678");
    let nested = BTreeMap::from([("deep".to_owned(), Value::L(vec![Value::Null, Value::M(BTreeMap::new())]))]);
    let mut written = item("all", 1);
    written.extend(
        [
            ("text", Value::S("<&> \" ä 漢 🦀\n".into())),
            ("empty text", Value::S(String::new())),
            ("most digits", Value::N(most.clone())),
            ("small", Value::N(least.clone())),
            ("huge", Value::N(number("9.9999999999999999999999999999999999999E+125"))),
            ("binary", Value::B(vec![0, 127, 128, 255])),
            ("empty binary", Value::B(Vec::new())),
            ("true", Value::Bool(true)),
            ("false", Value::Bool(false)),
            ("null", Value::Null),
            ("texts", Value::Ss(vec!["b".into(), "a".into()])),
            ("numbers", Value::Ns(vec![most, least, number("0")])),
            ("binaries", Value::Bs(vec![vec![2], vec![1, 0]])),
            ("list", Value::L(vec![Value::S("b".into()), Value::N(number("1")), Value::L(Vec::new())])),
            ("map", Value::M(nested)),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );

    put_all(table, std::slice::from_ref(&written)).await;

    assert_eq!(get(table, &written).await.as_ref(), Some(&written));
    assert_eq!(scan_all(table, 1).await, [vec![written]]);
}

/// Every item is in exactly one of the segments, however many there are.
pub async fn segments_share_the_items_out(table: &dyn Table) {
    let items: Vec<Item> = (0..60).map(|n| item(&format!("id {n}"), n)).collect();
    put_all(table, &items).await;
    let expected: BTreeSet<_> = items.iter().map(identity).collect();

    for total in [1, 3, 8, 500] {
        let found: Vec<_> = scan_all(table, total).await.iter().flatten().map(identity).collect();
        assert_eq!(found.len(), items.len(), "items come once with {total} segments");
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected, "all items come with {total} segments");
    }
}

/// Items with the same partition key are in the same segment, in every scan.
pub async fn a_partition_is_in_one_segment(table: &dyn Table) {
    let items: Vec<Item> = (0..40).map(|n| item(&format!("id {}", n % 4), n)).collect();
    put_all(table, &items).await;

    let segments_of = |segments: &[Vec<Item>], id: &Value| -> Vec<usize> {
        (0..segments.len()).filter(|&n| segments[n].iter().any(|item| item.get("id") == Some(id))).collect()
    };
    let (first, again) = (scan_all(table, 8).await, scan_all(table, 8).await);
    for n in 0..4 {
        let id = Value::S(format!("id {n}"));
        assert_eq!(segments_of(&first, &id).len(), 1, "the partition is spread over segments");
        assert_eq!(segments_of(&first, &id), segments_of(&again, &id), "the partition moved");
    }
}

/// With a limit, pages are no larger, and following `next` meets every item once, sort keys in their order.
pub async fn pages_follow_each_other_to_the_end(table: &dyn Table) {
    let numbers = ["-10", "-9.5", "-0.001", "0", "0.001", "2", "10", "1E+10"];
    let items: Vec<Item> = numbers.iter().map(|at| keyed("one partition", number(at))).collect();
    put_all(table, &items).await;

    for limit in [1, 3, 8, 100] {
        let mut request = scan(0, 1);
        request.limit = Some(limit);
        let mut found = Vec::new();
        for _ in 0..MAX_PAGES {
            let page = table.scan_page(&request).await.unwrap();
            assert!(page.items.len() <= limit as usize, "{} items, more than the limit of {limit}", page.items.len());
            found.extend(page.items);
            let Some(next) = page.next else { break };
            assert_eq!(next.keys().collect::<Vec<_>>(), ["at", "id"], "`next` is a key and nothing else");
            request.after = Some(key(&next));
        }
        assert_eq!(found, items, "with pages of {limit}");
    }
}

/// The key after which a page begins may have been deleted meanwhile, or never been there.
pub async fn a_page_begins_after_a_key_that_is_gone(table: &dyn Table) {
    let items: Vec<Item> = (0..6).map(|at| item("one partition", at)).collect();
    put_all(table, &items).await;
    write_all(table, vec![Write::Delete(key(&items[2]))]).await;

    for (after, expected) in [("2", &items[3..]), ("3.5", &items[4..]), ("77", &[])] {
        let request = ScanRequest { after: Some(key(&keyed("one partition", number(after)))), ..scan(0, 1) };
        assert_eq!(read_to_end(table, request).await, expected, "after {after}");
    }
}

/// With `Content::Keys` items have their key attributes only.
pub async fn keys_alone_can_be_read(table: &dyn Table) {
    let mut written = item("a", 1);
    written.insert("more".into(), Value::Bool(true));
    put_all(table, std::slice::from_ref(&written)).await;

    let request = ScanRequest { content: Content::Keys(schema()), ..scan(0, 1) };
    assert_eq!(read_to_end(table, request).await, [item("a", 1)]);
    let keys = vec![key(&written)];
    let request = GetRequest { keys, consistency: Consistency::Strong, content: Content::Keys(schema()) };
    assert_eq!(get_all(table, request).await, [item("a", 1)]);
}

/// A key without an item is in neither part of the answer.
pub async fn only_what_is_there_is_got(table: &dyn Table) {
    let items: Vec<Item> = (0..100).map(|n| item(&format!("id {n}"), n)).collect();
    let there: Vec<Item> = items.iter().step_by(2).cloned().collect();
    put_all(table, &there).await;

    let request = get_request(items.iter().map(key).collect());
    let found = get_all(table, request).await;

    assert_eq!(found.len(), there.len());
    assert_eq!(
        found.iter().map(identity).collect::<BTreeSet<_>>(),
        there.iter().map(identity).collect::<BTreeSet<_>>()
    );
}

/// Reads and writes say what they cost; looking for what is not there is not free.
pub async fn requests_cost_units(table: &dyn Table) {
    let written = item("a", 1);

    let batch = table.write_many(&[Write::Put(written.clone())]).await.unwrap();
    assert!(batch.write_units > 0.0, "a batch of writes costs");
    let answer = table.write_if(&Write::Put(written.clone()), &Condition::default()).await.unwrap();
    assert!(answer.write_units > 0.0, "a conditional write costs");
    let page = table.scan_page(&scan(0, 1)).await.unwrap();
    assert!(page.read_units > 0.0, "a scan costs");
    for asked in [written, item("none", 1)] {
        let got = table.get_many(&get_request(vec![key(&asked)])).await.unwrap();
        assert!(got.read_units > 0.0, "a read by key costs");
    }
}

/// Each kind of term holds where it should, and where it does not nothing is written.
pub async fn each_term_of_a_condition_counts(table: &dyn Table) {
    let there = || "there".to_owned();
    let value = |text: &str| Value::S(text.to_owned());
    let set = Value::Ss(vec!["a".into(), "b".into()]);
    let mut before = item("a", 1);
    before.extend([(there(), value("old")), ("set".into(), set)]);
    let turned = Value::Ss(vec!["b".into(), "a".into()]);
    for (terms, holds) in [
        (vec![], true),
        (vec![Term::Exists(there())], true),
        (vec![Term::Exists("gone".into())], false),
        (vec![Term::NotExists("gone".into())], true),
        (vec![Term::NotExists(there())], false),
        (vec![Term::Equals(there(), value("old"))], true),
        (vec![Term::Equals(there(), value("other"))], false),
        (vec![Term::Equals(there(), Value::B(b"old".to_vec()))], false),
        (vec![Term::Equals("gone".into(), value("old"))], false),
        (vec![Term::Equals("set".into(), turned)], true),
        (vec![Term::Equals("at".into(), Value::N(number("1.0")))], true),
        (vec![Term::Exists(there()), Term::NotExists("gone".into())], true),
        (vec![Term::Exists(there()), Term::NotExists(there())], false),
    ] {
        put_all(table, std::slice::from_ref(&before)).await;
        let mut after = item("a", 1);
        after.insert(there(), value("new"));

        let answer = table.write_if(&Write::Put(after.clone()), &Condition { terms: terms.clone() }).await.unwrap();

        let (applied, left) = if holds { (Applied::Written, &after) } else { (Applied::ConditionFailed, &before) };
        assert_eq!(answer.applied, applied, "{terms:?}");
        assert_eq!(get(table, &before).await.as_ref(), Some(left), "{terms:?}");
    }
}

/// A delete follows its condition too, also where there is nothing.
pub async fn a_conditional_delete_deletes_only_what_it_expects(table: &dyn Table) {
    let written = item("a", 1);
    put_all(table, std::slice::from_ref(&written)).await;
    let delete = Write::Delete(key(&written));
    let exists = Condition { terms: vec![Term::Exists("id".into())] };
    let applied = async |condition: &Condition| table.write_if(&delete, condition).await.unwrap().applied;

    assert_eq!(applied(&Condition::absent(&schema())).await, Applied::ConditionFailed);
    assert!(get(table, &written).await.is_some(), "a refused delete deletes nothing");
    assert_eq!(applied(&exists).await, Applied::Written);
    assert!(get(table, &written).await.is_none(), "a delete deletes");
    assert_eq!(applied(&exists).await, Applied::ConditionFailed);
    assert_eq!(applied(&Condition::default()).await, Applied::Written, "deleting nothing is a success");
}

/// A put leaves no attribute of the item that was there before.
pub async fn a_put_replaces_the_whole_item(table: &dyn Table) {
    let mut wide = item("a", 1);
    wide.insert("more".into(), Value::Null);
    put_all(table, std::slice::from_ref(&wide)).await;
    // Another spelling of the same key is the same item.
    let narrow = keyed("a", number("1.0"));

    let answer = table.write_if(&Write::Put(narrow.clone()), &Condition::default()).await.unwrap();

    assert_eq!(answer.applied, Applied::Written);
    assert_eq!(scan_all(table, 1).await, [vec![narrow]]);
}

/// Of many that create the same item at once exactly one succeeds, and its item is the one that stays.
pub async fn one_of_many_conditional_creates_wins(table: &dyn Table) {
    let racers: Vec<Write> = (0..8)
        .map(|racer| {
            let mut item = item("a", 1);
            item.insert("racer".into(), Value::N(number(&racer.to_string())));
            Write::Put(item)
        })
        .collect();
    let absent = Condition::absent(&schema());

    let answers = join_all(racers.iter().map(|racer| table.write_if(racer, &absent))).await;

    let won = |answer: &Result<_, Failure>| matches!(answer, Ok(answer) if is_written(answer));
    let winners: Vec<&Write> = racers.iter().zip(&answers).filter(|(_, answer)| won(answer)).map(|it| it.0).collect();
    let [Write::Put(winner)] = winners[..] else { panic!("{} won", winners.len()) };
    assert_eq!(get(table, &item("a", 1)).await.as_ref(), Some(winner));
}

/// A batch of writes puts and deletes without any condition; deleting what is not there is a success.
pub async fn a_batch_puts_and_deletes(table: &dyn Table) {
    let items: Vec<Item> = (0..25).map(|n| item(&format!("id {n}"), n)).collect();
    put_all(table, &items[..10]).await;

    let (deleted, kept) = items.split_at(12);
    let deletes = deleted.iter().map(|item| Write::Delete(key(item)));
    write_all(table, deletes.chain(kept.iter().cloned().map(Write::Put)).collect()).await;

    let left: BTreeSet<_> = scan_all(table, 1).await.iter().flatten().map(identity).collect();
    assert_eq!(left, kept.iter().map(identity).collect());
}

/// Too many keys, keys that are alike, segments that do not exist and items of another key are errors.
pub async fn requests_beyond_the_limits_are_refused(table: &dyn Table) {
    let keys = |count: u32| -> Vec<Key> { (0..count).map(|n| key(&item("a", n))).collect() };
    let puts = |count: usize| -> Vec<Write> { (0..count).map(|n| Write::Put(item("a", n as u32))).collect() };
    // Spelt alike, because not every emulator sees that `1` and `1.0` are one key.
    let twice = vec![key(&item("a", 1)), key(&item("a", 1))];
    let twice_written = [Write::Put(item("a", 1)), Write::Delete(key(&item("a", 1)))];
    let another = Item::from([("other".to_owned(), Value::Null)]);

    assert_invalid("101 keys", &table.get_many(&get_request(keys(MAX_KEYS_PER_GET + 1))).await);
    assert_invalid("a key twice", &table.get_many(&get_request(twice)).await);
    assert_invalid("26 writes", &table.write_many(&puts(MAX_WRITES_PER_BATCH + 1)).await);
    assert_invalid("two writes to a key", &table.write_many(&twice_written).await);
    assert_invalid("segment 3 of 3", &table.scan_page(&scan(3, 3)).await);
    assert_invalid("a put without a key", &table.write_if(&Write::Put(another), &Condition::default()).await);
    assert_eq!(scan_all(table, 1).await, [Vec::<Item>::new()], "what was refused is not written");
}

fn is_written(answer: &crate::ports::table::WriteAnswer) -> bool {
    answer.applied == Applied::Written
}

fn number(text: &str) -> Number {
    Number::parse(text).unwrap()
}

fn keyed(id: &str, at: Number) -> Item {
    [("id".to_owned(), Value::S(id.to_owned())), ("at".to_owned(), Value::N(at))].into()
}

fn item(id: &str, at: u32) -> Item {
    keyed(id, number(&at.to_string()))
}

fn key(item: &Item) -> Key {
    Key::of(&schema(), item).unwrap()
}

fn identity(item: &Item) -> Vec<u8> {
    key(item).identity().to_vec()
}

fn scan(segment: u32, total_segments: u32) -> ScanRequest {
    let (consistency, content) = (Consistency::Strong, Content::Items);
    ScanRequest { segment, total_segments, after: None, limit: None, consistency, content }
}

fn get_request(keys: Vec<Key>) -> GetRequest {
    GetRequest { keys, consistency: Consistency::Strong, content: Content::Items }
}

/// Reads pages from where the request begins to the end of its segment.
async fn read_to_end(table: &dyn Table, mut request: ScanRequest) -> Vec<Item> {
    let mut found = Vec::new();
    for _ in 0..MAX_PAGES {
        let Page { items, next, .. } = table.scan_page(&request).await.unwrap();
        found.extend(items);
        let Some(next) = next else { return found };
        request.after = Some(key(&next));
    }
    panic!("the scan does not end");
}

async fn scan_all(table: &dyn Table, total: u32) -> Vec<Vec<Item>> {
    join_all((0..total).map(|segment| read_to_end(table, scan(segment, total)))).await
}

async fn get_all(table: &dyn Table, mut request: GetRequest) -> Vec<Item> {
    let mut found = Vec::new();
    for _ in 0..TRIES {
        let Got { items, unprocessed, held_back, .. } = table.get_many(&request).await.unwrap();
        found.extend(items);
        request.keys = [held_back, unprocessed].concat();
        if request.keys.is_empty() {
            return found;
        }
    }
    panic!("{} keys are still unprocessed", request.keys.len());
}

async fn get(table: &dyn Table, item: &Item) -> Option<Item> {
    get_all(table, get_request(vec![key(item)])).await.pop()
}

async fn put_all(table: &dyn Table, items: &[Item]) {
    for batch in items.chunks(MAX_WRITES_PER_BATCH) {
        write_all(table, batch.iter().cloned().map(Write::Put).collect()).await;
    }
}

async fn write_all(table: &dyn Table, mut writes: Vec<Write>) {
    for _ in 0..TRIES {
        let Batch { unprocessed, held_back, .. } = table.write_many(&writes).await.unwrap();
        writes = [held_back, unprocessed].concat();
        if writes.is_empty() {
            return;
        }
    }
    panic!("{} writes are still unprocessed", writes.len());
}

fn assert_invalid<T: std::fmt::Debug>(what: &str, result: &Result<T, Failure>) {
    assert!(
        matches!(result, Err(Failure { kind: FailureKind::Invalid, .. })),
        "{what} must be refused as invalid, not answered with {result:?}"
    );
}
