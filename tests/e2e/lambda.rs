//! The functions for AWS Lambda: the real program, invoked as Lambda does, on an embedded DynamoDB.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value as Json, json};
use shared::domain::item_object;
use shared::domain::json::{item_from_json, item_to_json};
use shared::domain::key::{Key, KeySchema, KeyType};
use shared::domain::value::Item;
use tests::dynamodb::DynamoDb;
use tests::generate::schema;
use tests::lambda::{Answered, Lambda};
use tests::process::{Programs, Running};
use tests::relay::{Relay, Reply};
use tests::wait::DEADLINE;

use crate::stage::programs;

/// The time of an invocation, of which none is to need much.
const TIME: Duration = Duration::from_secs(25);

const PROGRAM: &str = env!("CARGO_BIN_EXE_dynamend-lambda-under-test");

/// The tables `orders` and `copy`, and a function that runs.
struct Stage {
    server: DynamoDb,
    schema: KeySchema,
    lambda: Lambda,
    running: Running,
    /// The function's home, which goes with it.
    _home: Programs,
}

impl Stage {
    async fn of(variables: &[(&str, &str)]) -> Self {
        Self::behind(variables, |server| server.endpoint()).await
    }

    /// The function finds DynamoDB where `endpoint` says.
    async fn behind(variables: &[(&str, &str)], endpoint: impl FnOnce(&DynamoDb) -> String) -> Self {
        let (server, schema) = (DynamoDb::start(), schema(KeyType::S, None));
        server.create_table("orders", &schema).await;
        server.create_table("copy", &schema).await;
        let lambda = Lambda::start(TIME);
        let programs = function(&lambda, variables).with_dynamodb(&endpoint(&server));
        let running = programs.spawn(Path::new(PROGRAM), &[]);
        Self { server, schema, lambda, running, _home: programs }
    }

    fn id(&self) -> &str {
        &self.schema.partition.name
    }

    fn item(&self, id: &str, more: Json) -> Json {
        let mut item = json!({ self.id(): {"S": id} });
        if let (Some(item), Json::Object(more)) = (item.as_object_mut(), more) {
            item.extend(more);
        }
        item
    }

    fn change(&self, sequence: u32, event: &str, id: &str, new: Option<Json>) -> Json {
        let mut body = json!({
            "Keys": {self.id(): {"S": id}},
            "SequenceNumber": sequence.to_string(),
            "SizeBytes": 100,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
            "ApproximateCreationDateTime": 1.4797284E9,
        });
        if let Some(new) = new {
            body["NewImage"] = self.item(id, new);
        }
        let arn = "arn:aws:dynamodb:us-east-1:123456789012:table/orders/stream/2016-11-21T00:00:00.000";
        json!({"eventID": "e0d2f2", "eventName": event, "eventVersion": "1.1", "eventSource": "aws:dynamodb",
               "awsRegion": "us-east-1", "eventSourceARN": arn, "dynamodb": body})
    }

    async fn copied(&self) -> BTreeSet<String> {
        self.server.read_all("copy").await.iter().map(|item| item_to_json(item).to_string()).collect()
    }
}

/// The function's environment.
fn function(lambda: &Lambda, variables: &[(&str, &str)]) -> Programs {
    let of_lambda = lambda.environment();
    let of_lambda = of_lambda.iter().map(|(name, value)| (*name, value.as_str()));
    // What a test sets comes last, and counts.
    of_lambda.chain(variables.iter().copied()).fold(programs(), |programs, (name, value)| programs.with(name, value))
}

fn event(records: &[Json]) -> Json {
    json!({ "Records": records })
}

fn as_item(json: &Json) -> Item {
    item_from_json(json).expect("it is DynamoDB JSON")
}

fn all_well() -> Answered {
    Answered::Response(json!({"batchItemFailures": []}))
}

/// An item that no table takes: it is larger than 400 KB.
fn too_large() -> Json {
    json!({"blob": {"S": "x".repeat(410 * 1024)}})
}

const REPLICATE: [(&str, &str); 2] = [("DYNAMEND_FUNCTION", "replicate"), ("DYNAMEND_SLAVES", "us-east-1:copy")];

