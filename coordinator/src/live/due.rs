//! What is written every so often.

use std::time::{Duration, Instant};

/// How often the table on a terminal is drawn.
pub const TABLE_EVERY: Duration = Duration::from_millis(500);

/// How often plain lines are written where there is no terminal.
pub const LINES_EVERY: Duration = Duration::from_secs(15);

/// How often the log gets a line of each entry.
pub const LOG_EVERY: Duration = Duration::from_secs(20 * 60);

/// Something that is due again and again.
#[derive(Clone, Copy, Debug)]
pub struct Every {
    interval: Duration,
    next: Instant,
}

impl Every {
    /// First due one interval after `now`.
    #[must_use]
    pub fn new(interval: Duration, now: Instant) -> Self {
        Self { interval, next: now + interval }
    }

    /// Whether it is due; if so, it is due again an interval later. What was missed is not made up for.
    pub fn is_due(&mut self, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        self.next += self.interval;
        if self.next <= now {
            self.next = now + self.interval;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seconds, out of these, at which something that is due every 15 seconds is due.
    fn due_at(seconds: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let start = Instant::now();
        let mut every = Every::new(Duration::from_secs(15), start);
        seconds.into_iter().filter(|second| every.is_due(start + Duration::from_secs(*second))).collect()
    }

    #[test]
    fn it_is_due_once_in_every_interval() {
        assert_eq!(due_at(0..=60), [15, 30, 45, 60]);
        assert_eq!(due_at([15, 15, 29, 30]), [15, 30]);
    }

    #[test]
    fn a_late_look_does_not_move_the_next_one_but_misses_are_not_made_up_for() {
        assert_eq!(due_at([16, 29, 30, 31]), [16, 30]);
        assert_eq!(due_at([50, 51, 60, 64, 65]), [50, 65]);
    }
}
