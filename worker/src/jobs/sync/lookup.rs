//! The `lookup` comparison: the keys of a scanned page are looked up in the other tables.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use shared::domain::decide::{Kind, Standing, Verdict, judge, standing};
use shared::domain::digest::Digester;
use shared::domain::discrepancy::Values;
use shared::domain::entries::Entries;
use shared::domain::job::Consistency;
use shared::domain::join::{Candidate, Stream, Suspicion};
use shared::domain::key::Key;
use shared::domain::tally::{MetIn, Tally};
use shared::domain::value::Item;
use shared::ports::failure::{Failure, FailureKind};
use shared::ports::table::{Content, GetRequest, GotEntries};
use shared::retry;
use tokio::time::Instant;

use super::{Stuck, confirm};
use crate::context::JobContext;

/// Lookups in flight at once for one page and table; it bounds memory together with the service's 16 MB per answer.
const LOOKUPS_AT_ONCE: usize = 2;

/// A key that looked discrepant at the first look.
pub(super) struct Suspect {
    pub(super) slave: usize,
    pub(super) which: Which,
    pub(super) seen_at: Instant,
    pub(super) met: MetIn,
    pub(super) look: Look,
}

/// Which item it is.
pub(super) enum Which {
    Key(Key),
    /// Its key is on a page that is held anyway; a join may give up a great many at once.
    Candidate(Candidate),
}

/// What the first look saw.
pub(super) enum Look {
    /// Whole items, and this is what they said.
    Judged(Box<Judged>),
    /// Digests that were not the same, or not both there.
    Digests,
    /// One side only; the other was not looked at yet.
    One,
}

/// What whole items said at the first look.
pub(super) struct Judged {
    pub(super) kind: Kind,
    pub(super) standing: Standing,
    /// Whether all was read that may count; else it takes a second look even where the first counts.
    pub(super) is_whole: bool,
    pub(super) attributes: Vec<String>,
    pub(super) values: Option<Values>,
}

/// What came of holding some of a page's items against one slave.
#[derive(Default)]
struct Held {
    identical: u64,
    suspects: Vec<Suspect>,
    read_units: f64,
}

/// Holds a page of the master against every slave, all of them at once.
pub(super) async fn master_page(
    job: &JobContext,
    keys: &[Key],
    items: &[Item],
    tally: &mut Tally,
) -> Result<Vec<Suspect>, Stuck> {
    let slaves = (0..job.manifest.slaves.len()).map(|slave| against_slave(job, slave, keys, items));
    let mut all = Vec::new();
    for (slave, held) in futures::future::try_join_all(slaves).await?.into_iter().enumerate() {
        for Held { identical, suspects, read_units } in held {
            tally.slaves[slave].compared += identical;
            tally.slaves[slave].identical += identical;
            tally.consumed[slave + 1].read += read_units;
            all.extend(suspects);
        }
    }
    Ok(all)
}

/// The slave's items are let go request by request: theirs may be far larger than the master's, which a page bounds.
async fn against_slave(job: &JobContext, slave: usize, keys: &[Key], items: &[Item]) -> Result<Vec<Held>, Stuck> {
    let per_request = keys_per_request(job);
    let chunks = keys.chunks(per_request).zip(items.chunks(per_request));
    let looks: Vec<_> = chunks.map(|(keys, items)| hold(job, slave, keys, items)).collect();
    stream::iter(looks).buffer_unordered(LOOKUPS_AT_ONCE).try_collect().await
}

async fn hold(job: &JobContext, slave: usize, keys: &[Key], items: &[Item]) -> Result<Held, Stuck> {
    let (found, read_units) = read(job, slave + 1, keys, job.manifest.sync.scan_consistency, &Content::Items).await?;
    let mut held = Held { read_units, ..Held::default() };
    for (key, master) in keys.iter().zip(items) {
        let other = found.get(key);
        match judge(Some(master), other, |master, slave| job.differing(master, slave)) {
            Verdict::Identical | Verdict::Gone => held.identical += 1,
            Verdict::Discrepant(kind, attributes) => {
                // A second look, where there is one, has the values that count.
                let first_counts = job.manifest.sync.confirm_delay().is_none();
                let values = first_counts.then(|| confirm::values(job, kind, &attributes, Some(master), other));
                let now = confirm::seconds_since_1970();
                let standing = standing(Some(master), other, confirm::marks(job, slave), now);
                let values = values.flatten();
                let look = Look::Judged(Box::new(Judged { kind, standing, is_whole: true, attributes, values }));
                let (which, seen_at, met) = (Which::Key(key.clone()), Instant::now(), MetIn::Master);
                held.suspects.push(Suspect { slave, which, seen_at, met, look });
            }
        }
    }
    Ok(held)
}

/// Looks a page of one slave's keys up in the master; the ones that it lacks are suspect.
pub(super) async fn slave_page(
    job: &JobContext,
    slave: usize,
    keys: Vec<Key>,
    tally: &mut Tally,
) -> Result<Vec<Suspect>, Stuck> {
    let content = Content::Keys(job.manifest.key_schema.clone());
    let (found, read_units) = read(job, 0, &keys, job.manifest.sync.scan_consistency, &content).await?;
    tally.consumed[0].read += read_units;
    let lacking = keys.into_iter().filter(|key| !found.contains_key(key));
    // Keys do not tell whether an item's time to live has passed.
    let is_whole = job.manifest.slaves[slave].time_to_live.is_none();
    let suspect = |key| {
        let (kind, standing, attributes, values) = (Kind::Extra, Standing::Ordinary, Vec::new(), None);
        let look = Look::Judged(Box::new(Judged { kind, standing, is_whole, attributes, values }));
        Suspect { slave, which: Which::Key(key), seen_at: Instant::now(), met: MetIn::Slave, look }
    };
    Ok(lacking.map(suspect).collect())
}

