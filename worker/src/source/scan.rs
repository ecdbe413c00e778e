//! The master's segment, page by page.

use shared::domain::checkpoint::Position;
use shared::domain::key::{BadKey, Key};
use shared::domain::unit::Unit;
use shared::ports::failure::{Failure, FailureKind};
use shared::ports::table::{Content, ScanRequest};
use shared::retry;

use super::Batch;
use crate::context::JobContext;
use crate::jobs::Stuck;

/// Items on a page unless the user says otherwise; the service's own limit is 1 MB.
const ITEMS_PER_PAGE: u32 = 2000;

/// A scan on its way.
pub(crate) struct Scan<'a> {
    job: &'a JobContext,
    unit: Unit,
    from: From,
}

enum From {
    Start,
    After(Key),
    End,
}

impl<'a> Scan<'a> {
    /// From the position on; an error when it is none of a scan.
    pub(super) fn begin(job: &'a JobContext, unit: Unit, position: &Position) -> Result<Self, BadKey> {
        let from = match position {
            Position::Start => From::Start,
            Position::After(key) => From::After(Key::from_json(&job.manifest.key_schema, key)?),
            Position::End => From::End,
            _ => return Err(BadKey::NotAnObject),
        };
        Ok(Self { job, unit, from })
    }

    pub(super) async fn next(&mut self) -> Result<Option<Batch>, Stuck> {
        let after = match &self.from {
            From::Start => None,
            From::After(key) => Some(key.clone()),
            From::End => return Ok(None),
        };
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
        let next = match &page.next {
            None => {
                self.from = From::End;
                Position::End
            }
            Some(item) => {
                let key = Key::of(&self.job.manifest.key_schema, item).map_err(|error| self.odd_key(&error))?;
                let position = Position::After(key.to_json());
                self.from = From::After(key);
                position
            }
        };
        Ok(Some(Batch { items: page.items, next, read_units: page.read_units, ..Batch::default() }))
    }

    fn odd_key(&self, error: &BadKey) -> Failure {
        Failure {
            kind: FailureKind::Invalid,
            operation: "Scan",
            resource: self.job.labels[0].clone(),
            message: error.to_string(),
        }
    }
}
