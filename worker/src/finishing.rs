//! The end of a full backup: its list of objects and its manifest, without which there is no backup.
//!
//! Whoever ends the last unit does it, and does it again when it is asked again; so does `resume`. Only then has the job
//! succeeded.

use std::collections::HashSet;
use std::pin::pin;

use futures::TryStreamExt as _;
use sha2::{Digest as _, Sha256};
use shared::domain::backup::{
    BACKUP_FORMAT, BACKUP_VERSION, BackupManifest, BackupTally, Holds, MadeFrom, ObjectList, StoredObject,
};
use shared::domain::checkpoint::State;
use shared::domain::item_object::hex;
use shared::domain::job::{JobKind, Manifest};
use shared::domain::summary::{JobState, Summary};
use shared::domain::tally::Tally;
use shared::journal::{Journal, JournalError, Packed};
use shared::ports::failure::{Failure, FailureKind};
use shared::ports::objects::{ObjectStore, PutMode};
use shared::retry::{self, RetryPolicy};
use shared::telemetry::metrics::{self, BackupMetrics, Namespace};

use crate::jobs::Stuck;
use crate::jobs::transfer::DATA;

/// Name of a backup's manifest, below its folder.
pub(crate) const MANIFEST: &str = "manifest.json";

/// Name of its list of objects.
const LIST: &str = "objects.jsonl.gz";

/// Concludes a job that has ended: a full backup gets its manifest, the summary is written, and metrics are published
/// where that was asked for. Whoever ends the last unit does it; doing it again is harmless but for the metrics.
///
/// # Errors
/// As for [`finish`]; there is no summary then, and the job goes on as running.
pub async fn conclude(
    archive: Option<&dyn ObjectStore>,
    journal: &Journal,
    manifest: &Manifest,
    summary: &Summary,
) -> Result<(), Stuck> {
    if let (JobState::Succeeded, Some(archive), true) = (summary.state, archive, manifest.kind.is_finished_last()) {
        finish(archive, journal, manifest).await?;
    }
    journal.write_summary(summary).await?;
    let namespace = manifest.backup.as_ref().and_then(|backup| backup.metric_namespace.as_ref());
    if let (Some(namespace), Some(made)) = (namespace, &summary.backup) {
        let BackupTally { items, stored_bytes, damaged, .. } = made.counted;
        let errors = damaged + u64::from(summary.state != JobState::Succeeded);
        publish_metrics(namespace, manifest.master.table.name(), (stored_bytes, items, errors));
    }
    Ok(())
}

/// Publishes what a backup came to: its bytes in the store, its items, and its errors.
pub fn publish_metrics(namespace: &str, table: &str, (bytes, records, errors): (u64, u64, u64)) {
    match namespace.parse::<Namespace>() {
        Ok(namespace) => {
            let of_backup = BackupMetrics { table_name: table.to_owned(), bytes, records, errors };
            metrics::publish(&namespace, &of_backup, jiff::Timestamp::now());
        }
        Err(error) => tracing::warn!(%error, "metrics are not published"),
    }
}

