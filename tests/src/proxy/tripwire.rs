//! Stopping the world at a chosen request: between a decision and its effect, or between an effect and its answer.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::call::{Call, Service};
use super::lock;

/// How long a request is held when nobody lets it go.
const HELD: Duration = Duration::from_secs(10);

/// Which request of a client is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tripwire {
    /// Which requests count.
    pub on: On,
    /// How many of them pass before one is held.
    pub after: u32,
    /// Where it is held.
    pub when: When,
}

/// Requests that a tripwire counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// All.
    Any,
    /// Those that change a table.
    Write,
    /// Those that put an object into the store.
    Put,
    /// Those that put messages onto the queue.
    Send,
}

/// Where a request is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Before the service has it.
    Before,
    /// When the service has done it, and its client does not know.
    After,
}

#[derive(Debug, Default)]
pub(super) struct Wire {
    set: Mutex<Option<Tripwire>>,
    tripped: AtomicBool,
    release: Notify,
}

impl Wire {
    pub(super) fn set(&self, tripwire: Tripwire) {
        *lock(&self.set) = Some(tripwire);
    }

    pub(super) fn disarm(&self) {
        *lock(&self.set) = None;
        self.let_go();
    }

    pub(super) fn has_tripped(&self) -> bool {
        self.tripped.load(Ordering::Acquire)
    }

    pub(super) fn let_go(&self) {
        self.tripped.store(false, Ordering::Release);
        self.release.notify_waiters();
    }

    /// Where this request is to be held, if it is the one.
    pub(super) fn holds(&self, call: &Call) -> Option<When> {
        let mut set = lock(&self.set);
        let tripwire = set.as_mut().filter(|tripwire| tripwire.on.counts(call))?;
        if tripwire.after > 0 {
            tripwire.after -= 1;
            return None;
        }
        set.take().map(|tripwire| tripwire.when)
    }

    pub(super) async fn hold(&self) {
        let released = self.release.notified();
        self.tripped.store(true, Ordering::Release);
        // Whoever was to act may have given up.
        let _ = tokio::time::timeout(HELD, released).await;
        self.tripped.store(false, Ordering::Release);
    }
}

impl On {
    fn counts(self, call: &Call) -> bool {
        match self {
            Self::Any => true,
            Self::Write => call.writes_tables(),
            Self::Put => call.service == Service::Store && call.operation == "PUT",
            Self::Send => call.service == Service::Queue && call.operation.starts_with("SendMessage"),
        }
    }
}
