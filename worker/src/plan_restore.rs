//! From what is asked for to the manifest of a restore, and of the comparison after it.

use std::time::Duration;

use shared::domain::backup::{Holds, ItemFile, Place, SourceSettings};
use shared::domain::definition::TableDefinition;
use shared::domain::job::{BackfillSettings, Consistency, Existing, JobKind, Manifest, Side};
use shared::domain::job_id::MAX_LENGTH;
use shared::domain::key::KeySchema;
use shared::domain::segment::MAX_SEGMENTS;
use shared::ports::failure::{Failure, FailureKind};
use shared::ports::table::{Content, Description, Readiness, ScanRequest, Table};
use shared::retry::{self, RetryPolicy};
use tokio::time::Instant;

use crate::environment::Environment;
use crate::plan::{CannotPlan, Segments, SyncRequest, limits_of};
use crate::plan_backup::{of_backup, segments_of_items};
use crate::source::found::{Found, find};

/// How long a table is waited for that was created, and how often it is looked at.
const CREATED_WITHIN: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What the id of a comparison ends in.
const VERIFY: &str = "-verify";

/// What is done about items that the table has already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Into {
    /// There must be none.
    Empty,
    /// Those that are in the backup are overwritten; others stay.
    Overwrite,
    /// They stay.
    OnlyMissing,
}

/// What is done where there is no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTable {
    /// It is an error.
    Refuse,
    /// It is created as the backup says.
    Create,
}

/// What is asked for of a restore.
#[derive(Clone, Debug)]
pub struct RestoreRequest {
    /// The job, the table as its master, and how it goes about.
    pub tables: SyncRequest,
    /// The backup.
    pub from: Place,
    /// What is done about items that the table has already.
    pub into: Into,
    /// What is done where there is no table.
    pub no_table: NoTable,
    /// The time as of which a folder of items is read, in milliseconds since 1970.
    pub as_of_ms: Option<i64>,
}

/// A restore that can begin.
#[derive(Clone, Debug)]
pub struct Restore {
    /// Its manifest.
    pub manifest: Manifest,
    /// The files it reads; none when it reads objects of one item each.
    pub files: Option<Vec<ItemFile>>,
    /// What the user should know before it begins.
    pub notes: Vec<String>,
}

impl Restore {
    /// The comparison of the table with the same backup, as a job of its own.
    #[must_use]
    pub fn verification(&self) -> Self {
        // It is an id, too, and those have so many characters at most.
        let job = &self.manifest.job;
        let job = &job[..job.len().min(MAX_LENGTH - VERIFY.len())];
        let manifest = Manifest {
            job: format!("{job}{VERIFY}"),
            kind: JobKind::Verify,
            backfill: None,
            created_at: format!("{:.3}", jiff::Timestamp::now()),
            ..self.manifest.clone()
        };
        Self { manifest, files: self.files.clone(), notes: Vec::new() }
    }
}

/// Looks at the backup and at the table, creates the table if that was asked for, and makes the manifest.
///
/// # Errors
/// See [`CannotPlan`]. Nothing was restored then; a table that was created stays.
pub async fn plan_restore(request: RestoreRequest, environment: &Environment) -> Result<Restore, CannotPlan> {
    let RestoreRequest { mut tables, from, into, no_table, as_of_ms } = request;
    let store = environment.place(&from).await?;
    let bad = |why: &str| CannotPlan::BadSource { url: from.url.clone(), why: why.to_owned() };
    let (key_schema, definition, files, items) = match find(&*store, as_of_ms).await? {
        Found::Backup { manifest, files } => {
            (Some(manifest.key_schema), manifest.definition, Some(files), Some(manifest.items))
        }
        Found::Files { files, items } => (None, None, Some(files), items),
        Found::Items { marker: Some(marker) } => (Some(marker.key_schema), marker.definition, None, None),
        Found::Items { marker: None } => (None, None, None, None),
    };
    match (&files, as_of_ms) {
        (Some(_), Some(_)) => return Err(bad("is a full backup, which is of one time only")),
        (None, Some(_)) if !retry::call(RetryPolicy::default(), || store.keeps_versions()).await? => {
            return Err(bad("keeps no versions, so that only the present can be read"));
        }
        _ => {}
    }
    let mut side = tables.master.clone();
    let table = environment.table(&side).await?;
    let mut notes = Vec::new();
    let description = described(&*table, &side, no_table, definition.as_ref(), &mut notes).await?;
    if let Some(expected) = key_schema.filter(|expected| *expected != description.key_schema) {
        return Err(CannotPlan::OtherSchema {
            master: from.url,
            master_schema: Box::new(expected),
            slave: side.table.to_string(),
            slave_schema: Box::new(description.key_schema),
        });
    }
    if into == Into::Empty && !is_empty(&*table, &description.key_schema).await? {
        return Err(CannotPlan::NotEmpty { table: side.table.to_string() });
    }
    side.table_id.clone_from(&description.id);
    side.size = Some(description.size);
    tables.master = side.clone();
    // The master's place is the table's, too.
    let limits = limits_of(tables.limits, &[(&side, &description), (&side, &description)])?;
    let holds = match &files {
        Some(files) => Holds::Files { files: files.len() as u64, items },
        None => Holds::Items { as_of_ms },
    };
    let total_segments = segments(tables.segments, files.as_deref());
    let existing = if into == Into::OnlyMissing { Existing::Keep } else { Existing::Overwrite };
    let manifest = Manifest {
        slaves: vec![side.clone()],
        total_segments,
        limits,
        backfill: Some(BackfillSettings { existing }),
        source: Some(SourceSettings { at: from, holds }),
        ..of_backup(JobKind::Restore, &tables, side, description.key_schema)
    };
    manifest.check()?;
    Ok(Restore { manifest, files, notes })
}

