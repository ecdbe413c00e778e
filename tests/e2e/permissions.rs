//! The list of permissions is what the programs need: every call they make is on it, and everything on it is called.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::StreamViewType;
use shared::domain::decide::{ExtraHandling, Handling, Policy};
use shared::domain::permissions::{For, Permission, Resource, Service, When, permissions};
use tests::ministack::MiniStack;
use tests::oracle::Differences;
use tests::wait::DEADLINE;

use crate::recorded::{Asked, Needed, ROLE, ROLE_AND_KEY, Recorded};
use crate::stage::{MASTER, SLAVE, SYNC, programs};

/// What is on the list though no test can make the programs need it, and why it is there all the same.
pub(crate) const UNSEEN: [(&str, &str); 2] = [
    ("DescribeStream", "a worker looks for the children of a shard that ended, and no emulator's shards end"),
    ("AbortMultipartUpload", "a worker takes an upload back that failed after its first 8 MiB"),
];

const COMPARE: Policy = Policy { missing: Handling::Report, differing: Handling::Report, extra: ExtraHandling::Report };

const REPAIR: Policy = Policy { missing: Handling::Repair, differing: Handling::Repair, extra: ExtraHandling::Delete };

const COPY: [&str; 4] = ["-m", MASTER, "-s", SLAVE];

/// Nothing that was needed is missing from the list, and nothing on the list was not needed.
fn assert_listed(purpose: For, needed: &Needed) {
    let listed = permissions(purpose);
    let name = |it: &Permission| (it.service, it.action.to_owned(), it.resource);
    let all: Needed = listed.iter().map(name).collect();
    let denied: Vec<_> = needed.difference(&all).collect();
    assert!(denied.is_empty(), "{purpose:?} would be denied {denied:?}");
    let excused = |action: &str| UNSEEN.iter().any(|(unseen, _)| *unseen == action);
    // A queue with a key of its own needs it too, which no call shows; so does a commit that is read back.
    let superfluous: Vec<_> = listed
        .iter()
        .filter(|it| !needed.contains(&name(it)) && !excused(it.action))
        .filter(|it| !matches!(it.when, When::Limited | When::ShareOfCapacity | When::FromKinesis | When::BackedUp))
        .filter(|it| !matches!(it.when, When::AsOf | When::Created | When::Verified))
        .filter(|it| it.when != When::OwnKey || !needed.iter().any(|(service, ..)| *service == Service::Sqs))
        .collect();
    assert!(superfluous.is_empty(), "{purpose:?} does not need {superfluous:?}");
}

/// Nothing that was needed is missing from these lists together.
fn assert_covered(purposes: &[For], needed: &Needed) {
    let listed = purposes.iter().flat_map(|purpose| permissions(*purpose));
    let all: Needed = listed.map(|it| (it.service, it.action.to_owned(), it.resource)).collect();
    let denied: Vec<_> = needed.difference(&all).collect();
    assert!(denied.is_empty(), "{purposes:?} would be denied {denied:?}");
}

#[tokio::test]
async fn comparing_in_one_process() {
    let stage = Recorded::new().await;
    for strategy in ["paired", "lookup"] {
        stage.here(&[&SYNC[..], &ROLE_AND_KEY, &["--strategy", strategy, "--scan-for-extra"]].concat());
    }
    stage.here(&[&SYNC[..], &["--strategy", "lookup"]].concat());

    assert_listed(For::Sync(COMPARE), &stage.needed());
    stage.enqueued("later", &["--scan-for-extra"]);
    stage.here(&["resume", "later"]);
    assert_listed(For::Resume(COMPARE), &stage.needed());
    stage.assert_granted(&stage.asked(), &[&["--for", "compare"], &COPY[..]].concat(), &[]);
}

#[tokio::test]
async fn repairing_in_one_process() {
    let put = Policy { extra: ExtraHandling::Ignore, ..REPAIR };
    let missing = Policy { differing: Handling::Report, ..put };
    let delete = Policy { extra: ExtraHandling::Delete, ..COMPARE };
    for (flags, policy, granted) in [
        (&["--write-missing"][..], missing, Some(&["--for", "repair", "--no-delete"][..])),
        (&["--write-missing", "--write-differing"], put, Some(&["--for", "repair", "--no-delete"])),
        (&["--delete-extra"], delete, None),
        (&["--repair"], REPAIR, Some(&["--for", "repair"])),
    ] {
        let stage = Recorded::new().await;

        stage.here(&[&SYNC[..], &ROLE_AND_KEY, flags].concat());

        assert_listed(For::Sync(policy), &stage.needed());
        stage.enqueued("later", flags);
        stage.here(&["resume", "later"]);
        let _ = stage.needed();
        if let Some(granted) = granted {
            stage.assert_granted(&stage.asked(), &[granted, &COPY].concat(), &[]);
        }
    }
}

