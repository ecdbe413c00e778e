//! The list of permissions is what the programs need: every call they make is on it, and everything on it is called.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::StreamViewType;
use serde_json::Value as Json;
use shared::domain::decide::{ExtraHandling, Handling, Policy};
use shared::domain::permissions::{For, Permission, Resource, Service, When, permissions};
use tests::ministack::MiniStack;
use tests::oracle::Differences;
use tests::relay::{Call, Relay};
use tests::wait::DEADLINE;

use crate::stage::{Fleet, MASTER, SLAVE, SYNC, Stage, programs};

/// What is on the list though no test can make the programs need it, and why it is there all the same.
const UNSEEN: [(&str, &str); 2] = [
    ("DescribeStream", "a worker looks for the children of a shard that ended, and no emulator's shards end"),
    ("AbortMultipartUpload", "a worker takes an upload back that failed after its first 8 MiB"),
];

const ROLE: &str = "arn:aws:iam::000000000000:role/reader";

/// Flags that make a job which needs a role and a key as well.
const ROLE_AND_KEY: [&str; 6] = ["--role-arn", ROLE, "--sse", "aws:kms", "--sse-kms-key-id", "alias/jobs"];

const COMPARE: Policy = Policy { missing: Handling::Report, differing: Handling::Report, extra: ExtraHandling::Report };

const REPAIR: Policy = Policy { missing: Handling::Repair, differing: Handling::Repair, extra: ExtraHandling::Delete };

type Needed = BTreeSet<(Service, String, Resource)>;

/// A fleet whose services note every call.
struct Recorded {
    fleet: Fleet,
    tables: Relay,
    services: Relay,
}

impl Recorded {
    async fn new() -> Self {
        let (stage, _) = Stage::differing(40).await;
        let mut fleet = Fleet::around(stage, 3).await;
        let tables = Relay::before(&fleet.stage.server.endpoint());
        let services = Relay::before(&MiniStack::shared().endpoint());
        fleet.stage.programs = programs().with_dynamodb(&tables.endpoint()).with_services(&services.endpoint());
        Self { fleet, tables, services }
    }

    /// Enqueues a job, and forgets what that needed.
    fn enqueued(&self, job: &str, more: &[&str]) {
        self.fleet.enqueue(job, &[&ROLE_AND_KEY[..], &["--segments", "2"], more].concat());
        let _ = self.needed();
    }

    /// Runs the coordinator on the store, without the queue.
    fn here(&self, arguments: &[&str]) {
        self.run(&[arguments, &["--store", &self.fleet.store]].concat());
    }

    /// Deletes all items of a table.
    async fn server_clear(&self, table: &str) {
        let schema = &self.fleet.stage.schema;
        for item in self.fleet.stage.server.read_all(table).await {
            self.fleet.stage.server.delete(table, schema, &item).await;
        }
    }

    fn queued(&self, arguments: &[&str]) {
        self.run(&[arguments, &["--store", &self.fleet.store, "--queue", &self.fleet.queue.url]].concat());
    }

    fn run(&self, arguments: &[&str]) {
        let finished = self.fleet.stage.programs.dynamend(arguments);
        assert!(matches!(finished.code, Some(0 | 1)), "{arguments:?}: {}", finished.stderr);
    }

    /// What the calls since the last look needed.
    fn needed(&self) -> Needed {
        let tables = self.tables.take_calls().into_iter().flat_map(|call| of_table(&call));
        let services = self.services.take_calls();
        tables.chain(services.iter().flat_map(|call| self.of_service(call))).collect()
    }

    fn of_service(&self, call: &Call) -> Vec<(Service, String, Resource)> {
        if let Some(action) = call.request.headers.get("x-amz-target") {
            let action = action.strip_prefix("AmazonSQS.").unwrap_or_else(|| panic!("{action} of what?"));
            // A batch needs the permission of its single form.
            let action = action.strip_suffix("Batch").unwrap_or(action);
            let asked: Json = serde_json::from_slice(&call.request.body).expect("SQS speaks JSON");
            assert_eq!(asked["QueueUrl"], self.fleet.queue.url, "{action}");
            return vec![(Service::Sqs, action.to_owned(), Resource::Queue)];
        }
        let body = String::from_utf8_lossy(&call.request.body);
        if body.contains("Action=AssumeRole") {
            return vec![(Service::Sts, "AssumeRole".to_owned(), Resource::Role)];
        }
        self.of_bucket(call)
    }

