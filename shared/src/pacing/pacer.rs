//! The gates of one job in one worker, and what opens and closes them: limits, shares, the wish to stop.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::fleet;
use super::gate::{Account, Ceiling, Gate};
use super::paced::Paced;
use super::shares::{View, share};
use crate::domain::cost::TableSize;
use crate::domain::limits::{Budget, Direction, Limits};
use crate::journal::Journal;
use crate::ports::failure::Failure;
use crate::ports::table::Table;

/// The pacing of one job in one worker.
pub struct Pacer {
    journal: Journal,
    shared: Arc<Shared>,
    /// Keeps the worker in sight of the others; ends with the pacer, as a process that is killed does.
    presence: Mutex<Option<AbortOnDropHandle<()>>>,
}

/// What the pacer shares with its presence.
pub(super) struct Shared {
    /// The worker's id in this job.
    pub(super) id: String,
    pub(super) account: Arc<Account>,
    gates: Vec<[Arc<Gate>; 2]>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    limits: Limits,
    running: u32,
    /// Most segments at once since this was last told.
    peak: u32,
    view: Option<(View, Instant)>,
    is_present: bool,
    is_stopping: bool,
}

/// A segment is in work as long as this lives.
pub struct Running<'a>(&'a Shared);

impl Pacer {
    /// Open gates for so many tables.
    #[must_use]
    pub fn new(journal: Journal, tables: usize) -> Self {
        let account = Arc::new(Account::default());
        let gate = |direction| Arc::new(Gate::new(direction, Arc::clone(&account)));
        let gates = (0..tables).map(|_| [gate(Direction::Read), gate(Direction::Write)]).collect();
        let id = format!("{:016x}", rand::random::<u64>());
        let shared = Shared { id, account, gates, state: Mutex::default() };
        Self { journal, shared: Arc::new(shared), presence: Mutex::default() }
    }

    /// Puts a table of the job behind its gates.
    #[must_use]
    pub fn paced(&self, number: usize, table: Arc<dyn Table>, size: Option<TableSize>) -> Arc<dyn Table> {
        match self.shared.gates.get(number) {
            Some([read, write]) => Arc::new(Paced::new(table, Arc::clone(read), Arc::clone(write), size)),
            None => table,
        }
    }

    /// Takes the limits of the job as they are now.
    pub fn limit(&self, limits: &Limits) {
        let mut state = self.shared.state();
        if state.limits != *limits {
            state.limits.clone_from(limits);
            self.shared.account.set(limits.budget);
            self.shared.open_or_close(&state);
        }
        self.be_present(&mut state);
    }

    /// Whether anything limits the job.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        !self.shared.state().limits.is_none()
    }

    /// The budget that is spent, if requests were refused for it.
    #[must_use]
    pub fn spent(&self) -> Option<Budget> {
        self.shared.account.purse().emptied()
    }

    /// Has what waits for capacity refused before long; or no longer, unless the worker stops.
    pub fn halt(&self, halt: bool) {
        let halt = halt || self.shared.state().is_stopping;
        self.shared.gates.iter().flatten().for_each(|gate| gate.halt(halt));
    }

    /// The worker stops: what waits for capacity is refused before long, whatever the job's wish.
    pub fn stop(&self) {
        self.shared.state().is_stopping = true;
        self.halt(true);
    }

    /// A segment begins.
    #[must_use]
    pub fn begin(&self) -> Running<'_> {
        let mut state = self.shared.state();
        if state.running == 0 {
            self.shared.account.purse().try_again();
        }
        state.running += 1;
        state.peak = state.peak.max(state.running);
        self.be_present(&mut state);
        Running(&self.shared)
    }

    /// The worker leaves in good order: the others need not wait until it is missed. It may come back.
    pub async fn leave(&self) {
        let presence = self.presence.lock().unwrap_or_else(PoisonError::into_inner).take();
        if presence.is_some_and(|presence| !presence.is_finished()) {
            self.shared.be_absent(&mut self.shared.state());
            fleet::leave(&self.shared, &self.journal).await;
        }
    }

    /// Where there are limits and work, sees to it that the other workers know of this one.
    fn be_present(&self, state: &mut State) {
        if state.running == 0 || state.limits.is_none() || state.is_present {
            return;
        }
        state.is_present = true;
        let presence = tokio::spawn(fleet::take_part(Arc::clone(&self.shared), self.journal.clone()));
        *self.presence.lock().unwrap_or_else(PoisonError::into_inner) = Some(AbortOnDropHandle::new(presence));
    }
}

impl Shared {
    /// The most segments at once since this was last asked; nothing, and the presence ends, if there were none or
    /// nothing is limited any more.
    pub(super) fn segments(&self) -> Option<u32> {
        let mut state = self.state();
        let peak = std::mem::replace(&mut state.peak, 0);
        state.peak = state.running;
        if peak == 0 || state.limits.is_none() {
            self.be_absent(&mut state);
            return None;
        }
        Some(peak)
    }

    fn be_absent(&self, state: &mut State) {
        state.is_present = false;
        state.view = None;
        self.account.blind(None);
        self.open_or_close(state);
    }

    /// Takes a look at the other workers, which is good until then.
    pub(super) fn look(&self, view: View, until: Instant) {
        let mut state = self.state();
        state.view = Some((view, until));
        self.open_or_close(&state);
    }

    /// The other workers cannot be seen, and will not be: what waits for a look at them fails by this.
    pub(super) fn blind(&self, failure: Failure) {
        let mut state = self.state();
        state.view = None;
        self.account.blind(Some(failure));
        self.open_or_close(&state);
    }

