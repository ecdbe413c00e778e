//! What each command is allowed to do at least, and needs no more than: the one list that documents and tests go by.
//!
//! A new call of AWS is a new line in [`permissions`]; the end-to-end tests hold the list against the calls that the
//! programs make, and README and `infra` against the list.

use super::decide::{ExtraHandling, Handling, Policy};

/// Who needs the permissions, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// `sync` without a queue; it works as a worker does.
    Sync(Policy),
    /// `sync --queue`, with and without `--wait`.
    SyncQueued,
    /// `estimate`.
    Estimate,
    /// `status`, with and without `--watch`.
    Status,
    /// `report`.
    Report,
    /// `jobs`.
    Jobs,
    /// `cancel` and `pause`.
    Cancel,
    /// `limit`.
    Limit,
    /// `undo`.
    Undo,
    /// `resume` without a queue; it works as a worker does.
    Resume(Policy),
    /// `resume --queue`, with and without `--wait`.
    ResumeQueued,
    /// `resume` of any other job without a queue, which needs what the job's own command does besides.
    ResumeOther,
    /// `dynamend-worker`.
    Worker(Policy),
    /// `backfill` without a queue.
    Backfill,
    /// `backfill --queue`, with and without `--wait`.
    BackfillQueued,
    /// `replicate` without a queue and without `--backfill`, which needs what [`For::Backfill`] does besides.
    Replicate,
    /// `replicate --queue`, with and without `--backfill`.
    ReplicateQueued,
    /// `dynamend-worker` for backfills and replications.
    CopyingWorker,
    /// `dynamend-worker` for backfills alone.
    BackfillWorker,
    /// `dynamend-worker` for replications alone; their backfills need [`For::BackfillWorker`] besides.
    ReplicateWorker,
    /// `backup full` and `backup incremental` without a queue; the table is the master.
    Backup,
    /// `backup snapshot` without a queue.
    Snapshot,
    /// `backup --queue` of every kind, with and without `--wait`.
    BackupQueued,
    /// `restore` without a queue; the table is the slave.
    Restore,
    /// `restore --queue`, with and without `--wait`.
    RestoreQueued,
    /// `dynamend-worker` for backups and restores.
    BackupWorker,
    /// `dynamend-worker` for full and incremental backups alone.
    KeepingWorker,
    /// `dynamend-worker` for snapshots alone.
    SnapshotWorker,
    /// `dynamend-worker` for restores alone.
    RestoreWorker,
    /// `record diff`.
    RecordDiff,
    /// `record sync`.
    RecordSync,
    /// `record backup`; its table is the master.
    RecordBackup,
    /// `record diff-backup`.
    RecordDiffBackup,
    /// `record history`.
    RecordHistory,
}

/// A service, as policies name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// DynamoDB.
    DynamoDb,
    /// SQS.
    Sqs,
    /// S3.
    S3,
    /// STS.
    Sts,
    /// KMS.
    Kms,
    /// Kinesis Data Streams.
    Kinesis,
}

impl Service {
    /// The prefix of its actions.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::DynamoDb => "dynamodb",
            Self::Sqs => "sqs",
            Self::S3 => "s3",
            Self::Sts => "sts",
            Self::Kms => "kms",
            Self::Kinesis => "kinesis",
        }
    }
}

/// What an action is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// The master table.
    Master,
    /// Every slave table.
    Slaves,
    /// The master's stream of changes: `TABLE/stream/*`.
    Stream,
    /// The Kinesis stream of `--kinesis`.
    KinesisStream,
    /// The objects of `--to-backup`.
    Backup,
    /// The workers' queue.
    Queue,
    /// The objects of jobs: `STORE/jobs/*`.
    Jobs,
    /// Their summaries: `STORE/jobs/*/summary.json`.
    Summaries,
    /// What workers tell each other: `STORE/jobs/*/workers/*`.
    Workers,
    /// The store's bucket.
    Bucket,
    /// The bucket of a backup.
    BackupBucket,
    /// A role that a side of the job names.
    Role,
    /// The KMS key of the queue, of the bucket or of `--sse-kms-key-id`.
    Key,
}