    fn of_bucket(&self, call: &Call) -> Vec<(Service, String, Resource)> {
        let (path, query) = call.request.target.split_once('?').unwrap_or((&call.request.target, ""));
        let bucket = format!("/{}", self.fleet.bucket.name);
        let key = path.strip_prefix(&bucket).unwrap_or_else(|| panic!("{path} is not of this bucket"));
        let list = (Service::S3, "ListBucket".to_owned(), Resource::Bucket);
        if query.contains("list-type=2") {
            let of_backup = query.contains("prefix=kept");
            return vec![(list.0, list.1, if of_backup { Resource::BackupBucket } else { Resource::Bucket })];
        }
        let of_query = |name: &str| query.split('&').any(|part| part.split('=').next() == Some(name));
        for (name, action) in [("versions", "ListBucketVersions"), ("versioning", "GetBucketVersioning")] {
            if of_query(name) {
                return vec![(Service::S3, action.to_owned(), Resource::BackupBucket)];
            }
        }
        if key.starts_with("/kept/") {
            let action = match call.request.method.as_str() {
                "GET" if of_query("versionId") => "GetObjectVersion",
                "GET" => "GetObject",
                "PUT" => "PutObject",
                "DELETE" => "DeleteObject",
                other => panic!("{other} {key}"),
            };
            let list = (Service::S3, "ListBucket".to_owned(), Resource::BackupBucket);
            let lists = (action == "GetObject" && call.status == 404).then_some(list);
            return [(Service::S3, action.to_owned(), Resource::Backup)].into_iter().chain(lists).collect();
        }
        assert!(key.starts_with("/fleet/jobs/"), "{key} is not of a job");
        let is_summary = key.ends_with("/summary.json");
        let is_name = key.contains("/workers/");
        let (action, resource) = match call.request.method.as_str() {
            "GET" | "HEAD" => ("GetObject", Resource::Jobs),
            "PUT" => ("PutObject", Resource::Jobs),
            "DELETE" if is_summary => ("DeleteObject", Resource::Summaries),
            "DELETE" if is_name => ("DeleteObject", Resource::Workers),
            "DELETE" => ("DeleteObject", Resource::Jobs),
            other => panic!("{other} {key}"),
        };
        let mut needed = vec![(Service::S3, action.to_owned(), resource)];
        // Without it, S3 answers 403 here, and the program takes that for what it says.
        needed.extend((action == "GetObject" && call.status == 404).then_some(list));
        let is_kms = |headers: &std::collections::BTreeMap<String, String>| {
            headers.get("x-amz-server-side-encryption").is_some_and(|kind| kind.starts_with("aws:kms"))
        };
        // S3 asks KMS in the name of the caller.
        let key = |action: &str| (Service::Kms, action.to_owned(), Resource::Key);
        needed.extend(is_kms(&call.request.headers).then(|| key("GenerateDataKey")));
        needed.extend((action == "GetObject" && is_kms(&call.answered)).then(|| key("Decrypt")));
        needed
    }
}

fn of_table(call: &Call) -> Vec<(Service, String, Resource)> {
    let target = call.request.headers.get("x-amz-target").expect("DynamoDB is told what to do by a header");
    if let Some(action) = target.strip_prefix("DynamoDBStreams_20120810.") {
        return vec![(Service::DynamoDb, action.to_owned(), Resource::Stream)];
    }
    let action = target.strip_prefix("DynamoDB_20120810.").unwrap_or_else(|| panic!("{target}"));
    let asked: Json = serde_json::from_slice(&call.request.body).expect("DynamoDB speaks JSON");
    let batch = asked["RequestItems"].as_object().into_iter().flatten().map(|(table, _)| table.as_str());
    let tables: BTreeSet<&str> = asked["TableName"].as_str().into_iter().chain(batch).collect();
    assert!(!tables.is_empty(), "{action} of no table");
    let of = |table| if table == "orders" { Resource::Master } else { Resource::Slaves };
    tables.into_iter().map(|table| (Service::DynamoDb, action.to_owned(), of(table))).collect()
}

