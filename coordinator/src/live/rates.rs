//! Rates over the last few seconds, from counts that only grow.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How far back a rate looks.
const WINDOW: Duration = Duration::from_secs(9);

/// What is counted of an entry, from its beginning on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// Items that were read and compared, or written; whichever its step counts.
    pub items: u64,
    /// Read units.
    pub read_units: f64,
    /// Write units.
    pub write_units: f64,
}

/// The same, per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Items.
    pub items: f64,
    /// Read units.
    pub read_units: f64,
    /// Write units.
    pub write_units: f64,
}

/// The counts of the last few seconds.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    counts: VecDeque<(Instant, Counts)>,
}

impl Recent {
    /// Takes up the counts as they are now.
    pub fn push(&mut self, now: Instant, counts: Counts) {
        self.counts.push_back((now, counts));
        // The oldest that stays is the last one at the window's edge or before it.
        let outside = |at: Instant| now.saturating_duration_since(at) >= WINDOW;
        while self.counts.get(1).is_some_and(|(at, _)| outside(*at)) {
            self.counts.pop_front();
        }
    }

    /// What happened per second; nothing, before a second look and when the last look is long ago.
    #[must_use]
    pub fn rates(&self, now: Instant) -> Rates {
        let (Some((from, before)), Some((to, after))) = (self.counts.front(), self.counts.back()) else {
            return Rates::default();
        };
        let seconds = to.saturating_duration_since(*from).as_secs_f64();
        if seconds <= 0.0 || now.saturating_duration_since(*to) >= WINDOW {
            return Rates::default();
        }
        #[expect(clippy::cast_precision_loss, reason = "a display")]
        let items = after.items.saturating_sub(before.items) as f64;
        Rates {
            items: items / seconds,
            read_units: (after.read_units - before.read_units).max(0.0) / seconds,
            write_units: (after.write_units - before.write_units).max(0.0) / seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(items: u64) -> Counts {
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let units = items as f64;
        Counts { items, read_units: units / 2.0, write_units: units * 2.0 }
    }

    /// Rates after looks at these times, at the time of the last.
    fn after(looks: &[(u64, u64)]) -> Rates {
        let start = Instant::now();
        let mut recent = Recent::default();
        let mut now = start;
        for (millis, items) in looks {
            now = start + Duration::from_millis(*millis);
            recent.push(now, counts(*items));
        }
        recent.rates(now)
    }

    #[test]
    fn a_rate_is_the_mean_of_the_window() {
        assert_eq!(after(&[(0, 0), (1000, 100)]), Rates { items: 100.0, read_units: 50.0, write_units: 200.0 });
        let steady: Vec<(u64, u64)> = (0..60).map(|look| (look * 500, look * 20)).collect();
        assert_eq!(after(&steady).items, 40.0);
        assert_eq!(after(&[(0, 0), (1000, 900), (5000, 900), (9000, 900)]).items, 100.0);
    }

    #[test]
    fn what_is_older_than_the_window_does_not_count() {
        let burst: Vec<(u64, u64)> = (0..60).map(|look| (look * 500, if look < 30 { 0 } else { 1000 })).collect();
        assert_eq!(after(&burst).items, 0.0);
        assert_eq!(after(&[(0, 0), (60_000, 600)]).items, 10.0);
    }

    #[test]
    fn there_is_no_rate_before_the_second_look_nor_long_after_the_last() {
        assert_eq!(after(&[]), Rates::default());
        assert_eq!(after(&[(0, 100)]), Rates::default());
        assert_eq!(after(&[(0, 0), (0, 100)]), Rates::default());
        let (mut recent, start) = (Recent::default(), Instant::now());
        recent.push(start, counts(0));
        recent.push(start + Duration::from_secs(1), counts(100));
        assert_eq!(recent.rates(start + Duration::from_secs(2)).items, 100.0);
        assert_eq!(recent.rates(start + Duration::from_secs(10)), Rates::default());
    }

    #[test]
    fn counts_that_began_anew_give_no_negative_rate() {
        assert_eq!(after(&[(0, 100), (1000, 10)]), Rates::default());
    }

    #[test]
    fn few_looks_are_kept() {
        let start = Instant::now();
        let mut recent = Recent::default();
        for look in 0..10_000u32 {
            recent.push(start + Duration::from_millis(500) * look, counts(u64::from(look)));
        }
        assert_eq!(recent.counts.len(), 19);
    }
}