#[tokio::test]
async fn changes_of_a_stream_are_replicated_by_the_function() {
    let stage = Stage::of(&REPLICATE).await;
    let values = json!({
        "scalar": {"B": "AP8Q"},
        "map": {"M": {"inner": {"B": "aGVsbG8="}}},
        "list": {"L": [{"B": "AQ=="}, {"N": "12345678901234567890123456789012345678"}]},
        "set": {"BS": ["AA==", "/w=="]},
    });

    let first = stage.lambda.invoke(event(&[
        stage.change(1, "INSERT", "a", Some(json!({"v": {"N": "1"}}))),
        stage.change(2, "INSERT", "b", Some(json!({"v": {"N": "1"}}))),
        stage.change(3, "MODIFY", "a", Some(json!({"v": {"N": "2"}}))),
        stage.change(4, "INSERT", "c", Some(values.clone())),
    ]));
    assert_eq!(first, all_well());
    let second = stage.lambda.invoke(event(&[stage.change(5, "REMOVE", "b", None)]));
    assert_eq!(second, all_well());

    let expected = [stage.item("a", json!({"v": {"N": "2"}})), stage.item("c", values)];
    let expected: BTreeSet<String> = expected.iter().map(|item| item_to_json(&as_item(item)).to_string()).collect();
    assert_eq!(stage.copied().await, expected);
    let log = stage.running.stderr();
    let line = log.lines().find(|line| line.contains("replicated 4 records"));
    assert!(line.is_some_and(|line| line.contains("8476a536-e9f4-11e8-9739-2dfe598c3fcd")), "{log}");
}

#[tokio::test]
async fn the_first_record_that_failed_is_named_where_the_mapping_goes_on_from_it() {
    let stage = Stage::of(&[REPLICATE.as_slice(), &[("DYNAMEND_PARTIAL_BATCHES", "true")]].concat()).await;
    let records = [
        stage.change(1, "INSERT", "a", Some(json!({}))),
        stage.change(2, "INSERT", "b", Some(too_large())),
        stage.change(3, "INSERT", "c", Some(json!({}))),
    ];

    let answered = stage.lambda.invoke(event(&records));

    assert_eq!(answered, Answered::Response(json!({"batchItemFailures": [{"itemIdentifier": "2"}]})));
    assert_eq!(stage.copied().await.len(), 2);
    assert_eq!(stage.lambda.invoke(event(&records[2..])), all_well());
}

#[tokio::test]
async fn an_invocation_fails_where_an_answer_might_not_be_read() {
    let stage = Stage::of(&REPLICATE).await;
    let records = [stage.change(1, "INSERT", "a", Some(json!({}))), stage.change(2, "INSERT", "b", Some(too_large()))];

    let Answered::Failed(error) = stage.lambda.invoke(event(&records)) else { panic!("it did not fail") };

    assert_eq!(error["errorType"], "RecordFailed");
    assert!(error["errorMessage"].as_str().unwrap().starts_with("record 2: "), "{error}");
    assert_eq!(stage.lambda.invoke(event(&records[..1])), all_well());
    let Answered::Failed(error) = stage.lambda.invoke(json!({"Records": [{}]})) else { panic!("it did not fail") };
    assert_eq!(error["errorType"], "EventRefused");
}

#[tokio::test]
async fn items_are_backed_up_by_the_function() {
    let folder = tempfile::tempdir().unwrap();
    let stage =
        Stage::of(&[("DYNAMEND_FUNCTION", "backup"), ("DYNAMEND_BACKUP", folder.path().to_str().unwrap())]).await;
    let object = |id: &str| {
        let key = Key::from_json(&stage.schema, &json!({ stage.id(): id })).unwrap();
        let path = folder.path().join("orders").join(item_object::name(&stage.schema, &key));
        std::fs::read(path).ok().map(|body| serde_json::from_slice::<Json>(&body).unwrap())
    };

    let answered = stage.lambda.invoke(event(&[
        stage.change(1, "INSERT", "a", Some(json!({"v": {"N": "1"}}))),
        stage.change(2, "MODIFY", "a", Some(json!({"v": {"N": "2"}}))),
        stage.change(3, "INSERT", "b", Some(json!({"v": {"N": "1"}}))),
    ]));
    assert_eq!(answered, all_well());
    assert_eq!(object("a"), Some(stage.item("a", json!({"v": {"N": "2"}}))));
    assert!(object("b").is_some());
    assert_eq!(stage.lambda.invoke(event(&[stage.change(4, "REMOVE", "b", None)])), all_well());

    assert_eq!(object("b"), None);
    assert!(stage.running.stderr().contains("backed up 3 records"), "{}", stage.running.stderr());
}