/// Nothing that was needed is missing from the list, and nothing on the list was not needed.
fn assert_listed(purpose: For, needed: &Needed) {
    let listed = permissions(purpose);
    let name = |it: &Permission| (it.service, it.action.to_owned(), it.resource);
    let all: Needed = listed.iter().map(name).collect();
    let denied: Vec<_> = needed.difference(&all).collect();
    assert!(denied.is_empty(), "{purpose:?} would be denied {denied:?}");
    let excused = |action: &str| UNSEEN.iter().any(|(unseen, _)| *unseen == action);
    // A queue with a key of its own needs it too, which no call shows; so does a commit that is read back.
    let superfluous: Vec<_> = listed
        .iter()
        .filter(|it| !needed.contains(&name(it)) && !excused(it.action))
        .filter(|it| !matches!(it.when, When::Limited | When::ShareOfCapacity | When::FromKinesis | When::BackedUp))
        .filter(|it| !matches!(it.when, When::AsOf | When::Created | When::Verified))
        .filter(|it| it.when != When::OwnKey || !needed.iter().any(|(service, ..)| *service == Service::Sqs))
        .collect();
    assert!(superfluous.is_empty(), "{purpose:?} does not need {superfluous:?}");
}

#[tokio::test]
async fn comparing_in_one_process() {
    let stage = Recorded::new().await;
    for strategy in ["paired", "lookup"] {
        stage.here(&[&SYNC[..], &ROLE_AND_KEY, &["--strategy", strategy, "--scan-for-extra"]].concat());
    }
    stage.here(&[&SYNC[..], &["--strategy", "lookup"]].concat());

    assert_listed(For::Sync(COMPARE), &stage.needed());
}

#[tokio::test]
async fn repairing_in_one_process() {
    let put = Policy { extra: ExtraHandling::Ignore, ..REPAIR };
    let missing = Policy { differing: Handling::Report, ..put };
    let delete = Policy { extra: ExtraHandling::Delete, ..COMPARE };
    for (flags, policy) in [
        (&["--write-missing"][..], missing),
        (&["--write-missing", "--write-differing"], put),
        (&["--delete-extra"], delete),
        (&["--repair"], REPAIR),
    ] {
        let stage = Recorded::new().await;

        stage.here(&[&SYNC[..], &ROLE_AND_KEY, flags].concat());

        assert_listed(For::Sync(policy), &stage.needed());
    }
}

#[tokio::test]
async fn looking_at_tables_and_jobs() {
    let stage = Recorded::new().await;
    stage.run(&["estimate", "-m", MASTER, "-s", SLAVE, "--role-arn", ROLE]);
    assert_listed(For::Estimate, &stage.needed());
    stage.enqueued("job", &[]);
    for (command, purpose) in
        [(&["status", "job"][..], For::Status), (&["report", "job"], For::Report), (&["jobs"], For::Jobs)]
    {
        stage.here(command);

        assert_listed(purpose, &stage.needed());
    }
}

#[tokio::test]
async fn enqueueing_cancelling_and_resuming() {
    let stage = Recorded::new().await;
    let sync = [&SYNC[..], &ROLE_AND_KEY, &["--segments", "2", "--job-id", "job"]].concat();
    stage.queued(&sync);
    let mut enqueueing = stage.needed();
    let taken = stage.fleet.dynamend(&sync);
    assert_eq!(taken.code, Some(2), "the id is taken: {}", taken.stderr);
    enqueueing.extend(stage.needed());
    let waiting = [&SYNC[..], &ROLE_AND_KEY, &["--segments", "2", "--wait"]].concat();
    let waiting = stage.fleet.spawn(&waiting);
    // Its calls are not the coordinator's.
    let worker = programs().with_dynamodb(&stage.fleet.stage.server.endpoint());
    let worker = worker.with_services(&MiniStack::shared().endpoint());
    let worker = worker.spawn_worker(&["--queue", &stage.fleet.queue.url]);
    let waiting = waiting.wait(2 * DEADLINE);
    worker.terminate();
    assert_eq!(waiting.code, Some(1), "{}", waiting.stderr);
    enqueueing.extend(stage.needed());
    assert_listed(For::SyncQueued, &enqueueing);

    stage.enqueued("first", &[]);
    stage.here(&["cancel", "first"]);
    assert_listed(For::Cancel, &stage.needed());
    stage.enqueued("paused", &[]);
    stage.here(&["pause", "paused"]);
    assert_listed(For::Cancel, &stage.needed());
    stage.enqueued("limited", &[]);
    stage.here(&["limit", "limited", "--read-capacity", "10", "--max-cost", "5"]);
    assert_listed(For::Limit, &stage.needed());
    stage.enqueued("other", &[]);
    stage.queued(&["resume", "other"]);
    assert_listed(For::ResumeQueued, &stage.needed());
    stage.enqueued("third", &["--scan-for-extra"]);
    stage.here(&["resume", "third"]);
    assert_listed(For::Resume(COMPARE), &stage.needed());
    stage.enqueued("fourth", &["--repair"]);
    stage.here(&["resume", "fourth"]);
    assert_listed(For::Resume(REPAIR), &stage.needed());
}

