//! From what is asked for to a manifest: the tables are looked at, and everything that cannot work is refused first.

use std::collections::BTreeMap;

use jiff::Timestamp;
use shared::domain::cost::{Prices, Reading, TableSize, choose};
use shared::domain::decide::{Kind, Policy, Repair};
use shared::domain::encryption::Encryption;
use shared::domain::job::{
    BackfillSettings, JobKind, MANIFEST_VERSION, Manifest, Side, Strategy, StrategyChoice, SyncSettings,
};
use shared::domain::job_check::BadManifest;
use shared::domain::key::{BadKey, Key, KeySchema};
use shared::domain::limits::{Budget, Capacity, Direction, Limits, NotProvisioned};
use shared::domain::sample::{Fraction, Sample};
use shared::domain::segment::{SegmentSet, planned_segments};
use shared::ports::failure::Failure;
use shared::ports::table::{Billing, Description, Readiness};

use crate::environment::Environment;

/// How many segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segments {
    /// As many as the master's size asks for, and at least this many.
    Auto {
        /// Segments worked on at once.
        at_once: u32,
    },
    /// This many.
    Fixed(u32),
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct SyncRequest {
    /// The job's id.
    pub job: String,
    /// The table that is right.
    pub master: Side,
    /// The tables held against it.
    pub slaves: Vec<Side>,
    /// How many segments.
    pub segments: Segments,
    /// The segments to do; all when absent.
    pub only_segments: Option<SegmentSet>,
    /// The share of them that is picked at random; all when absent.
    pub sample: Option<Fraction>,
    /// By segment, the key to start after, as a person typed it.
    pub starting_keys: BTreeMap<u32, String>,
    /// Whether slaves are written to that replicate back to the master.
    pub global_tables: GlobalTables,
    /// How the objects of the job are encrypted; by the bucket's default when absent.
    pub encryption: Option<Encryption>,
    /// What it may take.
    pub limits: LimitsAsked,
    /// The settings.
    pub settings: SyncSettings,
}

/// What is done about a slave that is a replica of the master's own global table, where the job writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GlobalTables {
    /// It is refused: what is written there travels back to the master, and the last writer wins.
    #[default]
    Refuse,
    /// It is repaired like any other.
    Allow,
}

/// The limits that are asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct LimitsAsked {
    /// Read units per second of each table.
    pub read: Option<Capacity>,
    /// Write units per second of each table.
    pub write: Option<Capacity>,
    /// Dollars for all of it.
    pub max_cost: Option<f64>,
}