/// Makes a backup of the objects that the checkpoints of its job name. To be called when all units are done.
///
/// Objects that no checkpoint names are deleted: a worker that died left them behind, and `ImportTable` would take them.
///
/// # Errors
/// The store's, or that of the job's folder; `NotFound`, when an object that counts is gone, and `Invalid`, when another
/// job's backup is there. There is no backup of this job then.
pub async fn finish(store: &dyn ObjectStore, journal: &Journal, manifest: &Manifest) -> Result<(), Stuck> {
    let policy = RetryPolicy::default();
    let Some(settings) = &manifest.backup else { return Ok(()) };
    let folder = format!("{}/", manifest.job);
    let key = format!("{folder}{MANIFEST}");
    if let Some(there) = retry::call(policy, || store.get(&key)).await? {
        return own(&there.body, manifest, || store.url(&key));
    }
    let (objects, tally, ended_at) = committed(journal, manifest).await?;
    let named: HashSet<String> = objects.iter().map(|object| format!("{folder}{}", object.name)).collect();
    let data = format!("{folder}{DATA}");
    let there = retry::call(policy, || store.list(&data)).await?;
    let present: HashSet<&str> = there.objects.iter().map(|listed| listed.key.as_str()).collect();
    if let Some(lost) = named.iter().find(|name| !present.contains(name.as_str())) {
        let message = "the job has finished it, and it is gone: the backup is not whole; make another".to_owned();
        let resource = store.url(lost);
        return Err(Failure { kind: FailureKind::NotFound, operation: "Finish", resource, message }.into());
    }
    for stray in there.objects.iter().filter(|listed| !named.contains(&listed.key)) {
        retry::call(policy, || store.delete(&stray.key)).await?;
    }
    let list = objects.iter().collect::<Packed<&StoredObject>>().finish();
    let list = list.map_err(|error| odd(store.url(&folder), error.to_string()))?;
    let list_key = format!("{folder}{LIST}");
    retry::call(policy, || store.put(&list_key, list.clone(), PutMode::Overwrite)).await?;
    let as_of_ms = manifest.source.as_ref().and_then(|source| match source.holds {
        Holds::Items { as_of_ms } => as_of_ms,
        Holds::Files { .. } => None,
    });
    let as_of = as_of_ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).map(|time| format!("{time:.3}"));
    let counted = tally.backup;
    let backup = BackupManifest {
        format: BACKUP_FORMAT.to_owned(),
        version: BACKUP_VERSION,
        job: manifest.job.clone(),
        made_from: if manifest.kind == JobKind::Snapshot { MadeFrom::Items } else { MadeFrom::Table },
        table: manifest.master.table.clone(),
        table_id: manifest.master.table_id.clone(),
        key_schema: manifest.key_schema.clone(),
        definition: settings.definition.clone(),
        started_at: manifest.created_at.clone(),
        ended_at,
        as_of,
        compression: settings.compression,
        items: counted.items,
        bytes: counted.bytes,
        stored_bytes: counted.stored_bytes,
        objects: counted.objects,
        list: ObjectList { name: LIST.to_owned(), sha256: hex(&Sha256::digest(&list)) },
    };
    let mut body = serde_json::to_vec_pretty(&backup).map_err(|error| odd(store.url(&key), error.to_string()))?;
    body.push(b'\n');
    let body = bytes::Bytes::from(body);
    match retry::call(policy, || store.put(&key, body.clone(), PutMode::Create)).await {
        // It may be that of a try whose answer was lost.
        Err(failure) if failure.kind == FailureKind::Conflict => match retry::call(policy, || store.get(&key)).await? {
            Some(there) => own(&there.body, manifest, || store.url(&key)),
            None => Err(failure.into()),
        },
        answer => Ok(answer.map(drop)?),
    }
}

/// Whether a manifest that is there is that of this job, and not of another one of the same id, from another store.
fn own(there: &[u8], manifest: &Manifest, url: impl FnOnce() -> String) -> Result<(), Stuck> {
    let is_own = serde_json::from_slice(there).is_ok_and(|there: BackupManifest| {
        (&there.job, &there.started_at, &there.table) == (&manifest.job, &manifest.created_at, &manifest.master.table)
    });
    if is_own {
        return Ok(());
    }
    let message = "it is not this job's; make the backup again, in another place or under another --job-id".to_owned();
    Err(Failure { kind: FailureKind::Invalid, operation: "Finish", resource: url(), message }.into())
}

/// What the checkpoints name, in the order of the segments; what they counted; and when the last of them ended.
async fn committed(journal: &Journal, manifest: &Manifest) -> Result<(Vec<StoredObject>, Tally, String), Stuck> {
    let mut by_segment = Vec::new();
    let mut tally = Tally::zero(manifest.slaves.len());
    let mut ended_at = manifest.created_at.clone();
    let mut looks = pin!(journal.look(manifest));
    while let Some((unit, view)) = looks.try_next().await? {
        let Some(checkpoint) = view.map(|view| view.checkpoint).filter(|checkpoint| checkpoint.state == State::Done)
        else {
            let what = "it is not done, and the backup is not whole without it".to_owned();
            return Err(JournalError::Damaged { url: format!("checkpoint of {unit}"), what }.into());
        };
        tally.add(&checkpoint.tally);
        if let Some(at) = checkpoint.ended_at.filter(|at| *at > ended_at) {
            ended_at = at;
        }
        by_segment.push((unit.segment, checkpoint.objects));
    }
    by_segment.sort_by_key(|&(segment, _)| segment);
    Ok((by_segment.into_iter().flat_map(|(_, objects)| objects).collect(), tally, ended_at))
}

fn odd(resource: String, message: String) -> Failure {
    Failure { kind: FailureKind::Invalid, operation: "Finish", resource, message }
}