const COPY: [&str; 4] = ["-m", MASTER, "-s", SLAVE];

/// Makes puts conditional, and what is conditional is no batch.
const SINGLY: [&str; 2] = ["--version-attribute", "version"];

/// Some puts and one delete.
async fn change_master(stage: &Recorded) {
    let items = stage.fleet.stage.server.read_all("orders").await;
    let schema = &stage.fleet.stage.schema;
    stage.fleet.stage.server.put_all("orders", &items[..3]).await;
    stage.fleet.stage.server.delete("orders", schema, &items[0]).await;
}

#[tokio::test]
async fn copying_and_following_in_one_process() {
    let stage = Recorded::new().await;
    let backfill = [&["backfill"], &COPY[..], &ROLE_AND_KEY].concat();
    stage.here(&backfill);
    stage.here(&[&backfill[..], &["--scan-limit", "1"]].concat());
    assert_listed(For::Backfill, &stage.needed());
    stage.fleet.stage.server.enable_stream("orders", StreamViewType::KeysOnly).await;
    change_master(&stage).await;

    let replicate = [&["replicate"], &COPY[..], &ROLE_AND_KEY, &["--until-caught-up"]].concat();
    stage.here(&replicate);
    stage.here(&[&replicate[..], &SINGLY].concat());

    assert_listed(For::Replicate, &stage.needed());
}

#[tokio::test]
async fn copying_and_following_with_a_fleet() {
    let stage = Recorded::new().await;
    stage.fleet.stage.server.enable_stream("orders", StreamViewType::KeysOnly).await;
    change_master(&stage).await;
    // Its calls are not the coordinator's.
    let others = programs().with_dynamodb(&stage.fleet.stage.server.endpoint());
    let others = others.with_services(&MiniStack::shared().endpoint());
    let worker = others.spawn_worker(&["--queue", &stage.fleet.queue.url]);
    stage.queued(&[&["backfill"], &COPY[..], &ROLE_AND_KEY, &["--segments", "2", "--wait"]].concat());
    assert_listed(For::BackfillQueued, &stage.needed());
    stage.queued(&[&["replicate"], &COPY[..], &ROLE_AND_KEY, &["--until-caught-up", "--wait"]].concat());
    assert_listed(For::ReplicateQueued, &stage.needed());
    worker.terminate();
    assert_eq!(worker.wait(DEADLINE).code, Some(0));

    for (command, job, flags) in [
        ("backfill", "backfill", &["--scan-limit", "1"][..]),
        ("replicate", "together", &["--until-caught-up"]),
        ("replicate", "singly", &["--until-caught-up", SINGLY[0], SINGLY[1]]),
    ] {
        stage.queued(&[&[command], &COPY[..], &ROLE_AND_KEY, &["--job-id", job], flags].concat());
    }
    stage.fleet.queue.send("not for anybody").await;
    let mut receipts = Vec::new();
    while let Some((_, receipt)) = stage.fleet.queue.receive().await {
        receipts.push(receipt);
    }
    for receipt in &receipts {
        stage.fleet.queue.give_back(receipt).await;
    }
    let _ = stage.needed();
    let worker = stage.fleet.worker(&[]);
    for job in ["backfill", "together", "singly"] {
        stage.fleet.summary(job, 2 * DEADLINE).await;
    }
    worker.terminate();

    assert_eq!(worker.wait(DEADLINE).code, Some(0));
    assert_listed(For::CopyingWorker, &stage.needed());
}

