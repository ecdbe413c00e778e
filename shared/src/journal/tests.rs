//! What the journal promises to workers that die, stall, race and meet files that are not theirs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::json;

use super::{Acquired, GivenUp, Intent, Journal, JournalError, OwnedUnit, Step};
use crate::domain::checkpoint::{MAX_ATTEMPTS, MAX_FAILURES, Position, State};
use crate::domain::control::Wish;
use crate::domain::decide::Kind;
use crate::domain::discrepancy::{Discrepancy, Outcome};
use crate::domain::job::{JobKind, MANIFEST_VERSION, Manifest, Side, SyncSettings};
use crate::domain::limits::{Ceilings, Limits};
use crate::domain::summary::LeaseView;
use crate::domain::tally::Tally;
use crate::domain::unit::{Pass, Unit};
use crate::local::memory::MemoryStore;
use crate::ports::contract;
use crate::ports::failure::Failure;
use crate::ports::faulty::{FaultPlan, FaultyStore, Moment};
use crate::ports::objects::{Listing, Object, ObjectStore, PutMode, Version};

const LEASE: Duration = Duration::from_secs(60);
/// The resolution of a store's clock is a second, and a lease is over only after it.
const PAST_THE_LEASE: Duration = Duration::from_secs(62);
const UNIT: Unit = Unit { pass: Pass::Master, segment: 3 };
const CHECKPOINT: &str = "jobs/J/units/master/000003/checkpoint.json";

fn folder() -> (Arc<MemoryStore>, Journal) {
    let store = Arc::new(MemoryStore::new("memory"));
    (Arc::clone(&store), Journal::new(store, "J"))
}

fn faulty(store: &Arc<MemoryStore>, plan: FaultPlan) -> Journal {
    let journal = Journal::new(Arc::new(FaultyStore::new(Arc::clone(store) as Arc<dyn ObjectStore>, plan)), "J");
    // Whoever works on a job has read its manifest; these tests count the calls that come after.
    journal.store.learn(None);
    journal
}

fn manifest() -> Manifest {
    let side = |name: &str| Side::new(name.parse().unwrap(), Default::default());
    Manifest {
        version: MANIFEST_VERSION,
        job: "J".to_owned(),
        kind: JobKind::Sync,
        created_at: "2026-11-20T23:15:00.000Z".to_owned(),
        master: side("us-east-1:master"),
        slaves: vec![side("us-east-1:slave")],
        key_schema: contract::table::schema(),
        total_segments: 8,
        encryption: None,
        only_segments: None,
        sample: None,
        starting_keys: Default::default(),
        strategies: Vec::new(),
        limits: Default::default(),
        sync: SyncSettings::default(),
        backfill: None,
        replicate: None,
        backup: None,
        source: None,
    }
}

async fn acquire(journal: &Journal) -> Acquired {
    journal.acquire(UNIT, 1, None, &format!("{:x}", rand::random::<u64>()), LEASE).await.unwrap()
}

async fn own(journal: &Journal) -> Box<OwnedUnit> {
    match acquire(journal).await {
        Acquired::Owned(owned) => owned,
        other => panic!("the unit cannot be taken: {}", name(&other)),
    }
}

fn name(acquired: &Acquired) -> &'static str {
    match acquired {
        Acquired::Owned(_) => "owned",
        Acquired::Done => "done",
        Acquired::Failed => "failed",
        Acquired::Busy(_) => "busy",
    }
}

fn line(id: &str) -> Discrepancy {
    Discrepancy {
        segment: UNIT.segment,
        slave: "us-east-1:slave".to_owned(),
        kind: Kind::Missing,
        key: json!({"id": {"S": id}}),
        attributes: Vec::new(),
        outcome: Outcome::Reported,
        reason: None,
        at: "2026-11-20T23:15:00.000Z".to_owned(),
        values: None,
    }
}

