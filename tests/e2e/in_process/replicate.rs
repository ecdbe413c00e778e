//! Changes of a master that reach its slaves: all of them, in order, also through crashes, splits and a backfill.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use shared::domain::job::{BackfillSettings, Ends, Existing};
use shared::domain::key::{Key, KeySchema, KeyType};
use shared::domain::position::{ShardPosition, Start};
use shared::domain::shards::Shards;
use shared::domain::summary::{JobState, Summary, Wish};
use shared::domain::tally::StreamTally;
use shared::domain::value::{Item, Value};
use shared::local::queue::LocalQueue;
use shared::local::stream::MemoryStream;
use shared::ports::faulty::{FaultPlan, FaultyQueue, Moment};
use shared::ports::stream::View;
use tests::changing::{Arrow, Carries, Changing};
use tests::generate::schema;
use tests::world::{Asked, Job, PAST_THE_LEASE, Worker, World};
use worker::following::hand_out;
use worker::plan_replicate::{From, Stood};

use super::exact::seed;

const CAUGHT_UP: Ends = Ends::CaughtUp(10_000);

const FAR_TOO_LONG: Duration = Duration::from_secs(1200);

struct Scene {
    world: World,
    stream: Arc<MemoryStream>,
    master: Changing,
    schema: KeySchema,
    arrow: Arrow,
}

fn item(name: usize, content: u64) -> Item {
    let name = ("key".to_owned(), Value::S(format!("item-{name}")));
    [name, ("content".to_owned(), Value::S(content.to_string()))].into()
}

fn scene(slaves: usize, shards: u64, carries: Carries, stream: MemoryStream) -> Scene {
    let partition = schema(KeyType::S, None).partition;
    let schema =
        KeySchema { partition: shared::domain::key::KeyAttribute { name: "key".into(), ..partition }, sort: None };
    let stream = Arc::new(stream.with_pages_of(100, 5));
    let before: Vec<Item> = (0..20).map(|n| item(n, 0)).collect();
    let world = World::streamed(&schema, &before, slaves, &stream);
    let master = Changing::new(&world.tables[0], &stream, &schema, shards, carries);
    Scene { world, stream, master, schema, arrow: Arrow::default() }
}

fn like_dynamodb() -> MemoryStream {
    MemoryStream::like_dynamodb(View::NewAndOld)
}

impl Scene {
    fn key(&self, name: usize) -> Key {
        Key::of(&self.schema, &item(name, 0)).expect("it has a key")
    }

    fn change(&self, dice: &mut StdRng, items: usize) {
        let name = dice.random_range(0..items);
        match dice.random_range(0..4) {
            0 => self.master.remove(&self.key(name)),
            _ => self.master.put(&item(name, dice.random_range(0..1000))),
        }
    }

    fn worker(&self) -> Worker {
        Worker { watch: Some(self.arrow.watch(&self.schema)), ..Worker::default() }
    }

    async fn work(&self, job: &Job) -> Summary {
        self.run(&self.worker(), job, &job.enqueue().await).await;
        job.report().await.summary
    }

    /// Works until the job ends, the worker dies, or it takes far too long.
    async fn run(&self, worker: &Worker, job: &Job, queue: &Arc<LocalQueue>) {
        match tokio::time::timeout(FAR_TOO_LONG, self.world.work(worker, queue)).await {
            Ok(worked) => worked.expect("the job is carried out"),
            Err(_) => panic!("it does not end: {:?} {:#?}", job.report().await.summary, job.views().await),
        }
    }

    fn assert_followed(&self, summary: &Summary) {
        assert_eq!(summary.state, JobState::Succeeded, "{summary:?}");
        assert_eq!(summary.remaining(), 0);
        self.world.assert_in_step();
        self.arrow.assert_unbroken();
    }
}

fn with_backfill() -> Asked {
    Asked { backfill: Some(BackfillSettings::default()), ends: CAUGHT_UP, from: From::Latest, ..Asked::default() }
}

