//! The `lookup` pass: scan one table, hold each page against the others by their keys.

use std::sync::Arc;

use shared::domain::checkpoint::Position;
use shared::domain::key::Key;
use shared::domain::tally::Tally;
use shared::domain::unit::Pass;
use shared::ports::table::{Content, Page, ScanRequest, Table};
use shared::retry;

use super::lookup::{self, Suspect};
use super::{Ended, ITEMS_PER_PAGE, Segment, Settled, Stuck};

impl Segment<'_> {
    /// Scans from the position to the end of the segment.
    pub(super) async fn scan(&mut self) -> Result<Ended, Stuck> {
        let mut upcoming = match &self.position {
            Position::End => return Ok(Ended::Done),
            Position::Paired(_) | Position::Shard(_) | Position::Source(_) => return Err(self.not_of_this_strategy()),
            Position::Start => Some(self.fetch(None).await?),
            Position::After(key) => {
                let key = Key::from_json(&self.job.manifest.key_schema, key).map_err(|error| self.bad_key(&error))?;
                Some(self.fetch(Some(key)).await?)
            }
        };
        while let Some(page) = upcoming.take() {
            let next = page.next.as_ref().map(|item| self.key(item)).transpose()?;
            let more = async {
                match next.clone() {
                    Some(key) => self.fetch(Some(key)).await.map(Some),
                    None => Ok(None),
                }
            };
            let (compared, fetched) = futures::future::join(self.compare(&page), more).await;
            let (found, tally) = compared?;
            self.tally.add(&tally);
            self.suspects.extend(found);
            self.position = next.map_or(Position::End, |key| Position::After(key.to_json()));
            self.job.meter.add_scanned(page.items.len() as u64);
            let stopped = self.stop.is_cancelled();
            if (self.is_due() || stopped || self.position == Position::End)
                && self.settle().await? == Settled::Abandoned
            {
                return Ok(Ended::Stopped);
            }
            if self.position == Position::End {
                return Ok(Ended::Done);
            }
            if stopped {
                return Ok(Ended::Stopped);
            }
            upcoming = fetched?;
        }
        Ok(Ended::Done)
    }

    async fn fetch(&self, after: Option<Key>) -> Result<Page, Stuck> {
        let settings = &self.job.manifest.sync;
        let request = ScanRequest {
            segment: self.unit.segment,
            total_segments: self.job.manifest.total_segments,
            after,
            limit: Some(settings.scan_limit.unwrap_or(ITEMS_PER_PAGE)),
            consistency: settings.scan_consistency,
            content: match self.unit.pass {
                Pass::Master | Pass::Stream => Content::Items,
                Pass::Slave(_) => Content::Keys(self.job.manifest.key_schema.clone()),
            },
        };
        let table = self.scanned_table();
        let page = retry::call(self.job.retry, || table.scan_page(&request)).await?;
        self.job.meter.add_read_units(page.read_units);
        Ok(page)
    }

    /// Holds one page against the other tables; returns the suspects, and the page's counts.
    async fn compare(&self, page: &Page) -> Result<(Vec<Suspect>, Tally), Stuck> {
        let keys = page.items.iter().map(|item| self.key(item)).collect::<Result<Vec<Key>, Stuck>>()?;
        let mut tally = Tally::zero(self.job.manifest.slaves.len());
        let scanned = self.unit.pass.scanned_table();
        tally.scanned[scanned] += page.items.len() as u64;
        tally.consumed[scanned].read += page.read_units;
        let suspects = match self.unit.pass {
            Pass::Master | Pass::Stream => lookup::master_page(self.job, &keys, &page.items, &mut tally).await?,
            Pass::Slave(slave) => lookup::slave_page(self.job, slave, keys, &mut tally).await?,
        };
        Ok((suspects, tally))
    }

    fn scanned_table(&self) -> Arc<dyn Table> {
        Arc::clone(&self.job.tables[self.unit.pass.scanned_table()])
    }
}
