//! What a sync would cost, strategy by strategy: one document for programs, and a page for people.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use shared::domain::cost::{
    ON_DEMAND_READ_UNITS_PER_SECOND, Prices, Reading, TableReads, TableSize, choose, confirmation_units, minutes,
    reads, reads_of, repair_units, total_units,
};
use shared::domain::job::{Manifest, Strategy, StrategyChoice};
use shared::ports::table::{Billing, Description};

use crate::figures;

/// The share of differing items that a quote shows the price of.
const DIVERGENCE: f64 = 0.001;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// What would be read.
    pub reading: Reading,
    /// What it would be paid with.
    pub prices: Prices,
    /// Where these prices are from.
    pub source: PriceSource,
    /// Read units per second that each table gives, if the user says so.
    pub read_capacity: Option<f64>,
}

/// Where prices are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PriceSource {
    /// On demand, Standard class, US East (N. Virginia).
    Listed,
    /// Both or one of them from the command line.
    Given,
}

/// What a sync of some tables would cost.
#[derive(Debug, Serialize)]
pub struct Quote {
    tables: Vec<Table>,
    seeks_extra: bool,
    share: f64,
    strategies: Vec<Alternative>,
    auto: Auto,
    divergence: Divergence,
    prices: PriceList,
}

/// A table as it describes itself; the first is the master.
#[derive(Debug, Serialize)]
struct Table {
    table: String,
    items: u64,
    bytes: u64,
    average_bytes: f64,
    billing: &'static str,
    read_capacity: f64,
}

/// One strategy for all slaves.
#[derive(Debug, Serialize)]
struct Alternative {
    strategy: Strategy,
    #[serde(flatten)]
    cost: Cost,
}

/// What `--strategy auto` takes.
#[derive(Debug, Serialize)]
struct Auto {
    slaves: Vec<Choice>,
    reason: &'static str,
    #[serde(flatten)]
    cost: Cost,
}

#[derive(Debug, Serialize)]
struct Choice {
    table: String,
    strategy: Strategy,
}

#[derive(Debug, Serialize)]
struct Cost {
    read_units: f64,
    dollars: f64,
    minutes: f64,
    tables: BTreeMap<String, TableReads>,
}

/// What comes on top where the tables differ.
#[derive(Debug, Serialize)]
struct Divergence {
    share: f64,
    confirm_read_units: f64,
    confirm_dollars: f64,
    repair_write_units: f64,
    repair_dollars: f64,
}

#[derive(Debug, Serialize)]
struct PriceList {
    source: PriceSource,
    #[serde(flatten)]
    prices: Prices,
    /// The day since when they hold, of listed ones.
    since: Option<&'static str>,
}

impl Quote {
    /// Reckons it up for tables of these names and descriptions, the master first.
    #[must_use]
    pub fn new(labels: &[String], descriptions: &[Description], asked: &Asked) -> Self {
        let Asked { reading, prices, source, read_capacity } = *asked;
        let tables: Vec<Table> = labels
            .iter()
            .zip(descriptions)
            .map(|(label, description)| table(label, description, read_capacity))
            .collect();
        let sizes: Vec<TableSize> = descriptions.iter().map(|description| description.size).collect();
        let (master, slaves) = sizes.split_first().unwrap_or_else(|| unreachable!("there is a master"));
        let cost = |strategies: &[Strategy]| {
            let slaves: Vec<_> = slaves.iter().copied().zip(strategies.iter().copied()).collect();
            let by_table = reads(*master, &slaves, reading);
            let capacities: Vec<f64> = tables.iter().map(|table| table.read_capacity).collect();
            Cost {
                read_units: total_units(&by_table),
                dollars: prices.dollars(total_units(&by_table), 0.0),
                minutes: minutes(&by_table, &capacities),
                tables: labels.iter().cloned().zip(by_table).collect(),
            }
        };
        let strategies = [Strategy::Paired, Strategy::Lookup]
            .map(|strategy| Alternative { strategy, cost: cost(&vec![strategy; slaves.len()]) });
        let chosen = choose(*master, slaves, reading);
        let known = sizes.iter().all(|size| size.is_known());
        let auto = Auto {
            reason: reason(known, &strategies),
            cost: cost(&chosen),
            slaves: labels[1..]
                .iter()
                .cloned()
                .zip(chosen)
                .map(|(table, strategy)| Choice { table, strategy })
                .collect(),
        };
        Self {
            divergence: divergence(*master, slaves, reading.share, prices),
            tables,
            seeks_extra: reading.seeks_extra,
            share: reading.share,
            strategies: strategies.into(),
            auto,
            prices: PriceList { source, prices, since: (source == PriceSource::Listed).then_some(Prices::SINCE) },
        }
    }
}

