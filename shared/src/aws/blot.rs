//! Values of items in the service's error messages, blotted out: messages go to logs and reports, and values do not.
//!
//! DynamoDB quotes what it refuses ("cannot be converted to a numeric value: …", "Input collection […] contains
//! duplicates").

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::classify::one_line;
use crate::domain::condition::{Condition, Term, Write};
use crate::domain::value::{Item, Value};
use crate::ports::failure::Failure;

/// What stands for a value.
const BLOT: &str = "[value]";

/// Shorter values are blotted out only as whole words: they are parts of too many others.
const LONG: usize = 6;

/// The failure of a write, without the values that it was to write or expected.
pub(super) fn blotted(failure: Failure, write: &Write, condition: &Condition) -> Failure {
    let mut values = Vec::new();
    match write {
        Write::Put(item) => of_item(item, &mut values),
        Write::Delete(key) => of_item(&key.to_item(), &mut values),
    }
    for term in &condition.terms {
        match term {
            Term::Equals(_, value) | Term::LessOrAbsent(_, value) | Term::AtMostOrAbsent(_, value) => {
                of_value(value, &mut values)
            }
            Term::Exists(_) | Term::NotExists(_) => {}
        }
    }
    blotted_of(failure, values)
}

/// The same for many writes at once.
pub(super) fn blotted_batch(failure: Failure, writes: &[Write]) -> Failure {
    writes.iter().fold(failure, |failure, write| blotted(failure, write, &Condition::default()))
}

fn blotted_of(failure: Failure, mut values: Vec<String>) -> Failure {
    // Longer ones first: one may be a part of another.
    values.sort_unstable_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
    values.dedup();
    let message = values.iter().fold(failure.message, |message, value| without(message, value));
    Failure { message, ..failure }
}

fn of_item(item: &Item, values: &mut Vec<String>) {
    item.values().for_each(|value| of_value(value, values));
}

/// Every text in which the service could quote the value, folded to one line as its messages are.
fn of_value(value: &Value, values: &mut Vec<String>) {
    let mut add = |text: &str| {
        values.push(one_line(text));
        values.push(text.split_whitespace().collect::<Vec<_>>().join(" "));
    };
    let bytes = |bytes: &Vec<u8>| [BASE64.encode(bytes), String::from_utf8_lossy(bytes).into_owned()];
    match value {
        Value::S(text) => add(text),
        Value::N(number) => add(number.text()),
        Value::B(binary) => bytes(binary).iter().for_each(|text| add(text)),
        Value::Ss(members) => members.iter().for_each(|member| add(member)),
        Value::Ns(members) => members.iter().for_each(|member| add(member.text())),
        Value::Bs(members) => members.iter().flat_map(bytes).for_each(|text| add(&text)),
        Value::L(inner) => inner.iter().for_each(|value| of_value(value, values)),
        Value::M(inner) => inner.values().for_each(|value| of_value(value, values)),
        Value::Bool(_) | Value::Null => {}
    }
}

fn without(message: String, value: &str) -> String {
    if value.is_empty() || !message.contains(value) {
        return message;
    }
    let in_word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let mut kept = String::with_capacity(message.len());
    let mut rest = message.as_str();
    while let Some(at) = rest.find(value) {
        let (before, after) = (&rest[..at], &rest[at + value.len()..]);
        let is_word =
            !in_word(before.chars().next_back().or_else(|| kept.chars().next_back())) && !in_word(after.chars().next());
        kept.push_str(before);
        kept.push_str(if is_word || value.chars().count() >= LONG { BLOT } else { value });
        rest = after;
    }
    kept + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::number::Number;
    use crate::ports::failure::FailureKind;

    fn text(value: &str) -> Value {
        Value::S(value.to_owned())
    }

    fn blot(message: &str, values: impl IntoIterator<Item = Value>) -> String {
        let item = (0..).zip(values).map(|(n, value)| (format!("a{n}"), value)).collect();
        let failure = Failure {
            kind: FailureKind::Invalid,
            operation: "PutItem",
            resource: "table `a`".to_owned(),
            message: message.to_owned(),
        };
        blotted(failure, &Write::Put(item), &Condition::default()).message
    }

    #[test]
    fn values_of_every_type_and_depth_are_blotted_out() {
        let number = |digits: &str| Number::parse(digits).unwrap();
        let values = [
            text("secret-s"),
            Value::N(number("-918273.50")),
            Value::B(b"secret-b".to_vec()),
            Value::Ss(vec!["secret-ss".into()]),
            Value::Ns(vec![number("777"), number("1E+3")]),
            Value::Bs(vec![b"secret-bs".to_vec()]),
            Value::M([("inner".to_owned(), Value::L(vec![text("secret  deep\nvalue")]))].into()),
        ];
        let message = "got secret-s, [secret-ss, secret-ss], -918273.50, (777), 1E+3, secret deep value, \
            c2VjcmV0LWI=, secret-b, c2VjcmV0LWJz and asecret-sb";

        let blotted = blot(message, values);

        let expected = "got [value], [[value], [value]], [value], ([value]), [value], [value], [value], [value], \
            [value] and a[value]b";
        assert_eq!(blotted, expected);
    }

    #[test]
    fn short_values_leave_the_words_around_them_alone() {
        let message = "one or more parameter values were invalid: a, 1 and é are no values";

        let blotted = blot(message, [text("a"), text("1"), text("é"), text(""), text("or"), Value::Bool(true)]);

        let expected = "one [value] more parameter values were invalid: [value], [value] and [value] are no values";
        assert_eq!(blotted, expected);
    }

    #[test]
    fn what_a_condition_expected_is_blotted_out_too() {
        let failure = Failure {
            kind: FailureKind::Invalid,
            operation: "PutItem",
            resource: "table `a`".to_owned(),
            message: "expected OLD-VALUE".to_owned(),
        };
        let condition = Condition { terms: vec![Term::Equals("a".into(), text("OLD-VALUE"))] };

        assert_eq!(blotted(failure, &Write::Put(Item::new()), &condition).message, "expected [value]");
    }
}
