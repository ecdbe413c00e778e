//! What differs between two items, as attribute paths, after the ignore rules.

use std::collections::BTreeMap;

use super::value::{Item, Value};

/// Attributes that legacy global tables (2017.11.29) maintain themselves, each region on its own.
///
/// Source: Amazon DynamoDB Developer Guide, "Global tables version 2017.11.29".
const GLOBAL_TABLE_PREFIX: &str = "aws:rep:";

/// Which attributes do not count when items are compared.
///
/// A rule is a top-level attribute (`lastModified`) or a path (`meta.updatedAt`, `events[0].at`), and covers
/// everything below it. A rule also covers a top-level attribute whose name is literally the rule, dots included.
/// Attributes that begin with `aws:rep:` never count.
#[derive(Clone, Debug, Default)]
pub struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    literal: String,
    steps: Vec<Step>,
}

/// One step of the way from an item to a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// To the attribute of this name.
    Name(String),
    /// To the member of a list.
    Index(usize),
}

impl Ignore {
    /// Reads the rules; a rule that is no path is taken as the literal name of a top-level attribute.
    #[must_use]
    pub fn new(rules: &[String]) -> Self {
        let rules = rules.iter().map(|rule| Rule { literal: rule.clone(), steps: steps(rule) }).collect();
        Self { rules }
    }

    /// Whether this top-level attribute as a whole does not count.
    #[inline]
    #[must_use]
    pub fn covers_attribute(&self, name: &str) -> bool {
        name.starts_with(GLOBAL_TABLE_PREFIX)
            || self
                .rules
                .iter()
                .any(|rule| rule.literal == name || matches!(rule.steps.as_slice(), [Step::Name(only)] if only == name))
    }

    /// Whether something below this top-level attribute does not count.
    #[inline]
    #[must_use]
    pub fn reaches_into(&self, name: &str) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.steps.len() > 1 && matches!(rule.steps.first(), Some(Step::Name(first)) if first == name))
    }

    /// Whether exactly this path does not count.
    pub(super) fn covers(&self, path: &[Step]) -> bool {
        self.rules.iter().any(|rule| rule.steps == path)
    }
}

/// Leaves out what the table service itself maintains; a repair writes the rest.
#[must_use]
pub fn without_global_table_attributes(item: &Item) -> Item {
    item.iter()
        .filter(|(name, _)| !name.starts_with(GLOBAL_TABLE_PREFIX))
        .map(|(n, v)| (n.clone(), v.clone()))
        .collect()
}

/// The paths at which two items differ, sorted; empty when they are equal under the ignore rules.
#[must_use]
pub fn differing_paths(master: &Item, slave: &Item, ignore: &Ignore) -> Vec<String> {
    let mut found = Vec::new();
    for (name, master, slave) in pairs(master, slave) {
        if master == slave || ignore.covers_attribute(name) {
            continue;
        }
        walk(&mut vec![Step::Name(name.to_owned())], master, slave, ignore, &mut found);
    }
    found.sort();
    found
}

fn walk(path: &mut Vec<Step>, master: Option<&Value>, slave: Option<&Value>, ignore: &Ignore, found: &mut Vec<String>) {
    if master == slave || ignore.covers(path) {
        return;
    }
    match (master, slave) {
        (Some(Value::M(master)), Some(Value::M(slave))) => {
            for (name, master, slave) in pairs(master, slave) {
                path.push(Step::Name(name.to_owned()));
                walk(path, master, slave, ignore, found);
                path.pop();
            }
        }
        (Some(Value::L(master)), Some(Value::L(slave))) => {
            for index in 0..master.len().max(slave.len()) {
                path.push(Step::Index(index));
                walk(path, master.get(index), slave.get(index), ignore, found);
                path.pop();
            }
        }
        _ => found.push(text(path)),
    }
}

fn pairs<'a>(
    master: &'a BTreeMap<String, Value>,
    slave: &'a BTreeMap<String, Value>,
) -> impl Iterator<Item = (&'a str, Option<&'a Value>, Option<&'a Value>)> {
    let of_master = master.iter().map(|(name, value)| (name.as_str(), Some(value), slave.get(name)));
    let only_slave = slave.iter().filter(|(name, _)| !master.contains_key(*name));
    of_master.chain(only_slave.map(|(name, value)| (name.as_str(), None, Some(value))))
}

