//! How a table is written: `region:name`, `region/name`, or its ARN.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A table in a region, and in another account when it was given as an ARN.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TableRef {
    region: String,
    name: String,
    arn: Option<String>,
}

/// A text that names no table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` names no table: {what}")]
pub struct BadTableRef {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub what: &'static str,
}

/// Most characters a table name has.
///
/// Source: Amazon DynamoDB API Reference, CreateTable, TableName.
const MAX_NAME_LENGTH: usize = 255;

impl TableRef {
    /// The region.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The bare table name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What goes into a request's `TableName`: the ARN when one was given, because the table may be another account's.
    #[must_use]
    pub fn request_name(&self) -> &str {
        self.arn.as_deref().unwrap_or(&self.name)
    }

    /// Whether the region looks like one of AWS's (`us-east-1`, `us-gov-west-1`); emulators take any other name.
    #[must_use]
    pub fn has_aws_region(&self) -> bool {
        let parts: Vec<&str> = self.region.split('-').collect();
        let [area, direction @ .., number] = parts.as_slice() else { return false };
        let letters = |part: &&str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        area.len() >= 2
            && area.bytes().all(|byte| byte.is_ascii_lowercase())
            && !direction.is_empty()
            && direction.iter().all(letters)
            && !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit())
    }
}

impl FromStr for TableRef {
    type Err = BadTableRef;

    fn from_str(text: &str) -> Result<Self, BadTableRef> {
        let bad = |what| BadTableRef { text: text.to_owned(), what };
        let (region, name, arn) = if text.starts_with("arn:") {
            let mut parts = text.splitn(6, ':');
            let (Some("arn"), Some(_), Some("dynamodb"), Some(region), Some(_), Some(resource)) =
                (parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
            else {
                return Err(bad("an ARN is expected as arn:aws:dynamodb:REGION:ACCOUNT:table/NAME"));
            };
            let name = resource.strip_prefix("table/").ok_or_else(|| bad("the ARN is not that of a table"))?;
            (region, name, Some(text.to_owned()))
        } else {
            let (region, name) = text
                .split_once([':', '/'])
                .ok_or_else(|| bad("a table is written REGION:NAME, REGION/NAME or as its ARN"))?;
            (region, name, None)
        };
        if region.is_empty() || !region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(bad("the region is empty or has characters that no region has"));
        }
        let in_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        if name.len() < 3 || name.len() > MAX_NAME_LENGTH || !name.bytes().all(in_name) {
            return Err(bad("a table name has 3 to 255 characters out of a-z, A-Z, 0-9, `_`, `-` and `.`"));
        }
        Ok(Self { region: region.to_owned(), name: name.to_owned(), arn })
    }
}

impl fmt::Display for TableRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.arn {
            Some(arn) => f.write_str(arn),
            None => write!(f, "{}:{}", self.region, self.name),
        }
    }
}

impl TryFrom<String> for TableRef {
    type Error = BadTableRef;

    fn try_from(text: String) -> Result<Self, BadTableRef> {
        text.parse()
    }
}

impl From<TableRef> for String {
    fn from(table: TableRef) -> Self {
        table.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_spellings_are_understood() {
        for text in ["us-east-1:orders", "us-east-1/orders", "arn:aws:dynamodb:us-east-1:123456789012:table/orders"] {
            let table: TableRef = text.parse().unwrap();

            assert_eq!((table.region(), table.name()), ("us-east-1", "orders"), "{text}");
            assert_eq!(table.to_string().parse::<TableRef>().unwrap(), table);
        }
        assert_eq!("us-east-1/orders".parse::<TableRef>().unwrap().to_string(), "us-east-1:orders");
        let arn = "arn:aws:dynamodb:us-east-1:123456789012:table/orders";
        assert_eq!(arn.parse::<TableRef>().unwrap().request_name(), arn);
    }

    #[test]
    fn what_names_no_table_is_refused() {
        for text in [
            "",
            "orders",
            ":orders",
            "us-east-1:",
            "us-east-1:ab",
            "us-east-1:or ders",
            "us east:orders",
            "us-east-1:a/b",
            "arn:aws:s3:::bucket",
            "arn:aws:dynamodb:us-east-1:1:index/orders",
            "arn:aws:dynamodb:us-east-1",
        ] {
            assert!(text.parse::<TableRef>().is_err(), "{text}");
        }
    }

    #[test]
    fn regions_of_aws_are_recognised_by_their_form() {
        for (region, known) in [
            ("us-east-1", true),
            ("ap-southeast-2", true),
            ("us-gov-west-1", true),
            ("us-iso-east-1", true),
            ("local", false),
            ("us-east", false),
            ("us-1", false),
            ("US-EAST-1", false),
            ("useast1", false),
        ] {
            assert_eq!(format!("{region}:orders").parse::<TableRef>().unwrap().has_aws_region(), known, "{region}");
        }
    }
}
