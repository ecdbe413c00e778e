//! Two ways to vary an item: a change that counts, and another spelling that does not.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::{IndexedMutRandom, IndexedRandom, SliceRandom};
use shared::domain::key::KeySchema;
use shared::domain::number::Number;
use shared::domain::value::{Item, Value};

use crate::oracle::{plain_decimal, value_text};

/// The attribute that [`mutate`] adds.
pub const ADDED: &str = "added by a mutation";

/// Changes one top-level attribute so that the item is no longer equal, and says which; the key stays.
#[must_use]
pub fn mutate(item: &Item, schema: &KeySchema, random: &mut StdRng) -> (Item, String) {
    let names: Vec<&String> = item.keys().filter(|name| !schema.names().any(|key| key == *name)).collect();
    let mut changed = item.clone();
    let name = match names.choose(random) {
        Some(&name) if random.random_bool(0.8) => {
            change(changed.get_mut(name).expect("the name is the item's"), random);
            name.clone()
        }
        Some(&name) if random.random_bool(0.5) => {
            changed.remove(name);
            name.clone()
        }
        _ => {
            add(&mut changed);
            ADDED.to_owned()
        }
    };
    (changed, name)
}

/// The same item in another spelling: sets in another order, numbers written otherwise, in the key too.
#[must_use]
pub fn respell(item: &Item, random: &mut StdRng) -> Item {
    item.iter().map(|(name, value)| (name.clone(), respell_value(value, random))).collect()
}

/// Another spelling of the same number.
#[must_use]
pub fn respell_number(number: &Number, random: &mut StdRng) -> Number {
    let plain = plain_decimal(number.text());
    let (sign, digits) = plain.strip_prefix('-').map_or(("", plain.as_str()), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let text = match random.random_range(0..5) {
        0 => format!("{sign}{whole}.{fraction}0"),
        1 => format!("{sign}00{digits}"),
        2 => format!("{sign}{whole}{fraction}E-{}", fraction.len()),
        3 => format!("{sign}0.{whole}{fraction}e+{}", whole.len()),
        _ => {
            let stripped = whole.trim_end_matches('0');
            match (fraction, stripped) {
                ("", stripped) if !stripped.is_empty() => {
                    format!("{sign}{stripped}E{}", whole.len() - stripped.len())
                }
                _ => plain.clone(),
            }
        }
    };
    Number::parse(&text).unwrap_or_else(|error| panic!("{error}"))
}

/// The numbers that differ in one significant digit; a table can hold them when it can hold this one.
#[must_use]
pub fn one_digit_apart(number: &Number) -> Vec<Number> {
    let text = number.text();
    let mantissa = text.find(['e', 'E']).unwrap_or(text.len());
    let digits = text[..mantissa].match_indices(|symbol: char| symbol.is_ascii_digit());
    let digits: Vec<(usize, &str)> = digits.collect();
    let is_significant = |(_, digit): &(usize, &str)| *digit != "0";
    let first = digits.iter().position(is_significant);
    let last = digits.iter().rposition(is_significant);
    // Of a zero, the last digit.
    let (first, last) = first.zip(last).unwrap_or((digits.len() - 1, digits.len() - 1));
    let changed = digits[first..=last].iter().map(|&(at, digit)| {
        let digit = if digit == "9" { "8".to_owned() } else { char::from(digit.as_bytes()[0] + 1).to_string() };
        Number::parse(&[&text[..at], &digit, &text[at + 1..]].concat()).unwrap_or_else(|error| panic!("{error}"))
    });
    changed.collect()
}

fn respell_value(value: &Value, random: &mut StdRng) -> Value {
    match value {
        Value::N(number) => Value::N(respell_number(number, random)),
        Value::Ss(members) => Value::Ss(shuffled(members.clone(), random)),
        Value::Bs(members) => Value::Bs(shuffled(members.clone(), random)),
        Value::Ns(members) => {
            let respelled = members.iter().map(|member| respell_number(member, random)).collect();
            Value::Ns(shuffled(respelled, random))
        }
        Value::L(values) => Value::L(values.iter().map(|value| respell_value(value, random)).collect()),
        Value::M(values) => Value::M(respell(values, random)),
        Value::S(_) | Value::B(_) | Value::Bool(_) | Value::Null => value.clone(),
    }
}

fn shuffled<T>(mut members: Vec<T>, random: &mut StdRng) -> Vec<T> {
    members.shuffle(random);
    members
}

/// Changes the value by the smallest steps that there are, which are the easiest to overlook.
fn change(value: &mut Value, random: &mut StdRng) {
    let before = value_text(value);
    if random.random_bool(0.1) {
        *value = if matches!(value, Value::Null) { Value::Bool(false) } else { Value::Null };
        return;
    }
    match value {
        Value::S(text) => text.push(*['x', ' ', '\0', 'é'].choose(random).expect("there are some")),
        Value::N(number) => *number = change_digit(number, random),
        Value::B(bytes) => bytes.push(0),
        Value::Bool(flag) => *flag = !*flag,
        Value::Null => *value = Value::Bool(true),
        Value::Ss(members) if members.len() > 1 => drop(members.pop()),
        Value::Ns(members) if members.len() > 1 => drop(members.pop()),
        Value::Bs(members) if members.len() > 1 => drop(members.pop()),
        Value::Ss(members) => members.iter_mut().for_each(|member| member.push('x')),
        Value::Ns(members) => members.iter_mut().for_each(|member| *member = change_digit(member, random)),
        Value::Bs(members) => members.iter_mut().for_each(|member| member.push(0)),
        Value::L(values) => match values.choose_mut(random) {
            Some(inner) if random.random_bool(0.5) => change(inner, random),
            Some(_) if random.random_bool(0.5) => drop(values.pop()),
            _ => values.push(Value::Null),
        },
        Value::M(values) => {
            let names: Vec<String> = values.keys().cloned().collect();
            match names.choose(random) {
                Some(name) if random.random_bool(0.5) => change(values.get_mut(name).expect("it is there"), random),
                Some(name) if random.random_bool(0.5) => drop(values.remove(name)),
                _ => add(values),
            }
        }
    }
    assert_ne!(before, value_text(value), "a mutation changes the value");
}

fn add(attributes: &mut Item) {
    let again = attributes.get(ADDED) == Some(&Value::Null);
    attributes.insert(ADDED.to_owned(), if again { Value::Bool(true) } else { Value::Null });
}

fn change_digit(number: &Number, random: &mut StdRng) -> Number {
    one_digit_apart(number).choose(random).expect("a number has a digit").clone()
}
