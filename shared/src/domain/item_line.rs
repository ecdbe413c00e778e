//! One line of a backup: one item as DynamoDB JSON, wrapped (`{"Item":{…}}`) or bare.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::json::{item_from_json, item_to_json};
use super::key::{BadKey, Key, KeyAttribute, KeySchema, KeyType};
use super::value::Item;

/// What is around the item of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// `{"Item":{…}}`: dynamend's backups, DynamoDB's exports, and what its imports read.
    Wrapped,
    /// Nothing: mapbox's backups.
    Bare,
    /// Told line by line: one that has the table's key at its top is bare, every other wrapped.
    Unknown,
}

/// The member of a wrapped line that holds the item.
const ITEM: &str = "Item";

/// Why a line has no item of the table; carries no values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLine {
    /// It is no JSON, or that of something else.
    #[error("the line is no JSON object (at its byte {at})")]
    NotJson {
        /// Where it stops being one.
        at: usize,
    },
    /// There is no item in it.
    #[error("the line has no `{ITEM}`")]
    NotWrapped,
    /// An attribute cannot be read.
    #[error("the attribute `{at}` cannot be read: {what}")]
    BadAttribute {
        /// The attribute, as a path.
        at: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// It does not have the key of the table.
    #[error("the item is none of this table: {0}")]
    BadKey(BadKey),
}

/// The item of a line, with its key; none on a blank line.
///
/// # Errors
/// `BadLine` when it has no item, or none with this key.
pub fn read(line: &[u8], layout: Layout, schema: &KeySchema) -> Result<Option<(Item, Key)>, BadLine> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let json: Json = serde_json::from_slice(line).map_err(|error| BadLine::NotJson { at: error.column() })?;
    let Json::Object(object) = json else { return Err(BadLine::NotJson { at: 1 }) };
    let item = match layout {
        Layout::Bare => Json::Object(object),
        Layout::Unknown if has_key(&object, schema) => Json::Object(object),
        Layout::Wrapped | Layout::Unknown => unwrapped(object)?,
    };
    let item = item_from_json(&item).map_err(|error| match error.at.as_str() {
        "" => BadLine::NotWrapped,
        at => BadLine::BadAttribute { at: at.to_owned(), what: error.outline },
    })?;
    let key = Key::of(schema, &item).map_err(BadLine::BadKey)?;
    Ok(Some((item, key)))
}

/// The item as a wrapped line, without the end of the line.
#[must_use]
pub fn write(item: &Item) -> String {
    let wrapped: Map<String, Json> = std::iter::once((ITEM.to_owned(), item_to_json(item))).collect();
    Json::Object(wrapped).to_string()
}

fn unwrapped(mut object: Map<String, Json>) -> Result<Json, BadLine> {
    object.remove(ITEM).ok_or(BadLine::NotWrapped)
}

