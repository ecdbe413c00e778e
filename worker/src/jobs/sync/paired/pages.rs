//! The pages of one table's segment as digests, read one ahead of whoever takes them.

use std::sync::Arc;

use shared::domain::checkpoint::Mark;
use shared::domain::digest::Digester;
use shared::domain::entries::Entries;
use shared::domain::job::Reader;
use shared::domain::key::{BadKey, Key};
use shared::ports::failure::Failure;
use shared::ports::table::{Content, EntryPage, ScanRequest, scan_entries};
use shared::retry;
use tokio_util::task::AbortOnDropHandle;

use crate::context::JobContext;
use crate::jobs::sync::ITEMS_PER_PAGE;

/// What all readers of a unit share.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) job: Arc<JobContext>,
    pub(super) digester: Arc<Digester>,
    pub(super) segment: u32,
}

/// A page, and what is read once it is taken.
pub(super) struct Taken {
    pub(super) entries: Arc<Entries>,
    pub(super) read: Mark,
    pub(super) read_units: f64,
}

/// The pages of one table from a mark on.
pub(super) struct Pages {
    source: Source,
    table: usize,
    rest: Rest,
    ahead: Option<AbortOnDropHandle<Result<EntryPage, Failure>>>,
}

/// What is still to be read.
#[derive(Clone)]
enum Rest {
    All,
    After(Key),
    Nothing,
}

impl Pages {
    /// Nothing is read before the first page is asked for.
    ///
    /// # Errors
    /// When the mark is no key.
    pub(super) fn from(source: &Source, table: usize, mark: &Mark) -> Result<Self, BadKey> {
        let rest = match mark {
            Mark::Start => Rest::All,
            Mark::After(key) => Rest::After(Key::from_json(&source.job.manifest.key_schema, key)?),
            Mark::End => Rest::Nothing,
        };
        Ok(Self { source: source.clone(), table, rest, ahead: None })
    }

    /// The next page, or nothing at the end. If this future is dropped, the page is still the next.
    pub(super) async fn next(&mut self) -> Result<Option<Taken>, Failure> {
        if self.ahead.is_none() {
            self.ahead = self.fetch();
        }
        let Some(ahead) = &mut self.ahead else { return Ok(None) };
        let fetched = ahead.await;
        self.ahead = None;
        let EntryPage { entries, next, read_units } = match fetched {
            Ok(page) => page?,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Nobody aborts it but this value's end, and the runtime's.
                Err(_) => return Ok(None),
            },
        };
        let job = &self.source.job;
        job.meter.add_read_units(read_units);
        job.meter.add_scanned(entries.len() as u64);
        let read = next.as_ref().map_or(Mark::End, |key| Mark::After(key.to_json()));
        self.rest = next.map_or(Rest::Nothing, Rest::After);
        self.ahead = self.fetch();
        Ok(Some(Taken { entries: Arc::new(entries), read, read_units }))
    }

    fn fetch(&self) -> Option<AbortOnDropHandle<Result<EntryPage, Failure>>> {
        let after = match &self.rest {
            Rest::All => None,
            Rest::After(key) => Some(key.clone()),
            Rest::Nothing => return None,
        };
        let Source { job, digester, segment } = self.source.clone();
        let table = self.table;
        let settings = &job.manifest.sync;
        let by_itself = match settings.reader {
            // Digests take little, so the service's own limit of 1 MB is the only one.
            Reader::Fast => None,
            Reader::Typed => Some(ITEMS_PER_PAGE),
        };
        let request = ScanRequest {
            segment,
            total_segments: job.manifest.total_segments,
            after,
            limit: settings.scan_limit.or(by_itself),
            consistency: settings.scan_consistency,
            content: Content::Items,
        };
        let reading = async move {
            let reader = job.manifest.sync.reader;
            retry::call(job.retry, || scan_entries(&*job.tables[table], &request, reader, &digester)).await
        };
        Some(AbortOnDropHandle::new(tokio::spawn(reading)))
    }
}
