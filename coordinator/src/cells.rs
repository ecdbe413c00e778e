//! Values as text in a cell: on one line, harmless to a terminal, and cut so that different values never look the same.

use shared::domain::json::value_to_json;
use shared::domain::value::Value;
use unicode_width::UnicodeWidthChar as _;

/// The narrowest cell in which a difference shows: a third of it before the first character that differs, and that
/// character, escaped, between two signs that something was cut off.
pub const NARROWEST: usize = 24;

/// What stands for what was cut off.
const CUT: char = '…';

/// A value as compact DynamoDB JSON, escaped.
#[must_use]
pub fn text(value: &Value) -> String {
    escaped(&value_to_json(value).to_string())
}

/// Replaces what a terminal would obey or show as nothing: control and formatting characters, combining marks, spaces
/// of other kinds.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for symbol in text.chars() {
        if symbol == ' ' || (symbol.width().is_some_and(|width| width > 0) && !symbol.is_whitespace()) {
            shown.push(symbol);
        } else {
            shown.extend(escape(symbol));
        }
    }
    shown
}

/// Two texts that differ, cut to a width so that the first difference shows; the second is where it is, in characters,
/// if something was cut off before it.
///
/// Characters of different scripts may look the same, so the first that differs is escaped unless it is ASCII.
#[must_use]
pub fn differing(one: &str, other: &str, width: Option<usize>) -> ([String; 2], Option<usize>) {
    let both: [Vec<char>; 2] = [one.chars().collect(), other.chars().collect()];
    let same = both[0].iter().zip(&both[1]).take_while(|(one, other)| one == other).count();
    let marked = both.map(|mut text| {
        if let Some(&symbol) = text.get(same)
            && !symbol.is_ascii()
        {
            text.splice(same..=same, escape(symbol));
        }
        text
    });
    let Some(width) = width else { return (marked.map(String::from_iter), None) };
    if marked.iter().all(|text| columns(text) <= width) {
        return (marked.map(String::from_iter), None);
    }
    let mut from = same;
    let mut before = 0;
    while from > 0 && before + symbol_width(marked[0][from - 1]) <= width / 3 {
        from -= 1;
        before += symbol_width(marked[0][from]);
    }
    (marked.map(|text| cut_from(&text, from, width)), (from > 0).then_some(same))
}

/// A text cut to a width.
#[must_use]
pub fn cut(text: &str, width: Option<usize>) -> String {
    match width {
        Some(width) => cut_from(&text.chars().collect::<Vec<_>>(), 0, width),
        None => text.to_owned(),
    }
}

/// How many columns a text takes.
#[must_use]
pub fn width(text: &str) -> usize {
    text.chars().map(symbol_width).sum()
}

fn cut_from(text: &[char], from: usize, width: usize) -> String {
    let mut cut = String::new();
    let mut room = width;
    if from > 0 {
        cut.push(CUT);
        room -= 1;
    }
    let rest = &text[from.min(text.len())..];
    if columns(rest) <= room {
        cut.extend(rest);
        return cut;
    }
    for &symbol in rest {
        let columns = symbol_width(symbol);
        if columns + 1 > room {
            break;
        }
        room -= columns;
        cut.push(symbol);
    }
    cut.push(CUT);
    cut
}

fn columns(text: &[char]) -> usize {
    text.iter().copied().map(symbol_width).sum()
}

fn symbol_width(symbol: char) -> usize {
    symbol.width().unwrap_or(0)
}

/// A character as JSON escapes it.
fn escape(symbol: char) -> Vec<char> {
    let mut units = [0; 2];
    symbol
        .encode_utf16(&mut units)
        .iter()
        .flat_map(|unit| format!("\\u{unit:04x}").chars().collect::<Vec<_>>())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_written_out() {
        assert_eq!(escaped("plain é 世"), "plain é 世");
        assert_eq!(escaped("a\u{9b}2Jb\u{7f}\u{202e}e\u{301}\u{a0}"), "a\\u009b2Jb\\u007f\\u202ee\\u0301\\u00a0");
        assert_eq!(text(&Value::S("\u{1b}[2J\u{e0041}".to_owned())), "{\"S\":\"\\u001b[2J\\udb40\\udc41\"}");
    }

    #[test]
    fn long_values_are_cut_around_their_first_difference() {
        let long = |middle: &str| format!("{}{middle}{}", "a".repeat(500), "z".repeat(500));

        let ([one, other], at) = differing(&long("1"), &long("2"), Some(30));

        assert_eq!(at, Some(500));
        assert_eq!(
            (one.as_str(), other.as_str()),
            ("…aaaaaaaaaa1zzzzzzzzzzzzzzzzz…", "…aaaaaaaaaa2zzzzzzzzzzzzzzzzz…")
        );
        let ([one, other], at) = differing("short", "shorter", Some(30));
        assert_eq!((one.as_str(), other.as_str(), at), ("short", "shorter", None));
    }

    #[test]
    fn letters_that_look_alike_are_told_apart() {
        let ([one, other], _) = differing("{\"S\":\"a\"}", "{\"S\":\"а\"}", None);

        assert_eq!((one.as_str(), other.as_str()), ("{\"S\":\"a\"}", "{\"S\":\"\\u0430\"}"));
    }

    proptest! {
        #[test]
        fn different_values_never_look_the_same(
            before in ".{0,80}", one in ".{0,80}", other in ".{0,80}", wide in NARROWEST..100
        ) {
            let (one, other) = (text(&Value::S(before.clone() + &one)), text(&Value::S(before + &other)));
            prop_assume!(one != other);

            let ([one, other], _) = differing(&one, &other, Some(wide));

            prop_assert_ne!(&one, &other);
            prop_assert!(width(&one) <= wide && width(&other) <= wide, "{} {}", one, other);
        }
    }
}
