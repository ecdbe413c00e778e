//! A page of items reduced to what a comparison needs of them: two digests each, and the keys.

use super::digest::Digest;
use super::key::{BadKey, Key, KeySchema, KeyType};
use super::number::Number;
use super::value::{Item, Value};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// Items in the order of their page.
///
/// An item takes 36 bytes here, and the bytes of its key values with two more for each of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    digests: Vec<Digest>,
    /// The key values of all items, each as its length and its text.
    keys: Vec<u8>,
    /// Where each item's part of `keys` ends.
    ends: Vec<u32>,
}

impl Entries {
    /// Adds an item: its digests, and the texts of its key values as DynamoDB JSON has them (binary as base64), the
    /// partition key's first.
    ///
    /// # Errors
    /// When a key value is longer than any table admits.
    pub fn push<'a>(&mut self, digest: Digest, key_texts: impl IntoIterator<Item = &'a str>) -> Result<(), TooLong> {
        let before = self.keys.len();
        for text in key_texts {
            let Ok(length) = u16::try_from(text.len()) else {
                self.keys.truncate(before);
                return Err(TooLong);
            };
            self.keys.extend_from_slice(&length.to_le_bytes());
            self.keys.extend_from_slice(text.as_bytes());
        }
        self.ends.push(u32::try_from(self.keys.len()).map_err(|_| TooLong)?);
        self.digests.push(digest);
        Ok(())
    }

    /// Adds a whole key's item.
    ///
    /// # Errors
    /// As [`Entries::push`].
    pub fn push_key(&mut self, digest: Digest, key: &Key) -> Result<(), TooLong> {
        let texts: Vec<String> = key.attributes().iter().map(|(_, value)| key_text(value)).collect();
        self.push(digest, texts.iter().map(String::as_str))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.digests.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    /// The digests, in order.
    #[must_use]
    pub fn digests(&self) -> &[Digest] {
        &self.digests
    }

    /// Bytes that all of it takes in memory.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        size_of_val(self.digests.as_slice()) + self.keys.len() + size_of_val(self.ends.as_slice())
    }

    /// Adds items of another page.
    ///
    /// # Errors
    /// When there are more of them than one page ever has.
    pub fn extend(&mut self, from: &Self, range: std::ops::Range<usize>) -> Result<(), TooLong> {
        for index in range {
            let (Some(digest), Some(&end)) = (from.digests.get(index), from.ends.get(index)) else { break };
            self.keys.extend_from_slice(&from.keys[from.start(index)..end as usize]);
            self.ends.push(u32::try_from(self.keys.len()).map_err(|_| TooLong)?);
            self.digests.push(*digest);
        }
        Ok(())
    }

    /// The key of the item at `index`.
    ///
    /// # Errors
    /// When there is no such item, or its key does not fit the schema.
    pub fn key(&self, schema: &KeySchema, index: usize) -> Result<Key, BadKey> {
        let start = self.start(index);
        let end = self.ends.get(index).map_or(start, |&end| end as usize);
        let mut rest = self.keys.get(start..end).unwrap_or_default();
        let mut item = Item::new();
        for attribute in schema.attributes() {
            let missing = || BadKey::Missing(attribute.name.clone());
            let (length, tail) = rest.split_first_chunk::<2>().ok_or_else(missing)?;
            let (text, tail) = tail.split_at_checked(usize::from(u16::from_le_bytes(*length))).ok_or_else(missing)?;
            rest = tail;
            let value = std::str::from_utf8(text).ok().and_then(|text| key_value(attribute.kind, text));
            let bad = || BadKey::WrongType { name: attribute.name.clone(), expected: attribute.kind };
            item.insert(attribute.name.clone(), value.ok_or_else(bad)?);
        }
        Key::of(schema, &item)
    }

    fn start(&self, index: usize) -> usize {
        index.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |&end| end as usize)
    }
}

/// A key value that no table admits: DynamoDB's are 2048 bytes long at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key value is longer than a table admits")]
pub struct TooLong;

fn key_text(value: &Value) -> String {
    match value {
        Value::S(text) => text.clone(),
        Value::N(number) => number.text().to_owned(),
        Value::B(bytes) => BASE64.encode(bytes),
        // No key has another type.
        Value::Bool(_) | Value::Null | Value::Ss(_) | Value::Ns(_) | Value::Bs(_) | Value::L(_) | Value::M(_) => {
            String::new()
        }
    }
}

fn key_value(kind: KeyType, text: &str) -> Option<Value> {
    match kind {
        KeyType::S => Some(Value::S(text.to_owned())),
        KeyType::N => Number::parse(text).ok().map(Value::N),
        KeyType::B => BASE64.decode(text).ok().map(Value::B),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::key::KeyAttribute;

    fn schema(partition: KeyType, sort: KeyType) -> KeySchema {
        KeySchema {
            partition: KeyAttribute { name: "id".into(), kind: partition },
            sort: Some(KeyAttribute { name: "at".into(), kind: sort }),
        }
    }

    #[test]
    fn keys_come_back_as_they_were_put_in() {
        for (schema, keys) in [
            (schema(KeyType::S, KeyType::N), [r#"{"id":"a","at":1.50}"#, r#"{"id":"größe","at":-2}"#]),
            (schema(KeyType::B, KeyType::S), [r#"{"id":"AQI=","at":"x"}"#, r#"{"id":"AA==","at":"\u0000\""}"#]),
        ] {
            let keys = keys.map(|text| Key::parse(&schema, text).unwrap());
            let mut entries = Entries::default();
            for key in &keys {
                entries.push_key(Digest::default(), key).unwrap();
            }
            for (index, key) in keys.iter().enumerate() {
                let back = entries.key(&schema, index).unwrap();
                assert_eq!(back, *key);
                assert_eq!(back.to_json(), key.to_json());
            }
            assert!(entries.key(&schema, 2).is_err());
        }
    }

    #[test]
    fn a_key_value_beyond_all_limits_is_refused_and_leaves_nothing_behind() {
        let mut entries = Entries::default();

        assert_eq!(entries.push(Digest::default(), ["x".repeat(70_000).as_str()]), Err(TooLong));
        assert_eq!(entries, Entries::default());
    }
}
