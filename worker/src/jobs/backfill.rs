//! One segment of a backfill: scan the master, write every item to every slave, commit, page by page.

use std::sync::Arc;
use std::time::Duration;

use shared::domain::checkpoint::Position;
use shared::domain::compare::without_global_table_attributes;
use shared::domain::condition::{Condition, Write};
use shared::domain::job::Existing;
use shared::domain::key::Key;
use shared::domain::tally::Tally;
use shared::domain::unit::Unit;
use shared::domain::value::Item;
use shared::journal::{JournalError, OwnedUnit, Packed, Step};
use shared::ports::failure::{Failure, FailureKind};
use shared::ports::table::{Content, Page, ScanRequest};
use shared::retry;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Ended, Stuck};
use crate::apply::{Due, Fence, Outcomes};
use crate::context::JobContext;
use crate::rejects::rejected;

/// Items on a page unless the user says otherwise; the service's own limit is 1 MB.
const ITEMS_PER_PAGE: u32 = 2000;

/// Longest time between two commits while pages come in; what lies behind the last one is copied again after a crash.
const COMMIT_EVERY: Duration = Duration::from_secs(2);

/// Whether more follows a commit.
enum Commit {
    More,
    Last,
}

struct Segment<'a> {
    job: &'a Arc<JobContext>,
    owned: &'a OwnedUnit,
    unit: Unit,
    position: Position,
    tally: Tally,
    rejected: Packed<shared::domain::rejected::Rejected>,
    committed_at: Instant,
}

/// Copies from the position to the end of the segment, or until `stop`.
///
/// # Errors
/// `Stuck`; everything up to the last commit stays.
pub(crate) async fn run(job: &Arc<JobContext>, owned: &OwnedUnit, stop: &CancellationToken) -> Result<Ended, Stuck> {
    let checkpoint = owned.checkpoint().await;
    let mut segment = Segment {
        job,
        owned,
        unit: checkpoint.unit,
        position: checkpoint.position,
        tally: checkpoint.tally,
        rejected: Packed::default(),
        committed_at: Instant::now(),
    };
    segment.copy(stop).await
}

impl Segment<'_> {
    async fn copy(&mut self, stop: &CancellationToken) -> Result<Ended, Stuck> {
        let after = match &self.position {
            Position::Start => None,
            Position::After(key) => {
                let key = Key::from_json(&self.job.manifest.key_schema, key);
                Some(key.map_err(|error| self.odd_key(&error.to_string()))?)
            }
            Position::End => {
                self.commit(Commit::Last).await?;
                return Ok(Ended::Done);
            }
            Position::Paired(_) | Position::Shard(_) | Position::Source(_) => {
                let what = "its position is not one of a backfill".to_owned();
                return Err(JournalError::Damaged { url: format!("checkpoint of {}", self.unit), what }.into());
            }
        };
        let mut upcoming = Some(self.fetch(after).await?);
        while let Some(page) = upcoming.take() {
            let next = page.next.as_ref().map(|item| Key::of(&self.job.manifest.key_schema, item)).transpose();
            let next = next.map_err(|error| self.odd_key(&error.to_string()))?;
            let more = async {
                match &next {
                    Some(key) if !stop.is_cancelled() => Ok(Some(self.fetch(Some(key.clone())).await?)),
                    _ => Ok(None),
                }
            };
            let (outcomes, more) = futures::future::try_join(self.write(&page), more).await?;
            self.count(&page, outcomes);
            self.position = match &next {
                Some(key) => Position::After(key.to_json()),
                None => Position::End,
            };
            if next.is_none() {
                self.commit(Commit::Last).await?;
                return Ok(Ended::Done);
            }
            if stop.is_cancelled() {
                self.commit(Commit::More).await?;
                return Ok(Ended::Stopped);
            }
            if self.committed_at.elapsed() >= COMMIT_EVERY {
                self.commit(Commit::More).await?;
            }
            upcoming = more;
        }
        Ok(Ended::Stopped)
    }

    async fn fetch(&self, after: Option<Key>) -> Result<Page, Stuck> {
        let settings = &self.job.manifest.sync;
        let request = ScanRequest {
            segment: self.unit.segment,
            total_segments: self.job.manifest.total_segments,
            after,
            limit: Some(settings.scan_limit.unwrap_or(ITEMS_PER_PAGE)),
            consistency: settings.scan_consistency,
            content: Content::Items,
        };
        let page = retry::call(self.job.retry, || self.job.tables[0].scan_page(&request)).await?;
        self.job.meter.add_read_units(page.read_units);
        Ok(page)
    }

    async fn write(&self, page: &Page) -> Result<Outcomes, Stuck> {
        let schema = &self.job.manifest.key_schema;
        let existing = self.job.manifest.backfill.unwrap_or_default().existing;
        let due = |item: &Item| Due {
            sequence: None,
            write: Write::Put(without_global_table_attributes(item)),
            condition: match existing {
                Existing::Overwrite => Condition::default(),
                Existing::Keep => Condition::absent(schema),
            },
        };
        let mut outcomes = Outcomes { tally: Tally::zero(self.job.manifest.slaves.len()), refused: Vec::new() };
        let due = page.items.iter().map(due).collect();
        self.job.targets().make(due, &mut outcomes, Fence::Lease(self.owned)).await?;
        Ok(outcomes)
    }

    fn count(&mut self, page: &Page, outcomes: Outcomes) {
        let items = page.items.len() as u64;
        self.tally.scanned[0] += items;
        self.tally.consumed[0].read += page.read_units;
        self.tally.add(&outcomes.tally);
        self.job.meter.add_scanned(items);
        outcomes.tally.consumed.iter().for_each(|consumed| self.job.meter.add_write_units(consumed.write));
        for refused in outcomes.refused {
            self.rejected.push(&rejected(self.job, self.unit, None, refused));
        }
    }

    async fn commit(&mut self, how: Commit) -> Result<(), Stuck> {
        let step = Step {
            position: self.position.clone(),
            tally: self.tally.clone(),
            rejected: std::mem::take(&mut self.rejected),
            ..Step::default()
        };
        match how {
            Commit::More => self.owned.commit(step).await?,
            Commit::Last => self.owned.finish(step).await?,
        }
        self.committed_at = Instant::now();
        Ok(())
    }

    fn odd_key(&self, error: &str) -> Stuck {
        Stuck::Port(Failure {
            kind: FailureKind::Invalid,
            operation: "Scan",
            resource: self.job.labels[0].clone(),
            message: error.to_owned(),
        })
    }
}
