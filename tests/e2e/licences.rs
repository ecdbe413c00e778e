//! Licence expressions (SPDX), held against a list of what is allowed.

/// Whether the allowed licences satisfy the expression: of an `OR` one side, of an `AND` both.
///
/// An old-style `/` between licences means `OR`.
pub(crate) fn satisfied(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let satisfied = either(&mut rest, allowed);
    assert!(rest.is_empty(), "`{expression}` is no licence expression");
    satisfied
}

fn either(rest: &mut &[&str], allowed: &[String]) -> bool {
    let mut satisfied = both(rest, allowed);
    while take(rest, "OR") {
        satisfied |= both(rest, allowed);
    }
    satisfied
}

fn both(rest: &mut &[&str], allowed: &[String]) -> bool {
    let mut satisfied = one(rest, allowed);
    while take(rest, "AND") {
        satisfied &= one(rest, allowed);
    }
    satisfied
}

fn one(rest: &mut &[&str], allowed: &[String]) -> bool {
    if take(rest, "(") {
        let satisfied = either(rest, allowed);
        assert!(take(rest, ")"), "a parenthesis is not closed");
        return satisfied;
    }
    let (first, after) = rest.split_first().expect("a licence is expected");
    *rest = after;
    let mut name = (*first).to_owned();
    if take(rest, "WITH") {
        let (exception, after) = rest.split_first().expect("an exception is expected");
        *rest = after;
        name = format!("{name} WITH {exception}");
    }
    allowed.contains(&name)
}

fn take(rest: &mut &[&str], word: &str) -> bool {
    match rest.split_first() {
        Some((first, after)) if *first == word => {
            *rest = after;
            true
        }
        _ => false,
    }
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = ["MIT".to_owned(), "ISC".to_owned(), "Apache-2.0 WITH LLVM-exception".to_owned()];
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("MIT/Apache-2.0", true),
        ("MIT AND GPL-3.0", false),
        ("ISC AND (GPL-3.0 OR MIT)", true),
        ("GPL-3.0 OR MIT AND GPL-3.0", false),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("Apache-2.0", false),
    ] {
        assert_eq!(satisfied(expression, &allowed), expected, "{expression}");
    }
}