/// Files are shared out among as many units as there are files, unless fewer were asked for.
fn segments(asked: Segments, files: Option<&[ItemFile]>) -> u32 {
    let files = files.map(|files| u32::try_from(files.len()).unwrap_or(MAX_SEGMENTS).clamp(1, MAX_SEGMENTS));
    match (asked, files) {
        (asked, None) => segments_of_items(asked),
        (Segments::Fixed(total), Some(files)) => total.min(files),
        (Segments::Auto { .. }, Some(files)) => files,
    }
}

/// The table, which is created if that was asked for and there is none.
async fn described(
    table: &dyn Table,
    side: &Side,
    no_table: NoTable,
    definition: Option<&TableDefinition>,
    notes: &mut Vec<String>,
) -> Result<Description, CannotPlan> {
    let policy = RetryPolicy::default();
    let asked = definition.filter(|_| no_table == NoTable::Create).and_then(TableDefinition::time_to_live);
    match retry::call(policy, || table.describe()).await {
        Ok(Description { readiness: Readiness::NotReady(status), .. }) if no_table == NoTable::Refuse => {
            Err(CannotPlan::NotReady { table: side.table.to_string(), status })
        }
        Ok(found) => {
            let description =
                if found.readiness == Readiness::Ready { found } else { until_ready(table, side).await? };
            notes.extend(match asked {
                Some(asked) => lacks_time_to_live(table, side, asked).await,
                None => None,
            });
            Ok(description)
        }
        Err(Failure { kind: FailureKind::NotFound, .. }) if no_table == NoTable::Create => {
            let Some(definition) = definition else {
                return Err(CannotPlan::NoDefinition { table: side.table.to_string() });
            };
            match retry::call(policy, || table.create(definition)).await {
                // A repeated request may meet what its first try created.
                Err(Failure { kind: FailureKind::Conflict, .. }) | Ok(()) => {}
                Err(failure) => return Err(failure.into()),
            }
            let description = until_ready(table, side).await?;
            if let Some(attribute) = definition.time_to_live() {
                retry::call(policy, || table.set_time_to_live(attribute)).await?;
            }
            Ok(description)
        }
        Err(Failure { kind: FailureKind::NotFound, .. }) => Err(CannotPlan::NoTable { table: side.table.to_string() }),
        Err(failure) => Err(failure.into()),
    }
}

/// What is missing where an earlier try created the table and got no further. A table that is there is nobody's to
/// change: what it would delete may be what is looked for.
async fn lacks_time_to_live(table: &dyn Table, side: &Side, asked: &str) -> Option<String> {
    let there = match retry::call(RetryPolicy::default(), || table.time_to_live()).await {
        Ok(Some(there)) if there == asked => return None,
        Ok(_) => "does not delete items".to_owned(),
        Err(failure) => format!("may not delete items (it could not be asked: {failure})"),
    };
    Some(format!(
        "table {0} was there already, and {there} by `{asked}` as the one of the backup did; if it should: \
         aws dynamodb update-time-to-live --table-name {1} --time-to-live-specification \
         Enabled=true,AttributeName={asked}",
        side.table,
        side.table.name()
    ))
}

async fn until_ready(table: &dyn Table, side: &Side) -> Result<Description, CannotPlan> {
    let asked = Instant::now();
    loop {
        // Right after it was created a table may not be found yet.
        match table.describe().await {
            Ok(description) if description.readiness == Readiness::Ready => return Ok(description),
            Ok(Description { readiness: Readiness::NotReady(status), .. }) if asked.elapsed() >= CREATED_WITHIN => {
                return Err(CannotPlan::NotReady { table: side.table.to_string(), status });
            }
            Ok(_) => {}
            Err(failure) if failure.kind == FailureKind::NotFound || failure.may_pass() => {
                if asked.elapsed() >= CREATED_WITHIN {
                    return Err(failure.into());
                }
            }
            Err(failure) => return Err(failure.into()),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Whether the table has no item. A page may have none although more follow.
async fn is_empty(table: &dyn Table, schema: &KeySchema) -> Result<bool, CannotPlan> {
    let mut after = None;
    loop {
        let request = ScanRequest {
            segment: 0,
            total_segments: 1,
            after: after.take(),
            limit: Some(1),
            consistency: Consistency::Strong,
            content: Content::Keys(schema.clone()),
        };
        let page = retry::call(RetryPolicy::default(), || table.scan_page(&request)).await?;
        match page.next {
            _ if !page.items.is_empty() => return Ok(false),
            None => return Ok(true),
            Some(next) => {
                let odd = |error: shared::domain::key::BadKey| Failure {
                    kind: FailureKind::Invalid,
                    operation: "Scan",
                    resource: "the table".to_owned(),
                    message: error.to_string(),
                };
                after = Some(shared::domain::key::Key::of(schema, &next).map_err(odd)?);
            }
        }
    }
}
