//! The stream's side of an incremental backup: the function of mapbox's name, with mapbox's variables, on S3.
//!
//! `lambda.rs` and `replicate.rs` have more of it: duplicates, failures, and `replicate --to-backup`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use aws_sdk_s3::types::CreateBucketConfiguration;
use serde_json::{Value as Json, json};
use shared::domain::key::KeyType;
use tests::buckets::Bucket;
use tests::dynamodb::DynamoDb;
use tests::generate::schema;
use tests::lambda::{Answered, Lambda};
use tests::ministack::{MiniStack, unique};
use tests::process::{Programs, REGION, Running};
use tests::relay::Relay;

use crate::stage::programs;

/// Of a `{"id":{"S":"…"}}`, as `sha256sum` has them.
const NAMES: [(&str, &str); 3] = [
    ("a", "749b5c1af783257792b1d09113f0f74675b8152acbb10024a848f8029f898d87"),
    ("b", "49241c0211d34f719f551751c2de9f6f69ff5a305eb6b0735587319e0bb25bef"),
    ("c", "141888d2d34b6055a23a692ab7b8385975b277bfc107787349944b9fff2f0f3e"),
];

struct Scene {
    lambda: Lambda,
    bucket: Bucket,
    relay: Relay,
    sequence: u32,
    _server: DynamoDb,
    _running: Running,
    _home: Programs,
}

impl Scene {
    async fn new() -> Self {
        Self::of_region(REGION).await
    }

    /// With a bucket in this region, from which the test itself does not read.
    async fn of_region(region: &str) -> Self {
        let (server, services) = (DynamoDb::start(), MiniStack::shared());
        server.create_table("orders", &schema(KeyType::S, None)).await;
        let (lambda, bucket) = (Lambda::start(Duration::from_secs(25)), Bucket::create(services).await);
        let mut name = bucket.name.clone();
        if region != REGION {
            name = unique("elsewhere");
            let place = CreateBucketConfiguration::builder().location_constraint(region.into()).build();
            let request = bucket.client().create_bucket().bucket(&name).create_bucket_configuration(place);
            request.send().await.expect("the bucket is created");
        }
        let relay = Relay::before(&services.endpoint());
        let programs = programs().with_dynamodb(&server.endpoint()).with_services(&relay.endpoint());
        let programs = lambda.environment().iter().fold(programs, |programs, (name, value)| programs.with(name, value));
        let programs = programs
            .with("_HANDLER", "index.backup")
            .with("BackupBucket", &name)
            .with("BackupPrefix", "live")
            .with("BackupRegion", region);
        let running = programs.spawn(Path::new(env!("CARGO_BIN_EXE_dynamend-lambda-under-test")), &[]);
        Self { lambda, bucket, relay, sequence: 0, _server: server, _running: running, _home: programs }
    }

    /// Sends these changes as one event: an id, and what the item has then.
    fn send(&mut self, changes: &[(&str, &str, Option<u32>)]) {
        let records: Vec<Json> = changes
            .iter()
            .map(|(event, id, version)| {
                self.sequence += 1;
                let mut body = json!({
                    "Keys": {"id": {"S": id}}, "SequenceNumber": self.sequence.to_string(), "SizeBytes": 100,
                    "StreamViewType": "NEW_AND_OLD_IMAGES", "ApproximateCreationDateTime": 1.4797284E9,
                });
                if let Some(version) = version {
                    body["NewImage"] = image(id, *version);
                }
                let arn = "arn:aws:dynamodb:us-east-1:123456789012:table/orders/stream/2016-11-21T00:00:00.000";
                json!({"eventID": "e0d2f2", "eventName": event, "eventVersion": "1.1",
                       "eventSource": "aws:dynamodb", "awsRegion": "us-east-1", "eventSourceARN": arn,
                       "dynamodb": body})
            })
            .collect();
        let answered = self.lambda.invoke(json!({ "Records": records }));
        assert_eq!(answered, Answered::Response(json!({"batchItemFailures": []})));
    }

    /// What lies in the bucket, by key.
    async fn objects(&self) -> BTreeMap<String, Json> {
        let mut objects = BTreeMap::new();
        for key in self.bucket.keys("").await {
            let body = self.bucket.get(&key).await.expect("it is there");
            objects.insert(key, serde_json::from_slice(&body).expect("it is JSON"));
        }
        objects
    }
}

fn image(id: &str, version: u32) -> Json {
    json!({"id": {"S": id}, "v": {"N": version.to_string()}, "blob": {"B": "aGVsbG8="}})
}

fn expected(items: &[(&str, u32)]) -> BTreeMap<String, Json> {
    let name = |id: &str| NAMES.iter().find(|(known, _)| *known == id).expect("its name is known").1;
    items.iter().map(|(id, version)| (format!("live/orders/{}", name(id)), image(id, *version))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn b4_an_insert_becomes_an_object_under_the_hash_of_its_key() {
    let mut scene = Scene::new().await;

    scene.send(&[("INSERT", "a", Some(1))]);

    assert_eq!(scene.objects().await, expected(&[("a", 1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn b5_the_last_change_of_a_key_in_an_event_counts() {
    let mut scene = Scene::new().await;

    scene.send(&[("INSERT", "a", Some(1)), ("MODIFY", "a", Some(2))]);
    assert_eq!(scene.objects().await, expected(&[("a", 2)]));
    scene.send(&[("INSERT", "b", Some(1)), ("MODIFY", "b", Some(2)), ("REMOVE", "b", None)]);

    assert_eq!(scene.objects().await, expected(&[("a", 2)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn b6_many_changes_of_several_keys_leave_the_right_objects() {
    let mut scene = Scene::new().await;

    scene.send(&[
        ("INSERT", "a", Some(1)),
        ("INSERT", "b", Some(1)),
        ("MODIFY", "a", Some(2)),
        ("INSERT", "c", Some(1)),
        ("REMOVE", "b", None),
        ("MODIFY", "c", Some(2)),
        ("MODIFY", "a", Some(3)),
        ("REMOVE", "c", None),
        ("INSERT", "c", Some(4)),
    ]);
    assert_eq!(scene.objects().await, expected(&[("a", 3), ("c", 4)]));
    scene.send(&[("REMOVE", "a", None), ("INSERT", "b", Some(5)), ("REMOVE", "nobody", None)]);

    assert_eq!(scene.objects().await, expected(&[("b", 5), ("c", 4)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn b7_the_region_of_the_backup_is_that_of_its_variable() {
    let mut scene = Scene::of_region("eu-central-1").await;

    scene.send(&[("INSERT", "a", Some(1))]);

    let puts: Vec<_> = scene.relay.take_calls().into_iter().filter(|call| call.request.method == "PUT").collect();
    assert!(!puts.is_empty());
    for put in puts {
        assert_eq!(put.status, 200);
        let signed = &put.request.headers["authorization"];
        assert!(signed.contains("/eu-central-1/s3/aws4_request"), "{signed}");
    }
}
