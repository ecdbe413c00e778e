//! From what is asked for to the manifest and the shards of a replication: where each shard is begun with.

use std::collections::HashMap;

use shared::domain::checkpoint::Position;
use shared::domain::job::{BackfillSettings, Covers, Ends, JobKind, Manifest, ReplicateSettings, StreamSource};
use shared::domain::overlap::SKEW_MS;
use shared::domain::position::{Beyond, Reach, ShardPosition, Start};
use shared::domain::shards::{BadShard, Gate, Shards, Stage};
use shared::domain::unit::{Pass, Unit};
use shared::journal::{Journal, JournalError};
use shared::ports::stream::{ShardState, StreamStatus, View};
use shared::ports::table::Description;
use shared::retry::{self, RetryPolicy};

use crate::clock::now_ms;
use crate::environment::{Environment, Followed};
use crate::following;
use crate::jobs::Stuck;
use crate::plan::{CannotPlan, SyncRequest, plan_tables};

/// How long before its job a stream is begun with that follows a backfill. The backfill reads what may be a moment old,
/// and so a change that was made right before may be in neither.
const BEFORE_A_BACKFILL_MS: i64 = 60_000;

/// Where following begins.
#[derive(Clone, Debug, PartialEq)]
pub enum From {
    /// With the changes that are made from now on.
    Latest,
    /// With the oldest change that the stream keeps.
    TrimHorizon,
    /// With the changes that were made from this time on (milliseconds since 1970).
    Time(i64),
    /// Where another job stood.
    Stood(Stood),
}

/// Where another job stood: by the ids of its shards.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stood {
    in_doubt_until_ms: i64,
    covers: Covers,
    shards: HashMap<String, Start>,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct ReplicateRequest {
    /// The tables, and how they are read and written.
    pub tables: SyncRequest,
    /// A backfill that comes first.
    pub backfill: Option<BackfillSettings>,
    /// Where following begins; with a backfill it begins with it.
    pub from: From,
    /// The ARN of the Kinesis stream; without one the master's own stream is followed.
    pub kinesis: Option<String>,
    /// When it ends.
    pub ends: Ends,
    /// The attribute that tells whose write it was.
    pub origin_attribute: Option<String>,
    /// The store for one object per item.
    pub backup: Option<String>,
}

impl Stood {
    /// Reads where a job stands.
    ///
    /// # Errors
    /// When the job follows nothing, or its folder cannot be read.
    pub async fn of(journal: &Journal) -> Result<Self, JournalError> {
        let manifest = journal.manifest().await?;
        let Some(shards) = journal.shards_of(&manifest).await? else {
            let what = "it follows no stream".to_owned();
            return Err(JournalError::NothingToGoOnFrom { job: manifest.job, what });
        };
        if shards.gate == Gate::Closed {
            let what = "its backfill has not ended: let it end first, with `dynamend resume`".to_owned();
            return Err(JournalError::NothingToGoOnFrom { job: manifest.job, what });
        }
        // Whoever wrote to the slaves since then, what is still to come may be older.
        let in_doubt_until_ms = now_ms().saturating_add(SKEW_MS);
        let covers = match &manifest.replicate {
            // What it lost or rejected is on no slave.
            Some(replicate) if journal.summary(&manifest).await?.remaining() == 0 => replicate.covers,
            Some(_) | None => Covers::Changes,
        };
        let mut stood = Self { in_doubt_until_ms, covers, shards: HashMap::new() };
        for shard in &shards.shards {
            let view = journal.view(Unit { pass: Pass::Stream, segment: shard.number }).await?;
            let start = match view.map(|view| view.checkpoint.position) {
                Some(Position::Shard(ShardPosition { reach: Reach::End, .. })) => Start::Over,
                Some(Position::Shard(position)) => {
                    Start::Position(ShardPosition { gaps: Vec::new(), in_doubt_until_ms, ..position })
                }
                _ if shard.stage == Stage::Ended => Start::Over,
                _ => shard.start.clone(),
            };
            stood.shards.insert(shard.id.clone(), start);
        }
        // What is left of a shard that was not read to its end is older than what its children have brought already.
        for shard in &shards.shards {
            let is_begun = matches!(stood.shards.get(&shard.id), Some(Start::Position(_) | Start::Over));
            for parent in shard.parents.iter().filter(|_| is_begun) {
                if let Some(Start::Position(position)) = stood.shards.get_mut(parent) {
                    position.beyond = Beyond::Perhaps;
                }
            }
        }
        Ok(stood)
    }
}

