//! What AWS calls a thing in full: partition, service, region, account and name.

use std::fmt;
use std::str::FromStr;

/// The partitions that are not `aws`, by what the names of their regions begin with.
///
/// Source: AWS SDK, partitions.json.
const PARTITIONS: [(&str, &str); 7] = [
    ("cn-", "aws-cn"),
    ("us-gov-", "aws-us-gov"),
    ("us-iso-", "aws-iso"),
    ("us-isob-", "aws-iso-b"),
    ("eu-isoe-", "aws-iso-e"),
    ("us-isof-", "aws-iso-f"),
    ("eusc-", "aws-eusc"),
];

/// Digits of an account's id.
///
/// Source: AWS Account Management Reference Guide, "AWS account identifiers".
const ACCOUNT_DIGITS: usize = 12;

/// The partition that a region is in.
#[must_use]
pub fn partition_of(region: &str) -> &'static str {
    PARTITIONS.iter().find(|(begin, _)| region.starts_with(begin)).map_or("aws", |(_, partition)| partition)
}

/// The id of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account(String);

/// A text that is no account's id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an account's id has 12 digits, such as 111122223333")]
pub struct BadAccount;

impl FromStr for Account {
    type Err = BadAccount;

    fn from_str(text: &str) -> Result<Self, BadAccount> {
        let is_one = text.len() == ACCOUNT_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
        if is_one { Ok(Self(text.to_owned())) } else { Err(BadAccount) }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What kind of thing has the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A table of DynamoDB.
    Table,
    /// A queue of SQS.
    Queue,
    /// A Kinesis data stream.
    Stream,
    /// A role of IAM.
    Role,
    /// A key of KMS; not an alias, which policies do not know as a resource.
    Key,
}

impl Kind {
    /// The service, what the resource begins with, and what that is an example of.
    fn form(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Table => ("dynamodb", "table/", "arn:aws:dynamodb:REGION:ACCOUNT:table/NAME"),
            Self::Queue => ("sqs", "", "arn:aws:sqs:REGION:ACCOUNT:NAME"),
            Self::Stream => ("kinesis", "stream/", "arn:aws:kinesis:REGION:ACCOUNT:stream/NAME"),
            Self::Role => ("iam", "role/", "arn:aws:iam::ACCOUNT:role/NAME"),
            Self::Key => ("kms", "key/", "arn:aws:kms:REGION:ACCOUNT:key/ID"),
        }
    }
}

/// The full name of one thing; it has no wildcards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arn {
    kind: Kind,
    partition: String,
    region: String,
    account: Account,
    name: String,
}

/// A text that is not the full name of such a thing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not written as {form}: {what}")]
pub struct BadArn {
    /// What was given.
    pub text: String,
    /// How it should look.
    pub form: &'static str,
    /// What is wrong with it.
    pub what: String,
}