#[tokio::test]
async fn looking_at_tables_and_jobs() {
    let stage = Recorded::new().await;
    stage.run(&["estimate", "-m", MASTER, "-s", SLAVE, "--role-arn", ROLE]);
    assert_listed(For::Estimate, &stage.needed());
    stage.assert_granted(&stage.asked(), &[&["--for", "estimate"], &COPY[..]].concat(), &[]);
    stage.enqueued("job", &[]);
    for (command, purpose) in
        [(&["status", "job"][..], For::Status), (&["report", "job"], For::Report), (&["jobs"], For::Jobs)]
    {
        stage.here(command);

        assert_listed(purpose, &stage.needed());
    }
    stage.assert_granted(&stage.asked(), &["--for", "report"], &[]);
}

#[tokio::test]
async fn enqueueing_cancelling_and_resuming() {
    let stage = Recorded::new().await;
    let sync = [&SYNC[..], &ROLE_AND_KEY, &["--segments", "2", "--job-id", "job"]].concat();
    stage.queued(&sync);
    let mut enqueueing = stage.needed();
    let taken = stage.fleet.dynamend(&sync);
    assert_eq!(taken.code, Some(2), "the id is taken: {}", taken.stderr);
    enqueueing.extend(stage.needed());
    let waiting = [&SYNC[..], &ROLE_AND_KEY, &["--segments", "2", "--wait"]].concat();
    let waiting = stage.fleet.spawn(&waiting);
    // Its calls are not the coordinator's.
    let worker = programs().with_dynamodb(&stage.fleet.stage.server.endpoint());
    let worker = worker.with_services(&MiniStack::shared().endpoint());
    let worker = worker.spawn_worker(&["--queue", &stage.fleet.queue.url]);
    let waiting = waiting.wait(2 * DEADLINE);
    worker.terminate();
    assert_eq!(waiting.code, Some(1), "{}", waiting.stderr);
    enqueueing.extend(stage.needed());
    assert_listed(For::SyncQueued, &enqueueing);

    stage.enqueued("first", &[]);
    stage.here(&["cancel", "first"]);
    assert_listed(For::Cancel, &stage.needed());
    stage.enqueued("paused", &[]);
    stage.here(&["pause", "paused"]);
    assert_listed(For::Cancel, &stage.needed());
    stage.enqueued("limited", &[]);
    stage.here(&["limit", "limited", "--read-capacity", "10", "--max-cost", "5"]);
    assert_listed(For::Limit, &stage.needed());
    stage.enqueued("other", &[]);
    stage.queued(&["resume", "other"]);
    assert_listed(For::ResumeQueued, &stage.needed());
    stage.assert_granted(&stage.asked(), &stage.for_fleet("coordinator", &COPY), &[]);
    stage.enqueued("fourth", &["--repair"]);
    stage.here(&["resume", "fourth"]);
    assert_listed(For::Resume(REPAIR), &stage.needed());
}

/// Makes puts conditional, and what is conditional is no batch.
const SINGLY: [&str; 2] = ["--version-attribute", "version"];

/// Some puts and one delete.
async fn change_master(stage: &Recorded) {
    let items = stage.fleet.stage.server.read_all("orders").await;
    let schema = &stage.fleet.stage.schema;
    stage.fleet.stage.server.put_all("orders", &items[..3]).await;
    stage.fleet.stage.server.delete("orders", schema, &items[0]).await;
}

#[tokio::test]
async fn copying_and_following_in_one_process() {
    let stage = Recorded::new().await;
    let backfill = [&["backfill"], &COPY[..], &ROLE_AND_KEY].concat();
    stage.here(&backfill);
    stage.here(&[&backfill[..], &["--scan-limit", "1"]].concat());
    assert_listed(For::Backfill, &stage.needed());
    stage.queued(&[&backfill[..], &["--job-id", "copy"]].concat());
    stage.forget();
    stage.here(&["resume", "copy"]);
    assert_covered(&[For::Backfill, For::ResumeOther], &stage.needed());
    stage.assert_granted(&stage.asked(), &[&["--for", "copy"], &COPY[..]].concat(), &[]);
    stage.fleet.stage.server.enable_stream("orders", StreamViewType::KeysOnly).await;
    change_master(&stage).await;

    let replicate = [&["replicate"], &COPY[..], &ROLE_AND_KEY, &["--until-caught-up"]].concat();
    stage.here(&replicate);
    stage.here(&[&replicate[..], &SINGLY].concat());

    assert_listed(For::Replicate, &stage.needed());
    stage.queued(&[&replicate[..], &["--job-id", "stream"]].concat());
    stage.forget();
    stage.here(&["resume", "stream"]);
    assert_covered(&[For::Replicate, For::ResumeOther], &stage.needed());
    stage.assert_granted(&stage.asked(), &[&["--for", "stream"], &COPY[..]].concat(), &[]);
}