/// R1 to R4, R8: insert; insert and modify; insert, modify and delete; many.
#[tokio::test(start_paused = true)]
async fn r1_to_r4_changes_reach_every_slave() {
    for carries in [Carries::Images, Carries::Keys] {
        let scene = scene(2, 3, carries, like_dynamodb());
        let mut dice = StdRng::seed_from_u64(seed());
        for slave in &scene.world.tables[1..] {
            (0..20).for_each(|n| slave.put(item(n, 0)).unwrap());
        }
        scene.master.put(&item(100, 1));
        scene.master.put(&item(101, 1));
        scene.master.put(&item(101, 2));
        scene.master.put(&item(102, 1));
        scene.master.put(&item(102, 2));
        scene.master.remove(&scene.key(102));
        (0..200).for_each(|_| scene.change(&mut dice, 40));
        let job = scene.world.replication(Asked { ends: CAUGHT_UP, ..Asked::default() }).await;

        let summary = scene.work(&job).await;

        scene.assert_followed(&summary);
        let replication = summary.replication.unwrap();
        assert!(replication.counted.records > 150, "{replication:?}");
        assert!(replication.caught_up_to_ms.is_some());
        job.assert_summary_is_written().await;
    }
}

/// R6: what a keys-only record is about has changed, or vanished, meanwhile.
#[tokio::test(start_paused = true)]
async fn r6_a_record_of_keys_gets_what_the_master_has_now() {
    let scene = scene(1, 1, Carries::Keys, MemoryStream::like_dynamodb(View::Keys));
    let job = scene.world.replication(Asked { ends: CAUGHT_UP, from: From::Latest, ..Asked::default() }).await;
    (0..20).for_each(|n| scene.master.remove(&scene.key(n)));
    scene.master.put(&item(1, 1));
    scene.master.put(&item(1, 2));
    scene.master.put(&item(2, 1));
    scene.master.remove(&scene.key(2));

    let summary = scene.work(&job).await;

    scene.assert_followed(&summary);
    assert_eq!(scene.world.tables[1].len(), 1);
}

