use super::*;
use crate::domain::compare::differing_paths;
use crate::domain::decide::{ExtraHandling, Handling};
use crate::domain::key::{KeyAttribute, KeyType};
use crate::domain::number::Number;
use crate::domain::value::Value;

const NOW: i64 = 1_800_000_000;

const REPAIR: Policy = Policy { missing: Handling::Repair, differing: Handling::Repair, extra: ExtraHandling::Delete };

fn rules() -> Rules {
    Rules {
        schema: KeySchema { partition: KeyAttribute { name: "id".into(), kind: KeyType::S }, sort: None },
        policy: REPAIR,
        ignore: Ignore::default(),
        version_attribute: None,
        time_to_live: None,
        after_write: AfterWrite::Trust,
        old_images: OldImages::Drop,
    }
}

fn item(version: i64) -> Item {
    let version = Value::N(Number::parse(&version.to_string()).unwrap());
    [("id".to_owned(), Value::S("a".to_owned())), ("v".to_owned(), version)].into()
}

fn key() -> Key {
    Key::of(&rules().schema, &item(0)).unwrap()
}

fn differing(one: &Item, other: &Item) -> Vec<String> {
    differing_paths(one, other, &Ignore::default())
}

fn seen(mending: &mut Mending<'_>, master: Option<i64>, slave: Option<i64>) -> Ask {
    mending.seen(master.map(item), slave.map(item), Look::Fresh, NOW, differing)
}

#[track_caller]
fn planned(ask: Ask) -> Planned {
    match ask {
        Ask::Write(planned) => *planned,
        other => panic!("a write was expected: {other:?}"),
    }
}

#[track_caller]
fn ended(ask: Ask) -> (Option<Outcome>, Option<String>) {
    match ask {
        Ask::End(Ending::Healed) => (None, None),
        Ask::End(Ending::Settled(outcome, reason)) => (Some(outcome), reason),
        other => panic!("an end was expected: {other:?}"),
    }
}

#[test]
fn each_kind_is_repaired_on_condition_of_what_was_seen() {
    let (rules, key) = (rules(), key());
    let repair = |kind, master, slave| {
        let planned = planned(seen(&mut Mending::new(&rules, &key, kind), master, slave));
        (planned.write, planned.condition, planned.old)
    };
    let (missing, differing, extra) = (
        repair(Kind::Missing, Some(2), None),
        repair(Kind::Differing, Some(2), Some(1)),
        repair(Kind::Extra, None, Some(1)),
    );

    assert_eq!(missing, (Write::Put(item(2)), Condition::absent(&rules.schema), None));
    let unchanged = Condition::unchanged(&rules.schema, &item(1), Some(&item(2)), &rules.ignore).0;
    assert_eq!(differing, (Write::Put(item(2)), unchanged, Some(item(1))));
    assert_eq!((extra.0, extra.2), (Write::Delete(key.clone()), Some(item(1))));
    assert!(extra.1.holds(Some(&item(1))) && !extra.1.holds(Some(&item(2))));
}

#[test]
fn only_an_older_version_is_overwritten_and_the_write_itself_sees_to_it() {
    let (rules, key) = (Rules { version_attribute: Some("v".into()), ..rules() }, key());
    let mut mending = Mending::new(&rules, &key, Kind::Differing);

    let planned = planned(seen(&mut mending, Some(5), Some(3)));
    assert!(planned.condition.holds(Some(&item(4))));
    assert!(!planned.condition.holds(Some(&item(5))) && !planned.condition.holds(Some(&item(6))));
    assert!(!planned.condition.holds(None));

    assert!(matches!(mending.written(Written::Refused), Ask::Look));
    let end = seen(&mut mending, Some(5), Some(6));
    assert_eq!(ended(end), (Some(Outcome::Skipped), Some(SLAVE_IS_NEWER.into())));
}

