//! The main job: what waits together, how fast segments are enqueued, and the memory of a worker.

use std::time::{Duration, Instant};

use shared::domain::key::{KeySchema, KeyType};
use shared::domain::number::Number;
use shared::domain::value::{Item, Value};
use tests::buckets::Bucket;
use tests::dynamodb::DynamoDb;
use tests::generate::schema;
use tests::ministack::MiniStack;
use tests::process::{Finished, Programs};
use tests::queues::Queue;

use crate::delay::DelayingProxy;
use crate::usage::watch;
use crate::{DEADLINE, programs};

/// Latency of one request in the comparisons that are about waiting.
const LATENCY: Duration = Duration::from_millis(20);

/// What waits together: segments, slaves, and the next page with the comparison of the last one.
pub(crate) async fn waiting() {
    println!("Against a DynamoDB {} ms away, 20,000 items in 16 segments, pages of 100:", LATENCY.as_millis());
    let database = DynamoDb::start();
    let schema = schema(KeyType::S, None);
    for table in ["master", "one", "two", "three"] {
        fill(&database, table, &schema, 20_000).await;
    }
    let proxy = DelayingProxy::start(&database.endpoint(), LATENCY).await;
    let programs = programs().with_dynamodb(&proxy.endpoint());
    let run = |parallel: &str, slaves: &[&str]| {
        let tables: Vec<String> = slaves.iter().map(|slave| format!("us-east-1:{slave}")).collect();
        let mut arguments = vec!["sync", "-q", "-m", "us-east-1:master", "--segments", "16", "--scan-limit", "100"];
        arguments.extend(["--parallel", parallel]);
        tables.iter().for_each(|table| arguments.extend(["-s", table]));
        let started = Instant::now();
        let finished = programs.spawn_dynamend(&arguments).wait(DEADLINE);
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        started.elapsed().as_secs_f64()
    };
    let base = run("1", &["one"]);
    println!("  1 segment at once, 1 slave        {base:6.1} s");
    for (name, seconds) in [
        ("4 segments at once, 1 slave ", run("4", &["one"])),
        ("16 segments at once, 1 slave", run("16", &["one"])),
        ("1 segment at once, 3 slaves ", run("1", &["one", "two", "three"])),
    ] {
        println!("  {name}      {seconds:6.1} s   {:5.2} x the time of the first", seconds / base);
    }
    // 200 pages, each one scan and one lookup: one after the other they would take this long at least.
    let serial = 2.0 * 200.0 * LATENCY.as_secs_f64();
    println!(
        "  the first against its requests one after the other: {:.2} x (below 1: pages are prefetched)",
        base / serial
    );
}

/// How long the coordinator takes to put 10,000 segments onto SQS.
pub(crate) async fn enqueueing() {
    let (database, fleet) = (DynamoDb::start(), Fleet::create().await);
    let schema = schema(KeyType::S, None);
    for table in ["master", "slave"] {
        fill(&database, table, &schema, 10).await;
    }
    let programs = programs().with_dynamodb(&database.endpoint()).with_services(&fleet.server.endpoint());
    let started = Instant::now();
    let finished = fleet.sync(&programs, "slave", &["--segments", "10000"]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    println!("\nEnqueueing 10,000 segments: {:.1} s", started.elapsed().as_secs_f64());
}

/// The memory of one worker with eight segments in work, on small and on large tables.
pub(crate) async fn memory() {
    let large: usize =
        std::env::var("DYNAMEND_BENCH_ITEMS").ok().and_then(|items| items.parse().ok()).unwrap_or(1_000_000);
    println!("\nOne worker, --concurrency 8, items of about 100 bytes:");
    let schema = schema(KeyType::S, None);
    for items in [large / 10, large] {
        let (database, fleet) = (DynamoDb::start(), Fleet::create().await);
        for table in ["master", "slave"] {
            fill(&database, table, &schema, items).await;
        }
        let programs = programs().with_dynamodb(&database.endpoint()).with_services(&fleet.server.endpoint());
        let finished = fleet.sync(&programs, "slave", &["--segments", "64"]);
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        let started = Instant::now();
        let worker = programs.spawn_worker(&["--queue", &fleet.queue.url, "--concurrency", "8", "--drain", "-q"]);
        let (finished, usage) = watch(worker);
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "  {items:>9} items: peak {:5.1} MB, {seconds:6.1} s, {:4.1} CPU seconds of the worker per 100,000 items",
            usage.megabytes,
            usage.cpu_seconds * 100_000.0 / items as f64,
        );
    }
}

/// A queue and a store of their own.
pub(crate) struct Fleet {
    pub(crate) server: &'static MiniStack,
    pub(crate) queue: Queue,
    bucket: Bucket,
}

impl Fleet {
    pub(crate) async fn create() -> Self {
        let server = MiniStack::shared();
        let queue = Queue::create(server, Duration::from_secs(60), 10).await;
        Self { server, queue, bucket: Bucket::create(server).await }
    }

    /// Puts a job onto the queue.
    pub(crate) fn sync(&self, programs: &Programs, slave: &str, more: &[&str]) -> Finished {
        let store = self.bucket.url("bench");
        let slave = format!("us-east-1:{slave}");
        let mut arguments = vec!["sync", "-q", "-m", "us-east-1:master", "-s", &slave];
        arguments.extend(["--queue", &self.queue.url, "--store", &store]);
        arguments.extend(more);
        programs.spawn_dynamend(&arguments).wait(DEADLINE)
    }
}

async fn fill(database: &DynamoDb, table: &str, schema: &KeySchema, items: usize) {
    database.create_table(table, schema).await;
    let all: Vec<usize> = (0..items).collect();
    for chunk in all.chunks(10_000) {
        let chunk: Vec<Item> = chunk.iter().map(|&n| item(n)).collect();
        database.put_all(table, &chunk).await;
    }
}

fn item(n: usize) -> Item {
    let number = Number::parse(&n.to_string()).expect("a number");
    [
        ("id".to_owned(), Value::S(format!("customer-{n:012}"))),
        ("total".to_owned(), Value::N(number)),
        ("status".to_owned(), Value::S("delivered".to_owned())),
        ("note".to_owned(), Value::S("as it was ordered, on time".to_owned())),
        ("paid".to_owned(), Value::Bool(true)),
    ]
    .into()
}