/// R13: killed at any call, before or after its effect; another goes on from the checkpoint.
#[tokio::test(start_paused = true)]
async fn r13_a_worker_that_dies_at_any_call_loses_nothing_and_sets_nothing_back() {
    for (backfill, kinesis) in [(false, false), (true, false), (false, true)] {
        let begin = async || {
            let stream = if kinesis { MemoryStream::like_kinesis() } else { like_dynamodb() };
            let scene = scene(1, 2, Carries::Images, stream);
            let mut dice = StdRng::seed_from_u64(seed());
            if !backfill {
                (0..20).for_each(|n| scene.world.tables[1].put(item(n, 0)).unwrap());
            }
            (0..8).for_each(|_| scene.change(&mut dice, 6));
            let asked = Asked {
                backfill: backfill.then(BackfillSettings::default),
                kinesis: kinesis.then(|| "arn:aws:kinesis:us-east-1:1:stream/s".to_owned()),
                ..Asked::default()
            };
            let job = scene.world.replication(asked).await;
            (scene, job)
        };
        // So far apart that what is in doubt at first is not for ever.
        let go_on = async |scene: &Scene| {
            let mut dice = StdRng::seed_from_u64(seed());
            for n in 0..6 {
                tokio::time::sleep(Duration::from_secs(8)).await;
                // Several pages at once: those behind the first are not committed one by one.
                (0..24).for_each(|_| scene.change(&mut dice, 6));
                if n == 3 {
                    scene.master.split(&scene.key(0));
                }
            }
            tokio::time::sleep(Duration::from_secs(4)).await;
            scene.stream.disable();
        };
        let (whole, job) = begin().await;
        let worker = Worker { concurrency: 1, ..whole.worker() };
        let queue = job.enqueue().await;
        tokio::join!(whole.run(&worker, &job, &queue), go_on(&whole));
        whole.assert_followed(&job.report().await.summary);
        let StreamTally { records, squashed, reread, .. } = job.report().await.summary.replication.unwrap().counted;
        assert!(records - squashed - reread > 10, "{records}, {squashed}, {reread}: no test of images");
        let calls = worker.faults.calls();
        for n in (1..=calls).step_by(usize::try_from(calls / 100 + 1).unwrap()) {
            let moment = if n % 2 == 0 { Moment::After } else { Moment::Before };
            let (scene, job) = begin().await;
            let queue = job.enqueue().await;
            let faults = FaultPlan::new(seed()).crash_at(n, moment);
            let dying = Worker { faults, concurrency: 1, ..scene.worker() };
            let one_after_the_other = async {
                scene.run(&dying, &job, &queue).await;
                tokio::task::yield_now().await;
                tokio::time::sleep(PAST_THE_LEASE).await;
                scene.run(&scene.worker(), &job, &queue).await;
            };
            tokio::join!(one_after_the_other, go_on(&scene));
            let summary = job.report().await.summary;
            let what = format!("call {n} {moment:?} backfill {backfill} kinesis {kinesis}: {summary:?}");
            assert_eq!(summary.state, JobState::Succeeded, "{what}");
            scene.arrow.assert_unbroken();
            assert!(scene.world.differences().iter().all(|found| found.is_empty()), "{what}");
            assert_eq!(summary.replication.unwrap().counted.records, records, "{what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_backfill_and_the_stream_behind_it_leave_no_gap_while_everything_changes() {
    for (round, carries) in (0..6).flat_map(|round| [(round, Carries::Images), (round, Carries::Keys)]) {
        let scene = scene(2, 2, carries, like_dynamodb());
        let mut dice = StdRng::seed_from_u64(seed() + round);
        (0..30).for_each(|_| scene.change(&mut dice, 30));
        let job = scene.world.replication(with_backfill()).await;
        let queue = job.enqueue().await;
        // All the while, the master changes; each worker dies after a while, and another takes its place.
        let changing = async {
            for n in 0..150 {
                scene.change(&mut dice, 30);
                if n % 40 == 20 {
                    scene.master.split(&scene.key(n % 7));
                }
                if n % 60 == 50 {
                    scene.master.merge(&scene.key(n % 5));
                }
                tokio::time::sleep(Duration::from_millis(130)).await;
            }
        };
        let working = async {
            for life in [20, 45, 70] {
                let faults = FaultPlan::new(seed() + life).crash_at(life + round * 11, Moment::After);
                let dying = Worker { faults, ..scene.worker() };
                scene.run(&dying, &job, &queue).await;
                tokio::time::sleep(PAST_THE_LEASE).await;
            }
        };
        tokio::join!(changing, working);
        scene.run(&scene.worker(), &job, &queue).await;

        let summary = job.report().await.summary;
        scene.assert_followed(&summary);
        assert!(summary.slaves[0].written > 0);
    }
}

#[tokio::test(start_paused = true)]
async fn every_fault_of_the_stream_is_survived() {
    let scene = scene(1, 2, Carries::Images, like_dynamodb().with_empty_pages());
    let mut dice = StdRng::seed_from_u64(seed());
    (0..100).for_each(|_| scene.change(&mut dice, 20));
    scene.master.split(&scene.key(1));
    (0..100).for_each(|_| scene.change(&mut dice, 20));
    let job = scene.world.replication(with_backfill()).await;
    let faults = FaultPlan::new(seed()).failing(0.1).partial(0.3).expiring(0.2).duplicating(0.2);
    let worker = Worker { faults, ..scene.worker() };

    scene.run(&worker, &job, &job.enqueue().await).await;

    scene.assert_followed(&job.report().await.summary);
}

/// R13: 150 shards, the children found while running.
#[tokio::test(start_paused = true)]
async fn a_tree_of_more_than_150_shards_is_read_whole() {
    let scene = scene(1, 4, Carries::Images, like_dynamodb().with_children_first());
    let mut dice = StdRng::seed_from_u64(seed());
    (0..20).for_each(|n| scene.world.tables[1].put(item(n, 0)).unwrap());
    let change = |dice: &mut StdRng| {
        (0..6).for_each(|_| scene.change(dice, 40));
        if dice.random_bool(0.7) {
            scene.master.split(&scene.key(dice.random_range(0..40)));
        } else {
            scene.master.merge(&scene.key(dice.random_range(0..40)));
        }
    };
    (0..60).for_each(|_| change(&mut dice));
    let job = scene.world.replication(Asked::default()).await;
    let queue = job.enqueue().await;
    let changing = async {
        for _ in 0..60 {
            change(&mut dice);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        scene.stream.disable();
    };

    let worker = scene.worker();
    tokio::join!(scene.run(&worker, &job, &queue), changing);

    let summary = job.report().await.summary;
    scene.assert_followed(&summary);
    let replication = summary.replication.unwrap();
    assert!(replication.shards > 150, "{} shards are no test", replication.shards);
    assert_eq!((replication.ended, replication.waiting), (replication.shards, 0));
}

/// R13: an idle shard costs few calls.
#[tokio::test(start_paused = true)]
async fn an_idle_shard_is_asked_once_a_second() {
    for (stream, most_per_second) in [(like_dynamodb(), 2), (MemoryStream::like_kinesis(), 5)] {
        let scene = scene(1, 1, Carries::Images, stream);
        let job = scene.world.replication(Asked::default()).await;
        let worker = scene.worker();
        let stop = worker.stop.clone();
        let seconds = 120;
        let stopping = async {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            stop.cancel();
        };

        let queue = job.enqueue().await;
        tokio::join!(scene.run(&worker, &job, &queue), stopping);

        let calls = scene.stream.calls();
        let reads = calls.reads_of(&scene.master.open_shards()[0]);
        assert!((seconds / 2..=seconds * most_per_second).contains(&reads), "{reads} in {seconds} s");
        assert!(calls.descriptions + calls.listings < seconds / 10, "{calls:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_trimmed_is_reported_as_a_gap_and_what_is_left_is_applied() {
    let scene = scene(1, 1, Carries::Images, like_dynamodb());
    (0..20).for_each(|n| scene.world.tables[1].put(item(n, 0)).unwrap());
    let job = scene.world.replication(Asked { job: "first".into(), ends: CAUGHT_UP, ..Asked::default() }).await;
    scene.master.put(&item(1, 1));
    scene.work(&job).await;
    scene.world.assert_in_step();
    scene.master.put(&item(2, 2));
    scene.master.put(&item(3, 3));
    let shard = scene.master.open_shards().remove(0);
    let last = scene.stream.calls().read.len();
    assert_eq!(last, 1);
    scene.stream.trim(&shard, &third_sequence()).unwrap();
    scene.master.put(&item(4, 4));
    let stood = Stood::of(&job.journal).await.unwrap();
    let asked = Asked { job: "second".into(), from: From::Stood(stood), ends: CAUGHT_UP, ..Asked::default() };
    let job = scene.world.replication(asked).await;

    let summary = scene.work(&job).await;

    // The memory stream does not age: all that is missing was made a moment ago, and would still be kept.
    assert_eq!(summary.state, JobState::Succeeded);
    let slave = scene.world.tables[1].items();
    assert!(
        slave.iter().any(|item| item.get("content") == Some(&Value::S("4".into()))),
        "what is left was not applied"
    );
}

fn third_sequence() -> String {
    "100000000000000000003".to_owned()
}

/// Where a job stood whose workers were away for longer than the stream keeps changes.
#[tokio::test(start_paused = true)]
async fn changes_that_the_stream_did_not_keep_are_a_gap() {
    const HOUR_MS: i64 = 3_600_000;
    for (stream, kinesis) in [(like_dynamodb(), false), (MemoryStream::like_kinesis(), true)] {
        let scene = scene(1, 1, Carries::Images, stream);
        (0..20).for_each(|n| scene.world.tables[1].put(item(n, 0)).unwrap());
        let shard = scene.master.open_shards().remove(0);
        scene.master.put(&item(1, 1));
        let gone = scene.stream.append(&shard, Err(shared::domain::change::BadRecord(String::new()))).unwrap();
        scene.stream.trim(&shard, &gone).unwrap();
        scene.master.put(&item(2, 2));
        let kinesis = kinesis.then(|| "arn:aws:kinesis:us-east-1:1:stream/s".to_owned());
        let job = scene.world.replication(Asked { ends: CAUGHT_UP, kinesis, ..Asked::default() }).await;
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let stood = ShardPosition {
            after: Some(gone),
            caught_up_to_ms: Some(now_ms - 30 * HOUR_MS),
            ..ShardPosition::new(now_ms - 30 * HOUR_MS)
        };
        let stand = |shards: &mut Shards| {
            shards.shards[0].start = Start::Position(stood.clone());
            Ok(())
        };
        job.journal.change_shards(stand).await.unwrap();

        let summary = scene.work(&job).await;

        assert_eq!(summary.state, JobState::Succeeded);
        assert_eq!(summary.remaining(), 1, "{summary:?}");
        let gaps = summary.replication.unwrap().gaps;
        assert_eq!(gaps.len(), 1, "{gaps:?}");
        assert_eq!(gaps[0].from_ms, Some(now_ms - 30 * HOUR_MS));
        assert!((now_ms - 24 * HOUR_MS..now_ms - 23 * HOUR_MS).contains(&gaps[0].to_ms), "{gaps:?}");
        let slave = scene.world.tables[1].items();
        assert!(
            slave.iter().any(|item| item.get("content") == Some(&Value::S("2".into()))),
            "the rest was not applied"
        );
        scene.arrow.assert_unbroken();
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_applied_is_listed_and_the_rest_goes_on() {
    let scene = scene(1, 1, Carries::Images, like_dynamodb());
    (0..20).for_each(|n| scene.world.tables[1].put(item(n, 0)).unwrap());
    let job = scene.world.replication(Asked { ends: CAUGHT_UP, from: From::Latest, ..Asked::default() }).await;
    scene.master.put(&item(1, 1));
    scene.master.tell_nonsense(&scene.key(1));
    scene.master.put(&item(2, 2));

    let summary = scene.work(&job).await;

    assert_eq!(summary.state, JobState::Succeeded);
    assert_eq!(summary.remaining(), 1);
    scene.world.assert_in_step();
    let mut rejected = Vec::new();
    for (unit, view) in job.views().await.unwrap() {
        for name in &view.checkpoint.rejected {
            rejected.extend(job.journal.rejected(unit, name).await.unwrap());
        }
    }
    assert_eq!(rejected.len(), 1);
    assert!(rejected[0].error.contains("the test made it up"), "{rejected:?}");
    assert_eq!(rejected[0].shard.as_deref(), Some(scene.master.open_shards()[0].as_str()));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_was_paused_goes_on_where_it_stood() {
    let scene = scene(1, 2, Carries::Images, like_dynamodb());
    let job = scene.world.replication(Asked { ends: Ends::WithTheStream, ..with_backfill() }).await;
    let mut dice = StdRng::seed_from_u64(seed());
    (0..30).for_each(|_| scene.change(&mut dice, 20));
    let pausing = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        job.journal.set_wish(Wish::Pause).await.unwrap();
    };
    let queue = job.enqueue().await;
    let worker = scene.worker();
    tokio::join!(scene.run(&worker, &job, &queue), pausing);
    (0..30).for_each(|_| scene.change(&mut dice, 20));
    assert_eq!(job.report().await.summary.state, JobState::Paused);
    scene.stream.disable();

    let queue = job.resume().await;
    scene.run(&scene.worker(), &job, &queue).await;

    scene.assert_followed(&job.report().await.summary);
}

#[tokio::test(start_paused = true)]
async fn a_shard_whose_message_was_not_sent_still_waits_for_one() {
    let scene = scene(1, 2, Carries::Images, like_dynamodb());
    (0..20).for_each(|n| scene.world.tables[1].put(item(n, 0)).unwrap());
    scene.master.put(&item(1, 1));
    let job = scene.world.replication(Asked { ends: CAUGHT_UP, ..Asked::default() }).await;
    let queue: Arc<LocalQueue> = Arc::new(LocalQueue::new(5));
    let failing = FaultyQueue::new(Arc::clone(&queue) as _, FaultPlan::new(seed()).crash_at(1, Moment::Before));
    let sent = tokio::time::timeout(FAR_TOO_LONG, hand_out(&job.journal, &job.manifest, &failing)).await;
    assert!(sent.is_err(), "nothing was to come of it: {sent:?}");

    assert_eq!(hand_out(&job.journal, &job.manifest, &*queue).await.unwrap(), 2);

    scene.run(&scene.worker(), &job, &queue).await;
    scene.assert_followed(&job.report().await.summary);
}

#[tokio::test(start_paused = true)]
async fn another_job_goes_on_where_one_ended() {
    let scene = scene(1, 2, Carries::Images, like_dynamodb());
    let mut dice = StdRng::seed_from_u64(seed());
    let first = Asked { job: "first".into(), ..with_backfill() };
    let job = scene.world.replication(first).await;
    scene.work(&job).await;
    (0..20).for_each(|_| scene.change(&mut dice, 20));
    scene.master.split(&scene.key(3));
    (0..20).for_each(|_| scene.change(&mut dice, 20));
    let records = scene.stream.calls();
    let stood = Stood::of(&job.journal).await.unwrap();
    let asked = Asked { job: "second".into(), from: From::Stood(stood), ends: CAUGHT_UP, ..Asked::default() };
    let job = scene.world.replication(asked).await;

    let summary = scene.work(&job).await;

    scene.assert_followed(&summary);
    assert!(records.descriptions > 0);
}

#[tokio::test(start_paused = true)]
async fn a_backfill_copies_everything_and_leaves_alone_what_it_is_told_to() {
    for (existing, kept) in [(Existing::Overwrite, false), (Existing::Keep, true)] {
        let scene = scene(1, 1, Carries::Images, like_dynamodb());
        scene.world.tables[1].put(item(3, 99)).unwrap();
        let asked = Asked { backfill: Some(BackfillSettings { existing }), ends: CAUGHT_UP, ..Asked::default() };
        let job = scene.world.replication(asked).await;

        let summary = scene.work(&job).await;

        assert_eq!(summary.state, JobState::Succeeded);
        assert_eq!(summary.slaves[0].written, if kept { 19 } else { 20 });
        assert_eq!(summary.slaves[0].skipped, u64::from(kept));
        let was_kept = scene.world.tables[1].items().contains(&item(3, 99));
        assert_eq!(was_kept, kept);
    }
}
