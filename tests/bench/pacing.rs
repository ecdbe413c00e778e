//! Rates that were asked for, against those that the tables charged: with one worker, and with eight that share them.
//!
//! The tables are made up while they are read, and charge for items of a size that they do not really have.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use shared::domain::condition::{Condition, Write};
use shared::domain::cost::TableSize;
use shared::domain::decide::{ExtraHandling, Handling, Policy};
use shared::domain::job::{Access, Consistency, Side, StrategyChoice, SyncSettings};
use shared::domain::key::{Key, KeyType};
use shared::domain::limits::{Capacity, Direction};
use shared::domain::value::{Item, Value};
use shared::journal::Journal;
use shared::local::memory::MemoryStore;
use shared::local::queue::LocalQueue;
use shared::ports::failure::Failure;
use shared::ports::objects::ObjectStore;
use shared::ports::queue::WorkQueue as _;
use shared::ports::table::{
    Applied, Batch, Billing, Description, GetRequest, Got, Page, Readiness, ScanRequest, Table, WriteAnswer,
};
use tests::generate::schema;
use tests::ledger::{Charging, Ledger, WINDOW, units_within, worst_window};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use worker::consume::{DeadLetters, Drain, Settings, consume};
use worker::context::OpenJobs;
use worker::environment::Environment;
use worker::hooks::NoHooks;
use worker::plan::{GlobalTables, LimitsAsked, Segments, SyncRequest, plan};

/// Until then shares are being found; after it they are measured.
const WARM_UP: Duration = Duration::from_secs(15);

/// How long it is measured.
const MEASURED: Duration = Duration::from_secs(30);

/// Segments of each job; more than all workers together have in work.
const SEGMENTS: u32 = 64;

/// One measurement.
#[derive(Clone, Copy)]
struct Cell {
    direction: Direction,
    rate: f64,
    workers: usize,
}

/// Rates from 1 to 10,000 units per second. Those that need little of the machine run side by side.
pub(crate) async fn rates() {
    println!("\nLimits: units charged against units asked for, in all 30 s and in the worst 10 s:");
    println!("  direction      rate  workers   achieved      worst");
    let cells = |direction, rates: &'static [f64]| {
        let cell = move |&rate: &f64| [1, 8].map(|workers| Cell { direction, rate, workers });
        rates.iter().flat_map(cell)
    };
    let low = cells(Direction::Read, &[1.0, 10.0, 100.0]).chain(cells(Direction::Write, &[10.0]));
    run(low.collect()).await;
    run(cells(Direction::Read, &[1000.0]).chain(cells(Direction::Write, &[1000.0])).collect()).await;
    for cell in cells(Direction::Read, &[10_000.0]) {
        run(vec![cell]).await;
    }
}

async fn run(cells: Vec<Cell>) {
    let measured = cells.into_iter().map(|cell| async move { (cell, measure(cell).await) });
    for (Cell { direction, rate, workers }, (achieved, worst)) in join_all(measured).await {
        let direction = format!("{direction:?}").to_lowercase();
        println!("  {direction:<9} {rate:>9} {workers:>8} {:>8.1} % {:>8.1} %", achieved * 100.0, worst * 100.0);
    }
}

async fn measure(Cell { direction, rate, workers }: Cell) -> (f64, f64) {
    let bytes = if rate >= 1000.0 && direction == Direction::Read { 4000 } else { 400 };
    let ledger = Ledger::default();
    let table = |number, is_empty| {
        let inner = Arc::new(MadeUp { bytes, is_empty });
        Arc::new(Charging { inner, number, ledger: ledger.clone() }) as Arc<dyn Table>
    };
    let tables = [table(0, false), table(1, direction == Direction::Write)];
    let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new("bench"));
    let environment = || {
        let (tables, store) = (tables.clone(), Arc::clone(&store));
        Environment::new(
            move |side| {
                let table = Arc::clone(&tables[usize::from(side.table.name() == "slave")]);
                Box::pin(async move { Ok(table) })
            },
            move |_| {
                let store = Arc::clone(&store);
                Box::pin(async move { Ok(store) })
            },
        )
    };
    let manifest = plan(request(direction, rate), &environment()).await.expect("it can be planned");
    let journal = Journal::new(Arc::clone(&store), &manifest.job);
    journal.create(&manifest).await.expect("it can be created");
    let queue = Arc::new(LocalQueue::new(5));
    for unit in manifest.units() {
        let body = manifest.message(&journal.manifest_url(), unit).to_body();
        queue.send(&[body], Duration::ZERO).await.expect("it takes them");
    }
    let (stop, began) = (CancellationToken::new(), Instant::now());
    let work = (0..workers).map(|_| {
        let jobs = OpenJobs::new(environment(), Arc::new(NoHooks), Arc::default());
        let settings = Settings {
            concurrency: 4,
            shards: 1,
            lease: Duration::from_secs(60),
            grace: Duration::from_secs(10),
            drain: Drain::Never,
            dead_letters: DeadLetters::Kept,
        };
        tokio::spawn(consume(Arc::clone(&queue) as _, Arc::new(jobs), settings, stop.clone()))
    });
    let work: Vec<_> = work.collect();
    tokio::time::sleep(WARM_UP + MEASURED).await;
    stop.cancel();
    join_all(work).await;
    let charges = ledger.of(usize::from(direction == Direction::Write), direction);
    let achieved = units_within(&charges, began + WARM_UP, MEASURED) / (rate * MEASURED.as_secs_f64());
    (achieved, worst_window(&charges) / (rate * WINDOW.as_secs_f64()))
}

