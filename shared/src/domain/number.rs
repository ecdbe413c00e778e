//! DynamoDB numbers: exact decimal text, compared by value to all 38 digits and never through a float.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

/// Most significant digits a DynamoDB number may have.
///
/// Source: Amazon DynamoDB Developer Guide, "Naming rules and data types", Number.
pub const MAX_DIGITS: usize = 38;

/// Longest plain spelling that [`normalized`] uses; longer ones, of huge and tiny values, are written with an exponent.
const LONGEST_PLAIN: usize = 64;

/// Longest plain spelling of a number that can be in a table: 126 digits before the point, or 130 zeros and 38 digits
/// behind it.
///
/// Source: Amazon DynamoDB Developer Guide, "Naming rules and data types", Number.
const LONGEST_IN_A_TABLE: usize = 3 + 130 + MAX_DIGITS;

/// A number as DynamoDB sent it; `1`, `1.0` and `1E0` are equal.
#[derive(Clone, Debug)]
pub struct Number {
    text: Box<str>,
}

/// A text that is no decimal number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a decimal number")]
pub struct NotANumber(pub String);

/// The one form all spellings of a value share: sign, digits without outer zeros, power of ten.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Canonical {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Number {
    /// Checks the syntax and keeps the text as it is.
    ///
    /// # Errors
    /// `NotANumber` when the text is no decimal number, or its exponent has more than nine digits.
    pub fn parse(text: &str) -> Result<Self, NotANumber> {
        canonical(text).ok_or_else(|| NotANumber(text.to_owned()))?;
        Ok(Self { text: text.into() })
    }

    /// The text as it was received; this is what a repair writes.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// One spelling for all spellings of the same value, for use in keys and digests.
    #[must_use]
    pub fn canonical_text(&self) -> String {
        let Canonical { negative, digits, exponent } = self.canonical();
        if digits.is_empty() {
            return "0".to_owned();
        }
        let sign = if negative { "-" } else { "" };
        format!("{sign}{digits}e{exponent}")
    }

    /// The value in plain decimal notation, without zeros that say nothing; with an exponent only where it is too large
    /// or too small for a table.
    #[must_use]
    pub fn plain_text(&self) -> String {
        spelt(&self.canonical(), LONGEST_IN_A_TABLE).unwrap_or_else(|| self.canonical_text())
    }

    /// How many significant digits the value has; at most [`MAX_DIGITS`] in a table.
    #[must_use]
    pub fn significant_digits(&self) -> usize {
        self.canonical().digits.len()
    }

    fn canonical(&self) -> Canonical {
        canonical(&self.text).unwrap_or_else(|| unreachable!("`Number::parse` admits only numbers"))
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text || self.canonical() == other.canonical()
    }
}

impl Eq for Number {}

/// By value: `9 < 10`, and `1.50` is neither less nor more than `1.5`.
impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        let (one, other) = (self.canonical(), other.canonical());
        one.sign().cmp(&other.sign()).then_with(|| {
            let by_size = one.size().cmp(&other.size()).then_with(|| one.digits.cmp(&other.digits));
            if one.negative { by_size.reverse() } else { by_size }
        })
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Canonical {
    /// -1, 0 or 1.
    fn sign(&self) -> i8 {
        match (self.digits.is_empty(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }

    /// Digits before the decimal point; with digits that begin with no zero it orders values of one sign, and where
    /// it is the same, the digits do.
    fn size(&self) -> i64 {
        i64::try_from(self.digits.len()).unwrap_or(i64::MAX).saturating_add(self.exponent)
    }
}

impl Hash for Number {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.canonical().hash(state);
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The one spelling that all spellings of a value share, or `None` when the text is no number.
///
/// It is the way DynamoDB itself spells all but very large and very small numbers, so that most texts are borrowed
/// after one look at them.
#[must_use]
pub fn normalized(text: &str) -> Option<Cow<'_, str>> {
    if is_normal(text) {
        return Some(Cow::Borrowed(text));
    }
    spelt(&canonical(text)?, LONGEST_PLAIN).map(Cow::Owned)
}

/// Plain where that is no longer than this, and with an exponent where it is.
fn spelt(Canonical { negative, digits, exponent }: &Canonical, longest_plain: usize) -> Option<String> {
    if digits.is_empty() {
        return Some("0".to_owned());
    }
    let exponent = *exponent;
    let sign = if *negative { "-" } else { "" };
    let length = i64::try_from(digits.len()).ok()?;
    // Digits before the decimal point; zero or less when the value begins after it.
    let whole = length + exponent;
    let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or(0));
    let plain_length = whole.max(1) + if exponent < 0 { 1 - exponent } else { 0 } + i64::from(*negative);
    Some(if plain_length > i64::try_from(longest_plain).ok()? {
        format!("{sign}{digits}e{exponent}")
    } else if exponent >= 0 {
        format!("{sign}{digits}{}", zeros(exponent))
    } else if whole <= 0 {
        format!("{sign}0.{}{digits}", zeros(-whole))
    } else {
        let (whole, fraction) = digits.split_at(usize::try_from(whole).ok()?);
        format!("{sign}{whole}.{fraction}")
    })
}

/// Whether a text is a number in the spelling that [`normalized`] gives it, and plain.
#[inline]
#[must_use]
pub fn is_normal(text: &str) -> bool {
    let text = text.as_bytes();
    if text.len() > LONGEST_PLAIN {
        return false;
    }
    let (unsigned, negative) = match text {
        [b'-', rest @ ..] => (rest, true),
        _ => (text, false),
    };
    let mut point = None;
    for (at, byte) in unsigned.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {}
            b'.' if point.is_none() => point = Some(at),
            _ => return false,
        }
    }
    let (whole, fraction_is_fine) = match point {
        None => (unsigned, true),
        Some(at) => (&unsigned[..at], unsigned.last().is_some_and(|last| matches!(last, b'1'..=b'9'))),
    };
    let whole_is_fine = match whole {
        [] => false,
        [b'0'] => point.is_some() || !negative,
        [first, ..] => *first != b'0',
    };
    whole_is_fine && fraction_is_fine
}

