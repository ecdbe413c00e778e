//! Replication where its units meet: a shard and its children, a job and the one before it, an end and a new beginning.

use std::sync::Arc;
use std::time::Duration;

use shared::domain::change::{Actor, Change, Created, Event, Image};
use shared::domain::checkpoint::Position;
use shared::domain::job::{BackfillSettings, Ends};
use shared::domain::key::{Key, KeyAttribute, KeySchema, KeyType};
use shared::domain::number::Number;
use shared::domain::position::{Beyond, Reach, ShardPosition, Start};
use shared::domain::shards::{News, Shards, Stage};
use shared::domain::summary::{JobState, Summary, Wish};
use shared::domain::tally::Tally;
use shared::domain::unit::{Pass, Unit};
use shared::domain::value::{Item, Value};
use shared::journal::{Acquired, Step};
use shared::local::queue::LocalQueue;
use shared::local::stream::MemoryStream;
use shared::ports::stream::View;
use tests::changing::{Arrow, VERSION};
use tests::generate::schema;
use tests::world::{Asked, Job, Worker, World};
use worker::plan_replicate::{From, Stood};

const HOUR_MS: i64 = 3_600_000;

const FAR_TOO_LONG: Duration = Duration::from_secs(1200);

const LEASE: Duration = Duration::from_secs(30);

/// A master and a slave without items, and a stream that tells what the test says.
struct Scene {
    world: World,
    stream: Arc<MemoryStream>,
    schema: KeySchema,
    arrow: Arrow,
}

fn scene(stream: MemoryStream) -> Scene {
    let partition = KeyAttribute { name: "key".into(), ..schema(KeyType::S, None).partition };
    let schema = KeySchema { partition, sort: None };
    let stream = Arc::new(stream);
    let world = World::streamed(&schema, &[], 1, &stream);
    Scene { world, stream, schema, arrow: Arrow::default() }
}

fn like_dynamodb() -> MemoryStream {
    MemoryStream::like_dynamodb(View::NewAndOld)
}

