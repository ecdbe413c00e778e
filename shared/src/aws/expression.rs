//! Conditions and projections in DynamoDB's expression language, always by placeholder: names may be reserved words.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use super::convert::value_to_sdk;
use crate::domain::condition::{Condition, Term};
use crate::ports::table::Content;

/// The key attributes, or everything.
pub(super) fn projection(content: &Content) -> (Option<String>, Option<HashMap<String, String>>) {
    match content {
        Content::Items => (None, None),
        Content::Keys(schema) => {
            let names: HashMap<String, String> =
                schema.names().enumerate().map(|(n, name)| (format!("#k{n}"), name.to_owned())).collect();
            let placeholders: Vec<String> = (0..names.len()).map(|n| format!("#k{n}")).collect();
            (Some(placeholders.join(", ")), Some(names))
        }
    }
}

/// A condition as the service reads it; empty when nothing is asked.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Expression {
    pub(super) text: Option<String>,
    pub(super) names: Option<HashMap<String, String>>,
    pub(super) values: Option<HashMap<String, AttributeValue>>,
}

impl Expression {
    pub(super) fn of(condition: &Condition) -> Self {
        let mut names = HashMap::new();
        let mut values = HashMap::new();
        let mut terms = Vec::with_capacity(condition.terms.len());
        for (n, term) in condition.terms.iter().enumerate() {
            let (Term::Exists(name)
            | Term::NotExists(name)
            | Term::Equals(name, _)
            | Term::LessOrAbsent(name, _)
            | Term::AtMostOrAbsent(name, _)) = term;
            names.insert(format!("#n{n}"), name.clone());
            terms.push(match term {
                Term::Exists(_) => format!("attribute_exists(#n{n})"),
                Term::NotExists(_) => format!("attribute_not_exists(#n{n})"),
                Term::Equals(_, value) => {
                    values.insert(format!(":v{n}"), value_to_sdk(value));
                    format!("#n{n} = :v{n}")
                }
                Term::LessOrAbsent(_, value) => {
                    values.insert(format!(":v{n}"), value_to_sdk(value));
                    format!("(attribute_not_exists(#n{n}) OR #n{n} < :v{n})")
                }
                Term::AtMostOrAbsent(_, value) => {
                    values.insert(format!(":v{n}"), value_to_sdk(value));
                    format!("(attribute_not_exists(#n{n}) OR #n{n} <= :v{n})")
                }
            });
        }
        Self {
            text: (!terms.is_empty()).then(|| terms.join(" AND ")),
            names: (!names.is_empty()).then_some(names),
            values: (!values.is_empty()).then_some(values),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::value::Value;

    #[test]
    fn no_condition_is_no_expression() {
        assert_eq!(Expression::of(&Condition::default()), Expression::default());
        let terms = vec![
            Term::Exists("name".into()),
            Term::NotExists("size".into()),
            Term::Equals("s".into(), Value::Null),
            Term::LessOrAbsent("v".into(), Value::S("2".into())),
        ];
        let expression = Expression::of(&Condition { terms });
        let text = "attribute_exists(#n0) AND attribute_not_exists(#n1) AND #n2 = :v2 \
            AND (attribute_not_exists(#n3) OR #n3 < :v3)";
        assert_eq!(expression.text.as_deref(), Some(text));
        assert_eq!(expression.names.unwrap().len(), 4);
        assert_eq!(expression.values.unwrap().len(), 2);
    }
}