fn step(position: &str, lines: &[&str]) -> Step {
    let mut tally = Tally::zero(1);
    tally.slaves[0].missing = lines.len() as u64;
    let position = Position::After(json!({"id": {"S": position}}));
    Step { position, tally, lines: lines.iter().map(|id| line(id)).collect(), ..Step::default() }
}

/// What a report would show of the unit.
async fn report(journal: &Journal) -> Vec<String> {
    let Some(view) = journal.view(UNIT).await.unwrap() else { return Vec::new() };
    let mut ids = Vec::new();
    for part in &view.checkpoint.parts {
        let lines = journal.part(UNIT, part).await.unwrap();
        ids.extend(lines.into_iter().map(|line| line.key["id"]["S"].as_str().unwrap().to_owned()));
    }
    ids
}

async fn state(journal: &Journal) -> State {
    journal.view(UNIT).await.unwrap().expect("it has a checkpoint").checkpoint.state
}

fn assert_lost<T>(result: Result<T, JournalError>) {
    match result {
        Err(JournalError::Lost { unit }) => assert_eq!(unit, UNIT),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("a worker that was replaced could still commit"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_fresh_unit_is_taken_and_then_busy_until_its_lease_ends() {
    let (_, journal) = folder();
    let _owned = own(&journal).await;

    tokio::time::advance(LEASE / 2).await;
    match acquire(&journal).await {
        Acquired::Busy(left) => assert_eq!(left, LEASE / 2 + Duration::from_secs(1)),
        other => panic!("{}", name(&other)),
    }
    tokio::time::advance(LEASE / 2).await;
    assert_eq!(name(&acquire(&journal).await), "busy", "stamps are cut to a second, so the last one counts as well");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(name(&acquire(&journal).await), "owned");
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_judged_by_the_stores_clock_alone() {
    let (store, journal) = folder();
    let owned = own(&journal).await;

    store.put_clock_forward(PAST_THE_LEASE);

    assert!(owned.is_good(), "its own clock says nothing yet");
    assert_eq!(journal.view(UNIT).await.unwrap().unwrap().lease, LeaseView::Expired);
    assert_eq!(name(&acquire(&journal).await), "owned");
}

#[tokio::test(start_paused = true)]
async fn a_renewed_lease_lasts_as_long_again() {
    let (_, journal) = folder();
    let owned = own(&journal).await;
    tokio::time::advance(LEASE * 2 / 3).await;
    owned.renew().await.unwrap();
    tokio::time::advance(LEASE * 2 / 3).await;

    assert!(owned.is_good());
    assert_eq!(name(&acquire(&journal).await), "busy");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_waits_is_not_sent_after_the_lease_and_is_after_a_renewal() {
    for is_renewed in [false, true] {
        let (_, journal) = folder();
        let owned = own(&journal).await;
        let write = owned.while_good(async {
            // It waits for capacity.
            tokio::time::sleep(PAST_THE_LEASE).await;
            "sent"
        });
        let renew = async {
            tokio::time::sleep(LEASE / 2).await;
            if is_renewed {
                owned.renew().await.unwrap();
            }
        };

        let (answer, ()) = tokio::join!(write, renew);

        assert_eq!(answer, is_renewed.then_some("sent"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_unit_that_ended_is_not_taken_again() {
    let (_, journal) = folder();
    own(&journal).await.finish(step("z", &["a"])).await.unwrap();
    assert_eq!(name(&acquire(&journal).await), "done");
    assert!(!journal.requeue(UNIT).await.unwrap(), "a unit that is done needs no message");
    assert_eq!(state(&journal).await, State::Done);

    let (_, journal) = folder();
    own(&journal).await.fail("access denied").await.unwrap();
    tokio::time::advance(PAST_THE_LEASE).await;
    assert_eq!(name(&acquire(&journal).await), "failed");
}

#[tokio::test(start_paused = true)]
async fn of_many_that_race_for_a_unit_one_owns_it() {
    for is_fresh in [true, false] {
        let (store, journal) = folder();
        if !is_fresh {
            drop(own(&journal).await);
            tokio::time::advance(PAST_THE_LEASE).await;
        }
        // Puts take a second, so that all of them read before any of them writes.
        let slow = Dawdling::new(store, Dawdle::BeforePutting(Duration::from_secs(1)));
        let journal = Journal::new(slow, "J");
        let racers = (0..16).map(|_| acquire(&journal));

        let taken = futures::future::join_all(racers).await;

        let owners = taken.iter().filter(|acquired| name(acquired) == "owned").count();
        let busy = taken.iter().filter(|acquired| name(acquired) == "busy").count();
        assert_eq!((owners, busy), (1, 15));
    }
}

#[tokio::test(start_paused = true)]
async fn a_replaced_owner_is_told_so_and_nothing_of_it_counts() {
    let (store, journal) = folder();
    let zombie = own(&journal).await;
    zombie.commit(step("a", &["a"])).await.unwrap();
    store.put_clock_forward(PAST_THE_LEASE);
    let heir = own(&journal).await;
    assert_eq!(heir.checkpoint().await.position, step("a", &[]).position);
    // Both are at their second part now; the first clock to notice is the store's.
    heir.commit(step("b", &["b"])).await.unwrap();
    assert!(zombie.is_good());

    assert_lost(zombie.commit(step("b", &["zombie"])).await);
    assert!(!zombie.is_good(), "it knows now, and writes nothing more");
    assert_lost(zombie.renew().await);
    assert_lost(zombie.release().await);
    assert_lost(zombie.fail("it is confused").await);
    assert_lost(zombie.finish(step("z", &["zombie"])).await);

    heir.finish(step("c", &["c"])).await.unwrap();
    assert_eq!(report(&journal).await, ["a", "b", "c"]);
    assert_eq!(state(&journal).await, State::Done);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_wakes_after_it_was_replaced_leaves_no_file_behind() {
    let (store, journal) = folder();
    let zombie = own(&journal).await;
    tokio::time::advance(PAST_THE_LEASE).await;
    assert!(!zombie.is_good(), "its own clock tells it without the store");
    let _heir = own(&journal).await;
    let before = store.puts();

    assert_lost(zombie.commit(step("b", &["zombie"])).await);

    assert_eq!(store.puts(), before, "it wrote {:?}", store.keys());
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_wakes_late_and_was_not_replaced_goes_on() {
    let (_, journal) = folder();
    let late = own(&journal).await;
    tokio::time::advance(PAST_THE_LEASE).await;

    late.commit(step("b", &["b"])).await.unwrap();

    assert!(late.is_good());
    assert_eq!(report(&journal).await, ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_commit_counts_once_wherever_its_answer_is_lost() {
    let mut whole = 0;
    for seed in 0..200 {
        let (store, journal) = folder();
        let failing = faulty(&store, FaultPlan::new(seed).failing(0.3));
        let Ok(Acquired::Owned(owned)) = failing.acquire(UNIT, 1, None, "me", LEASE).await else { continue };

        let first = owned.commit(step("a", &["a"])).await;
        let mut expected = report(&journal).await;
        assert!(first.is_err() || expected == ["a"], "seed {seed}: {expected:?}");
        let last = owned.finish(step("b", &["b"])).await;

        // What was answered with a failure may stand, and then it does so once; what was answered well does.
        if state(&journal).await == State::Done {
            expected.push("b".to_owned());
        }
        for error in [&first, &last].into_iter().filter_map(|result| result.as_ref().err()) {
            assert!(error.may_pass(), "seed {seed}: {error}");
        }
        assert!(last.is_err() || state(&journal).await == State::Done, "seed {seed}");
        assert_eq!(report(&journal).await, expected, "seed {seed}: {first:?}, {last:?}");
        whole += 1;
    }
    assert!(whole > 100, "only {whole} of 200 seeds showed anything");
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_call_leaves_a_commit_whole_or_not_at_all() {
    for moment in [Moment::Before, Moment::After] {
        for n in 1..=6 {
            let (store, journal) = folder();
            let plan = FaultPlan::new(1).crash_at(n, moment);
            let dying = faulty(&store, plan.clone());
            let work = async {
                let owned = own(&dying).await;
                owned.commit(step("a", &["a", "b"])).await.unwrap();
                owned.finish(step("z", &["c"])).await.unwrap();
            };
            tokio::select! {
                () = work => assert_eq!(n, 6 + 1, "the work has six calls"),
                () = plan.crashed() => {}
            }
            let lines = report(&journal).await;
            assert!([0, 2, 3].contains(&lines.len()), "crash {moment:?} call {n}: {lines:?}");
            let counted = journal.view(UNIT).await.unwrap().map_or(0, |view| view.checkpoint.tally.slaves[0].missing);
            let last = if lines.len() == 3 { 1 } else { lines.len() as u64 };
            assert_eq!(counted, last, "the counts are those of the report");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_put_without_an_answer_is_still_its_owners() {
    let (store, journal) = folder();
    let hanging = Dawdling::new(store, Dawdle::Not);
    let owned = own(&Journal::new(Arc::clone(&hanging) as Arc<dyn ObjectStore>, "J")).await;
    hanging.now(Dawdle::BeforeAnswering);
    let given_up = tokio::time::timeout(Duration::from_secs(1), owned.renew()).await;
    assert!(given_up.is_err(), "the put has arrived, and its answer has not");
    hanging.now(Dawdle::Not);

    owned.commit(step("a", &["a"])).await.expect("nobody else took the unit");
    owned.release().await.unwrap();

    assert_eq!(report(&journal).await, ["a"]);
    assert_eq!(state(&journal).await, State::Queued);
}

#[tokio::test(start_paused = true)]
async fn a_commit_without_an_answer_keeps_its_part() {
    let (store, journal) = folder();
    let hanging = Dawdling::new(store, Dawdle::Not);
    let owned = own(&Journal::new(Arc::clone(&hanging) as Arc<dyn ObjectStore>, "J")).await;
    hanging.now(Dawdle::BeforeAnsweringForCheckpoints);
    let given_up = tokio::time::timeout(Duration::from_secs(1), owned.commit(step("a", &["a"]))).await;
    assert!(given_up.is_err(), "the commit has arrived, and its answer has not");
    hanging.now(Dawdle::Not);

    owned.finish(step("b", &["b"])).await.expect("nobody else took the unit");

    assert_eq!(report(&journal).await, ["a", "b"], "the second part took the name of the first");
}

#[tokio::test(start_paused = true)]
async fn a_part_that_no_checkpoint_names_does_not_count() {
    let (store, journal) = folder();
    let owned = own(&journal).await;
    owned.commit(step("a", &["a"])).await.unwrap();
    let part = store.keys().into_iter().find(|key| key.contains("discrepancies")).unwrap();
    let copy = part.replace("discrepancies-0", "discrepancies-9");
    store.write(&copy, store.read(&part).unwrap());

    assert_eq!(report(&journal).await, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn no_part_is_ever_overwritten() {
    let (store, journal) = folder();
    let mut names = std::collections::BTreeSet::new();
    for n in 0..6 {
        let owned = own(&journal).await;
        owned.commit(step(&format!("{n}"), &["a"])).await.unwrap();
        owned.renew().await.unwrap();
        let pending = vec![Intent { slave: 0, line: line("p"), begun: crate::journal::Begun::Maybe }];
        owned.commit(Step { pending: pending.into_iter().collect(), ..step(&format!("{n}+"), &["b"]) }).await.unwrap();
        assert_eq!(owned.pending().await.unwrap().len(), 1);
        tokio::time::advance(PAST_THE_LEASE).await;
        names.extend(store.keys());
    }
    assert_eq!(report(&journal).await.len(), 12);
    assert_eq!(names.iter().filter(|key| key.contains("discrepancies")).count(), 12);
    assert_eq!(names.iter().filter(|key| key.contains("pending")).count(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_unit_that_kills_every_worker_is_given_up() {
    let (_, journal) = folder();
    for _ in 0..MAX_ATTEMPTS {
        drop(own(&journal).await);
        tokio::time::advance(PAST_THE_LEASE).await;
    }

    assert_eq!(name(&acquire(&journal).await), "failed");
    assert!(matches!(state(&journal).await, State::Failed { error } if error.contains("given up")));
}

#[tokio::test(start_paused = true)]
async fn takes_with_progress_and_takes_that_were_given_back_are_not_held_against_a_unit() {
    let (_, journal) = folder();
    for n in 0..=2 * MAX_ATTEMPTS {
        own(&journal).await.commit(step(&n.to_string(), &[])).await.unwrap();
        tokio::time::advance(PAST_THE_LEASE).await;
    }
    for _ in 0..=2 * MAX_ATTEMPTS {
        own(&journal).await.release().await.unwrap();
    }
    assert_eq!(name(&acquire(&journal).await), "owned");
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_end_a_unit_and_progress_forgives_them() {
    let (_, journal) = folder();
    for round in 0..3 {
        for n in 1..MAX_FAILURES {
            match own(&journal).await.give_up_for_now("throttled").await.unwrap() {
                GivenUp::ForNow { failures } => assert_eq!(failures, n),
                GivenUp::ForGood => panic!("too early"),
            }
        }
        let owned = own(&journal).await;
        owned.commit(step(&round.to_string(), &[])).await.unwrap();
        owned.release().await.unwrap();
    }
    for _ in 1..MAX_FAILURES {
        own(&journal).await.give_up_for_now("throttled").await.unwrap();
    }

    let last = own(&journal).await.give_up_for_now("throttled again").await.unwrap();

    assert!(matches!(last, GivenUp::ForGood));
    assert_eq!(state(&journal).await, State::Failed { error: "throttled again".to_owned() });
    assert_eq!(name(&acquire(&journal).await), "failed");
}

#[tokio::test(start_paused = true)]
async fn a_shard_outlasts_an_outage_that_ends_a_segment() {
    let (_, journal) = folder();
    let shard = Unit { pass: Pass::Stream, segment: 0 };
    for n in 1..=4 * MAX_ATTEMPTS.max(MAX_FAILURES) {
        match journal.acquire(shard, 1, None, "worker", LEASE).await.unwrap() {
            Acquired::Owned(owned) => match owned.give_up_for_now("unavailable").await.unwrap() {
                GivenUp::ForNow { failures } => assert_eq!(failures, n),
                GivenUp::ForGood => panic!("given up after {n} failures"),
            },
            other => panic!("after {n} failures: {}", name(&other)),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_gives_a_unit_back_writes_nothing_more() {
    let (_, journal) = folder();
    let owned = own(&journal).await;
    owned.commit(step("a", &["a"])).await.unwrap();
    owned.release().await.unwrap();

    assert!(!owned.is_good(), "the next worker may have it already");
    let heir = own(&journal).await;
    assert_eq!(heir.checkpoint().await.position, step("a", &[]).position, "it is given back where it stood");
    assert_lost(owned.commit(step("b", &["b"])).await);
}

#[tokio::test(start_paused = true)]
async fn requeue_takes_back_what_no_live_worker_has_and_keeps_what_was_done() {
    let (_, journal) = folder();
    assert!(journal.requeue(UNIT).await.unwrap(), "a unit that nobody touched needs a message");
    let owned = own(&journal).await;
    owned.commit(step("a", &["a"])).await.unwrap();

    assert!(journal.requeue(UNIT).await.unwrap());
    assert!(matches!(state(&journal).await, State::Running { .. }), "a live worker keeps its unit");
    owned.renew().await.expect("it was not disturbed");

    tokio::time::advance(PAST_THE_LEASE).await;
    assert!(journal.requeue(UNIT).await.unwrap());
    assert_eq!(state(&journal).await, State::Queued);
    assert_lost(owned.commit(step("b", &["zombie"])).await);

    let heir = own(&journal).await;
    heir.fail("denied").await.unwrap();
    assert!(journal.requeue(UNIT).await.unwrap());
    let checkpoint = journal.view(UNIT).await.unwrap().unwrap().checkpoint;
    assert_eq!((checkpoint.state, checkpoint.attempts, checkpoint.failures), (State::Queued, 0, 0));
    assert_eq!((checkpoint.ended_at, checkpoint.position), (None, step("a", &[]).position));
    assert_eq!(report(&journal).await, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_cannot_be_trusted_is_named_and_left_alone() {
    let (good_store, journal) = folder();
    own(&journal).await.commit(step("a", &["a"])).await.unwrap();
    let good = String::from_utf8(good_store.read(CHECKPOINT).unwrap().to_vec()).unwrap();
    for (body, word) in [
        (good[..good.len() / 2].to_owned(), "EOF"),
        (String::new(), "EOF"),
        ("[]".to_owned(), "no version"),
        (good.replacen("\"version\": 1", "\"version\": 2", 1), "version 2"),
        (good.replacen("\"segment\": 3", "\"segment\": 4", 1), "unit master/000004"),
        (good.replacen("\"pass\": \"master\"", "\"pass\": \"slave-0\"", 1), "unit slave-0/000003"),
        (good.replacen("\"running\"", "\"dreaming\"", 1), "dreaming"),
    ] {
        let (store, journal) = folder();
        assert_ne!(body, good);
        store.write(CHECKPOINT, body.clone());
        let tries = [
            journal.acquire(UNIT, 1, None, "me", LEASE).await.map(|_| ()),
            journal.requeue(UNIT).await.map(|_| ()),
            journal.view(UNIT).await.map(|_| ()),
            journal.summary(&manifest()).await.map(|_| ()),
        ];
        for result in tries {
            match result {
                Err(JournalError::Damaged { url, what }) => {
                    assert_eq!(url, format!("s3://memory/{CHECKPOINT}"));
                    assert!(what.contains(word), "{what} is not about {word}");
                }
                other => panic!("{word}: {other:?}"),
            }
        }
        assert_eq!(store.read(CHECKPOINT).unwrap(), body, "it is left for a person to look at");
    }
}

#[tokio::test(start_paused = true)]
async fn the_checkpoint_of_a_job_with_other_slaves_is_refused() {
    let (_, journal) = folder();
    own(&journal).await.release().await.unwrap();

    let other = journal.acquire(UNIT, 2, None, "me", LEASE).await;

    assert!(matches!(other, Err(JournalError::Damaged { url, .. }) if url.ends_with(CHECKPOINT)));
}

#[tokio::test(start_paused = true)]
async fn a_damaged_or_lost_part_is_named() {
    let (store, journal) = folder();
    own(&journal).await.finish(step("a", &["a", "b", "c"])).await.unwrap();
    let key = store.keys().into_iter().find(|key| key.contains("discrepancies")).unwrap();
    let name = key.rsplit('/').next().unwrap();
    let body = store.read(&key).unwrap();

    store.write(&key, body.slice(..body.len() / 2));
    assert!(matches!(journal.part(UNIT, name).await, Err(JournalError::Damaged { url, .. }) if url.ends_with(&key)));
    store.delete(&key).await.unwrap();
    assert!(matches!(journal.part(UNIT, name).await, Err(JournalError::Damaged { url, .. }) if url.ends_with(&key)));
}

#[tokio::test(start_paused = true)]
async fn a_job_is_created_once() {
    let (store, journal) = folder();
    let manifest = manifest();
    assert!(matches!(journal.manifest().await, Err(JournalError::NoSuchJob { .. })));
    journal.create(&manifest).await.unwrap();
    journal.create(&manifest).await.expect("the same request may come twice");

    let other = Manifest { total_segments: 4, ..manifest.clone() };
    assert!(matches!(journal.create(&other).await, Err(JournalError::JobExists { .. })));
    assert_eq!(journal.manifest().await.unwrap(), manifest);

    let too_new = String::from_utf8(store.read("jobs/J/manifest.json").unwrap().to_vec()).unwrap();
    store.write("jobs/J/manifest.json", too_new.replacen("\"version\": 1", "\"version\": 9", 1));
    assert!(matches!(journal.manifest().await, Err(JournalError::Damaged { what, .. }) if what.contains("version 9")));
}

#[tokio::test(start_paused = true)]
async fn a_unit_starts_where_its_message_says_unless_it_is_further_already() {
    let key = json!({"id": {"S": "start"}});
    let (_, journal) = folder();
    let acquire = async |start| match journal.acquire(UNIT, 1, start, "me", LEASE).await.unwrap() {
        Acquired::Owned(owned) => owned,
        other => panic!("{}", name(&other)),
    };

    let fresh = acquire(Some(&key)).await;
    assert_eq!(fresh.checkpoint().await.position, Position::After(key.clone()));
    fresh.release().await.unwrap();
    let again = acquire(None).await;
    assert_eq!(again.checkpoint().await.position, Position::After(key.clone()), "it is remembered");
    again.commit(step("later", &[])).await.unwrap();
    again.release().await.unwrap();
    let later = acquire(Some(&key)).await;
    assert_eq!(later.checkpoint().await.position, step("later", &[]).position);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_is_no_other_owner() {
    let (store, journal) = folder();
    let owned = own(&journal).await;
    let broken = faulty(&store, FaultPlan::new(1).failing(1.0));

    match broken.acquire(UNIT, 1, None, "me", LEASE).await {
        Err(error @ JournalError::Store(_)) => assert!(error.may_pass()),
        Err(other) => panic!("{other}"),
        Ok(other) => panic!("{}", name(&other)),
    }
    owned.renew().await.expect("it is still the owner");
}

/// How the puts of a store dawdle.
#[derive(Clone, Copy)]
enum Dawdle {
    Not,
    BeforePutting(Duration),
    /// They arrive, and are never answered.
    BeforeAnswering,
    /// The same, for checkpoints only.
    BeforeAnsweringForCheckpoints,
}

struct Dawdling {
    store: Arc<MemoryStore>,
    how: Mutex<Dawdle>,
}

impl Dawdling {
    fn new(store: Arc<MemoryStore>, how: Dawdle) -> Arc<Self> {
        Arc::new(Self { store, how: Mutex::new(how) })
    }

    fn now(&self, how: Dawdle) {
        *self.how.lock().unwrap() = how;
    }
}

#[async_trait]
impl ObjectStore for Dawdling {
    fn url(&self, key: &str) -> String {
        self.store.url(key)
    }

    async fn put(&self, key: &str, body: Bytes, mode: PutMode) -> Result<Version, Failure> {
        let how = *self.how.lock().unwrap();
        if let Dawdle::BeforePutting(delay) = how {
            tokio::time::sleep(delay).await;
        }
        let answer = self.store.put(key, body, mode).await;
        match how {
            Dawdle::BeforeAnswering => std::future::pending().await,
            Dawdle::BeforeAnsweringForCheckpoints if key.ends_with("checkpoint.json") => std::future::pending().await,
            Dawdle::Not | Dawdle::BeforePutting(_) | Dawdle::BeforeAnsweringForCheckpoints => answer,
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Object>, Failure> {
        self.store.get(key).await
    }

    async fn delete(&self, key: &str) -> Result<(), Failure> {
        self.store.delete(key).await
    }

    async fn folders(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        self.store.folders(prefix).await
    }

    async fn list(&self, prefix: &str) -> Result<Listing, Failure> {
        self.store.list(prefix).await
    }
}

#[tokio::test]
async fn a_manifest_beyond_its_bounds_is_damaged_and_one_within_them_is_not() {
    let (store, journal) = folder();
    journal.create(&manifest()).await.unwrap();
    assert_eq!(journal.manifest().await.unwrap(), manifest());
    let endless = Manifest { total_segments: u32::MAX, ..manifest() };
    let body = serde_json::to_vec(&endless).unwrap();
    store.put("jobs/J/manifest.json", body.into(), PutMode::Overwrite).await.unwrap();

    let refused = journal.manifest().await.unwrap_err();

    assert!(matches!(&refused, JournalError::Damaged { what, .. } if what.contains("total_segments")), "{refused}");
}

#[tokio::test]
async fn a_checkpoint_names_no_file_outside_its_folder() {
    let (store, journal) = folder();
    own(&journal).await.finish(step("z", &["a"])).await.unwrap();
    let part = journal.view(UNIT).await.unwrap().unwrap().checkpoint.parts.remove(0);
    let body = store.get(&format!("jobs/J/units/{UNIT}/{part}")).await.unwrap().unwrap().body;
    store.put("jobs/J/secret.jsonl.gz", body, PutMode::Create).await.unwrap();
    assert_eq!(journal.part(UNIT, &part).await.unwrap().len(), 1);

    for name in ["../../secret.jsonl.gz", "a/../../../secret.jsonl.gz", "a/b", "..", ".tmp", "a\\b", "a%2fb"] {
        let refused = journal.part(UNIT, name).await.unwrap_err();
        assert!(matches!(&refused, JournalError::Damaged { what, .. } if what.contains("no part has")), "{refused}");
    }
}

#[tokio::test]
async fn a_control_whose_limits_are_beyond_their_bounds_is_damaged() {
    let (store, journal) = folder();
    let body = r#"{"version":1,"wish":"run","limits":{"tables":[{"read":0.0}]}}"#;
    store.put("jobs/J/control.json", body.into(), PutMode::Overwrite).await.unwrap();

    let refused = journal.control().await.unwrap_err();

    assert!(matches!(&refused, JournalError::Damaged { what, .. } if what.contains("`read` is 0")), "{refused}");
}

#[tokio::test]
async fn changes_of_the_control_at_the_same_time_are_both_kept() {
    let store = Arc::new(MemoryStore::new("memory"));
    let journal = Journal::new(Arc::clone(&store) as Arc<dyn ObjectStore>, "J");
    let slow = Journal::new(Dawdling::new(Arc::clone(&store), Dawdle::BeforePutting(Duration::from_millis(20))), "J");
    let limits = Limits { tables: vec![Ceilings { read: Some(5.0), write: None }], budget: None };

    let limit = slow.change_control(|control| control.limits = Some(limits.clone()));
    let (limited, paused) = tokio::join!(limit, journal.set_wish(Wish::Pause));

    limited.unwrap();
    paused.unwrap();
    let control = journal.control().await.unwrap();
    assert_eq!((control.wish, control.limits), (Wish::Pause, Some(limits)));
}

#[tokio::test(start_paused = true)]
async fn workers_see_what_each_other_told_and_only_the_last_of_it() {
    let store = Arc::new(MemoryStore::new("memory"));
    let journal = Journal::new(Arc::clone(&store) as Arc<dyn ObjectStore>, "J");
    store.write("jobs/J/workers/stray", "not a worker's");

    journal.tell("a", 4, 100).await.unwrap();
    tokio::time::advance(Duration::from_secs(7)).await;
    journal.tell("b", 2, 50).await.unwrap();
    let told = journal.tell("b", 3, 60).await.unwrap();

    let told: Vec<_> =
        told.iter().map(|one| (one.worker.as_str(), one.segments, one.claimed, one.age.as_secs())).collect();
    assert_eq!(told, [("a", 4, 100, 7), ("b", 3, 60, 0)]);
    assert_eq!(journal.claimed().await.unwrap(), 160);
    let names: Vec<String> = store.keys().into_iter().filter(|key| key.contains("/b/")).collect();
    assert_eq!(names, ["jobs/J/workers/b/3-60"]);
}