#[test]
fn an_older_version_whose_image_is_kept_must_be_that_very_image() {
    let rules = Rules { version_attribute: Some("v".into()), old_images: OldImages::Keep, ..rules() };
    let key = key();

    let planned = planned(seen(&mut Mending::new(&rules, &key, Kind::Differing), Some(5), Some(3)));

    assert!(planned.condition.holds(Some(&item(3))) && !planned.condition.holds(Some(&item(4))));
    assert_eq!(planned.old, Some(item(3)));
}

#[test]
fn versions_of_different_types_are_left_alone() {
    let (rules, key) = (Rules { version_attribute: Some("v".into()), ..rules() }, key());
    let mut slave = item(0);
    slave.insert("v".into(), Value::S("1".into()));

    let end = Mending::new(&rules, &key, Kind::Differing).seen(Some(item(5)), Some(slave), Look::Fresh, NOW, differing);

    assert_eq!(ended(end), (Some(Outcome::Skipped), Some(VERSIONS_DIFFER_IN_TYPE.into())));
}

#[test]
fn an_expired_item_is_not_created_again() {
    let (rules, key) = (Rules { time_to_live: Some("v".into()), ..rules() }, key());
    let repair = |ttl| seen(&mut Mending::new(&rules, &key, Kind::Missing), Some(ttl), None);

    assert_eq!(ended(repair(NOW - 1)), (Some(Outcome::Skipped), Some(EXPIRED.into())));
    assert_eq!(planned(repair(NOW + 1)).write, Write::Put(item(NOW + 1)));
}

#[test]
fn a_slave_that_changes_all_the_time_is_given_up() {
    let (rules, key) = (rules(), key());
    let mut mending = Mending::new(&rules, &key, Kind::Differing);
    let mut looks = 0;
    let end = loop {
        looks += 1;
        planned(seen(&mut mending, Some(100), Some(looks)));
        match mending.written(Written::Refused) {
            Ask::Look => {}
            end => break end,
        }
    };

    assert_eq!((looks, ended(end)), (i64::from(LOOKS), (Some(Outcome::Skipped), Some(CHANGED_MEANWHILE.into()))));
}

#[test]
fn the_master_is_read_again_where_the_condition_cannot_tell_that_it_changed() {
    for (after_write, kind, master, slave, again) in [
        (AfterWrite::Trust, Kind::Missing, Some(1), None, true),
        (AfterWrite::Trust, Kind::Differing, Some(1), Some(0), false),
        (AfterWrite::Trust, Kind::Extra, None, Some(0), true),
        (AfterWrite::Verify, Kind::Differing, Some(1), Some(0), true),
    ] {
        let (rules, key) = (Rules { after_write, ..rules() }, key());
        let mut mending = Mending::new(&rules, &key, kind);
        planned(seen(&mut mending, master, slave));
        let ask = mending.written(Written::Made);

        assert_eq!(matches!(ask, Ask::LookAtMaster), again, "{after_write:?} {kind:?}");
        if again {
            let end = mending.master_seen(master.map(item).as_ref(), differing);
            let outcome = if kind == Kind::Extra { Outcome::Deleted } else { Outcome::Written };
            assert_eq!(ended(end), (Some(outcome), None));
        }
    }
}

#[test]
fn a_put_is_taken_back_when_the_master_deleted_the_item_meanwhile() {
    // Also where deleting was not asked for: it is our own write.
    let policy = Policy { extra: ExtraHandling::Ignore, ..REPAIR };
    let (rules, key) = (Rules { policy, ..rules() }, key());
    let mut mending = Mending::new(&rules, &key, Kind::Missing);
    planned(seen(&mut mending, Some(1), None));
    assert!(matches!(mending.written(Written::Made), Ask::LookAtMaster));
    assert!(matches!(mending.master_seen(None, differing), Ask::Look));

    let back = planned(seen(&mut mending, None, Some(1)));

    assert_eq!(back.write, Write::Delete(key.clone()));
    assert!(matches!(mending.written(Written::Made), Ask::LookAtMaster));
    let end = mending.master_seen(None, differing);
    assert_eq!(ended(end), (Some(Outcome::Skipped), Some(CHANGED_MEANWHILE.into())));
}

