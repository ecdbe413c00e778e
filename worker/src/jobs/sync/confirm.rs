//! The second look: suspects are read again on both sides, strongly consistent, before they count.
//!
//! Where a lag is allowed for, they are looked at again and again until they heal or the lag is over.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use shared::domain::decide::{Kind, Marks, Repair, Standing, Verdict, judge, standing};
use shared::domain::digest::Digester;
use shared::domain::discrepancy::{Discrepancy, Values};
use shared::domain::job::{Consistency, ReportContent};
use shared::domain::json::item_to_json;
use shared::domain::key::Key;
use shared::domain::lag::{Motion, Patience, SHORTEST, patience};
use shared::domain::tally::{MetIn, Tally};
use shared::domain::value::{Item, held_bytes};
use shared::journal::Begun;
use shared::ports::table::Content;
use tokio::time::Instant;

use super::Stuck;
use super::lookup::{self, Judged, Look, Suspect, Which};
use crate::context::JobContext;

/// Bytes of confirmed items that are held for their repair; beyond these, a repair reads its item again.
const HELD_BYTES: usize = 4 * 1024 * 1024;

/// Suspects read again at once; it bounds what is held between a read and its verdict.
const SUSPECTS_AT_ONCE: usize = 100;

/// A discrepancy that counts.
pub(super) struct Finding {
    pub(super) slave: usize,
    pub(super) key: Key,
    pub(super) kind: Kind,
    pub(super) standing: Standing,
    pub(super) attributes: Vec<String>,
    pub(super) values: Option<Values>,
    pub(super) seen: Seen,
}

/// What is known of both sides when a repair begins.
pub(super) enum Seen {
    /// Both items, as they were confirmed, and when.
    Both(Box<(Option<Item>, Option<Item>)>, Instant),
    /// Nothing; they must be read.
    Unread,
    /// Nothing, and the unit's last owner may have made the repair.
    Inherited,
}

impl Finding {
    /// A repair that the unit's last owner had decided on.
    pub(super) fn inherited(slave: usize, key: Key, line: Discrepancy, begun: Begun) -> Self {
        let seen = match begun {
            Begun::Maybe => Seen::Inherited,
            Begun::No => Seen::Unread,
        };
        let Discrepancy { kind, attributes, values, .. } = line;
        Self { slave, key, kind, standing: Standing::Ordinary, attributes, values, seen }
    }
}

/// When suspects may be looked at again that wait so long; `None` when there is nothing to wait for.
pub(super) fn due(job: &JobContext, suspects: &[Suspect], wait: Duration) -> Option<Instant> {
    let last_seen = suspects.iter().map(|suspect| suspect.seen_at).max()?;
    job.manifest.sync.confirm_delay().map(|_| last_seen + wait)
}

/// Suspects that are looked at again, some at a time. To be begun when they are [`due`].
///
/// With `--no-confirm` the first look counts where it saw both items, and nothing is read. Digests say that something
/// differs and not what, so these are read all the same.
pub(super) struct Confirming<'a> {
    job: &'a JobContext,
    /// What the first look found, where that counts.
    found: Vec<Finding>,
    rest: Vec<ToRead>,
    held: usize,
    /// Those that are given more time to heal.
    again: Vec<(usize, Key, First)>,
    /// How long these wait.
    next_wait: Duration,
    /// Tells whether a master's item moved; only where a lag is allowed for.
    digester: Option<Digester>,
}

impl<'a> Confirming<'a> {
    /// `wait` is how long the suspects waited for this look.
    pub(super) fn begin(job: &'a JobContext, suspects: Vec<Suspect>, wait: Duration, tally: &mut Tally) -> Self {
        let mut found = Vec::new();
        let mut rest: Vec<ToRead> = (0..job.manifest.slaves.len()).map(ToRead::of).collect();
        let first_counts = job.manifest.sync.confirm_delay().is_none();
        for Suspect { slave, which, met, look, seen_at } in suspects {
            match (look, which) {
                (Look::Judged(judged), Which::Key(key)) if first_counts && judged.is_whole => {
                    let Judged { kind, standing, attributes, values, is_whole: _ } = *judged;
                    let verdict = Verdict::Discrepant(kind, attributes);
                    if let Some((kind, attributes)) = tally.slaves[slave].count_second_look(met, verdict, standing) {
                        found.push(Finding { slave, key, kind, standing, attributes, values, seen: Seen::Unread });
                    }
                }
                (look, which) => {
                    let first = First { met, of: Of::from(&look), seen_at, master: None, motion: Motion::Still };
                    rest[slave].add(which, first);
                }
            }
        }
        let lag = job.manifest.sync.max_lag().filter(|_| !first_counts);
        let digester = lag.map(|_| Digester::new(&job.manifest.key_schema, &job.ignore, rand::random()));
        Self { job, found, rest, held: 0, again: Vec::new(), next_wait: wait.max(SHORTEST) * 2, digester }
    }