/// Looks entries of the master up in one slave; returns those that it does not have the same.
pub(super) async fn master_entries(
    job: &JobContext,
    digester: &Digester,
    slave: usize,
    entries: &Arc<Entries>,
    tally: &mut Tally,
) -> Result<Vec<Candidate>, Stuck> {
    let mut candidates = Vec::new();
    for range in looked_up_together(entries) {
        let keys = keys_of(job, 0, entries, range.clone())?;
        let found = digests_of(job, digester, slave, &keys, tally).await?;
        for index in range {
            // Also what differs: the slave's own item comes with the slave's entries.
            let digest = &entries.digests()[index];
            if found.get(&digest.key) != Some(&digest.item) {
                candidates.push(Candidate::new(Suspicion::OnlyIn(Stream::Master), entries, index));
            }
        }
    }
    let identical = (entries.len() - candidates.len()) as u64;
    tally.slaves[slave].compared += identical;
    tally.slaves[slave].identical += identical;
    Ok(candidates)
}

/// Item digests of one slave by key digests.
async fn digests_of(
    job: &JobContext,
    digester: &Digester,
    slave: usize,
    keys: &[Key],
    tally: &mut Tally,
) -> Result<HashMap<u128, u128>, Stuck> {
    let consistency = job.manifest.sync.scan_consistency;
    let reads: Vec<_> = keys
        .chunks(keys_per_request(job))
        .map(|keys| {
            let request = GetRequest { keys: keys.to_vec(), consistency, content: Content::Items };
            retry::get_all_entries(&*job.tables[slave + 1], job.retry, request, job.manifest.sync.reader, digester)
        })
        .collect();
    let answers: Vec<Vec<GotEntries>> = stream::iter(reads).buffer_unordered(LOOKUPS_AT_ONCE).try_collect().await?;
    let mut found = HashMap::with_capacity(keys.len());
    for answer in answers.iter().flatten() {
        tally.consumed[slave + 1].read += answer.read_units;
        job.meter.add_read_units(answer.read_units);
        found.extend(answer.entries.digests().iter().map(|digest| (digest.key, digest.item)));
    }
    Ok(found)
}

/// Looks entries of one slave up in the master; returns the ones that it lacks.
pub(super) async fn slave_entries(
    job: &JobContext,
    slave: usize,
    entries: &Arc<Entries>,
    tally: &mut Tally,
) -> Result<Vec<Candidate>, Stuck> {
    let content = Content::Keys(job.manifest.key_schema.clone());
    let mut candidates = Vec::new();
    for range in looked_up_together(entries) {
        let keys = keys_of(job, slave + 1, entries, range.clone())?;
        let (found, read_units) = read(job, 0, &keys, job.manifest.sync.scan_consistency, &content).await?;
        tally.consumed[0].read += read_units;
        let lacking = range.zip(&keys).filter(|(_, key)| !found.contains_key(key));
        candidates.extend(lacking.map(|(index, _)| Candidate::new(Suspicion::OnlyIn(Stream::Slave), entries, index)));
    }
    Ok(candidates)
}

/// A page of tiny items has tens of thousands; their keys are spelt out some at a time.
fn looked_up_together(entries: &Entries) -> impl Iterator<Item = Range<usize>> + use<> {
    const TOGETHER: usize = 2000;
    let count = entries.len();
    (0..count).step_by(TOGETHER).map(move |from| from..count.min(from + TOGETHER))
}

fn keys_of(job: &JobContext, table: usize, entries: &Entries, range: Range<usize>) -> Result<Vec<Key>, Stuck> {
    let keys = range.map(|index| entries.key(&job.manifest.key_schema, index));
    keys.map(|key| key.map_err(|error| odd_key(job, table, &error.to_string()))).collect()
}

/// What is said of an entry whose key is not one.
pub(super) fn odd_key(job: &JobContext, table: usize, message: &str) -> Stuck {
    Stuck::Port(Failure {
        kind: FailureKind::Invalid,
        operation: "Scan",
        resource: format!("table {}", job.labels[table]),
        message: message.to_owned(),
    })
}

/// Reads items of one table by their keys, however many; returns them by key, and the read units.
pub(super) async fn read(
    job: &JobContext,
    table: usize,
    keys: &[Key],
    consistency: Consistency,
    content: &Content,
) -> Result<(HashMap<Key, Item>, f64), Stuck> {
    let adapter = &*job.tables[table];
    let schema = &job.manifest.key_schema;
    let reads: Vec<_> = keys
        .chunks(keys_per_request(job))
        .map(|keys| {
            let request = GetRequest { keys: keys.to_vec(), consistency, content: content.clone() };
            retry::get_all(adapter, job.retry, request)
        })
        .collect();
    let answers: Vec<retry::Read> = stream::iter(reads).buffer_unordered(LOOKUPS_AT_ONCE).try_collect().await?;
    let mut found = HashMap::with_capacity(keys.len());
    let mut read_units = 0.0;
    for answer in answers {
        read_units += answer.read_units;
        found.extend(answer.items.into_iter().filter_map(|item| Some((Key::of(schema, &item).ok()?, item))));
    }
    job.meter.add_read_units(read_units);
    Ok((found, read_units))
}

fn keys_per_request(job: &JobContext) -> usize {
    usize::try_from(job.manifest.sync.batch_read_limit).unwrap_or(1).max(1)
}
