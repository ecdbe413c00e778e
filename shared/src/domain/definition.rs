//! What a table is made of, so that it can be made again: keys, indexes, billing, stream, encryption, time to live.
//!
//! The names are those of DynamoDB's own requests. `CreateTable` is what
//! `aws dynamodb create-table --table-name NAME --cli-input-json` takes, and `TimeToLiveSpecification` what
//! `aws dynamodb update-time-to-live` takes. It has what a request to create a table accepts, and nothing else:
//! replicas of global tables, point-in-time recovery, autoscaling, resource policies, tags, contributor insights, warm
//! throughput, vector indexes and Kinesis destinations are not part of it. What a later version adds is passed over.

use serde::{Deserialize, Serialize};

use super::key::{KeyAttribute, KeySchema, KeyType};

/// A table's definition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TableDefinition {
    /// How it is created.
    pub create_table: CreateTable,
    /// By what it deletes items; set once the table is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_to_live_specification: Option<TimeToLive>,
}

/// A request to create a table, without its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateTable {
    /// The attributes that its key and its indexes use, in the order of their names; no others are accepted.
    pub attribute_definitions: Vec<AttributeDefinition>,
    /// Its key, partition key first.
    pub key_schema: Vec<KeyElement>,
    /// What its reads and writes are paid by.
    pub billing_mode: BillingMode,
    /// Its capacity, with provisioned billing and only there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioned_throughput: Option<Throughput>,
    /// The most it may take on demand, where that is limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_demand_throughput: Option<OnDemandThroughput>,
    /// Its global secondary indexes, in the order of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub global_secondary_indexes: Vec<GlobalIndex>,
    /// Its local secondary indexes, in the order of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub local_secondary_indexes: Vec<LocalIndex>,
    /// Its stream, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_specification: Option<StreamSpecification>,
    /// How it is encrypted, where it is not with a key that DynamoDB owns.
    #[serde(rename = "SSESpecification", default, skip_serializing_if = "Option::is_none")]
    pub sse_specification: Option<SseSpecification>,
    /// Its class (`STANDARD_INFREQUENT_ACCESS`), where the service tells one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_class: Option<String>,
    /// Whether it is protected from being deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_protection_enabled: Option<bool>,
}

/// The type of an attribute that a key uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AttributeDefinition {
    /// Its name.
    pub attribute_name: String,
    /// Its type.
    pub attribute_type: KeyType,
}

/// One attribute of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct KeyElement {
    /// Its name.
    pub attribute_name: String,
    /// What it is in the key.
    pub key_type: KeyRole,
}

/// What an attribute is in a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum KeyRole {
    /// The partition key.
    Hash,
    /// The sort key.
    Range,
}

/// What a table's reads and writes are paid by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BillingMode {
    /// By the request.
    PayPerRequest,
    /// By the hour.
    Provisioned,
}

/// Provisioned capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Throughput {
    /// Read units per second.
    pub read_capacity_units: u64,
    /// Write units per second.
    pub write_capacity_units: u64,
}

/// The most that is taken on demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct OnDemandThroughput {
    /// Read units per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_read_request_units: Option<u64>,
    /// Write units per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_write_request_units: Option<u64>,
}

/// A global secondary index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GlobalIndex {
    /// Its name.
    pub index_name: String,
    /// Its key.
    pub key_schema: Vec<KeyElement>,
    /// What it carries.
    pub projection: Projection,
    /// Its capacity, with provisioned billing and only there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioned_throughput: Option<Throughput>,
    /// The most it may take on demand, where that is limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_demand_throughput: Option<OnDemandThroughput>,
}

/// A local secondary index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct LocalIndex {
    /// Its name.
    pub index_name: String,
    /// Its key.
    pub key_schema: Vec<KeyElement>,
    /// What it carries.
    pub projection: Projection,
}

/// The attributes that an index carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Projection {
    /// `ALL`, `KEYS_ONLY` or `INCLUDE`.
    pub projection_type: String,
    /// What it carries beside the keys, with `INCLUDE`, in the order of the names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub non_key_attributes: Vec<String>,
}

