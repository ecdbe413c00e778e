use super::super::change::{Actor, BadRecord, Created};
use super::super::key::{KeyAttribute, KeyType};
use super::super::number::Number;
use super::*;

fn schema() -> KeySchema {
    KeySchema { partition: KeyAttribute { name: "id".into(), kind: KeyType::S }, sort: None }
}

fn item(id: &str, attributes: &[(&str, Value)]) -> Item {
    let id = ("id".to_owned(), Value::S(id.to_owned()));
    std::iter::once(id).chain(attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone()))).collect()
}

fn n(text: &str) -> Value {
    Value::N(Number::parse(text).unwrap())
}

fn s(text: &str) -> Value {
    Value::S(text.to_owned())
}

fn change(event: Event, id: &str, new: Option<Item>, old: Option<Item>, ms: i64) -> Change {
    Change {
        key: Key::of(&schema(), &item(id, &[])).unwrap(),
        event,
        image: Image::told(event, new, true),
        old,
        created: Created::in_millisecond(ms),
        actor: Actor::Client,
    }
}

fn put(id: &str, version: &str, ms: i64) -> Change {
    change(Event::Modify, id, Some(item(id, &[("v", n(version))])), None, ms)
}

fn records(changes: Vec<Change>) -> Vec<Record> {
    let numbered = changes.into_iter().enumerate();
    numbered.map(|(number, change)| Record { sequence: number.to_string(), change: Ok(change) }).collect()
}

fn squashed(changes: Vec<Change>, order: Order) -> Batch {
    Batch::squash(records(changes), order)
}

fn rules() -> FollowRules {
    FollowRules { schema: schema(), version_attribute: None, origin_attribute: None }
}

/// R7.
#[test]
fn r7_a_batch_keeps_the_last_change_of_each_key_and_spans_all_records() {
    let one = squashed(vec![put("a", "1", 1)], Order::ByItem);
    assert_eq!((one.first, one.last, one.changes.len()), (Some("0".into()), Some("0".into()), 1));

    let two_keys = squashed(vec![put("a", "1", 1), put("b", "1", 2)], Order::ByItem);
    assert_eq!(two_keys.changes.iter().map(|latest| latest.sequence.as_str()).collect::<Vec<_>>(), ["0", "1"]);

    let again = squashed(vec![put("a", "1", 1), put("a", "2", 2)], Order::ByItem);
    assert_eq!((again.first.as_deref(), again.last.as_deref(), again.records), (Some("0"), Some("1"), 2));
    assert_eq!(again.changes.len(), 1);
    assert_eq!(again.changes[0].change, put("a", "2", 2));

    let both = squashed(vec![put("a", "1", 1), put("b", "1", 2), put("a", "2", 3), put("b", "2", 4)], Order::ByItem);
    assert_eq!(
        both.changes.iter().map(|latest| &latest.change).collect::<Vec<_>>(),
        [&put("a", "2", 3), &put("b", "2", 4)]
    );
}

#[test]
fn where_order_is_by_time_the_latest_stands_whenever_it_comes() {
    let late = squashed(vec![put("a", "2", 20), put("a", "1", 10), put("a", "2", 20)], Order::ByTime);
    assert_eq!(late.changes[0].change, put("a", "2", 20));

    let same_moment = squashed(vec![put("a", "1", 10), put("a", "2", 10)], Order::ByTime);
    assert_eq!(same_moment.changes[0].change.image, Image::Unread);
}

#[test]
fn a_bad_record_is_set_aside_and_the_others_stand() {
    let mut all = records(vec![put("a", "1", 1), put("b", "1", 2)]);
    all.insert(1, Record { sequence: "x".into(), change: Err(BadRecord("`Keys` is missing".into())) });

    let batch = Batch::squash(all, Order::ByItem);

    assert_eq!(batch.changes.len(), 2);
    assert_eq!(batch.bad[0].0, "x");
    assert!(batch.bad[0].1.contains("`Keys` is missing"), "{:?}", batch.bad);
}

fn plan(rules: &FollowRules, changes: Vec<Change>, trust: Trust) -> Plan {
    let batch = squashed(changes, Order::ByItem);
    rules.plan(&batch.changes[0], trust, "J:7")
}

/// R8.
#[test]
fn r8_a_put_becomes_a_put_and_a_removal_a_delete() {
    let put_of =
        |id: &str, version: &str| Plan::Write(Write::Put(item(id, &[("v", n(version))])), Condition::default());
    assert_eq!(plan(&rules(), vec![put("a", "1", 1)], Trust::Word), put_of("a", "1"));
    let gone = change(Event::Remove, "a", None, None, 2);
    let delete = Plan::Write(Write::Delete(gone.key.clone()), Condition::default());
    assert_eq!(plan(&rules(), vec![gone.clone()], Trust::Word), delete);
    assert_eq!(plan(&rules(), vec![put("a", "1", 1), gone], Trust::Word), delete);
}

