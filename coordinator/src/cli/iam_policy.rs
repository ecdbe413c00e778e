//! The command line of `iam-policy`.

use clap::{Args, ValueEnum};
use shared::domain::arn::{Account, Arn, BadArn, Kind};
use shared::domain::table_ref::TableRef;

/// Options of `iam-policy`.
#[derive(Debug, Args)]
pub struct IamPolicyArgs {
    /// What it is to allow; repeatable, or with commas
    #[arg(long = "for", value_enum, value_name = "PURPOSE", required = true, value_delimiter = ',')]
    pub purposes: Vec<PurposeArg>,
    /// Whose policy: with --role-arn, the tables are for the role to reach, and the program may assume it
    #[arg(long, value_enum, value_name = "WHO", default_value_t = HolderArg::Program)]
    pub policy_of: HolderArg,
    /// With --for repair: for repairs that never delete, which are those without --delete-extra and --repair
    #[arg(long)]
    pub no_delete: bool,

    /// A master, or a table that is backed up: REGION:NAME, REGION/NAME or an ARN; repeatable
    #[arg(short, long = "master", value_name = "TABLE", help_heading = "Names")]
    pub masters: Vec<TableRef>,
    /// A slave, or a table that is restored into; repeatable
    #[arg(short, long = "slave", visible_alias = "slaves", value_name = "TABLE", help_heading = "Names")]
    pub slaves: Vec<TableRef>,
    /// The account of tables that are named without an ARN and reached without a role [default: the queue's]
    #[arg(long, value_name = "ID", help_heading = "Names")]
    pub account: Option<Account>,
    /// The Kinesis stream that is followed, in place of the master's own; repeatable
    #[arg(long, value_name = "ARN", value_parser = stream, help_heading = "Names")]
    pub kinesis: Vec<Arn>,
    /// A place of backups, s3://BUCKET/PREFIX, and all that is below it; repeatable
    #[arg(long, value_name = "URL", help_heading = "Names")]
    pub backup: Vec<String>,
    /// The KMS key of the queue, of a bucket, or of --sse-kms-key-id; repeatable
    #[arg(long, value_name = "ARN", value_parser = key, help_heading = "Names")]
    pub kms_key: Vec<Arn>,
    /// The role that is assumed for the master, and for the slaves unless they have their own
    #[arg(long, value_name = "ARN", value_parser = role, help_heading = "Names")]
    pub role_arn: Option<Arn>,
    /// The role that is assumed for the slaves
    #[arg(long, value_name = "ARN", value_parser = role, help_heading = "Names")]
    pub slave_role_arn: Option<Arn>,

    /// For `restore --create`: the table is made
    #[arg(long, help_heading = "Restores and snapshots")]
    pub create: bool,
    /// For `restore --verify`: the table is held against the backup
    #[arg(long, help_heading = "Restores and snapshots")]
    pub verify: bool,
    /// For `restore --as-of` and `backup snapshot --as-of`: older versions of objects are read
    #[arg(long, help_heading = "Restores and snapshots")]
    pub as_of: bool,
}

/// What a policy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PurposeArg {
    /// What `dynamend` does with a queue: sync, backfill, estimate; status, report, jobs, resume, cancel, pause, limit.
    Coordinator,
    /// The same for replications and their backfills.
    StreamCoordinator,
    /// The same for backups.
    BackupCoordinator,
    /// The same for restores.
    RestoreCoordinator,
    /// To compare: a worker with --queue, and without a queue `sync` and its `resume` in one process.
    Compare,
    /// To compare and repair, likewise.
    Repair,
    /// To copy (backfill), likewise.
    Copy,
    /// To follow a stream (replicate), likewise; with a backfill before it, `copy,stream`.
    Stream,
    /// To back up, in full or incrementally, likewise.
    Backup,
    /// To fold an incremental backup into a full one, likewise.
    Snapshot,
    /// To restore, likewise.
    Restore,
    /// `undo`.
    Undo,
    /// `estimate`.
    Estimate,
    /// `status`, `report` and `jobs`; `record … --from-report` needs it besides.
    Report,
    /// `record diff`.
    RecordDiff,
    /// `record sync`.
    RecordSync,
    /// `record backup`.
    RecordBackup,
    /// `record diff-backup`.
    RecordDiffBackup,
    /// `record history`.
    RecordHistory,
}

impl PurposeArg {
    /// As it is written on the command line.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// Who gets a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HolderArg {
    /// The program: the user or role that runs it.
    Program,
    /// The role that is assumed for the master, and for the slaves unless they have their own.
    Role,
    /// The role that is assumed for the slaves.
    SlaveRole,
}

fn stream(text: &str) -> Result<Arn, BadArn> {
    Arn::parse(text, Kind::Stream)
}

fn key(text: &str) -> Result<Arn, BadArn> {
    Arn::parse(text, Kind::Key)
}

fn role(text: &str) -> Result<Arn, BadArn> {
    Arn::parse(text, Kind::Role)
}
