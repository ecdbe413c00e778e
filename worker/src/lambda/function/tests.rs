use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;
use shared::domain::item_object;
use shared::domain::json::{item_from_json, item_to_json};
use shared::domain::key::Key;
use shared::domain::value::Item;
use shared::journal::StoreUrl;
use shared::local::memory::MemoryStore;
use shared::local::table::MemoryTable;
use shared::ports::faulty::{FaultPlan, FaultyTable};

use super::*;

const TIME: Duration = Duration::from_secs(60);

const NO_RETRY: RetryPolicy = RetryPolicy { max_retries: 0, base: Duration::from_millis(1) };

/// When all records of these tests were created, in seconds.
const CREATED: i64 = 1_479_728_400;

fn schema() -> KeySchema {
    KeySchema { partition: KeyAttribute { name: "id".to_owned(), kind: KeyType::S }, sort: None }
}

struct World {
    master: Arc<MemoryTable>,
    slave: Arc<MemoryTable>,
    store: Arc<MemoryStore>,
    function: StreamFunction,
}

async fn world(variables: &[(&str, &str)]) -> World {
    world_with(variables, FaultPlan::new(1)).await
}

/// One with faults in the slave's way.
async fn world_with(variables: &[(&str, &str)], faults: FaultPlan) -> World {
    let (master, slave) = (Arc::new(MemoryTable::new(schema())), Arc::new(MemoryTable::new(schema())));
    let store = Arc::new(MemoryStore::new("bucket"));
    let (to_master, to_slave, to_store) = (Arc::clone(&master), Arc::clone(&slave), Arc::clone(&store));
    let environment = |table: Arc<dyn Table>| {
        let store = Arc::clone(&to_store);
        Environment::new(
            move |_| Box::pin(std::future::ready(Ok(Arc::clone(&table)))),
            move |_: StoreUrl| Box::pin(std::future::ready(Ok(Arc::clone(&store) as Arc<dyn ObjectStore>))),
        )
    };
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let settings = Settings::read(variables).unwrap();
    let slaves = environment(Arc::new(FaultyTable::new(to_slave, faults)));
    let function = StreamFunction::open(settings, "tests", environment(to_master), &slaves).await.unwrap();
    World { master, slave, store, function: function.with_retry(NO_RETRY) }
}

const REPLICATE: [(&str, &str); 2] = [("DYNAMEND_FUNCTION", "replicate"), ("DYNAMEND_SLAVES", "eu-west-1:orders")];

const BACKUP: [(&str, &str); 2] = [("DYNAMEND_FUNCTION", "backup"), ("DYNAMEND_BACKUP", "s3://bucket/tables")];

fn with<'a>(base: &[(&'a str, &'a str)], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    base.iter().chain(more).copied().collect()
}

/// An item in which `v` is this.
fn item(id: &str, v: u32) -> Json {
    json!({"id": {"S": id}, "v": {"N": v.to_string()}})
}

fn as_item(json: &Json) -> Item {
    item_from_json(json).unwrap()
}

fn change(sequence: u32, event: &str, id: &str, new: Option<Json>) -> Json {
    let mut body = json!({
        "Keys": {"id": {"S": id}},
        "SequenceNumber": sequence.to_string(),
        "StreamViewType": "NEW_AND_OLD_IMAGES",
        "ApproximateCreationDateTime": CREATED,
    });
    if let Some(new) = new {
        body["NewImage"] = new;
    }
    let arn = "arn:aws:dynamodb:us-east-1:123456789012:table/orders/stream/2016-11-21T00:00:00.000";
    json!({"eventID": sequence.to_string(), "eventName": event, "eventSource": "aws:dynamodb", "eventSourceARN": arn,
           "awsRegion": "us-east-1", "dynamodb": body})
}

fn insert(sequence: u32, id: &str, v: u32) -> Json {
    change(sequence, "INSERT", id, Some(item(id, v)))
}

fn modify(sequence: u32, id: &str, v: u32) -> Json {
    change(sequence, "MODIFY", id, Some(item(id, v)))
}

fn remove(sequence: u32, id: &str) -> Json {
    change(sequence, "REMOVE", id, None)
}