#[test]
fn what_cannot_be_taken_at_its_word_is_read_from_the_master() {
    let keys_only = change(Event::Modify, "a", None, None, 1);
    assert_eq!(plan(&rules(), vec![keys_only], Trust::Word), Plan::Reread);
    assert_eq!(plan(&rules(), vec![put("a", "1", 1)], Trust::Reread), Plan::Reread);
    assert_eq!(plan(&rules(), vec![put("a", "1", 1)], Trust::Known), Plan::Skip(Skip::Known));
}

#[test]
fn with_a_version_attribute_nothing_newer_is_overwritten_or_deleted() {
    let rules = FollowRules { version_attribute: Some("v".into()), ..rules() };
    let old = item("a", &[("v", n("3"))]);
    let Plan::Write(_, condition) = plan(&rules, vec![put("a", "2", 1)], Trust::Word) else { panic!("no write") };
    for (slave, holds) in [(None, true), (Some("1"), true), (Some("2"), false), (Some("3"), false)] {
        let slave = slave.map(|version| item("a", &[("v", n(version))]));
        assert_eq!(condition.holds(slave.as_ref()), holds, "{slave:?}");
    }
    let gone = change(Event::Remove, "a", None, Some(old), 1);
    let Plan::Write(_, condition) = plan(&rules, vec![gone], Trust::Word) else { panic!("no write") };
    for (slave, holds) in [("2", true), ("3", true), ("4", false)] {
        assert_eq!(condition.holds(Some(&item("a", &[("v", n(slave))]))), holds, "{slave}");
    }
}

#[test]
fn a_write_of_the_replication_that_goes_the_other_way_is_not_sent_back() {
    let rules = FollowRules { origin_attribute: Some("from".into()), ..rules() };
    let marked = |version: &str, mark: &str| item("a", &[("v", n(version)), ("from", s(mark))]);
    let modify = |new: &Item, old: &Item| change(Event::Modify, "a", Some(new.clone()), Some(old.clone()), 1);
    let (plain, one, two) = (item("a", &[("v", n("1"))]), marked("2", "K:1"), marked("3", "K:2"));
    let by_client = marked("9", "K:1");
    for (change, looped) in [
        (change(Event::Insert, "a", Some(one.clone()), None, 1), true),
        (modify(&one, &plain), true),
        (modify(&two, &one), true),
        (modify(&by_client, &one), false),
        (modify(&plain, &one), false),
        (change(Event::Insert, "a", Some(plain.clone()), None, 1), false),
    ] {
        let planned = plan(&rules, vec![change.clone()], Trust::Word);
        assert_eq!(planned == Plan::Skip(Skip::Looped), looped, "{change:?}");
    }
    // A client's change behind a looped one, in one batch.
    let planned = plan(&rules, vec![modify(&one, &plain), modify(&by_client, &one)], Trust::Word);
    let Plan::Write(Write::Put(written), _) = planned else { panic!("{planned:?}") };
    assert_eq!(written, marked("9", "J:7"));
}

#[test]
fn in_both_directions_only_the_item_that_was_deleted_is_deleted() {
    let rules = FollowRules { origin_attribute: Some("from".into()), ..rules() };
    let old = item("a", &[("v", n("1")), ("from", s("K:1"))]);
    let gone = change(Event::Remove, "a", None, Some(old), 1);

    let Plan::Write(Write::Delete(_), condition) = plan(&rules, vec![gone], Trust::Word) else { panic!("no delete") };

    assert!(condition.holds(Some(&item("a", &[("v", n("1")), ("from", s("J:3"))]))));
    assert!(!condition.holds(Some(&item("a", &[("v", n("2"))]))), "it was made anew");
}

#[test]
fn in_both_directions_what_the_master_lacks_is_deleted_by_the_record_of_its_removal_only() {
    let rules = FollowRules { origin_attribute: Some("from".into()), ..rules() };
    let old = item("a", &[("v", n("1"))]);
    let of = |change| squashed(vec![change], Order::ByItem).changes.remove(0);
    let put = of(put("a", "1", 1));
    let gone = of(change(Event::Remove, "a", None, Some(old), 2));

    assert_eq!(rules.by_master(&put, None, "J:7"), Plan::Skip(Skip::Known));
    let Plan::Write(Write::Delete(_), condition) = rules.by_master(&gone, None, "J:7") else { panic!("no delete") };
    assert!(!condition.holds(Some(&item("a", &[("v", n("2"))]))), "it was made anew");
}

#[test]
fn a_record_that_does_not_say_when_it_was_made_is_not_taken_for_older() {
    let timeless = || Change { created: Created { from_ms: 0, until_ms: 200 }, ..put("a", "2", 0) };
    for changes in [vec![put("a", "1", 100), timeless()], vec![timeless(), put("a", "1", 100)]] {
        let batch = squashed(changes, Order::ByTime);

        assert_eq!(batch.changes[0].change.image, Image::Unread);
        assert_eq!(batch.changes[0].change.created, Created { from_ms: 0, until_ms: 200 });
    }
}
