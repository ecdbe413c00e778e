//! `restore --create` makes the table as it was: indexes, billing, time to live, stream.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType,
    LocalSecondaryIndex, Projection, ProjectionType, ProvisionedThroughput, ScalarAttributeType, StreamSpecification,
    StreamViewType, TimeToLiveSpecification,
};
use serde_json::{Value as Json, json};
use shared::domain::key::KeyType as Type;
use tests::dynamodb::DynamoDb;
use tests::generate::schema;
use tests::ministack::{MiniStack, unique};
use tests::process::{Programs, REGION, credentials};

use crate::stage::{document, programs};

fn client(endpoint: &str) -> Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .credentials_provider(credentials())
        .endpoint_url(endpoint)
        .build();
    Client::from_conf(config)
}

fn attribute(name: &str, kind: ScalarAttributeType) -> AttributeDefinition {
    AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build().expect("all is set")
}

fn keys(names: &[&str]) -> Vec<KeySchemaElement> {
    let element = |(name, role): (&&str, KeyType)| {
        KeySchemaElement::builder().attribute_name(*name).key_type(role).build().expect("all is set")
    };
    names.iter().zip([KeyType::Hash, KeyType::Range]).map(element).collect()
}

fn throughput(read: i64, write: i64) -> ProvisionedThroughput {
    ProvisionedThroughput::builder().read_capacity_units(read).write_capacity_units(write).build().expect("all is set")
}

/// A table with all that a table has, and one item.
async fn create(client: &Client, name: &str, billing: BillingMode) {
    let provisioned = (billing == BillingMode::Provisioned).then(|| throughput(7, 9));
    let keys_only = Projection::builder().projection_type(ProjectionType::KeysOnly).build();
    let some = Projection::builder().projection_type(ProjectionType::Include).non_key_attributes("who").build();
    let global = GlobalSecondaryIndex::builder()
        .index_name("by-state")
        .set_key_schema(Some(keys(&["state", "at"])))
        .projection(some)
        .set_provisioned_throughput(provisioned.as_ref().map(|_| throughput(3, 4)))
        .build();
    let local = LocalSecondaryIndex::builder()
        .index_name("by-size")
        .set_key_schema(Some(keys(&["id", "size"])))
        .projection(keys_only)
        .build();
    let stream =
        StreamSpecification::builder().stream_enabled(true).stream_view_type(StreamViewType::NewAndOldImages).build();
    client
        .create_table()
        .table_name(name)
        .billing_mode(billing)
        .set_provisioned_throughput(provisioned)
        .set_key_schema(Some(keys(&["id", "at"])))
        .attribute_definitions(attribute("id", ScalarAttributeType::S))
        .attribute_definitions(attribute("at", ScalarAttributeType::N))
        .attribute_definitions(attribute("state", ScalarAttributeType::S))
        .attribute_definitions(attribute("size", ScalarAttributeType::N))
        .global_secondary_indexes(global.expect("all is set"))
        .local_secondary_indexes(local.expect("all is set"))
        .stream_specification(stream.expect("all is set"))
        .send()
        .await
        .expect("the table is created");
    let by = TimeToLiveSpecification::builder().enabled(true).attribute_name("expires").build().expect("all is set");
    client.update_time_to_live().table_name(name).time_to_live_specification(by).send().await.expect("it is set");
    client
        .put_item()
        .table_name(name)
        .item("id", AttributeValue::S("a".into()))
        .item("at", AttributeValue::N("9007199254740993".into()))
        .item("state", AttributeValue::S("open".into()))
        .send()
        .await
        .expect("the item is put");
}

