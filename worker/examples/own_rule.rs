//! A sync from Rust, with a rule for differences and an ear of its own.
//!
//! ```text
//! cargo run -p worker --example own_rule
//! ```
//!
//! Its tables are in memory, so that it runs anywhere; `Environment::aws` opens real ones. The tests run it too.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use shared::domain::compare::{Ignore, differing_paths};
use shared::domain::decide::{Handling, Policy};
use shared::domain::discrepancy::{Discrepancy, Outcome};
use shared::domain::job::{Access, Confirm, Side, SyncSettings};
use shared::domain::key::{KeyAttribute, KeySchema, KeyType};
use shared::domain::number::Number;
use shared::domain::summary::Summary;
use shared::domain::value::{Item, Value};
use shared::journal::StoreUrl;
use shared::local::directory::DirectoryStore;
use shared::local::table::MemoryTable;
use shared::ports::objects::ObjectStore;
use shared::ports::table::Table;
use worker::embedded::Embedded;
use worker::environment::Environment;
use worker::hooks::Hooks;
use worker::plan::{GlobalTables, LimitsAsked, Segments, SyncRequest, new_job_id};

/// Prices that differ by no more than this count as equal.
const TOLERANCE: f64 = 0.005;

/// Compares as dynamend does, except for prices, and counts what it is told.
#[derive(Default)]
struct Prices {
    found: AtomicU64,
    written: AtomicU64,
}

impl Hooks for Prices {
    fn differing(&self, master: &Item, slave: &Item) -> Option<Vec<String>> {
        let mut paths = differing_paths(master, slave, &Ignore::default());
        paths.retain(|path| path != "price" || !is_close(master.get("price"), slave.get("price")));
        Some(paths)
    }

    fn on_discrepancy(&self, _found: &Discrepancy) {
        self.found.fetch_add(1, Ordering::Relaxed);
    }

    fn on_outcome(&self, settled: &Discrepancy) {
        if settled.outcome == Outcome::Written {
            self.written.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn is_close(one: Option<&Value>, other: Option<&Value>) -> bool {
    let number = |value: Option<&Value>| match value {
        Some(Value::N(number)) => number.text().parse::<f64>().ok(),
        _ => None,
    };
    number(one).zip(number(other)).is_some_and(|(one, other)| (one - other).abs() <= TOLERANCE)
}

/// What came of it: the job's summary, and what the hooks were told.
pub(crate) struct Told {
    pub(crate) summary: Summary,
    pub(crate) found: u64,
    pub(crate) written: u64,
    /// The slave's prices after the repair.
    pub(crate) prices: Vec<String>,
}

/// Syncs two small tables and writes what the slave lacks or has wrong.
pub(crate) async fn run() -> Result<Told, Box<dyn Error>> {
    let master = table(&[("a", "1.00"), ("b", "2.00"), ("c", "3.00"), ("d", "4.00")])?;
    // `b` is within the tolerance, `c` is not, `d` is missing.
    let slave = table(&[("a", "1"), ("b", "2.004"), ("c", "3.50")])?;
    let folder = tempfile::tempdir()?;

    let hooks = Arc::new(Prices::default());
    let request = SyncRequest {
        job: new_job_id(),
        master: side("us-east-1:orders")?,
        slaves: vec![side("eu-west-1:orders")?],
        segments: Segments::Fixed(2),
        only_segments: None,
        sample: None,
        starting_keys: Default::default(),
        global_tables: GlobalTables::default(),
        encryption: None,
        limits: LimitsAsked::default(),
        settings: SyncSettings {
            policy: Policy { missing: Handling::Repair, differing: Handling::Repair, ..Policy::default() },
            // Nothing is in flight between two tables in memory.
            confirm: Confirm::AfterMillis(0),
            ..SyncSettings::default()
        },
    };
    let mut embedded = Embedded::new(in_memory(Arc::clone(&master), Arc::clone(&slave)), 2);
    embedded.hooks = Arc::clone(&hooks) as Arc<dyn Hooks>;
    let summary = embedded.sync(request, &StoreUrl::Directory(folder.path().to_owned())).await?;

    let price = |item: Item| match item.get("price") {
        Some(Value::N(price)) => price.text().to_owned(),
        other => format!("{other:?}"),
    };
    let mut prices: Vec<String> = slave.items().into_iter().map(price).collect();
    prices.sort();
    let Prices { found, written } = &*hooks;
    Ok(Told { summary, found: found.load(Ordering::Relaxed), written: written.load(Ordering::Relaxed), prices })
}

/// Two tables by their regions, and stores in directories.
fn in_memory(master: Arc<MemoryTable>, slave: Arc<MemoryTable>) -> Environment {
    Environment::new(
        move |side| {
            let table = if side.table.region() == "us-east-1" { &master } else { &slave };
            let table: Arc<dyn Table> = Arc::<MemoryTable>::clone(table);
            Box::pin(async move { Ok(table) })
        },
        |url| {
            Box::pin(async move {
                let StoreUrl::Directory(path) = url else { unreachable!("the example names a directory") };
                Ok(Arc::new(DirectoryStore::open(path)?) as Arc<dyn ObjectStore>)
            })
        },
    )
}

fn table(prices: &[(&str, &str)]) -> Result<Arc<MemoryTable>, Box<dyn Error>> {
    let id = KeyAttribute { name: "id".to_owned(), kind: KeyType::S };
    let table = MemoryTable::new(KeySchema { partition: id, sort: None });
    for (id, price) in prices {
        let price = Value::N(Number::parse(price)?);
        table.put(Item::from([("id".to_owned(), Value::S((*id).to_owned())), ("price".to_owned(), price)]))?;
    }
    Ok(Arc::new(table))
}

fn side(name: &str) -> Result<Side, Box<dyn Error>> {
    Ok(Side::new(name.parse()?, Access::default()))
}

#[expect(clippy::print_stdout, reason = "an example shows its result")]
#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let Told { summary, found, written, prices } = run().await?;
    let slave = &summary.slaves[0];
    println!("compared {}, identical {}, found {found}, written {written}", slave.compared, slave.identical);
    println!("prices of the slave now: {}", prices.join(", "));
    Ok(())
}
