//! What the service says of a table, in its own words, and what it is asked to make of it.

use serde_json::{Value as Json, json};

use crate::aws::canned::{Answer, Canned};
use crate::aws::dynamodb::DynamoTable;
use crate::domain::definition::TableDefinition;
use crate::domain::key::{KeyAttribute, KeySchema, KeyType};
use crate::ports::failure::FailureKind;
use crate::ports::table::Table;

const KEY: &str = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";

fn canned(canned: &Canned) -> DynamoTable {
    DynamoTable::new(canned.dynamodb(), "us-east-1:orders".parse().unwrap())
}

fn refused(code: &str, message: &str) -> Answer {
    Answer::new(
        400,
        json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": message}).to_string(),
    )
}

fn ttl(status: &str) -> Answer {
    Answer::new(
        200,
        json!({"TimeToLiveDescription": {"TimeToLiveStatus": status, "AttributeName": "expires"}}).to_string(),
    )
}

async fn defined(table: Json) -> TableDefinition {
    let answers = [Answer::new(200, json!({"Table": table}).to_string()), ttl("DISABLED")];
    canned(&Canned::new(answers)).definition().await.unwrap()
}

/// A table with everything, as `DescribeTable` answers.
fn described() -> Json {
    json!({
        "AttributeDefinitions": [
            {"AttributeName": "id", "AttributeType": "S"},
            {"AttributeName": "of a deleted index", "AttributeType": "S"},
            {"AttributeName": "at", "AttributeType": "N"},
            {"AttributeName": "customer", "AttributeType": "B"},
        ],
        "TableName": "orders",
        "KeySchema": [
            {"AttributeName": "id", "KeyType": "HASH"},
            {"AttributeName": "at", "KeyType": "RANGE"},
        ],
        "TableStatus": "ACTIVE",
        "CreationDateTime": 1_700_000_000.5,
        "ProvisionedThroughput": {
            "LastIncreaseDateTime": 1_700_000_000.5,
            "NumberOfDecreasesToday": 1,
            "ReadCapacityUnits": 50,
            "WriteCapacityUnits": 5,
        },
        "TableSizeBytes": 200,
        "ItemCount": 3,
        "TableArn": "arn:aws:dynamodb:us-east-1:123456789012:table/orders",
        "TableId": "12345678-1234-1234-1234-123456789012",
        "BillingModeSummary": {"BillingMode": "PROVISIONED", "LastUpdateToPayPerRequestDateTime": 1_600_000_000.0},
        "LocalSecondaryIndexes": [{
            "IndexName": "by-customer",
            "KeySchema": [
                {"AttributeName": "id", "KeyType": "HASH"},
                {"AttributeName": "customer", "KeyType": "RANGE"},
            ],
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["total", "state"]},
            "IndexSizeBytes": 10,
            "ItemCount": 1,
            "IndexArn": "arn:aws:dynamodb:us-east-1:123456789012:table/orders/index/by-customer",
        }],
        "GlobalSecondaryIndexes": [
            {
                "IndexName": "of-customer",
                "KeySchema": [{"AttributeName": "customer", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
                "IndexStatus": "ACTIVE",
                "ProvisionedThroughput":
                    {"NumberOfDecreasesToday": 0, "ReadCapacityUnits": 4, "WriteCapacityUnits": 2},
                "IndexSizeBytes": 10,
                "ItemCount": 1,
                "IndexArn": "arn:aws:dynamodb:us-east-1:123456789012:table/orders/index/of-customer",
            },
            {
                "IndexName": "by-time",
                "KeySchema": [{"AttributeName": "at", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
                "IndexStatus": "CREATING",
                "Backfilling": true,
                "ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1},
            },
            {
                "IndexName": "gone",
                "KeySchema": [{"AttributeName": "of a deleted index", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
                "IndexStatus": "DELETING",
            },
        ],
        "StreamSpecification": {"StreamEnabled": true, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        "LatestStreamLabel": "2024-01-01T00:00:00.000",
        "LatestStreamArn": "arn:aws:dynamodb:us-east-1:123456789012:table/orders/stream/2024-01-01T00:00:00.000",
        "Replicas": [{"RegionName": "eu-west-1", "ReplicaStatus": "ACTIVE"}],
        "SSEDescription": {"Status": "ENABLED", "SSEType": "KMS", "KMSMasterKeyArn": KEY},
        "TableClassSummary": {"TableClass": "STANDARD_INFREQUENT_ACCESS", "LastUpdateDateTime": 1_700_000_000.0},
        "DeletionProtectionEnabled": true,
        "WarmThroughput": {"ReadUnitsPerSecond": 12000, "WriteUnitsPerSecond": 4000, "Status": "ACTIVE"},
    })
}

/// The same table, as `CreateTable` takes it.
fn created() -> Json {
    json!({
        "AttributeDefinitions": [
            {"AttributeName": "at", "AttributeType": "N"},
            {"AttributeName": "customer", "AttributeType": "B"},
            {"AttributeName": "id", "AttributeType": "S"},
        ],
        "KeySchema": [
            {"AttributeName": "id", "KeyType": "HASH"},
            {"AttributeName": "at", "KeyType": "RANGE"},
        ],
        "BillingMode": "PROVISIONED",
        "ProvisionedThroughput": {"ReadCapacityUnits": 50, "WriteCapacityUnits": 5},
        "GlobalSecondaryIndexes": [
            {
                "IndexName": "by-time",
                "KeySchema": [{"AttributeName": "at", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
                "ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1},
            },
            {
                "IndexName": "of-customer",
                "KeySchema": [{"AttributeName": "customer", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
                "ProvisionedThroughput": {"ReadCapacityUnits": 4, "WriteCapacityUnits": 2},
            },
        ],
        "LocalSecondaryIndexes": [{
            "IndexName": "by-customer",
            "KeySchema": [
                {"AttributeName": "id", "KeyType": "HASH"},
                {"AttributeName": "customer", "KeyType": "RANGE"},
            ],
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["state", "total"]},
        }],
        "StreamSpecification": {"StreamEnabled": true, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        "SSESpecification": {"Enabled": true, "SSEType": "KMS", "KMSMasterKeyId": KEY},
        "TableClass": "STANDARD_INFREQUENT_ACCESS",
        "DeletionProtectionEnabled": true,
    })
}

#[tokio::test]
async fn a_definition_has_what_can_be_created_again_and_nothing_else() {
    let answers = [Answer::new(200, json!({"Table": described()}).to_string()), ttl("ENABLED")];

    let definition = canned(&Canned::new(answers)).definition().await.unwrap();

    let expected = json!({
        "CreateTable": created(),
        "TimeToLiveSpecification": {"Enabled": true, "AttributeName": "expires"},
    });
    assert_eq!(serde_json::to_value(&definition).unwrap(), expected);
}

#[tokio::test]
async fn a_table_is_created_with_everything_its_definition_has() {
    let definition: TableDefinition = serde_json::from_value(json!({"CreateTable": created()})).unwrap();
    let connection = Canned::new([Answer::new(200, "{}")]);

    canned(&connection).create(&definition).await.unwrap();

    let mut expected = created();
    expected["TableName"] = json!("orders");
    assert_eq!(serde_json::from_str::<Json>(&connection.sent()[0]).unwrap(), expected);
}

#[tokio::test]
async fn on_demand_there_are_limits_and_no_capacities() {
    let mut table = described();
    table["BillingModeSummary"]["BillingMode"] = json!("PAY_PER_REQUEST");
    table["ProvisionedThroughput"] =
        json!({"NumberOfDecreasesToday": 0, "ReadCapacityUnits": 0, "WriteCapacityUnits": 0});
    table["OnDemandThroughput"] = json!({"MaxReadRequestUnits": 1000, "MaxWriteRequestUnits": -1});
    table["GlobalSecondaryIndexes"][0]["OnDemandThroughput"] =
        json!({"MaxReadRequestUnits": -1, "MaxWriteRequestUnits": -1});

    let definition = serde_json::to_value(defined(table).await).unwrap();

    let create = &definition["CreateTable"];
    assert_eq!(create["BillingMode"], "PAY_PER_REQUEST");
    assert_eq!(create["OnDemandThroughput"], json!({"MaxReadRequestUnits": 1000}));
    assert!(create.get("ProvisionedThroughput").is_none(), "{create}");
    for index in create["GlobalSecondaryIndexes"].as_array().unwrap() {
        assert!(index.get("ProvisionedThroughput").is_none() && index.get("OnDemandThroughput").is_none(), "{index}");
    }
    let connection = Canned::new([Answer::new(200, "{}")]);
    canned(&connection).create(&serde_json::from_value(definition.clone()).unwrap()).await.unwrap();
    let sent: Json = serde_json::from_str(&connection.sent()[0]).unwrap();
    assert_eq!(sent["OnDemandThroughput"], json!({"MaxReadRequestUnits": 1000}));
}

#[tokio::test]
async fn the_plainest_table_has_the_plainest_definition() {
    let table = json!({
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "N"}],
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "TableStatus": "ACTIVE",
        "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
        "StreamSpecification": {"StreamEnabled": false},
        "SSEDescription": {"Status": "DISABLED"},
        "DeletionProtectionEnabled": false,
    });
    let schema = KeySchema { partition: KeyAttribute { name: "id".into(), kind: KeyType::N }, sort: None };

    assert_eq!(defined(table).await, TableDefinition::on_demand(&schema));
}

#[tokio::test]
async fn a_name_that_is_taken_is_a_conflict() {
    let schema = KeySchema { partition: KeyAttribute { name: "id".into(), kind: KeyType::N }, sort: None };
    let definition = TableDefinition::on_demand(&schema);
    for (code, kind) in [
        ("ResourceInUseException", FailureKind::Conflict),
        ("ValidationException", FailureKind::Invalid),
        ("AccessDeniedException", FailureKind::Denied),
    ] {
        let table = canned(&Canned::new([refused(code, "Table already exists: orders")]));

        let failure = table.create(&definition).await.unwrap_err();

        assert_eq!((failure.kind, failure.operation), (kind, "CreateTable"), "{failure}");
    }
}

#[tokio::test]
async fn a_time_to_live_that_is_set_already_is_looked_up() {
    let enabled = || refused("ValidationException", "TimeToLive is already enabled");
    for (attribute, answers, expected) in [
        ("expires", vec![Answer::new(200, "{}")], Ok(())),
        ("expires", vec![enabled(), ttl("ENABLED")], Ok(())),
        ("expires", vec![enabled(), ttl("ENABLING")], Ok(())),
        ("other", vec![enabled(), ttl("ENABLED")], Err(FailureKind::Conflict)),
        ("expires", vec![enabled(), ttl("DISABLING")], Err(FailureKind::Invalid)),
        ("expires", vec![refused("ResourceInUseException", "Being updated")], Err(FailureKind::Unavailable)),
        ("expires", vec![refused("AccessDeniedException", "No")], Err(FailureKind::Denied)),
    ] {
        let connection = Canned::new(answers);

        let set = canned(&connection).set_time_to_live(attribute).await;

        assert_eq!(set.map_err(|failure| failure.kind), expected, "{attribute}");
        let asked = json!({"TableName": "orders",
            "TimeToLiveSpecification": {"Enabled": true, "AttributeName": attribute}});
        assert_eq!(serde_json::from_str::<Json>(&connection.sent()[0]).unwrap(), asked);
    }
}
