//! Objects of one item each, in the order of their names: an incremental backup, dynamend's or mapbox's.
//!
//! Names are hashes, and so spread evenly over the units. The same item may lie under several names where mapbox's tool
//! was updated: the better way to name it wins ([`Naming::ALL`]), because what the others hold is followed no more.

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use shared::domain::backup::{BackupTally, MARKER};
use shared::domain::checkpoint::{Position, Reached};
use shared::domain::item_object::{Naming, names};
use shared::domain::json::{NotDynamoDbJson, item_from_json};
use shared::domain::key::{Key, KeySchema};
use shared::domain::value::Item;
use shared::ports::failure::Failure;
use shared::ports::objects::{Kept, KeptKind, KeptPage, ListPage, More, Object, ObjectStore};
use shared::retry::{self, RetryPolicy};

use super::Batch;

/// Objects that are read and handed on at once, and how many bytes of them as a rule: an item has up to 400 KB.
const BATCH_OBJECTS: usize = 100;
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Objects of the first batch, when nothing is known of their size.
const FIRST_OBJECTS: usize = 20;

/// Requests to the store at once, from one unit.
const REQUESTS_AT_ONCE: usize = 32;

/// Names that a unit reads: those behind `after`, up to and with `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    after: Option<String>,
    to: Option<String>,
}

impl Range {
    /// The share of one of so many units. Together they have every name once, also those that are no hash.
    pub(super) fn of(segment: u32, total: u32) -> Self {
        let bound = |n: u32| format!("{:08x}", (u64::from(n) << 32) / u64::from(total));
        Self { after: (segment > 0).then(|| bound(segment)), to: (segment + 1 < total).then(|| bound(segment + 1)) }
    }

    fn ends_before(&self, name: &str) -> bool {
        self.to.as_deref().is_some_and(|to| name > to)
    }
}

/// The objects of one unit.
pub(crate) struct Items<'a> {
    store: &'a dyn ObjectStore,
    retry: RetryPolicy,
    schema: &'a KeySchema,
    as_of: Option<Timestamp>,
    range: Range,
    /// Objects that were listed and come next, and how the listing goes on.
    listed: std::collections::VecDeque<Listed>,
    more: More,
    /// Objects that are read next, going by how big those before were.
    at_once: usize,
    /// In a listing of versions, the object of which the right one was found.
    decided: Option<String>,
}

/// An object to be read.
#[derive(Clone, Debug)]
struct Listed {
    name: String,
    /// Which version of it; the present one when absent.
    version: Option<String>,
    /// When it was put.
    modified: Timestamp,
}

/// What an object turned out to be.
enum Found {
    Item(Item),
    Blank,
    Foreign,
    Vanished,
    Superseded,
    Damaged(String),
}

impl<'a> Items<'a> {
    pub(super) fn begin(
        store: &'a dyn ObjectStore,
        retry: RetryPolicy,
        schema: &'a KeySchema,
        as_of: Option<Timestamp>,
        range: Range,
        after: Option<String>,
    ) -> Self {
        let more = More::After(after.or_else(|| range.after.clone()).unwrap_or_default());
        let listed = std::collections::VecDeque::new();
        Self { store, retry, schema, as_of, range, listed, more, at_once: FIRST_OBJECTS, decided: None }
    }

    pub(super) async fn next(&mut self) -> Result<Option<Batch>, Failure> {
        while self.listed.len() < BATCH_OBJECTS && self.more != More::No {
            self.list().await?;
        }
        let chunk: Vec<Listed> = self.listed.drain(..self.listed.len().min(self.at_once)).collect();
        let Some(last) = chunk.last() else { return Ok(None) };
        let mut batch = Batch { next: Position::Source(Reached::Object(last.name.clone())), ..Batch::default() };
        let reads: Vec<_> = chunk.iter().map(|listed| self.read(listed)).collect();
        let mut found = stream::iter(reads).buffered(REQUESTS_AT_ONCE);
        let mut numbered = chunk.iter();
        let mut bytes = 0;
        while let (Some((found, size)), Some(listed)) = (found.try_next().await?, numbered.next()) {
            bytes += size;
            batch.count(&listed.name, found);
        }
        drop(found);
        self.at_once = objects_at_once(bytes, chunk.len());
        Ok(Some(batch))
    }

