//! Properties of the pure domain, held against the oracle.

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use shared::domain::compare::{Ignore, differing_paths};
use shared::domain::item_line::{self, Layout};
use shared::domain::json::{item_from_json, item_to_json};
use shared::domain::key::{Key, KeySchema};
use shared::domain::value::Item;
use tests::generate::{cases, item, key_schema, number, value};
use tests::oracle::{differing_attributes, key_text, plain_decimal, value_text};
use tests::vary::{mutate, one_digit_apart, respell, respell_number};

fn schema_and_item() -> impl Strategy<Value = (KeySchema, Item)> {
    key_schema().prop_flat_map(|schema| (Just(schema.clone()), item(&schema)))
}

fn schema_and_two_items() -> impl Strategy<Value = (KeySchema, Item, Item)> {
    key_schema().prop_flat_map(|schema| (Just(schema.clone()), item(&schema), item(&schema)))
}

fn differing(one: &Item, other: &Item) -> Vec<String> {
    differing_paths(one, other, &Ignore::default())
}

fn leads_into(path: &str, attribute: &str) -> bool {
    path.strip_prefix(attribute).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn a_difference_is_found_exactly_where_the_oracle_finds_one((_, one, other) in schema_and_two_items()) {
        let (paths, attributes) = (differing(&one, &other), differing_attributes(&one, &other));

        prop_assert_eq!(paths.is_empty(), attributes.is_empty());
        for path in &paths {
            prop_assert!(attributes.iter().any(|attribute| leads_into(path, attribute)), "{path} is not in {attributes:?}");
        }
        for attribute in &attributes {
            prop_assert!(paths.iter().any(|path| leads_into(path, attribute)), "{attribute} is not in {paths:?}");
        }
    }

    #[test]
    fn values_are_equal_exactly_when_the_oracle_says_so(one in value(), other in value()) {
        prop_assert_eq!(one == other, value_text(&one) == value_text(&other));
    }

    #[test]
    fn numbers_are_equal_exactly_when_the_oracle_says_so(one in number(), other in number(), seed in any::<u64>()) {
        let respelled = respell_number(&one, &mut StdRng::seed_from_u64(seed));

        prop_assert_eq!(&one, &respelled);
        prop_assert_eq!(one == other, plain_decimal(one.text()) == plain_decimal(other.text()));
    }

    #[test]
    fn every_digit_of_a_number_counts(number in number(), seed in any::<u64>()) {
        let respelled = respell_number(&number, &mut StdRng::seed_from_u64(seed));

        for other in one_digit_apart(&number) {
            prop_assert_ne!(&other, &number);
            prop_assert_ne!(&other, &respelled);
        }
    }

    #[test]
    fn an_item_in_another_spelling_is_equal((schema, item) in schema_and_item(), seed in any::<u64>()) {
        let respelled = respell(&item, &mut StdRng::seed_from_u64(seed));

        prop_assert_eq!(differing(&item, &respelled), Vec::<String>::new());
        prop_assert_eq!(&item, &respelled);
        prop_assert_eq!(Key::of(&schema, &item), Key::of(&schema, &respelled));
    }

    #[test]
    fn every_single_change_is_found_and_named((schema, item) in schema_and_item(), seed in any::<u64>()) {
        let mut random = StdRng::seed_from_u64(seed);
        let (changed, attribute) = mutate(&item, &schema, &mut random);
        let changed = respell(&changed, &mut random);

        for paths in [differing(&item, &changed), differing(&changed, &item)] {
            prop_assert!(!paths.is_empty());
            prop_assert!(paths.iter().all(|path| leads_into(path, &attribute)), "{paths:?} and not {attribute}");
        }
        prop_assert_eq!(Key::of(&schema, &item), Key::of(&schema, &changed));
    }

    #[test]
    fn an_ignored_attribute_hides_its_changes_and_no_others((schema, item) in schema_and_item(), seed in any::<u64>()) {
        let (changed, attribute) = mutate(&item, &schema, &mut StdRng::seed_from_u64(seed));
        let ignored = differing_paths(&item, &changed, &Ignore::new(std::slice::from_ref(&attribute)));
        let other = differing_paths(&item, &changed, &Ignore::new(&[format!("{attribute} of another item")]));

        prop_assert_eq!(ignored, Vec::<String>::new());
        prop_assert!(!other.is_empty());
    }

    #[test]
    fn dynamodb_json_round_trips((_, item) in schema_and_item()) {
        let json = item_to_json(&item);
        let text = json.to_string();
        let back = item_from_json(&serde_json::from_str(&text).unwrap()).unwrap();

        prop_assert_eq!(&back, &item);
        prop_assert_eq!(item_to_json(&back), json);
    }

    #[test]
    fn an_item_comes_back_from_its_line_to_the_last_digit((schema, item) in schema_and_item()) {
        let (wrapped, bare) = (item_line::write(&item), item_to_json(&item).to_string());
        prop_assert!(!wrapped.contains(['\n', '\r']));

        let layouts =
            [(&wrapped, Layout::Wrapped), (&wrapped, Layout::Unknown), (&bare, Layout::Bare), (&bare, Layout::Unknown)];
        for (line, layout) in layouts {
            let (back, key) = item_line::read(line.as_bytes(), layout, &schema).unwrap().unwrap();

            prop_assert_eq!(&back, &item);
            prop_assert_eq!(item_to_json(&back), item_to_json(&item));
            prop_assert_eq!(key, Key::of(&schema, &item).unwrap());
        }
    }

    #[test]
    fn keys_are_equal_exactly_when_the_oracle_says_so(
        (schema, one, mut other) in schema_and_two_items(),
        same in 0..3_usize,
        seed in any::<u64>(),
    ) {
        let respelled = respell(&one, &mut StdRng::seed_from_u64(seed));
        for name in schema.names().take(same) {
            other.insert(name.to_owned(), respelled[name].clone());
        }
        let (first, second) = (Key::of(&schema, &one).unwrap(), Key::of(&schema, &other).unwrap());

        prop_assert_eq!(first.identity() == second.identity(), key_text(&schema, &one) == key_text(&schema, &other));
        prop_assert_eq!(Key::from_json(&schema, &first.to_json()).unwrap(), first);
    }
}
