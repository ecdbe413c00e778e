//! Conditional writes: a repair says what it expects to find, so that it never overwrites what it has not seen.

use super::compare::Ignore;
use super::key::{Key, KeySchema};
use super::value::{Item, Value};

/// Most terms one condition has.
///
/// An expression holds at most 300 operators and 4 KB of text (Amazon DynamoDB Developer Guide, "Constraints",
/// Expression parameters); a term takes two operators with its `AND`, and up to 30 bytes. What goes beyond is looked at
/// right before the write instead; see [`Guard::Part`].
pub const MAX_TERMS: usize = 120;

/// One thing that must hold of the item under the key, or nothing is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Term {
    /// The attribute is there.
    Exists(String),
    /// The attribute is not there.
    NotExists(String),
    /// The attribute has this value.
    Equals(String, Value),
    /// The attribute is not there, or is less than this value and of its type.
    LessOrAbsent(String, Value),
    /// The attribute is not there, or is at most this value and of its type.
    AtMostOrAbsent(String, Value),
}

/// How much of what was seen a condition holds on to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// All that counts.
    Whole,
    /// So many of so many attributes; an expression holds no more.
    Part {
        /// Attributes in the condition.
        checked: usize,
        /// Attributes that count.
        of: usize,
    },
}

/// All terms must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// The terms.
    pub terms: Vec<Term>,
}

/// One write to one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Puts the whole item.
    Put(Item),
    /// Deletes the item under the key.
    Delete(Key),
}

impl Condition {
    /// No item may be there yet.
    #[must_use]
    pub fn absent(schema: &KeySchema) -> Self {
        Self { terms: vec![Term::NotExists(schema.partition.name.clone())] }
    }

    /// The item must still be as it was seen.
    ///
    /// Attributes that differ from `master` come first, and what is ignored is left out, because it may change at
    /// any time. Beyond [`MAX_TERMS`] attributes the rest are not checked, and the guard says so.
    #[must_use]
    pub fn unchanged(schema: &KeySchema, seen: &Item, master: Option<&Item>, ignore: &Ignore) -> (Self, Guard) {
        let names: std::collections::BTreeSet<&String> =
            seen.keys().chain(master.into_iter().flat_map(|item| item.keys())).collect();
        let is_key = |name: &str| schema.names().any(|key| key == name);
        let counts = |name: &str| !is_key(name) && !ignore.covers_attribute(name) && !ignore.reaches_into(name);
        let differs = |name: &str| master.is_none_or(|master| master.get(name) != seen.get(name));
        let (differing, same): (Vec<&String>, Vec<&String>) =
            names.into_iter().filter(|name| counts(name)).partition(|name| differs(name));
        let still = differing.into_iter().chain(same).map(|name| match seen.get(name) {
            Some(value) => Term::Equals(name.clone(), value.clone()),
            None => Term::NotExists(name.clone()),
        });
        let mut terms = vec![Term::Exists(schema.partition.name.clone())];
        terms.extend(still);
        let of = terms.len() - 1;
        terms.truncate(MAX_TERMS);
        let checked = terms.len() - 1;
        (Self { terms }, if checked == of { Guard::Whole } else { Guard::Part { checked, of } })
    }

    /// The item must still be there, and its version be lower than this one, or absent.
    #[must_use]
    pub fn older(schema: &KeySchema, version_attribute: &str, than: &Value) -> Self {
        let exists = Term::Exists(schema.partition.name.clone());
        Self { terms: vec![exists, Term::LessOrAbsent(version_attribute.to_owned(), than.clone())] }
    }

