//! A stage for the real programs: where they run, and their words as data.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use serde_json::Value as Json;
use shared::domain::key::{KeySchema, KeyType};
use shared::domain::value::{Item, Value};
use tests::buckets::Bucket;
use tests::dynamodb::DynamoDb;
use tests::generate::{Pair, Shares, pair_of_tables, schema};
use tests::ministack::MiniStack;
use tests::oracle::{Differences, key_text_of_json};
use tests::process::{Finished, Programs, Running};
use tests::queues::Queue;
use tests::slow::Slow;

/// The usual tables, as flags name them.
pub(crate) const MASTER: &str = "us-east-1:orders";
pub(crate) const SLAVE: &str = "us-east-1:copy";

/// Flags of a comparison of the usual tables, nothing else being written to them.
pub(crate) const SYNC: [&str; 7] = ["sync", "-m", MASTER, "-s", SLAVE, "--confirm-delay", "0"];

/// The programs, with nothing to talk to.
pub(crate) fn programs() -> Programs {
    Programs::new(env!("CARGO_BIN_EXE_dynamend-under-test"), env!("CARGO_BIN_EXE_dynamend-worker-under-test"))
}

/// An embedded DynamoDB with the usual tables, and the programs that work on them.
pub(crate) struct Stage {
    pub(crate) server: DynamoDb,
    pub(crate) programs: Programs,
    pub(crate) schema: KeySchema,
    slow: Option<Slow>,
}

impl Stage {
    /// Two tables with these items.
    pub(crate) async fn of(schema: &KeySchema, master: &[Item], slave: &[Item]) -> Self {
        let server = DynamoDb::start();
        server.create_filled("orders", schema, master).await;
        server.create_filled("copy", schema, slave).await;
        let programs = programs().with_dynamodb(&server.endpoint());
        Self { server, programs, schema: schema.clone(), slow: None }
    }

    /// Two tables that differ in every way.
    pub(crate) async fn differing(items: usize) -> (Self, Pair) {
        let pair = pair(items);
        (Self::of(&pair.schema, &pair.master, &pair.slave).await, pair)
    }

    /// The same, but for the programs the tables are so far away that the test can do something meanwhile.
    ///
    /// A page costs two requests at least, and a unit commits every two seconds.
    pub(crate) async fn far_away(items: usize) -> (Self, Pair) {
        let (mut stage, pair) = Self::differing(items).await;
        let slow = Slow::before(&stage.server.endpoint(), Duration::from_millis(10));
        stage.programs = stage.programs.with_dynamodb(&slow.endpoint());
        stage.slow = Some(slow);
        (stage, pair)
    }

    /// Where the programs find the tables.
    pub(crate) fn endpoint(&self) -> String {
        self.slow.as_ref().map_or_else(|| self.server.endpoint(), Slow::endpoint)
    }

    /// Runs `sync` on the usual tables.
    pub(crate) fn sync(&self, more: &[&str]) -> Finished {
        self.programs.dynamend(&[&SYNC, more].concat())
    }

    /// What is in both tables now.
    pub(crate) async fn tables(&self) -> (Vec<Item>, Vec<Item>) {
        (self.server.read_all("orders").await, self.server.read_all("copy").await)
    }

    /// What differs between the tables now.
    pub(crate) async fn differences(&self) -> Differences {
        let (master, slave) = self.tables().await;
        tests::oracle::brute_force(&master, &slave, &self.schema)
    }

    /// The job's report.
    pub(crate) fn report(&self, job: &str) -> Vec<Json> {
        report(&self.programs, &[job])
    }
}

/// Two tables that differ in every way, with a composite key.
pub(crate) fn pair(items: usize) -> Pair {
    let shares = Shares { missing: 0.1, differing: 0.1, extra: 0.1 };
    pair_of_tables(&schema(KeyType::S, Some(KeyType::N)), 11, items, shares)
}

/// A queue and a bucket of MiniStack, and a DynamoDB with the usual tables.
pub(crate) struct Fleet {
    pub(crate) stage: Stage,
    pub(crate) queue: Queue,
    pub(crate) bucket: Bucket,
    pub(crate) store: String,
}

impl Fleet {
    /// Around these tables; messages go to the dead-letter queue after this many receives.
    pub(crate) async fn around(mut stage: Stage, max_receives: u32) -> Self {
        let services = MiniStack::shared();
        let queue = Queue::create(services, Duration::from_secs(30), max_receives).await;
        let bucket = Bucket::create(services).await;
        stage.programs = programs().with_dynamodb(&stage.endpoint()).with_services(&services.endpoint());
        let store = bucket.url("fleet");
        Self { stage, queue, bucket, store }
    }

