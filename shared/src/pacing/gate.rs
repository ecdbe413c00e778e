//! Where the requests of one table and direction wait their turn.
//!
//! They go through first come, first served, at the rate of this moment: this worker's share of the ceiling, or less
//! where the service throttles. Without either, and without a budget, the gate is open: passing it takes no lock.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::bucket::{Bucket, REQUEST};
use super::purse::{Answer, Purse};
use super::slowing::Slowing;
use crate::domain::limits::{Budget, Direction};
use crate::ports::failure::Failure;

/// How long requests may still wait once the work is to stop.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a request may turn out to cost, against its estimate, before it is sent without money to pay for it.
const DEARER: f64 = 2.0;

/// What all gates of a job's worker share: its money, and whether it can take part in the job's limits.
#[derive(Debug, Default)]
pub struct Account {
    purse: Mutex<Purse>,
    /// Why there will be no look at the other workers, nor a claim.
    blinded: Mutex<Option<Failure>>,
    /// Told when a request waits for a claim.
    pub wanted: Notify,
}

/// How fast requests may go through.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ceiling {
    /// As fast as they come.
    None,
    /// So many units per second, until then; after it, none.
    Until(f64, Instant),
}

/// The gate.
#[derive(Debug)]
pub struct Gate {
    direction: Direction,
    account: Arc<Account>,
    is_open: AtomicBool,
    lately: Lately,
    opened: Instant,
    state: Mutex<State>,
    /// Held by the request whose turn it is.
    turn: tokio::sync::Mutex<()>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    ceiling: Ceiling,
    slowing: Slowing,
    bucket: Bucket,
    halted: Option<Instant>,
}

/// This request did not get its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Because the work is to stop.
    Halted,
    /// Because the budget is spent.
    Spent,
    /// Because this worker cannot learn its share of what is limited.
    Blinded(Failure),
}

/// A request that went through. Dropped without a word, it counts as what it was estimated to cost.
#[must_use]
#[derive(Debug)]
pub struct Entry<'a> {
    gate: &'a Gate,
    reserved: Option<Reserved>,
}

/// What was taken for a request.
#[derive(Clone, Copy, Debug)]
struct Reserved {
    within: f64,
    units: f64,
    money: u64,
}

enum Step {
    Go(Option<Reserved>),
    Wait(Option<Instant>),
    Refused(Refused),
}

