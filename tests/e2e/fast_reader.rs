//! The fast reader of answers, held against digests of typed items and against the comparison they stand for.

use proptest::collection::vec;
use proptest::prelude::*;
use rand::Rng;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use shared::aws::fast::page_from_bytes;
use shared::domain::compare::{Ignore, differing_paths};
use shared::domain::digest::Digester;
use shared::domain::entries::Entries;
use shared::domain::json::value_to_json;
use shared::domain::key::KeySchema;
use shared::domain::value::{Item, Value};
use tests::generate::{cases, item, key_schema};
use tests::vary::{mutate, respell};

fn schema_and_items() -> impl Strategy<Value = (KeySchema, Vec<Item>)> {
    key_schema().prop_flat_map(|schema| (Just(schema.clone()), vec(item(&schema), 0..4)))
}

fn schema_and_two_items() -> impl Strategy<Value = (KeySchema, Item, Item)> {
    key_schema().prop_flat_map(|schema| (Just(schema.clone()), item(&schema), item(&schema)))
}

/// Ignore rules that reach into generated items now and then.
fn rules() -> impl Strategy<Value = Vec<String>> {
    vec("[a-f](\\.[a-f]|\\[[0-2]\\]){0,2}", 0..4)
}

/// Writes JSON in one of all the ways that mean the same.
struct Writer<'a> {
    random: &'a mut StdRng,
    json: String,
    /// How often there is white space or an escape where none is needed.
    wasteful: f64,
}

/// A page of these items.
fn written<'a>(items: impl IntoIterator<Item = &'a Item>, random: &mut StdRng) -> Vec<u8> {
    let wasteful = *[0.0, 0.1, 0.9].choose(random).expect("there are some");
    let mut writer = Writer { random, json: String::new(), wasteful };
    writer.mark("{");
    writer.text("Items");
    writer.mark(":");
    writer.list('[', items, |writer, item| writer.item(item), ']');
    writer.mark("}");
    writer.json.into_bytes()
}

impl Writer<'_> {
    fn space(&mut self) {
        while self.random.random_bool(self.wasteful) {
            self.json.push(*[' ', '\n', '\r', '\t'].choose(self.random).expect("there are some"));
        }
    }

    fn mark(&mut self, mark: &str) {
        self.space();
        self.json.push_str(mark);
        self.space();
    }

    fn text(&mut self, text: &str) {
        self.json.push('"');
        for symbol in text.chars() {
            let short = match symbol {
                '"' | '\\' | '/' => Some(symbol),
                '\u{8}' => Some('b'),
                '\u{c}' => Some('f'),
                '\n' => Some('n'),
                '\r' => Some('r'),
                '\t' => Some('t'),
                _ => None,
            };
            let needed = matches!(symbol, '"' | '\\' | '\0'..' ');
            if !needed && !self.random.random_bool(self.wasteful / 2.0) {
                self.json.push(symbol);
                continue;
            }
            match short {
                Some(short) if self.random.random_bool(0.7) => self.json.extend(['\\', short]),
                _ => {
                    for unit in symbol.encode_utf16(&mut [0; 2]) {
                        let lower = self.random.random_bool(0.5);
                        let code = if lower { format!("\\u{unit:04x}") } else { format!("\\u{unit:04X}") };
                        self.json.push_str(&code);
                    }
                }
            }
        }
        self.json.push('"');
    }

    fn list<T>(
        &mut self,
        open: char,
        members: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
        close: char,
    ) {
        self.mark(open.encode_utf8(&mut [0; 4]));
        for (index, member) in members.into_iter().enumerate() {
            if index > 0 {
                self.mark(",");
            }
            write(self, member);
        }
        self.mark(close.encode_utf8(&mut [0; 4]));
    }

    fn item(&mut self, item: &Item) {
        let mut attributes: Vec<_> = item.iter().collect();
        attributes.shuffle(self.random);
        let attribute = |writer: &mut Self, (name, value): (&String, &Value)| {
            writer.text(name);
            writer.mark(":");
            writer.value(value);
        };
        self.list('{', attributes, attribute, '}');
    }

    fn value(&mut self, value: &Value) {
        let json = value_to_json(value);
        let (tag, content) = json.as_object().and_then(|object| object.iter().next()).expect("it is typed");
        self.mark("{");
        self.text(tag);
        self.mark(":");
        match (value, content) {
            (Value::L(values), _) => self.list('[', values, Self::value, ']'),
            (Value::M(values), _) => self.item(values),
            (_, serde_json::Value::Array(members)) => {
                let member = |writer: &mut Self, text: &serde_json::Value| writer.text(text.as_str().expect("a text"));
                self.list('[', members, member, ']');
            }
            (_, serde_json::Value::String(text)) => self.text(text),
            (_, literal) => self.json.push_str(&literal.to_string()),
        }
        self.mark("}");
    }
}

fn read<'a>(items: impl IntoIterator<Item = &'a Item>, digester: &Digester, random: &mut StdRng) -> Entries {
    let body = written(items, random);
    let page = page_from_bytes(&body, digester);
    page.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&body))).entries
}

/// The digest of what counts besides the key.
fn digest(item: &Item, digester: &Digester, random: &mut StdRng) -> u128 {
    read([item], digester, random).digests()[0].item
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn the_fast_reader_gives_the_entries_of_typed_items(
        (schema, items) in schema_and_items(),
        rules in rules(),
        seed in any::<u64>(),
    ) {
        let digester = Digester::new(&schema, &Ignore::new(&rules), seed);
        let mut typed = Entries::default();
        for item in &items {
            let (digest, key) = digester.digest(item).unwrap();
            typed.push_key(digest, &key).unwrap();
        }

        prop_assert_eq!(read(&items, &digester, &mut StdRng::seed_from_u64(seed)), typed);
    }

    #[test]
    fn a_change_changes_the_digest_and_another_spelling_does_not(
        (schema, item, _) in schema_and_two_items(),
        seed in any::<u64>(),
    ) {
        let mut random = StdRng::seed_from_u64(seed);
        let digester = Digester::new(&schema, &Ignore::default(), seed);
        let (changed, _) = mutate(&item, &schema, &mut random);
        let respelled = respell(&item, &mut random);

        let [before, after, again] =
            [&item, &changed, &respelled].map(|item| read([item], &digester, &mut random).digests()[0]);
        prop_assert_ne!(before.item, after.item);
        prop_assert_eq!(before, again);
        prop_assert_eq!(before.key, after.key);
    }

    #[test]
    fn digests_are_equal_exactly_when_nothing_differs(
        (schema, one, unrelated) in schema_and_two_items(),
        mut rules in rules(),
        seed in any::<u64>(),
    ) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut other = respell(&one, &mut random);
        for _ in 0..random.random_range(0..4) {
            other = mutate(&other, &schema, &mut random).0;
        }
        if random.random_bool(0.3) {
            let mixed = unrelated.into_iter().filter(|(name, _)| !schema.names().any(|key| key == name));
            other.extend(mixed);
        }
        // Rules that cover some of what differs, down to the very value.
        let found = differing_paths(&one, &other, &Ignore::default());
        rules.extend(found.into_iter().filter(|_| random.random_bool(0.7)));

        for ignore in [Ignore::default(), Ignore::new(&rules)] {
            let digester = Digester::new(&schema, &ignore, seed);
            let [first, second] = [&one, &other].map(|item| digest(item, &digester, &mut random));
            let paths = differing_paths(&one, &other, &ignore);
            prop_assert_eq!(first == second, paths.is_empty(), "{:?} under {:?}", paths, rules);
        }
    }
}
