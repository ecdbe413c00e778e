//! What a sync reads, in DynamoDB's read units, by table and strategy; and what that is in dollars and minutes.
//!
//! It is an estimate: DescribeTable's figures are hours old, every item counts as one of the average size, and a segment
//! may end on any page, also on an empty one, which costs half a unit.
//! The arithmetic and its sources: Amazon DynamoDB Developer Guide, "DynamoDB read and write operations".

use serde::{Deserialize, Serialize};

use super::job::{Consistency, Manifest, Strategy};
use super::segment::SegmentSet;

/// Bytes that one read unit reads once, strongly consistent. A scan sums up the bytes of a page and rounds them up to
/// such blocks; a read by key does so item by item.
///
/// Source: Amazon DynamoDB Developer Guide, "DynamoDB read and write operations" (2026-08).
pub const BYTES_PER_READ_UNIT: f64 = 4096.0;

/// Bytes of items on a full page of a scan.
///
/// Source: Amazon DynamoDB API Reference, Scan (2026-08).
pub const BYTES_PER_PAGE: f64 = 1_048_576.0;

/// Bytes of an item that one write unit writes.
///
/// Source: Amazon DynamoDB Developer Guide, "DynamoDB read and write operations" (2026-08).
pub const BYTES_PER_WRITE_UNIT: f64 = 1024.0;

/// Read units per second that a new on-demand table gives at once; one that had more traffic gives more.
///
/// Source: Amazon DynamoDB Developer Guide, "On-demand capacity mode", initial throughput (2026-08).
pub const ON_DEMAND_READ_UNITS_PER_SECOND: f64 = 12_000.0;

/// Items and bytes of a table, as DescribeTable gives them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSize {
    /// Items.
    pub items: u64,
    /// Bytes of all items.
    pub bytes: u64,
}

impl TableSize {
    /// Whether the figures say anything: a table that was made in the last hours says 0, as an empty one does.
    #[must_use]
    pub fn is_known(self) -> bool {
        self.items > 0 && self.bytes > 0
    }

    /// Bytes of an average item; 0 when there is none.
    #[must_use]
    pub fn average(self) -> f64 {
        if self.items == 0 { 0.0 } else { self.bytes as f64 / self.items as f64 }
    }
}

/// What the cost of reading depends on, besides tables and strategies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// Whether items that only a slave has are looked for.
    pub seeks_extra: bool,
    /// Consistency of the first look.
    pub consistency: Consistency,
    /// The share of the segments that is read, above 0 and up to 1.
    pub share: f64,
}

/// What is read from one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TableReads {
    /// Read units.
    pub read_units: f64,
    /// Bytes of whole items that the service sends. What is read for its keys alone is not in it.
    pub bytes: f64,
}

impl TableReads {
    fn add(&mut self, other: Self) {
        self.read_units += other.read_units;
        self.bytes += other.bytes;
    }

    fn scaled(self, share: f64) -> Self {
        Self { read_units: self.read_units * share, bytes: self.bytes * share }
    }

    fn keys_only(self) -> Self {
        Self { bytes: 0.0, ..self }
    }
}

/// What the first look of a sync reads from each table, the master first.
///
/// The master is scanned once, for all slaves.
#[must_use]
pub fn reads(master: TableSize, slaves: &[(TableSize, Strategy)], reading: Reading) -> Vec<TableReads> {
    let mut tables = vec![scan(master, reading)];
    for &(slave, strategy) in slaves {
        let (of_master, of_slave) = against(master, slave, strategy, reading);
        tables[0].add(of_master);
        tables.push(of_slave);
    }
    tables.into_iter().map(|table| table.scaled(reading.share)).collect()
}

/// What the first look of a job reads from each table, the master first, if its slaves are read as `strategy` says.
///
/// `None` when nobody can say: the master's size is not known, or the scans begin at keys.
#[must_use]
pub fn reads_of(manifest: &Manifest, strategy: impl Fn(usize) -> Strategy) -> Option<Vec<TableReads>> {
    let sizes: Vec<TableSize> = manifest.sides().map(|side| side.size).collect::<Option<_>>()?;
    let (&master, slaves) = sizes.split_first()?;
    if !master.is_known() || !manifest.starting_keys.is_empty() {
        return None;
    }
    let segments = manifest.only_segments.as_ref().map_or(manifest.total_segments, SegmentSet::count);
    let reading = Reading {
        seeks_extra: manifest.sync.policy.seeks_extra(),
        consistency: manifest.sync.scan_consistency,
        share: f64::from(segments) / f64::from(manifest.total_segments),
    };
    let slaves: Vec<_> = slaves.iter().enumerate().map(|(slave, &size)| (size, strategy(slave))).collect();
    Some(reads(master, &slaves, reading))
}

