//! What a versioned store keeps of one item's object: every version under every name, from the newest to the oldest.

use jiff::Timestamp;
use shared::domain::compare::{Ignore, differing_paths};
use shared::domain::key::Key;
use shared::domain::value::Item;
use shared::ports::failure::Failure;
use shared::ports::objects::{Kept, KeptKind, More};
use shared::retry;

use super::kept::{CannotRead, ItemFolder};

/// One version of an item.
#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    /// Where the object is.
    pub url: String,
    /// The version's id in the store.
    pub id: String,
    /// When it was put or deleted.
    pub modified: Timestamp,
    /// What it holds.
    pub holds: Holds,
    /// What it did to the item, as the backup tells.
    pub change: Change,
}

/// What a version holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Holds {
    /// The item.
    Item(Item),
    /// Nothing: it marks a deletion.
    Deletion,
    /// It is in cold storage.
    Archived,
    /// Nothing that can be read, for this reason.
    Unreadable(String),
}

/// What a version did to the item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was not there before.
    Created,
    /// These paths are others than before, sorted.
    Changed(Vec<String>),
    /// It was there before.
    Deleted,
    /// Nothing: what was deleted was an older object of the same key, under another name, or none at all.
    Nothing,
    /// It cannot be told, because one of the two versions cannot be read.
    Unknown,
}

/// The versions of one item.
pub struct History<'a> {
    folder: &'a ItemFolder,
    key: Key,
    /// From the newest to the oldest.
    events: Vec<Kept>,
    at: usize,
    /// The version that was read for the one before, which is the next one as a rule.
    held: Option<(usize, Holds)>,
}

impl ItemFolder {
    /// Lists the versions of an item's object.
    ///
    /// # Errors
    /// The store's.
    pub async fn history(&self, key: &Key) -> Result<History<'_>, Failure> {
        let mut events = Vec::new();
        // Those of one moment stay in this order. Where an object got dynamend's own name, the other was deleted after.
        for path in self.paths(key).into_iter().rev() {
            events.extend(self.versions(&path).await?);
        }
        events.sort_by_key(|kept| std::cmp::Reverse(kept.modified));
        Ok(History { folder: self, key: key.clone(), events, at: 0, held: None })
    }

    /// Whether the store keeps what is overwritten and deleted.
    ///
    /// # Errors
    /// The store's.
    pub async fn keeps_versions(&self) -> Result<bool, Failure> {
        retry::call(self.retry, || self.store.keeps_versions()).await
    }

    /// All versions of one object, from the newest to the oldest.
    async fn versions(&self, path: &str) -> Result<Vec<Kept>, Failure> {
        let prefix = format!("{}/", self.table);
        // Names are hashes: hardly another one lies between a name and the same without its last digit.
        let mut after = path[..path.len() - 1].to_owned();
        let mut found = Vec::new();
        loop {
            let page = retry::call(self.retry, || self.store.list_versions(&prefix, Some(&after))).await?;
            let is_past = page.versions.iter().any(|kept| kept.key.as_str() > path);
            found.extend(page.versions.into_iter().filter(|kept| kept.key == path));
            match page.more {
                More::After(place) if !is_past => after = place,
                More::After(_) | More::No => return Ok(found),
            }
        }
    }
}

impl History<'_> {
    /// How many versions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The next older version.
    ///
    /// # Errors
    /// The store's.
    pub async fn next(&mut self) -> Result<Option<Version>, Failure> {
        let at = self.at;
        let Some(Kept { key, id, modified, what }) = self.events.get(at).cloned() else { return Ok(None) };
        self.at += 1;
        let holds = match what {
            KeptKind::Deletion => Holds::Deletion,
            KeptKind::Content => self.read(at).await?,
        };
        let before = self.live(at + 1);
        let change = match (before, self.live(at)) {
            (None, None) => Change::Nothing,
            (Some(before), Some(after)) if before == after => Change::Nothing,
            (None, Some(_)) => Change::Created,
            (Some(_), None) => Change::Deleted,
            (Some(before), Some(after)) => {
                let after = if after == at { holds.clone() } else { self.read(after).await? };
                let before_it = self.read(before).await?;
                let change = match (&before_it, &after) {
                    (Holds::Item(before), Holds::Item(after)) => {
                        Change::Changed(differing_paths(after, before, &Ignore::default()))
                    }
                    _ => Change::Unknown,
                };
                self.held = Some((before, before_it));
                change
            }
        };
        Ok(Some(Version { url: self.folder.store.url(&key), id, modified, holds, change }))
    }

    /// The version that the backup had of the item right after this event; none when there was no object.
    fn live(&self, from: usize) -> Option<usize> {
        let mut deleted: Vec<&str> = Vec::new();
        for (at, event) in self.events.iter().enumerate().skip(from) {
            match event.what {
                _ if deleted.contains(&event.key.as_str()) => {}
                KeptKind::Content => return Some(at),
                KeptKind::Deletion => deleted.push(&event.key),
            }
        }
        None
    }

    async fn read(&mut self, at: usize) -> Result<Holds, Failure> {
        if let Some((held, _)) = &self.held
            && *held == at
            && let Some((_, holds)) = self.held.take()
        {
            return Ok(holds);
        }
        let (folder, Kept { key, id, .. }) = (self.folder, &self.events[at]);
        let object = match retry::call(folder.retry, || folder.store.get_version(key, id)).await {
            Ok(Some(object)) => folder.item(&self.key, key, &object.body),
            Ok(None) => return Ok(Holds::Unreadable("it is gone".to_owned())),
            Err(failure) => Err(folder.unreadable(key, failure)),
        };
        Ok(match object {
            Ok(item) => Holds::Item(item),
            Err(CannotRead::Archived { .. }) => Holds::Archived,
            Err(CannotRead::NoItem { what, .. }) => Holds::Unreadable(what),
            Err(CannotRead::Store(failure)) => return Err(failure),
        })
    }
}

#[cfg(test)]
mod tests;