    fn open_or_close(&self, state: &State) {
        for (table, gates) in self.gates.iter().enumerate() {
            for (gate, direction) in gates.iter().zip([Direction::Read, Direction::Write]) {
                gate.set(match (state.limits.ceiling(table, direction), &state.view) {
                    (None, _) => Ceiling::None,
                    (Some(rate), Some((view, until))) => Ceiling::Until(share(rate, view), *until),
                    (Some(_), None) => Ceiling::Until(0.0, Instant::now()),
                });
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.running = state.running.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use async_trait::async_trait;
    use bytes::Bytes;

    use super::*;
    use crate::domain::encryption::Encryption;
    use crate::domain::job::Consistency;
    use crate::domain::limits::Ceilings;
    use crate::local::memory::MemoryStore;
    use crate::local::table::MemoryTable;
    use crate::ports::contract;
    use crate::ports::failure::FailureKind;
    use crate::ports::objects::{Listing, Object, ObjectStore, PutMode, Version};
    use crate::ports::table::{Content, ScanRequest};

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_left_may_come_back() {
        let journal = Journal::new(Arc::new(MemoryStore::new("memory")), "J");
        let pacer = Pacer::new(journal.clone(), 1);
        let table = pacer.paced(0, Arc::new(MemoryTable::new(contract::table::schema())), None);
        pacer.limit(&Limits { tables: vec![Ceilings { read: Some(10.0), write: None }], budget: None });
        let (consistency, content) = (Consistency::Strong, Content::Items);
        let scan = ScanRequest { segment: 0, total_segments: 1, after: None, limit: None, consistency, content };

        for _ in 0..3 {
            let running = pacer.begin();
            let scanned = tokio::time::timeout(Duration::from_secs(20), table.scan_page(&scan)).await;
            scanned.expect("it comes to its turn").unwrap();
            drop(running);
            pacer.leave().await;

            let told = journal.tell("another", 1, 0).await.unwrap();
            assert_eq!(told.iter().map(|one| one.segments).sum::<u32>(), 1, "{told:?}");
            journal.tell("another", 0, 0).await.unwrap();
        }
    }

    /// A store that allows all but some operations.
    struct Strict {
        inner: MemoryStore,
        denied: &'static [&'static str],
    }

    impl Strict {
        fn check(&self, operation: &'static str) -> Result<(), Failure> {
            if self.denied.contains(&operation) {
                let (resource, message) = ("the job's folder".to_owned(), "it is not allowed".to_owned());
                return Err(Failure { kind: FailureKind::Denied, operation, resource, message });
            }
            Ok(())
        }
    }

    #[async_trait]
    impl ObjectStore for Strict {
        fn url(&self, key: &str) -> String {
            self.inner.url(key)
        }

        async fn put(&self, key: &str, body: Bytes, mode: PutMode) -> Result<Version, Failure> {
            self.check("PutObject")?;
            self.inner.put(key, body, mode).await
        }

        async fn get(&self, key: &str) -> Result<Option<Object>, Failure> {
            self.inner.get(key).await
        }

        async fn delete(&self, key: &str) -> Result<(), Failure> {
            self.check("DeleteObject")?;
            self.inner.delete(key).await
        }

        fn encrypting(&self, encryption: &Encryption) -> Result<Arc<dyn ObjectStore>, Failure> {
            self.inner.encrypting(encryption)
        }

        async fn folders(&self, prefix: &str) -> Result<Vec<String>, Failure> {
            self.inner.folders(prefix).await
        }

        async fn list(&self, prefix: &str) -> Result<Listing, Failure> {
            self.inner.list(prefix).await
        }
    }

    /// The one gate of a job that is limited, whose workers may not do all that they should.
    fn limited(denied: &'static [&'static str]) -> (Pacer, Arc<Gate>) {
        let store = Strict { inner: MemoryStore::new("memory"), denied };
        let pacer = Pacer::new(Journal::new(Arc::new(store), "J"), 1);
        pacer.limit(&Limits { tables: vec![Ceilings { read: Some(100.0), write: None }], budget: None });
        let gate = Arc::clone(&pacer.shared.gates[0][0]);
        (pacer, gate)
    }

    #[tokio::test(start_paused = true)]
    async fn a_presence_that_may_not_be_deleted_goes_on() {
        let (pacer, gate) = limited(&["DeleteObject"]);
        let _one = pacer.begin();
        gate.enter(|_| 1.0).await.unwrap().settle(1.0);

        let _two = pacer.begin();
        for n in 0..200 {
            let entered = tokio::time::timeout(Duration::from_secs(600), gate.enter(|_| 10.0)).await;
            entered.unwrap_or_else(|_| panic!("request {n} waited in vain")).unwrap().settle(10.0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_presence_that_may_not_be_written_ends_what_waits_with_its_reason() {
        let (pacer, _) = limited(&["PutObject"]);
        let table = pacer.paced(0, Arc::new(MemoryTable::new(contract::table::schema())), None);
        let _running = pacer.begin();
        let (consistency, content) = (Consistency::Strong, Content::Items);
        let scan = ScanRequest { segment: 0, total_segments: 1, after: None, limit: None, consistency, content };

        for _ in 0..2 {
            let scanned = tokio::time::timeout(Duration::from_secs(60), table.scan_page(&scan)).await;
            let failure = scanned.expect("it does not wait").unwrap_err();
            assert_eq!((failure.kind, failure.operation), (FailureKind::Denied, "PutObject"), "{failure}");
        }
    }
}
