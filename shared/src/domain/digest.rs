//! Digests by which items are compared without holding them: equal items have equal digests, however they are spelt.
//!
//! An item's digest is the sum of its attributes' hashes, so the order of attributes does not matter. An attribute is
//! hashed in its *canonical text*, which is the beginning of what DynamoDB JSON says of it, so that a reader of raw
//! pages mostly hashes bytes where they lie. For an attribute NAME it is:
//!
//! | type | canonical text |
//! | --- | --- |
//! | string | `NAME":{"S":"TEXT` |
//! | number | `NAME":{"N":"NUMBER`, with NUMBER as [`number::normalized`] spells it |
//! | binary | `NAME":{"B":"BASE64`, standard alphabet, padded |
//! | boolean, null | `NAME":{"BOOL":true`, `NAME":{"BOOL":false`, `NAME":{"NULL":true` |
//! | sets | `NAME":{"SS":SUM`, `"NS"`, `"BS"`; SUM of the members' hashes as attributes of type S, N, B without a name |
//! | list | `NAME":{"L":SUM`; SUM of the members' hashes as attributes named by their index in decimal |
//! | map | `NAME":{"M":SUM`; SUM of its attributes' hashes |
//!
//! SUM is a sum modulo 2^128 in 16 bytes, little-endian. In NAME and TEXT, `"` and `\` have a `\` before them, and
//! nothing else is escaped. What the ignore rules cover is left out of the sums. Key attributes make up a digest of
//! their own and are left out of the item's.
//!
//! Hashes are XXH3 with 128 bits and a seed that is new for every unit of work. Two different items have the same
//! digest with a probability of 2^-128: about 3e-21 for the whole of a comparison of a billion items.

use super::compare::{Ignore, Step};
use super::key::{BadKey, Key, KeySchema};
use super::number;
use super::value::{Item, Value};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// An item's two digests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Digest {
    /// Of the key.
    pub key: u128,
    /// Of all other attributes that count.
    pub item: u128,
}

/// What a top-level attribute is to a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The partition key (0) or the sort key (1).
    Key(usize),
    /// It does not count.
    Ignored,
    /// It counts, and something below it does not.
    PartlyIgnored,
    /// It counts.
    Whole,
}

/// Makes digests of items that are comparable with each other.
#[derive(Clone, Debug)]
pub struct Digester {
    schema: KeySchema,
    ignore: Ignore,
    seed: u64,
}

impl Digester {
    /// Digests under these ignore rules. Only digests of one seed are comparable.
    #[must_use]
    pub fn new(schema: &KeySchema, ignore: &Ignore, seed: u64) -> Self {
        Self { schema: schema.clone(), ignore: ignore.clone(), seed }
    }

    /// The key schema.
    #[must_use]
    pub fn schema(&self) -> &KeySchema {
        &self.schema
    }

    /// What a top-level attribute is to the comparison.
    #[inline]
    #[must_use]
    pub fn role(&self, name: &str) -> Role {
        if name == self.schema.partition.name {
            Role::Key(0)
        } else if self.schema.sort.as_ref().is_some_and(|sort| name == sort.name) {
            Role::Key(1)
        } else if self.ignore.covers_attribute(name) {
            Role::Ignored
        } else if self.ignore.reaches_into(name) {
            Role::PartlyIgnored
        } else {
            Role::Whole
        }
    }

    /// The digests of an item, and its key.
    ///
    /// # Errors
    /// When it does not have the key.
    pub fn digest(&self, item: &Item) -> Result<(Digest, Key), BadKey> {
        let key = Key::of(&self.schema, item)?;
        Ok((Digest { key: self.key(&key), item: self.sum(item) }, key))
    }

    /// The digest of a key.
    #[must_use]
    pub fn key(&self, key: &Key) -> u128 {
        let hashes = key.attributes().iter().map(|(name, value)| self.hash_of(name, value, &mut Vec::new()));
        hashes.fold(0, u128::wrapping_add)
    }

    /// The hash of one top-level attribute, without what is ignored below it.
    #[must_use]
    pub fn attribute(&self, name: &str, value: &Value) -> u128 {
        self.hash_of(name, value, &mut vec![Step::Name(name.to_owned())])
    }

    /// The hash of a canonical text.
    #[inline]
    #[must_use]
    pub fn hash(&self, canonical: &[u8]) -> u128 {
        xxh3_128_with_seed(canonical, self.seed)
    }

    fn sum(&self, item: &Item) -> u128 {
        let counts = |name: &str| matches!(self.role(name), Role::Whole | Role::PartlyIgnored);
        let hashes = item.iter().filter(|(name, _)| counts(name)).map(|(name, value)| self.attribute(name, value));
        hashes.fold(0, u128::wrapping_add)
    }

    /// `path` leads to the value from the item; it is empty where no rule applies.
    fn hash_of(&self, name: &str, value: &Value, path: &mut Vec<Step>) -> u128 {
        let mut text = escaped(name);
        let mut tagged = |tag: &str| {
            text.extend_from_slice(b"\":{\"");
            text.extend_from_slice(tag.as_bytes());
            text.extend_from_slice(b"\":");
        };
        match value {
            Value::S(string) => {
                tagged("S");
                text.push(b'"');
                text.extend(escaped(string));
            }
            Value::N(number) => {
                tagged("N");
                text.push(b'"');
                // A number always is one.
                text.extend_from_slice(number::normalized(number.text()).unwrap_or_default().as_bytes());
            }
            Value::B(bytes) => {
                tagged("B");
                text.push(b'"');
                text.extend_from_slice(BASE64.encode(bytes).as_bytes());
            }
            Value::Bool(flag) => {
                tagged("BOOL");
                text.extend_from_slice(if *flag { b"true" } else { b"false" });
            }
            Value::Null => {
                tagged("NULL");
                text.extend_from_slice(b"true");
            }
            Value::Ss(members) => {
                tagged("SS");
                text.extend(self.set_sum(members.iter().cloned().map(Value::S)));
            }
            Value::Ns(members) => {
                tagged("NS");
                text.extend(self.set_sum(members.iter().cloned().map(Value::N)));
            }
            Value::Bs(members) => {
                tagged("BS");
                text.extend(self.set_sum(members.iter().cloned().map(Value::B)));
            }
            Value::L(values) => {
                tagged("L");
                let members = values.iter().enumerate();
                let members = members.map(|(index, value)| (index.to_string(), Step::Index(index), value));
                text.extend(self.container_sum(members, path));
            }
            Value::M(values) => {
                tagged("M");
                let members = values.iter().map(|(name, value)| (name.clone(), Step::Name(name.clone()), value));
                text.extend(self.container_sum(members, path));
            }
        }
        self.hash(&text)
    }

    fn set_sum(&self, members: impl Iterator<Item = Value>) -> [u8; 16] {
        members.map(|member| self.hash_of("", &member, &mut Vec::new())).fold(0, u128::wrapping_add).to_le_bytes()
    }

    fn container_sum<'a>(
        &self,
        members: impl Iterator<Item = (String, Step, &'a Value)>,
        path: &mut Vec<Step>,
    ) -> [u8; 16] {
        let mut sum = 0_u128;
        for (name, step, value) in members {
            path.push(step);
            if !self.ignore.covers(path) {
                sum = sum.wrapping_add(self.hash_of(&name, value, path));
            }
            path.pop();
        }
        sum.to_le_bytes()
    }
}

fn escaped(text: &str) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(text.len() + 24);
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'\\') {
            escaped.push(b'\\');
        }
        escaped.push(byte);
    }
    escaped
}
