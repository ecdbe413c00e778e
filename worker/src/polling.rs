//! How often a shard is asked, and from when on it counts as caught up with.

use std::collections::VecDeque;
use std::time::Duration;

use shared::domain::overlap::{Order, STRAGGLERS_MS};
use shared::ports::stream::Tip;
use tokio::time::Instant;

/// Shortest time between two reads of one shard on Kinesis, where five a second are allowed to all readers together.
///
/// Source: Amazon Kinesis Data Streams API Reference, GetRecords.
const KINESIS_EVERY: Duration = Duration::from_millis(250);

/// Waits after a read of DynamoDB Streams that brought nothing, each twice as long as the one before. A read that
/// brought something is followed by the next at once.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// Longest wait: how late a change may be noticed in a shard that was idle.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Empty reads in a row after which a shard of DynamoDB Streams counts as caught up with when the first of them was
/// made. Single ones may be empty although records follow, and it does not say which.
const EMPTY_READS: usize = 4;

/// How long a change may take until its record can be read.
const ARRIVES_WITHIN_MS: i64 = 2_000;

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Records,
    Nothing,
}

/// The reads of one shard.
pub(crate) struct Polling {
    order: Order,
    empty_since_ms: VecDeque<i64>,
    empty_in_a_row: u32,
    caught_up_to_ms: Option<i64>,
    asked: Instant,
}

impl Polling {
    pub(crate) fn new(order: Order) -> Self {
        Self { order, empty_since_ms: VecDeque::new(), empty_in_a_row: 0, caught_up_to_ms: None, asked: Instant::now() }
    }

    /// Notes what a read brought that was made at this time.
    pub(crate) fn told(&mut self, asked_at_ms: i64, seen: Seen, tip: Tip) {
        match (seen, tip) {
            (_, Tip::Behind(Duration::ZERO)) => self.caught_up_to_ms = Some(asked_at_ms - ARRIVES_WITHIN_MS),
            (_, Tip::Behind(_)) => {}
            (Seen::Records, Tip::Unknown) => self.empty_since_ms.clear(),
            (Seen::Nothing, Tip::Unknown) => {
                self.empty_since_ms.push_back(asked_at_ms);
                if self.empty_since_ms.len() > EMPTY_READS {
                    self.empty_since_ms.pop_front();
                }
                if self.empty_since_ms.len() == EMPTY_READS {
                    self.caught_up_to_ms = self.empty_since_ms.front().map(|first| first - ARRIVES_WITHIN_MS);
                }
            }
        }
        self.empty_in_a_row = match seen {
            Seen::Records => 0,
            Seen::Nothing => self.empty_in_a_row.saturating_add(1),
        };
    }

    /// Every change that was made before this had been read by the last read.
    pub(crate) fn caught_up_to_ms(&self) -> Option<i64> {
        self.caught_up_to_ms
    }

    /// Every change that was made before this has been read when one of this time has.
    pub(crate) fn read_up_to_ms(&self, newest_ms: i64) -> i64 {
        match self.order {
            Order::ByItem => newest_ms,
            Order::ByTime => newest_ms.saturating_sub(STRAGGLERS_MS),
        }
    }

    /// Waits until the shard may be asked again.
    pub(crate) async fn pause(&mut self, seen: Seen) {
        tokio::time::sleep_until(self.asked + self.wait(seen)).await;
        self.asked = Instant::now();
    }

    fn wait(&self, seen: Seen) -> Duration {
        match seen {
            Seen::Records => match self.order {
                Order::ByItem => Duration::ZERO,
                Order::ByTime => KINESIS_EVERY,
            },
            Seen::Nothing => {
                let doublings = self.empty_in_a_row.saturating_sub(1).min(10);
                let wait = (FIRST_WAIT * 2_u32.pow(doublings)).min(LONGEST_WAIT);
                match self.order {
                    Order::ByItem => wait,
                    Order::ByTime => wait.max(KINESIS_EVERY),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_shard_is_asked_once_a_second_and_a_busy_one_as_often_as_its_service_allows() {
        for (order, most) in [(Order::ByItem, 1.1), (Order::ByTime, 5.0)] {
            let mut polling = Polling::new(order);
            let waits: Vec<Duration> = (0..10)
                .map(|n| {
                    polling.told(n, Seen::Nothing, Tip::Unknown);
                    polling.wait(Seen::Nothing)
                })
                .collect();
            assert_eq!(waits.last(), Some(&LONGEST_WAIT));
            assert!(1.0 / waits[9].as_secs_f64() < most);
        }
        assert!(1.0 / Polling::new(Order::ByTime).wait(Seen::Records).as_secs_f64() < 5.0);
    }

    #[test]
    fn one_empty_read_says_nothing_and_several_in_a_row_say_when_they_began() {
        let mut polling = Polling::new(Order::ByItem);
        for at in [10_000, 11_000, 12_000] {
            polling.told(at, Seen::Nothing, Tip::Unknown);
        }
        assert_eq!(polling.caught_up_to_ms(), None);
        polling.told(13_000, Seen::Records, Tip::Unknown);
        for at in [14_000, 15_000, 16_000, 17_000] {
            polling.told(at, Seen::Nothing, Tip::Unknown);
        }
        assert_eq!(polling.caught_up_to_ms(), Some(14_000 - ARRIVES_WITHIN_MS));
        polling.told(18_000, Seen::Nothing, Tip::Unknown);
        assert_eq!(polling.caught_up_to_ms(), Some(15_000 - ARRIVES_WITHIN_MS));
    }

    #[test]
    fn a_late_record_says_nothing_of_earlier_ones_where_the_order_is_by_time() {
        assert_eq!(Polling::new(Order::ByItem).read_up_to_ms(1_000_000), 1_000_000);
        assert_eq!(Polling::new(Order::ByTime).read_up_to_ms(1_000_000), 1_000_000 - STRAGGLERS_MS);
    }

    #[test]
    fn a_stream_that_says_how_far_behind_it_is_is_believed() {
        let mut polling = Polling::new(Order::ByTime);
        polling.told(10_000, Seen::Nothing, Tip::Behind(Duration::from_secs(9)));
        assert_eq!(polling.caught_up_to_ms(), None);
        polling.told(11_000, Seen::Records, Tip::Behind(Duration::ZERO));
        assert_eq!(polling.caught_up_to_ms(), Some(11_000 - ARRIVES_WITHIN_MS));
    }
}
