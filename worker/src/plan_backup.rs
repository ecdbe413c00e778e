//! From what is asked for to the manifest of a backup: of a table, or of a folder of items.

use bytes::Bytes;
use shared::domain::backup::{
    BACKUP_VERSION, BackupSettings, FOLDER_FORMAT, FolderMarker, Holds, MARKER, NAMES, Place, SourceSettings,
};
use shared::domain::definition::TableDefinition;
use shared::domain::job::{JobKind, Manifest, Side};
use shared::domain::key::KeySchema;
use shared::domain::table_ref::TableRef;
use shared::packing::Compression;
use shared::ports::failure::{Failure, FailureKind};
use shared::ports::objects::{ObjectStore, PutMode};
use shared::retry::{self, RetryPolicy};

use crate::environment::Environment;
use crate::plan::{CannotPlan, Segments, SyncRequest, plan_tables};
use crate::source::found::{Found, find};

/// The object in a full backup's folder that tells whose it is.
const CLAIM: &str = "job.json";

/// Segments of a folder of items unless the user says otherwise. How many objects there are only a listing tells.
const SEGMENTS_OF_ITEMS: u32 = 64;

/// What is asked for of a backup.
#[derive(Clone, Debug)]
pub struct BackupRequest {
    /// The master, without slaves, and how it is read.
    pub tables: SyncRequest,
    /// Where the backup goes.
    pub to: Place,
    /// How a full backup is packed.
    pub compression: Compression,
    /// The namespace of its metrics, if they are published.
    pub metric_namespace: Option<String>,
}

/// What is asked for of a snapshot. The tables of the request are not looked at.
#[derive(Clone, Debug)]
pub struct SnapshotRequest {
    /// The job, and how it goes about.
    pub backup: BackupRequest,
    /// The folder of items.
    pub from: Place,
    /// The key schema, for a folder without a marker.
    pub key_schema: Option<KeySchema>,
    /// The time as of which the folder is read, in milliseconds since 1970.
    pub as_of_ms: Option<i64>,
}

/// Makes the manifest of a full backup. Writes nothing.
///
/// # Errors
/// See [`CannotPlan`].
pub async fn plan_full(request: BackupRequest, environment: &Environment) -> Result<Manifest, CannotPlan> {
    plan_of_table(request, JobKind::Backup, environment).await
}

/// Makes the manifest of an incremental backup, and marks its folder.
///
/// # Errors
/// See [`CannotPlan`]; `OtherFolder`, when the folder is another table's.
pub async fn plan_incremental(request: BackupRequest, environment: &Environment) -> Result<Manifest, CannotPlan> {
    let manifest = plan_of_table(request, JobKind::Incremental, environment).await?;
    if let Some(settings) = &manifest.backup {
        let store = environment.place(&settings.to).await?;
        mark_folder(&*store, &manifest, settings.definition.clone()).await?;
    }
    Ok(manifest)
}

/// Makes the manifest of a snapshot: a full backup of a folder of items. Writes nothing.
///
/// # Errors
/// See [`CannotPlan`]; `BadSource`, when there is no folder of items.
pub async fn plan_snapshot(request: SnapshotRequest, environment: &Environment) -> Result<Manifest, CannotPlan> {
    let SnapshotRequest { backup: BackupRequest { tables, to, compression, metric_namespace }, from, .. } = request;
    let store = environment.place(&from).await?;
    let bad = |why: &str| CannotPlan::BadSource { url: from.url.clone(), why: why.to_owned() };
    let marker = match find(&*store, request.as_of_ms).await? {
        Found::Items { marker } => marker,
        Found::Backup { .. } | Found::Files { .. } => {
            return Err(bad("is a full backup already, and no folder with one object per item"));
        }
    };
    let (table, key_schema, definition) = match (marker, request.key_schema) {
        (Some(marker), _) => (marker.table, marker.key_schema, marker.definition),
        (None, Some(key_schema)) => (tables.master.table.clone(), key_schema, None),
        (None, None) => return Err(CannotPlan::UnknownKey { url: from.url }),
    };
    refuse_taken(environment, &to, &tables.job).await?;
    if request.as_of_ms.is_some() && !retry::call(RetryPolicy::default(), || store.keeps_versions()).await? {
        return Err(bad("keeps no versions, so that only the present can be read; enable versioning for the future"));
    }
    let manifest = Manifest {
        total_segments: segments_of_items(tables.segments),
        source: Some(SourceSettings { at: from, holds: Holds::Items { as_of_ms: request.as_of_ms } }),
        backup: Some(BackupSettings { to, compression, definition, metric_namespace }),
        ..of_backup(JobKind::Snapshot, &tables, Side::new(table, Default::default()), key_schema)
    };
    manifest.check()?;
    Ok(manifest)
}

async fn plan_of_table(
    request: BackupRequest,
    kind: JobKind,
    environment: &Environment,
) -> Result<Manifest, CannotPlan> {
    let BackupRequest { tables, to, compression, metric_namespace } = request;
    let (manifest, _) = plan_tables(tables, kind, environment).await?;
    if kind == JobKind::Backup {
        refuse_taken(environment, &to, &manifest.job).await?;
    }
    let definition = definition(environment, &manifest.master).await?;
    let backup = Some(BackupSettings { to, compression, definition, metric_namespace });
    let manifest = Manifest { backup, ..manifest };
    manifest.check()?;
    Ok(manifest)
}