    /// Starts a command of the coordinator with this queue and store.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Running {
        let place: [&str; 4] = ["--queue", &self.queue.url, "--store", &self.store];
        self.stage.programs.spawn_dynamend(&[arguments, &place].concat())
    }

    /// Runs it to its end.
    pub(crate) fn dynamend(&self, arguments: &[&str]) -> Finished {
        self.spawn(arguments).wait(Duration::from_secs(120))
    }

    /// Enqueues a sync of the usual tables and makes sure of it.
    pub(crate) fn enqueue(&self, job: &str, more: &[&str]) {
        let finished = self.dynamend(&[&SYNC[..], &["--job-id", job], more].concat());
        assert_eq!((finished.code, finished.stdout.trim()), (Some(0), job), "{}", finished.stderr);
    }

    /// Starts a worker with the shortest lease but one.
    pub(crate) fn worker(&self, more: &[&str]) -> Running {
        self.stage.programs.spawn_worker(&[&["--queue", &self.queue.url, "--lease", "4"], more].concat())
    }

    /// Where the job stands.
    pub(crate) fn status(&self, job: &str) -> Json {
        let finished = self.stage.programs.dynamend(&["status", job, "--store", &self.store, "--output", "json"]);
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        document(&finished)
    }

    /// The job's report.
    pub(crate) fn report(&self, job: &str) -> Vec<Json> {
        report(&self.stage.programs, &[job, "--store", &self.store])
    }

    /// Waits until the job's last worker has said how it ended.
    pub(crate) async fn summary(&self, job: &str, deadline: Duration) -> Json {
        let key = format!("fleet/jobs/{job}/summary.json");
        let body =
            tests::wait::eventually("the summary is there", deadline, async || self.bucket.get(&key).await).await;
        serde_json::from_slice(&body).expect("a summary is JSON")
    }
}

/// The one JSON document on standard output.
pub(crate) fn document(finished: &Finished) -> Json {
    serde_json::from_str(&finished.stdout)
        .unwrap_or_else(|error| panic!("no JSON document ({error}):\n{}\n{}", finished.stdout, finished.stderr))
}

/// The lines of `report --format jsonl`.
pub(crate) fn report(programs: &Programs, arguments: &[&str]) -> Vec<Json> {
    let finished = programs.dynamend(&[&["report", "--format", "jsonl"], arguments].concat());
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    finished.stdout.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

/// Holds the lines about one slave against what the oracle says: each discrepancy once, and no other.
pub(crate) fn assert_reported(lines: &[Json], slave: &str, expected: &Differences) {
    let mut found = Differences::default();
    let mut paths = BTreeMap::new();
    for line in lines.iter().filter(|line| line["slave"] == slave) {
        let key = key_text_of_json(&line["key"]);
        let attributes: Vec<String> = serde_json::from_value(line["attributes"].clone()).expect("a list of paths");
        assert!(attributes.is_sorted(), "{line}");
        let first = match line["kind"].as_str() {
            Some("missing") => found.missing.insert(key),
            Some("extra") => found.extra.insert(key),
            Some("differing") => paths.insert(key, attributes).is_none(),
            other => panic!("{other:?} in {line}"),
        };
        assert!(first, "reported twice: {line}");
    }
    assert_eq!((&found.missing, &found.extra), (&expected.missing, &expected.extra));
    assert_eq!(paths.keys().collect::<Vec<_>>(), expected.differing.keys().collect::<Vec<_>>());
    for (key, names) in &expected.differing {
        let of = |path: &str, name: &str| {
            path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let paths = &paths[key];
        assert!(paths.iter().all(|path| names.iter().any(|name| of(path, name))), "{key}: {paths:?}, {names:?}");
        assert!(names.iter().all(|name| paths.iter().any(|path| of(path, name))), "{key}: {paths:?}, {names:?}");
    }
}

/// Orders with a text key, each of them with these attributes.
pub(crate) fn orders(count: u32, more: &[(&str, Value)]) -> Vec<Item> {
    let order = |number: u32| {
        let more = more.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        more.chain([("id".to_owned(), Value::S(format!("order-{number:05}")))]).collect()
    };
    (0..count).map(order).collect()
}

/// The schema of [`orders`].
pub(crate) fn order_schema() -> KeySchema {
    schema(KeyType::S, None)
}

/// A text value.
pub(crate) fn text(value: &str) -> Value {
    Value::S(value.to_owned())
}

/// Everything in a folder, by path; what is compressed is unpacked.
pub(crate) fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("the folder can be listed").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let name = path.to_string_lossy().into_owned();
            let body = unpacked(&name, fs::read(&path).expect("the file can be read"));
            found.insert(name, body);
        }
    }
    found
}

/// The content of a file or object, unpacked if its name says that it is compressed.
pub(crate) fn unpacked(name: &str, body: Vec<u8>) -> Vec<u8> {
    if !name.ends_with(".gz") {
        return body;
    }
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(body.as_slice()).read_to_end(&mut plain).expect("it is compressed");
    plain
}

/// Whether a text is among these bytes.
pub(crate) fn holds(body: &[u8], text: &str) -> bool {
    body.windows(text.len()).any(|window| window == text.as_bytes())
}