    /// How long those wait that are given more time to heal, if there are any; [`Confirming::go_on`] comes after it.
    pub(super) fn waits(&mut self) -> Option<Duration> {
        let max_lag = self.job.manifest.sync.max_lag()?;
        let waits = self.again.iter().map(|(_, _, first)| {
            match patience(first.seen_at.elapsed(), max_lag, self.next_wait, Motion::Still) {
                Patience::LookAgain(wait) => wait,
                Patience::Over | Patience::Unstable => Duration::ZERO,
            }
        });
        waits.max()
    }

    /// Begins the next round of looks.
    pub(super) fn go_on(&mut self) {
        self.next_wait *= 2;
        self.rest = (0..self.job.manifest.slaves.len()).map(ToRead::of).collect();
        for (slave, key, first) in std::mem::take(&mut self.again) {
            self.rest[slave].add(Which::Key(key), first);
        }
    }

    /// The next discrepancies, counted; nothing when all suspects were looked at.
    pub(super) async fn next(&mut self, tally: &mut Tally) -> Result<Option<Vec<Finding>>, Stuck> {
        if !self.found.is_empty() {
            return Ok(Some(std::mem::take(&mut self.found)));
        }
        while let Some(last) = self.rest.last_mut() {
            let (slave, suspects) = (last.slave, last.take(SUSPECTS_AT_ONCE));
            if suspects.is_empty() {
                self.rest.pop();
                continue;
            }
            return self.look(slave, suspects, tally).await.map(Some);
        }
        Ok(None)
    }

    async fn look(
        &mut self,
        slave: usize,
        suspects: Vec<(Which, First)>,
        tally: &mut Tally,
    ) -> Result<Vec<Finding>, Stuck> {
        let job = self.job;
        let mut firsts = Vec::with_capacity(suspects.len());
        let mut keys = Vec::with_capacity(suspects.len());
        for (which, first) in suspects {
            keys.push(match which {
                Which::Key(key) => key,
                Which::Candidate(candidate) => candidate
                    .key(&job.manifest.key_schema)
                    .map_err(|error| lookup::odd_key(job, slave + 1, &error.to_string()))?,
            });
            firsts.push(first);
        }
        let looked_at = Instant::now();
        let (mut master, mut other) = both(job, slave, &keys, tally).await?;
        let mut findings = Vec::new();
        let now = seconds_since_1970();
        for (key, mut first) in keys.into_iter().zip(firsts) {
            let (master, other) = (master.remove(&key), other.remove(&key));
            let verdict = judge(master.as_ref(), other.as_ref(), |master, slave| job.differing(master, slave));
            let mut standing = standing(master.as_ref(), other.as_ref(), marks(job, slave), now);
            if let (Verdict::Discrepant(..), Standing::Ordinary) = (&verdict, standing) {
                match self.patience(&mut first, master.as_ref())? {
                    Patience::LookAgain(_) => {
                        first.of = Of::Both;
                        self.again.push((slave, key, first));
                        continue;
                    }
                    Patience::Over => {}
                    Patience::Unstable => standing = Standing::Unstable,
                }
            }
            let tally = &mut tally.slaves[slave];
            let heals = first.heals(&verdict);
            let Some((kind, attributes)) = tally.count_second_look(first.met, verdict, standing) else {
                tally.healed += u64::from(heals);
                continue;
            };
            let values = values(job, kind, &attributes, master.as_ref(), other.as_ref());
            // Only puts: a delete reads the master once more, right before it.
            let put = job.manifest.sync.policy.repair(kind) == Repair::Put;
            let bytes: usize = [&master, &other].into_iter().flatten().map(held_bytes).sum();
            let seen = if put && self.held + bytes <= HELD_BYTES {
                self.held += bytes;
                Seen::Both(Box::new((master, other)), looked_at)
            } else {
                Seen::Unread
            };
            findings.push(Finding { slave, key, kind, standing, attributes, values, seen });
        }
        Ok(findings)
    }

    /// Whether a suspect that still differs is given more time.
    fn patience(&self, first: &mut First, master: Option<&Item>) -> Result<Patience, Stuck> {
        let (Some(max_lag), Some(digester)) = (self.job.manifest.sync.max_lag(), &self.digester) else {
            return Ok(Patience::Over);
        };
        let odd = |error: shared::domain::key::BadKey| lookup::odd_key(self.job, 0, &error.to_string());
        let image = match master {
            Some(item) => digester.digest(item).map_err(odd)?.0.item,
            None => 0,
        };
        match first.master.replace(image) {
            // The lag counts from here on: before this look nobody knew what the master had.
            None => first.seen_at = Instant::now(),
            Some(before) if before != image => first.motion = Motion::Moved,
            Some(_) => {}
        }
        Ok(patience(first.seen_at.elapsed(), max_lag, self.next_wait, first.motion))
    }
}