/// Looks at the tables and the stream, and makes the manifest of a replication and its shards. Writes nothing.
///
/// # Errors
/// See [`CannotPlan`].
pub async fn plan_replicate(
    request: ReplicateRequest,
    environment: &Environment,
) -> Result<(Manifest, Shards), CannotPlan> {
    let ReplicateRequest { tables, backfill, from, kinesis, ends, origin_attribute, backup } = request;
    // Before anything is read: what is made from here on is in the stream.
    let begun_ms = now_ms();
    let (manifest, of_master) = plan_tables(tables, JobKind::Replicate, environment).await?;
    let source = source(&manifest, &of_master, kinesis)?;
    let covers = match (&backfill, &from) {
        (Some(_), _) => Covers::Table,
        (None, From::Stood(stood)) => stood.covers,
        (None, From::Latest | From::TrimHorizon | From::Time(_)) => Covers::Changes,
    };
    let replicate = ReplicateSettings { source: source.clone(), ends, covers, origin_attribute, backup };
    let manifest = Manifest { backfill, replicate: Some(replicate), ..manifest };
    manifest.check()?;
    let followed = Followed { source, side: manifest.master.clone(), schema: manifest.key_schema.clone() };
    let stream = environment.stream(followed).await?;
    let policy = RetryPolicy::default();
    let description = retry::call(policy, || stream.describe()).await?;
    let bad = |why: &str| CannotPlan::BadStream { arn: description.arn.clone(), why: why.to_owned() };
    if let StreamStatus::NotReady(status) = &description.status {
        return Err(bad(&format!("is {status}")));
    }
    let marks = manifest.replicate.as_ref().is_some_and(|replicate| replicate.origin_attribute.is_some());
    if marks && matches!(description.view, View::Keys | View::New) {
        return Err(bad("does not carry new and old images, without which it cannot be told whose write it was"));
    }
    let listed = following::list(&*stream, policy).await.map_err(|stuck| match stuck {
        Stuck::Port(failure) => CannotPlan::Port(failure),
        Stuck::Journal(error) => bad(&error.to_string()),
    })?;
    if listed.is_empty() {
        return Err(bad("has no shards"));
    }
    // All that the shards hold that had ended by the time of the list is older than this.
    let listed_ms = now_ms();
    let gate = if backfill.is_some() { Gate::Closed } else { Gate::Open };
    let (in_doubt_until_ms, from) = match (backfill, from) {
        (Some(_), From::Latest) => (begun_ms, From::Time(begun_ms - BEFORE_A_BACKFILL_MS)),
        (_, From::Latest) => (listed_ms + SKEW_MS, From::Latest),
        (_, From::Stood(stood)) => (stood.in_doubt_until_ms, From::Stood(stood)),
        (_, from @ (From::TrimHorizon | From::Time(_))) => (listed_ms + SKEW_MS, from),
    };
    let mut shards = Shards::new(gate, in_doubt_until_ms);
    let goes_on = |id: &String| listed.iter().any(|shard| shard.parents.contains(id));
    for shard in &listed {
        let start = match (&from, shard.state) {
            // It has an end already, and all of it was made before now.
            (From::Latest, ShardState::Closed) if goes_on(&shard.id) => Start::Over,
            (From::Latest, ShardState::Open | ShardState::Closed) => Start::Time(listed_ms - SKEW_MS),
            (From::TrimHorizon, _) => Start::TrimHorizon,
            (From::Time(from_ms), _) => Start::Time(*from_ms),
            (From::Stood(stood), _) => stood.shards.get(&shard.id).cloned().unwrap_or(Start::TrimHorizon),
        };
        let added: Result<(), BadShard> = shards.add(&shard.id, &shard.parents, start);
        added.map_err(|error| bad(&format!("lists its shards in a way that cannot be: {error}")))?;
    }
    Ok((manifest, shards))
}

/// The stream that tells of the master's changes.
fn source(manifest: &Manifest, of_master: &Description, kinesis: Option<String>) -> Result<StreamSource, CannotPlan> {
    if let Some(arn) = kinesis {
        return Ok(StreamSource::Kinesis { arn });
    }
    match &of_master.stream {
        Some(stream) => Ok(StreamSource::DynamoDb { arn: stream.arn.clone() }),
        None => Err(CannotPlan::NoStream { table: manifest.master.table.to_string() }),
    }
}