    /// Both must hold.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        let more = other.terms.into_iter().filter(|term| !self.terms.contains(term)).collect::<Vec<_>>();
        self.terms.extend(more);
        self
    }

    /// Whether the condition holds of what is there now.
    #[must_use]
    pub fn holds(&self, current: Option<&Item>) -> bool {
        let value = |name: &String| current.and_then(|item| item.get(name));
        self.terms.iter().all(|term| match term {
            Term::Exists(name) => value(name).is_some(),
            Term::NotExists(name) => value(name).is_none(),
            Term::Equals(name, expected) => value(name) == Some(expected),
            Term::LessOrAbsent(name, bound) => value(name).is_none_or(|value| is_less(value, bound)),
            Term::AtMostOrAbsent(name, bound) => {
                value(name).is_none_or(|value| is_less(value, bound) || value == bound)
            }
        })
    }
}

/// Values of different types are neither less nor more.
fn is_less(value: &Value, bound: &Value) -> bool {
    match (value, bound) {
        (Value::N(value), Value::N(bound)) => value < bound,
        (Value::S(value), Value::S(bound)) => value < bound,
        (Value::B(value), Value::B(bound)) => value < bound,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::key::{KeyAttribute, KeyType};

    fn schema() -> KeySchema {
        KeySchema { partition: KeyAttribute { name: "id".into(), kind: KeyType::S }, sort: None }
    }

    fn item(attributes: &[(&str, &str)]) -> Item {
        attributes.iter().map(|&(name, value)| (name.to_owned(), Value::S(value.to_owned()))).collect()
    }

    #[test]
    fn absent_holds_only_while_nothing_is_there() {
        let condition = Condition::absent(&schema());

        assert!(condition.holds(None));
        assert!(!condition.holds(Some(&item(&[("id", "1")]))));
    }

    #[test]
    fn unchanged_notices_every_change_that_counts() {
        let seen = item(&[("id", "1"), ("a", "old"), ("b", "same"), ("skip", "x")]);
        let master = item(&[("id", "1"), ("a", "new"), ("b", "same"), ("c", "added")]);
        let (condition, guard) = Condition::unchanged(&schema(), &seen, Some(&master), &Ignore::new(&["skip".into()]));

        assert_eq!(guard, Guard::Whole);
        assert!(condition.holds(Some(&seen)));
        assert!(condition.holds(Some(&item(&[("id", "1"), ("a", "old"), ("b", "same"), ("skip", "y")]))));
        assert!(!condition.holds(None));
        assert!(!condition.holds(Some(&item(&[("id", "1"), ("a", "newer"), ("b", "same")]))));
        assert!(!condition.holds(Some(&item(&[("id", "1"), ("a", "old"), ("b", "other")]))));
        assert!(!condition.holds(Some(&item(&[("id", "1"), ("a", "old"), ("b", "same"), ("c", "added")]))));
    }

    #[test]
    fn what_differs_is_checked_first_when_there_are_too_many_attributes() {
        let wide: Vec<(String, String)> = (0..300).map(|n| (format!("a{n:03}"), "x".to_owned())).collect();
        let seen: Item = wide.iter().map(|(name, value)| (name.clone(), Value::S(value.clone()))).collect();
        let mut master = seen.clone();
        master.insert("a299".into(), Value::Null);
        let (condition, guard) = Condition::unchanged(&schema(), &seen, Some(&master), &Ignore::default());

        assert_eq!(guard, Guard::Part { checked: MAX_TERMS - 1, of: 300 });
        assert_eq!(condition.terms.len(), MAX_TERMS);
        assert_eq!(condition.terms[1], Term::Equals("a299".into(), Value::S("x".into())));
    }

    #[test]
    fn older_holds_only_of_what_is_there_and_of_a_lower_version() {
        let versioned = |version: &str| item(&[("id", "1"), ("v", version)]);
        let condition = Condition::older(&schema(), "v", &Value::S("5".into()));

        assert!(condition.holds(Some(&versioned("4"))));
        assert!(condition.holds(Some(&item(&[("id", "1")]))));
        assert!(!condition.holds(Some(&versioned("5"))));
        assert!(!condition.holds(Some(&versioned("6"))));
        assert!(
            !condition.holds(Some(&[("id".to_owned(), Value::S("1".into())), ("v".to_owned(), Value::Null)].into()))
        );
        assert!(!condition.holds(None));
    }
}
