//! Outages: for some seconds, every request to one service meets the same fate.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::call::{Call, Service};
use super::fault::Fault;
use super::lock;

/// One outage.
#[derive(Clone, Copy, Debug)]
pub struct Outage {
    /// The service that fails.
    pub of: Part,
    /// Requests to it that pass before the outage begins.
    pub after: u32,
    /// How long it lasts.
    pub lasts: Duration,
    /// What happens to every request.
    pub fate: Fault,
}

/// A service, or the half of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// DynamoDB.
    Tables,
    /// What changes tables.
    Writes,
    /// SQS.
    Queue,
    /// S3.
    Store,
}

/// The outages ahead, and the one that is on.
#[derive(Debug, Default)]
pub(super) struct Outages(Mutex<Vec<(Outage, State)>>);

#[derive(Debug)]
enum State {
    After(u32),
    Until(Instant),
}

impl Outages {
    pub(super) fn new(outages: &[Outage]) -> Self {
        Self(Mutex::new(outages.iter().map(|outage| (*outage, State::After(outage.after))).collect()))
    }

    /// What happens to a request, if there is an outage of its service.
    pub(super) fn fate(&self, call: &Call) -> Option<Fault> {
        let now = Instant::now();
        lock(&self.0).iter_mut().filter(|(outage, _)| outage.of.serves(call)).find_map(|(outage, state)| match state {
            State::After(0) => {
                *state = State::Until(now + outage.lasts);
                Some(outage.fate)
            }
            State::After(left) => {
                *left -= 1;
                None
            }
            State::Until(end) => (now < *end).then_some(outage.fate),
        })
    }

    pub(super) fn end(&self) {
        lock(&self.0).clear();
    }
}

impl Part {
    fn serves(self, call: &Call) -> bool {
        match self {
            Self::Tables => call.service == Service::Tables,
            Self::Writes => call.writes_tables(),
            Self::Queue => call.service == Service::Queue,
            Self::Store => call.service == Service::Store,
        }
    }
}