/// The read units of all tables.
#[must_use]
pub fn total_units(tables: &[TableReads]) -> f64 {
    tables.iter().map(|table| table.read_units).sum()
}

/// For each slave, the strategy that reads fewer units; `paired` when both read as many, or the sizes say nothing.
///
/// What it costs to scan the master does not count: that is done anyway.
#[must_use]
pub fn choose(master: TableSize, slaves: &[TableSize], reading: Reading) -> Vec<Strategy> {
    let units = |slave, strategy| {
        let (of_master, of_slave) = against(master, slave, strategy, reading);
        of_master.read_units + of_slave.read_units
    };
    let cheaper = |&slave: &TableSize| {
        let known = master.is_known() && slave.is_known();
        if known && units(slave, Strategy::Lookup) < units(slave, Strategy::Paired) {
            Strategy::Lookup
        } else {
            Strategy::Paired
        }
    };
    slaves.iter().map(cheaper).collect()
}

/// Read units of looking again at so many discrepancies: both sides, by key, strongly consistent.
#[must_use]
pub fn confirmation_units(discrepancies: f64, master: TableSize, slave: TableSize) -> f64 {
    discrepancies * (blocks(master) + blocks(slave))
}

/// Write units of repairing so many items of a table's average size. A conditional write costs what one without does.
#[must_use]
pub fn repair_units(repairs: f64, written: TableSize) -> f64 {
    repairs * (written.average() / BYTES_PER_WRITE_UNIT).ceil().max(1.0)
}

/// Minutes until the slowest table is read, each giving so many units per second.
#[must_use]
pub fn minutes(tables: &[TableReads], units_per_second: &[f64]) -> f64 {
    let seconds = tables.iter().zip(units_per_second).map(|(table, capacity)| table.read_units / capacity);
    seconds.fold(0.0, f64::max) / 60.0
}

/// What a million request units cost, in dollars.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prices {
    /// Of reading.
    pub read_per_million: f64,
    /// Of writing.
    pub write_per_million: f64,
}

impl Prices {
    /// Tables on demand, Standard class, in US East (N. Virginia), since 2024-11-01. Other regions cost more or less.
    ///
    /// Source: Amazon DynamoDB, "Pricing for On-Demand Capacity" (<https://aws.amazon.com/dynamodb/pricing/on-demand/>);
    /// the date is that of the price cut that AWS announced in November 2024.
    pub const US_EAST_ON_DEMAND: Self = Self { read_per_million: 0.125, write_per_million: 0.625 };

    /// The day since when [`Prices::US_EAST_ON_DEMAND`] holds.
    pub const SINCE: &str = "2024-11-01";

    /// Dollars for these units.
    #[must_use]
    pub fn dollars(self, read_units: f64, write_units: f64) -> f64 {
        (read_units * self.read_per_million + write_units * self.write_per_million) / 1e6
    }
}

/// What a slave adds to the scan of the master: reads of the master, reads of the slave.
fn against(master: TableSize, slave: TableSize, strategy: Strategy, reading: Reading) -> (TableReads, TableReads) {
    match strategy {
        Strategy::Paired => (TableReads::default(), scan(slave, reading)),
        Strategy::Lookup => {
            let mut of_master = TableReads::default();
            let mut of_slave = lookups(master, slave, reading);
            if reading.seeks_extra {
                of_slave.add(scan(slave, reading).keys_only());
                of_master.add(lookups(slave, master, reading).keys_only());
            }
            (of_master, of_slave)
        }
    }
}

fn scan(table: TableSize, reading: Reading) -> TableReads {
    if !table.is_known() {
        return TableReads::default();
    }
    let items_per_page = (BYTES_PER_PAGE / table.average()).floor().max(1.0);
    let blocks_per_page = (items_per_page * table.average() / BYTES_PER_READ_UNIT).ceil();
    // The product comes first: for items of whole blocks it is then exactly what it costs to look them up.
    let read_units = table.items as f64 * blocks_per_page / items_per_page * per_block(reading.consistency);
    TableReads { read_units, bytes: table.bytes as f64 }
}