fn table(label: &str, description: &Description, read_capacity: Option<f64>) -> Table {
    let Description { size, billing, .. } = description;
    let (billing, own_capacity) = match *billing {
        Billing::OnDemand => ("on_demand", ON_DEMAND_READ_UNITS_PER_SECOND),
        Billing::Provisioned { read, .. } => ("provisioned", read as f64),
    };
    Table {
        table: label.to_owned(),
        items: size.items,
        bytes: size.bytes,
        average_bytes: size.average(),
        billing,
        read_capacity: read_capacity.unwrap_or(own_capacity),
    }
}

fn reason(known: bool, [paired, lookup]: &[Alternative; 2]) -> &'static str {
    if !known {
        "the size of a table is not known"
    } else if paired.cost.read_units == lookup.cost.read_units {
        "both take as many read units, and paired finds extra items too"
    } else {
        "it takes the fewest read units"
    }
}

fn divergence(master: TableSize, slaves: &[TableSize], share: f64, prices: Prices) -> Divergence {
    let discrepancies = master.items as f64 * share * DIVERGENCE;
    let confirm = slaves.iter().map(|&slave| confirmation_units(discrepancies, master, slave)).sum();
    let repair = slaves.len() as f64 * repair_units(discrepancies, master);
    Divergence {
        share: DIVERGENCE,
        confirm_read_units: confirm,
        confirm_dollars: prices.dollars(confirm, 0.0),
        repair_write_units: repair,
        repair_dollars: prices.dollars(0.0, repair),
    }
}

impl fmt::Display for Quote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tables, seeks_extra, share, strategies, auto, divergence, prices } = self;
        let chosen: Vec<(&str, Strategy)> =
            auto.slaves.iter().map(|slave| (slave.table.as_str(), slave.strategy)).collect();
        let extra = if *seeks_extra { "with extra items" } else { "without a look for extra items" };
        let part = if *share < 1.0 { format!(", {share} of the segments") } else { String::new() };
        writeln!(f, "{:<10}{:>14}{:>12}{:>10}", "strategy", "read units", "dollars", "minutes")?;
        for Alternative { strategy, cost } in strategies {
            let all = chosen.iter().all(|(_, taken)| taken == strategy);
            line(f, strategy.name(), cost, if all { "  <- auto" } else { "" })?;
        }
        if chosen.windows(2).any(|two| two[0].1 != two[1].1) {
            line(f, "auto", &auto.cost, "")?;
        }
        writeln!(f, "\n({extra}{part})\nauto takes {}: {}\n", assigned(&chosen), auto.reason)?;
        let width = tables.iter().map(|table| table.table.len()).max().unwrap_or(0).max("table".len());
        let head = ["items", "bytes", "average", "read units", "bytes read"];
        row(f, width, "table", &head.map(str::to_owned))?;
        for Table { table, items, bytes, average_bytes, .. } in tables {
            let of_auto = auto.cost.tables.get(table).copied().unwrap_or_default();
            let items = figures::grouped(*items);
            let (bytes, average) = (figures::grouped(*bytes), figures::rounded(*average_bytes));
            let (read, moved) = (figures::units(of_auto.read_units), figures::rounded(of_auto.bytes));
            row(f, width, table, &[items, bytes, average, read, moved])?;
        }
        writeln!(f, "\n{}", price_note(prices))?;
        writeln!(
            f,
            "Where {} % of the items differ, looking again takes {} read units more ({}), and repairs {} write units ({}).",
            divergence.share * 100.0,
            figures::units(divergence.confirm_read_units),
            figures::dollars(divergence.confirm_dollars),
            figures::units(divergence.repair_write_units),
            figures::dollars(divergence.repair_dollars),
        )?;
        writeln!(f, "Minutes: the slowest table, at {} read units per second.", capacities(tables))?;
        for Table { table, items, billing, .. } in tables {
            if *items == 0 {
                writeln!(f, "{table} says it has no items: it is empty, or too new to know its size.")?;
            }
            if *billing == "provisioned" {
                writeln!(
                    f,
                    "{table} is provisioned: its reads are paid by the hour, and the dollars are those of a table on demand."
                )?;
            }
        }
        write!(
            f,
            "Sizes are DescribeTable's, refreshed about every six hours. Bytes read are those auto reads; where they cross\n\
             regions, the transfer is not in the dollars."
        )
    }
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, cost: &Cost, mark: &str) -> fmt::Result {
    let Cost { read_units, dollars, minutes, .. } = cost;
    let (units, dollars, minutes) =
        (figures::units(*read_units), figures::dollars(*dollars), figures::minutes(*minutes));
    writeln!(f, "{name:<10}{units:>14}{dollars:>12}{minutes:>10}{mark}")
}

