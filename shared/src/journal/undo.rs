//! What repairs overwrite or delete, kept in the unit's folder before the write.
//!
//! `units/PASS/SEGMENT/undo-TAKE-NUMBER.jsonl.gz`: the names sort by time, because a later owner of the unit has a
//! higher take, and no checkpoint names them, because a write may be made before the next commit.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::failure::JournalError;
use super::folder::{Journal, STORE_RETRY};
use super::owned::OwnedUnit;
use super::parts::Packed;
use crate::domain::undo::Kept;
use crate::domain::unit::Unit;
use crate::ports::objects::PutMode;
use crate::retry;

/// What the names of these objects begin with.
const PREFIX: &str = "undo-";

/// Where one owner of a unit keeps old images; those that come together are put together.
pub struct OldImages {
    journal: Journal,
    unit: Unit,
    take: u64,
    next: AtomicU64,
    waiting: Mutex<Vec<Waiting>>,
    put: tokio::sync::Mutex<()>,
}

struct Waiting {
    kept: Kept,
    done: oneshot::Sender<Result<(), JournalError>>,
}

impl OldImages {
    pub(super) fn of(journal: Journal, unit: Unit, take: u64) -> Self {
        Self {
            journal,
            unit,
            take,
            next: AtomicU64::new(1),
            waiting: Mutex::default(),
            put: tokio::sync::Mutex::new(()),
        }
    }

    async fn keep(&self, kept: Kept) -> Result<(), JournalError> {
        let (done, mut answer) = oneshot::channel();
        self.waiting().push(Waiting { kept, done });
        let _turn = self.put.lock().await;
        match answer.try_recv() {
            // Whoever had the turn before took it along.
            Ok(result) => return result,
            Err(oneshot::error::TryRecvError::Empty) => {}
            // Its work was dropped, and so is ours.
            Err(oneshot::error::TryRecvError::Closed) => return Err(JournalError::Lost { unit: self.unit }),
        }
        let together = std::mem::take(&mut *self.waiting());
        let result = self.put(&together).await;
        for waiting in together {
            // Who does not wait any more has been dropped.
            let _ = waiting.done.send(result.clone());
        }
        result
    }

    async fn put(&self, together: &[Waiting]) -> Result<(), JournalError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let key = self.journal.unit_key(self.unit, &format!("{PREFIX}{:010}-{number:010}.jsonl.gz", self.take));
        let lines: Packed<&Kept> = together.iter().map(|waiting| &waiting.kept).collect();
        let damaged = |error: std::io::Error| JournalError::Damaged {
            url: self.journal.store.url(&key),
            what: error.to_string(),
        };
        let body = lines.finish().map_err(damaged)?;
        retry::call(STORE_RETRY, || self.journal.store.put(&key, body.clone(), PutMode::Overwrite)).await?;
        Ok(())
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OwnedUnit {
    /// Keeps what is about to be overwritten or deleted, or that a write was refused; once this returns, `undo` will
    /// find it.
    ///
    /// # Errors
    /// The store's; then the write must not be made.
    pub async fn keep(&self, kept: Kept) -> Result<(), JournalError> {
        self.old_images.keep(kept).await
    }
}

impl Journal {
    /// Names of what this unit's repairs kept, the earliest first.
    ///
    /// # Errors
    /// The store's.
    pub async fn kept(&self, unit: Unit) -> Result<Vec<String>, JournalError> {
        let folder = self.unit_key(unit, "");
        let listing = retry::call(STORE_RETRY, || self.store.list(&folder)).await?;
        let names = listing.objects.into_iter().filter_map(|object| Some(object.key.strip_prefix(&folder)?.to_owned()));
        Ok(names.filter(|name| name.starts_with(PREFIX)).collect())
    }

    /// What was kept together under this name.
    ///
    /// # Errors
    /// `Damaged`, or the store's.
    pub async fn kept_together(&self, unit: Unit, name: &str) -> Result<Vec<Kept>, JournalError> {
        self.lines(unit, name).await
    }
}
