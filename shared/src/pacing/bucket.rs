//! One rate, held: a leaky bucket of capacity units.
//!
//! What is taken raises the level, and it sinks by the rate. A request goes through while the level stays below what
//! [`BURST`] of the rate is, or when the bucket is empty. So what goes through in any stretch of time is at most what the
//! rate gives in it, and that burst or the largest request on top: with requests of at most [`REQUEST`] of the rate, 10
//! seconds hold no more than 1.05 times the rate.

use std::time::Duration;

/// What may go through at once, as a stretch of the rate.
pub const BURST: Duration = Duration::from_millis(450);

/// What one request takes at most, as a stretch of the rate, where requests can be cut.
pub const REQUEST: Duration = Duration::from_millis(350);

/// Less than any request costs.
const NOTHING: f64 = 1e-6;

/// A level that sinks by a rate.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    level: f64,
    rate: f64,
    at: Duration,
}

impl Bucket {
    /// Lets it sink by this rate, in units per second, from now on.
    pub fn set_rate(&mut self, rate: f64, now: Duration) {
        self.sink(now);
        self.rate = rate;
    }

    /// How long a request of this cost waits if nothing else comes in between; `None` is for ever.
    #[must_use]
    pub fn wait(&mut self, cost: f64, now: Duration) -> Option<Duration> {
        self.sink(now);
        let burst = BURST.as_secs_f64() * self.rate;
        let most = (burst - cost).max(0.0);
        let above = self.level - most;
        if above <= NOTHING {
            return (self.rate > 0.0).then_some(Duration::ZERO);
        }
        // A rate next to nothing is nothing.
        Duration::try_from_secs_f64(above / self.rate).ok()
    }

    /// Takes what a request will cost.
    pub fn take(&mut self, cost: f64, now: Duration) {
        self.sink(now);
        self.level += cost;
    }

    /// Corrects a request's cost by this much. What was given back too late for its turn is not saved up.
    pub fn correct(&mut self, by: f64, now: Duration) {
        self.sink(now);
        self.level = (self.level + by).max(0.0);
    }

    fn sink(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        self.level = (self.level - self.rate * passed.as_secs_f64()).max(0.0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW: f64 = 10.0;

    /// Requests that always wait, one after the other: when each went through, and what it cost.
    fn steady(rate: f64, costs: &[f64], seconds: f64) -> Vec<(f64, f64)> {
        let mut bucket = Bucket::default();
        bucket.set_rate(rate, Duration::ZERO);
        let mut now = Duration::ZERO;
        let mut passed = Vec::new();
        for &cost in costs.iter().cycle() {
            while let Some(wait) = bucket.wait(cost, now)
                && wait > Duration::ZERO
            {
                now += wait;
            }
            if now.as_secs_f64() > seconds {
                return passed;
            }
            bucket.take(cost, now);
            passed.push((now.as_secs_f64(), cost));
        }
        passed
    }

    fn worst_window(passed: &[(f64, f64)]) -> f64 {
        let within = |from: f64| passed.iter().filter(move |(at, _)| (from..from + WINDOW).contains(at));
        passed.iter().map(|&(from, _)| within(from).map(|(_, cost)| cost).sum()).fold(0.0, f64::max)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_ten_seconds_hold_more_than_the_bound_and_nearly_all_is_used(
            rate in 1.0..40_000.0_f64,
            shares in proptest::collection::vec(0.02..=REQUEST.as_secs_f64(), 1..20),
        ) {
            let costs: Vec<f64> = shares.iter().map(|share| share * rate).collect();

            let passed = steady(rate, &costs, 40.0);

            prop_assert!(worst_window(&passed) <= 1.05 * rate * WINDOW);
            let total: f64 = passed.iter().map(|(_, cost)| cost).sum();
            prop_assert!(total >= 0.95 * rate * 40.0, "{total} of {}", rate * 40.0);
        }
    }

    #[test]
    fn half_units_at_one_unit_per_second_come_every_half_second() {
        let passed = steady(1.0, &[0.5], 20.0);

        assert!(worst_window(&passed) <= 10.0 + 1e-6, "{}", worst_window(&passed));
        assert!(passed.len() >= 40);
    }

    #[test]
    fn requests_that_cannot_be_cut_are_as_far_apart_as_they_cost() {
        let times: Vec<f64> = steady(1.0, &[4.0], 20.0).iter().map(|(at, _)| at.round()).collect();

        assert_eq!(times, [0.0, 4.0, 8.0, 12.0, 16.0, 20.0]);
    }

    #[test]
    fn what_a_request_did_not_cost_is_there_for_the_next_and_never_saved_up() {
        let second = Duration::from_secs(1);
        let mut bucket = Bucket::default();
        bucket.set_rate(10.0, Duration::ZERO);
        bucket.take(30.0, Duration::ZERO);
        assert_eq!(bucket.wait(3.0, Duration::ZERO), Some(Duration::from_millis(2850)));

        bucket.correct(-30.0, Duration::ZERO);
        assert_eq!(bucket.wait(3.0, Duration::ZERO), Some(Duration::ZERO));

        bucket.take(30.0, Duration::ZERO);
        bucket.correct(-30.0, 3 * second);
        bucket.take(10.0, 3 * second);
        assert!(bucket.wait(3.0, 3 * second).unwrap() > Duration::ZERO, "the late gift was saved up");
    }

    #[test]
    fn a_request_that_cost_more_is_waited_for_after_it() {
        let mut bucket = Bucket::default();
        bucket.set_rate(10.0, Duration::ZERO);
        bucket.take(1.0, Duration::ZERO);
        bucket.correct(49.0, Duration::ZERO);

        assert_eq!(bucket.wait(0.5, Duration::ZERO), Some(Duration::from_millis(4600)));
    }

    #[test]
    fn nothing_goes_through_without_a_rate_and_a_new_rate_counts_from_its_time_on() {
        let second = Duration::from_secs(1);
        let mut bucket = Bucket::default();
        assert_eq!(bucket.wait(0.5, second), None);

        bucket.set_rate(10.0, second);
        bucket.take(20.0, second);
        bucket.set_rate(0.0, 2 * second);
        assert_eq!(bucket.wait(0.5, 9 * second), None);
        bucket.set_rate(1.0, 9 * second);
        assert_eq!(bucket.wait(0.5, 9 * second), Some(10 * second));
    }
}
