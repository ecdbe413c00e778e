//! Which of two images of an item is newer, by the attribute that the application counts its versions in.

use std::cmp::Ordering;

use super::value::{Item, Value};

/// How the slave's version stands to the master's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// The slave's is lower, or it has none and the master has one.
    SlaveIsOlder,
    /// They are equal, or neither has one.
    Same,
    /// The slave's is higher, or it has one and the master has none.
    SlaveIsNewer,
    /// They are of different types, or of a type that is no version.
    Incomparable,
}

/// Holds the versions of two images against each other: numbers by value, strings by their UTF-8 bytes, as DynamoDB
/// orders them.
#[must_use]
pub fn compare_versions(attribute: &str, master: &Item, slave: &Item) -> Versions {
    let is_version = |value: &&Value| matches!(value, Value::N(_) | Value::S(_));
    let (of_master, of_slave) = (master.get(attribute), slave.get(attribute));
    if of_master.iter().chain(&of_slave).any(|value| !is_version(value)) {
        return Versions::Incomparable;
    }
    let order = match (of_slave, of_master) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(Value::N(slave)), Some(Value::N(master))) => slave.cmp(master),
        (Some(Value::S(slave)), Some(Value::S(master))) => slave.cmp(master),
        (Some(_), Some(_)) => return Versions::Incomparable,
    };
    match order {
        Ordering::Less => Versions::SlaveIsOlder,
        Ordering::Equal => Versions::Same,
        Ordering::Greater => Versions::SlaveIsNewer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::number::Number;

    fn of(value: Option<Value>) -> Item {
        value.map(|value| ("v".to_owned(), value)).into_iter().collect()
    }

    fn n(text: &str) -> Option<Value> {
        Some(Value::N(Number::parse(text).unwrap()))
    }

    fn s(text: &str) -> Option<Value> {
        Some(Value::S(text.to_owned()))
    }

    #[test]
    fn versions_compare_by_value_and_never_across_types() {
        for (master, slave, expected) in [
            (n("10"), n("9"), Versions::SlaveIsOlder),
            (n("9"), n("10"), Versions::SlaveIsNewer),
            (n("1e2"), n("100.0"), Versions::Same),
            (n("-2"), n("-3"), Versions::SlaveIsOlder),
            (n("123456789012345678901234567890.2"), n("123456789012345678901234567890.1"), Versions::SlaveIsOlder),
            (s("2026-11-20"), s("2026-11-19"), Versions::SlaveIsOlder),
            (s("a"), s("b"), Versions::SlaveIsNewer),
            (s("a"), s("a"), Versions::Same),
            (n("1"), None, Versions::SlaveIsOlder),
            (None, n("1"), Versions::SlaveIsNewer),
            (None, None, Versions::Same),
            (n("2"), s("1"), Versions::Incomparable),
            (Some(Value::Bool(true)), n("1"), Versions::Incomparable),
            (None, Some(Value::Null), Versions::Incomparable),
        ] {
            assert_eq!(
                compare_versions("v", &of(master.clone()), &of(slave.clone())),
                expected,
                "{master:?} {slave:?}"
            );
        }
    }
}
