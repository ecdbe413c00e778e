//! The master's pages, shared by the lanes: one stream of them, which lanes further ahead join where they stand.
//!
//! Lanes move together, and yet each is decided up to a place of its own. So after a crash they begin at different
//! keys. The lanes furthest behind are fed first; the ones ahead wait until the stream arrives at the first page that
//! follows their own key. Keys have no order that one could compare, so that is recognised by the items of that page.

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
    pub(super) lanes: Vec<usize>,
    mark: Mark,
    pages: Pages,
    first: Option<Taken>,
    keys: HashSet<u128>,
}

/// A page of the master, and the lanes that are fed from here on.
pub(super) struct Fed {
    /// For the lanes that were fed before; nothing when only lanes join.
    pub(super) page: Option<Taken>,
    /// Lanes that begin after this page.
    pub(super) joining: Vec<usize>,
}

impl Group {
    /// Reads up to the first page that has items.
    pub(super) async fn open(lanes: Vec<usize>, mark: Mark, mut pages: Pages) -> Result<Self, Failure> {
        let mut first = pages.next().await?;
        while let Some(Taken { entries, read, .. }) = &first
            && entries.is_empty()
            && *read != Mark::End
        {
            first = pages.next().await?;
        }
        let keys = first.iter().flat_map(|page| page.entries.digests()).map(|digest| digest.key).collect();
        Ok(Self { lanes, mark, pages, first, keys })
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
        let Some(mut page) = page else { return Ok(self.advance().map(|joining| Fed { page: None, joining })) };
        let Some(group) = self.ahead.front() else { return Ok(Some(Fed { page: Some(page), joining: Vec::new() })) };
        let met = page.entries.digests().iter().position(|digest| group.keys.contains(&digest.key));
        let joining = match met {
            Some(at) => {
                page.entries = Arc::new(first_of(&page.entries, at));
                page.read = group.mark.clone();
                self.advance().unwrap_or_default()
            }
            // The group's page is still to come, or its items are gone: then the end is where it joins.
            None if page.read == Mark::End => {
                page.read = group.mark.clone();
                self.advance().unwrap_or_default()
            }
            None => Vec::new(),
        };
        Ok(Some(Fed { page: Some(page), joining }))
    }

    /// Goes over to the stream of the next group.
    fn advance(&mut self) -> Option<Vec<usize>> {
        let Group { lanes, pages, first, .. } = self.ahead.pop_front()?;
        self.pages = pages;
        self.first = first;
        Some(lanes)
    }
}

fn first_of(entries: &Entries, count: usize) -> Entries {
    let mut first = Entries::default();
    // A part of a page fits into one.
    let _ = first.extend(entries, 0..count);
    first
}
