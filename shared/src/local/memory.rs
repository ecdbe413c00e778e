//! An object store in memory, for tests, whose clock is tokio's: it stands still with it, and can be put forward.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::ports::failure::{Failure, FailureKind};
use crate::ports::objects::{
    Kept, KeptKind, KeptPage, ListPage, Listed, Listing, More, NO_VERSION, Object, ObjectStore, PutMode, Version,
};

/// Objects, or versions, on a page: few, so that tests meet many pages.
const PAGE: usize = 10;

/// Between a key and a version's id in a place.
const PLACE: char = '\0';

/// A store that lives as long as this value.
#[derive(Debug)]
pub struct MemoryStore {
    bucket: String,
    opened: (Timestamp, Instant),
    keeping: Keeping,
    // Held for the length of one request, which makes each of them atomic.
    state: Mutex<State>,
}

/// What becomes of objects that are overwritten or deleted.
#[derive(Clone, Copy, Debug)]
enum Keeping {
    Nothing,
    Versions,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Stored>,
    /// All versions, from the oldest to the newest, where they are kept.
    kept: BTreeMap<String, Vec<Past>>,
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

/// A version of an object, or its deletion.
#[derive(Clone, Debug)]
struct Past {
    id: String,
    modified: Timestamp,
    stored: Option<Stored>,
}

impl MemoryStore {
    /// An empty store; its URLs begin with `s3://` and this name.
    #[must_use]
    pub fn new(bucket: &str) -> Self {
        Self {
            bucket: bucket.to_owned(),
            opened: (Timestamp::now(), Instant::now()),
            keeping: Keeping::Nothing,
            state: Mutex::default(),
        }
    }

    /// The same, keeping what is overwritten and deleted, as a versioned bucket does.
    #[must_use]
    pub fn versioned(bucket: &str) -> Self {
        Self { keeping: Keeping::Versions, ..Self::new(bucket) }
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
        self.state().insert(key, body.into(), now, self.keeping);
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
    fn insert(&mut self, key: &str, body: Bytes, modified: Timestamp, keeping: Keeping) -> Version {
        self.puts += 1;
        let version = Version(self.puts.to_string());
        let stored = Stored { body, version: version.clone(), modified };
        self.keep(key, modified, Some(&stored), keeping);
        self.objects.insert(key.to_owned(), stored);
        version
    }

    fn keep(&mut self, key: &str, modified: Timestamp, stored: Option<&Stored>, keeping: Keeping) {
        if let Keeping::Versions = keeping {
            let past = Past { id: format!("v{}", self.puts), modified, stored: stored.cloned() };
            self.kept.entry(key.to_owned()).or_default().push(past);
        }
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
        Ok(state.insert(key, body, now, self.keeping))
    }

    async fn get(&self, key: &str) -> Result<Option<Object>, Failure> {
        let read_at = self.now();
        let stored = self.state().objects.get(key).cloned();
        Ok(stored.map(|Stored { body, version, modified }| Object { body, version, modified, read_at }))
    }

    async fn delete(&self, key: &str) -> Result<(), Failure> {
        let now = self.now();
        let mut state = self.state();
        // A versioned bucket marks what was never there, too.
        if state.objects.remove(key).is_some() || matches!(self.keeping, Keeping::Versions) {
            state.puts += 1;
            state.keep(key, now, None, self.keeping);
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

    async fn list_page(&self, prefix: &str, after: Option<&str>) -> Result<ListPage, Failure> {
        let state = self.state();
        let mut behind = state.objects.range::<str, _>(behind(prefix, after)).take_while(|it| it.0.starts_with(prefix));
        let listed = |(key, stored): (&String, &Stored)| Listed { key: key.clone(), modified: stored.modified };
        let objects: Vec<Listed> = behind.by_ref().take(PAGE).map(listed).collect();
        let more = match (behind.next(), objects.last()) {
            (Some(_), Some(last)) => More::After(last.key.clone()),
            _ => More::No,
        };
        Ok(ListPage { objects, more })
    }

    async fn list_versions(&self, prefix: &str, after: Option<&str>) -> Result<KeptPage, Failure> {
        if let Keeping::Nothing = self.keeping {
            let ListPage { objects, more } = self.list_page(prefix, after).await?;
            let only =
                |Listed { key, modified }| Kept { key, id: NO_VERSION.to_owned(), modified, what: KeptKind::Content };
            return Ok(KeptPage { versions: objects.into_iter().map(only).collect(), more });
        }
        let state = self.state();
        let place = after.and_then(|after| after.split_once(PLACE));
        // Within a key, the page goes on behind the version that the place names.
        let rest = place.and_then(|(key, id)| {
            let past = state.kept.get(key)?;
            Some((key, past.iter().rev().skip_while(move |past| past.id != id).skip(1)))
        });
        let rest = rest.into_iter().flat_map(|(key, past)| past.map(move |past| (key, past)));
        let others = state.kept.range::<str, _>(behind(prefix, place.map_or(after, |(key, _)| Some(key))));
        let others = others.take_while(|(key, _)| key.starts_with(prefix));
        let others = others.flat_map(|(key, past)| past.iter().rev().map(move |past| (key.as_str(), past)));
        let mut behind = rest.chain(others);
        let versions: Vec<Kept> = behind.by_ref().take(PAGE).map(|(key, past)| past.kept(key)).collect();
        let more = match (behind.next(), versions.last()) {
            (Some(_), Some(last)) => More::After(format!("{}{PLACE}{}", last.key, last.id)),
            _ => More::No,
        };
        Ok(KeptPage { versions, more })
    }

    async fn get_version(&self, key: &str, id: &str) -> Result<Option<Object>, Failure> {
        if id == NO_VERSION {
            return if self.keeps_versions().await? { Ok(None) } else { self.get(key).await };
        }
        let read_at = self.now();
        let state = self.state();
        let past = state.kept.get(key).and_then(|past| past.iter().find(|past| past.id == id));
        let stored = past.and_then(|past| past.stored.clone());
        Ok(stored.map(|Stored { body, version, modified }| Object { body, version, modified, read_at }))
    }

    async fn keeps_versions(&self) -> Result<bool, Failure> {
        Ok(matches!(self.keeping, Keeping::Versions))
    }
}

impl Past {
    fn kept(&self, key: &str) -> Kept {
        let what = if self.stored.is_some() { KeptKind::Content } else { KeptKind::Deletion };
        Kept { key: key.to_owned(), id: self.id.clone(), modified: self.modified, what }
    }
}

/// From a prefix on, or from behind a key.
fn behind<'a>(prefix: &'a str, after: Option<&'a str>) -> (Bound<&'a str>, Bound<&'a str>) {
    let from = match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    (from, Bound::Unbounded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::contract;

    #[tokio::test]
    async fn it_keeps_the_contract_of_a_store() {
        contract::objects(async || MemoryStore::new("memory")).await;
    }

    #[tokio::test]
    async fn with_versions_it_keeps_their_contract_too() {
        let fresh = async || MemoryStore::versioned("memory");

        contract::objects(fresh).await;
        contract::versions(fresh).await;
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
