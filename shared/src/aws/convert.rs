//! Attribute values between the SDK's types and the domain's.
//!
//! The SDK has a type of its own for them in each of its crates, all alike.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;

use crate::domain::number::Number;
use crate::domain::value::{Item, Value};

/// An item in the SDK's types.
pub(super) type SdkItem = HashMap<String, AttributeValue>;

/// An attribute that a table returned and that is no attribute value we know; carries no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the attribute `{attribute}` holds {what}")]
pub(super) struct Unreadable {
    attribute: String,
    what: &'static str,
}

/// The SDK's form of an item.
pub(super) fn item_to_sdk(item: &Item) -> SdkItem {
    item.iter().map(|(name, value)| (name.clone(), value_to_sdk(value))).collect()
}

/// The SDK's form of a value.
pub(super) fn value_to_sdk(value: &Value) -> AttributeValue {
    let blob = |bytes: &Vec<u8>| Blob::new(bytes.clone());
    match value {
        Value::S(text) => AttributeValue::S(text.clone()),
        Value::N(number) => AttributeValue::N(number.text().to_owned()),
        Value::B(bytes) => AttributeValue::B(blob(bytes)),
        Value::Bool(truth) => AttributeValue::Bool(*truth),
        Value::Null => AttributeValue::Null(true),
        Value::Ss(members) => AttributeValue::Ss(members.clone()),
        Value::Ns(members) => AttributeValue::Ns(members.iter().map(|member| member.text().to_owned()).collect()),
        Value::Bs(members) => AttributeValue::Bs(members.iter().map(blob).collect()),
        Value::L(values) => AttributeValue::L(values.iter().map(value_to_sdk).collect()),
        Value::M(values) => AttributeValue::M(item_to_sdk(values)),
    }
}

/// An attribute value in the type of one of the SDK's crates.
pub(super) trait SdkValue: Sized {
    /// Takes it over; else says what it is, without its value.
    fn take_over(self) -> Result<Value, &'static str>;
}

macro_rules! values_of {
    ($($sdk:ident),+) => {$(
        impl SdkValue for $sdk::types::AttributeValue {
            fn take_over(self) -> Result<Value, &'static str> {
                Ok(match self {
                    Self::S(text) => Value::S(text),
                    Self::N(text) => Value::N(number(&text)?),
                    Self::B(bytes) => Value::B(bytes.into_inner()),
                    Self::Bool(truth) => Value::Bool(truth),
                    Self::Null(_) => Value::Null,
                    Self::Ss(members) => Value::Ss(members),
                    Self::Ns(members) => {
                        Value::Ns(members.iter().map(|member| number(member)).collect::<Result<_, _>>()?)
                    }
                    Self::Bs(members) => Value::Bs(members.into_iter().map(Blob::into_inner).collect()),
                    Self::L(values) => Value::L(values.into_iter().map(Self::take_over).collect::<Result<_, _>>()?),
                    Self::M(values) => Value::M(
                        values
                            .into_iter()
                            .map(|(name, value)| value.take_over().map(|value| (name, value)))
                            .collect::<Result<_, _>>()?,
                    ),
                    _ => return Err("a type of value that this version does not know"),
                })
            }
        }
    )+};
}

values_of!(aws_sdk_dynamodb, aws_sdk_dynamodbstreams);

/// Takes over an item as the SDK read it.
///
/// # Errors
/// `Unreadable` when it has a type that the SDK does not know, or a number that is none.
pub(super) fn item_from_sdk<V: SdkValue>(item: HashMap<String, V>) -> Result<Item, Unreadable> {
    item.into_iter()
        .map(|(name, value)| match value.take_over() {
            Ok(value) => Ok((name, value)),
            Err(what) => Err(Unreadable { attribute: name, what }),
        })
        .collect()
}

fn number(text: &str) -> Result<Number, &'static str> {
    Number::parse(text).map_err(|_| "a number that cannot be read")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_survives_the_way_to_the_sdk_and_back() {
        let number = |text: &str| Number::parse(text).unwrap();
        let nested: Item = [("deep".to_owned(), Value::L(vec![Value::Null, Value::Bool(false)]))].into();
        let item: Item = [
            ("s", Value::S("text".into())),
            ("n", Value::N(number("1.50"))),
            ("b", Value::B(vec![0, 255])),
            ("bool", Value::Bool(true)),
            ("null", Value::Null),
            ("ss", Value::Ss(vec!["a".into(), "b".into()])),
            ("ns", Value::Ns(vec![number("1"), number("12345678901234567890123456789012345678")])),
            ("bs", Value::Bs(vec![vec![1], vec![2]])),
            ("l", Value::L(vec![Value::S(String::new())])),
            ("m", Value::M(nested)),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();

        assert_eq!(item_from_sdk(item_to_sdk(&item)).unwrap(), item);
    }

    #[test]
    fn a_number_that_is_none_names_its_attribute_and_not_its_value() {
        let item = SdkItem::from([("n".to_owned(), AttributeValue::L(vec![AttributeValue::N("secret".into())]))]);

        let error = item_from_sdk(item).unwrap_err();

        assert_eq!(error.to_string(), "the attribute `n` holds a number that cannot be read");
    }
}