/// Marks the folder that a replication keeps up to date.
///
/// # Errors
/// As for [`mark_folder`].
pub async fn mark_followed(environment: &Environment, manifest: &Manifest) -> Result<(), CannotPlan> {
    let Some(url) = manifest.replicate.as_ref().and_then(|replicate| replicate.backup.clone()) else { return Ok(()) };
    let store = environment.place(&Place { url, region: None, encryption: None }).await?;
    let definition = definition(environment, &manifest.master).await?;
    mark_folder(&*store, manifest, definition).await
}

/// How the table is to be made again. A backup without it can be restored, but only into a table that is there.
async fn definition(environment: &Environment, side: &Side) -> Result<Option<TableDefinition>, Failure> {
    let table = environment.table(side).await?;
    match retry::call(RetryPolicy::default(), || table.definition()).await {
        Err(failure) if !failure.may_pass() => {
            tracing::warn!(
                table = %side.table, error = %failure,
                "the backup will not say how the table is made again: `restore --create` will not work from it"
            );
            Ok(None)
        }
        answer => answer.map(Some),
    }
}

/// In how many segments a folder of items is read.
pub(crate) fn segments_of_items(asked: Segments) -> u32 {
    match asked {
        Segments::Fixed(total) => total,
        Segments::Auto { at_once } => SEGMENTS_OF_ITEMS.max(at_once),
    }
}

/// What every manifest has that is made without looking at a master.
pub(crate) fn of_backup(kind: JobKind, request: &SyncRequest, master: Side, key_schema: KeySchema) -> Manifest {
    Manifest {
        version: shared::domain::job::MANIFEST_VERSION,
        job: request.job.clone(),
        kind,
        created_at: format!("{:.3}", jiff::Timestamp::now()),
        master,
        slaves: Vec::new(),
        key_schema,
        total_segments: 1,
        only_segments: None,
        sample: None,
        starting_keys: std::collections::BTreeMap::new(),
        strategies: Vec::new(),
        encryption: request.encryption.clone(),
        limits: shared::domain::limits::Limits::default(),
        sync: request.settings.clone(),
        backfill: None,
        replicate: None,
        backup: None,
        source: None,
    }
}

/// Refuses a backup where there is anything of one of the same name: a job of another store may be at it, and each of
/// the two would overwrite and clear away what the other makes.
async fn refuse_taken(environment: &Environment, to: &Place, job: &str) -> Result<(), CannotPlan> {
    let store = environment.place(to).await?;
    let folder = format!("{job}/");
    let page = retry::call(RetryPolicy::default(), || store.list_page(&folder, None)).await?;
    // Whose the folder is is decided when it is claimed.
    match page.objects.iter().find(|listed| listed.key != format!("{folder}{CLAIM}")) {
        Some(there) => Err(CannotPlan::BackupExists { url: store.url(&there.key) }),
        None => Ok(()),
    }
}

/// Takes the folder of a full backup for a job, so that no job of the same id but of another store puts its objects
/// there. The same job may take it again.
///
/// # Errors
/// `BackupExists`, when another job has it; the store's.
pub async fn claim_folder(
    environment: &Environment,
    manifest: &Manifest,
    manifest_url: &str,
) -> Result<(), CannotPlan> {
    let Some(backup) = manifest.backup.as_ref().filter(|_| manifest.kind.is_finished_last()) else { return Ok(()) };
    let store = environment.place(&backup.to).await?;
    let key = format!("{}/{CLAIM}", manifest.job);
    let body = Bytes::from(format!("{}\n", serde_json::json!({ "job": manifest.job, "manifest": manifest_url })));
    let claimed = retry::call(RetryPolicy::default(), || store.put(&key, body.clone(), PutMode::Create)).await;
    match claimed {
        Err(failure) if failure.kind == FailureKind::Conflict => {
            let there = retry::call(RetryPolicy::default(), || store.get(&key)).await?;
            let is_ours = there.is_some_and(|there| there.body == body);
            if is_ours { Ok(()) } else { Err(CannotPlan::BackupExists { url: store.url(&key) }) }
        }
        Err(failure) => Err(failure.into()),
        Ok(_) => Ok(()),
    }
}

/// Marks the folder of a table's items; doing it again is harmless.
///
/// # Errors
/// `OtherFolder`, when the folder is another table's: a restore would mix the items of both.
pub async fn mark_folder(
    store: &dyn ObjectStore,
    manifest: &Manifest,
    definition: Option<TableDefinition>,
) -> Result<(), CannotPlan> {
    let policy = RetryPolicy::default();
    let table: &TableRef = &manifest.master.table;
    let key = format!("{}/{MARKER}", table.name());
    if let Some(there) = retry::call(policy, || store.get(&key)).await? {
        let marker: Option<FolderMarker> = serde_json::from_slice(&there.body).ok();
        // The same table may be written as an ARN.
        let names = |table: &TableRef| (table.region().to_owned(), table.name().to_owned());
        let is_own =
            |marker: FolderMarker| marker.key_schema == manifest.key_schema && names(&marker.table) == names(table);
        if !marker.is_some_and(is_own) {
            return Err(CannotPlan::OtherFolder { url: store.url(&key) });
        }
    }
    let marker = FolderMarker {
        format: FOLDER_FORMAT.to_owned(),
        version: BACKUP_VERSION,
        names: NAMES.to_owned(),
        table: table.clone(),
        key_schema: manifest.key_schema.clone(),
        definition,
    };
    let body = serde_json::to_vec_pretty(&marker).map_err(|error| Failure {
        kind: FailureKind::Invalid,
        operation: "Mark",
        resource: store.url(&key),
        message: error.to_string(),
    })?;
    let body = Bytes::from(body);
    retry::call(policy, || store.put(&key, body.clone(), PutMode::Overwrite)).await?;
    Ok(())
}
