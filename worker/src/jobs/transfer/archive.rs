//! Items, packed into the objects of a full backup.
//!
//! An object is committed when it is whole, together with the position behind its last item. So a unit that is taken up
//! again goes on with a new object behind the last one that counts, and each item is in one object. The names hold the
//! number of the take, which no two workers share: one that was replaced can never overwrite an object that counts.

use std::sync::Arc;
use std::time::Duration;

use shared::domain::backup::StoredObject;
use shared::domain::item_line;
use shared::domain::unit::Unit;
use shared::domain::value::Item;
use shared::journal::{JournalError, OwnedUnit};
use shared::packing::{Compression, Packer};
use shared::ports::failure::{Failure, FailureKind};
use shared::ports::objects::ObjectStore;
use shared::ports::uploads::Upload;
use tokio::time::Instant;

use super::{Outcome, Stuck};
use crate::context::JobContext;

/// Size of an object in the store from which on it is ended. A worker that dies loses as much, and a restore holds one
/// object of this size per segment.
const OBJECT_BYTES: u64 = 64 * 1024 * 1024;

/// Age of an object from which on it is ended, for a job that is held to a low rate.
const OBJECT_AGE: Duration = Duration::from_secs(300);

/// Packs items into one object after the other.
pub(super) struct Archive<'a> {
    owned: &'a OwnedUnit,
    store: &'a dyn ObjectStore,
    slaves: usize,
    compression: Compression,
    /// What all names begin with, and how many objects were begun.
    names: String,
    begun: u32,
    open: Option<Open<'a>>,
    /// When the last object was ended.
    ended: Instant,
}

struct Open<'a> {
    name: String,
    packer: Packer,
    upload: Box<dyn Upload + 'a>,
    /// Bytes that were sent.
    stored: u64,
    since: Instant,
}

impl<'a> Archive<'a> {
    pub(super) fn new(
        job: &'a Arc<JobContext>,
        owned: &'a OwnedUnit,
        store: &'a dyn ObjectStore,
        unit: Unit,
        take: u64,
    ) -> Self {
        let compression = job.manifest.backup.as_ref().map(|backup| backup.compression).unwrap_or_default();
        let names = format!("{}/{DATA}{:06}-{take:04}", job.manifest.job, unit.segment);
        Self {
            owned,
            store,
            slaves: job.manifest.slaves.len(),
            compression,
            names,
            begun: 0,
            open: None,
            ended: Instant::now(),
        }
    }

    pub(super) async fn take(&mut self, items: Vec<Item>) -> Result<Outcome, Stuck> {
        let outcome = Outcome::none(self.slaves);
        if items.is_empty() {
            return Ok(outcome);
        }
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let name = format!("{}-{:04}.json{}", self.names, self.begun, self.compression.suffix());
                self.begun += 1;
                let upload = self.store.upload(&name).await?;
                let packer = Packer::new(self.compression).map_err(|error| unpacked(&name, &error.to_string()))?;
                self.open.insert(Open { name, packer, upload, stored: 0, since: Instant::now() })
            }
        };
        for item in &items {
            let line = item_line::write(item);
            open.packer.push(line.as_bytes()).map_err(|error| unpacked(&open.name, &error.to_string()))?;
        }
        let ready = open.packer.take();
        open.stored += ready.len() as u64;
        if !ready.is_empty() {
            open.upload.write(ready).await?;
        }
        Ok(outcome)
    }

    pub(super) fn is_due(&self) -> bool {
        // Where there was nothing to pack, that is committed too: it would be read again after a crash, and again.
        let Some(open) = &self.open else { return self.ended.elapsed() >= OBJECT_AGE };
        open.stored >= OBJECT_BYTES || open.since.elapsed() >= OBJECT_AGE
    }

    /// Ends the object that is open.
    pub(super) async fn close(&mut self) -> Result<Outcome, Stuck> {
        self.ended = Instant::now();
        let mut outcome = Outcome::none(self.slaves);
        let Some(Open { name, packer, mut upload, .. }) = self.open.take() else { return Ok(outcome) };
        let (rest, packed) = packer.finish().map_err(|error| unpacked(&name, &error.to_string()))?;
        if !rest.is_empty() {
            upload.write(rest).await?;
        }
        match self.owned.while_good(upload.complete()).await {
            Some(completed) => drop(completed?),
            None => return Err(JournalError::Lost { unit: self.owned.checkpoint().await.unit }.into()),
        }
        let folder = name.find('/').map_or(0, |slash| slash + 1);
        let stored = StoredObject {
            name: name[folder..].to_owned(),
            items: packed.items,
            bytes: packed.text_bytes,
            stored_bytes: packed.bytes,
            sha256: packed.sha256,
        };
        let counted = &mut outcome.tally.backup;
        counted.items += stored.items;
        counted.bytes += stored.bytes;
        counted.stored_bytes += stored.stored_bytes;
        counted.objects += 1;
        outcome.objects.push(stored);
        Ok(outcome)
    }

    /// Lets go of the object that is open. What cannot be taken back is never named.
    pub(super) async fn give_up(&mut self) {
        if let Some(Open { name, upload, .. }) = self.open.take()
            && let Err(error) = upload.abort().await
        {
            tracing::warn!(object = name, %error, "an upload could not be taken back; the bucket's lifecycle rules do");
        }
    }
}

/// The folder of a backup's objects, below its own. `ImportTable` takes all that is in it.
pub(crate) const DATA: &str = "data/";

fn unpacked(name: &str, error: &str) -> Failure {
    Failure {
        kind: FailureKind::Invalid,
        operation: "Pack",
        resource: format!("object `{name}`"),
        message: error.to_owned(),
    }
}