fn item(version: u64) -> Item {
    let number = Value::N(Number::parse(&version.to_string()).expect("it works"));
    [("key".to_owned(), Value::S("a".to_owned())), (VERSION.to_owned(), number)].into()
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

fn shard(number: u32) -> Unit {
    Unit { pass: Pass::Stream, segment: number }
}

impl Scene {
    /// Tells of a version that an item had this long ago.
    fn tell(&self, shard: &str, version: u64, ago_ms: i64) {
        let change = Change {
            key: Key::of(&self.schema, &item(version)).expect("it works"),
            event: Event::Modify,
            image: Image::Item(item(version)),
            old: None,
            created: Created::in_second((now_ms() - ago_ms) / 1000),
            actor: Actor::Client,
        };
        self.stream.append(shard, Ok(change)).expect("it works");
    }

    async fn run(&self, job: &Job, queue: &Arc<LocalQueue>) -> Summary {
        let worker = Worker { watch: Some(self.arrow.watch(&self.schema)), ..Worker::default() };
        match tokio::time::timeout(FAR_TOO_LONG, self.world.work(&worker, queue)).await {
            Ok(worked) => worked.expect("it works"),
            Err(_) => panic!("it does not end: {:#?}", job.report().await.summary),
        }
        job.report().await.summary
    }
}

fn until_caught_up() -> Asked {
    Asked { ends: Ends::CaughtUp(10_000), ..Asked::default() }
}

/// Changes what a job knows of its shards before it begins.
async fn arrange(job: &Job, change: impl Fn(&mut Shards)) {
    let change = |shards: &mut Shards| {
        change(shards);
        Ok(())
    };
    job.journal.change_shards(change).await.expect("it works");
}

/// A worker that ends a shard and dies before it says so to anybody else.
async fn end_quietly(job: &Job, unit: Unit, position: ShardPosition) {
    let Acquired::Owned(owned) = job.journal.acquire(unit, 1, None, "quiet", LEASE).await.expect("it works") else {
        panic!("it cannot be had");
    };
    let step = Step { position: Position::Shard(position), tally: Tally::zero(1), ..Step::default() };
    owned.finish(step).await.expect("it works");
}

#[tokio::test(start_paused = true)]
async fn what_was_read_from_the_master_for_a_shard_is_not_set_back_by_its_children() {
    for stream in [like_dynamodb(), MemoryStream::like_kinesis()] {
        let scene = scene(stream);
        let parent = scene.stream.open_shard();
        scene.tell(&parent, 1, 3 * HOUR_MS);
        let (child, _) = scene.stream.split(&parent).unwrap();
        scene.tell(&child, 2, 2 * HOUR_MS);
        // One page for each.
        (0..3).for_each(|_| drop(scene.stream.append(&child, Err(shared::domain::change::BadRecord(String::new())))));
        scene.world.tables[0].put(item(3)).unwrap();
        let job = scene.world.replication(until_caught_up()).await;
        // Somebody died over the parent, and may have applied more of it than was committed.
        let died = ShardPosition { beyond: Beyond::Perhaps, ..ShardPosition::new(0) };
        arrange(&job, |shards| {
            shards.in_doubt_until_ms = 0;
            shards.shards[0].start = Start::Position(died.clone());
        })
        .await;

        let summary = scene.run(&job, &job.enqueue().await).await;

        assert_eq!(summary.state, JobState::Succeeded, "{summary:?}");
        scene.arrow.assert_unbroken();
        scene.world.assert_in_step();
    }
}

/// A backfill that took longer than the stream keeps changes, or a time that is longer ago than that.
#[tokio::test(start_paused = true)]
async fn a_beginning_that_the_stream_does_not_reach_back_to_is_a_gap() {
    let from_ms = now_ms() - 30 * HOUR_MS;
    let idle = ShardPosition { caught_up_to_ms: Some(from_ms), ..ShardPosition::new(from_ms) };
    for start in [Start::Time(from_ms), Start::Position(idle)] {
        for (stream, is_kinesis) in [(like_dynamodb(), false), (MemoryStream::like_kinesis(), true)] {
            let scene = scene(stream);
            let only = scene.stream.open_shard();
            scene.tell(&only, 1, HOUR_MS);
            scene.world.tables[0].put(item(1)).unwrap();
            let kinesis = is_kinesis.then(|| "arn:aws:kinesis:us-east-1:1:stream/s".to_owned());
            let job = scene.world.replication(Asked { kinesis, ..until_caught_up() }).await;
            arrange(&job, |shards| shards.shards[0].start = start.clone()).await;

            let summary = scene.run(&job, &job.enqueue().await).await;

            assert_eq!(summary.state, JobState::Succeeded, "{summary:?}");
            assert_eq!(summary.remaining(), 1, "{start:?} kinesis {is_kinesis}: {summary:?}");
            let gaps = summary.replication.unwrap().gaps;
            assert_eq!(gaps.len(), 1, "{gaps:?}");
            assert_eq!(gaps[0].from_ms, Some(from_ms));
            scene.world.assert_in_step();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_beginning_that_the_stream_still_has_is_no_gap() {
    let scene = scene(like_dynamodb());
    let only = scene.stream.open_shard();
    scene.tell(&only, 1, HOUR_MS);
    scene.world.tables[0].put(item(1)).unwrap();
    let from = From::Time(now_ms() - 20 * HOUR_MS);
    let job = scene.world.replication(Asked { from, ..until_caught_up() }).await;

    let summary = scene.run(&job, &job.enqueue().await).await;

    assert_eq!((summary.state, summary.remaining()), (JobState::Succeeded, 0), "{summary:?}");
    scene.world.assert_in_step();
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_ended_and_told_nobody_does_not_keep_its_children_waiting() {
    let scene = scene(like_dynamodb());
    let parent = scene.stream.open_shard();
    let (child, _) = scene.stream.split(&parent).unwrap();
    scene.tell(&child, 1, HOUR_MS);
    scene.world.tables[0].put(item(1)).unwrap();
    let job = scene.world.replication(until_caught_up()).await;
    arrange(&job, |shards| drop(shards.take())).await;
    end_quietly(&job, shard(0), ShardPosition { reach: Reach::End, ..ShardPosition::new(0) }).await;

    let summary = scene.run(&job, &job.resume().await).await;

    assert_eq!(summary.state, JobState::Succeeded, "{summary:?}");
    scene.world.assert_in_step();
}

/// One shard ended where it was caught up, and the process ended before the other did.
#[tokio::test(start_paused = true)]
async fn a_job_that_was_stopped_while_it_ended_ends_when_it_is_resumed() {
    let scene = scene(like_dynamodb());
    scene.stream.open_shard();
    let other = scene.stream.open_shard();
    let job = scene.world.replication(until_caught_up()).await;
    arrange(&job, |shards| drop(shards.take())).await;
    let caught_up_to_ms = Some(now_ms() - HOUR_MS);
    end_quietly(&job, shard(0), ShardPosition { caught_up_to_ms, ..ShardPosition::new(0) }).await;
    arrange(&job, |shards| assert_eq!(shards.complete(0), Ok(News::New))).await;
    job.journal.set_wish(Wish::Pause).await.unwrap();
    scene.tell(&other, 1, HOUR_MS);
    scene.world.tables[0].put(item(1)).unwrap();

    let summary = scene.run(&job, &job.resume().await).await;

    assert_eq!(summary.state, JobState::Succeeded, "{summary:?}");
    assert_eq!(summary.replication.unwrap().caught_up_to_ms, caught_up_to_ms);
    scene.world.assert_in_step();
}

#[tokio::test(start_paused = true)]
async fn no_job_goes_on_where_one_stood_whose_backfill_did_not_end() {
    let scene = scene(like_dynamodb());
    scene.stream.open_shard();
    scene.world.tables[0].put(item(1)).unwrap();
    let backfill = Some(BackfillSettings::default());
    let job = scene.world.replication(Asked { backfill, from: From::Latest, ..until_caught_up() }).await;

    let refused = Stood::of(&job.journal).await.unwrap_err();
    assert!(refused.to_string().contains("backfill"), "{refused}");

    scene.run(&job, &job.enqueue().await).await;
    Stood::of(&job.journal).await.unwrap();
}

/// Ended as caught up, its child known and read: what is left of it is older than what the child has brought.
#[tokio::test(start_paused = true)]
async fn a_rest_of_a_shard_is_in_doubt_where_its_children_were_begun() {
    let scene = scene(like_dynamodb());
    let parent = scene.stream.open_shard();
    scene.tell(&parent, 1, 3 * HOUR_MS);
    let first = Asked { job: "first".into(), ..until_caught_up() };
    let job = scene.world.replication(first).await;
    let (child, _) = scene.stream.split(&parent).unwrap();
    scene.tell(&child, 2, 2 * HOUR_MS);
    scene.world.tables[0].put(item(2)).unwrap();
    scene.world.tables[1].put(item(2)).unwrap();
    arrange(&job, |shards| {
        shards.in_doubt_until_ms = 0;
        shards.add(&child, std::slice::from_ref(&parent), Start::TrimHorizon).unwrap();
        shards.take();
    })
    .await;
    end_quietly(&job, shard(0), ShardPosition::new(0)).await;
    arrange(&job, |shards| {
        shards.complete(0).unwrap();
        shards.take();
    })
    .await;
    let after = Some("100000000000000000002".to_owned());
    end_quietly(&job, shard(1), ShardPosition { after, ..ShardPosition::new(0) }).await;
    arrange(&job, |shards| {
        shards.complete(1).unwrap();
        assert!(shards.shards.iter().all(|shard| shard.stage == Stage::Ended));
    })
    .await;
    let stood = Stood::of(&job.journal).await.unwrap();
    let second = Asked { job: "second".into(), from: From::Stood(stood), ..until_caught_up() };
    let job = scene.world.replication(second).await;

    let summary = scene.run(&job, &job.enqueue().await).await;

    assert_eq!(summary.state, JobState::Succeeded, "{summary:?}");
    scene.world.assert_in_step();
}