/// Whether all key attributes are there, as typed values. The `Item` of a wrapped line never is one of them: even where
/// the key has that name, what is in it is another object with that name, and no value with a type.
fn has_key(object: &Map<String, Json>, schema: &KeySchema) -> bool {
    let is_there = |KeyAttribute { name, kind }: &KeyAttribute| {
        let tag = match kind {
            KeyType::S => "S",
            KeyType::N => "N",
            KeyType::B => "B",
        };
        let value = object.get(name).and_then(Json::as_object).filter(|value| value.len() == 1);
        value.and_then(|value| value.get(tag)).is_some_and(Json::is_string)
    };
    schema.attributes().all(is_there)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::value::Value;

    fn schema(partition: &str) -> KeySchema {
        KeySchema { partition: KeyAttribute { name: partition.to_owned(), kind: KeyType::S }, sort: None }
    }

    fn item(json: &str) -> Item {
        item_from_json(&serde_json::from_str(json).unwrap()).unwrap()
    }

    #[test]
    fn both_layouts_are_read_and_told_apart() {
        let bare = r#"{"id":{"S":"a"},"n":{"N":"12345678901234567890123456789012345678"}}"#;
        let wrapped = format!(r#"{{"Item":{bare}}}"#);
        let schema = schema("id");
        for (line, layout) in [
            (bare, Layout::Bare),
            (bare, Layout::Unknown),
            (wrapped.as_str(), Layout::Wrapped),
            (wrapped.as_str(), Layout::Unknown),
        ] {
            let (read, key) = read(line.as_bytes(), layout, &schema).unwrap().unwrap();

            assert_eq!((read, key.to_json().to_string()), (item(bare), r#"{"id":{"S":"a"}}"#.to_owned()), "{layout:?}");
        }
        assert_eq!(read(bare.as_bytes(), Layout::Wrapped, &schema), Err(BadLine::NotWrapped));
        assert!(matches!(read(wrapped.as_bytes(), Layout::Bare, &schema), Err(BadLine::BadAttribute { .. })));
    }

    #[test]
    fn a_key_called_item_does_not_confuse_the_layouts() {
        for (name, line, expected) in [
            ("Item", r#"{"Item":{"S":"a"}}"#, r#"{"Item":{"S":"a"}}"#),
            ("Item", r#"{"Item":{"Item":{"S":"a"}}}"#, r#"{"Item":{"S":"a"}}"#),
            ("S", r#"{"Item":{"S":{"S":"a"}}}"#, r#"{"S":{"S":"a"}}"#),
            ("S", r#"{"S":{"S":"a"},"Item":{"S":"b"}}"#, r#"{"S":{"S":"a"},"Item":{"S":"b"}}"#),
        ] {
            let read = read(line.as_bytes(), Layout::Unknown, &schema(name)).unwrap().unwrap();

            assert_eq!(read.0, item(expected), "{line}");
        }
    }

    #[test]
    fn a_blank_line_is_no_item_and_no_error() {
        for blank in ["", " ", "\t \r"] {
            assert_eq!(read(blank.as_bytes(), Layout::Wrapped, &schema("id")), Ok(None), "{blank:?}");
        }
    }

    #[test]
    fn an_error_says_where_and_never_what_is_there() {
        for (line, layout, message) in [
            (r#"{"Item":{"id":{"S":"secret""#, Layout::Wrapped, "the line is no JSON object (at its byte 27)"),
            (r#""secret""#, Layout::Wrapped, "the line is no JSON object (at its byte 1)"),
            ("\"secret\u{0}", Layout::Unknown, "the line is no JSON object (at its byte 8)"),
            (r#"{"item":{"id":{"S":"secret"}}}"#, Layout::Wrapped, "the line has no `Item`"),
            (r#"{"Item":"secret"}"#, Layout::Wrapped, "the line has no `Item`"),
            (
                r#"{"Item":{"id":{"S":"a"},"m":{"M":{"n":{"L":[{"N":"secret"}]}}}}}"#,
                Layout::Wrapped,
                "the attribute `m.n[0]` cannot be read: it is not a decimal number",
            ),
            (
                r#"{"Item":{"id":{"S":"a"},"b":{"B":"secret!"}}}"#,
                Layout::Wrapped,
                "the attribute `b` cannot be read: not base64",
            ),
            (
                r#"{"Item":{"id":{"S":"a"},"b":{"secret":"secret"}}}"#,
                Layout::Wrapped,
                "the attribute `b` cannot be read: it is no value of the type that it names",
            ),
            (
                r#"{"Item":{"x":{"S":"secret"}}}"#,
                Layout::Wrapped,
                "the item is none of this table: the key attribute `id` is missing",
            ),
            (
                r#"{"Item":{"id":{"N":"5"}}}"#,
                Layout::Wrapped,
                "the item is none of this table: the key attribute `id` must be of type S",
            ),
        ] {
            let error = read(line.as_bytes(), layout, &schema("id")).unwrap_err().to_string();

            assert_eq!(error, message, "{line}");
            assert!(!error.contains("secret"), "{error}");
        }
        let not_utf8 = [b"{\"Item\":{\"id\":{\"S\":\"".as_slice(), &[0xff], b"\"}}}"].concat();
        assert!(matches!(read(&not_utf8, Layout::Wrapped, &schema("id")), Err(BadLine::NotJson { .. })));
    }

    #[test]
    fn a_written_line_is_one_line_and_wrapped() {
        let written = write(&[("id".to_owned(), Value::S("a\nb\u{2028}\r".into()))].into());

        assert_eq!(written, "{\"Item\":{\"id\":{\"S\":\"a\\nb\u{2028}\\r\"}}}");
        assert_eq!(
            read(written.as_bytes(), Layout::Unknown, &schema("id")).unwrap().unwrap().0,
            item(&written[8..written.len() - 1])
        );
    }
}
