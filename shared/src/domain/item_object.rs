//! The names of objects that hold one item each, in an incremental backup.

use std::fmt::Write as _;

use md5::Md5;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use sha2::{Digest as _, Sha256};

use super::json::value_to_json;
use super::key::{Key, KeySchema};
use super::value::Value;

/// How a name is made of a key: the hash, in hexadecimal, of the key as compact DynamoDB JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Naming {
    /// SHA-256, partition key first. It is how dynamend names objects, and mapbox's dynamodb-replicator 10.1.0 and
    /// later when it copies a table.
    Sha256,
    /// SHA-256, attributes in alphabetical order: mapbox's tools for single records, 10.1.0 and later.
    Sha256Sorted,
    /// MD5, partition key first: mapbox's tool before 10.1.0.
    Md5,
    /// MD5, attributes in alphabetical order: mapbox's tools for single records before 10.1.0.
    Md5Sorted,
}

impl Naming {
    /// All of them, dynamend's own first.
    pub const ALL: [Self; 4] = [Self::Sha256, Self::Sha256Sorted, Self::Md5, Self::Md5Sorted];

    /// How many characters the names have.
    #[must_use]
    pub fn name_length(self) -> usize {
        match self {
            Self::Sha256 | Self::Sha256Sorted => 64,
            Self::Md5 | Self::Md5Sorted => 32,
        }
    }

    /// The name of the object that holds the item under this key.
    #[must_use]
    pub fn name(self, schema: &KeySchema, key: &Key) -> String {
        let mut parts: Vec<(&str, &Value)> = schema
            .names()
            .filter_map(|name| Some((name, &key.attributes().iter().find(|(attribute, _)| attribute == name)?.1)))
            .collect();
        if matches!(self, Self::Sha256Sorted | Self::Md5Sorted) {
            parts.sort_unstable_by_key(|&(name, _)| name);
        }
        let text = |(name, value): (&str, &Value)| {
            let attribute: Map<String, Json> = std::iter::once((name.to_owned(), value_to_json(value))).collect();
            let text = Json::Object(attribute).to_string();
            text[1..text.len() - 1].to_owned()
        };
        let text = format!("{{{}}}", parts.into_iter().map(text).collect::<Vec<_>>().join(","));
        match self {
            Self::Sha256 | Self::Sha256Sorted => hex(&Sha256::digest(text.as_bytes())),
            Self::Md5 | Self::Md5Sorted => hex(&Md5::digest(text.as_bytes())),
        }
    }
}

/// The name that dynamend gives.
#[must_use]
pub fn name(schema: &KeySchema, key: &Key) -> String {
    Naming::Sha256.name(schema, key)
}

/// All names that the object of this key may have, each once, with the way it is made; dynamend's own first.
#[must_use]
pub fn names(schema: &KeySchema, key: &Key) -> Vec<(Naming, String)> {
    let mut names: Vec<(Naming, String)> = Vec::new();
    for naming in Naming::ALL {
        let name = naming.name(schema, key);
        if names.iter().all(|(_, other)| *other != name) {
            names.push((naming, name));
        }
    }
    names
}

/// Bytes in hexadecimal, in small letters.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
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

        assert_eq!(name(&schema, &key), hex(&expected));
    }

    #[test]
    fn each_way_to_name_an_object_is_known_and_each_name_comes_once() {
        let attribute = |name: &str, kind| KeyAttribute { name: name.to_owned(), kind };
        let schema = KeySchema { partition: attribute("id", KeyType::S), sort: Some(attribute("at", KeyType::N)) };
        let key = Key::parse(&schema, r#"{"at":7,"id":"a"}"#).unwrap();
        let by_schema = br#"{"id":{"S":"a"},"at":{"N":"7"}}"#;
        let by_name = br#"{"at":{"N":"7"},"id":{"S":"a"}}"#;

        assert_eq!(
            names(&schema, &key),
            [
                (Naming::Sha256, hex(&Sha256::digest(by_schema))),
                (Naming::Sha256Sorted, hex(&Sha256::digest(by_name))),
                (Naming::Md5, hex(&Md5::digest(by_schema))),
                (Naming::Md5Sorted, hex(&Md5::digest(by_name))),
            ]
        );

        let schema = KeySchema { partition: attribute("id", KeyType::S), sort: None };
        let key = Key::parse(&schema, r#"{"id":"a"}"#).unwrap();
        let namings: Vec<Naming> = names(&schema, &key).into_iter().map(|(naming, _)| naming).collect();
        assert_eq!(namings, [Naming::Sha256, Naming::Md5]);
    }
}
