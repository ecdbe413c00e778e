//! Primary keys: the key schema, a key taken from an item, and keys as a person types them.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use serde_json::value::RawValue;

use super::json::{item_from_json, item_to_json};
use super::number::MAX_DIGITS;
use super::value::{Item, Value};

/// The three types a key attribute can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyType {
    /// String.
    S,
    /// Number.
    N,
    /// Binary.
    B,
}

/// One attribute of a key schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyAttribute {
    /// The attribute's name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: KeyType,
}

/// A table's key schema: the partition key and, for composite keys, the sort key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySchema {
    /// The partition key (`HASH`).
    pub partition: KeyAttribute,
    /// The sort key (`RANGE`).
    pub sort: Option<KeyAttribute>,
}

/// Why something is no key of a table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// The text is no JSON.
    #[error("it is not JSON: {0}")]
    NotJson(String),
    /// The JSON is something else than an object.
    #[error("a key is a JSON object such as {{\"id\":\"abc\"}}")]
    NotAnObject,
    /// An attribute of the schema is not there.
    #[error("the key attribute `{0}` is missing")]
    Missing(String),
    /// An attribute is there that the schema does not have.
    #[error("`{0}` is no key attribute of this table")]
    Unknown(String),
    /// An attribute has another type than the schema says.
    #[error("the key attribute `{name}` must be of type {expected:?}")]
    WrongType {
        /// The attribute.
        name: String,
        /// The type it must have.
        expected: KeyType,
    },
    /// An attribute's value cannot be in a table.
    #[error("the key attribute `{name}`: {what}")]
    BadValue {
        /// The attribute.
        name: String,
        /// What is wrong.
        what: String,
    },
}

impl KeySchema {
    /// The key attributes, partition key first.
    pub fn attributes(&self) -> impl Iterator<Item = &KeyAttribute> {
        std::iter::once(&self.partition).chain(&self.sort)
    }

    /// The names of the key attributes, partition key first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.attributes().map(|attribute| attribute.name.as_str())
    }
}

impl std::fmt::Display for KeySchema {
    /// As in `id (S), at (N)`, partition key first.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({:?})", self.partition.name, self.partition.kind)?;
        self.sort.iter().try_for_each(|sort| write!(f, ", {} ({:?})", sort.name, sort.kind))
    }
}

/// A primary key; equal keys address the same item, however a number in them is spelt.
#[derive(Clone, Debug)]
pub struct Key {
    attributes: Vec<(String, Value)>,
    identity: Box<[u8]>,
}

impl Key {
    /// Takes the key out of an item.
    ///
    /// # Errors
    /// `BadKey` when the item lacks a key attribute or has it with another type.
    pub fn of(schema: &KeySchema, item: &Item) -> Result<Self, BadKey> {
        let mut attributes = Vec::with_capacity(2);
        let mut identity = Vec::new();
        for KeyAttribute { name, kind } in schema.attributes() {
            let value = item.get(name).ok_or_else(|| BadKey::Missing(name.clone()))?;
            identify(value, *kind, &mut identity)
                .ok_or_else(|| BadKey::WrongType { name: name.clone(), expected: *kind })?;
            attributes.push((name.clone(), value.clone()));
        }
        Ok(Self { attributes, identity: identity.into() })
    }

    /// Reads a key as a person types it: plain JSON (`{"id":"abc"}`) or DynamoDB JSON (`{"id":{"S":"abc"}}`).
    ///
    /// In plain JSON a binary attribute is base64 text, and a number may be written as number or as text.
    ///
    /// # Errors
    /// `BadKey` when it does not fit the schema.
    pub fn parse(schema: &KeySchema, text: &str) -> Result<Self, BadKey> {
        let not_json = |error: serde_json::Error| BadKey::NotJson(error.to_string());
        let json: Json = serde_json::from_str(text).map_err(not_json)?;
        let mut object = json.as_object().ok_or(BadKey::NotAnObject)?.clone();
        // A JSON number goes through a float when it is parsed; its text does not.
        let texts: BTreeMap<String, &RawValue> = serde_json::from_str(text).map_err(not_json)?;
        for (name, json) in &mut object {
            if let (Json::Number(_), Some(text)) = (&json, texts.get(name)) {
                let kind =
                    schema.attributes().find(|attribute| attribute.name == *name).map(|attribute| attribute.kind);
                if kind == Some(KeyType::N) {
                    *json = Json::String(text.get().to_owned());
                }
            }
        }
        Self::from_json(schema, &Json::Object(object))
    }

    /// As [`Key::parse`], from parsed JSON.
    ///
    /// # Errors
    /// `BadKey` when it does not fit the schema.
    pub fn from_json(schema: &KeySchema, json: &Json) -> Result<Self, BadKey> {
        let object = json.as_object().ok_or(BadKey::NotAnObject)?;
        if let Some(unknown) = object.keys().find(|name| !schema.names().any(|known| known == *name)) {
            return Err(BadKey::Unknown(unknown.clone()));
        }
        let mut item = Item::new();
        for attribute in schema.attributes() {
            let json = object.get(&attribute.name).ok_or_else(|| BadKey::Missing(attribute.name.clone()))?;
            let value = if json.is_object() { typed(attribute, json)? } else { plain(attribute, json)? };
            check(attribute, &value)?;
            item.insert(attribute.name.clone(), value);
        }
        Self::of(schema, &item)
    }