impl Account {
    pub(super) fn purse(&self) -> MutexGuard<'_, Purse> {
        // Every change is whole before the lock is let go of.
        self.purse.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says why this worker cannot take part in the job's limits, or that it can.
    pub(super) fn blind(&self, why: Option<Failure>) {
        *self.blinded.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    fn blinded(&self) -> Option<Failure> {
        self.blinded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes a budget, or none.
    pub fn set(&self, budget: Option<Budget>) {
        self.purse().set(budget);
    }
}

impl Gate {
    /// An open gate.
    #[must_use]
    pub fn new(direction: Direction, account: Arc<Account>) -> Self {
        let state =
            State { ceiling: Ceiling::None, slowing: Slowing::default(), bucket: Bucket::default(), halted: None };
        Self {
            direction,
            account,
            is_open: AtomicBool::new(true),
            lately: Lately::default(),
            opened: Instant::now(),
            state: Mutex::new(state),
            turn: tokio::sync::Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Sets the ceiling, and looks at the budget anew.
    pub fn set(&self, ceiling: Ceiling) {
        let mut state = self.state();
        state.ceiling = ceiling;
        self.open_or_close(&mut state);
    }

    /// Has the requests that wait, and those that will, refused before long; or not any more.
    pub fn halt(&self, halt: bool) {
        let mut state = self.state();
        state.halted = match (halt, state.halted) {
            (true, None) => Some(Instant::now()),
            (true, halted) => halted,
            (false, _) => None,
        };
        drop(state);
        self.changed.notify_one();
    }

    /// The service asked all of this table's requests to slow down.
    pub fn throttled(&self) {
        let now = self.opened.elapsed();
        let lately = self.lately.units_per_second(now);
        let mut state = self.state();
        state.slowing.throttled(lately, now);
        self.open_or_close(&mut state);
    }

    /// Waits for the turn of a request. `cost` estimates what it will take if it may take so many units at most.
    ///
    /// If this future is dropped, the request was never there.
    ///
    /// # Errors
    /// When the work is to stop, or cannot go on.
    pub async fn enter(&self, cost: impl Fn(f64) -> f64 + Send) -> Result<Entry<'_>, Refused> {
        if self.is_open.load(Ordering::Acquire) {
            return Ok(Entry { gate: self, reserved: None });
        }
        let _turn = self.turn.lock().await;
        loop {
            let until = match self.step(&cost) {
                Step::Go(reserved) => return Ok(Entry { gate: self, reserved }),
                Step::Refused(refused) => return Err(refused),
                Step::Wait(until) => until,
            };
            let timer = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = timer => {}
                () = self.changed.notified() => {}
            }
        }
    }

    fn step(&self, cost: &impl Fn(f64) -> f64) -> Step {
        let (instant, now) = (Instant::now(), self.opened.elapsed());
        let mut state = self.state();
        let give_up = state.halted.map(|halted| halted + PATIENCE);
        if give_up.is_some_and(|give_up| give_up <= instant) {
            return Step::Refused(Refused::Halted);
        }
        if self.is_limited(&state)
            && let Some(failure) = self.account.blinded()
        {
            return Step::Refused(Refused::Blinded(failure));
        }
        let rate = state.rate(instant, now);
        if rate.is_none() {
            // Throttling may be over.
            self.swing(&mut state);
        }
        let within = rate.map_or(f64::INFINITY, |rate| REQUEST.as_secs_f64() * rate);
        let units = cost(within);
        if let Some(rate) = rate {
            state.bucket.set_rate(rate, now);
            match state.bucket.wait(units, now) {
                Some(Duration::ZERO) => {}
                Some(wait) => {
                    // Rounded up, so that the next look does not come a moment too early.
                    let turn = instant + wait + Duration::from_micros(1);
                    return Step::Wait(Some(give_up.map_or(turn, |give_up| give_up.min(turn))));
                }
                None => return Step::Wait(give_up),
            }
        }
        let answer = self.account.purse().ask(self.direction, units * DEARER);
        match answer {
            Answer::Go(money) => {
                state.bucket.take(units, now);
                Step::Go(Some(Reserved { within, units, money }))
            }
            Answer::Wait => {
                self.account.wanted.notify_one();
                Step::Wait(give_up)
            }
            Answer::Spent => Step::Refused(Refused::Spent),
        }
    }

    fn settle(&self, reserved: Reserved, units: f64) {
        self.account.purse().settle(reserved.money, self.direction, units);
        self.state().bucket.correct(units - reserved.units, self.opened.elapsed());
        if units < reserved.units {
            self.changed.notify_one();
        }
    }

    fn open_or_close(&self, state: &mut State) {
        self.swing(state);
        self.changed.notify_one();
    }

    fn swing(&self, state: &mut State) {
        let now = self.opened.elapsed();
        let is_slowed = state.slowing.rate(None, now).is_some();
        self.is_open.store(!self.is_limited(state) && !is_slowed, Ordering::Release);
    }

    fn is_limited(&self, state: &State) -> bool {
        state.ceiling != Ceiling::None || self.account.purse().has_budget()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The rate of this moment; `None` is as fast as requests come.
    fn rate(&mut self, instant: Instant, now: Duration) -> Option<f64> {
        let ceiling = match self.ceiling {
            Ceiling::None => None,
            Ceiling::Until(rate, until) => Some(if instant < until { rate } else { 0.0 }),
        };
        let slowed = self.slowing.rate(ceiling, now);
        match (ceiling, slowed) {
            (Some(ceiling), Some(slowed)) => Some(ceiling.min(slowed)),
            (one, other) => one.or(other),
        }
    }
}

impl Entry<'_> {
    /// Units that the request may take at most; infinite where nothing limits it.
    #[must_use]
    pub fn within(&self) -> f64 {
        self.reserved.map_or(f64::INFINITY, |reserved| reserved.within)
    }

    /// Whether the gate was open.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.reserved.is_none()
    }

    /// What was estimated.
    #[must_use]
    pub fn estimate(&self) -> f64 {
        self.reserved.map_or(0.0, |reserved| reserved.units)
    }

    /// Says what the request did cost.
    pub fn settle(mut self, units: f64) {
        self.gate.lately.add(units, self.gate.opened.elapsed());
        if let Some(reserved) = self.reserved.take() {
            self.gate.settle(reserved, units);
        }
    }

    /// The request was refused, and cost nothing.
    pub fn give_back(mut self) {
        if let Some(reserved) = self.reserved.take() {
            self.gate.settle(reserved, 0.0);
        }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if let Some(reserved) = self.reserved.take() {
            self.gate.settle(reserved, reserved.units);
        }
    }
}

/// Thousandths of units consumed in this second and in the one before. Counts of racing requests may fall between two
/// seconds; what it is for needs no more.
#[derive(Debug, Default)]
struct Lately {
    second: AtomicU64,
    current: AtomicU64,
    before: AtomicU64,
}

impl Lately {
    fn add(&self, units: f64, now: Duration) {
        self.turn_to(now.as_secs());
        self.current.fetch_add((units * 1000.0).round() as u64, Ordering::Relaxed);
    }

    fn units_per_second(&self, now: Duration) -> f64 {
        self.turn_to(now.as_secs());
        let (current, before) = (self.current.load(Ordering::Relaxed), self.before.load(Ordering::Relaxed));
        current.max(before) as f64 / 1000.0
    }

    fn turn_to(&self, second: u64) {
        let was = self.second.load(Ordering::Relaxed);
        if was < second && self.second.compare_exchange(was, second, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let last = self.current.swap(0, Ordering::Relaxed);
            self.before.store(if was + 1 == second { last } else { 0 }, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
