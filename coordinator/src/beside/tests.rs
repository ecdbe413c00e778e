use serde_json::{Value as Json, json};
use shared::domain::json::item_from_json;
use shared::domain::key::{KeyAttribute, KeyType};

use super::*;

fn item(json: Json) -> Item {
    item_from_json(&json).unwrap()
}

fn shown(items: [Option<&Item>; 2], layout: Layout, paint: Paint) -> Vec<String> {
    let schema = KeySchema { partition: KeyAttribute { name: "id".to_owned(), kind: KeyType::S }, sort: None };
    let ignore = Ignore::new(&["seen".to_owned()]);
    lines(&Images { names: ["one (master)", "other (slave)"], items, schema: &schema, ignore: &ignore }, layout, paint)
}

fn pair() -> [Item; 2] {
    [
        item(
            json!({"id": {"S": "k"}, "a": {"N": "1.0"}, "b": {"S": "x"}, "m": {"M": {"y": {"N": "1"}}}, "seen": {"N": "1"}}),
        ),
        item(
            json!({"id": {"S": "k"}, "a": {"N": "1"}, "c": {"S": "z"}, "m": {"M": {"y": {"N": "2"}}}, "seen": {"N": "2"}}),
        ),
    ]
}

#[test]
fn attributes_stand_beside_each_other_and_each_difference_is_marked() {
    let [one, other] = pair();

    let lines = shown([Some(&one), Some(&other)], Layout::Beside(90), Paint::Plain);

    let gap = |left: &str| " ".repeat(37 - left.len());
    let row =
        |sign: &str, name: &str, left: &str, right: &str| format!("{sign} {name:<9}  {left}{}  {right}", gap(left));
    assert_eq!(
        lines,
        [
            row(" ", "attribute", "one (master)", "other (slave)"),
            row(" ", "id", "{\"S\":\"k\"}", "{\"S\":\"k\"}"),
            row(" ", "a", "{\"N\":\"1.0\"}", "{\"N\":\"1\"}"),
            row("<", "b", "{\"S\":\"x\"}", "-"),
            row(">", "c", "-", "{\"S\":\"z\"}"),
            row("!", "m", "{\"M\":{\"y\":{\"N\":\"1\"}}}", "{\"M\":{\"y\":{\"N\":\"2\"}}}"),
            "    differs at m.y".to_owned(),
            row("~", "seen", "{\"N\":\"1\"}", "{\"N\":\"2\"}"),
        ]
    );
}

#[test]
fn a_pipe_gets_one_under_the_other_and_all_of_each_value() {
    let long = |end: &str| item(json!({"id": {"S": "k"}, "v": {"S": format!("{}{end}", "x".repeat(300))}}));
    let (one, other) = (long("1"), long("2"));

    let lines = shown([Some(&one), Some(&other)], Layout::of(None), Paint::Plain);

    assert_eq!(lines[..3], ["< one (master)", "> other (slave)", "  id         {\"S\":\"k\"}"].map(str::to_owned));
    assert_eq!(lines[3], format!("< v          {{\"S\":\"{}1\"}}", "x".repeat(300)));
    assert_eq!(lines[4], format!("> v          {{\"S\":\"{}2\"}}", "x".repeat(300)));
    assert_eq!(lines.len(), 5);
}

#[test]
fn values_that_are_cut_still_differ_and_say_where() {
    let long = |middle: &str| {
        item(json!({"id": {"S": "k"}, "v": {"S": format!("{}{middle}{}", "x".repeat(300), "y".repeat(300))}}))
    };
    let (one, other) = (long("1"), long("2"));

    for layout in [Layout::of(Some(120)), Layout::of(Some(60)), Layout::of(Some(20))] {
        let lines = shown([Some(&one), Some(&other)], layout, Paint::Plain);

        assert!(lines.iter().any(|line| line.contains("x1y")), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("x2y")), "{lines:?}");
        assert!(lines.contains(&"    differs from character 307 on".to_owned()), "{lines:?}");
        if let Layout::Beside(columns) = layout {
            assert!(lines.iter().all(|line| width(line) <= columns), "{lines:?}");
        }
    }
}

#[test]
fn one_side_alone_is_shown_as_such_and_colour_is_only_for_those_who_want_it() {
    let [one, _] = pair();

    let plain = shown([Some(&one), None], Layout::Under(None), Paint::Plain);
    let colored = shown([Some(&one), None], Layout::Under(None), Paint::Colored);

    assert!(plain[2..].iter().all(|line| line.starts_with('<') || line.starts_with('~')), "{plain:?}");
    assert!(plain.iter().all(|line| !line.contains('\u{1b}')));
    assert!(colored[2].starts_with("\u{1b}[31m< id"), "{colored:?}");
    assert!(shown([None, None], Layout::Under(None), Paint::Plain).len() == 2);
}

#[test]
fn a_long_name_has_a_line_of_its_own() {
    let name = "n".repeat(60);
    let one = item(json!({"id": {"S": "k"}, &name: {"S": "x"}}));

    let lines = shown([Some(&one), Some(&one)], Layout::Beside(100), Paint::Plain);

    assert_eq!(lines[2], format!("  {name}"));
    assert!(lines[3].starts_with("             {\"S\":\"x\"}"), "{lines:?}");
}
