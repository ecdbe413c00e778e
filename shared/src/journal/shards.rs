//! `shards.json`: which shards a job follows. Whoever changes it does so to the version that it saw.

use std::time::Duration;

use super::failure::JournalError;
use super::folder::{Journal, STORE_RETRY};
use crate::domain::job::Manifest;
use crate::domain::shards::{BadShard, SHARDS_VERSION, Shards};
use crate::ports::failure::FailureKind;
use crate::ports::objects::{PutMode, Version};
use crate::retry;

const NAME: &str = "shards.json";

/// Longest wait of one who was not the first to change it, before the next try.
const LONGEST_STEP_ASIDE: Duration = Duration::from_millis(100);

impl Journal {
    /// Creates a job that follows changes. Must have returned before its first message is sent.
    ///
    /// The shards come first: without a manifest there is no job, and so there never is a job without its shards.
    ///
    /// # Errors
    /// `JobExists` when the id is taken; nothing is changed then.
    pub async fn create_following(&self, manifest: &Manifest, shards: &Shards) -> Result<(), JournalError> {
        let body = self.to_json(NAME, shards)?;
        self.create_after(NAME, body, manifest).await
    }

    /// The shards of a job that follows changes; none of any other job.
    ///
    /// # Errors
    /// `Damaged`, or the store's.
    pub async fn shards_of(&self, manifest: &Manifest) -> Result<Option<Shards>, JournalError> {
        match manifest.replicate {
            None => Ok(None),
            Some(_) => Ok(Some(self.stored_shards().await?.0)),
        }
    }

    /// Changes what is known of the shards, and returns what the change says of it. What others change at the same time
    /// is not lost, and so `change` may be called again, with what they made of it; only its last word counts.
    ///
    /// # Errors
    /// `Damaged`, also when `change` finds what cannot be; or the store's.
    pub async fn change_shards<T>(
        &self,
        change: impl Fn(&mut Shards) -> Result<T, BadShard>,
    ) -> Result<(Shards, T), JournalError> {
        let key = self.key(NAME);
        loop {
            let (before, version) = self.stored_shards().await?;
            let mut shards = before.clone();
            let said = change(&mut shards)
                .map_err(|bad| JournalError::Damaged { url: self.store.url(&key), what: bad.to_string() })?;
            if shards == before {
                return Ok((shards, said));
            }
            let body = self.to_json(NAME, &shards)?;
            let mode = PutMode::ReplaceIf(version);
            match retry::call(STORE_RETRY, || self.store.put(&key, body.clone(), mode.clone())).await {
                // Another was first, or our own put was answered with a failure and arrived: the next look tells.
                // Many workers may be at it; they go apart.
                Err(failure) if failure.kind == FailureKind::Conflict => {
                    tokio::time::sleep(LONGEST_STEP_ASIDE.mul_f64(rand::random())).await;
                }
                Err(failure) => return Err(failure.into()),
                Ok(_) => return Ok((shards, said)),
            }
        }
    }

    async fn stored_shards(&self) -> Result<(Shards, Version), JournalError> {
        let key = self.key(NAME);
        let object = self.get(&key).await?;
        let gone = || JournalError::Damaged { url: self.store.url(&key), what: "it is gone".to_owned() };
        let object = object.ok_or_else(gone)?;
        let shards: Shards = self.versioned(&key, &object, SHARDS_VERSION)?;
        if !shards.shards.is_sorted_by(|one, next| one.number < next.number) {
            let what = "its shards are not in the order of their numbers".to_owned();
            return Err(JournalError::Damaged { url: self.store.url(&key), what });
        }
        Ok((shards, object.version))
    }
}
