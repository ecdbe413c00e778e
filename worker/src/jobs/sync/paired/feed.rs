//! The master's pages, shared by the lanes: one stream of them, which lanes further ahead join where they stand.
//!
//! Lanes move together, and yet each is decided up to a place of its own. So after a crash they begin at different
//! keys. The lanes furthest behind are fed first; the ones ahead wait until the stream arrives at their place. Keys have
//! no order that one could compare, so the place is recognised by its own key and by the items of the page after it.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use shared::domain::checkpoint::Mark;
use shared::domain::entries::Entries;
use shared::ports::failure::Failure;

use super::pages::{Pages, Taken};

/// One stream of pages for all lanes.
pub(super) struct Feed {
    pages: Pages,
    first: Option<Taken>,
    ahead: VecDeque<Group>,
}

/// Lanes that begin at one key.
pub(super) struct Group {
    lanes: Vec<usize>,
    mark: Mark,
    /// The digest of the key that they begin after.
    after: Option<u128>,
    pages: Pages,
    first: Option<Taken>,
    keys: HashSet<u128>,
}

/// A page of the master.
pub(super) struct Fed {
    /// For the lanes that were fed before.
    pub(super) page: Taken,
    /// Lanes that begin after it.
    pub(super) joining: Vec<usize>,
}

impl Group {
    /// Reads up to the first page that has items.
    pub(super) async fn open(
        lanes: Vec<usize>,
        mark: Mark,
        after: Option<u128>,
        mut pages: Pages,
    ) -> Result<Self, Failure> {
        let mut first = pages.next().await?;
        while let Some(page) = &mut first
            && page.entries.is_empty()
            && page.read != Mark::End
        {
            let read_units = page.read_units;
            first = pages.next().await?;
            first.iter_mut().for_each(|page| page.read_units += read_units);
        }
        let keys = first.iter().flat_map(|page| page.entries.digests()).map(|digest| digest.key).collect();
        Ok(Self { lanes, mark, after, pages, first, keys })
    }

    /// How many of a page's items lie before the place where this group begins, if it lies on that page.
    fn begins_at(&self, page: &Entries) -> Option<usize> {
        page.digests().iter().enumerate().find_map(|(at, digest)| {
            if Some(digest.key) == self.after { Some(at + 1) } else { self.keys.contains(&digest.key).then_some(at) }
        })
    }
}

impl Feed {
    /// A stream for the lanes furthest behind, and for the groups ahead of them, the nearest first.
    pub(super) fn new(pages: Pages, ahead: Vec<Group>) -> Self {
        Self { pages, first: None, ahead: ahead.into() }
    }

    /// The next page, or nothing at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Fed>, Failure> {
        let page = match self.first.take() {
            Some(page) => Some(page),
            None => self.pages.next().await?,
        };
        let Some(mut page) = page else { return Ok(None) };
        let joining = match self.ahead.front().map(|group| (group.begins_at(&page.entries), &group.mark)) {
            Some((Some(at), mark)) => {
                page.entries = Arc::new(first_of(&page.entries, at));
                page.read = mark.clone();
                self.advance()
            }
            // All that would tell the group's place is gone. The lanes that were fed have read to the end; the group
            // goes on alone.
            Some((None, _)) if page.read == Mark::End => self.advance(),
            Some((None, _)) | None => Vec::new(),
        };
        Ok(Some(Fed { page, joining }))
    }

    /// Goes over to the stream of the next group; returns its lanes.
    fn advance(&mut self) -> Vec<usize> {
        let Some(Group { lanes, pages, first, .. }) = self.ahead.pop_front() else { return Vec::new() };
        self.pages = pages;
        self.first = first;
        lanes
    }
}

fn first_of(entries: &Entries, count: usize) -> Entries {
    let mut first = Entries::default();
    // A part of a page fits into one.
    let _ = first.extend(entries, 0..count);
    first
}
