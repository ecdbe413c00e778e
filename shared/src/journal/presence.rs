//! The workers of a job: each tells of itself by the name of a small object, so that one listing shows them all.
//!
//! `jobs/JOB/workers/WORKER/SEGMENTS-CLAIMED`. A name that nobody renews any more stays: it tells what was spent.

use bytes::Bytes;
use jiff::SignedDuration;

use super::folder::Journal;
use crate::ports::failure::Failure;
use crate::ports::objects::{Listing, PutMode};

/// What a worker told of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Its id.
    pub worker: String,
    /// Segments that it has in work.
    pub segments: u32,
    /// Billionths of dollars that it has spent or may spend.
    pub claimed: u64,
    /// How long ago it told so, by the store's clock.
    pub age: SignedDuration,
}

impl Journal {
    /// Tells that this worker has so many segments in work and claims so much; returns what all workers told, this one
    /// included. Whatever another worker told before this began is in it.
    ///
    /// # Errors
    /// The store's. It may have been told all the same.
    pub async fn tell(&self, worker: &str, segments: u32, claimed: u64) -> Result<Vec<Presence>, Failure> {
        let own = self.key(&format!("workers/{worker}/"));
        let name = format!("{own}{segments}-{claimed}");
        self.store.put(&name, Bytes::new(), PutMode::Overwrite).await?;
        let prefix = self.key("workers/");
        let Listing { objects, read_at } = self.store.list(&prefix).await?;
        let mut told = Vec::with_capacity(objects.len());
        for object in objects {
            if object.key.starts_with(&own) && object.key != name {
                if let Err(failure) = self.store.delete(&object.key).await {
                    // It ages, and what it claims counts on the safe side: no reason not to look at the others.
                    tracing::warn!(error = %failure, "an old name of this worker could not be deleted");
                }
                continue;
            }
            let age = read_at.duration_since(object.modified);
            told.extend(object.key.strip_prefix(&prefix).and_then(|name| parse(name, age)));
        }
        Ok(told)
    }

    /// Billionths of dollars that all workers of the job have spent, or may have.
    ///
    /// # Errors
    /// The store's.
    pub async fn claimed(&self) -> Result<u64, Failure> {
        let prefix = self.key("workers/");
        let Listing { objects, .. } = self.store.list(&prefix).await?;
        let mut claims = std::collections::BTreeMap::<String, u64>::new();
        for object in objects {
            let name = object.key.strip_prefix(&prefix).unwrap_or_default();
            if let Some(Presence { worker, claimed, .. }) = parse(name, SignedDuration::ZERO) {
                let claim = claims.entry(worker).or_default();
                *claim = (*claim).max(claimed);
            }
        }
        Ok(claims.values().sum())
    }
}

/// Other objects are none of ours, and tell nothing.
fn parse(name: &str, age: SignedDuration) -> Option<Presence> {
    let (worker, rest) = name.split_once('/')?;
    let (segments, claimed) = rest.split_once('-')?;
    Some(Presence { worker: worker.to_owned(), segments: segments.parse().ok()?, claimed: claimed.parse().ok()?, age })
}