/// A stream of changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StreamSpecification {
    /// Whether there is one.
    pub stream_enabled: bool,
    /// What its records carry (`NEW_AND_OLD_IMAGES`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_view_type: Option<String>,
}

/// Encryption with a key in AWS KMS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SseSpecification {
    /// Whether the key is one in AWS KMS.
    pub enabled: bool,
    /// `KMS`.
    #[serde(rename = "SSEType", default, skip_serializing_if = "Option::is_none")]
    pub sse_type: Option<String>,
    /// The key; without one, `alias/aws/dynamodb`.
    #[serde(rename = "KMSMasterKeyId", default, skip_serializing_if = "Option::is_none")]
    pub kms_master_key_id: Option<String>,
}

/// By what a table deletes items.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TimeToLive {
    /// Whether it does.
    pub enabled: bool,
    /// The attribute with the time.
    pub attribute_name: String,
}

/// Why a definition is none of a table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadDefinition {
    /// The key is something else than a partition key, or one and a sort key.
    #[error("a table's key is a partition key (HASH), or one and a sort key (RANGE)")]
    BadKeySchema,
    /// The type of a key attribute is missing.
    #[error("the type of the key attribute `{0}` is missing in AttributeDefinitions")]
    Untyped(String),
}

impl TableDefinition {
    /// The plainest table with this key: billed by the request, with nothing else.
    #[must_use]
    pub fn on_demand(schema: &KeySchema) -> Self {
        let roles = [KeyRole::Hash, KeyRole::Range];
        let mut attribute_definitions: Vec<_> = schema.attributes().map(AttributeDefinition::from).collect();
        attribute_definitions.sort_by(|one, other| one.attribute_name.cmp(&other.attribute_name));
        let elements = schema.names().zip(roles);
        let create_table = CreateTable {
            attribute_definitions,
            key_schema: elements
                .map(|(name, key_type)| KeyElement { attribute_name: name.to_owned(), key_type })
                .collect(),
            billing_mode: BillingMode::PayPerRequest,
            provisioned_throughput: None,
            on_demand_throughput: None,
            global_secondary_indexes: Vec::new(),
            local_secondary_indexes: Vec::new(),
            stream_specification: None,
            sse_specification: None,
            table_class: None,
            deletion_protection_enabled: None,
        };
        Self { create_table, time_to_live_specification: None }
    }

    /// The key of its items.
    ///
    /// # Errors
    /// `BadDefinition` when it has none.
    pub fn key_schema(&self) -> Result<KeySchema, BadDefinition> {
        let CreateTable { attribute_definitions, key_schema, .. } = &self.create_table;
        let attribute = |element: &KeyElement| {
            let name = &element.attribute_name;
            let definition = attribute_definitions.iter().find(|definition| definition.attribute_name == *name);
            let definition = definition.ok_or_else(|| BadDefinition::Untyped(name.clone()))?;
            Ok(KeyAttribute { name: name.clone(), kind: definition.attribute_type })
        };
        match key_schema.as_slice() {
            [partition] if partition.key_type == KeyRole::Hash => {
                Ok(KeySchema { partition: attribute(partition)?, sort: None })
            }
            [partition, sort] if partition.key_type == KeyRole::Hash && sort.key_type == KeyRole::Range => {
                Ok(KeySchema { partition: attribute(partition)?, sort: Some(attribute(sort)?) })
            }
            _ => Err(BadDefinition::BadKeySchema),
        }
    }

    /// The attribute by which the table deletes items; none when it does not.
    #[must_use]
    pub fn time_to_live(&self) -> Option<&str> {
        let set = self.time_to_live_specification.as_ref().filter(|ttl| ttl.enabled);
        set.map(|ttl| ttl.attribute_name.as_str())
    }
}