#[tokio::test]
async fn single_records() {
    let stage = Recorded::new().await;
    let Differences { missing, extra, differing } = stage.fleet.stage.differences().await;
    let (Some(missing), Some(extra)) = (missing.first(), extra.first()) else { panic!("the tables differ") };
    let present = differing.keys().next().expect("the tables differ");
    let role = ["--role-arn", ROLE];
    for (command, purpose) in [("diff", For::RecordDiff), ("sync", For::RecordSync)] {
        for key in [missing, extra] {
            stage.run(&[&["record", command, MASTER, SLAVE, key], &role[..]].concat());
        }
        assert_listed(purpose, &stage.needed());
    }

    let dest = stage.fleet.bucket.url("kept");
    // That the bucket has a key of its own shows in no call.
    let with_key = |actions: &[&str]| {
        let keys = actions.iter().map(|action| (Service::Kms, (*action).to_owned(), Resource::Key));
        stage.needed().into_iter().chain(keys).collect::<Needed>()
    };
    stage.run(&[&["record", "backup", MASTER, &dest, missing], &role[..]].concat());
    let schema = &stage.fleet.stage.schema;
    for item in stage.fleet.stage.server.read_all("orders").await {
        if tests::oracle::key_text(schema, &item) == *missing {
            stage.fleet.stage.server.delete("orders", schema, &item).await;
        }
    }
    stage.run(&[&["record", "backup", MASTER, &dest, missing], &role[..]].concat());
    assert_listed(For::RecordBackup, &with_key(&["Decrypt", "GenerateDataKey"]));
    stage.run(&[&["record", "diff-backup", MASTER, &dest, missing], &role[..]].concat());
    assert_listed(For::RecordDiffBackup, &with_key(&["Decrypt"]));
    stage.run(&[&["record", "backup", MASTER, &dest, present], &role[..]].concat());
    let _ = stage.needed();
    stage.run(&[&["record", "history", MASTER, &dest, present], &role[..]].concat());
    assert_listed(For::RecordHistory, &with_key(&["Decrypt"]));
}

#[tokio::test]
async fn backing_up_and_restoring_in_one_process() {
    let stage = Recorded::new().await;
    let dest = stage.fleet.bucket.url("kept");
    stage.here(&[&["backup", "incremental", MASTER, &dest][..], &ROLE_AND_KEY].concat());
    stage.here(&[&["backup", "full", MASTER, &dest, "--job-id", "B"][..], &ROLE_AND_KEY].concat());
    let of_full = stage.needed();
    let items = format!("{dest}/orders");
    stage.here(&[&["backup", "snapshot", &items, &dest, "--job-id", "S"][..], &ROLE_AND_KEY[2..]].concat());
    let of_snapshot = stage.needed();

    // Whoever ends a job deletes what a worker left behind that died.
    stage.queued(&[&["backup", "full", MASTER, &dest, "--job-id", "left"][..], &ROLE_AND_KEY].concat());
    stage.fleet.bucket.put("kept/left/data/stray.json.gz", b"").await;
    let _ = stage.needed();
    stage.here(&["resume", "left"]);
    let of_resume = stage.needed();
    let cleared =
        of_resume.into_iter().filter(|(_, action, resource)| action == "DeleteObject" && *resource == Resource::Backup);
    let cleared: Needed = cleared.collect();
    assert_eq!(cleared.len(), 1);
    assert_listed(For::Backup, &(&of_full | &cleared));
    assert_listed(For::Snapshot, &(&of_snapshot | &cleared));

    let restore = ["restore", &format!("{dest}/B"), SLAVE, "--overwrite", "--verify"];
    stage.here(&[&restore[..], &ROLE_AND_KEY].concat());
    stage.here(&[&["restore", &items, SLAVE, "--only-missing"][..], &ROLE_AND_KEY].concat());
    stage.server_clear("copy").await;
    stage.here(&[&["restore", &items, SLAVE][..], &ROLE_AND_KEY].concat());
    assert_listed(For::Restore, &stage.needed());
}

