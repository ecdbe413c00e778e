use proptest::prelude::*;

use super::*;
use crate::domain::key::{KeyAttribute, KeySchema, KeyType};

fn key(name: &str) -> Key {
    let schema = KeySchema { partition: KeyAttribute { name: "id".into(), kind: KeyType::S }, sort: None };
    Key::parse(&schema, &format!(r#"{{"id":"{name}"}}"#)).unwrap()
}

fn at(ms: i64) -> Created {
    Created::in_millisecond(ms)
}

#[test]
fn what_was_made_before_the_doubt_ends_is_read_again_and_what_came_after_is_believed() {
    let overlap = Overlap::new(Order::ByItem, 10_000, 7);

    assert_eq!(overlap.trust(&key("a"), at(9_999)), Trust::Reread);
    assert_eq!(overlap.trust(&key("a"), at(10_000)), Trust::Word);
    assert_eq!(overlap.trust(&key("a"), Created::in_second(9)), Trust::Reread);
}

#[test]
fn a_read_covers_what_was_surely_before_it_and_nothing_that_may_be_after_it() {
    let mut overlap = Overlap::new(Order::ByItem, 0, 7);
    overlap.read(&key("a"), 100_000, 100_000);

    assert_eq!(overlap.trust(&key("a"), at(90_000)), Trust::Known);
    assert_eq!(overlap.trust(&key("a"), at(99_000)), Trust::Reread);
    assert_eq!(overlap.trust(&key("a"), at(101_000)), Trust::Reread);
    assert_eq!(overlap.trust(&key("a"), at(105_000)), Trust::Word);
    assert_eq!(overlap.trust(&key("b"), at(90_000)), Trust::Word);
}

#[test]
fn where_order_is_by_time_an_older_record_changes_nothing_and_one_of_the_same_moment_asks_the_master() {
    let mut overlap = Overlap::new(Order::ByTime, 0, 7);
    overlap.applied(&key("a"), at(1_000));

    assert_eq!(overlap.trust(&key("a"), at(999)), Trust::Known);
    assert_eq!(overlap.trust(&key("a"), at(1_000)), Trust::Reread);
    assert_eq!(overlap.trust(&key("a"), at(1_001)), Trust::Word);
}

#[test]
fn what_is_forgotten_stays_in_doubt() {
    let mut overlap = Overlap::new(Order::ByItem, 0, 7);
    for n in 0..=MAX_KEPT {
        overlap.read(&key(&n.to_string()), 1_000_000, 1_000_000);
    }

    assert_eq!(overlap.trust(&key("0"), at(900_000)), Trust::Reread);
    assert_eq!(overlap.trust(&key("never seen"), at(1_004_999)), Trust::Reread);
    assert_eq!(overlap.trust(&key("never seen"), at(1_005_000)), Trust::Word);
    assert!(overlap.since.len() <= MAX_KEPT && overlap.known.len() <= MAX_KEPT);
}

#[test]
fn once_the_stream_is_long_past_a_read_nothing_is_kept_of_it() {
    let mut overlap = Overlap::new(Order::ByItem, 0, 7);
    overlap.read(&key("a"), 1_000, 1_000);

    overlap.reached(at(1_000 + SKEW_MS + STRAGGLERS_MS + 1));

    assert!(overlap.known.is_empty() && overlap.since.is_empty());
    assert_eq!(overlap.in_doubt_until_ms(), 1_000 + SKEW_MS);
}

/// The changes of one item, made at these times; the record of the n-th says that it is at version n.
fn history() -> impl Strategy<Value = Vec<i64>> {
    prop::collection::vec(1_i64..4_000, 1..12).prop_map(|gaps| {
        gaps.iter()
            .scan(0, |at, gap| {
                Some({
                    *at += gap;
                    *at
                })
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Replays a history from any point, with any lag, any clock that is off by less than the skew, after a predecessor
    /// or a backfill left any version that was there before the doubt ends.
    #[test]
    fn a_slave_never_goes_back_and_ends_at_the_last_version(
        times in history(),
        from in any::<prop::sample::Index>(),
        lags in prop::collection::vec(0_i64..20_000, 12),
        skew in -(SKEW_MS - 1)..SKEW_MS,
        begun in 0_i64..60_000,
        in_seconds in any::<bool>(),
    ) {
        let version_at = |now: i64| times.iter().take_while(|&&at| at <= now).count();
        let created = |at: i64| if in_seconds { Created::in_second(at.div_euclid(1000)) } else { at_ms(at) };
        let first = from.index(times.len());
        // Before it, somebody may have written anything that the master had by then.
        let begun = begun.max(times[first]);
        let mut slave = version_at(begun);
        let mut overlap = Overlap::new(Order::ByItem, begun + skew + SKEW_MS, 7);
        let mut now = begun;
        for (index, &made) in times.iter().enumerate().skip(first) {
            now = now.max(made + lags[index]);
            let applied = match overlap.trust(&key("a"), created(made)) {
                Trust::Known => slave,
                Trust::Word => { overlap.applied(&key("a"), created(made)); index + 1 }
                Trust::Reread => { overlap.read(&key("a"), now + skew, now + skew); version_at(now) }
            };
            prop_assert!(applied >= slave, "from version {slave} back to {applied}");
            slave = applied;
        }
        prop_assert_eq!(slave, times.len());
    }
}

fn at_ms(ms: i64) -> Created {
    at(ms)
}
