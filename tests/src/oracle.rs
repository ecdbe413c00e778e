//! What differs between two tables, by brute force: written apart from the code under test, and by other means.
//!
//! Every value becomes a text that is equal exactly when DynamoDB holds the values equal: numbers are written out
//! digit by digit without exponent, sets are sorted. Tables are compared as maps from such texts to such texts.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value as Json, json};
use shared::domain::key::KeySchema;
use shared::domain::value::{Item, Value};

/// What a slave differs in from its master; keys are as [`key_text`] writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// Keys that only the master has.
    pub missing: BTreeSet<String>,
    /// Keys of items that are not equal, and the top-level attributes that differ.
    pub differing: BTreeMap<String, BTreeSet<String>>,
    /// Keys that only the slave has.
    pub extra: BTreeSet<String>,
}

impl Differences {
    /// Whether the tables agree.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.differing.is_empty() && self.extra.is_empty()
    }
}

/// Compares two whole tables.
#[must_use]
pub fn brute_force(master: &[Item], slave: &[Item], schema: &KeySchema) -> Differences {
    let (master, slave) = (by_key(master, schema), by_key(slave, schema));
    let mut differences = Differences::default();
    for (key, item) in &master {
        match slave.get(key) {
            None => drop(differences.missing.insert(key.clone())),
            Some(other) => {
                let attributes = differing_attributes(item, other);
                if !attributes.is_empty() {
                    differences.differing.insert(key.clone(), attributes);
                }
            }
        }
    }
    differences.extra = slave.into_keys().filter(|key| !master.contains_key(key)).collect();
    differences
}

/// The top-level attributes in which two items differ.
#[must_use]
pub fn differing_attributes(one: &Item, other: &Item) -> BTreeSet<String> {
    let differs = |name: &&String| one.get(*name).map(value_text) != other.get(*name).map(value_text);
    one.keys().chain(other.keys()).filter(differs).cloned().collect()
}

/// The item's key as DynamoDB JSON, the same text for every spelling of its numbers.
#[must_use]
pub fn key_text(schema: &KeySchema, item: &Item) -> String {
    let typed = schema.names().map(|name| {
        let typed = match item.get(name) {
            Some(Value::S(text)) => json!({ "S": text }),
            Some(Value::N(number)) => json!({ "N": number.text() }),
            Some(Value::B(bytes)) => json!({ "B": BASE64.encode(bytes) }),
            other => panic!("`{name}` is {other:?}, which cannot be a key"),
        };
        (name.to_owned(), typed)
    });
    key_text_of_json(&Json::Object(typed.collect()))
}

/// The same text from DynamoDB JSON, as reports and checkpoints have it.
#[must_use]
pub fn key_text_of_json(key: &Json) -> String {
    let mut key = key.clone();
    let attributes = key.as_object_mut().expect("a key is an object").values_mut();
    for typed in attributes {
        if let Some(number) = typed.get_mut("N") {
            *number = json!(plain_decimal(number.as_str().expect("a number is sent as text")));
        }
    }
    key.to_string()
}

/// A text that two values share exactly when DynamoDB holds them equal.
#[must_use]
pub fn value_text(value: &Value) -> String {
    let joined = |mut texts: Vec<String>, sort: bool| {
        if sort {
            texts.sort();
        }
        texts.join(",")
    };
    let hex = |bytes: &Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    match value {
        Value::S(text) => format!("S{text:?}"),
        Value::N(number) => format!("N{}", plain_decimal(number.text())),
        Value::B(bytes) => format!("B{}", hex(bytes)),
        Value::Bool(flag) => format!("BOOL{flag}"),
        Value::Null => "NULL".to_owned(),
        Value::Ss(members) => {
            format!("SS({})", joined(members.iter().map(|member| format!("{member:?}")).collect(), true))
        }
        Value::Ns(members) => {
            format!("NS({})", joined(members.iter().map(|member| plain_decimal(member.text())).collect(), true))
        }
        Value::Bs(members) => format!("BS({})", joined(members.iter().map(hex).collect(), true)),
        Value::L(values) => format!("L({})", joined(values.iter().map(value_text).collect(), false)),
        Value::M(values) => {
            let entries = values.iter().map(|(name, value)| format!("{name:?}={}", value_text(value)));
            format!("M({})", joined(entries.collect(), true))
        }
    }
}

/// A decimal number written out without exponent and without needless zeros: `-1.50E2` is `-150`.
#[must_use]
pub fn plain_decimal(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let (mantissa, exponent) = lower.split_once('e').unwrap_or((&lower, "0"));
    let mut point: i64 = exponent.parse().expect("the exponent is a number");
    let negative = mantissa.starts_with('-');
    let mut digits = String::new();
    let mut in_fraction = false;
    for symbol in mantissa.trim_start_matches(['-', '+']).chars() {
        match symbol {
            '.' => in_fraction = true,
            digit => {
                assert!(digit.is_ascii_digit(), "{text:?} is no number");
                digits.push(digit);
                point -= i64::from(in_fraction);
            }
        }
    }
    // Now the value is `digits` times ten to the power of `point`; shift by writing zeros.
    let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or(0));
    let shifted = format!("{}{digits}{}", zeros(-point), zeros(point));
    let fraction_length = usize::try_from(-point).unwrap_or(0);
    let (whole, fraction) = shifted.split_at(shifted.len() - fraction_length);
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    let sign = if negative && !(whole.is_empty() && fraction.is_empty()) { "-" } else { "" };
    let whole = if whole.is_empty() { "0" } else { whole };
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

fn by_key<'a>(items: &'a [Item], schema: &KeySchema) -> BTreeMap<String, &'a Item> {
    let mut by_key = BTreeMap::new();
    for item in items {
        let before = by_key.insert(key_text(schema, item), item);
        assert!(before.is_none(), "a table has two items with the key of {item:?}");
    }
    by_key
}
