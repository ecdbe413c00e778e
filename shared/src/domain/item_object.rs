//! The name of the object that holds one item in an incremental backup.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json};
use sha2::{Digest as _, Sha256};

use super::json::value_to_json;
use super::key::{Key, KeySchema};

/// The SHA-256, in hexadecimal, of the key as compact DynamoDB JSON: the partition key first, then the sort key.
///
/// It is the name that mapbox's dynamodb-replicator gives since its version 10.1.0.
#[must_use]
pub fn name(schema: &KeySchema, key: &Key) -> String {
    let parts = schema.names().filter_map(|name| {
        let (_, value) = key.attributes().iter().find(|(attribute, _)| attribute == name)?;
        let attribute: Map<String, Json> = std::iter::once((name.to_owned(), value_to_json(value))).collect();
        let text = Json::Object(attribute).to_string();
        Some(text[1..text.len() - 1].to_owned())
    });
    let text = format!("{{{}}}", parts.collect::<Vec<_>>().join(","));
    Sha256::digest(text.as_bytes()).iter().fold(String::new(), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::key::{KeyAttribute, KeyType};

    #[test]
    fn a_name_is_the_hash_of_the_key_in_the_order_of_the_schema() {
        let attribute = |name: &str, kind| KeyAttribute { name: name.to_owned(), kind };
        let schema = KeySchema { partition: attribute("id", KeyType::S), sort: Some(attribute("at", KeyType::N)) };
        let key = Key::parse(&schema, r#"{"at":7,"id":"a"}"#).unwrap();

        let expected = Sha256::digest(br#"{"id":{"S":"a"},"at":{"N":"7"}}"#);

        let hex: String = expected.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(name(&schema, &key), hex);
    }
}