fn request(direction: Direction, rate: f64) -> SyncRequest {
    let side = |name: &str| Side::new(format!("us-east-1:{name}").parse().expect("it is a name"), Access::default());
    let capacity = Some(Capacity::Units(rate));
    let (limits, missing) = match direction {
        Direction::Read => (LimitsAsked { read: capacity, ..LimitsAsked::default() }, Handling::Report),
        // Reads that keep up with the writes, and leave the machine to the other cells.
        Direction::Write => {
            let read = Some(Capacity::Units((10.0 * rate).max(1000.0)));
            (LimitsAsked { read, write: capacity, ..LimitsAsked::default() }, Handling::Repair)
        }
    };
    SyncRequest {
        job: "bench".to_owned(),
        master: side("master"),
        slaves: vec![side("slave")],
        segments: Segments::Fixed(SEGMENTS),
        only_segments: None,
        sample: None,
        starting_keys: std::collections::BTreeMap::new(),
        global_tables: GlobalTables::default(),
        encryption: None,
        limits,
        settings: SyncSettings {
            policy: Policy { missing, differing: Handling::Report, extra: ExtraHandling::Ignore },
            strategy: StrategyChoice::Paired,
            scan_limit: (direction == Direction::Write).then_some(100),
            ..SyncSettings::default()
        },
    }
}

/// A table without end, or without anything.
struct MadeUp {
    bytes: u64,
    is_empty: bool,
}

impl MadeUp {
    fn units(&self, items: u64, consistency: Consistency) -> f64 {
        let blocks = (items * self.bytes).div_ceil(4096).max(1) as f64;
        if consistency == Consistency::Strong { blocks } else { blocks / 2.0 }
    }
}

fn item(segment: u32, position: u64) -> Item {
    [("id".to_owned(), Value::S(format!("{segment:06}-{position:012}")))].into()
}

#[async_trait]
impl Table for MadeUp {
    async fn describe(&self) -> Result<Description, Failure> {
        let items = 1_000_000_000;
        Ok(Description {
            id: None,
            arn: None,
            readiness: Readiness::Ready,
            key_schema: schema(KeyType::S, None),
            size: TableSize { items, bytes: items * self.bytes },
            billing: Billing::OnDemand,
            replicas: Vec::new(),
            stream: None,
        })
    }

    async fn time_to_live(&self) -> Result<Option<String>, Failure> {
        Ok(None)
    }

    async fn scan_page(&self, request: &ScanRequest) -> Result<Page, Failure> {
        let ScanRequest { segment, after, limit, consistency, .. } = request;
        if self.is_empty {
            return Ok(Page { read_units: self.units(0, *consistency), ..Page::default() });
        }
        let after = after.as_ref().map(|key| match key.to_item().remove("id") {
            Some(Value::S(id)) => id.split_once('-').and_then(|(_, at)| at.parse::<u64>().ok()).expect("it is ours"),
            _ => unreachable!("the key is a string"),
        });
        let count = u64::from(limit.unwrap_or(u32::MAX)).min((1 << 20) / self.bytes);
        let from = after.map_or(0, |after| after + 1);
        let items = (from..from + count).map(|position| item(*segment, position)).collect();
        let next = Some(item(*segment, from + count - 1));
        Ok(Page { items, next, read_units: self.units(count, *consistency) })
    }

    async fn get_many(&self, request: &GetRequest) -> Result<Got, Failure> {
        let read_units = request.keys.len() as f64 * self.units(1, request.consistency);
        let items = if self.is_empty { Vec::new() } else { request.keys.iter().map(Key::to_item).collect() };
        Ok(Got { items, read_units, ..Got::default() })
    }

    async fn write_if(&self, _: &Write, _: &Condition) -> Result<WriteAnswer, Failure> {
        Ok(WriteAnswer { applied: Applied::Written, write_units: self.bytes.div_ceil(1024) as f64 })
    }

    async fn write_many(&self, writes: &[Write]) -> Result<Batch, Failure> {
        Ok(Batch { write_units: (writes.len() as u64 * self.bytes.div_ceil(1024)) as f64, ..Batch::default() })
    }
}
