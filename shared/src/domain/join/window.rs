//! What one side of a join has read and not yet met on the other: a contiguous run of entries, by their number.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use super::LowWater;
use crate::domain::digest::Digest;
use crate::domain::entries::Entries;

/// Entries that were given up and are still remembered, to be recognised when they arrive on the other side late.
const REMEMBERED: u64 = 5_000;

/// Bytes that one place in the index takes, about.
const INDEX_BYTES: usize = 24;

/// Bytes that a page takes beside its entries, about; it counts where pages are short.
const PAGE_BYTES: usize = 256;

/// Entries are numbered from 0 as they are read. Those before `front` are decided; those from it on are pending.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// With the number of its first entry; the oldest page has the last entry that is decided.
    pages: VecDeque<(u64, Arc<Entries>)>,
    held: usize,
    front: u64,
    end: u64,
    retired: u64,
    ended: bool,
    /// Numbers of entries by the lower half of their key's digest. It is filled only when the other side's next key is
    /// not the first pending one. That two keys share a place costs a candidate, never a wrong match.
    index: HashMap<u64, u64, BuildHasherDefault<AsItIs>>,
    /// Entries from here on are not in the index.
    indexed: u64,
}

/// What became of a key of the other side.
pub(super) enum Met {
    /// It is pending here, under this number and with this digest.
    Pending { at: u64, item: u128 },
    /// It was here, and is decided.
    Late,
    /// It was never here, as far as is remembered.
    Never,
}

impl Window {
    /// Takes in a page; returns the number of its first entry.
    pub(super) fn append(&mut self, page: &Arc<Entries>) -> u64 {
        let first = self.end;
        if !page.is_empty() {
            self.end += page.len() as u64;
            self.held += page.held_bytes() + PAGE_BYTES;
            self.pages.push_back((first, Arc::clone(page)));
        }
        first
    }

    /// Looks for a key of the other side.
    pub(super) fn meet(&mut self, key: u128) -> Met {
        if let Some(first) = self.digest(self.front)
            && first.key == key
        {
            return Met::Pending { at: self.front, item: first.item };
        }
        if self.front == self.end && self.index.is_empty() {
            return Met::Never;
        }
        self.fill_index();
        match self.index.get(&place(key)) {
            Some(&at) if at < self.front => Met::Late,
            Some(&at) => match self.digest(at) {
                Some(digest) if digest.key == key => Met::Pending { at, item: digest.item },
                Some(_) | None => Met::Never,
            },
            None => Met::Never,
        }
    }

    /// Gives up every pending entry before `until`, and tells each.
    pub(super) fn retire(&mut self, until: u64, mut tell: impl FnMut(&Arc<Entries>, usize)) {
        if until <= self.front {
            return;
        }
        // So that one that arrives on the other side after all is recognised.
        self.fill_index();
        for number in self.front..until {
            if let Some((page, index)) = self.entry(number) {
                tell(page, index);
            }
        }
        self.retired += until - self.front;
        self.front = until;
        self.forget_pages();
    }

    /// The first pending entry, which is this one, was met on the other side.
    pub(super) fn take(&mut self, number: u64) {
        debug_assert_eq!(number, self.front, "what is before a match is retired first");
        self.front = number + 1;
        self.forget_pages();
    }

    /// Gives up the oldest pages while there is more than one and they take more than this.
    pub(super) fn keep_bytes(&mut self, bytes: usize, mut tell: impl FnMut(&Arc<Entries>, usize)) {
        while self.held + usize::try_from(self.len()).unwrap_or(usize::MAX).saturating_mul(INDEX_BYTES) > bytes {
            let newest = self.pages.back().map_or(self.end, |&(first, _)| first);
            let after_oldest_pending = self.pages.iter().map(|&(first, _)| first).find(|&first| first > self.front);
            match after_oldest_pending.filter(|&first| first <= newest) {
                Some(until) => self.retire(until, &mut tell),
                None => return,
            }
        }
    }

    pub(super) fn low_water(&self) -> LowWater {
        if self.front == self.end {
            return LowWater::AllRead;
        }
        let last = self.front.checked_sub(1).and_then(|last| self.entry(last));
        last.map_or(LowWater::Unmoved, |(page, index)| LowWater::After(Arc::clone(page), index))
    }

    pub(super) fn set_ended(&mut self) {
        self.ended = true;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether nothing of the other side can be met here any more.
    pub(super) fn has_nothing_to_come(&self) -> bool {
        self.ended && self.front == self.end
    }

    pub(super) fn len(&self) -> u64 {
        self.end - self.front
    }

    pub(super) fn front(&self) -> u64 {
        self.front
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    pub(super) fn retired(&self) -> u64 {
        self.retired
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.held + self.index.len() * INDEX_BYTES
    }

    fn digest(&self, number: u64) -> Option<Digest> {
        if number >= self.end {
            return None;
        }
        self.entry(number).and_then(|(page, index)| page.digests().get(index).copied())
    }

    fn entry(&self, number: u64) -> Option<(&Arc<Entries>, usize)> {
        let after = self.pages.partition_point(|&(first, _)| first <= number);
        let (first, page) = self.pages.get(after.checked_sub(1)?)?;
        let index = usize::try_from(number - first).ok()?;
        (index < page.len()).then_some((page, index))
    }

    /// Lets go of pages that have neither a pending entry nor the last decided one.
    fn forget_pages(&mut self) {
        while let Some((first, page)) = self.pages.front()
            && first + (page.len() as u64) < self.front
        {
            self.held -= page.held_bytes() + PAGE_BYTES;
            self.pages.pop_front();
        }
    }

    fn fill_index(&mut self) {
        if self.indexed >= self.end {
            return;
        }
        let remembered = self.front.saturating_sub(REMEMBERED);
        if self.index.len() as u64 > 2 * REMEMBERED + self.len() {
            self.index.retain(|_, number| *number >= remembered);
        }
        let from = self.indexed.max(self.front);
        let page_of_it = self.pages.partition_point(|&(first, _)| first <= from).saturating_sub(1);
        for (first, page) in self.pages.range(page_of_it..) {
            for (number, digest) in (*first..).zip(page.digests()).filter(|&(number, _)| number >= from) {
                self.index.insert(place(digest.key), number);
            }
        }
        self.indexed = self.end;
    }
}

/// The lower half of a digest.
#[expect(clippy::cast_possible_truncation, reason = "half of a digest is meant")]
fn place(key: u128) -> u64 {
    key as u64
}

/// Hashes what is a hash already.
#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.0 = (self.0 << 8) ^ u64::from(byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
