//! Items whose time to live has passed: DynamoDB deletes them some days later, each table at its own time.

use super::number::Number;
use super::value::{Item, Value};

/// How long ago a time to live may have passed at most; items with older ones are never deleted by it.
///
/// Source: Amazon DynamoDB Developer Guide, "Using time to live (TTL)": "no more than five years in the past".
const OLDEST_SECONDS: i64 = 5 * 365 * 24 * 3600;

/// Whether an item's time to live has passed, `now` being in seconds since 1970.
///
/// As for DynamoDB itself, only a number counts.
#[must_use]
pub fn has_expired(item: &Item, attribute: &str, now: i64) -> bool {
    let Some(Value::N(at)) = item.get(attribute) else { return false };
    let seconds = |seconds: i64| Number::parse(&seconds.to_string()).ok();
    match (seconds(now), seconds(now.saturating_sub(OLDEST_SECONDS))) {
        (Some(now), Some(oldest)) => *at < now && *at > oldest,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn expired(value: Value) -> bool {
        has_expired(&[("ttl".to_owned(), value)].into(), "ttl", NOW)
    }

    #[test]
    fn only_a_number_of_seconds_in_the_last_five_years_has_expired() {
        let number = |seconds: i64| Value::N(Number::parse(&seconds.to_string()).unwrap());

        assert!(expired(number(NOW - 1)));
        assert!(expired(Value::N(Number::parse("1.799999999E9").unwrap())));
        assert!(!expired(number(NOW)));
        assert!(!expired(number(NOW + 1)));
        assert!(!expired(number(NOW - OLDEST_SECONDS)));
        assert!(!expired(number(0)));
        assert!(!expired(Value::S((NOW - 1).to_string())));
        assert!(!has_expired(&Item::new(), "ttl", NOW));
    }
}
