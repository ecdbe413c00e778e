//! Items to and from the SDK's form; written apart from the adapter under test, so that the two check each other.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use shared::domain::number::Number;
use shared::domain::value::{Item, Value};

/// An item as the SDK takes it.
#[must_use]
pub fn to_sdk(item: &Item) -> HashMap<String, AttributeValue> {
    item.iter().map(|(name, value)| (name.clone(), value_to_sdk(value))).collect()
}

/// An item as the SDK gives it.
#[must_use]
pub fn from_sdk(item: &HashMap<String, AttributeValue>) -> Item {
    item.iter().map(|(name, value)| (name.clone(), value_from_sdk(value))).collect()
}

fn value_to_sdk(value: &Value) -> AttributeValue {
    let blob = |bytes: &Vec<u8>| Blob::new(bytes.clone());
    match value {
        Value::S(text) => AttributeValue::S(text.clone()),
        Value::N(number) => AttributeValue::N(number.text().to_owned()),
        Value::B(bytes) => AttributeValue::B(blob(bytes)),
        Value::Bool(flag) => AttributeValue::Bool(*flag),
        Value::Null => AttributeValue::Null(true),
        Value::Ss(members) => AttributeValue::Ss(members.clone()),
        Value::Ns(members) => AttributeValue::Ns(members.iter().map(|member| member.text().to_owned()).collect()),
        Value::Bs(members) => AttributeValue::Bs(members.iter().map(blob).collect()),
        Value::L(values) => AttributeValue::L(values.iter().map(value_to_sdk).collect()),
        Value::M(values) => AttributeValue::M(to_sdk(values)),
    }
}

fn value_from_sdk(value: &AttributeValue) -> Value {
    let number = |text: &String| Number::parse(text).expect("the service sends numbers");
    let bytes = |blob: &Blob| blob.as_ref().to_vec();
    match value {
        AttributeValue::S(text) => Value::S(text.clone()),
        AttributeValue::N(text) => Value::N(number(text)),
        AttributeValue::B(blob) => Value::B(bytes(blob)),
        AttributeValue::Bool(flag) => Value::Bool(*flag),
        AttributeValue::Null(_) => Value::Null,
        AttributeValue::Ss(members) => Value::Ss(members.clone()),
        AttributeValue::Ns(members) => Value::Ns(members.iter().map(number).collect()),
        AttributeValue::Bs(members) => Value::Bs(members.iter().map(bytes).collect()),
        AttributeValue::L(values) => Value::L(values.iter().map(value_from_sdk).collect()),
        AttributeValue::M(values) => Value::M(from_sdk(values)),
        other => panic!("an attribute value of an unknown type: {other:?}"),
    }
}