#[tokio::test]
async fn copying_and_following_with_a_fleet() {
    let mut stage = Recorded::new().await;
    stage.fleet.stage.server.enable_stream("orders", StreamViewType::KeysOnly).await;
    change_master(&stage).await;
    // Its calls are not the coordinator's.
    let others = programs().with_dynamodb(&stage.fleet.stage.server.endpoint());
    let others = others.with_services(&MiniStack::shared().endpoint());
    let worker = others.spawn_worker(&["--queue", &stage.fleet.queue.url]);
    stage.queued(&[&["backfill"], &COPY[..], &ROLE_AND_KEY, &["--segments", "2", "--wait"]].concat());
    assert_listed(For::BackfillQueued, &stage.needed());
    stage.queued(&[&["replicate"], &COPY[..], &ROLE_AND_KEY, &["--until-caught-up", "--wait"]].concat());
    assert_listed(For::ReplicateQueued, &stage.needed());
    worker.terminate();
    assert_eq!(worker.wait(DEADLINE).code, Some(0));
    stage.assert_granted(&stage.asked(), &stage.for_fleet("stream-coordinator", &COPY), &["WithdrawSummaries"]);

    let put = |stage: &Recorded, command: &str, job: &str, flags: &[&str]| {
        stage.queued(&[&[command], &COPY[..], &ROLE_AND_KEY, &["--job-id", job], flags].concat());
    };
    stage.with_another_queue().await;
    put(&stage, "backfill", "batches", &[]);
    put(&stage, "backfill", "singles", &["--scan-limit", "1"]);
    let of_copies = stage.worked(&["batches", "singles"]).await;
    assert_listed(For::BackfillWorker, &of_copies);
    stage.assert_granted(&stage.asked(), &stage.for_fleet("copy", &COPY), &[]);
    stage.with_another_queue().await;
    put(&stage, "replicate", "together", &["--until-caught-up"]);
    put(&stage, "replicate", "singly", &["--until-caught-up", SINGLY[0], SINGLY[1]]);
    let of_streams = stage.worked(&["together", "singly"]).await;
    assert_listed(For::ReplicateWorker, &of_streams);
    stage.assert_granted(&stage.asked(), &stage.for_fleet("stream", &COPY), &[]);

    assert_listed(For::CopyingWorker, &(&of_copies | &of_streams));
}

#[tokio::test]
async fn single_records() {
    let stage = Recorded::new().await;
    let Differences { missing, extra, differing } = stage.fleet.stage.differences().await;
    let (Some(missing), Some(extra)) = (missing.first(), extra.first()) else { panic!("the tables differ") };
    let present = differing.keys().next().expect("the tables differ");
    let role = ["--role-arn", ROLE];
    for (command, purpose) in [("diff", For::RecordDiff), ("sync", For::RecordSync)] {
        for key in [missing, extra] {
            stage.run(&[&["record", command, MASTER, SLAVE, key], &role[..]].concat());
        }
        assert_listed(purpose, &stage.needed());
        let flags = ["--for", &format!("record-{command}"), "-m", MASTER, "-s", SLAVE];
        stage.assert_granted(&stage.asked(), &flags, &[]);
    }

    let dest = stage.fleet.bucket.url("kept");
    // That the bucket has a key of its own shows in no call.
    let with_key = |actions: &[&str]| {
        let keys = actions.iter().map(|action| (Service::Kms, (*action).to_owned(), Resource::Key));
        stage.needed().into_iter().chain(keys).collect::<Needed>()
    };
    stage.run(&[&["record", "backup", MASTER, &dest, missing], &role[..]].concat());
    let schema = &stage.fleet.stage.schema;
    for item in stage.fleet.stage.server.read_all("orders").await {
        if tests::oracle::key_text(schema, &item) == *missing {
            stage.fleet.stage.server.delete("orders", schema, &item).await;
        }
    }
    stage.run(&[&["record", "backup", MASTER, &dest, missing], &role[..]].concat());
    assert_listed(For::RecordBackup, &with_key(&["Decrypt", "GenerateDataKey"]));
    stage.assert_granted(&stage.asked(), &["--for", "record-backup", "-m", MASTER, "--backup", &dest], &[]);
    stage.run(&[&["record", "diff-backup", MASTER, &dest, missing], &role[..]].concat());
    assert_listed(For::RecordDiffBackup, &with_key(&["Decrypt"]));
    stage.assert_granted(&stage.asked(), &["--for", "record-diff-backup", "-m", MASTER, "--backup", &dest], &[]);
    stage.run(&[&["record", "backup", MASTER, &dest, present], &role[..]].concat());
    stage.forget();
    stage.run(&[&["record", "history", MASTER, &dest, present], &role[..]].concat());
    assert_listed(For::RecordHistory, &with_key(&["Decrypt"]));
    stage.assert_granted(&stage.asked(), &["--for", "record-history", "-m", MASTER, "--backup", &dest], &[]);
}

