//! Numbers in the few characters that a table has for them.

use std::time::Duration;

/// A part of something that can be full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// What is in it.
    pub used: u64,
    /// What it holds.
    pub capacity: u64,
}

impl Fill {
    /// A circle that fills by quarters; empty only when nothing is in it.
    #[must_use]
    pub fn glyph(self) -> char {
        let quarters = u128::from(self.used) * 4;
        match quarters.div_ceil(u128::from(self.capacity).max(1)) {
            0 => '○',
            1 => '◔',
            2 => '◑',
            3 => '◕',
            _ => '●',
        }
    }
}

/// A number: exact below a thousand, and from there on in thousands (`k`), millions (`m`), billions (`b`) and
/// trillions (`t`).
#[must_use]
pub fn number(n: u64) -> String {
    if n < 1000 {
        return n.to_string();
    }
    scaled(n, 1000, ["k", "m", "b", "t"])
}

/// Bytes, likewise, in powers of 1024.
#[must_use]
pub fn bytes(n: u64) -> String {
    if n < 1024 {
        return format!("{n}B");
    }
    scaled(n, 1024, ["KiB", "MiB", "GiB", "TiB"])
}

/// To the nearest whole number of the smallest unit that keeps it below the next.
fn scaled(n: u64, step: u64, units: [&str; 4]) -> String {
    let mut size = step;
    let [smaller @ .., largest] = units;
    let rounded = |size: u64| n / size + u64::from(n % size >= size / 2);
    for unit in smaller {
        if rounded(size) < step {
            return format!("~{}{unit}", rounded(size));
        }
        size *= step;
    }
    format!("~{}{largest}", rounded(size))
}

/// A duration by its two largest units: `1s`, `1m0s`, `36h0m`.
#[must_use]
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, _) => format!("{hours}h{minutes}m"),
    }
}

/// A rate per second: small ones with a decimal.
#[must_use]
pub fn rate(per_second: f64) -> String {
    if per_second > 0.0 && per_second < 9.95 {
        return format!("{per_second:.1}");
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast of a float saturates")]
    let whole = per_second.round() as u64;
    number(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p1_numbers_are_exact_below_a_thousand_and_approximate_from_there_on() {
        for (n, text) in [
            (0, "0"),
            (12, "12"),
            (999, "999"),
            (1000, "~1k"),
            (1499, "~1k"),
            (1501, "~2k"),
            (6700, "~7k"),
            (10_000, "~10k"),
            (100_000, "~100k"),
            (999_499, "~999k"),
            (999_500, "~1m"),
            (1_000_000, "~1m"),
            (1_000_000_000, "~1b"),
            (1_000_000_000_000, "~1t"),
            (5_000_000_000_000_000, "~5000t"),
            (u64::MAX, "~18446744t"),
        ] {
            assert_eq!(number(n), text, "{n}");
        }
    }

    #[test]
    fn bytes_come_in_powers_of_1024() {
        for (n, text) in [(0, "0B"), (1023, "1023B"), (1024, "~1KiB"), (30_408_704, "~29MiB"), (1 << 40, "~1TiB")] {
            assert_eq!(bytes(n), text);
        }
    }

    #[test]
    fn p2_the_circle_of_a_buffer_fills_by_quarters() {
        for (used, glyph) in [
            (0, '○'),
            (1, '◔'),
            (25, '◔'),
            (26, '◑'),
            (50, '◑'),
            (51, '◕'),
            (75, '◕'),
            (76, '●'),
            (99, '●'),
            (100, '●'),
            (100_000_000, '●'),
            (u64::MAX, '●'),
        ] {
            assert_eq!(Fill { used, capacity: 100 }.glyph(), glyph, "{used} %");
        }
        assert_eq!([0, 1].map(|used| Fill { used, capacity: 0 }.glyph()), ['○', '●']);
    }

    #[test]
    fn p3_durations_have_two_units() {
        let second = Duration::from_secs(1);
        for (length, text) in [
            (Duration::ZERO, "0s"),
            (Duration::from_millis(999), "0s"),
            (second + Duration::from_nanos(1), "1s"),
            (second + Duration::from_millis(1), "1s"),
            (second * 60, "1m0s"),
            (second * 61, "1m1s"),
            (second * (12 * 3600 + 30 * 60 + 1), "12h30m"),
            (second * 36 * 3600, "36h0m"),
        ] {
            assert_eq!(duration(length), text);
        }
    }

    #[test]
    fn rates_have_a_decimal_only_where_it_means_something() {
        for (per_second, text) in
            [(0.0, "0"), (0.04, "0.0"), (9.94, "9.9"), (9.96, "10"), (49.4, "49"), (1501.0, "~2k")]
        {
            assert_eq!(rate(per_second), text);
        }
    }
}