    /// The key as DynamoDB JSON.
    #[must_use]
    pub fn to_json(&self) -> Json {
        item_to_json(&self.to_item())
    }

    /// The key as an item that has only its key attributes.
    #[must_use]
    pub fn to_item(&self) -> Item {
        self.attributes.iter().cloned().collect()
    }

    /// Names and values, partition key first.
    #[must_use]
    pub fn attributes(&self) -> &[(String, Value)] {
        &self.attributes
    }

    /// Bytes that are equal exactly when the keys are; the partition key's part comes first.
    #[must_use]
    pub fn identity(&self) -> &[u8] {
        &self.identity
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity.hash(state);
    }
}

/// Appends type, length and canonical bytes; `None` when the value has another type.
fn identify(value: &Value, kind: KeyType, identity: &mut Vec<u8>) -> Option<()> {
    let mut append = |tag: u8, bytes: &[u8]| {
        identity.push(tag);
        identity.extend_from_slice(&u32::try_from(bytes.len()).ok()?.to_be_bytes());
        identity.extend_from_slice(bytes);
        Some(())
    };
    match (value, kind) {
        (Value::S(text), KeyType::S) => append(b'S', text.as_bytes()),
        (Value::N(number), KeyType::N) => append(b'N', number.canonical_text().as_bytes()),
        (Value::B(bytes), KeyType::B) => append(b'B', bytes),
        _ => None,
    }
}

fn typed(attribute: &KeyAttribute, json: &Json) -> Result<Value, BadKey> {
    let wrapped = Json::Object([(attribute.name.clone(), json.clone())].into_iter().collect());
    let mut item = item_from_json(&wrapped)
        .map_err(|error| BadKey::BadValue { name: attribute.name.clone(), what: error.what })?;
    item.remove(&attribute.name).ok_or_else(|| BadKey::Missing(attribute.name.clone()))
}

fn plain(attribute: &KeyAttribute, json: &Json) -> Result<Value, BadKey> {
    let wrong_type = || BadKey::WrongType { name: attribute.name.clone(), expected: attribute.kind };
    let text = match (json, attribute.kind) {
        (Json::String(text), _) => text.clone(),
        _ => return Err(wrong_type()),
    };
    let tag = match attribute.kind {
        KeyType::S => "S",
        KeyType::N => "N",
        KeyType::B => "B",
    };
    typed(attribute, &serde_json::json!({ tag: text }))
}

/// Refuses values that no table can hold as a key: they would only fail later, as a service error.
fn check(attribute: &KeyAttribute, value: &Value) -> Result<(), BadKey> {
    let bad = |what: &str| Err(BadKey::BadValue { name: attribute.name.clone(), what: what.to_owned() });
    match value {
        Value::S(text) if text.is_empty() => bad("a key attribute cannot be empty"),
        Value::B(bytes) if bytes.is_empty() => bad("a key attribute cannot be empty"),
        Value::N(number) if number.significant_digits() > MAX_DIGITS => bad("a number has at most 38 digits"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(partition: KeyType, sort: Option<KeyType>) -> KeySchema {
        KeySchema {
            partition: KeyAttribute { name: "id".into(), kind: partition },
            sort: sort.map(|kind| KeyAttribute { name: "at".into(), kind }),
        }
    }

    #[test]
    fn plain_and_dynamodb_json_give_the_same_key() {
        for (kind, plain, typed) in [
            (KeyType::S, r#"{"id":"abc"}"#, r#"{"id":{"S":"abc"}}"#),
            (
                KeyType::N,
                r#"{"id":12345678901234567890123456789012345678}"#,
                r#"{"id":{"N":"12345678901234567890123456789012345678"}}"#,
            ),
            (KeyType::N, r#"{"id":"1.50"}"#, r#"{"id":{"N":"1.5"}}"#),
            (KeyType::B, r#"{"id":"AQI="}"#, r#"{"id":{"B":"AQI="}}"#),
        ] {
            let schema = schema(kind, None);

            assert_eq!(Key::parse(&schema, plain), Key::parse(&schema, typed), "{plain}");
            assert!(Key::parse(&schema, plain).is_ok(), "{plain}");
        }
    }

    #[test]
    fn keys_that_do_not_fit_are_refused() {
        let schema = schema(KeyType::S, Some(KeyType::N));
        for (text, error) in [
            ("{", "not JSON"),
            ("[]", "JSON object"),
            (r#"{"id":"a"}"#, "`at` is missing"),
            (r#"{"id":"a","at":1,"x":1}"#, "`x` is no key attribute"),
            (r#"{"id":1,"at":1}"#, "`id` must be of type S"),
            (r#"{"id":{"N":"1"},"at":1}"#, "`id` must be of type S"),
            (r#"{"id":"a","at":"one"}"#, "`one` is not a decimal number"),
            (r#"{"id":"","at":1}"#, "cannot be empty"),
            (r#"{"id":"a","at":"123456789012345678901234567890123456789"}"#, "38 digits"),
        ] {
            let message = Key::parse(&schema, text).unwrap_err().to_string();
            assert!(message.contains(error), "{text}: {message}");
        }
    }

    #[test]
    fn parts_of_a_composite_key_do_not_run_into_each_other() {
        let schema = schema(KeyType::S, Some(KeyType::S));
        let one = Key::parse(&schema, r#"{"id":"ab","at":"c"}"#).unwrap();
        let two = Key::parse(&schema, r#"{"id":"a","at":"bc"}"#).unwrap();

        assert_ne!(one, two);
    }
}