#[tokio::test]
async fn keys_on_kinesis_bring_what_the_master_has_under_the_names_of_the_original() {
    let mut relay = None;
    let stage = Stage::behind(
        &[
            ("_HANDLER", "index.replicate"),
            ("PrimaryTable", "orders"),
            ("PrimaryRegion", "us-east-1"),
            ("ReplicaTable", "copy"),
            ("ReplicaRegion", "eu-west-1"),
            ("ReplicaAccessKeyId", "AKIAOFTHEREPLICA"),
            ("ReplicaSecretAccessKey", "secret"),
        ],
        |server| relay.insert(Relay::before(&server.endpoint())).endpoint(),
    )
    .await;
    let relay = relay.unwrap();
    let item = stage.item("a", json!({"v": {"N": "9"}}));
    stage.server.put_all("orders", &[as_item(&item)]).await;
    stage.server.put_all("copy", &[as_item(&stage.item("b", json!({})))]).await;
    let record = |sequence: &str, id: &str| {
        let change = json!({"awsRegion": "us-east-1", "eventID": "1", "eventName": "MODIFY",
                            "eventSource": "aws:dynamodb", "eventVersion": "1.0",
                            "dynamodb": {"Keys": {stage.id(): {"S": id}}, "SequenceNumber": "0", "SizeBytes": 0,
                                         "StreamViewType": "KEYS_ONLY"}});
        let data = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, change.to_string());
        json!({"eventSource": "aws:kinesis", "eventID": format!("shardId-000000000006:{sequence}"),
               "awsRegion": "us-east-1",
               "kinesis": {"sequenceNumber": sequence, "partitionKey": id, "data": data,
                           "approximateArrivalTimestamp": 1_545_084_650.987_f64}})
    };

    let answered = stage.lambda.invoke(event(&[record("1", "a"), record("2", "b")]));

    assert_eq!(answered, all_well());
    assert_eq!(stage.server.read_all("copy").await, [as_item(&item)]);
    let calls: BTreeSet<(String, bool)> = relay
        .take_calls()
        .into_iter()
        .map(|call| {
            let of_replica = call.request.headers["authorization"].contains("Credential=AKIAOFTHEREPLICA/");
            (call.request.headers["x-amz-target"].rsplit('.').next().unwrap().to_owned(), of_replica)
        })
        .collect();
    // Nothing else has to be allowed.
    let expected = [("BatchGetItem", false), ("BatchWriteItem", true), ("DescribeTable", false)];
    assert_eq!(calls, expected.map(|(action, of_replica)| (action.to_owned(), of_replica)).into());
}

#[tokio::test]
async fn where_no_table_may_be_described_a_plain_key_is_told_by_the_records() {
    let denies = |server: &DynamoDb| {
        Relay::answering(&server.endpoint(), |request| {
            let body = r#"{"__type":"com.amazon.coral.service#AccessDeniedException","message":"Not yours."}"#;
            let is_denied = request.headers.get("x-amz-target")?.ends_with(".DescribeTable");
            let content_type = "application/x-amz-json-1.0";
            is_denied.then(|| Reply { status: 400, content_type, body: body.to_owned() })
        })
    };
    let mut relay = None;
    let stage = Stage::behind(&REPLICATE, |server| relay.insert(denies(server)).endpoint()).await;

    assert_eq!(stage.lambda.invoke(event(&[stage.change(1, "INSERT", "a", Some(json!({})))])), all_well());
    assert_eq!(stage.copied().await.len(), 1);

    let mut of_two = stage.change(2, "INSERT", "b", None);
    of_two["dynamodb"]["Keys"] = json!({"id": {"S": "b"}, "at": {"N": "1"}});
    drop(stage);
    let stage = Stage::behind(&REPLICATE, |server| relay.insert(denies(server)).endpoint()).await;
    let Answered::Failed(error) = stage.lambda.invoke(event(&[of_two])) else { panic!("it did not fail") };
    assert!(error["errorMessage"].as_str().is_some_and(|message| message.contains("DescribeTable")), "{error}");
}

#[tokio::test]
async fn bad_settings_are_told_at_the_start_all_at_once() {
    let lambda = Lambda::start(TIME);
    let variables =
        [("DYNAMEND_FUNCTION", "replicate"), ("TurnoverRole", "LATER"), ("DYNAMEND_SLAVE", "us-east-1:copy")];
    let programs = function(&lambda, &variables);
    let running = programs.spawn(Path::new(PROGRAM), &[]);

    let Answered::NotStarted(error) = lambda.answer() else { panic!("it started") };

    let message = error["errorMessage"].as_str().unwrap();
    for expected in ["no table to write to", "TurnoverAt is not", "DYNAMEND_SLAVE is no variable"] {
        assert!(message.contains(expected), "{expected}: {message}");
    }
    assert_eq!(running.wait(DEADLINE).code, Some(3));
}

#[test]
fn outside_lambda_the_program_says_where_it_belongs() {
    let finished = programs().spawn(Path::new(PROGRAM), &[]).wait(DEADLINE);

    assert_eq!(finished.code, Some(3));
    assert!(finished.stderr.contains("run by AWS Lambda"), "{}", finished.stderr);
}
