use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::domain::digest::Digest;

/// A bound that no test reaches.
const ROOMY: usize = usize::MAX;

/// A table: keys in the order of its scan, each with its content.
type Table = Vec<(u32, u32)>;

fn page(items: &[(u32, u32)]) -> Arc<Entries> {
    let mut entries = Entries::default();
    for &(key, content) in items {
        // Spread as hashes are; the lower halves of two keys may fall together.
        let digest = Digest { key: u128::from(key) * 0x9E37_79B9_7F4A_7C15, item: u128::from(content) };
        entries.push(digest, [key.to_string().as_str()]).unwrap();
    }
    Arc::new(entries)
}

fn key_of(page: &Entries, index: usize) -> u32 {
    u32::try_from(page.digests()[index].key / 0x9E37_79B9_7F4A_7C15).unwrap()
}

/// What a join said of two tables.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    identical: u64,
    differing: BTreeSet<u32>,
    only: [BTreeSet<u32>; 2],
    /// Most bytes that the windows took.
    most_held: usize,
    /// Most entries that a window had.
    widest: u64,
    distrust: Option<Distrust>,
}

impl Said {
    fn hear(&mut self, candidates: Vec<Candidate>) {
        for Candidate { suspicion, page, index } in candidates {
            let key = key_of(&page, index);
            let new = match suspicion {
                Suspicion::Differing => self.differing.insert(key),
                Suspicion::OnlyIn(Stream::Master) | Suspicion::NotAwaited(Stream::Master) => self.only[0].insert(key),
                Suspicion::OnlyIn(Stream::Slave) | Suspicion::NotAwaited(Stream::Slave) => self.only[1].insert(key),
            };
            assert!(new, "{key} was given out twice");
        }
    }
}

/// Joins two tables, reading pages of the given lengths as the join wants them.
fn joined(master: &Table, slave: &Table, pages: &[usize], bytes: usize) -> Said {
    let mut join = Join::new(bytes);
    let mut said = Said::default();
    let mut rest = [master.as_slice(), slave.as_slice()];
    let mut lengths = pages.iter().cycle();
    while !join.has_ended() {
        assert!(join.wants(Stream::Master) || join.wants(Stream::Slave), "a join that has not ended wants something");
        for (stream, rest) in [Stream::Master, Stream::Slave].into_iter().zip(&mut rest) {
            if !join.wants(stream) {
                continue;
            }
            let length = (*lengths.next().unwrap()).min(rest.len());
            let mut out = Vec::new();
            said.identical += join.push(stream, &page(&rest[..length]), &mut out);
            *rest = &rest[length..];
            if rest.is_empty() {
                join.end(stream, &mut out);
            }
            said.hear(out);
            said.most_held = said.most_held.max(join.held_bytes());
            said.widest = said.widest.max(join.master.len()).max(join.slave.len());
        }
    }
    assert!(matches!(join.low_water(Stream::Master), LowWater::AllRead));
    assert!(matches!(join.low_water(Stream::Slave), LowWater::AllRead));
    said.distrust = join.distrust();
    said
}

fn brute_force(master: &Table, slave: &Table) -> Said {
    let by_key = |table: &Table| table.iter().copied().collect::<BTreeMap<u32, u32>>();
    let (master, slave) = (by_key(master), by_key(slave));
    let only = |one: &BTreeMap<u32, u32>, other: &BTreeMap<u32, u32>| {
        one.keys().filter(|key| !other.contains_key(key)).copied().collect::<BTreeSet<u32>>()
    };
    let both = master.iter().filter_map(|(key, content)| Some((*key, *content, *slave.get(key)?)));
    let (same, differing): (Vec<_>, Vec<_>) = both.partition(|(_, one, other)| one == other);
    Said {
        identical: same.len() as u64,
        differing: differing.into_iter().map(|(key, ..)| key).collect(),
        only: [only(&master, &slave), only(&slave, &master)],
        ..Said::default()
    }
}

/// Two tables in the same order: keys are missing on either side, and contents differ.
fn tables() -> impl Strategy<Value = (Table, Table)> {
    let item = prop_oneof![
        6 => Just((true, true, false)),
        1 => Just((true, true, true)),
        1 => Just((true, false, false)),
        1 => Just((false, true, false)),
    ];
    // Runs make one-sided stretches longer than a page.
    let runs = proptest::collection::vec((item, 1..20_usize), 0..40);
    runs.prop_map(|runs| {
        let items = runs.into_iter().flat_map(|(item, length)| std::iter::repeat_n(item, length));
        let (mut master, mut slave) = (Table::new(), Table::new());
        for (key, (in_master, in_slave, differs)) in (1..).zip(items) {
            if in_master {
                master.push((key, 0));
            }
            if in_slave {
                slave.push((key, u32::from(differs)));
            }
        }
        (master, slave)
    })
}