/// A record of the original's Kinesis generation, or with `v` one of DynamoDB itself.
fn kinesis(sequence: u32, event: &str, id: &str, v: Option<u32>, created_ms: i64) -> Json {
    let view = if v.is_some() { Json::Null } else { json!("KEYS_ONLY") };
    let new = v.map_or(Json::Null, |v| item(id, v));
    let data = json!({"awsRegion": "us-east-1", "eventName": event, "tableName": "orders",
                      "dynamodb": {"Keys": {"id": {"S": id}}, "NewImage": new, "StreamViewType": view,
                                   "ApproximateCreationDateTime": created_ms}});
    json!({"eventSource": "aws:kinesis", "eventID": format!("shardId-000000000000:{sequence}"),
           "kinesis": {"sequenceNumber": sequence.to_string(), "data": BASE64.encode(data.to_string()),
                       "approximateArrivalTimestamp": 1_479_728_401.5}})
}

fn event(records: &[Json]) -> Json {
    json!({ "Records": records })
}

impl World {
    async fn handle(&self, records: &[Json]) -> Handled {
        self.function.handle(event(records), TIME).await.unwrap()
    }

    /// The values of `v` on the slave, by id.
    fn values(&self) -> BTreeMap<String, String> {
        let text = |item: &Json, pointer: &str| item.pointer(pointer).unwrap().as_str().unwrap().to_owned();
        let items = self.slave.items().iter().map(item_to_json).collect::<Vec<_>>();
        items.iter().map(|item| (text(item, "/id/S"), text(item, "/v/N"))).collect()
    }
}

fn values(expected: &[(&str, &str)]) -> BTreeMap<String, String> {
    expected.iter().map(|(id, v)| ((*id).to_owned(), (*v).to_owned())).collect()
}

#[tokio::test]
async fn an_inserted_item_is_replicated() {
    let world = world(&REPLICATE).await;

    let handled = world.handle(&[insert(1, "a", 1)]).await;

    assert_eq!((handled.records, handled.failed), (1, None));
    assert_eq!(world.values(), values(&[("a", "1")]));
}

#[tokio::test]
async fn the_last_change_of_an_item_is_replicated() {
    let world = world(&REPLICATE).await;

    world.handle(&[insert(1, "a", 1), modify(2, "a", 2)]).await;
    assert_eq!(world.values(), values(&[("a", "2")]));

    world.handle(&[insert(3, "b", 1), modify(4, "b", 2), remove(5, "b")]).await;
    assert_eq!(world.values(), values(&[("a", "2")]));
}

fn many() -> Vec<Json> {
    vec![
        insert(1, "a", 1),
        insert(2, "b", 1),
        modify(3, "a", 2),
        insert(4, "c", 1),
        remove(5, "b"),
        insert(6, "d", 1),
        modify(7, "c", 2),
        remove(8, "d"),
        insert(9, "d", 7),
        remove(10, "gone"),
    ]
}

#[tokio::test]
async fn many_records_over_several_keys_end_in_the_right_items() {
    let world = world(&REPLICATE).await;
    world.slave.put(as_item(&item("gone", 1))).unwrap();

    let handled = world.handle(&many()).await;

    assert_eq!(world.values(), values(&[("a", "2"), ("c", "2"), ("d", "7")]));
    assert_eq!((handled.records, handled.tally.slaves[0].written, handled.tally.slaves[0].deleted), (10, 3, 2));
}

fn binary() -> Json {
    json!({
        "id": {"S": "binary"},
        "scalar": {"B": "AP8Q"},
        "map": {"M": {"inner": {"B": "aGVsbG8="}}},
        "list": {"L": [{"B": "AQ=="}, {"N": "12345678901234567890123456789012345678"}]},
        "set": {"BS": ["AA==", "/w=="]},
    })
}

#[tokio::test]
async fn binary_and_long_numbers_arrive_as_they_are() {
    let world = world(&REPLICATE).await;

    world.handle(&[change(1, "INSERT", "binary", Some(binary()))]).await;

    assert_eq!(world.slave.items(), [as_item(&binary())]);
}

#[tokio::test]
async fn records_of_keys_only_bring_what_the_master_has_now() {
    let world = world(&REPLICATE).await;
    world.master.put(as_item(&item("changed", 9))).unwrap();
    world.slave.put(as_item(&item("vanished", 1))).unwrap();
    let keys_only = |sequence, event, id| kinesis(sequence, event, id, None, CREATED * 1000);

    let handled = world.handle(&[keys_only(1, "INSERT", "changed"), keys_only(2, "MODIFY", "vanished")]).await;

    assert_eq!((world.values(), handled.failed), (values(&[("changed", "9")]), None));
}

