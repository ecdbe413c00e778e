//! Attribute values and items, with DynamoDB's own equality: sets and maps without order, lists in order.

use std::collections::BTreeMap;

use super::number::Number;

/// One item: its attributes by name.
pub type Item = BTreeMap<String, Value>;

/// One attribute value.
///
/// Equality is DynamoDB's: numbers by value, sets without order, maps without order, lists in order,
/// binary by bytes. Values of different types are never equal.
#[derive(Clone, Debug)]
pub enum Value {
    /// String.
    S(String),
    /// Number.
    N(Number),
    /// Binary.
    B(Vec<u8>),
    /// Boolean.
    Bool(bool),
    /// Null.
    Null,
    /// String set.
    Ss(Vec<String>),
    /// Number set.
    Ns(Vec<Number>),
    /// Binary set.
    Bs(Vec<Vec<u8>>),
    /// List.
    L(Vec<Self>),
    /// Map.
    M(BTreeMap<String, Self>),
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::S(one), Self::S(two)) => one == two,
            (Self::N(one), Self::N(two)) => one == two,
            (Self::B(one), Self::B(two)) => one == two,
            (Self::Bool(one), Self::Bool(two)) => one == two,
            (Self::Null, Self::Null) => true,
            (Self::Ss(one), Self::Ss(two)) => same_members(one, two, Clone::clone),
            (Self::Ns(one), Self::Ns(two)) => same_members(one, two, Number::canonical_text),
            (Self::Bs(one), Self::Bs(two)) => same_members(one, two, Clone::clone),
            (Self::L(one), Self::L(two)) => one == two,
            (Self::M(one), Self::M(two)) => one == two,
            (
                Self::S(_)
                | Self::N(_)
                | Self::B(_)
                | Self::Bool(_)
                | Self::Null
                | Self::Ss(_)
                | Self::Ns(_)
                | Self::Bs(_)
                | Self::L(_)
                | Self::M(_),
                _,
            ) => false,
        }
    }
}

impl Eq for Value {}

fn same_members<T, K: Ord>(one: &[T], two: &[T], key: impl Fn(&T) -> K) -> bool {
    let sorted = |members: &[T]| {
        let mut keys: Vec<K> = members.iter().map(&key).collect();
        keys.sort_unstable();
        keys
    };
    one.len() == two.len() && sorted(one) == sorted(two)
}

/// Bytes an item takes in memory, roughly; used to bound what is held, never for cost.
#[must_use]
pub fn held_bytes(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + value_bytes(value)).sum()
}

fn value_bytes(value: &Value) -> usize {
    /// Size of the enum itself plus what an allocation costs.
    const OVERHEAD: usize = 48;
    OVERHEAD
        + match value {
            Value::S(text) => text.len(),
            Value::N(number) => number.text().len(),
            Value::B(bytes) => bytes.len(),
            Value::Bool(_) | Value::Null => 0,
            Value::Ss(members) => members.iter().map(|member| OVERHEAD + member.len()).sum(),
            Value::Ns(members) => members.iter().map(|member| OVERHEAD + member.text().len()).sum(),
            Value::Bs(members) => members.iter().map(|member| OVERHEAD + member.len()).sum(),
            Value::L(values) => values.iter().map(value_bytes).sum(),
            Value::M(values) => values.iter().map(|(name, value)| name.len() + value_bytes(value)).sum(),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        Number::parse(text).unwrap()
    }

    #[test]
    fn sets_are_equal_in_any_order() {
        assert_eq!(Value::Ss(vec!["a".into(), "b".into()]), Value::Ss(vec!["b".into(), "a".into()]));
        assert_eq!(Value::Ns(vec![number("1"), number("2.0")]), Value::Ns(vec![number("2"), number("1E0")]));
        assert_eq!(Value::Bs(vec![vec![1], vec![2]]), Value::Bs(vec![vec![2], vec![1]]));
        assert_ne!(Value::Ss(vec!["a".into(), "b".into()]), Value::Ss(vec!["a".into(), "c".into()]));
        assert_ne!(Value::Ss(vec!["a".into()]), Value::Ss(vec!["a".into(), "b".into()]));
    }

    #[test]
    fn lists_are_equal_only_in_order() {
        let one = Value::L(vec![Value::Null, Value::Bool(true)]);
        let two = Value::L(vec![Value::Bool(true), Value::Null]);

        assert_ne!(one, two);
        assert_eq!(one, one.clone());
    }

    #[test]
    fn types_never_mix() {
        let values = [
            Value::S("1".into()),
            Value::N(number("1")),
            Value::B(vec![b'1']),
            Value::Bool(true),
            Value::Null,
            Value::Ss(vec!["1".into()]),
            Value::Ns(vec![number("1")]),
            Value::Bs(vec![vec![b'1']]),
            Value::L(vec![Value::S("1".into())]),
            Value::M([("1".to_owned(), Value::S("1".into()))].into()),
        ];
        for (i, one) in values.iter().enumerate() {
            for (j, two) in values.iter().enumerate() {
                assert_eq!(one == two, i == j, "{one:?} and {two:?}");
            }
        }
    }
}