    /// Lists one page more.
    async fn list(&mut self) -> Result<(), Failure> {
        let More::After(after) = std::mem::take(&mut self.more) else { return Ok(()) };
        let after = Some(after.as_str()).filter(|after| !after.is_empty());
        let (found, last, more) = match self.as_of {
            None => {
                let page = retry::call(self.retry, || self.store.list_page("", after)).await;
                let ListPage { objects, more } = page.inspect_err(|_| self.more = go_on(after))?;
                let found = objects.into_iter().map(|listed| Listed {
                    name: listed.key,
                    version: None,
                    modified: listed.modified,
                });
                let found: Vec<Listed> = found.collect();
                let last = found.last().map(|last| last.name.clone());
                (found, last, more)
            }
            Some(as_of) => {
                let page = retry::call(self.retry, || self.store.list_versions("", after)).await;
                let KeptPage { versions, more } = page.inspect_err(|_| self.more = go_on(after))?;
                let last = versions.last().map(|last| last.key.clone());
                (versions.into_iter().filter_map(|kept| self.as_it_was(kept, as_of)).collect(), last, more)
            }
        };
        let ends = last.is_some_and(|last| self.range.ends_before(&last));
        let is_item = |listed: &Listed| listed.name != MARKER && !self.range.ends_before(&listed.name);
        self.listed.extend(found.into_iter().filter(is_item));
        self.more = if ends { More::No } else { more };
        Ok(())
    }

    /// The version that was there at a time, when this is it. Versions come from the newest to the oldest.
    fn as_it_was(&mut self, kept: Kept, as_of: Timestamp) -> Option<Listed> {
        if kept.modified > as_of || self.decided.as_ref() == Some(&kept.key) {
            return None;
        }
        self.decided = Some(kept.key.clone());
        match kept.what {
            KeptKind::Content => Some(Listed { name: kept.key, version: Some(kept.id), modified: kept.modified }),
            KeptKind::Deletion => None,
        }
    }

    /// What an object is, and how many bytes it has.
    async fn read(&self, listed: &Listed) -> Result<(Found, usize), Failure> {
        if !is_hash(&listed.name) {
            return Ok((Found::Foreign, 0));
        }
        let object = retry::call(self.retry, || async {
            match &listed.version {
                None => self.store.get(&listed.name).await,
                Some(id) => self.store.get_version(&listed.name, id).await,
            }
        });
        let Some(Object { body, .. }) = object.await? else { return Ok((Found::Vanished, 0)) };
        Ok((self.what(listed, &body).await?, body.len()))
    }

    async fn what(&self, listed: &Listed, body: &[u8]) -> Result<Found, Failure> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Found::Blank);
        }
        let json =
            serde_json::from_slice(body).map_err(|error| format!("it is no JSON (at its byte {})", error.column()));
        // Of what is there, nothing is repeated.
        let outlined = |NotDynamoDbJson { at, outline, .. }| format!("at `{at}`, {outline}");
        let item = json.and_then(|json| item_from_json(&json).map_err(outlined));
        let item = match item {
            Ok(item) => item,
            Err(error) => return Ok(Found::Damaged(error)),
        };
        let Ok(key) = Key::of(self.schema, &item) else { return Ok(Found::Foreign) };
        let names = names(self.schema, &key);
        let Some(rank) = names.iter().position(|(_, name)| *name == listed.name) else { return Ok(Found::Foreign) };
        for (_, better) in &names[..rank] {
            if self.is_newer(better, listed.modified).await? {
                return Ok(Found::Superseded);
            }
        }
        Ok(Found::Item(item))
    }

    /// Whether there is an object of this name, or was and has been deleted since the other one was put.
    ///
    /// Only where versions are read is it known what was deleted.
    async fn is_newer(&self, name: &str, than: Timestamp) -> Result<bool, Failure> {
        let Some(as_of) = self.as_of else {
            return Ok(retry::call(self.retry, || self.store.slice(name, 0, 1, None)).await?.is_some());
        };
        let mut after = just_before(name);
        loop {
            let page = retry::call(self.retry, || self.store.list_versions("", Some(&after))).await?;
            for kept in page.versions {
                if kept.key != name {
                    return Ok(false);
                }
                if kept.modified <= as_of {
                    return Ok(kept.what == KeptKind::Content || kept.modified >= than);
                }
            }
            match page.more {
                More::No => return Ok(false),
                More::After(more) => after = more,
            }
        }
    }
}