/// What a table is made of, as far as the service tells, apart from any reader of ours.
async fn made_of(client: &Client, name: &str) -> Json {
    let table = client.describe_table().table_name(name).send().await.expect("it is there").table.expect("a table");
    let keys = |keys: &[KeySchemaElement]| -> Vec<String> {
        keys.iter().map(|key| format!("{} {}", key.attribute_name(), key.key_type())).collect()
    };
    let projection = |projection: Option<&Projection>| {
        projection.map(|projection| format!("{:?} {:?}", projection.projection_type(), projection.non_key_attributes()))
    };
    let mut attributes: Vec<String> = table
        .attribute_definitions()
        .iter()
        .map(|attribute| format!("{} {}", attribute.attribute_name(), attribute.attribute_type()))
        .collect();
    attributes.sort();
    let units = table.provisioned_throughput().map(|units| [units.read_capacity_units(), units.write_capacity_units()]);
    let global: Vec<Json> = table
        .global_secondary_indexes()
        .iter()
        .map(|index| {
            let units = index.provisioned_throughput();
            let units = units.map(|units| [units.read_capacity_units(), units.write_capacity_units()]);
            json!([index.index_name(), keys(index.key_schema()), projection(index.projection()), units])
        })
        .collect();
    let local: Vec<Json> = table
        .local_secondary_indexes()
        .iter()
        .map(|index| json!([index.index_name(), keys(index.key_schema()), projection(index.projection())]))
        .collect();
    let ttl = client.describe_time_to_live().table_name(name).send().await.expect("it is there");
    let ttl = ttl.time_to_live_description.expect("it is described");
    json!({
        "attributes": attributes,
        "keys": keys(table.key_schema()),
        "billing": table.billing_mode_summary().and_then(|billing| billing.billing_mode()).map(BillingMode::as_str),
        "units": units,
        "global": global,
        "local": local,
        "stream": table.stream_specification().map(|stream| format!("{stream:?}")),
        "expires": [ttl.attribute_name(), ttl.time_to_live_status().map(|status| status.as_str())],
    })
}

fn done(programs: &Programs, arguments: &[&str]) -> Json {
    let finished = programs.dynamend(&[arguments, &["--output", "json"]].concat());
    assert_eq!(finished.code, Some(0), "{arguments:?}: {}{}", finished.stdout, finished.stderr);
    document(&finished)
}

/// Every kind of backup brings the table back, with its item.
async fn comes_back(endpoint: &str, billing: BillingMode) {
    let (client, programs) = (client(endpoint), programs().with_dynamodb(endpoint));
    let name = unique("orders");
    create(&client, &name, billing).await;
    let expected = made_of(&client, &name).await;
    assert_eq!(expected["global"][0][0], "by-state", "{expected}");
    assert!(expected["stream"].is_string() && expected["expires"][0] == "expires", "{expected}");
    let table = format!("us-east-1:{name}");
    done(&programs, &["backup", "full", &table, "backups", "--job-id", "B", "--segments", "1"]);
    done(&programs, &["backup", "incremental", &table, "items"]);
    let items = format!("items/{name}");
    done(&programs, &["backup", "snapshot", &items, "backups", "--job-id", "S"]);

    for (number, source) in ["backups/B", "backups/S", &items].into_iter().enumerate() {
        let copy = format!("{name}-copy-{number}");
        done(&programs, &["restore", source, &format!("us-east-1:{copy}"), "--create", "--verify"]);

        assert_eq!(made_of(&client, &copy).await, expected, "{source}");
        let scan = client.scan().table_name(&copy).consistent_read(true).send().await.expect("it is there");
        assert_eq!(scan.items()[0]["at"], AttributeValue::N("9007199254740993".into()), "{source}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_on_demand_comes_back_with_indexes_stream_and_time_to_live() {
    comes_back(&DynamoDb::start().endpoint(), BillingMode::PayPerRequest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provisioned_table_comes_back_with_its_capacity() {
    comes_back(&DynamoDb::start().endpoint(), BillingMode::Provisioned).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_another_emulator_comes_back_as_well() {
    for billing in [BillingMode::PayPerRequest, BillingMode::Provisioned] {
        comes_back(&MiniStack::shared().endpoint(), billing).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_there_is_not_changed_by_create() {
    let server = DynamoDb::start();
    create(server.client(), "orders", BillingMode::PayPerRequest).await;
    server.create_table("copy", &schema(Type::S, Some(Type::N))).await;
    let before = made_of(server.client(), "copy").await;
    let programs = programs().with_dynamodb(&server.endpoint());
    done(&programs, &["backup", "full", "us-east-1:orders", "backups", "--job-id", "B"]);

    done(&programs, &["restore", "backups/B", "us-east-1:copy", "--create"]);

    assert_eq!(made_of(server.client(), "copy").await, before);
    assert_eq!(server.read_all("copy").await, server.read_all("orders").await);
}