/// Each key of one table looked up in another, which has as many of them as it can.
fn lookups(keys: TableSize, table: TableSize, reading: Reading) -> TableReads {
    let found = keys.items.min(table.items) as f64;
    let lacking = keys.items as f64 - found;
    let read_units = (found * blocks(table) + lacking) * per_block(reading.consistency);
    TableReads { read_units, bytes: found * table.average() }
}

/// Blocks of one item read by its key; an item that is not there costs one too.
fn blocks(table: TableSize) -> f64 {
    (table.average() / BYTES_PER_READ_UNIT).ceil().max(1.0)
}

/// Read units per block.
fn per_block(consistency: Consistency) -> f64 {
    match consistency {
        Consistency::Eventual => 0.5,
        Consistency::Strong => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BILLION: u64 = 1_000_000_000;

    const EVENTUAL: Reading = Reading { seeks_extra: false, consistency: Consistency::Eventual, share: 1.0 };

    const WITH_EXTRA: Reading = Reading { seeks_extra: true, ..EVENTUAL };

    fn items(items: u64, average: u64) -> TableSize {
        TableSize { items, bytes: items * average }
    }

    fn units(table: TableSize, slaves: usize, strategy: Strategy, reading: Reading) -> f64 {
        total_units(&reads(table, &vec![(table, strategy); slaves], reading))
    }

    /// Read units in millions and dollars per billion items: of looking up, of looking up with extra items, and paired.
    #[test]
    fn a_billion_items_cost_what_the_table_says() {
        for (average, slaves, lookup, with_extra, paired) in [
            (100, 1, (512.0, 64.03), (1024.0, 128.05), (24.4, 3.05)),
            (100, 3, (1512.0, 189.03), (3049.0, 381.10), (48.8, 6.10)),
            (200, 1, (524.0, 65.55), (1049.0, 131.10), (48.8, 6.10)),
            (200, 3, (1524.0, 190.55), (3098.0, 387.21), (97.7, 12.21)),
            (500, 1, (561.0, 70.13), (1122.0, 140.26), (122.0, 15.26)),
            (500, 3, (1561.0, 195.13), (3244.0, 405.52), (244.0, 30.52)),
            (1024, 1, (625.0, 78.12), (1250.0, 156.25), (250.0, 31.25)),
            (1024, 3, (1625.0, 203.12), (3500.0, 437.50), (500.0, 62.50)),
            (4096, 1, (1000.0, 125.0), (2000.0, 250.0), (1000.0, 125.0)),
            (4096, 3, (2000.0, 250.0), (5000.0, 625.0), (2000.0, 250.0)),
            (4200, 1, (1514.0, 189.26), (3028.0, 378.51), (1028.0, 128.51)),
            (4200, 3, (3514.0, 439.26), (8056.0, 1007.03), (2056.0, 257.03)),
            (20_480, 1, (5000.0, 625.0), (10_000.0, 1250.0), (5000.0, 625.0)),
            (20_480, 3, (10_000.0, 1250.0), (25_000.0, 3125.0), (10_000.0, 1250.0)),
        ] {
            let table = items(BILLION, average);
            for (name, expected, strategy, reading) in [
                ("lookup", lookup, Strategy::Lookup, EVENTUAL),
                ("lookup with extra items", with_extra, Strategy::Lookup, WITH_EXTRA),
                ("paired", paired, Strategy::Paired, EVENTUAL),
                ("paired with extra items", paired, Strategy::Paired, WITH_EXTRA),
            ] {
                let units = units(table, slaves, strategy, reading);
                let dollars = Prices::US_EAST_ON_DEMAND.dollars(units, 0.0);
                let (millions, rounding) = (units / 1e6, if expected.0 < 100.0 { 0.0501 } else { 0.501 });
                assert!((millions - expected.0).abs() <= rounding, "{average} B, {slaves}: {name}: {millions} M");
                assert!((dollars - expected.1).abs() <= 0.00501, "{average} B, {slaves}: {name}: ${dollars}");
            }
        }
    }

    /// What looking again at a share of the keys adds to a paired scan of two tables, in per cent.
    #[test]
    fn confirming_adds_what_the_table_says() {
        for (share, added) in [(0.001, [8.2, 1.6, 0.8, 0.2, 0.2]), (0.01, [82.0, 16.0, 8.0, 2.0, 2.0])] {
            for (average, expected) in [100, 500, 1024, 4096, 20_480].into_iter().zip(added) {
                let table = items(BILLION, average);
                let confirming = confirmation_units(BILLION as f64 * share, table, table);
                let percent = 100.0 * confirming / units(table, 1, Strategy::Paired, EVENTUAL);
                assert!((percent - expected).abs() <= if expected < 10.0 { 0.0501 } else { 0.501 }, "{percent} %");
            }
        }
    }

    #[test]
    fn the_master_is_scanned_once_and_lookups_of_extra_items_are_reads_of_it() {
        let (master, slave) = (items(1000, 4096), items(400, 8192));
        let both = [(slave, Strategy::Paired), (slave, Strategy::Lookup)];

        let units: Vec<f64> = reads(master, &both, WITH_EXTRA).iter().map(|table| table.read_units).collect();

        // 500 of the scan and 200 of lookups; 400 of a scan; 400 found, 300 not found, and 400 of a scan.
        assert_eq!(units, [700.0, 400.0, 1100.0]);
        let bytes: Vec<f64> = reads(master, &both, WITH_EXTRA).iter().map(|table| table.bytes).collect();
        assert_eq!(bytes, [1000.0 * 4096.0, 400.0 * 8192.0, 400.0 * 8192.0]);
    }

    #[test]
    fn strong_consistency_doubles_and_a_share_scales() {
        let table = items(5000, 700);
        for (strategy, reading) in
            [(Strategy::Paired, EVENTUAL), (Strategy::Lookup, EVENTUAL), (Strategy::Lookup, WITH_EXTRA)]
        {
            let whole = units(table, 2, strategy, reading);
            let strong = units(table, 2, strategy, Reading { consistency: Consistency::Strong, ..reading });
            let tenth = units(table, 2, strategy, Reading { share: 0.1, ..reading });

            assert_eq!(strong, 2.0 * whole);
            assert!((tenth - 0.1 * whole).abs() < 1e-9);
        }
    }

    #[test]
    fn the_cheaper_strategy_is_chosen_for_each_slave() {
        let (small, large, unknown) = (items(1000, 100), items(1_000_000, 100), TableSize::default());
        let of_4_kib = items(1000, 4096);
        let of_20_kib = items(999, 20_480);
        for (name, master, slave, reading, expected) in [
            ("small items are cheaper to scan", small, small, EVENTUAL, Strategy::Paired),
            ("items of 4 KiB cost the same, and paired finds more", of_4_kib, of_4_kib, EVENTUAL, Strategy::Paired),
            ("and so do items of 20 KiB", of_20_kib, of_20_kib, EVENTUAL, Strategy::Paired),
            ("a small master looks up in a large slave", small, large, EVENTUAL, Strategy::Lookup),
            ("unless all of the slave is scanned anyway", small, large, WITH_EXTRA, Strategy::Paired),
            ("a slave of unknown size", small, unknown, EVENTUAL, Strategy::Paired),
            ("a master of unknown size", unknown, large, EVENTUAL, Strategy::Paired),
        ] {
            assert_eq!(choose(master, &[slave], reading), [expected], "{name}");
        }
        assert_eq!(choose(small, &[large, small], EVENTUAL), [Strategy::Lookup, Strategy::Paired]);
    }

    #[test]
    fn the_slowest_table_takes_the_time() {
        let tables = [12_000.0, 600.0].map(|read_units| TableReads { read_units, bytes: 0.0 });

        assert_eq!(minutes(&tables, &[ON_DEMAND_READ_UNITS_PER_SECOND, 1.0]), 10.0);
        assert_eq!(minutes(&tables, &[100.0, 1000.0]), 2.0);
    }

    #[test]
    fn a_repair_costs_a_write_unit_per_kilobyte() {
        for (average, expected) in [(0, 10.0), (1, 10.0), (1024, 10.0), (1025, 20.0)] {
            assert_eq!(repair_units(10.0, items(5, average)), expected, "{average} B");
        }
        assert_eq!(Prices::US_EAST_ON_DEMAND.dollars(2e6, 1e6), 0.875);
    }
}