#[tokio::test]
async fn each_item_is_an_object_with_its_last_image() {
    let world = world(&BACKUP).await;
    let object = |id: &str| {
        let key = Key::parse(&schema(), &json!({ "id": id }).to_string()).unwrap();
        let body = world.store.read(&format!("orders/{}", item_object::name(&schema(), &key)));
        body.map(|body| serde_json::from_slice::<Json>(&body).unwrap())
    };

    world.handle(&[insert(1, "a", 1)]).await;
    assert_eq!(object("a"), Some(item("a", 1)));
    world.handle(&[modify(2, "a", 2), insert(3, "b", 1), modify(4, "b", 2), remove(5, "b")]).await;
    assert_eq!((object("a"), object("b")), (Some(item("a", 2)), None));
    let handled = world.handle(&many()).await;

    assert_eq!((object("a"), object("c"), object("d")), (Some(item("a", 2)), Some(item("c", 2)), Some(item("d", 7))));
    assert_eq!((world.store.keys().len(), handled.tally.stream.backed_up, handled.tally.stream.unbacked), (3, 3, 2));
}

#[tokio::test]
async fn the_first_record_that_cannot_be_applied_is_named_and_the_others_are_applied() {
    let world = world(&REPLICATE).await;
    let poison = |sequence| change(sequence, "INSERT", "b", Some(json!({"id": {"S": "not b"}})));

    let handled = world.handle(&[insert(1, "a", 1), poison(2), insert(3, "c", 3), poison(4)]).await;

    assert_eq!(handled.failed.unwrap().sequence, "2");
    assert_eq!(world.values(), values(&[("a", "1"), ("c", "3")]));
}

#[tokio::test]
async fn records_that_can_never_be_applied_are_passed_over_on_demand() {
    let world = world(&with(&REPLICATE, &[("DYNAMEND_SKIP_REJECTED", "true")])).await;

    let handled = world.handle(&[change(1, "RENAME", "a", None), insert(2, "b", 1)]).await;

    assert_eq!((handled.failed, handled.skipped), (None, 1));
    assert_eq!(world.values(), values(&[("b", "1")]));
}

#[tokio::test]
async fn a_slave_that_does_not_answer_fails_the_batch_from_its_first_record_on() {
    let world = world_with(&REPLICATE, FaultPlan::new(1).failing(1.0)).await;

    let handled = world.handle(&[insert(7, "a", 1), insert(8, "b", 1)]).await;

    assert_eq!(handled.failed.unwrap().sequence, "7");
}

#[tokio::test(start_paused = true)]
async fn an_invocation_ends_in_time() {
    let world = world_with(&REPLICATE, FaultPlan::new(1).failing(1.0)).await;
    let function = world.function.with_retry(RetryPolicy { max_retries: 1000, base: Duration::from_secs(1) });

    let handled = function.handle(event(&[insert(7, "a", 1)]), TIME).await.unwrap();

    let Failed { sequence, error } = handled.failed.unwrap();
    assert_eq!((sequence.as_str(), error.as_str()), ("7", "the time of the invocation is over"));
}

#[tokio::test]
async fn a_repeated_batch_changes_nothing() {
    let world = world(&REPLICATE).await;

    world.handle(&many()).await;
    let once = world.values();
    world.handle(&many()).await;

    assert_eq!(world.values(), once);
}

#[tokio::test]
async fn a_change_of_kinesis_that_comes_late_does_not_set_the_item_back() {
    let world = world(&REPLICATE).await;
    world.master.put(as_item(&item("a", 2))).unwrap();

    world.handle(&[kinesis(1, "MODIFY", "a", Some(2), CREATED * 1000 + 5)]).await;
    world.handle(&[kinesis(2, "INSERT", "a", Some(1), CREATED * 1000)]).await;

    assert_eq!(world.values(), values(&[("a", "2")]));
}

#[tokio::test]
async fn old_changes_are_not_taken_at_their_word_on_demand() {
    for (reread, expected) in [("60", "9"), ("always", "9"), ("never", "1")] {
        let world = world(&with(&REPLICATE, &[("DYNAMEND_REREAD", reread)])).await;
        world.master.put(as_item(&item("a", 9))).unwrap();

        world.handle(&[insert(1, "a", 1)]).await;

        assert_eq!(world.values(), values(&[("a", expected)]), "{reread}");
    }
}

