//! Items and keys as JSON: DynamoDB JSON (`{"id": {"S": "abc"}}`) both ways.
//!
//! Plain JSON for keys is read in [`super::key`], because only a key schema says what it means.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value as Json, json};

use super::number::Number;
use super::value::{Item, Value};

/// JSON that is not DynamoDB JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{at}`: {what}")]
pub struct NotDynamoDbJson {
    /// The attribute, as a path.
    pub at: String,
    /// What is wrong with it; may quote the value.
    pub what: String,
    /// What is wrong with it, without anything of the value.
    pub outline: &'static str,
}

/// An item as DynamoDB JSON.
#[must_use]
pub fn item_to_json(item: &Item) -> Json {
    Json::Object(item.iter().map(|(name, value)| (name.clone(), value_to_json(value))).collect())
}

/// A value as DynamoDB JSON; binary as base64.
#[must_use]
pub fn value_to_json(value: &Value) -> Json {
    match value {
        Value::S(text) => json!({ "S": text }),
        Value::N(number) => json!({ "N": number.text() }),
        Value::B(bytes) => json!({ "B": BASE64.encode(bytes) }),
        Value::Bool(flag) => json!({ "BOOL": flag }),
        Value::Null => json!({ "NULL": true }),
        Value::Ss(members) => json!({ "SS": members }),
        Value::Ns(members) => json!({ "NS": members.iter().map(Number::text).collect::<Vec<_>>() }),
        Value::Bs(members) => json!({ "BS": members.iter().map(|member| BASE64.encode(member)).collect::<Vec<_>>() }),
        Value::L(values) => json!({ "L": values.iter().map(value_to_json).collect::<Vec<_>>() }),
        Value::M(values) => json!({ "M": item_to_json(values) }),
    }
}

/// Reads an item from DynamoDB JSON.
///
/// # Errors
/// Names the attribute that is not DynamoDB JSON.
pub fn item_from_json(json: &Json) -> Result<Item, NotDynamoDbJson> {
    match json {
        Json::Object(object) => map_from_json(object, ""),
        _ => Err(wrong("", "an object of attributes is expected")),
    }
}

fn map_from_json(object: &Map<String, Json>, at: &str) -> Result<Item, NotDynamoDbJson> {
    object
        .iter()
        .map(|(name, json)| {
            let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
            Ok((name.clone(), value_from_json(json, &at)?))
        })
        .collect()
}

fn value_from_json(json: &Json, at: &str) -> Result<Value, NotDynamoDbJson> {
    let typed = json.as_object().filter(|object| object.len() == 1).and_then(|object| object.iter().next());
    let Some((tag, content)) = typed else {
        return Err(wrong(at, "a typed value such as {\"S\": \"text\"} is expected"));
    };
    match (tag.as_str(), content) {
        ("S", Json::String(text)) => Ok(Value::S(text.clone())),
        ("N", Json::String(text)) => number(text, at).map(Value::N),
        ("B", Json::String(text)) => binary(text, at).map(Value::B),
        ("BOOL", Json::Bool(flag)) => Ok(Value::Bool(*flag)),
        ("NULL", Json::Bool(true)) => Ok(Value::Null),
        ("SS", Json::Array(members)) => each_text(members, at, |text| Ok(text.to_owned())).map(Value::Ss),
        ("NS", Json::Array(members)) => each_text(members, at, |text| number(text, at)).map(Value::Ns),
        ("BS", Json::Array(members)) => each_text(members, at, |text| binary(text, at)).map(Value::Bs),
        ("L", Json::Array(values)) => {
            let indexed = values.iter().enumerate();
            indexed
                .map(|(index, json)| value_from_json(json, &format!("{at}[{index}]")))
                .collect::<Result<_, _>>()
                .map(Value::L)
        }
        ("M", Json::Object(object)) => map_from_json(object, at).map(Value::M),
        (tag, _) => {
            let what = format!("no value of type `{tag}`");
            Err(NotDynamoDbJson { what, ..wrong(at, "it is no value of the type that it names") })
        }
    }
}

fn each_text<T>(
    members: &[Json],
    at: &str,
    read: impl Fn(&str) -> Result<T, NotDynamoDbJson>,
) -> Result<Vec<T>, NotDynamoDbJson> {
    members
        .iter()
        .map(|member| member.as_str().ok_or_else(|| wrong(at, "a set holds strings")).and_then(&read))
        .collect()
}

fn number(text: &str, at: &str) -> Result<Number, NotDynamoDbJson> {
    Number::parse(text)
        .map_err(|error| NotDynamoDbJson { what: error.to_string(), ..wrong(at, "it is not a decimal number") })
}

fn binary(text: &str, at: &str) -> Result<Vec<u8>, NotDynamoDbJson> {
    BASE64.decode(text).map_err(|_| wrong(at, "not base64"))
}

fn wrong(at: &str, what: &'static str) -> NotDynamoDbJson {
    NotDynamoDbJson { at: at.to_owned(), what: what.to_owned(), outline: what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_survives_the_round_trip() {
        let json = json!({
            "s": {"S": "é\n\"quoted\""}, "n": {"N": "-1.5E+3"}, "b": {"B": "AAH/"}, "yes": {"BOOL": true},
            "nothing": {"NULL": true}, "ss": {"SS": ["a", "b"]}, "ns": {"NS": ["1", "2"]}, "bs": {"BS": ["AQ==", ""]},
            "l": {"L": [{"S": ""}, {"L": []}]}, "m": {"M": {"x": {"M": {}}}},
        });

        assert_eq!(item_to_json(&item_from_json(&json).unwrap()), json);
    }

    #[test]
    fn what_is_no_dynamodb_json_is_named() {
        for (json, at) in [
            (json!([]), ""),
            (json!({"a": "plain"}), "a"),
            (json!({"a": {"S": "x", "N": "1"}}), "a"),
            (json!({"a": {"N": 1}}), "a"),
            (json!({"a": {"N": "one"}}), "a"),
            (json!({"a": {"B": "not base64!"}}), "a"),
            (json!({"a": {"NULL": false}}), "a"),
            (json!({"a": {"M": {"b": {"L": [{"S": "x"}, 5]}}}}), "a.b[1]"),
            (json!({"a": {"SS": [1]}}), "a"),
        ] {
            assert_eq!(item_from_json(&json).unwrap_err().at, at, "{json}");
        }
    }
}