fn canonical(text: &str) -> Option<Canonical> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let joined = [whole, fraction].concat();
    let significant = joined.trim_start_matches('0');
    let digits = significant.trim_end_matches('0');
    if digits.is_empty() {
        return Some(Canonical { negative: false, digits: String::new(), exponent: 0 });
    }
    let dropped = i64::try_from(significant.len() - digits.len()).ok()?;
    let scale = i64::try_from(fraction.len()).ok()?;
    Some(Canonical { negative, digits: digits.to_owned(), exponent: exponent + dropped - scale })
}

fn parse_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let fits = !digits.is_empty() && digits.len() <= 9 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let magnitude: i64 = fits.then(|| digits.parse().ok()).flatten()?;
    Some(if text.starts_with('-') { -magnitude } else { magnitude })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        Number::parse(text).unwrap()
    }

    #[test]
    fn any_number_of_a_table_is_written_out() {
        for (text, plain) in [
            ("1.50", "1.5"),
            ("1E2", "100"),
            ("-0.0", "0"),
            ("-1.5e-3", "-0.0015"),
            ("12345678901234567890123456789012345678", "12345678901234567890123456789012345678"),
            ("1e999999999", "1e999999999"),
        ] {
            assert_eq!(number(text).plain_text(), plain);
        }
        let (most, least) = (number("9.9e125").plain_text(), number("-1.5e-130").plain_text());
        assert_eq!((most.len(), &most[..4]), (126, "9900"));
        assert_eq!((least.len(), &least[..4], &least[130..]), (134, "-0.0", "0015"));
    }

    #[test]
    fn spellings_of_one_value_are_equal() {
        for (one, other) in [
            ("1", "1.0"),
            ("1", "1E0"),
            ("100", "1E2"),
            ("100", "1e+2"),
            ("0", "-0"),
            ("0.000", "0E10"),
            ("-0.50", "-5e-1"),
            ("+7", "007"),
            ("12345678901234567890123456789012345678", "1.2345678901234567890123456789012345678E37"),
        ] {
            assert_eq!(number(one), number(other), "{one} and {other}");
            assert_eq!(number(one).canonical_text(), number(other).canonical_text());
        }
    }

    #[test]
    fn the_thirty_eighth_digit_counts() {
        let one = number("12345678901234567890123456789012345678");
        let other = number("12345678901234567890123456789012345679");

        assert_ne!(one, other);
        assert_eq!(one.significant_digits(), MAX_DIGITS);
    }

    #[test]
    fn sign_and_magnitude_count() {
        assert_ne!(number("1"), number("-1"));
        assert_ne!(number("1"), number("10"));
        assert_ne!(number("1"), number("0.1"));
    }

    #[test]
    fn numbers_are_ordered_by_value() {
        let ascending =
            ["-1e126", "-100", "-9.5", "-9.49", "-1e-130", "0", "1e-130", "0.5", "0.51", "9", "10", "1e2", "1e126"];
        for (at, one) in ascending.iter().enumerate() {
            for (other_at, other) in ascending.iter().enumerate() {
                assert_eq!(number(one).cmp(&number(other)), at.cmp(&other_at), "{one} and {other}");
            }
        }
        assert_eq!(number("1.50").cmp(&number("15e-1")), Ordering::Equal);
        assert_eq!(number("-0").cmp(&number("0")), Ordering::Equal);
    }

    #[test]
    fn all_spellings_of_a_value_are_normalized_to_one() {
        for (normal, others) in [
            ("0", ["-0", "0.00", "0E9", "-0.0"]),
            ("100", ["1E2", "100.0", "+100", "0100"]),
            ("-0.5", ["-.5", "-5e-1", "-0.50", "-00.5"]),
            ("12.25", ["1225e-2", "12.250", "0.1225E2", "012.25"]),
            ("0.001", ["1e-3", ".001", "0.0010", "10E-4"]),
            ("1e125", ["1E125", "10e124", "0.1e126", "+1E+125"]),
            ("-15e-130", ["-1.5E-129", "-15e-130", "-150e-131", "-0.15e-128"]),
        ] {
            assert_eq!(normalized(normal).as_deref(), Some(normal));
            for other in others {
                assert_eq!(normalized(other).as_deref(), Some(normal), "{other}");
            }
        }
        let digits = "12345678901234567890123456789012345678";
        assert_eq!(normalized(digits).as_deref(), Some(digits));
        for text in ["", "-", ".", "1.2.3", "abc", "1e", "--1", "1-"] {
            assert_eq!(normalized(text), None, "{text}");
        }
    }

    #[test]
    fn texts_that_are_no_numbers_are_refused() {
        for text in ["", "-", ".", "e5", "1e", "1e+", "0x1", "1.2.3", "NaN", "Infinity", " 1", "1e9999999999", "١"] {
            assert!(Number::parse(text).is_err(), "{text:?}");
        }
    }
}
