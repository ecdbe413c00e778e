//! An object store in memory, for tests, whose clock is tokio's: it stands still with it, and can be put forward.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::ports::failure::{Failure, FailureKind};
use crate::ports::objects::{Listed, Listing, Object, ObjectStore, PutMode, Version};

/// A store that lives as long as this value.
#[derive(Debug)]
pub struct MemoryStore {
    bucket: String,
    opened: (Timestamp, Instant),
    // Held for the length of one request, which makes each of them atomic.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Stored>,
    /// Puts so far; the number of a put is the version it makes.
    puts: u64,
    /// How far the clock was put forward.
    ahead: Duration,
}

#[derive(Clone, Debug)]
struct Stored {
    body: Bytes,
    version: Version,
    modified: Timestamp,
}

impl MemoryStore {
    /// An empty store; its URLs begin with `s3://` and this name.
    #[must_use]
    pub fn new(bucket: &str) -> Self {
        Self { bucket: bucket.to_owned(), opened: (Timestamp::now(), Instant::now()), state: Mutex::default() }
    }

    /// Puts the store's clock forward, and nobody else's.
    pub fn put_clock_forward(&self, by: Duration) {
        self.state().ahead += by;
    }

    /// All keys, sorted.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.state().objects.keys().cloned().collect()
    }

    /// How often something was put or deleted.
    #[must_use]
    pub fn puts(&self) -> u64 {
        self.state().puts
    }

    /// Puts an object as another program would; no port call.
    pub fn write(&self, key: &str, body: impl Into<Bytes>) {
        let now = self.now();
        self.state().insert(key, body.into(), now);
    }

    /// Reads an object as another program would; no port call.
    #[must_use]
    pub fn read(&self, key: &str) -> Option<Bytes> {
        self.state().objects.get(key).map(|stored| stored.body.clone())
    }

    fn now(&self) -> Timestamp {
        let (timestamp, instant) = self.opened;
        let passed = instant.elapsed() + self.state().ahead;
        timestamp.saturating_add(SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX)).unwrap_or(timestamp)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is whole before the lock is let go of, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn insert(&mut self, key: &str, body: Bytes, modified: Timestamp) -> Version {
        self.puts += 1;
        let version = Version(self.puts.to_string());
        self.objects.insert(key.to_owned(), Stored { body, version: version.clone(), modified });
        version
    }
}

#[async_trait]
impl ObjectStore for MemoryStore {
    fn url(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.bucket)
    }

    async fn put(&self, key: &str, body: Bytes, mode: PutMode) -> Result<Version, Failure> {
        let now = self.now();
        let mut state = self.state();
        let there = state.objects.get(key).map(|stored| &stored.version);
        let may = match (&mode, there) {
            (PutMode::Overwrite, _) | (PutMode::Create, None) => true,
            (PutMode::ReplaceIf(expected), Some(there)) => expected == there,
            (PutMode::Create, Some(_)) | (PutMode::ReplaceIf(_), None) => false,
        };
        if !may {
            return Err(Failure {
                kind: FailureKind::Conflict,
                operation: "Put",
                resource: format!("object `{key}`"),
                message: "the condition does not hold".to_owned(),
            });
        }
        Ok(state.insert(key, body, now))
    }

    async fn get(&self, key: &str) -> Result<Option<Object>, Failure> {
        let read_at = self.now();
        let stored = self.state().objects.get(key).cloned();
        Ok(stored.map(|Stored { body, version, modified }| Object { body, version, modified, read_at }))
    }

    async fn delete(&self, key: &str) -> Result<(), Failure> {
        let mut state = self.state();
        if state.objects.remove(key).is_some() {
            state.puts += 1;
        }
        Ok(())
    }

    async fn folders(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let state = self.state();
        let below = state.objects.keys().filter_map(|key| key.strip_prefix(prefix));
        let folders: BTreeSet<&str> = below.filter_map(|rest| Some(rest.split_once('/')?.0)).collect();
        Ok(folders.into_iter().map(str::to_owned).collect())
    }

    async fn list(&self, prefix: &str) -> Result<Listing, Failure> {
        let read_at = self.now();
        let state = self.state();
        let below = state.objects.iter().filter(|(key, _)| key.starts_with(prefix));
        let objects = below.map(|(key, stored)| Listed { key: key.clone(), modified: stored.modified }).collect();
        Ok(Listing { objects, read_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::contract;

    #[tokio::test]
    async fn it_keeps_the_contract_of_a_store() {
        contract::objects(async || MemoryStore::new("memory")).await;
    }

    #[tokio::test(start_paused = true)]
    async fn its_clock_follows_tokios_and_can_be_put_forward() {
        let store = MemoryStore::new("memory");
        store.put("key", Bytes::new(), PutMode::Create).await.unwrap();
        let age = async || {
            let object = store.get("key").await.unwrap().unwrap();
            object.read_at.duration_since(object.modified).as_secs()
        };

        assert_eq!(age().await, 0);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(age().await, 5);
        store.put_clock_forward(Duration::from_secs(60));
        assert_eq!(age().await, 65);
    }
}
