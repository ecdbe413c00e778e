//! Random items, keys and tables: proptest strategies, and whole tables from a seed.

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use shared::domain::key::{KeyAttribute, KeySchema, KeyType};
use shared::domain::number::Number;
use shared::domain::value::{Item, Value};

use crate::oracle::{Differences, key_text, plain_decimal};
use crate::vary::{mutate, respell};

/// Most levels of maps and lists in a generated value.
const DEPTH: u32 = 4;

/// How many cases a property test tries; failures are shrunk and printed, and become tests of their own.
#[must_use]
pub fn cases(cases: u32) -> Config {
    Config { cases, failure_persistence: None, ..Config::default() }
}

/// Key schemas of every type, with and without sort key: `id` and `at`.
pub fn key_schema() -> impl Strategy<Value = KeySchema> {
    let kind = || prop_oneof![Just(KeyType::S), Just(KeyType::N), Just(KeyType::B)];
    (kind(), proptest::option::of(kind())).prop_map(|(partition, sort)| schema(partition, sort))
}

/// A key schema: `id`, and `at` as sort key.
#[must_use]
pub fn schema(partition: KeyType, sort: Option<KeyType>) -> KeySchema {
    KeySchema {
        partition: KeyAttribute { name: "id".to_owned(), kind: partition },
        sort: sort.map(|kind| KeyAttribute { name: "at".to_owned(), kind }),
    }
}

/// Items with a key and up to eight more attributes.
pub fn item(schema: &KeySchema) -> impl Strategy<Value = Item> + use<> {
    let keys: Vec<_> =
        schema.attributes().map(|attribute| (Just(attribute.name.clone()), key_value(attribute.kind))).collect();
    (keys, btree_map(name(), value(), 0..8)).prop_map(|(keys, mut item)| {
        item.extend(keys);
        item
    })
}

/// Values of every type.
pub fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        text(0..12).prop_map(Value::S),
        number().prop_map(Value::N),
        bytes(0..12).prop_map(Value::B),
        any::<bool>().prop_map(Value::Bool),
        Just(Value::Null),
        btree_set(text(0..4), 1..5)
            .prop_map(|members| members.into_iter().collect::<Vec<_>>())
            .prop_shuffle()
            .prop_map(Value::Ss),
        number_set().prop_map(Value::Ns),
        btree_set(bytes(0..4), 1..5)
            .prop_map(|members| members.into_iter().collect::<Vec<_>>())
            .prop_shuffle()
            .prop_map(Value::Bs),
    ]
    .boxed();
    (0..DEPTH).fold(leaf.clone(), |inner, _| {
        let list = vec(inner.clone(), 0..4).prop_map(Value::L);
        let map = btree_map(name(), inner, 0..4).prop_map(Value::M);
        prop_oneof![4 => leaf.clone(), 1 => list, 1 => map].boxed()
    })
}

/// Numbers within DynamoDB's limits, small and huge, in all their spellings.
pub fn number() -> impl Strategy<Value = Number> {
    let digits = prop_oneof![
        3 => vec(0..=9_u8, 1..6),
        1 => vec(0..=9_u8, 38),
    ];
    // The exponent of the first digit; a table holds magnitudes from 1E-130 to below 1E126.
    let exponent = prop_oneof![4 => -3..6_i32, 1 => -120..=125_i32];
    (any::<bool>(), digits, exponent, 0..5_u8).prop_map(|(negative, digits, exponent, spelling)| {
        let digits: String = digits.iter().map(u8::to_string).collect();
        let sign = if negative { "-" } else { "" };
        let (first, rest) = digits.split_at(1);
        let text = match spelling {
            0 => format!("{sign}{first}.{rest}E{exponent}"),
            1 => format!("{sign}{digits}e{:+}", exponent - i32::try_from(rest.len()).expect("it is short")),
            2 => format!("{sign}000{first}.{rest}0E{exponent:+04}"),
            _ => plain_decimal(&format!("{sign}{first}.{rest}E{exponent}")),
        };
        Number::parse(&text).unwrap_or_else(|error| panic!("{error}"))
    })
}