fn row(f: &mut fmt::Formatter<'_>, width: usize, name: &str, cells: &[String; 5]) -> fmt::Result {
    let [items, bytes, average, read, moved] = cells;
    writeln!(f, "{name:<width$}{items:>16}{bytes:>20}{average:>10}{read:>12}{moved:>20}")
}

/// `12,000`, or by table where they differ.
fn capacities(tables: &[Table]) -> String {
    let capacity = |table: &Table| figures::rounded(table.read_capacity);
    if tables.windows(2).all(|two| two[0].read_capacity == two[1].read_capacity) {
        return tables.first().map(capacity).unwrap_or_default();
    }
    let by_table: Vec<String> = tables.iter().map(|table| format!("{} ({})", capacity(table), table.table)).collect();
    by_table.join(", ")
}

fn price_note(list: &PriceList) -> String {
    let PriceList { source, prices, .. } = list;
    let per_million = format!(
        "${} per million read units, ${} per million write units",
        prices.read_per_million, prices.write_per_million
    );
    match source {
        PriceSource::Given => format!("Prices: {per_million}, as given."),
        PriceSource::Listed => format!(
            "Prices: {per_million}: on demand, Standard class,\n\
             US East (N. Virginia), since {} (aws.amazon.com/dynamodb/pricing/on-demand). Other regions cost more or less:\n\
             --read-price and --write-price say how much.",
            Prices::SINCE
        ),
    }
}

/// Which strategy holds which slave: `paired for A, B; lookup for C`.
fn assigned(slaves: &[(&str, Strategy)]) -> String {
    let of = |wanted: Strategy| {
        let tables: Vec<&str> =
            slaves.iter().filter(|(_, strategy)| *strategy == wanted).map(|(table, _)| *table).collect();
        (!tables.is_empty()).then(|| format!("{} for {}", wanted.name(), tables.join(", ")))
    };
    [Strategy::Paired, Strategy::Lookup].into_iter().filter_map(of).collect::<Vec<_>>().join("; ")
}

/// What was chosen for a job, and why, in one line.
#[must_use]
pub fn strategy_note(manifest: &Manifest) -> String {
    let labels = manifest.labels();
    let slaves = labels.iter().skip(1).enumerate();
    let chosen: Vec<(&str, Strategy)> =
        slaves.map(|(slave, label)| (label.as_str(), manifest.strategy(slave))).collect();
    let asked = match manifest.sync.strategy {
        StrategyChoice::Auto => "",
        StrategyChoice::Paired | StrategyChoice::Lookup => ", as asked for",
    };
    let Some(units) = reads_of(manifest, |slave| manifest.strategy(slave)).map(|tables| total_units(&tables)) else {
        return format!("strategy: {}{asked} (how much that reads is not known)", assigned(&chosen));
    };
    let others = [Strategy::Paired, Strategy::Lookup].into_iter().filter_map(|strategy| {
        let other = chosen.iter().any(|(_, taken)| *taken != strategy);
        let units = total_units(&reads_of(manifest, |_| strategy).filter(|_| other)?);
        Some(format!(", {} would take {}", strategy.name(), figures::units(units)))
    });
    format!(
        "strategy: {}{asked} ({} read units{})",
        assigned(&chosen),
        figures::units(units),
        others.collect::<String>()
    )
}
