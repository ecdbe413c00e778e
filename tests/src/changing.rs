//! A master that changes and tells its stream of it, shard by shard; and a slave that must never go back in time.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};

use shared::domain::change::{Actor, Change, Created, Event, Image};
use shared::domain::condition::Write;
use shared::domain::key::{Key, KeySchema};
use shared::domain::number::Number;
use shared::domain::value::{Item, Value};
use shared::local::stream::MemoryStream;
use shared::local::table::MemoryTable;

use crate::watch::{Access, Call, Watch};

/// The attribute that counts the changes of an item.
pub const VERSION: &str = "version";

/// A table whose changes go into a stream, each key to the shard that has its hash.
pub struct Changing {
    table: Arc<MemoryTable>,
    stream: Arc<MemoryStream>,
    schema: KeySchema,
    carries: Carries,
    leaves: Mutex<Vec<Leaf>>,
    versions: Mutex<HashMap<Key, u64>>,
}

/// What records carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// New and old items.
    Images,
    /// Keys only.
    Keys,
}

/// An open shard and the hashes that it has: from one, up to and without another; none is the end.
#[derive(Clone, Debug)]
struct Leaf {
    shard: String,
    from: u64,
    to: u64,
}

impl Changing {
    /// A table that changes, with this many shards.
    #[must_use]
    pub fn new(
        table: &Arc<MemoryTable>,
        stream: &Arc<MemoryStream>,
        schema: &KeySchema,
        shards: u64,
        carries: Carries,
    ) -> Self {
        let width = u64::MAX / shards;
        let leaf = |n| Leaf {
            shard: stream.open_shard(),
            from: n * width,
            to: if n + 1 == shards { u64::MAX } else { (n + 1) * width },
        };
        Self {
            table: Arc::clone(table),
            stream: Arc::clone(stream),
            schema: schema.clone(),
            carries,
            leaves: Mutex::new((0..shards).map(leaf).collect()),
            versions: Mutex::default(),
        }
    }

    /// Puts an item with the next version of its key.
    pub fn put(&self, item: &Item) {
        let key = Key::of(&self.schema, item).expect("it has a key");
        let version = self.next_version(&key);
        let mut item = item.clone();
        item.insert(VERSION.to_owned(), Value::N(Number::parse(&version.to_string()).expect("a number")));
        let old = self.table.remove(&key).expect("it can be removed");
        self.table.put(item.clone()).expect("it fits");
        let event = if old.is_some() { Event::Modify } else { Event::Insert };
        self.tell(key, event, Some(item), old);
    }

    /// Removes an item.
    pub fn remove(&self, key: &Key) {
        self.next_version(key);
        if let Some(old) = self.table.remove(key).expect("it can be removed") {
            self.tell(key.clone(), Event::Remove, None, Some(old));
        }
    }

    /// Splits the shard that has this key.
    pub fn split(&self, key: &Key) {
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        let place = place_of(&leaves, key);
        let Leaf { shard, from, to } = leaves.remove(place);
        let (one, other) = self.stream.split(&shard).expect("it is open");
        let middle = from + (to - from) / 2;
        leaves.insert(place, Leaf { shard: one, from, to: middle });
        leaves.insert(place + 1, Leaf { shard: other, from: middle, to });
    }

    /// Merges the shard that has this key with its neighbour; nothing when it is the only one.
    pub fn merge(&self, key: &Key) {
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        if leaves.len() < 2 {
            return;
        }
        let place = place_of(&leaves, key).min(leaves.len() - 2);
        let (one, other) = (leaves.remove(place), leaves.remove(place));
        let shard = self.stream.merge(&one.shard, &other.shard).expect("both are open");
        leaves.insert(place, Leaf { shard, from: one.from, to: other.to });
    }

    /// The shards that are open.
    #[must_use]
    pub fn open_shards(&self) -> Vec<String> {
        let leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        leaves.iter().map(|leaf| leaf.shard.clone()).collect()
    }

    /// Puts what is no change into the shard of a key.
    pub fn tell_nonsense(&self, key: &Key) {
        let leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        let bad = Err(shared::domain::change::BadRecord("the test made it up".to_owned()));
        self.stream.append(&leaves[place_of(&leaves, key)].shard, bad).expect("it is open");
    }

    fn tell(&self, key: Key, event: Event, new: Option<Item>, old: Option<Item>) {
        let leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        let shard = leaves[place_of(&leaves, &key)].shard.clone();
        let (image, old) = match self.carries {
            Carries::Images => (Image::told(event, new, true), old),
            Carries::Keys => (Image::Unread, None),
        };
        let created = Created::in_second(worker::clock::now_ms().div_euclid(1000));
        let change = Change { key, event, image, old, created, actor: Actor::Client };
        self.stream.append(&shard, Ok(change)).expect("it is open");
    }

    fn next_version(&self, key: &Key) -> u64 {
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let version = versions.entry(key.clone()).or_default();
        *version += 1;
        *version
    }
}

fn place_of(leaves: &[Leaf], key: &Key) -> usize {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    let hash = hasher.finish();
    leaves.iter().position(|leaf| leaf.from <= hash && hash < leaf.to).unwrap_or(leaves.len() - 1)
}

/// By table and key, a version, and whether it was deleted.
type Seen = HashMap<(usize, Key), (u64, bool)>;

/// Watches that no slave gets an older version of an item after a newer one.
#[derive(Clone, Default)]
pub struct Arrow {
    seen: Arc<Mutex<Seen>>,
    broken: Arc<Mutex<Vec<String>>>,
}

impl Arrow {
    /// The watch for workers.
    #[must_use]
    pub fn watch(&self, schema: &KeySchema) -> Watch {
        let (arrow, schema) = (self.clone(), schema.clone());
        Watch::plain(move |call| {
            if let Call::Table(table, Access::Write(write)) = call {
                arrow.note(table, &schema, &write);
            }
            None
        })
    }

    fn note(&self, table: usize, schema: &KeySchema, write: &Write) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match write {
            Write::Delete(key) => {
                seen.entry((table, key.clone())).or_default().1 = true;
            }
            Write::Put(item) => {
                let key = Key::of(schema, item).expect("it has a key");
                let version = match item.get(VERSION) {
                    Some(Value::N(version)) => version.text().parse().unwrap_or(0),
                    _ => 0,
                };
                let (last, was_deleted) = seen.entry((table, key.clone())).or_default();
                if version < *last || (*was_deleted && version == *last && version > 0) {
                    let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
                    broken.push(format!("table {table}: {} went from {last} to {version}", key.to_json()));
                }
                (*last, *was_deleted) = (version.max(*last), false);
            }
        }
    }

    /// Panics if anything went back.
    pub fn assert_unbroken(&self) {
        let broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(broken.is_empty(), "{broken:?}");
    }
}