/// Why a request cannot become a job.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CannotPlan {
    /// An id or a number is none that a job can have.
    #[error(transparent)]
    Unfit(#[from] BadManifest),
    /// A table cannot be described.
    #[error(transparent)]
    Port(#[from] Failure),
    /// A slave is the master, or two slaves are one table.
    #[error("{one} and {other} are the same table")]
    SameTable {
        /// One name of it.
        one: String,
        /// The other.
        other: String,
    },
    /// A table cannot be read now.
    #[error("table {table} is {status}")]
    NotReady {
        /// The table.
        table: String,
        /// In the service's words.
        status: String,
    },
    /// A slave has other keys than the master.
    #[error("the key schemas differ: master {master} has {master_schema}, slave {slave} has {slave_schema}")]
    OtherSchema {
        /// The master.
        master: String,
        /// Its schema.
        master_schema: Box<KeySchema>,
        /// The slave.
        slave: String,
        /// Its schema.
        slave_schema: Box<KeySchema>,
    },
    /// A slave is the master's own replica.
    #[error("slave {slave} is a replica of the same global table as master {master}")]
    Replica {
        /// The master.
        master: String,
        /// The slave.
        slave: String,
    },
    /// A segment is named that there is not.
    #[error("segment {segment} is named, and there are {total} segments, 0 to {}", total - 1)]
    NoSuchSegment {
        /// The segment.
        segment: u32,
        /// How many there are.
        total: u32,
    },
    /// A share of what a table is provisioned for is asked for, and it is on demand.
    #[error("{asked} of the provisioned capacity was asked for, and table {table} is on demand: it has none")]
    NotProvisioned {
        /// The table.
        table: String,
        /// The share.
        asked: String,
    },
    /// The master has no stream that could be followed.
    #[error("table {table} has no stream that is enabled")]
    NoStream {
        /// The master.
        table: String,
    },
    /// A stream cannot be followed now.
    #[error("stream {arn} {why}")]
    BadStream {
        /// Its ARN.
        arn: String,
        /// Why not.
        why: String,
    },
    /// What is to be restored from is nothing that can be.
    #[error("{url} {why}")]
    BadSource {
        /// Where it is.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// A folder of items does not tell the key of its table.
    #[error("{url} has no marker that tells the key of its table")]
    UnknownKey {
        /// Where it is.
        url: String,
    },
    /// A backup of this name is there already, or was begun there.
    #[error("a backup of this name is there already, or was begun there: {url}")]
    BackupExists {
        /// An object of it.
        url: String,
    },
    /// A folder of items is that of another table.
    #[error("{url} marks the folder as that of another table, or of one with another key")]
    OtherFolder {
        /// The marker.
        url: String,
    },
    /// The table to restore into is not there.
    #[error("table {table} is not there")]
    NoTable {
        /// The table.
        table: String,
    },
    /// The table is not there, and the backup does not say how it is made.
    #[error("table {table} is not there, and the backup does not say how it is made")]
    NoDefinition {
        /// The table.
        table: String,
    },
    /// The table to restore into has items.
    #[error("table {table} is not empty")]
    NotEmpty {
        /// The table.
        table: String,
    },
    /// There are not two segments to pick from.
    #[error("a sample needs 2 segments to pick from, and there is {of}")]
    TooFewToSample {
        /// How many there are.
        of: u32,
    },
    /// A starting key is no key of the master.
    #[error("the starting key `{text}` does not fit table {table} with key {schema}: {error}")]
    BadStartingKey {
        /// What was given.
        text: String,
        /// The master.
        table: String,
        /// Its schema.
        schema: Box<KeySchema>,
        /// What is wrong.
        error: BadKey,
    },
}

/// Looks at all tables and makes the manifest of a sync. Writes nothing.
///
/// # Errors
/// See [`CannotPlan`].
pub async fn plan(request: SyncRequest, environment: &Environment) -> Result<Manifest, CannotPlan> {
    let (manifest, _) = plan_tables(request, JobKind::Sync, environment).await?;
    manifest.check()?;
    Ok(manifest)
}

/// The same of a backfill. What the request says of a comparison does not count.
///
/// # Errors
/// See [`CannotPlan`].
pub async fn plan_backfill(
    request: SyncRequest,
    backfill: BackfillSettings,
    environment: &Environment,
) -> Result<Manifest, CannotPlan> {
    let (manifest, _) = plan_tables(request, JobKind::Backfill, environment).await?;
    let manifest = Manifest { backfill: Some(backfill), ..manifest };
    manifest.check()?;
    Ok(manifest)
}

/// What any job has in common, to be checked once it is whole; also what the master says of itself.
pub(crate) async fn plan_tables(
    request: SyncRequest,
    kind: JobKind,
    environment: &Environment,
) -> Result<(Manifest, Description), CannotPlan> {
    let SyncRequest {
        job,
        mut master,
        mut slaves,
        segments,
        only_segments,
        sample,
        starting_keys,
        global_tables,
        encryption,
        limits,
        settings,
    } = request;
    let (of_master, of_slaves) = look_at(&master, &slaves, environment).await?;
    let writes = kind != JobKind::Sync || settings.policy.writes();
    if writes && global_tables == GlobalTables::Refuse {
        refuse_replicas((&master, &of_master), slaves.iter().zip(&of_slaves))?;
    }
    let sides: Vec<(&Side, &Description)> =
        std::iter::once((&master, &of_master)).chain(slaves.iter().zip(&of_slaves)).collect();
    let limits = limits_of(limits, &sides)?;
    let total = match segments {
        Segments::Fixed(total) => total,
        Segments::Auto { at_once } => {
            planned_segments(of_master.size.bytes, at_once).max(sample.map_or(1, Fraction::least_segments))
        }
    };
    let named = only_segments.iter().map(SegmentSet::highest).chain(starting_keys.keys().copied());
    if let Some(segment) = named.max().filter(|&segment| segment >= total) {
        return Err(CannotPlan::NoSuchSegment { segment, total });
    }
    let (only_segments, sample) = match sample {
        None => (only_segments, None),
        Some(fraction) => {
            let (picked, sample) = pick(fraction, total, only_segments.as_ref())?;
            (Some(picked), Some(sample))
        }
    };
    let key_schema = of_master.key_schema.clone();
    let starting_keys = starting_keys.into_iter().map(|(segment, text)| {
        let key = Key::parse(&key_schema, &text).map_err(|error| CannotPlan::BadStartingKey {
            table: master.table.to_string(),
            schema: Box::new(key_schema.clone()),
            text: text.clone(),
            error,
        })?;
        Ok((segment, key.to_json()))
    });
    let starting_keys = starting_keys.collect::<Result<_, CannotPlan>>()?;
    let mut chosen = Vec::new();
    if kind == JobKind::Sync {
        chosen = strategies(&settings, of_master.size, &of_slaves);
        for side in std::iter::once(&mut master).chain(&mut slaves) {
            side.time_to_live = time_to_live(side, settings.policy, environment).await?;
        }
    }
    let sides = std::iter::once(&mut master).chain(&mut slaves);
    for (side, description) in sides.zip(std::iter::once(of_master.clone()).chain(of_slaves)) {
        side.table_id = description.id;
        side.size = Some(description.size);
    }
    let manifest = Manifest {
        version: MANIFEST_VERSION,
        job,
        kind,
        created_at: format!("{:.3}", Timestamp::now()),
        master,
        slaves,
        key_schema,
        total_segments: total,
        only_segments,
        sample,
        starting_keys,
        strategies: chosen,
        encryption,
        limits,
        sync: settings,
        backfill: None,
        replicate: None,
        backup: None,
        source: None,
    };
    Ok((manifest, of_master))
}

/// The attribute by which a table deletes items.
///
/// A job that only reads does without knowing it; one that puts items does not, because it might create expired ones
/// again.
pub(crate) async fn time_to_live(
    side: &Side,
    policy: Policy,
    environment: &Environment,
) -> Result<Option<String>, Failure> {
    let answer = environment.table(side).await?.time_to_live().await;
    match answer {
        Err(failure) if policy.repair(Kind::Missing) == Repair::None && !failure.may_pass() => {
            tracing::warn!(table = %side.table, error = %failure, "expired items are taken for ordinary ones");
            Ok(None)
        }
        answer => answer,
    }
}

/// Refuses slaves that are replicas of the master's global table: same account, same name, another region.
pub(crate) fn refuse_replicas<'a>(
    (master, of_master): (&Side, &Description),
    slaves: impl Iterator<Item = (&'a Side, &'a Description)>,
) -> Result<(), CannotPlan> {
    let account =
        |description: &Description| description.arn.as_ref().and_then(|arn| arn.split(':').nth(4)).map(str::to_owned);
    for (slave, of_slave) in slaves {
        let linked = of_master.replicas.iter().any(|region| region == slave.table.region())
            || of_slave.replicas.iter().any(|region| region == master.table.region());
        if linked && master.table.name() == slave.table.name() && account(of_master) == account(of_slave) {
            let (master, slave) = (master.table.to_string(), slave.table.to_string());
            return Err(CannotPlan::Replica { master, slave });
        }
    }
    Ok(())
}

/// The limits, table by table.
pub(crate) fn limits_of(asked: LimitsAsked, sides: &[(&Side, &Description)]) -> Result<Limits, CannotPlan> {
    let mut limits = Limits::default();
    for (direction, capacity) in [(Direction::Read, asked.read), (Direction::Write, asked.write)] {
        if let Some(capacity) = capacity {
            limits.set(direction, &ceilings(capacity, direction, sides)?);
        }
    }
    let prices = Prices::US_EAST_ON_DEMAND;
    limits.budget = asked.max_cost.map(|max_cost| Budget { max_cost, prices, spent_before: 0.0 });
    Ok(limits)
}

/// The ceilings of tables of these descriptions.
///
/// # Errors
/// `NotProvisioned` when a share is asked for of a table on demand.
pub fn ceilings(
    capacity: Capacity,
    direction: Direction,
    sides: &[(&Side, &Description)],
) -> Result<Vec<Option<f64>>, CannotPlan> {
    let ceiling = |(side, description): &(&Side, &Description)| {
        let provisioned = match (description.billing, direction) {
            (Billing::OnDemand, _) => None,
            (Billing::Provisioned { read, .. }, Direction::Read) => Some(read),
            (Billing::Provisioned { write, .. }, Direction::Write) => Some(write),
        };
        capacity.resolve(provisioned).map_err(|NotProvisioned| CannotPlan::NotProvisioned {
            table: side.table.to_string(),
            asked: capacity.to_string(),
        })
    };
    sides.iter().map(ceiling).collect()
}

/// Describes the tables, and refuses those that cannot be held against each other: master, and slaves.
///
/// # Errors
/// See [`CannotPlan`].
pub async fn look_at(
    master: &Side,
    slaves: &[Side],
    environment: &Environment,
) -> Result<(Description, Vec<Description>), CannotPlan> {
    refuse_same_names(master, slaves)?;
    let sides: Vec<&Side> = std::iter::once(master).chain(slaves).collect();
    let described = sides.iter().map(|side| async move { environment.table(side).await?.describe().await });
    let mut descriptions: Vec<Description> = futures::future::try_join_all(described).await?;
    for (side, description) in sides.iter().zip(&descriptions) {
        if let Readiness::NotReady(status) = &description.readiness {
            return Err(CannotPlan::NotReady { table: side.table.to_string(), status: status.clone() });
        }
    }
    refuse_same_ids(&sides, &descriptions)?;
    let of_slaves = descriptions.split_off(1);
    let of_master = descriptions.pop().unwrap_or_else(|| unreachable!("there is a master"));
    for (slave, description) in slaves.iter().zip(&of_slaves) {
        if description.key_schema != of_master.key_schema {
            return Err(CannotPlan::OtherSchema {
                master: master.table.to_string(),
                master_schema: Box::new(of_master.key_schema.clone()),
                slave: slave.table.to_string(),
                slave_schema: Box::new(description.key_schema.clone()),
            });
        }
    }
    Ok((of_master, of_slaves))
}

/// How each slave is held against the master, as asked for or, with `auto`, as is cheaper.
fn strategies(settings: &SyncSettings, master: TableSize, slaves: &[Description]) -> Vec<Strategy> {
    match settings.strategy {
        StrategyChoice::Paired => vec![Strategy::Paired; slaves.len()],
        StrategyChoice::Lookup => vec![Strategy::Lookup; slaves.len()],
        StrategyChoice::Auto => {
            let sizes: Vec<TableSize> = slaves.iter().map(|slave| slave.size).collect();
            let seeks_extra = settings.policy.seeks_extra();
            choose(master, &sizes, Reading { seeks_extra, consistency: settings.scan_consistency, share: 1.0 })
        }
    }
}

/// Picks a share of the segments at random.
fn pick(fraction: Fraction, total: u32, among: Option<&SegmentSet>) -> Result<(SegmentSet, Sample), CannotPlan> {
    let admitted: Vec<u32> = (0..total).filter(|&segment| among.is_none_or(|among| among.contains(segment))).collect();
    let of = u32::try_from(admitted.len()).unwrap_or(total);
    if of < 2 {
        return Err(CannotPlan::TooFewToSample { of });
    }
    let picked = rand::seq::index::sample(&mut rand::rng(), admitted.len(), fraction.picked_of(of) as usize);
    Ok((SegmentSet::of(picked.into_iter().map(|index| admitted[index])), Sample { fraction, of }))
}

/// A new id: sorts by time, and two made in the same second differ in all likelihood.
#[must_use]
pub fn new_job_id() -> String {
    format!("{}-{:04x}", Timestamp::now().strftime("%Y%m%dT%H%M%SZ"), rand::random::<u16>())
}

fn refuse_same_names(master: &Side, slaves: &[Side]) -> Result<(), CannotPlan> {
    let sides: Vec<&Side> = std::iter::once(master).chain(slaves).collect();
    let same = |one: &Side, other: &Side| one.table == other.table && one.access == other.access;
    refuse_pairs(&sides, |one, other| same(sides[one], sides[other]))
}

/// Finds one table behind two names. An id names a table for good, in all accounts and regions.
fn refuse_same_ids(sides: &[&Side], descriptions: &[Description]) -> Result<(), CannotPlan> {
    let id = |n: usize| descriptions.get(n).and_then(|description| description.id.as_ref());
    refuse_pairs(sides, |one, other| id(one).is_some() && id(one) == id(other))
}

fn refuse_pairs(sides: &[&Side], same: impl Fn(usize, usize) -> bool) -> Result<(), CannotPlan> {
    let mut pairs = (0..sides.len()).flat_map(|one| (one + 1..sides.len()).map(move |other| (one, other)));
    match pairs.find(|&(one, other)| same(one, other)) {
        None => Ok(()),
        Some((one, other)) => {
            Err(CannotPlan::SameTable { one: sides[one].table.to_string(), other: sides[other].table.to_string() })
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::domain::job::Access;
    use shared::domain::key::{KeyAttribute, KeyType};
    use shared::ports::table::Billing;

    use super::*;

    fn table(name: &str, account: &str, replicas: &[&str]) -> (Side, Description) {
        let side = Side::new(name.parse().unwrap(), Access::default());
        let arn = format!("arn:aws:dynamodb:{}:{account}:table/{}", side.table.region(), side.table.name());
        let description = Description {
            id: None,
            arn: Some(arn),
            readiness: Readiness::Ready,
            key_schema: KeySchema { partition: KeyAttribute { name: "id".into(), kind: KeyType::S }, sort: None },
            size: TableSize::default(),
            billing: Billing::OnDemand,
            replicas: replicas.iter().map(|&region| region.to_owned()).collect(),
            stream: None,
        };
        (side, description)
    }

    #[test]
    fn only_a_replica_of_the_masters_own_global_table_is_refused() {
        let master = table("us-east-1:orders", "1", &["eu-west-1", "eu-west-2"]);
        for (slave, is_replica) in [
            (table("eu-west-1:orders", "1", &["us-east-1", "eu-west-2"]), true),
            (table("eu-west-2:orders", "1", &[]), true),
            (table("eu-west-1:orders", "2", &[]), false),
            (table("eu-west-1:other", "1", &["us-east-1"]), false),
            (table("eu-west-3:orders", "1", &[]), false),
            (table("eu-west-3:orders", "1", &["us-east-1"]), true),
        ] {
            let refused = refuse_replicas((&master.0, &master.1), [(&slave.0, &slave.1)].into_iter());

            assert_eq!(refused.is_err(), is_replica, "{}", slave.0.table);
        }
    }
}