impl Arn {
    /// Reads the full name of a thing of this kind.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str, kind: Kind) -> Result<Self, BadArn> {
        let (service, begin, form) = kind.form();
        let bad = |what: &str| BadArn { text: text.to_owned(), form, what: what.to_owned() };
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let ["arn", partition, of_service, region, account, resource] = parts.as_slice() else {
            return Err(bad("it has not six parts with `arn` for the first"));
        };
        if *of_service != service {
            return Err(bad("it is of another service"));
        }
        let account = account.parse().map_err(|error: BadAccount| bad(&error.to_string()))?;
        let plain =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if !partition.starts_with("aws") || !plain(partition) || !plain(region) {
            return Err(bad("partition or region has characters that none has"));
        }
        match kind {
            Kind::Role if !region.is_empty() => return Err(bad("a role has no region")),
            Kind::Role => {}
            _ if region.is_empty() => return Err(bad("the region is missing")),
            _ if partition_of(region) != *partition => {
                return Err(bad(&format!("{region} is in the partition {}", partition_of(region))));
            }
            _ => {}
        }
        let Some(name) = resource.strip_prefix(begin) else {
            return Err(bad("it is of another kind"));
        };
        let in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
        let parts_allowed = if kind == Kind::Role { usize::MAX } else { 1 };
        let words: Vec<&str> = name.split('/').collect();
        if words.len() > parts_allowed || !words.iter().all(|word| !word.is_empty() && word.bytes().all(in_name)) {
            return Err(bad("the name is empty or has characters that no name has"));
        }
        Ok(Self {
            kind,
            partition: (*partition).to_owned(),
            region: (*region).to_owned(),
            account,
            name: name.to_owned(),
        })
    }

    /// The full name of something by its parts.
    ///
    /// # Errors
    /// When there is no such thing.
    pub fn of(kind: Kind, region: &str, account: &Account, name: &str) -> Result<Self, BadArn> {
        let (service, begin, _) = kind.form();
        Self::parse(&format!("arn:{}:{service}:{region}:{account}:{begin}{name}", partition_of(region)), kind)
    }

    /// The partition.
    #[must_use]
    pub fn partition(&self) -> &str {
        &self.partition
    }

    /// The account.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, partition, region, account, name } = self;
        let (service, begin, _) = kind.form();
        write!(f, "arn:{partition}:{service}:{region}:{account}:{begin}{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_follows_from_the_region() {
        for (region, partition) in [
            ("eu-west-1", "aws"),
            ("us-east-1", "aws"),
            ("cn-north-1", "aws-cn"),
            ("us-gov-west-1", "aws-us-gov"),
            ("us-iso-east-1", "aws-iso"),
            ("us-isob-east-1", "aws-iso-b"),
        ] {
            assert_eq!(partition_of(region), partition, "{region}");
        }
    }

    #[test]
    fn full_names_are_read_and_written_as_they_came() {
        for (text, kind) in [
            ("arn:aws:dynamodb:eu-west-1:111122223333:table/orders.v-2_x", Kind::Table),
            ("arn:aws-cn:sqs:cn-north-1:111122223333:work.fifo", Kind::Queue),
            ("arn:aws:kinesis:eu-west-1:111122223333:stream/changes", Kind::Stream),
            ("arn:aws:iam::111122223333:role/teams/data/reader+1=,.@-_", Kind::Role),
            ("arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/mrk-1234abcd", Kind::Key),
        ] {
            let arn = Arn::parse(text, kind).unwrap();

            assert_eq!(arn.to_string(), text);
            assert_eq!(arn.account().to_string(), "111122223333");
        }
        let account = "111122223333".parse().unwrap();
        let made = Arn::of(Kind::Table, "cn-north-1", &account, "orders").unwrap();
        assert_eq!(made.to_string(), "arn:aws-cn:dynamodb:cn-north-1:111122223333:table/orders");
    }

    #[test]
    fn what_is_no_full_name_of_such_a_thing_is_refused() {
        for (text, kind) in [
            ("", Kind::Queue),
            ("work", Kind::Queue),
            ("arn:aws:sqs:eu-west-1:111122223333", Kind::Queue),
            ("arn:aws:sqs:eu-west-1:111122223333:", Kind::Queue),
            ("arn:aws:sqs:eu-west-1:111122223333:*", Kind::Queue),
            ("arn:aws:sqs:eu-west-1:111122223333:wor?", Kind::Queue),
            ("arn:aws:sqs:eu-west-1:111122223333:a/b", Kind::Queue),
            ("arn:aws:sqs:eu-west-1:1:work", Kind::Queue),
            ("arn:aws:sqs:eu-west-1::work", Kind::Queue),
            ("arn:aws:sqs::111122223333:work", Kind::Queue),
            ("arn:aws:sqs:*:111122223333:work", Kind::Queue),
            ("arn:aws:sqs:cn-north-1:111122223333:work", Kind::Queue),
            ("arn:*:sqs:eu-west-1:111122223333:work", Kind::Queue),
            ("arn:aws:sns:eu-west-1:111122223333:work", Kind::Queue),
            ("arn:aws:kms:eu-west-1:111122223333:alias/jobs", Kind::Key),
            ("arn:aws:iam:eu-west-1:111122223333:role/reader", Kind::Role),
            ("arn:aws:iam::111122223333:user/reader", Kind::Role),
            ("arn:aws:iam::111122223333:role/", Kind::Role),
            ("arn:aws:iam::111122223333:role/*", Kind::Role),
            ("arn:aws:dynamodb:eu-west-1:111122223333:table/orders/stream/2026", Kind::Table),
        ] {
            assert!(Arn::parse(text, kind).is_err(), "{text}");
        }
    }
}