#[tokio::test]
async fn backing_up_and_restoring_in_one_process() {
    let stage = Recorded::new().await;
    let dest = stage.fleet.bucket.url("kept");
    stage.here(&[&["backup", "incremental", MASTER, &dest][..], &ROLE_AND_KEY].concat());
    stage.here(&[&["backup", "full", MASTER, &dest, "--job-id", "B"][..], &ROLE_AND_KEY].concat());
    let (of_full, asked_full) = (stage.needed(), stage.asked());
    let items = format!("{dest}/orders");
    stage.here(&[&["backup", "snapshot", &items, &dest, "--job-id", "S"][..], &ROLE_AND_KEY[2..]].concat());
    let (of_snapshot, asked_snapshot) = (stage.needed(), stage.asked());

    // Whoever ends a job deletes what a worker left behind that died.
    stage.queued(&[&["backup", "full", MASTER, &dest, "--job-id", "left"][..], &ROLE_AND_KEY].concat());
    stage.fleet.bucket.put("kept/left/data/stray.json.gz", b"").await;
    stage.forget();
    stage.here(&["resume", "left"]);
    let (of_resume, asked_resume) = (stage.needed(), stage.asked());
    assert_covered(&[For::Backup, For::ResumeOther], &of_resume);
    let cleared =
        of_resume.into_iter().filter(|(_, action, resource)| action == "DeleteObject" && *resource == Resource::Backup);
    let cleared: Needed = cleared.collect();
    assert_eq!(cleared.len(), 1);
    assert_listed(For::Backup, &(&of_full | &cleared));
    assert_listed(For::Snapshot, &(&of_snapshot | &cleared));
    let taken_up = |resources: &[Resource]| -> BTreeSet<Asked> {
        let deletes = asked_resume.iter().filter(|it| it.action == "DeleteObject");
        deletes.filter(|it| resources.contains(&it.resource)).cloned().collect()
    };
    let with_backup = |purpose, tables: &[&str]| {
        [&["--for", purpose, "--backup", &dest], tables].concat().iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()
    };
    let granted = |asked: &BTreeSet<Asked>, flags: Vec<String>| {
        stage.assert_granted(asked, &flags.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    };
    granted(&(&asked_full | &asked_resume), with_backup("backup", &["-m", MASTER]));
    let ended = taken_up(&[Resource::Backup, Resource::Summaries]);
    granted(&(&asked_snapshot | &ended), with_backup("snapshot", &[]));

    let restore = ["restore", &format!("{dest}/B"), SLAVE, "--overwrite", "--verify"];
    stage.here(&[&restore[..], &ROLE_AND_KEY].concat());
    stage.here(&[&["restore", &items, SLAVE, "--only-missing"][..], &ROLE_AND_KEY].concat());
    stage.server_clear("copy").await;
    stage.here(&[&["restore", &items, SLAVE][..], &ROLE_AND_KEY].concat());
    assert_listed(For::Restore, &stage.needed());
    let ended = taken_up(&[Resource::Summaries]);
    granted(&(&stage.asked() | &ended), with_backup("restore", &["-s", SLAVE, "--verify"]));
}

#[tokio::test]
async fn backing_up_and_restoring_with_a_fleet() {
    let mut stage = Recorded::new().await;
    stage.server_clear("copy").await;
    let dest = stage.fleet.bucket.url("kept");
    let others = programs().with_dynamodb(&stage.fleet.stage.server.endpoint());
    let others = others.with_services(&MiniStack::shared().endpoint());
    let worker = others.spawn_worker(&["--queue", &stage.fleet.queue.url]);
    let with_role = |arguments: &[&str]| {
        [arguments, &ROLE_AND_KEY, &["--wait"]].concat().iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()
    };
    let queued = |stage: &Recorded, arguments: Vec<String>| {
        stage.queued(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    };
    queued(&stage, with_role(&["backup", "incremental", MASTER, &dest]));
    queued(&stage, with_role(&["backup", "full", MASTER, &dest, "--job-id", "B"]));
    assert_listed(For::BackupQueued, &stage.needed());
    let resumed = ["WithdrawSummaries"];
    let backup = ["--backup", dest.as_str()];
    let of_table = [&backup[..], &["-m", MASTER]].concat();
    stage.assert_granted(&stage.asked(), &stage.for_fleet("backup-coordinator", &of_table), &resumed);
    let (full, items) = (format!("{dest}/B"), format!("{dest}/orders"));
    queued(&stage, with_role(&["restore", &full, SLAVE, "--verify"]));
    queued(&stage, with_role(&["restore", &items, SLAVE, "--overwrite"]));
    assert_listed(For::RestoreQueued, &stage.needed());
    let into_table = [&backup[..], &["-s", SLAVE]].concat();
    stage.assert_granted(&stage.asked(), &stage.for_fleet("restore-coordinator", &into_table), &resumed);
    worker.terminate();
    assert_eq!(worker.wait(DEADLINE).code, Some(0));

    let put = |stage: &Recorded, command: &[&str], job: &str, more: &[&str]| {
        stage.queued(&[command, &["--job-id", job], more].concat());
    };
    stage.with_another_queue().await;
    put(&stage, &["backup", "full", MASTER, &dest], "full", &ROLE_AND_KEY);
    put(&stage, &["backup", "incremental", MASTER, &dest], "incremental", &ROLE_AND_KEY);
    stage.fleet.bucket.put("kept/full/data/stray.json.gz", b"").await;
    let of_backups = stage.worked(&["full", "incremental"]).await;
    assert_listed(For::KeepingWorker, &of_backups);
    stage.assert_granted(&stage.asked(), &stage.for_fleet("backup", &of_table), &[]);
    stage.with_another_queue().await;
    put(&stage, &["backup", "snapshot", &items, &dest], "snapshot", &ROLE_AND_KEY[2..]);
    stage.fleet.bucket.put("kept/snapshot/data/stray.json.gz", b"").await;
    let of_snapshots = stage.worked(&["snapshot"]).await;
    assert_listed(For::SnapshotWorker, &of_snapshots);
    stage.assert_granted(&stage.asked(), &stage.for_fleet("snapshot", &backup), &[]);
    stage.with_another_queue().await;
    put(&stage, &["restore", &full, SLAVE, "--overwrite"], "overwritten", &ROLE_AND_KEY);
    put(&stage, &["restore", &items, SLAVE, "--only-missing"], "missing", &ROLE_AND_KEY);
    let of_restores = stage.worked(&["overwritten", "missing"]).await;
    assert_listed(For::RestoreWorker, &of_restores);
    stage.assert_granted(&stage.asked(), &stage.for_fleet("restore", &into_table), &[]);

    assert_listed(For::BackupWorker, &(&(&of_backups | &of_snapshots) | &of_restores));
}

#[tokio::test]
async fn undoing() {
    let stage = Recorded::new().await;
    stage.here(&[&SYNC[..], &ROLE_AND_KEY, &["--repair", "--undo", "--job-id", "job"]].concat());
    stage.forget();

    stage.here(&["undo", "job"]);

    assert_listed(For::Undo, &stage.needed());
    // A job that has a limit is told of, and the key is for that put.
    let excused = ["s3:PutObject", "kms:GenerateDataKey"];
    stage.assert_granted(&stage.asked(), &[&["--for", "undo"], &COPY[..]].concat(), &excused);
}

#[tokio::test]
async fn working() {
    let limited = &["--repair", "--read-capacity", "10000", "--write-capacity", "10000"];
    for (flags, policy, purpose) in [(&["--scan-for-extra"][..], COMPARE, "compare"), (limited, REPAIR, "repair")] {
        let stage = Recorded::new().await;
        stage.enqueued("job", flags);

        let needed = stage.worked(&["job"]).await;

        assert_listed(For::Worker(policy), &needed);
        let tells_of_itself = needed.contains(&(Service::S3, "DeleteObject".to_owned(), Resource::Workers));
        assert_eq!(tells_of_itself, policy == REPAIR);
        stage.assert_granted(&stage.asked(), &stage.for_fleet(purpose, &COPY), &[]);
    }
}
