//! A fleet whose services note every call, and what each call needs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use serde_json::Value as Json;
use shared::domain::permissions::{Resource, Service};
use tests::ministack::MiniStack;
use tests::process::REGION;
use tests::queues::Queue;
use tests::relay::{Call, Relay};
use tests::wait::DEADLINE;

use crate::stage::{Fleet, Stage, programs};

/// The account that everything is in.
pub(crate) const ACCOUNT: &str = "000000000000";

pub(crate) const ROLE: &str = "arn:aws:iam::000000000000:role/reader";

/// What the alias of [`ROLE_AND_KEY`] stands for.
pub(crate) const KEY: &str = "arn:aws:kms:us-east-1:000000000000:key/jobs";

/// Flags that make a job which needs a role and a key as well.
pub(crate) const ROLE_AND_KEY: [&str; 6] = ["--role-arn", ROLE, "--sse", "aws:kms", "--sse-kms-key-id", "alias/jobs"];

pub(crate) type Needed = BTreeSet<(Service, String, Resource)>;

/// What a call needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Asked {
    pub(crate) service: Service,
    pub(crate) action: String,
    pub(crate) resource: Resource,
    pub(crate) arn: String,
}

/// A fleet whose services note every call.
pub(crate) struct Recorded {
    pub(crate) fleet: Fleet,
    tables: Relay,
    services: Relay,
    asked: Mutex<BTreeSet<Asked>>,
}

impl Recorded {
    pub(crate) async fn new() -> Self {
        let (stage, _) = Stage::differing(40).await;
        let mut fleet = Fleet::around(stage, 3).await;
        let tables = Relay::before(&fleet.stage.server.endpoint());
        let services = Relay::before(&MiniStack::shared().endpoint());
        fleet.stage.programs = programs().with_dynamodb(&tables.endpoint()).with_services(&services.endpoint());
        Self { fleet, tables, services, asked: Mutex::default() }
    }

    /// Enqueues a job, and forgets what that needed.
    pub(crate) fn enqueued(&self, job: &str, more: &[&str]) {
        self.fleet.enqueue(job, &[&ROLE_AND_KEY[..], &["--segments", "2"], more].concat());
        self.forget();
    }

    /// Runs the coordinator on the store, without the queue.
    pub(crate) fn here(&self, arguments: &[&str]) {
        self.run(&[arguments, &["--store", &self.fleet.store]].concat());
    }

    pub(crate) fn queued(&self, arguments: &[&str]) {
        self.run(&[arguments, &["--store", &self.fleet.store, "--queue", &self.fleet.queue.url]].concat());
    }

    pub(crate) fn run(&self, arguments: &[&str]) {
        let finished = self.fleet.stage.programs.dynamend(arguments);
        assert!(matches!(finished.code, Some(0 | 1)), "{arguments:?}: {}", finished.stderr);
    }

    /// Has all that is enqueued done by a worker, with every reason to make every call that workers make, and says what
    /// it needed.
    pub(crate) async fn worked(&self, jobs: &[&str]) -> Needed {
        self.fleet.queue.send("not for anybody").await;
        // One that was received before is traded for a successor.
        let mut receipts = Vec::new();
        while let Some((_, receipt)) = self.fleet.queue.receive().await {
            receipts.push(receipt);
        }
        for receipt in &receipts {
            self.fleet.queue.give_back(receipt).await;
        }
        self.forget();
        let worker = self.fleet.worker(&[]);
        for job in jobs {
            self.fleet.summary(job, 2 * DEADLINE).await;
        }
        worker.terminate();
        let worker = worker.wait(DEADLINE);
        assert_eq!(worker.code, Some(0), "{}", worker.stderr);
        self.needed()
    }

    /// Goes on with another queue: messages of what is done already would have the next worker look at these jobs.
    pub(crate) async fn with_another_queue(&mut self) {
        self.fleet.queue = Queue::create(MiniStack::shared(), DEADLINE, 3).await;
    }

    /// Deletes all items of a table.
    pub(crate) async fn server_clear(&self, table: &str) {
        let schema = &self.fleet.stage.schema;
        for item in self.fleet.stage.server.read_all(table).await {
            self.fleet.stage.server.delete(table, schema, &item).await;
        }
    }