#[tokio::test]
async fn a_turnover_splits_the_records_between_two_functions() {
    let at = (CREATED * 1000).to_string();
    for (role, expected) in [("BEFORE", 0), ("AFTER", 1)] {
        let world = world(&with(&REPLICATE, &[("TurnoverRole", role), ("TurnoverAt", at.as_str())])).await;

        let handled = world.handle(&[insert(1, "a", 1)]).await;

        assert_eq!((handled.records, world.slave.len()), (expected, usize::try_from(expected).unwrap()), "{role}");
    }
}

#[tokio::test]
async fn changes_of_two_tables_are_not_mixed_in_one() {
    let world = world(&REPLICATE).await;
    let mut other = insert(2, "b", 1);
    other["eventSourceARN"] = json!("arn:aws:dynamodb:us-east-1:1:table/others/stream/x");
    world.handle(&[insert(1, "a", 1)]).await;

    let refused = world.function.handle(event(&[other.clone()]), TIME).await.unwrap_err();
    assert!(refused.to_string().contains("several tables"), "{refused}");

    let mut own = insert(3, "b", 1);
    own["eventSourceARN"] = json!("arn:aws:dynamodb:eu-west-1:1:table/orders/stream/x");
    let fresh = self::world(&REPLICATE).await;
    let refused = fresh.function.handle(event(&[own]), TIME).await.unwrap_err();
    assert!(refused.to_string().contains("master and slave"), "{refused}");
}

#[tokio::test]
async fn records_of_other_tables_in_a_kinesis_stream_are_passed_over() {
    let world = world(&with(&REPLICATE, &[("DYNAMEND_MASTER", "us-east-1:others")])).await;

    let handled = world.handle(&[kinesis(1, "INSERT", "a", Some(1), CREATED * 1000)]).await;

    assert_eq!((handled.records, handled.failed, world.slave.len()), (0, None, 0));
}

#[tokio::test]
async fn data_that_tells_of_no_table_fails_by_itself() {
    let world = world(&REPLICATE).await;
    world.master.put(as_item(&item("a", 1))).unwrap();
    let good = |sequence| kinesis(sequence, "INSERT", "a", Some(1), CREATED * 1000);
    let mut bad = good(2);
    bad["kinesis"]["data"] = json!("bm8gSlNPTg==");

    let handled = world.handle(&[good(1), bad, good(3)]).await;

    let Failed { sequence, error } = handled.failed.unwrap();
    assert_eq!((sequence.as_str(), error.contains("not JSON")), ("2", true), "{error}");
    assert_eq!(world.values(), values(&[("a", "1")]));
}

#[tokio::test]
async fn of_several_failures_the_first_record_counts() {
    let world = world(&BACKUP).await;
    let of_table = |sequence, table: &str, event| {
        let mut record = change(sequence, event, "a", Some(item("a", 1)));
        record["eventSourceARN"] = json!(format!("arn:aws:dynamodb:us-east-1:1:table/{table}/stream/x"));
        record
    };
    let records = [
        of_table(1, "one", "INSERT"),
        of_table(2, "two", "RENAME"),
        of_table(3, "one", "RENAME"),
        of_table(4, "two", "INSERT"),
    ];

    let handled = world.handle(&records).await;

    assert_eq!((handled.failed.unwrap().sequence.as_str(), world.store.keys().len()), ("2", 2));
}

#[tokio::test]
async fn an_origin_attribute_needs_both_images() {
    let world = world(&with(&REPLICATE, &[("DYNAMEND_ORIGIN_ATTRIBUTE", "origin")])).await;
    let mut record = insert(1, "a", 1);
    record["dynamodb"]["StreamViewType"] = json!("NEW_IMAGE");

    let refused = world.function.handle(event(&[record]), TIME).await.unwrap_err();

    assert!(refused.to_string().contains("new and old images"), "{refused}");
}

#[test]
fn a_key_of_one_attribute_tells_its_schema() {
    assert_eq!(schema_of_key(&json!({"id": {"S": "a"}})), Some(schema()));
    assert_eq!(schema_of_key(&json!({"id": {"S": "a"}, "at": {"N": "1"}})), None);
    assert_eq!(schema_of_key(&json!({})), None);
}