impl CreateTable {
    /// The names of all attributes that are part of a key, of the table or of an index.
    pub fn key_names(&self) -> impl Iterator<Item = &str> {
        let global = self.global_secondary_indexes.iter().flat_map(|index| &index.key_schema);
        let local = self.local_secondary_indexes.iter().flat_map(|index| &index.key_schema);
        self.key_schema.iter().chain(global).chain(local).map(|element| element.attribute_name.as_str())
    }
}

impl From<&KeyAttribute> for AttributeDefinition {
    fn from(attribute: &KeyAttribute) -> Self {
        Self { attribute_name: attribute.name.clone(), attribute_type: attribute.kind }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema(sort: Option<KeyAttribute>) -> KeySchema {
        KeySchema { partition: KeyAttribute { name: "id".into(), kind: KeyType::S }, sort }
    }

    #[test]
    fn a_definition_is_written_in_the_words_of_a_request_to_create_a_table() {
        let mut definition =
            TableDefinition::on_demand(&schema(Some(KeyAttribute { name: "at".into(), kind: KeyType::N })));
        definition.create_table.sse_specification = Some(SseSpecification {
            enabled: true,
            sse_type: Some("KMS".into()),
            kms_master_key_id: Some("alias/mine".into()),
        });
        definition.time_to_live_specification = Some(TimeToLive { enabled: true, attribute_name: "ttl".into() });
        let written = json!({
            "CreateTable": {
                "AttributeDefinitions": [
                    {"AttributeName": "at", "AttributeType": "N"},
                    {"AttributeName": "id", "AttributeType": "S"},
                ],
                "KeySchema": [
                    {"AttributeName": "id", "KeyType": "HASH"},
                    {"AttributeName": "at", "KeyType": "RANGE"},
                ],
                "BillingMode": "PAY_PER_REQUEST",
                "SSESpecification": {"Enabled": true, "SSEType": "KMS", "KMSMasterKeyId": "alias/mine"},
            },
            "TimeToLiveSpecification": {"Enabled": true, "AttributeName": "ttl"},
        });

        assert_eq!(serde_json::to_value(&definition).unwrap(), written);
        assert_eq!(serde_json::from_value::<TableDefinition>(written).unwrap(), definition);
    }

    #[test]
    fn what_a_later_version_writes_more_is_passed_over() {
        let mut written = serde_json::to_value(TableDefinition::on_demand(&schema(None))).unwrap();
        written["Later"] = json!(1);
        written["CreateTable"]["Later"] = json!({"Nested": []});
        written["CreateTable"]["KeySchema"][0]["Later"] = json!("x");

        let read: TableDefinition = serde_json::from_value(written).unwrap();

        assert_eq!(read, TableDefinition::on_demand(&schema(None)));
    }

    #[test]
    fn the_key_comes_back_out_of_a_definition_and_a_broken_one_has_none() {
        for sort in [None, Some(KeyAttribute { name: "at".into(), kind: KeyType::B })] {
            assert_eq!(TableDefinition::on_demand(&schema(sort.clone())).key_schema(), Ok(schema(sort)));
        }
        let mut untyped = TableDefinition::on_demand(&schema(None));
        untyped.create_table.attribute_definitions.clear();
        assert_eq!(untyped.key_schema(), Err(BadDefinition::Untyped("id".into())));
        let mut none = TableDefinition::on_demand(&schema(None));
        none.create_table.key_schema.clear();
        let mut sort_only = TableDefinition::on_demand(&schema(None));
        sort_only.create_table.key_schema[0].key_type = KeyRole::Range;
        for broken in [none, sort_only] {
            assert_eq!(broken.key_schema(), Err(BadDefinition::BadKeySchema));
        }
    }

    #[test]
    fn a_time_to_live_that_is_off_is_none() {
        let mut definition = TableDefinition::on_demand(&schema(None));
        assert_eq!(definition.time_to_live(), None);
        for (enabled, expected) in [(true, Some("ttl")), (false, None)] {
            definition.time_to_live_specification = Some(TimeToLive { enabled, attribute_name: "ttl".into() });
            assert_eq!(definition.time_to_live(), expected);
        }
    }
}