/// When it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    /// Always.
    Always,
    /// When a role is named with `--role-arn` or `--slave-role-arn`; the tables are then the role's to reach.
    RoleNamed,
    /// When queue or bucket are encrypted with a KMS key of one's own.
    OwnKey,
    /// When the job has a capacity limit or a budget, or gets one while it runs.
    Limited,
    /// When a capacity limit is a share of what a table is provisioned for.
    ShareOfCapacity,
    /// With `--kinesis`, in place of the master's own stream.
    FromKinesis,
    /// With `--to-backup`.
    BackedUp,
    /// With `--as-of`.
    AsOf,
    /// With `restore --create`, where there is no table.
    Created,
    /// With `restore --verify`.
    Verified,
}

/// One permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    /// The service.
    pub service: Service,
    /// The action, without the service's prefix.
    pub action: &'static str,
    /// What it is done to.
    pub resource: Resource,
    /// When it is needed.
    pub when: When,
}

/// Everything that is needed, each once.
#[must_use]
pub fn permissions(purpose: For) -> Vec<Permission> {
    use Resource::{
        Backup, BackupBucket, Bucket, Jobs, Key, KinesisStream, Master, Queue, Role, Slaves, Stream, Summaries, Workers,
    };
    use Service::{DynamoDb, Kinesis, Kms, S3, Sqs, Sts};
    use When::{Always, AsOf, BackedUp, Created, FromKinesis, Limited, OwnKey, RoleNamed, ShareOfCapacity, Verified};
    let line = |service, when, resource, actions: &[&'static str]| {
        actions.iter().map(move |&action| Permission { service, action, resource, when }).collect::<Vec<_>>()
    };
    let on_tables =
        |when, actions: &[&'static str]| [line(DynamoDb, when, Master, actions), line(DynamoDb, when, Slaves, actions)];
    let describe = || on_tables(Always, &["DescribeTable"]);
    let plan = || on_tables(Always, &["DescribeTable", "DescribeTimeToLive"]);
    // Workers of a limited job tell each other of themselves, each by a name that replaces the one before.
    let replace_names = || line(S3, Limited, Workers, &["DeleteObject"]);
    let assume = || line(Sts, RoleNamed, Role, &["AssumeRole"]);
    // S3 tells an object that is not there from one that is forbidden only to those who may list.
    let read = || [line(S3, Always, Jobs, &["GetObject"]), line(S3, Always, Bucket, &["ListBucket"])];
    let write = || line(S3, Always, Jobs, &["PutObject"]);
    let withdraw = || line(S3, Always, Summaries, &["DeleteObject"]);
    let enqueue = || line(Sqs, Always, Queue, &["GetQueueAttributes", "SendMessage"]);
    let read_key = || line(Kms, OwnKey, Key, &["Decrypt"]);
    let write_key = || line(Kms, OwnKey, Key, &["Decrypt", "GenerateDataKey"]);
    let work = |policy: Policy| {
        let scan = &["Scan", "BatchGetItem"];
        let mut all = vec![assume(), write(), write_key(), replace_names()];
        all.extend(describe().into_iter().chain(read()));
        all.extend([line(DynamoDb, Always, Master, scan), line(DynamoDb, Always, Slaves, scan)]);
        if [policy.missing, policy.differing].contains(&Handling::Repair) {
            all.push(line(DynamoDb, Always, Slaves, &["PutItem"]));
        }
        if policy.extra == ExtraHandling::Delete {
            all.push(line(DynamoDb, Always, Slaves, &["DeleteItem"]));
        }
        all
    };
    let take_messages = || {
        let actions =
            &["GetQueueAttributes", "ReceiveMessage", "SendMessage", "ChangeMessageVisibility", "DeleteMessage"];
        line(Sqs, Always, Queue, actions)
    };
    // A write that is alone in its request is no batch.
    let copy = || {
        let slaves = &["BatchWriteItem", "PutItem"];
        let mut all = vec![assume(), write(), write_key(), replace_names()];
        all.extend(describe().into_iter().chain(read()));
        all.extend([line(DynamoDb, Always, Master, &["Scan"]), line(DynamoDb, Always, Slaves, slaves)]);
        all
    };
    let mark = || {
        let objects = &["GetObject", "PutObject"];
        vec![
            line(S3, BackedUp, Backup, objects),
            line(S3, BackedUp, BackupBucket, &["ListBucket"]),
            line(DynamoDb, BackedUp, Master, &["DescribeTimeToLive"]),
        ]
    };
    let list_shards = || {
        [
            line(DynamoDb, Always, Stream, &["DescribeStream"]),
            line(Kinesis, FromKinesis, KinesisStream, &["DescribeStreamSummary", "ListShards"]),
        ]
    };
    let follow = || {
        let records = &["GetShardIterator", "GetRecords"];
        let slaves = &["BatchWriteItem", "PutItem", "DeleteItem"];
        let mut all = vec![assume(), write(), write_key(), replace_names()];
        all.extend(describe().into_iter().chain(read()).chain(list_shards()));
        all.extend([line(DynamoDb, Always, Stream, records), line(Kinesis, FromKinesis, KinesisStream, records)]);
        all.extend([line(DynamoDb, Always, Master, &["BatchGetItem"]), line(DynamoDb, Always, Slaves, slaves)]);
        all.push(line(S3, BackedUp, Backup, &["PutObject", "DeleteObject"]));
        all
    };
    let read_object = || [line(S3, Always, Backup, &["GetObject"]), line(S3, Always, BackupBucket, &["ListBucket"])];
    // What a worker that died left behind is deleted, and what it is about to leave is taken back.
    let keep = || {
        let objects = &["GetObject", "PutObject", "DeleteObject", "AbortMultipartUpload"];
        vec![line(S3, Always, Backup, objects), line(S3, Always, BackupBucket, &["ListBucket"])]
    };
    let older = || {
        let bucket = &["ListBucketVersions", "GetBucketVersioning"];
        [line(S3, AsOf, BackupBucket, bucket), line(S3, AsOf, Backup, &["GetObjectVersion"])]
    };
    let on_jobs = || [vec![write(), write_key(), replace_names()], read().into()].concat();
    let restored = || line(DynamoDb, Always, Slaves, &["DescribeTable", "BatchWriteItem", "PutItem"]);
    let of_restore = || {
        let made = line(DynamoDb, Created, Slaves, &["CreateTable", "UpdateTimeToLive", "DescribeTimeToLive"]);
        let empty = line(DynamoDb, Always, Slaves, &["DescribeTable", "Scan"]);
        [vec![assume(), made, empty], read_object().into(), older().into()].concat()
    };
    let verified = || line(DynamoDb, Verified, Slaves, &["BatchGetItem"]);
    let kept = || {
        let table = line(DynamoDb, Always, Master, &["DescribeTable", "Scan"]);
        [vec![take_messages(), assume(), table], on_jobs(), keep()].concat()
    };
    let put_back = || {
        let all = vec![take_messages(), assume(), restored(), verified()];
        [all, on_jobs(), read_object().into(), older().into()].concat()
    };
    let publish = || [vec![assume(), enqueue(), write(), write_key()], describe().into(), read().into()].concat();
    let look_up = || on_tables(Always, &["DescribeTable", "DescribeTimeToLive", "BatchGetItem"]);
    let mend = || line(DynamoDb, Always, Slaves, &["PutItem", "DeleteItem"]);
    let read_table = || line(DynamoDb, Always, Master, &["DescribeTable", "BatchGetItem"]);
    let lines: Vec<Vec<Permission>> = match purpose {
        For::Backfill => copy(),
        For::BackfillQueued => publish(),
        For::Replicate => [follow(), mark()].concat(),
        For::ReplicateQueued => [publish(), list_shards().into(), mark()].concat(),
        For::CopyingWorker => [vec![take_messages()], copy(), follow()].concat(),
        For::BackfillWorker => [vec![take_messages()], copy()].concat(),
        For::ReplicateWorker => [vec![take_messages()], follow()].concat(),
        For::Sync(policy) => [work(policy), plan().into()].concat(),
        For::SyncQueued => [vec![assume(), enqueue(), write(), write_key()], plan().into(), read().into()].concat(),
        For::Estimate => [vec![assume()], describe().into()].concat(),
        For::Status | For::Report | For::Jobs => [vec![read_key()], read().into()].concat(),
        For::Cancel => [vec![write(), write_key()], read().into()].concat(),
        For::Limit => {
            let share = on_tables(ShareOfCapacity, &["DescribeTable"]);
            [vec![write(), write_key()], read().into(), share.into()].concat()
        }
        For::Undo => {
            let back = line(DynamoDb, Always, Slaves, &["BatchGetItem", "PutItem", "DeleteItem"]);
            let told = line(S3, Limited, Jobs, &["PutObject"]);
            let told_with_key = line(Kms, Limited, Key, &["GenerateDataKey"]);
            [vec![assume(), back, told, replace_names(), read_key(), told_with_key], describe().into(), read().into()]
                .concat()
        }
        For::Backup => {
            let table = line(DynamoDb, Always, Master, &["DescribeTable", "DescribeTimeToLive", "Scan"]);
            [vec![assume(), table], on_jobs(), keep()].concat()
        }
        For::Snapshot => [on_jobs(), keep(), older().into()].concat(),
        For::BackupQueued => {
            let table = line(DynamoDb, Always, Master, &["DescribeTable", "DescribeTimeToLive"]);
            let marked = line(S3, Always, Backup, &["PutObject"]);
            let by_key = vec![assume(), table, enqueue(), marked, write(), write_key()];
            [by_key, read().into(), read_object().into(), older().into()].concat()
        }
        For::Restore => [on_jobs(), of_restore(), vec![restored(), verified()]].concat(),
        For::RestoreQueued => [vec![enqueue(), write(), write_key()], read().into(), of_restore()].concat(),
        For::BackupWorker => [kept(), put_back(), older().into()].concat(),
        For::KeepingWorker => kept(),
        For::SnapshotWorker => [vec![take_messages()], on_jobs(), keep(), older().into()].concat(),
        For::RestoreWorker => put_back(),
        For::RecordDiff => [vec![assume()], look_up().into()].concat(),
        For::RecordSync => [vec![assume(), mend()], look_up().into()].concat(),
        For::RecordBackup => {
            let keep = line(S3, Always, Backup, &["PutObject", "DeleteObject"]);
            [vec![assume(), keep, read_table(), write_key()], read_object().into()].concat()
        }
        For::RecordDiffBackup => [vec![assume(), read_table(), read_key()], read_object().into()].concat(),
        For::RecordHistory => {
            let versions = line(S3, Always, BackupBucket, &["ListBucketVersions", "GetBucketVersioning"]);
            let described = line(DynamoDb, Always, Master, &["DescribeTable"]);
            vec![assume(), described, versions, line(S3, Always, Backup, &["GetObjectVersion"]), read_key()]
        }
        For::Resume(policy) => [vec![withdraw()], work(policy)].concat(),
        For::ResumeQueued => [vec![enqueue(), write(), withdraw(), write_key()], read().into()].concat(),
        For::ResumeOther => [vec![write(), withdraw(), write_key()], read().into()].concat(),
        For::Worker(policy) => [vec![take_messages()], work(policy)].concat(),
    };
    let mut all: Vec<Permission> = lines.into_iter().flatten().collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actions(purpose: For) -> Vec<String> {
        let name = |needed: Permission| format!("{}:{}", needed.service.prefix(), needed.action);
        permissions(purpose).into_iter().map(name).collect()
    }

    #[test]
    fn only_who_repairs_may_write_and_only_slaves() {
        let missing = Policy { missing: Handling::Repair, ..Policy::default() };
        let delete = Policy { extra: ExtraHandling::Delete, ..Policy::default() };
        for (policy, puts, deletes) in
            [(Policy::default(), false, false), (missing, true, false), (delete, false, true)]
        {
            for purpose in [For::Sync(policy), For::Resume(policy), For::Worker(policy)] {
                let actions = actions(purpose);
                assert_eq!(actions.contains(&"dynamodb:PutItem".to_owned()), puts, "{purpose:?}");
                assert_eq!(actions.contains(&"dynamodb:DeleteItem".to_owned()), deletes, "{purpose:?}");
                let written = permissions(purpose).into_iter().filter(|it| it.action.ends_with("tItem"));
                assert!(written.into_iter().all(|it| it.action == "BatchGetItem" || it.resource == Resource::Slaves));
            }
        }
    }

    #[test]
    fn who_only_looks_changes_nothing() {
        let records = [For::RecordDiff, For::RecordDiffBackup, For::RecordHistory];
        for purpose in [For::Estimate, For::Status, For::Report, For::Jobs].into_iter().chain(records) {
            for action in actions(purpose) {
                let reads = ["Describe", "Get", "BatchGet", "List", "Decrypt", "AssumeRole"];
                assert!(reads.iter().any(|verb| action.split(':').nth(1).unwrap().starts_with(verb)), "{action}");
            }
        }
    }
}