fn text(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Name(name) if text.is_empty() => text.push_str(name),
            Step::Name(name) => {
                text.push('.');
                text.push_str(name);
            }
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

fn steps(rule: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for part in rule.split('.') {
        let (name, indexes) = part.split_once('[').map_or((part, None), |(name, rest)| (name, Some(rest)));
        let parsed: Option<Vec<usize>> = match indexes {
            None => Some(Vec::new()),
            Some(rest) => {
                rest.strip_suffix(']').and_then(|rest| rest.split("][").map(|index| index.parse().ok()).collect())
            }
        };
        match parsed {
            Some(indexes) if !name.is_empty() => {
                steps.push(Step::Name(name.to_owned()));
                steps.extend(indexes.into_iter().map(Step::Index));
            }
            _ => return vec![Step::Name(rule.to_owned())],
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::domain::json::item_from_json;

    fn differing(master: Json, slave: Json, ignore: &[&str]) -> Vec<String> {
        let ignore = Ignore::new(&ignore.iter().map(|&rule| rule.to_owned()).collect::<Vec<_>>());
        differing_paths(&item_from_json(&master).unwrap(), &item_from_json(&slave).unwrap(), &ignore)
    }

    #[test]
    fn paths_lead_to_the_smallest_part_that_differs() {
        let master = json!({
            "id": {"S": "1"}, "name": {"S": "a"}, "only_master": {"NULL": true},
            "meta": {"M": {"by": {"S": "x"}, "at": {"N": "1"}, "deep": {"M": {"x": {"BOOL": true}}}}},
            "tags": {"L": [{"S": "same"}, {"S": "one"}, {"S": "more"}]}, "set": {"SS": ["a", "b"]},
        });
        let slave = json!({
            "id": {"S": "1"}, "name": {"S": "b"}, "only_slave": {"NULL": true},
            "meta": {"M": {"by": {"S": "x"}, "at": {"N": "2"}, "deep": {"M": {"x": {"BOOL": false}}}}},
            "tags": {"L": [{"S": "same"}, {"S": "two"}]}, "set": {"SS": ["b", "a"]},
        });

        assert_eq!(
            differing(master, slave, &[]),
            ["meta.at", "meta.deep.x", "name", "only_master", "only_slave", "tags[1]", "tags[2]"]
        );
    }

    #[test]
    fn a_change_of_type_is_a_difference() {
        for (one, two) in [
            (json!({"S": "1"}), json!({"N": "1"})),
            (json!({"SS": ["a"]}), json!({"L": [{"S": "a"}]})),
            (json!({"SS": ["1"]}), json!({"NS": ["1"]})),
            (json!({"B": "AQ=="}), json!({"S": "AQ=="})),
            (json!({"M": {}}), json!({"L": []})),
            (json!({"NULL": true}), json!({"BOOL": true})),
        ] {
            assert_eq!(differing(json!({ "a": one }), json!({ "a": two }), &[]), ["a"]);
        }
        assert_eq!(differing(json!({"a": {"NULL": true}}), json!({}), &[]), ["a"]);
    }

    #[test]
    fn ignored_attributes_and_paths_do_not_count() {
        let master = json!({"a": {"S": "1"}, "m": {"M": {"x": {"N": "1"}, "y": {"N": "1"}}}, "l": {"L": [{"M": {"t": {"N": "1"}}}]}});
        let slave = json!({"a": {"S": "2"}, "m": {"M": {"x": {"N": "2"}, "y": {"N": "2"}}}, "l": {"L": [{"M": {"t": {"N": "2"}}}]}});

        assert_eq!(differing(master.clone(), slave.clone(), &["a", "m.x"]), ["l[0].t", "m.y"]);
        assert_eq!(differing(master.clone(), slave.clone(), &["a", "m", "l[0].t"]), [""; 0]);
        assert_eq!(differing(master, slave, &["m.x.deeper", "l[1].t"]), ["a", "l[0].t", "m.x", "m.y"]);
    }

    #[test]
    fn a_rule_may_be_the_literal_name_of_an_attribute() {
        let (master, slave) =
            (json!({"meta.at": {"N": "1"}, "odd[": {"N": "1"}}), json!({"meta.at": {"N": "2"}, "odd[": {"N": "2"}}));

        assert_eq!(differing(master.clone(), slave.clone(), &["meta.at"]), ["odd["]);
        assert_eq!(differing(master, slave, &["meta.at", "odd["]), [""; 0]);
    }

    #[test]
    fn what_global_tables_maintain_never_counts_and_is_never_written() {
        let master = json!({"id": {"S": "1"}, "aws:rep:updatetime": {"N": "1"}});
        let slave = json!({"id": {"S": "1"}, "aws:rep:deleting": {"BOOL": false}});

        assert_eq!(differing(master.clone(), slave, &[]), [""; 0]);
        let written = without_global_table_attributes(&item_from_json(&master).unwrap());
        assert_eq!(written.keys().collect::<Vec<_>>(), ["id"]);
    }
}
