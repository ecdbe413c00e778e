//! Numbers as people read them.

/// A number with its thousands apart.
#[must_use]
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Capacity units: small ones with a decimal, those of millions to three figures, `24.4 M`.
#[must_use]
pub fn units(units: f64) -> String {
    match units {
        units if units < 99.95 => format!("{units:.1}"),
        units if units < 999_999.5 => rounded(units),
        units if units < 9_995_000.0 => format!("{:.2} M", units / 1e6),
        units if units < 99_950_000.0 => format!("{:.1} M", units / 1e6),
        units => format!("{} M", rounded(units / 1e6)),
    }
}

/// Dollars and cents.
#[must_use]
pub fn dollars(dollars: f64) -> String {
    match dollars {
        dollars if dollars <= 0.0 => "$0.00".to_owned(),
        dollars if dollars < 0.01 => "< $0.01".to_owned(),
        dollars => {
            let cents = (dollars * 100.0).round();
            format!("${}.{:02.0}", rounded((cents / 100.0).floor()), cents % 100.0)
        }
    }
}

/// Minutes to a tenth, and from a hundred on without.
#[must_use]
pub fn minutes(minutes: f64) -> String {
    match minutes {
        minutes if minutes <= 0.0 => "0".to_owned(),
        minutes if minutes < 0.1 => "< 0.1".to_owned(),
        minutes if minutes < 99.95 => format!("{minutes:.1}"),
        minutes => rounded(minutes),
    }
}

/// To the next whole number, with its thousands apart.
#[must_use]
pub fn rounded(number: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast of a float saturates")]
    let whole = number.round() as u64;
    grouped(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn units_have_as_many_figures_as_they_mean() {
        for (number, text) in [
            (0.0, "0.0"),
            (12.25, "12.2"),
            (1234.4, "1,234"),
            (1_499_999.0, "1.50 M"),
            (24_414_062.0, "24.4 M"),
            (512e6, "512 M"),
            (25e9, "25,000 M"),
        ] {
            assert_eq!(units(number), text);
        }
    }

    #[test]
    fn dollars_have_cents_and_minutes_a_tenth() {
        assert_eq!(
            [0.0, 0.004, 3.052, 0.999, 1007.03].map(dollars),
            ["$0.00", "< $0.01", "$3.05", "$1.00", "$1,007.03"]
        );
        assert_eq!([0.0, 0.01, 16.95, 208.3].map(minutes), ["0", "< 0.1", "16.9", "208"]);
    }
}
