//! Repairs in every order with other writers: the slave ends as the master, nothing newer is lost, no delete undone.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use shared::domain::job::AfterWrite;
use tests::explore::{Broken, Change, Image, Mode, Scenario, Versions};

/// How master and slave stand at first, and what is on its way.
const BEGINNINGS: [(Image, Image, &[Image]); 9] = [
    // A change that was lost.
    (Some(2), None, &[]),
    (Some(2), Some(1), &[]),
    (None, Some(1), &[]),
    // A slave that lags behind.
    (Some(2), None, &[Some(2)]),
    (Some(2), Some(1), &[Some(2)]),
    (None, Some(1), &[None]),
    (Some(3), Some(1), &[None, Some(3)]),
    (Some(3), Some(1), &[Some(2), Some(3)]),
    (None, None, &[Some(2), None]),
];

const VERSIONED: Mode = Mode::Guarded { versions: Versions::Named, after_write: AfterWrite::Trust };
const UNVERSIONED: Mode = Mode::Guarded { versions: Versions::Unnamed, after_write: AfterWrite::Trust };
const VERIFIED: Mode = Mode::Guarded { versions: Versions::Unnamed, after_write: AfterWrite::Verify };

fn scenario((master, slave, under_way): (Image, Image, &[Image]), client: Vec<Change>, mode: Mode) -> Scenario {
    let under_way = under_way.to_vec();
    Scenario { master, slave, under_way, client, foreign: Vec::new(), mode, runs: 1, crashes: 0 }
}

/// What a client may do. An image that comes back is no change that a condition could tell, so that is for those who
/// ask for verification.
fn changes(mode: Mode) -> &'static [Change] {
    match mode {
        Mode::Guarded { after_write: AfterWrite::Trust, .. } => &[Change::Put, Change::Delete],
        Mode::Guarded { after_write: AfterWrite::Verify, .. } | Mode::Unconditional => {
            &[Change::Put, Change::Delete, Change::PutBack]
        }
    }
}

/// All sequences of so many changes, or fewer.
fn clients(longest: usize, mode: Mode) -> Vec<Vec<Change>> {
    let changes = changes(mode);
    let mut all = vec![Vec::new()];
    let mut last = all.clone();
    for _ in 0..longest {
        let longer = |client: &Vec<Change>| {
            let client = client.clone();
            changes.iter().map(move |change| client.iter().copied().chain([*change]).collect::<Vec<_>>())
        };
        last = last.iter().flat_map(longer).collect();
        all.extend(last.clone());
    }
    all
}

fn explore_all(longest: usize, mode: Mode, change: impl Fn(Scenario) -> Scenario) -> Result<usize, Box<Broken>> {
    let mut states = 0;
    for beginning in BEGINNINGS {
        for client in clients(longest, mode) {
            states += change(scenario(beginning, client, mode)).explore()?;
        }
    }
    Ok(states)
}

fn assert_holds(result: Result<usize, Box<Broken>>, at_least: usize) {
    let states = result.unwrap_or_else(|broken| panic!("{broken:?}"));
    assert!(states >= at_least, "only {states} states");
}

#[test]
fn whatever_the_order_of_steps_the_slave_ends_as_the_master() {
    for mode in [UNVERSIONED, VERIFIED] {
        assert_holds(explore_all(2, mode, |scenario| scenario), 5_000);
    }
    assert_holds(explore_all(3, VERSIONED, |scenario| scenario), 10_000);
}

#[test]
fn two_runs_side_by_side_do_each_other_no_harm() {
    for mode in [VERSIONED, VERIFIED] {
        assert_holds(explore_all(1, mode, |scenario| Scenario { runs: 2, ..scenario }), 10_000);
    }
}

#[test]
fn a_run_that_dies_anywhere_leaves_nothing_unsaid() {
    for mode in [VERSIONED, UNVERSIONED, VERIFIED] {
        assert_holds(explore_all(2, mode, |scenario| Scenario { crashes: 1, ..scenario }), 10_000);
    }
}

#[test]
fn what_is_newer_on_the_slave_is_never_overwritten() {
    let foreign = |scenario| Scenario { foreign: vec![100, 200], ..scenario };
    assert_holds(explore_all(2, VERSIONED, foreign), 10_000);
    assert_holds(explore_all(2, UNVERSIONED, foreign), 10_000);
}

#[test]
fn the_search_catches_a_repair_without_conditions() {
    let broken = explore_all(2, Mode::Unconditional, |scenario| scenario).expect_err("it does harm");

    assert!(!broken.steps.is_empty());
}

#[test]
fn an_image_that_comes_back_is_told_only_by_verification() {
    let (beginning, client) = ((Some(2), Some(1), &[][..]), vec![Change::PutBack]);

    assert!(scenario(beginning, client.clone(), UNVERSIONED).explore().is_err());
    scenario(beginning, client, VERIFIED).explore().expect("the master is read again");
}

#[test]
fn long_ways_taken_by_chance_end_well_too() {
    for seed in 0..20_000 {
        let mut random = StdRng::seed_from_u64(seed);
        let mode = [VERSIONED, UNVERSIONED, VERIFIED][random.random_range(0..3)];
        let changes = changes(mode);
        let client = (0..random.random_range(0..12)).map(|_| changes[random.random_range(0..changes.len())]).collect();
        let beginning = BEGINNINGS[random.random_range(0..BEGINNINGS.len())];
        let (runs, crashes) = (random.random_range(1..4), random.random_range(0..3));
        let scenario = Scenario { runs, crashes, ..scenario(beginning, client, mode) };
        scenario.wander(seed).unwrap_or_else(|broken| panic!("seed {seed}: {broken:?}"));
    }
}