fn number_set() -> impl Strategy<Value = Vec<Number>> {
    vec(number(), 1..5)
        .prop_map(|members| {
            let unique: std::collections::BTreeMap<String, Number> =
                members.into_iter().map(|member| (plain_decimal(member.text()), member)).collect();
            unique.into_values().collect::<Vec<_>>()
        })
        .prop_shuffle()
}

fn key_value(kind: KeyType) -> BoxedStrategy<Value> {
    match kind {
        KeyType::S => text(1..12).prop_map(Value::S).boxed(),
        KeyType::N => number().prop_map(Value::N).boxed(),
        KeyType::B => bytes(1..12).prop_map(Value::B).boxed(),
    }
}

fn text(length: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    let symbol = prop_oneof![3 => proptest::char::range(' ', '~'), 1 => any::<char>()];
    vec(symbol, length).prop_map(|symbols| symbols.into_iter().collect())
}

fn bytes(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), length)
}

/// Attribute names, among them those that a path or an expression could trip over.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-f]",
        1 => proptest::sample::select(vec!["a.b", "a[0]", "#n", ":v", "with space", "größe", "size", "\"", "aws:x"])
            .prop_map(str::to_owned),
    ]
}

/// How large a share of a pair of tables is missing, differing and extra in the slave; each between 0 and 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shares {
    /// Of the master's items, those that the slave lacks.
    pub missing: f64,
    /// Of the master's items, those that differ in one top-level attribute.
    pub differing: f64,
    /// As many items as this share of the master's are in the slave only.
    pub extra: f64,
}

/// A master, a slave, and what is known to be different.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The key schema of both.
    pub schema: KeySchema,
    /// The master's items.
    pub master: Vec<Item>,
    /// The slave's items; those that are equal are respelled.
    pub slave: Vec<Item>,
    /// What differs, by construction.
    pub expected: Differences,
}

/// Makes two tables from a seed: the same for the same arguments.
#[must_use]
pub fn pair_of_tables(schema: &KeySchema, seed: u64, items: usize, shares: Shares) -> Pair {
    let mut random = StdRng::seed_from_u64(seed);
    let share = |share: f64| count(items, share);
    let (missing, differing, extra) = (share(shares.missing), share(shares.differing), share(shares.extra));
    assert!(missing + differing <= items, "an item cannot be missing and differing");
    let mut master = table(schema, seed, items + extra);
    master.shuffle(&mut random);
    let mut slave = master.split_off(items);
    let extra = slave.iter().map(|item| key_text(schema, item)).collect();
    let mut expected = Differences { extra, ..Differences::default() };
    for (index, item) in master.iter().enumerate() {
        if index < missing {
            expected.missing.insert(key_text(schema, item));
        } else if index < missing + differing {
            let (changed, name) = mutate(item, schema, &mut random);
            expected.differing.insert(key_text(schema, item), [name].into());
            slave.push(changed);
        } else {
            slave.push(respell(item, &mut random));
        }
    }
    master.shuffle(&mut random);
    slave.shuffle(&mut random);
    Pair { schema: schema.clone(), master, slave, expected }
}

/// Items with different keys, from a seed; with a sort key, four to a partition.
#[must_use]
pub fn table(schema: &KeySchema, seed: u64, items: usize) -> Vec<Item> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let strategy = item(schema);
    let make = |number: usize| {
        let mut item = strategy.new_tree(&mut runner).expect("the strategy rejects nothing").current();
        let numbers = if schema.sort.is_some() { [number / 4, number] } else { [number; 2] };
        for (attribute, number) in schema.attributes().zip(numbers) {
            let value = item.get_mut(&attribute.name).expect("an item has its key");
            make_unique(value, number);
        }
        item
    };
    (0..items).map(make).collect()
}

/// Makes a key value the only one with this number, and the same for every item with this number.
fn make_unique(value: &mut Value, number: usize) {
    *value = match value {
        Value::S(_) => Value::S(format!("key {number:06} é")),
        Value::B(_) => Value::B(u32::try_from(number).expect("tables are small").to_le_bytes().to_vec()),
        _ => Value::N(Number::parse(&format!("-{number}.50")).expect("it is a number")),
    };
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "small shares"
)]
fn count(items: usize, share: f64) -> usize {
    (items as f64 * share).round() as usize
}
