//! What a table was asked for, written down where the service would charge it: when, and how many units.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use shared::domain::condition::{Condition, Write};
use shared::domain::definition::TableDefinition;
use shared::domain::limits::Direction;
use shared::ports::failure::Failure;
use shared::ports::table::{Batch, Description, GetRequest, Got, Page, ScanRequest, Table, WriteAnswer};
use tokio::time::Instant;

/// The stretch of time that rates are held over.
pub const WINDOW: Duration = Duration::from_secs(10);

/// All charges of some tables. Clones write into the same book.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    charges: Arc<Mutex<Vec<Charge>>>,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Charge {
    /// When it arrived.
    pub at: Instant,
    /// The table's number.
    pub table: usize,
    /// Which of its capacities.
    pub direction: Direction,
    /// Units.
    pub units: f64,
}

impl Ledger {
    /// What was charged to one table in one direction.
    #[must_use]
    pub fn of(&self, table: usize, direction: Direction) -> Vec<Charge> {
        let charges = self.charges();
        charges.iter().filter(|charge| charge.table == table && charge.direction == direction).copied().collect()
    }

    /// Everything, since the beginning.
    #[must_use]
    pub fn all(&self) -> Vec<Charge> {
        self.charges().clone()
    }

    fn charges(&self) -> MutexGuard<'_, Vec<Charge>> {
        self.charges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, at: Instant, table: usize, direction: Direction, units: f64) {
        self.charges().push(Charge { at, table, direction, units });
    }
}

/// Units that were charged from a moment on, for so long.
#[must_use]
pub fn units_within(charges: &[Charge], from: Instant, time: Duration) -> f64 {
    let within = charges.iter().filter(|charge| (from..from + time).contains(&charge.at));
    within.map(|charge| charge.units).sum()
}

/// The most that any [`WINDOW`] holds.
#[must_use]
pub fn worst_window(charges: &[Charge]) -> f64 {
    let (mut most, mut sum, mut end) = (0.0_f64, 0.0, 0);
    let mut sorted = charges.to_vec();
    sorted.sort_by_key(|charge| charge.at);
    for first in &sorted {
        while let Some(next) = sorted.get(end).filter(|next| next.at < first.at + WINDOW) {
            sum += next.units;
            end += 1;
        }
        most = most.max(sum);
        sum -= first.units;
    }
    most
}

/// A table that charges.
pub struct Charging {
    /// The table.
    pub inner: Arc<dyn Table>,
    /// Its number.
    pub number: usize,
    /// Where it is written down.
    pub ledger: Ledger,
}

impl Charging {
    fn charge<T>(
        &self,
        at: Instant,
        direction: Direction,
        answer: Result<T, Failure>,
        units: impl Fn(&T) -> f64,
    ) -> Result<T, Failure> {
        if let Ok(answer) = &answer {
            self.ledger.add(at, self.number, direction, units(answer));
        }
        answer
    }
}

#[async_trait]
impl Table for Charging {
    async fn describe(&self) -> Result<Description, Failure> {
        self.inner.describe().await
    }

    async fn time_to_live(&self) -> Result<Option<String>, Failure> {
        self.inner.time_to_live().await
    }

    async fn definition(&self) -> Result<TableDefinition, Failure> {
        self.inner.definition().await
    }

    async fn create(&self, definition: &TableDefinition) -> Result<(), Failure> {
        self.inner.create(definition).await
    }

    async fn set_time_to_live(&self, attribute: &str) -> Result<(), Failure> {
        self.inner.set_time_to_live(attribute).await
    }

    async fn scan_page(&self, request: &ScanRequest) -> Result<Page, Failure> {
        let at = Instant::now();
        self.charge(at, Direction::Read, self.inner.scan_page(request).await, |page| page.read_units)
    }

    async fn get_many(&self, request: &GetRequest) -> Result<Got, Failure> {
        let at = Instant::now();
        self.charge(at, Direction::Read, self.inner.get_many(request).await, |got| got.read_units)
    }

    async fn write_if(&self, write: &Write, condition: &Condition) -> Result<WriteAnswer, Failure> {
        let at = Instant::now();
        self.charge(at, Direction::Write, self.inner.write_if(write, condition).await, |answer| answer.write_units)
    }

    async fn write_many(&self, writes: &[Write]) -> Result<Batch, Failure> {
        let at = Instant::now();
        self.charge(at, Direction::Write, self.inner.write_many(writes).await, |batch| batch.write_units)
    }
}