/// Which attributes tell more of an item of this slave and of its master.
pub(super) fn marks(job: &JobContext, slave: usize) -> Marks<'_> {
    Marks {
        version: job.manifest.sync.version_attribute.as_deref(),
        master_time_to_live: job.manifest.master.time_to_live.as_deref(),
        slave_time_to_live: job.manifest.slaves[slave].time_to_live.as_deref(),
    }
}

/// What times to live are held against.
pub(super) fn seconds_since_1970() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// Suspects of one slave to be read again, each once.
struct ToRead {
    slave: usize,
    suspects: Vec<(Which, First)>,
    /// Where each candidate is, by its key's digest.
    candidates: HashMap<u128, usize>,
}

impl ToRead {
    fn of(slave: usize) -> Self {
        Self { slave, suspects: Vec::new(), candidates: HashMap::new() }
    }

    /// A join of tables in different orders gives one key up on either side; it was met in both.
    fn add(&mut self, which: Which, first: First) {
        if let Which::Candidate(candidate) = &which {
            match self.candidates.entry(candidate.digest()) {
                Entry::Occupied(at) => {
                    let (_, known) = &mut self.suspects[*at.get()];
                    known.met = if known.met == first.met { first.met } else { MetIn::Both };
                    known.of = if first.of == Of::One { Of::One } else { known.of };
                    return;
                }
                Entry::Vacant(place) => drop(place.insert(self.suspects.len())),
            }
        }
        self.suspects.push((which, first));
    }

    /// Takes so many of them out; after this no more can be added.
    fn take(&mut self, count: usize) -> Vec<(Which, First)> {
        self.candidates = HashMap::new();
        self.suspects.split_off(self.suspects.len().saturating_sub(count))
    }
}

/// What the first look at a key was worth.
struct First {
    met: MetIn,
    of: Of,
    seen_at: Instant,
    /// The digest of the master's item at the last look, where a lag is allowed for.
    master: Option<u128>,
    motion: Motion,
}

/// What the first look was taken at.
#[derive(Clone, Copy, PartialEq)]
enum Of {
    /// Both sides, key by key.
    Both,
    /// Both sides' scans.
    Scans,
    /// One side, before the other was there.
    One,
}

impl From<&Look> for Of {
    fn from(look: &Look) -> Self {
        match look {
            Look::Judged(_) => Self::Both,
            Look::Digests => Self::Scans,
            Look::One => Self::One,
        }
    }
}

impl First {
    /// Whether a suspect that turns out to be no discrepancy has healed, or was none from the beginning.
    fn heals(&self, verdict: &Verdict) -> bool {
        match self.of {
            Of::Both => true,
            // The master's scan may have met it before the slave's did, too early to wait for it.
            Of::Scans => self.met != MetIn::Slave || *verdict == Verdict::Gone,
            Of::One => false,
        }
    }
}

/// Reads the same keys of one slave and then of the master, strongly consistent.
///
/// In this order, so that no slave shows a change that the master's image lacks: a change that reaches the master and
/// the slave between the two reads would else be overwritten with what was there before it, on condition of itself.
async fn both(
    job: &JobContext,
    slave: usize,
    keys: &[Key],
    tally: &mut Tally,
) -> Result<(HashMap<Key, Item>, HashMap<Key, Item>), Stuck> {
    let look = |table| lookup::read(job, table, keys, Consistency::Strong, &Content::Items);
    let (other, slave_units) = look(slave + 1).await?;
    let (master, master_units) = look(0).await?;
    tally.consumed[0].read += master_units;
    tally.consumed[slave + 1].read += slave_units;
    Ok((master, other))
}

/// What a report with values says of a discrepancy; nothing unless the user asked for values.
pub(super) fn values(
    job: &JobContext,
    kind: Kind,
    attributes: &[String],
    master: Option<&Item>,
    slave: Option<&Item>,
) -> Option<Values> {
    match job.manifest.sync.report {
        ReportContent::Keys => None,
        ReportContent::Values => {
            let differs = |name: &String| {
                kind != Kind::Differing
                    || attributes.iter().any(|path| {
                        path.strip_prefix(name.as_str())
                            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
                    })
            };
            let part = |item: Option<&Item>| {
                let item: Item =
                    item?.iter().filter(|(name, _)| differs(name)).map(|(n, v)| (n.clone(), v.clone())).collect();
                Some(item_to_json(&item))
            };
            Some(Values { master: part(master), slave: part(slave) })
        }
    }
}