impl Batch {
    fn count(&mut self, name: &str, found: Found) {
        let BackupTally { blank, foreign, vanished, superseded, damaged, .. } = &mut self.met;
        let (count, what) = match found {
            Found::Item(item) => {
                self.items.push(item);
                return;
            }
            Found::Blank => (blank, "is blank".to_owned()),
            Found::Foreign => {
                (foreign, "is no item's of this table: neither its name nor its content tells one".to_owned())
            }
            Found::Vanished => (vanished, "was deleted after it was listed".to_owned()),
            Found::Superseded => {
                (superseded, "holds an item that another object holds later, under its name of today".to_owned())
            }
            Found::Damaged(error) => (damaged, format!("has the name of an item and holds none: {error}")),
        };
        *count += 1;
        self.left_out.push(format!("object `{name}` {what}"));
    }
}

/// How many objects make a batch, where so many had so many bytes.
fn objects_at_once(bytes: usize, of: usize) -> usize {
    (BATCH_BYTES * of.max(1) / bytes.max(1)).clamp(1, BATCH_OBJECTS)
}

/// Whether an item's object may have this name.
pub(super) fn is_hash(name: &str) -> bool {
    let lengths = [Naming::Sha256.name_length(), Naming::Md5.name_length()];
    lengths.contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn go_on(after: Option<&str>) -> More {
    More::After(after.unwrap_or_default().to_owned())
}

/// A text that sorts right before this name of an object, and behind every other such name that does.
///
/// Listings go on behind a place, and this is the place from which the name itself comes first.
#[must_use]
pub fn just_before(name: &str) -> String {
    /// Sorts behind all that names of objects are made of.
    const BEHIND_ALL: char = '~';
    let mut text = name.to_owned();
    match text.pop() {
        Some(last) if last.is_ascii() && last > '!' => {
            text.push(char::from(u8::try_from(last).unwrap_or(b'"') - 1));
            text.push(BEHIND_ALL);
        }
        _ => {}
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_of_big_objects_are_small() {
        for (bytes, of, at_once) in [(0, 0, 100), (20 * 200, 20, 100), (20 * 400_000, 20, 10), (1 << 40, 1, 1)] {
            assert_eq!(objects_at_once(bytes, of), at_once, "{bytes} of {of}");
        }
    }

    #[test]
    fn units_share_all_names_and_no_name_twice() {
        let names = ["!", "00000000", "7", "80000000", "80000000a", "abc", "ffffffffff", "g", "~", "_dynamend.json"];
        for total in [1, 2, 3, 7, 256, 100_000] {
            for name in names {
                let has = |segment: &u32| {
                    let range = Range::of(*segment, total);
                    range.after.as_deref().is_none_or(|after| name > after) && !range.ends_before(name)
                };
                assert_eq!((0..total).filter(has).count(), 1, "{name} of {total}");
            }
        }
    }

    #[test]
    fn a_place_right_before_a_name_has_no_name_in_between() {
        for name in ["00", "a0", "0f", "ff"] {
            let before = just_before(name);
            assert!(before.as_str() < name, "{before} {name}");
            for other in ["00", "0a", "0e", "0f", "0fff", "10", "9f", "9ffff", "a0", "fe", "feff", "ff"] {
                assert_eq!(other > before.as_str(), other >= name, "{other} beside {name}");
            }
        }
    }
}