    /// What the calls since the last look needed.
    pub(crate) fn needed(&self) -> Needed {
        let new = self.look();
        let needed = new.iter().map(|it| (it.service, it.action.clone(), it.resource)).collect();
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).extend(new);
        needed
    }

    /// What the calls needed that [`Recorded::needed`] told of since this was last asked.
    pub(crate) fn asked(&self) -> BTreeSet<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Leaves out the calls since the last look.
    pub(crate) fn forget(&self) {
        drop(self.look());
    }

    fn look(&self) -> Vec<Asked> {
        let tables = self.tables.take_calls().into_iter().flat_map(|call| of_table(&call));
        let services = self.services.take_calls();
        tables.chain(services.iter().flat_map(|call| self.of_service(call))).collect()
    }

    fn of_service(&self, call: &Call) -> Vec<Asked> {
        if let Some(action) = call.request.headers.get("x-amz-target") {
            let action = action.strip_prefix("AmazonSQS.").unwrap_or_else(|| panic!("{action} of what?"));
            // A batch needs the permission of its single form.
            let action = action.strip_suffix("Batch").unwrap_or(action);
            let asked: Json = serde_json::from_slice(&call.request.body).expect("SQS speaks JSON");
            assert_eq!(asked["QueueUrl"], self.fleet.queue.url, "{action}");
            let name = self.fleet.queue.url.rsplit('/').next().expect("a URL ends in the queue's name");
            return vec![asked_of(
                Service::Sqs,
                action,
                Resource::Queue,
                format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"),
            )];
        }
        let body = String::from_utf8_lossy(&call.request.body);
        if body.contains("Action=AssumeRole") {
            assert!(body.contains(&format!("RoleArn={}", ROLE.replace(':', "%3A").replace('/', "%2F"))), "{body}");
            return vec![asked_of(Service::Sts, "AssumeRole", Resource::Role, ROLE.to_owned())];
        }
        self.of_bucket(call)
    }

    fn of_bucket(&self, call: &Call) -> Vec<Asked> {
        let (path, query) = call.request.target.split_once('?').unwrap_or((&call.request.target, ""));
        let bucket = &self.fleet.bucket.name;
        let key = path.strip_prefix(&format!("/{bucket}")).unwrap_or_else(|| panic!("{path} is not of this bucket"));
        let on_bucket = |action, resource| asked_of(Service::S3, action, resource, format!("arn:aws:s3:::{bucket}"));
        let on_object =
            |action, resource| asked_of(Service::S3, action, resource, format!("arn:aws:s3:::{bucket}{key}"));
        if query.contains("list-type=2") {
            let of_backup = query.contains("prefix=kept");
            return vec![on_bucket("ListBucket", if of_backup { Resource::BackupBucket } else { Resource::Bucket })];
        }
        let of_query = |name: &str| query.split('&').any(|part| part.split('=').next() == Some(name));
        for (name, action) in [("versions", "ListBucketVersions"), ("versioning", "GetBucketVersioning")] {
            if of_query(name) {
                return vec![on_bucket(action, Resource::BackupBucket)];
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
            let lists =
                (action == "GetObject" && call.status == 404).then(|| on_bucket("ListBucket", Resource::BackupBucket));
            return [on_object(action, Resource::Backup)].into_iter().chain(lists).collect();
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
        let mut needed = vec![on_object(action, resource)];
        // Without it, S3 answers 403 here, and the program takes that for what it says.
        let is_missing = action == "GetObject" && call.status == 404;
        needed.extend(is_missing.then(|| on_bucket("ListBucket", Resource::Bucket)));
        let is_kms = |headers: &BTreeMap<String, String>| {
            headers.get("x-amz-server-side-encryption").is_some_and(|kind| kind.starts_with("aws:kms"))
        };
        // S3 asks KMS in the name of the caller.
        let key = |action: &str| asked_of(Service::Kms, action, Resource::Key, KEY.to_owned());
        needed.extend(is_kms(&call.request.headers).then(|| key("GenerateDataKey")));
        needed.extend((action == "GetObject" && is_kms(&call.answered)).then(|| key("Decrypt")));
        needed
    }
}

fn asked_of(service: Service, action: &str, resource: Resource, arn: String) -> Asked {
    Asked { service, action: action.to_owned(), resource, arn }
}

fn of_table(call: &Call) -> Vec<Asked> {
    let target = call.request.headers.get("x-amz-target").expect("DynamoDB is told what to do by a header");
    let asked: Json = serde_json::from_slice(&call.request.body).expect("DynamoDB speaks JSON");
    let named = |name: &str| format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{name}");
    if let Some(action) = target.strip_prefix("DynamoDBStreams_20120810.") {
        // An iterator does not say of which stream it is; there is only this one.
        let stream = asked["StreamArn"]
            .as_str()
            .map_or("orders/stream/this", |arn| arn.split_once(":table/").expect("a stream is one of a table").1);
        return vec![asked_of(Service::DynamoDb, action, Resource::Stream, named(stream))];
    }
    let action = target.strip_prefix("DynamoDB_20120810.").unwrap_or_else(|| panic!("{target}"));
    let batch = asked["RequestItems"].as_object().into_iter().flatten().map(|(table, _)| table.as_str());
    let tables: BTreeSet<&str> = asked["TableName"].as_str().into_iter().chain(batch).collect();
    assert!(!tables.is_empty(), "{action} of no table");
    let of = |table| if table == "orders" { Resource::Master } else { Resource::Slaves };
    tables.into_iter().map(|table| asked_of(Service::DynamoDb, action, of(table), named(table))).collect()
}