fn page_lengths() -> impl Strategy<Value = Vec<usize>> {
    // Empty pages that are not the last are legal.
    proptest::collection::vec(0..30_usize, 1..5)
        .prop_filter("some page has items", |lengths| lengths.iter().any(|&length| length > 0))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tables_of_one_order_give_exactly_their_differences_as_candidates(
        (master, slave) in tables(), pages in page_lengths(),
    ) {
        let said = joined(&master, &slave, &pages, ROOMY);
        let truth = brute_force(&master, &slave);

        prop_assert_eq!(said.identical, truth.identical);
        prop_assert_eq!(said.differing, truth.differing);
        prop_assert_eq!(said.only, truth.only);
        prop_assert_eq!(said.distrust, None);
    }

    #[test]
    fn in_any_order_and_any_window_every_item_is_decided_once_and_no_difference_is_lost(
        (master, slave) in tables(), shuffled in any::<prop::sample::Index>(), pages in page_lengths(), bytes in 0..4000_usize,
        reversed in any::<bool>(),
    ) {
        let mut slave = slave;
        if reversed {
            slave.reverse();
        }
        if !slave.is_empty() {
            let by = shuffled.index(slave.len());
            slave.rotate_left(by);
            let half = slave.len() / 2;
            slave.swap(0, half);
        }
        let said = joined(&master, &slave, &pages, bytes);
        let truth = brute_force(&master, &slave);

        prop_assert!(said.only[0].is_superset(&truth.only[0]));
        prop_assert!(said.only[1].is_superset(&truth.only[1]));
        // What both have and is not the same is either met or given up on both sides.
        for key in &truth.differing {
            prop_assert!(said.differing.contains(key) || said.only.iter().all(|only| only.contains(key)));
        }
        // Each item was counted or given out, and never both.
        let met = said.identical + said.differing.len() as u64;
        prop_assert_eq!(met + said.only[0].len() as u64, master.len() as u64);
        prop_assert_eq!(met + said.only[1].len() as u64, slave.len() as u64);
    }
}

#[test]
fn windows_stay_a_page_long_whatever_is_missing() {
    let all: Table = (1..=20_000).map(|key| (key, 0)).collect();
    for kept in [1, 2, 100] {
        let slave: Table = all.iter().copied().filter(|(key, _)| key % kept == 0).collect();
        let said = joined(&all, &slave, &[500], ROOMY);

        assert_eq!(said.only[0].len(), 20_000 - slave.len());
        assert!(said.widest <= 1000, "every {kept}th: {}", said.widest);
    }
}

#[test]
fn an_empty_side_retires_the_other_page_by_page() {
    let master: Table = (1..=10_000).map(|key| (key, 0)).collect();

    let said = joined(&master, &Table::new(), &[100], ROOMY);

    assert_eq!(said.only[0].len(), 10_000);
    assert!(said.widest <= 100, "{}", said.widest);
}

#[test]
fn memory_stays_within_the_bound_when_nothing_ever_matches() {
    let master: Table = (1..=50_000).map(|key| (key, 0)).collect();
    let slave: Table = (100_001..=150_000).map(|key| (key, 0)).collect();
    let bound = 200_000;

    let said = joined(&master, &slave, &[500], bound);

    // On each side, one page is held in any case, and some of what was given up is remembered.
    let more = page(&master[..500]).held_bytes() + 500_000;
    assert!(said.most_held <= 2 * (bound + more), "{}", said.most_held);
    assert_eq!((said.only[0].len(), said.only[1].len()), (50_000, 50_000));
    assert_eq!(said.distrust, Some(Distrust::Membership));
}

#[test]
fn another_order_is_noticed_and_an_item_in_flight_is_not_taken_for_one() {
    let master: Table = (1..=5000).map(|key| (key, 0)).collect();
    let reversed: Table = master.iter().rev().copied().collect();
    assert_eq!(joined(&master, &reversed, &[500], ROOMY).distrust, Some(Distrust::Order));

    let mut late = master.clone();
    late.swap(10, 20);
    late.swap(3000, 3005);
    assert_eq!(joined(&master, &late, &[500], ROOMY).distrust, None);
}

#[test]
fn a_side_is_decided_up_to_its_last_match() {
    let mut join = Join::new(ROOMY);
    let mut out = Vec::new();
    let at = |join: &Join, stream| match join.low_water(stream) {
        LowWater::Unmoved => 0,
        LowWater::After(page, index) => key_of(&page, index),
        LowWater::AllRead => u32::MAX,
    };
    join.push(Stream::Master, &page(&[(1, 0), (2, 0), (3, 0), (5, 0)]), &mut out);
    assert_eq!((at(&join, Stream::Master), at(&join, Stream::Slave)), (0, u32::MAX));

    join.push(Stream::Slave, &page(&[(2, 0), (3, 0), (4, 0)]), &mut out);
    assert_eq!((at(&join, Stream::Master), at(&join, Stream::Slave)), (3, 3));
    assert_eq!((join.decided(Stream::Master), join.decided(Stream::Slave)), (3, 2));
    assert_eq!(out.len(), 1);

    join.give_up(&mut out);
    assert_eq!((at(&join, Stream::Master), at(&join, Stream::Slave), out.len()), (u32::MAX, u32::MAX, 3));
}