#[tokio::test]
async fn backing_up_and_restoring_with_a_fleet() {
    let stage = Recorded::new().await;
    stage.server_clear("copy").await;
    let dest = stage.fleet.bucket.url("kept");
    let others = programs().with_dynamodb(&stage.fleet.stage.server.endpoint());
    let others = others.with_services(&MiniStack::shared().endpoint());
    let worker = others.spawn_worker(&["--queue", &stage.fleet.queue.url]);
    let with_role = |arguments: &[&str]| {
        [arguments, &ROLE_AND_KEY, &["--wait"]].concat().iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()
    };
    let queued = |arguments: Vec<String>| stage.queued(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    queued(with_role(&["backup", "incremental", MASTER, &dest]));
    queued(with_role(&["backup", "full", MASTER, &dest, "--job-id", "B"]));
    assert_listed(For::BackupQueued, &stage.needed());
    let (full, items) = (format!("{dest}/B"), format!("{dest}/orders"));
    queued(with_role(&["restore", &full, SLAVE, "--verify"]));
    queued(with_role(&["restore", &items, SLAVE, "--overwrite"]));
    assert_listed(For::RestoreQueued, &stage.needed());
    worker.terminate();
    assert_eq!(worker.wait(DEADLINE).code, Some(0));

    let put = |command: &[&str], job: &str, more: &[&str]| {
        stage.queued(&[command, &["--job-id", job], more].concat());
    };
    put(&["backup", "full", MASTER, &dest], "full", &ROLE_AND_KEY);
    put(&["backup", "incremental", MASTER, &dest], "incremental", &ROLE_AND_KEY);
    put(&["backup", "snapshot", &items, &dest], "snapshot", &ROLE_AND_KEY[2..]);
    put(&["restore", &full, SLAVE, "--overwrite"], "overwritten", &ROLE_AND_KEY);
    put(&["restore", &items, SLAVE, "--only-missing"], "missing", &ROLE_AND_KEY);
    for job in ["full", "snapshot"] {
        stage.fleet.bucket.put(&format!("kept/{job}/data/stray.json.gz"), b"").await;
    }
    stage.fleet.queue.send("not for anybody").await;
    let mut receipts = Vec::new();
    while let Some((_, receipt)) = stage.fleet.queue.receive().await {
        receipts.push(receipt);
    }
    for receipt in &receipts {
        stage.fleet.queue.give_back(receipt).await;
    }
    let _ = stage.needed();
    let worker = stage.fleet.worker(&[]);
    for job in ["full", "incremental", "snapshot", "overwritten", "missing"] {
        stage.fleet.summary(job, 2 * DEADLINE).await;
    }
    worker.terminate();

    assert_eq!(worker.wait(DEADLINE).code, Some(0));
    assert_listed(For::BackupWorker, &stage.needed());
}

#[tokio::test]
async fn undoing() {
    let stage = Recorded::new().await;
    stage.here(&[&SYNC[..], &ROLE_AND_KEY, &["--repair", "--undo", "--job-id", "job"]].concat());
    let _ = stage.needed();

    stage.here(&["undo", "job"]);

    assert_listed(For::Undo, &stage.needed());
}

#[tokio::test]
async fn working() {
    let limited = &["--repair", "--read-capacity", "10000", "--write-capacity", "10000"];
    for (flags, policy) in [(&["--scan-for-extra"][..], COMPARE), (limited, REPAIR)] {
        let stage = Recorded::new().await;
        stage.fleet.queue.send("not for anybody").await;
        stage.enqueued("job", flags);
        // One that was received before is traded for a successor.
        let mut receipts = Vec::new();
        while let Some((_, receipt)) = stage.fleet.queue.receive().await {
            receipts.push(receipt);
        }
        for receipt in &receipts {
            stage.fleet.queue.give_back(receipt).await;
        }

        let worker = stage.fleet.worker(&[]);
        stage.fleet.summary("job", 2 * DEADLINE).await;
        worker.terminate();
        let worker = worker.wait(DEADLINE);

        assert_eq!(worker.code, Some(0), "{}", worker.stderr);
        let needed = stage.needed();
        assert_listed(For::Worker(policy), &needed);
        let tells_of_itself = needed.contains(&(Service::S3, "DeleteObject".to_owned(), Resource::Workers));
        assert_eq!(tells_of_itself, policy == REPAIR);
    }
}