#[test]
fn what_another_put_there_meanwhile_is_not_taken_back() {
    let policy = Policy { extra: ExtraHandling::Ignore, ..REPAIR };
    let (rules, key) = (Rules { policy, ..rules() }, key());
    let mut mending = Mending::new(&rules, &key, Kind::Missing);
    planned(seen(&mut mending, Some(1), None));
    let _ = mending.written(Written::Made);
    let _ = mending.master_seen(None, differing);

    let end = seen(&mut mending, None, Some(7));

    assert_eq!(ended(end), (Some(Outcome::Skipped), Some(CHANGED_MEANWHILE.into())));
}

#[test]
fn a_delete_is_taken_back_when_the_master_has_the_item_again() {
    let policy = Policy { missing: Handling::Report, ..REPAIR };
    let (rules, key) = (Rules { policy, ..rules() }, key());
    let mut mending = Mending::new(&rules, &key, Kind::Extra);
    planned(seen(&mut mending, None, Some(1)));
    assert!(matches!(mending.written(Written::Made), Ask::LookAtMaster));
    assert!(matches!(mending.master_seen(Some(&item(1)), differing), Ask::Look));

    assert_eq!(planned(seen(&mut mending, Some(1), None)).write, Write::Put(item(1)));
}

#[test]
fn a_repair_that_the_master_outruns_is_unstable() {
    let (rules, key) = (Rules { after_write: AfterWrite::Verify, ..rules() }, key());
    let mut mending = Mending::new(&rules, &key, Kind::Differing);
    let mut version = 1;
    let end = loop {
        planned(seen(&mut mending, Some(version), Some(version - 1)));
        assert!(matches!(mending.written(Written::Made), Ask::LookAtMaster));
        version += 1;
        match mending.master_seen(Some(&item(version)), differing) {
            Ask::Look => {}
            end => break end,
        }
    };

    assert_eq!(ended(end).0, Some(Outcome::Unstable));
}

#[test]
fn what_a_condition_cannot_hold_is_looked_at_right_before_the_write() {
    let (rules, key) = (rules(), key());
    let wide = |version| {
        let mut wide = item(version);
        wide.extend((0..200).map(|n| (format!("a{n}"), Value::Null)));
        wide
    };
    let mut mending = Mending::new(&rules, &key, Kind::Differing);

    let held = mending.seen(Some(wide(2)), Some(wide(1)), Look::Held, NOW, differing);
    assert!(matches!(held, Ask::Look));
    planned(mending.seen(Some(wide(2)), Some(wide(1)), Look::Fresh, NOW, differing));
    let (outcome, reason) = ended(mending.written(Written::Made));

    assert_eq!(outcome, Some(Outcome::Written));
    assert!(reason.is_some_and(|reason| reason.contains("119 of 201 attributes")));
}

#[test]
fn agreement_heals_unless_it_may_be_our_own_doing() {
    let (rules, key) = (rules(), key());
    for (kind, both, ours) in [
        (Kind::Missing, Some(1), (Some(Outcome::Written), None)),
        (Kind::Differing, Some(1), (Some(Outcome::Written), None)),
        (Kind::Extra, None, (Some(Outcome::Deleted), None)),
        (Kind::Extra, Some(1), (Some(Outcome::Skipped), Some(CHANGED_MEANWHILE.to_owned()))),
        (Kind::Missing, None, (Some(Outcome::Skipped), Some(CHANGED_MEANWHILE.to_owned()))),
    ] {
        let mut untouched = Mending::new(&rules, &key, kind);
        assert_eq!(ended(seen(&mut untouched, both, both)), (None, None));
        let mut inherited = Mending::new(&rules, &key, kind);
        inherited.may_have_written();
        assert_eq!(ended(seen(&mut inherited, both, both)), ours);
    }
}
