//! Without faults: the report is what the oracle says, only what was asked for is written, and it is right.

use shared::domain::decide::{ExtraHandling, Handling, Kind, Policy, Repair};
use shared::domain::job::{Confirm, Consistency, StrategyChoice, SyncSettings};
use shared::domain::key::KeyType;
use shared::domain::value::{Item, Value};
use tests::generate::{Pair, Shares, pair_of_tables, schema, table};
use tests::oracle::key_text;
use tests::world::{DRY_RUN, REPAIR, Report, Worker, World};

const SHARES: Shares = Shares { missing: 0.2, differing: 0.2, extra: 0.2 };

fn pairs() -> impl Iterator<Item = (u64, Pair)> {
    let kinds = [
        (KeyType::S, None),
        (KeyType::N, None),
        (KeyType::B, None),
        (KeyType::S, Some(KeyType::N)),
        (KeyType::N, Some(KeyType::B)),
        (KeyType::B, Some(KeyType::S)),
    ];
    kinds.into_iter().zip(seed()..).map(|((partition, sort), seed)| {
        let items = [40, 1, 17, 60, 33, 25][usize::try_from(seed % 6).expect("it is small")];
        (seed, pair_of_tables(&schema(partition, sort), seed, items, SHARES))
    })
}

/// Other cases with every value of `DYNAMEND_TEST_SEED`.
pub(super) fn seed() -> u64 {
    std::env::var("DYNAMEND_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0)
}

pub(super) const STRATEGIES: [StrategyChoice; 2] = [StrategyChoice::Lookup, StrategyChoice::Paired];

/// One pass over each table, which is what most tests count with.
pub(super) fn settings(policy: Policy) -> SyncSettings {
    settings_by(StrategyChoice::Lookup, policy)
}

pub(super) fn settings_by(strategy: StrategyChoice, policy: Policy) -> SyncSettings {
    SyncSettings { policy, strategy, ..SyncSettings::default() }
}

fn all_policies() -> Vec<Policy> {
    let mut policies = Vec::new();
    for missing in [Handling::Report, Handling::Repair] {
        for differing in [Handling::Report, Handling::Repair] {
            for extra in [ExtraHandling::Ignore, ExtraHandling::Report, ExtraHandling::Delete] {
                policies.push(Policy { missing, differing, extra });
            }
        }
    }
    policies
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_reports_what_the_oracle_finds_and_writes_nothing() {
    for (seed, pair) in pairs() {
        for (strategy, (segments, per_page)) in
            STRATEGIES.into_iter().flat_map(|strategy| [(1, 3), (5, 1), (16, 1000)].map(|shape| (strategy, shape)))
        {
            let world = World::of_pair(&pair, per_page);
            let worker = Worker::default();

            let report = world.sync(segments, settings_by(strategy, DRY_RUN), &worker).await;

            report.assert_exact(std::slice::from_ref(&pair.expected), DRY_RUN, pair.master.len());
            assert_eq!(worker.faults.writes(), 0, "seed {seed}");
            assert_eq!(world.tables[1].len(), pair.slave.len());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_combination_of_flags_changes_only_its_own_class() {
    let pair = pair_of_tables(&schema(KeyType::S, Some(KeyType::N)), seed(), 50, SHARES);
    for (policy, strategy) in
        all_policies().into_iter().flat_map(|policy| STRATEGIES.map(|strategy| (policy, strategy)))
    {
        let world = World::of_pair(&pair, 7);
        let worker = Worker::default();

        let report = world.sync(3, settings_by(strategy, policy), &worker).await;

        report.assert_exact(std::slice::from_ref(&pair.expected), policy, pair.master.len());
        let mut left = pair.expected.clone();
        if policy.repair(Kind::Missing) != Repair::None {
            left.missing.clear();
        }
        if policy.repair(Kind::Differing) != Repair::None {
            left.differing.clear();
        }
        if policy.repair(Kind::Extra) != Repair::None {
            left.extra.clear();
        }
        assert_eq!(world.differences(), [left], "{policy:?}");
        assert_eq!(worker.faults.writes() > 0, policy.writes(), "{policy:?}");
        assert_eq!(world.tables[0].len(), pair.master.len(), "the master is never written");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_repair_the_slave_is_the_master_and_a_second_run_finds_nothing() {
    for (seed, pair) in pairs() {
        let confirms = [Confirm::AfterMillis(1000), Confirm::AfterMillis(0), Confirm::Never];
        for (confirm, strategy) in
            confirms.into_iter().flat_map(|confirm| STRATEGIES.map(|strategy| (confirm, strategy)))
        {
            let world = World::of_pair(&pair, 4);
            let settings = SyncSettings {
                confirm,
                batch_read_limit: 3,
                scan_consistency: Consistency::Strong,
                ..settings_by(strategy, REPAIR)
            };

            let report = world.sync(4, settings.clone(), &Worker::default()).await;

            report.assert_exact(std::slice::from_ref(&pair.expected), REPAIR, pair.master.len());
            world.assert_in_step();

            let again = Worker::default();
            let job = world.job_named("again", 4, settings).await;
            world.work(&again, &job.enqueue().await).await.unwrap();
            job.report().await.assert_exact(&[Default::default()], REPAIR, pair.master.len());
            assert_eq!(again.faults.writes(), 0, "seed {seed}");
            job.assert_summary_is_written().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn several_slaves_are_held_apart() {
    let schema = schema(KeyType::S, None);
    let pair = pair_of_tables(&schema, seed(), 60, SHARES);
    let empty: &[Item] = &[];
    let worlds = || World::new(&schema, [&pair.master, &pair.slave, empty, pair.master.as_slice()], 9);
    for (policy, strategy) in
        [DRY_RUN, REPAIR].into_iter().flat_map(|policy| STRATEGIES.map(|strategy| (policy, strategy)))
    {
        let world = worlds();
        let expected = world.differences();
        assert_eq!(expected[1].missing.len(), 60);

        let report = world.sync(4, settings_by(strategy, policy), &Worker::default()).await;

        report.assert_exact(&expected, policy, 60);
        assert_eq!(world.tables[3].items(), world.tables[0].items());
        if policy == REPAIR {
            world.assert_in_step();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_master_and_empty_slaves_are_fine() {
    let schema = schema(KeyType::N, None);
    let items = table(&schema, seed(), 30);
    let empty: &[Item] = &[];
    let pairs = [(empty, empty), (empty, items.as_slice()), (items.as_slice(), empty)];
    for ((master, slave), strategy) in pairs.into_iter().flat_map(|pair| STRATEGIES.map(|strategy| (pair, strategy))) {
        let world = World::new(&schema, [master, slave], 4);
        let expected = world.differences();

        let report = world.sync(3, settings_by(strategy, REPAIR), &Worker::default()).await;

        report.assert_exact(&expected, REPAIR, master.len());
        world.assert_in_step();
    }
}

#[tokio::test(start_paused = true)]
async fn a_slave_that_lacks_all_of_twenty_thousand_items_is_filled() {
    let schema = schema(KeyType::S, None);
    let item = |n: u32| -> Item { [("id".to_owned(), Value::S(format!("{n:06}")))].into() };
    let items: Vec<Item> = (0..20_000).map(item).collect();
    for strategy in STRATEGIES {
        let world = World::new(&schema, [items.as_slice(), &[]], 5_000);

        let Report { summary, lines } = world.sync(2, settings_by(strategy, REPAIR), &Worker::default()).await;

        assert_eq!((summary.slaves[0].missing, summary.slaves[0].written, lines.len()), (20_000, 20_000, 20_000));
        assert_eq!(world.tables[1].items().len(), 20_000);
        let keys: std::collections::BTreeSet<String> =
            world.tables[1].items().iter().map(|item| key_text(&schema, item)).collect();
        assert_eq!(keys.len(), 20_000);
    }
}
