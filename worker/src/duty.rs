//! What is asked of a running worker, and what it has in hand: the line between its loop and whoever runs it.

use shared::domain::unit::Pass;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What is asked of a worker. Each asks for more than the one before, and none is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// To go on.
    GoOn,
    /// To take no more: segments in hand are finished; shards, which never end by themselves, are given back after the page
    /// in hand, for whose capacity they wait.
    Drain,
    /// To give everything back at its next commit.
    Stop,
}

/// A worker's orders, and the segments it has in hand. Clones share both.
#[derive(Clone, Debug)]
pub struct Duty {
    stop: CancellationToken,
    /// A child of `stop`: whoever is to stop is to take no more.
    drain: CancellationToken,
    in_hand: watch::Sender<usize>,
}

/// A segment is in hand as long as this lives.
#[derive(Debug)]
pub struct InHand<'a>(&'a watch::Sender<usize>);

impl From<CancellationToken> for Duty {
    /// A worker that this token stops. What is ordered otherwise does not reach the token.
    fn from(stop: CancellationToken) -> Self {
        let stop = stop.child_token();
        Self { drain: stop.child_token(), stop, in_hand: watch::Sender::new(0) }
    }
}

impl Duty {
    /// Gives an order.
    pub fn order(&self, order: Order) {
        match order {
            Order::GoOn => {}
            Order::Drain => self.drain.cancel(),
            Order::Stop => self.stop.cancel(),
        }
    }

    /// What is asked of the worker now.
    #[must_use]
    pub fn asked(&self) -> Order {
        match (self.stop.is_cancelled(), self.drain.is_cancelled()) {
            (true, _) => Order::Stop,
            (false, true) => Order::Drain,
            (false, false) => Order::GoOn,
        }
    }

    /// How many segments are in hand, now and whenever that changes.
    #[must_use]
    pub fn in_hand(&self) -> watch::Receiver<usize> {
        self.in_hand.subscribe()
    }

    /// Cancelled once the worker is to take no more.
    pub(crate) fn takes_no_more(&self) -> &CancellationToken {
        &self.drain
    }

    /// Cancelled once the worker is to stop.
    pub(crate) fn stops(&self) -> &CancellationToken {
        &self.stop
    }

    /// What ends the work on a unit of this pass at its next commit.
    pub(crate) fn halt(&self, pass: Pass) -> CancellationToken {
        match pass {
            Pass::Stream => self.drain.child_token(),
            Pass::Master | Pass::Slave(_) => self.stop.child_token(),
        }
    }

    /// Counts a segment as in hand. A shard does not count: it never ends by itself, so that a worker with one would be
    /// spared for good, and it is given back at once.
    pub(crate) fn take_in_hand(&self, pass: Pass) -> Option<InHand<'_>> {
        if pass == Pass::Stream {
            return None;
        }
        self.in_hand.send_modify(|count| *count += 1);
        Some(InHand(&self.in_hand))
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn duty() -> Duty {
        CancellationToken::new().into()
    }

    #[test]
    fn a_drain_ends_shards_and_lets_segments_go_on_and_a_stop_ends_all() {
        // Order, then whether more is taken, whether a shard goes on, whether a segment does.
        let table = [
            (Order::GoOn, [true, true, true]),
            (Order::Drain, [false, false, true]),
            (Order::Stop, [false, false, false]),
        ];
        for (order, goes_on) in table {
            let duty = duty();
            let tokens = [duty.takes_no_more().clone(), duty.halt(Pass::Stream), duty.halt(Pass::Master)];

            duty.order(order);

            assert_eq!(tokens.map(|token| !token.is_cancelled()), goes_on, "{order:?}");
            assert_eq!(duty.asked(), order);
        }
    }

    #[test]
    fn no_order_is_taken_back() {
        let duty = duty();

        for order in [Order::Drain, Order::GoOn] {
            duty.order(order);
            assert_eq!(duty.asked(), Order::Drain);
        }
        for order in [Order::Stop, Order::Drain, Order::GoOn] {
            duty.order(order);
            assert_eq!(duty.asked(), Order::Stop);
        }
    }

    #[test]
    fn what_stops_the_worker_from_outside_is_not_stopped_by_it() {
        let outside = CancellationToken::new();
        let duty = Duty::from(outside.clone());

        duty.order(Order::Stop);
        assert!(!outside.is_cancelled());

        let duty = Duty::from(outside.clone());
        outside.cancel();
        assert_eq!(duty.asked(), Order::Stop);
    }

    #[test]
    fn a_segment_is_in_hand_until_its_work_is_over_also_where_that_panics_and_a_shard_never() {
        let duty = duty();
        let in_hand = duty.in_hand();
        let one = duty.take_in_hand(Pass::Master);
        assert!(duty.take_in_hand(Pass::Stream).is_none());
        let other = duty.clone();
        let panicked = std::thread::spawn(move || {
            let _two = other.take_in_hand(Pass::Slave(0));
            panic!("on purpose");
        });

        assert!(panicked.join().is_err());
        assert_eq!(*in_hand.borrow(), 1);
        drop(one);
        assert_eq!(*in_hand.borrow(), 0);
    }
}
