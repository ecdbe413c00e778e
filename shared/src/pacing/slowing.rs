//! A rate that gives way to throttling: halved when the service asks to slow down, and then raised step by step.

use std::time::Duration;

/// The lowest rate that throttling leaves.
const LEAST: f64 = 1.0;

/// What is left of the rate that the service could not give.
const LEFT: f64 = 0.5;

/// Throttling within this time of the last that counted is the same event: requests that were on their way.
const ONE_EVENT: Duration = Duration::from_secs(1);

/// What a second adds, as a share of the rate that the service could not give.
const STEP_PER_SECOND: f64 = 0.05;

/// Without a ceiling, the rate is free again at this multiple of the one that the service could not give.
const FREE_AT: f64 = 2.0;

/// How much a direction of a table is slowed down now, if it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Slowing {
    slowed: Option<Slowed>,
}

#[derive(Clone, Copy, Debug)]
struct Slowed {
    since: Duration,
    from: f64,
    refused: f64,
}

impl Slowing {
    /// The service asked to slow down, while so many units per second were being consumed.
    pub fn throttled(&mut self, lately: f64, now: Duration) {
        if self.slowed.is_some_and(|slowed| now.saturating_sub(slowed.since) < ONE_EVENT) {
            return;
        }
        let refused = lately.max(LEAST);
        self.slowed = Some(Slowed { since: now, from: (LEFT * refused).max(LEAST), refused });
    }

    /// The rate to keep to, below the ceiling if there is one; `None` when nothing is slowed down any more.
    pub fn rate(&mut self, ceiling: Option<f64>, now: Duration) -> Option<f64> {
        let Slowed { since, from, refused } = self.slowed?;
        let rate = from + STEP_PER_SECOND * refused * now.saturating_sub(since).as_secs_f64();
        // A ceiling of nothing is no rate that was reached again: there is no turn for this worker now.
        let free_at = ceiling.filter(|&ceiling| ceiling > 0.0).unwrap_or(FREE_AT * refused);
        if rate >= free_at {
            self.slowed = None;
        }
        self.slowed.map(|_| rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn throttling_halves_what_was_consumed_and_time_brings_it_back() {
        let mut slowing = Slowing::default();
        assert_eq!(slowing.rate(Some(500.0), SECOND), None);

        slowing.throttled(200.0, SECOND);

        let rates = [1, 2, 11, 31].map(|second| slowing.rate(None, SECOND * second));
        assert_eq!(rates, [Some(100.0), Some(110.0), Some(200.0), None]);
        assert_eq!(slowing.rate(None, SECOND * 40), None, "it was free already");
    }

    #[test]
    fn a_ceiling_is_reached_again_and_not_passed() {
        let mut slowing = Slowing::default();
        slowing.throttled(200.0, SECOND);

        assert_eq!(slowing.rate(Some(150.0), SECOND * 5), Some(140.0));
        assert_eq!(slowing.rate(Some(150.0), SECOND * 6), None);
    }

    #[test]
    fn a_ceiling_of_nothing_does_not_make_it_forgotten() {
        let mut slowing = Slowing::default();
        slowing.throttled(200.0, SECOND);

        assert_eq!(slowing.rate(Some(0.0), SECOND * 2), Some(110.0));
        assert_eq!(slowing.rate(Some(500.0), SECOND * 3), Some(120.0));
    }

    #[test]
    fn throttled_requests_of_one_second_count_once() {
        let mut slowing = Slowing::default();
        for n in 0..9 {
            slowing.throttled(200.0, SECOND + n * SECOND / 10);
        }
        assert_eq!(slowing.rate(None, SECOND), Some(100.0));

        slowing.throttled(100.0, SECOND * 2);
        assert_eq!(slowing.rate(None, SECOND * 2), Some(50.0));
    }

    #[test]
    fn one_unit_per_second_is_left_in_any_case() {
        let mut slowing = Slowing::default();
        for n in 1..20 {
            slowing.throttled(0.0, SECOND * n);
            assert_eq!(slowing.rate(None, SECOND * n), Some(1.0));
        }
    }
}
