//! The command line, as clap sees it: names, defaults and help, and nothing else.

pub mod backup;
pub mod iam_policy;

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use shared::domain::job_id::{BadJobId, check_job_id};
use shared::domain::limits::{Capacity, max_cost};
use shared::domain::sample::Fraction;
use shared::domain::segment::{MAX_SEGMENTS, SegmentSet};
use shared::domain::table_ref::TableRef;

pub mod record;

use record::RecordArgs;

/// Finds and repairs the differences between DynamoDB tables, at any size, while they are live.
///
/// Exit codes: 0 done, and the tables agree or every discrepancy was repaired; 1 done, and discrepancies remain;
/// 2 wrong usage; 3 failed; 4 incomplete, and `resume` continues; 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "dynamend", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub struct Common {
    /// Where jobs, checkpoints and reports live: s3://BUCKET/PREFIX or a directory
    #[arg(long, global = true, value_name = "URL", env = "DYNAMEND_STORE", default_value = ".dynamend")]
    pub store: String,
    /// The SQS queue of the workers; without one the work is done in this process
    #[arg(long, global = true, value_name = "URL", env = "DYNAMEND_QUEUE")]
    pub queue: Option<String>,
    /// A profile of the AWS configuration
    #[arg(long, global = true, value_name = "NAME", help_heading = "AWS")]
    pub profile: Option<String>,
    /// The region of the queue and the bucket; tables name their own
    #[arg(long, global = true, value_name = "REGION", help_heading = "AWS")]
    pub region: Option<String>,
    /// Another endpoint than AWS's own
    #[arg(long, global = true, value_name = "URL", help_heading = "AWS")]
    pub endpoint_url: Option<String>,
    /// How the result is written to standard output
    #[arg(long, global = true, value_enum, default_value_t = OutputFormat::Text, help_heading = "Output")]
    pub output: OutputFormat,
    /// Say more on standard error: -v each segment, -vv debug messages
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Output")]
    pub verbose: u8,
    /// Say nothing on standard error but errors
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Output")]
    pub quiet: bool,
    /// When output is coloured
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, help_heading = "Output")]
    pub color: Color,
    /// How log lines are written
    #[arg(long, global = true, value_enum, default_value_t = LogFormatArg::Text, help_heading = "Output")]
    pub log_format: LogFormatArg,
}

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people.
    Text,
    /// For programs: exactly one JSON document.
    Json,
}

/// When output is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormatArg {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Compare a master with its slaves; with write flags, repair them
    Sync(Box<SyncArgs>),
    /// Copy a master's items to its slaves, without reading the slaves
    Backfill(Box<BackfillArgs>),
    /// Follow a master's changes (DynamoDB Streams or Kinesis) and apply them to its slaves
    Replicate(Box<ReplicateArgs>),
    /// Carry out a plan file: many tables, each copied, followed, repaired or compared
    Run(Box<RunArgs>),
    /// Say what a `sync` of these tables would cost; reads nothing but their descriptions
    Estimate(Box<EstimateArgs>),
    /// Make a backup of a table: in files, or with one object per item
    Backup(backup::BackupArgs),
    /// Restore a table from a backup: dynamend's, mapbox's, or an export of DynamoDB's own
    Restore(Box<backup::RestoreArgs>),
    /// Show where a job stands
    Status(StatusArgs),
    /// List all jobs of the store
    Jobs(JobsArgs),
    /// Take up every unfinished or failed segment of a job again, from its last checkpoint
    Resume(ResumeArgs),
    /// Stop a job at its next checkpoints; `resume` takes it up again
    Cancel(JobArg),
    /// Put back what a job's repairs overwrote or deleted, where nothing has changed since (needs `sync --undo`)
    Undo(UndoArgs),
    /// Stop a job at its next checkpoints for a while; `resume` takes it up again
    Pause(JobArg),
    /// Change the limits of a job, also while it runs
    Limit(LimitJobArgs),
    /// Show the discrepancies of a job
    Report(ReportArgs),
    /// Look at single records by their keys: compare, repair, back up
    Record(RecordArgs),
    /// Print the least IAM policy that a purpose needs on these tables, this queue and this store; asks AWS nothing
    ///
    /// The result is one JSON document, the policy, with --output text as with json. --queue takes the queue's ARN here as
    /// well as its URL. What only some jobs need is granted
    /// where a flag here says so (a KMS key, Kinesis, roles, backups, --create, --verify, --as-of), but for
    /// `s3:DeleteObject` on `jobs/*/workers/*`, which a job needs that has a limit: any job may get one while it runs.
    /// For `run`, give the purposes of the plan's steps; `replicate --verify` needs `compare` besides.
    IamPolicy(Box<iam_policy::IamPolicyArgs>),
    /// Compare and repair two tables of an embedded DynamoDB: no AWS account needed
    #[cfg(feature = "demo")]
    Demo,
    /// Print completions for a shell
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the manual, for `man -l -` or a file dynamend.1
    Man,
}

impl Command {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sync(_) => "sync",
            Self::Backfill(_) => "backfill",
            Self::Replicate(_) => "replicate",
            Self::Run(_) => "run",
            Self::Estimate(_) => "estimate",
            Self::IamPolicy(_) => "iam-policy",
            Self::Backup(_) => "backup",
            Self::Restore(_) => "restore",
            Self::Status(_) => "status",
            Self::Jobs(_) => "jobs",
            Self::Resume(_) => "resume",
            Self::Cancel(_) => "cancel",
            Self::Undo(_) => "undo",
            Self::Pause(_) => "pause",
            Self::Limit(_) => "limit",
            Self::Report(_) => "report",
            Self::Record(_) => "record",
            #[cfg(feature = "demo")]
            Self::Demo => "demo",
            Self::Completions { .. } => "completions",
            Self::Man => "man",
        }
    }
}

/// Options of `sync`.
#[derive(Debug, Args)]
pub struct SyncArgs {
    /// The tables.
    #[command(flatten)]
    pub tables: TableArgs,
    /// What is done about discrepancies.
    #[command(flatten)]
    pub repair: RepairArgs,
    /// How repairs are made safe.
    #[command(flatten)]
    pub safety: SafetyArgs,

    /// Leave an attribute (lastModified) or a path (meta.updatedAt) out of the comparison; repeatable
    #[arg(long, visible_aliases = ["ignore-att", "ignore-atts"], value_name = "ATTR", help_heading = "Comparison")]
    pub ignore: Vec<String>,
    /// How the tables are held against each other
    #[arg(long, value_enum, default_value_t = StrategyArg::Auto, help_heading = "Comparison")]
    pub strategy: StrategyArg,
    /// Read all pages through the SDK's types: slower, and the way out should the fast reader misread a page
    #[arg(long, help_heading = "Comparison")]
    pub typed_reader: bool,
    /// Strongly consistent scans, at twice the price
    #[arg(long, help_heading = "Comparison")]
    pub consistent_read: bool,
    /// A discrepancy counts only if it is still there this many seconds later, read strongly consistent
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds, help_heading = "Comparison")]
    pub confirm_delay: f64,
    /// Give what differs this long to heal, and call it unstable if the master still changes then
    #[arg(long, value_name = "SECONDS", value_parser = seconds, conflicts_with = "no_confirm", help_heading = "Comparison")]
    pub max_lag: Option<f64>,
    /// Count what the first look finds
    #[arg(long, conflicts_with = "confirm_delay", help_heading = "Comparison")]
    pub no_confirm: bool,
    /// Put the differing values into the report too, not only keys and attribute names
    #[arg(long, help_heading = "Comparison")]
    pub report_values: bool,

    /// How the master is scanned.
    #[command(flatten)]
    pub scan: ScanArgs,
    /// Do only a random share of the segments, above 0 and below 1, and estimate the totals from it
    #[arg(long, value_name = "FRACTION", conflicts_with = "starting_key", help_heading = "Scan")]
    pub sample: Option<Fraction>,
    /// Keys per BatchGetItem, 1 to 100
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100), help_heading = "Scan")]
    pub batch_read_limit: u32,

    /// The job itself.
    #[command(flatten)]
    pub new_job: NewJobArgs,
    /// How the job's objects are encrypted.
    #[command(flatten)]
    pub encryption: EncryptionArgs,
    /// What the job may take.
    #[command(flatten)]
    pub limits: LimitArgs,

    /// Whose credentials are used.
    #[command(flatten)]
    pub credentials: CredentialArgs,
    /// Codes of second factors.
    #[command(flatten)]
    pub mfa: MfaArgs,
}

/// How a table is scanned.
#[derive(Debug, Args)]
pub struct ScanArgs {
    /// Segments of the parallel scan, 1 to 1000000, or auto: from the table's size
    #[arg(long, value_name = "N|auto", value_parser = segments, help_heading = "Scan")]
    pub segments: Option<SegmentsArg>,
    /// Do only these segments: 0,3,8-15
    #[arg(long, value_name = "LIST", help_heading = "Scan")]
    pub only_segments: Option<SegmentSet>,
    /// Segments worked on at once in this process; sets --segments when that is not given [default: twice the cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024), help_heading = "Scan")]
    pub parallel: Option<u32>,
    /// Start after this key, {"id":"abc"} or {"id":{"S":"abc"}}, or SEGMENT=KEY; repeatable
    #[arg(long, value_name = "JSON", help_heading = "Scan")]
    pub starting_key: Vec<String>,
    /// Items per Scan page [default: as many as make 1 MB, 2000 at most]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000), help_heading = "Scan")]
    pub scan_limit: Option<u32>,
    /// Times a request is tried again
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=1000), help_heading = "Scan")]
    pub max_retries: u32,
    /// Base of the exponential delay between tries, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=60_000), help_heading = "Scan")]
    pub retry_delay_base: u64,
}

/// A job that is made.
#[derive(Debug, Args)]
pub struct NewJobArgs {
    /// The job's id [default: made from the time]
    #[arg(long, value_name = "ID", value_parser = job_id, help_heading = "Job")]
    pub job_id: Option<String>,
    /// With --queue: follow the job to its end
    #[arg(long, help_heading = "Job")]
    pub wait: bool,
}

/// Options of `backfill`.
#[derive(Debug, Args)]
pub struct BackfillArgs {
    /// The tables.
    #[command(flatten)]
    pub tables: TableArgs,
    /// Leave items alone that a slave has already
    #[arg(long, help_heading = "Copy")]
    pub only_missing: bool,
    /// What is copied how.
    #[command(flatten)]
    pub copy: CopyArgs,
}

/// Options of every job that copies.
#[derive(Debug, Args)]
pub struct CopyArgs {
    /// Strongly consistent scans, at twice the price
    #[arg(long, help_heading = "Copy")]
    pub consistent_read: bool,
    /// Write to a slave that is a replica of the master's own global table
    #[arg(long, help_heading = "Copy")]
    pub allow_global_table: bool,
    /// How the master is scanned.
    #[command(flatten)]
    pub scan: ScanArgs,
    /// The job itself.
    #[command(flatten)]
    pub new_job: NewJobArgs,
    /// How the job's objects are encrypted.
    #[command(flatten)]
    pub encryption: EncryptionArgs,
    /// What the job may take.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Whose credentials are used.
    #[command(flatten)]
    pub credentials: CredentialArgs,
    /// Codes of second factors.
    #[command(flatten)]
    pub mfa: MfaArgs,
}

/// Options of `replicate`.
#[derive(Debug, Args)]
pub struct ReplicateArgs {
    /// The table whose changes are followed: REGION:NAME, REGION/NAME or an ARN
    #[arg(short, long, value_name = "TABLE")]
    pub master: TableRef,
    /// A table that they are applied to; repeatable
    #[arg(
        short,
        long = "slave",
        visible_alias = "slaves",
        value_name = "TABLE",
        required_unless_present = "to_backup"
    )]
    pub slaves: Vec<TableRef>,
    /// Keep each item as an object of its own below this place: s3://BUCKET/PREFIX or a directory
    #[arg(long, value_name = "URL", conflicts_with = "origin_attribute")]
    pub to_backup: Option<String>,

    /// Where to begin: latest, trim-horizon, a time (2026-11-21T10:00:00Z), or the id of a job that stopped
    #[arg(long, value_name = "WHERE", default_value = "trim-horizon", default_value_if("backfill", "true", "latest"), value_parser = from, help_heading = "Stream")]
    pub from: FromArg,
    /// The Kinesis stream of the changes [default: the master's own stream]
    #[arg(long, value_name = "ARN", help_heading = "Stream")]
    pub kinesis: Option<String>,
    /// Copy the master's items first
    #[arg(long, help_heading = "Stream")]
    pub backfill: bool,
    /// With --backfill: leave items alone that a slave has already
    #[arg(long, requires = "backfill", help_heading = "Stream")]
    pub only_missing: bool,
    /// End when all shards are less than this many seconds behind
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "10", value_parser = clap::value_parser!(u32).range(10..=86_400), help_heading = "Stream")]
    pub until_caught_up: Option<u32>,
    /// Compare the tables at the end, without repairing anything
    #[arg(long, requires = "until_caught_up", requires = "slaves", help_heading = "Stream")]
    pub verify: bool,
    /// An attribute that grows with every change of an item (number or string): what is newer on a slave is left alone
    #[arg(long, value_name = "ATTR", help_heading = "Stream")]
    pub version_attribute: Option<String>,
    /// Mark what is written in this attribute, and leave alone what another replication wrote and marked there: for
    /// two tables that follow each other
    #[arg(long, value_name = "ATTR", help_heading = "Stream")]
    pub origin_attribute: Option<String>,
    /// What is copied how.
    #[command(flatten)]
    pub copy: CopyArgs,
}

/// Options of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The plan file, YAML; - is standard input
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
    /// Write to slaves that are replicas of their master's own global table
    #[arg(long, help_heading = "Safety")]
    pub allow_global_table: bool,
    /// The jobs: the ids of all of them begin with that of the run.
    #[command(flatten)]
    pub new_job: NewJobArgs,
    /// How the jobs' objects are encrypted.
    #[command(flatten)]
    pub encryption: EncryptionArgs,
}

/// Where following begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromArg {
    /// With the changes from now on.
    Latest,
    /// With the oldest change there is.
    TrimHorizon,
    /// With the changes from this time on (milliseconds since 1970).
    Time(i64),
    /// Where this job stood.
    Job(String),
}

fn from(text: &str) -> Result<FromArg, String> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(FromArg::Time(time.as_millisecond()));
    }
    match text.to_ascii_lowercase().replace('_', "-").as_str() {
        "latest" => Ok(FromArg::Latest),
        "trim-horizon" => Ok(FromArg::TrimHorizon),
        _ => job_id(text).map(FromArg::Job).map_err(|error| {
            format!("{error}; it is also neither latest, nor trim-horizon, nor a time such as 2026-11-21T10:00:00Z")
        }),
    }
}

/// What a job may take.
#[derive(Clone, Copy, Debug, Args)]
pub struct LimitArgs {
    /// Read units per second of each table, at most, for all workers together; or a share of its provisioned capacity
    #[arg(long, value_name = "N|P%|none", help_heading = "Limits")]
    pub read_capacity: Option<Capacity>,
    /// Write units per second of each table, likewise
    #[arg(long, value_name = "N|P%|none", help_heading = "Limits")]
    pub write_capacity: Option<Capacity>,
    /// Stop before reads and writes have cost more, at the price of tables on demand in US East
    #[arg(long, value_name = "DOLLARS", value_parser = max_cost, help_heading = "Limits")]
    pub max_cost: Option<f64>,
}

/// The tables of a comparison.
#[derive(Debug, Args)]
pub struct TableArgs {
    /// The table that is right: REGION:NAME, REGION/NAME or an ARN
    #[arg(short, long, value_name = "TABLE")]
    pub master: TableRef,
    /// A table to hold against it; repeatable
    #[arg(short, long = "slave", visible_alias = "slaves", value_name = "TABLE", required = true)]
    pub slaves: Vec<TableRef>,
}

/// What is looked for, and what is done about it.
#[derive(Debug, Args)]
pub struct RepairArgs {
    /// Put items that a slave lacks
    #[arg(long, help_heading = "Repair")]
    pub write_missing: bool,
    /// Put items that differ
    #[arg(long, help_heading = "Repair")]
    pub write_differing: bool,
    /// Look for items that only a slave has; `paired` finds them anyway, `lookup` scans each slave once more
    #[arg(long, help_heading = "Repair")]
    pub scan_for_extra: bool,
    /// Delete items that only a slave has; implies --scan-for-extra
    #[arg(long, help_heading = "Repair")]
    pub delete_extra: bool,
    /// Short for --write-missing --write-differing --delete-extra
    #[arg(long, help_heading = "Repair")]
    pub repair: bool,
}

/// How repairs are made safe.
#[derive(Debug, Args)]
pub struct SafetyArgs {
    /// An attribute that grows with every change of an item (number or string): what is newer on a slave is left alone
    #[arg(long, value_name = "ATTR", help_heading = "Repair")]
    pub version_attribute: Option<String>,
    /// After each repair, read the master again and repeat if it moved
    #[arg(long, help_heading = "Repair")]
    pub verify: bool,
    /// Keep what is overwritten or deleted, so that `dynamend undo` can put it back
    #[arg(long, help_heading = "Repair")]
    pub undo: bool,
    /// Write to a slave that is a replica of the master's own global table
    #[arg(long, help_heading = "Repair")]
    pub allow_global_table: bool,
}

/// Options of `estimate`.
#[derive(Debug, Args)]
pub struct EstimateArgs {
    /// The tables.
    #[command(flatten)]
    pub tables: TableArgs,
    /// What would be done about discrepancies.
    #[command(flatten)]
    pub repair: RepairArgs,

    /// Strongly consistent scans, at twice the price
    #[arg(long, help_heading = "Comparison")]
    pub consistent_read: bool,
    /// Only this share of the segments, above 0 and below 1
    #[arg(long, value_name = "FRACTION", help_heading = "Scan")]
    pub sample: Option<Fraction>,

    /// Dollars per million read units [default: on demand in US East, 0.125]
    #[arg(long, value_name = "DOLLARS", value_parser = price, help_heading = "Prices")]
    pub read_price: Option<f64>,
    /// Dollars per million write units [default: on demand in US East, 0.625]
    #[arg(long, value_name = "DOLLARS", value_parser = price, help_heading = "Prices")]
    pub write_price: Option<f64>,
    /// Read units per second that each table gives [default: what it is provisioned for, or 12000 on demand]
    #[arg(long, value_name = "N", value_parser = capacity, help_heading = "Prices")]
    pub read_capacity: Option<f64>,

    /// Whose credentials are used.
    #[command(flatten)]
    pub credentials: CredentialArgs,
    /// Codes of second factors.
    #[command(flatten)]
    pub mfa: MfaArgs,
}

/// Encryption at rest of everything that the job writes to S3, by whomever; for commands that make a job.
#[derive(Debug, Default, Args)]
pub struct EncryptionArgs {
    /// Server-side encryption of the job's objects in S3; AES256 when no kind is named [default: the bucket's]
    #[arg(long, value_name = "KIND", value_enum, num_args = 0..=1, default_missing_value = "AES256", help_heading = "Job")]
    pub sse: Option<SseArg>,
    /// The key in AWS KMS, with --sse aws:kms or aws:kms:dsse [default: the account's aws/s3]
    #[arg(long, value_name = "ID", requires = "sse", help_heading = "Job")]
    pub sse_kms_key_id: Option<String>,
}

/// Kinds of server-side encryption, as S3 names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SseArg {
    /// With keys that S3 manages.
    #[value(name = "AES256")]
    Aes256,
    /// With a key in AWS KMS.
    #[value(name = "aws:kms")]
    Kms,
    /// Twice, with a key in AWS KMS.
    #[value(name = "aws:kms:dsse")]
    KmsTwice,
}

/// Roles, profiles and endpoints, by side.
#[derive(Debug, Default, Args)]
pub struct CredentialArgs {
    /// A role to assume for the master, and for the slaves unless they have their own
    #[arg(long, value_name = "ARN", help_heading = "AWS")]
    pub role_arn: Option<String>,
    /// The external id that the role asks for
    #[arg(long, value_name = "ID", requires = "role_arn", help_heading = "AWS")]
    pub external_id: Option<String>,
    /// A profile for the slaves
    #[arg(long, value_name = "NAME", help_heading = "AWS")]
    pub slave_profile: Option<String>,
    /// A role to assume for the slaves
    #[arg(long, value_name = "ARN", help_heading = "AWS")]
    pub slave_role_arn: Option<String>,
    /// The external id that the slaves' role asks for
    #[arg(long, value_name = "ID", requires = "slave_role_arn", help_heading = "AWS")]
    pub slave_external_id: Option<String>,
    /// The master's endpoint
    #[arg(long, value_name = "URL", help_heading = "AWS")]
    pub master_endpoint_url: Option<String>,
    /// The slaves' endpoint
    #[arg(long, value_name = "URL", help_heading = "AWS")]
    pub slave_endpoint_url: Option<String>,
}

/// Second factors; only for work done in this process.
#[derive(Debug, Default, Args)]
pub struct MfaArgs {
    /// The MFA device for --role-arn; without --mfa-token its code is asked for on the terminal
    #[arg(long, value_name = "ARN", help_heading = "AWS")]
    pub mfa_serial: Option<String>,
    /// The code it shows
    #[arg(long, value_name = "CODE", requires = "mfa_serial", help_heading = "AWS")]
    pub mfa_token: Option<String>,
    /// The MFA device for --slave-role-arn
    #[arg(long, value_name = "ARN", help_heading = "AWS")]
    pub slave_mfa_serial: Option<String>,
    /// The code it shows
    #[arg(long, value_name = "CODE", requires = "slave_mfa_serial", help_heading = "AWS")]
    pub slave_mfa_token: Option<String>,
}

/// Strategies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StrategyArg {
    /// The one that fits the tables.
    Auto,
    /// Scan the same segment of master and slaves side by side, and join them.
    Paired,
    /// Scan the master and look its keys up in the slaves.
    Lookup,
}

/// A number of segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentsArg {
    /// Planned from the table's size.
    Auto,
    /// This many.
    Fixed(u32),
}

/// A job's id.
#[derive(Debug, Args)]
pub struct JobArg {
    /// The job's id
    #[arg(value_name = "JOB", value_parser = job_id)]
    pub job: String,
}

/// Options of `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The job.
    #[command(flatten)]
    pub job: JobArg,
    /// Keep showing it until it ends
    #[arg(long)]
    pub watch: bool,
    /// Exit as the job would
    #[arg(long)]
    pub exit_code: bool,
}

/// Options of `jobs`.
#[derive(Debug, Args)]
pub struct JobsArgs {
    /// Exit as the worst of the jobs would
    #[arg(long)]
    pub exit_code: bool,
}

/// Options of `resume`.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// The job.
    #[command(flatten)]
    pub job: JobArg,
    /// Only these segments: 3,7
    #[arg(long, value_name = "LIST")]
    pub only_segments: Option<SegmentSet>,
    /// Segments worked on at once in this process [default: twice the cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub parallel: Option<u32>,
    /// With --queue: follow the job to its end
    #[arg(long)]
    pub wait: bool,
    /// Codes of second factors.
    #[command(flatten)]
    pub mfa: MfaArgs,
}

/// Options of `undo`.
#[derive(Debug, Args)]
pub struct UndoArgs {
    /// The job.
    #[command(flatten)]
    pub job: JobArg,
    /// Codes of second factors.
    #[command(flatten)]
    pub mfa: MfaArgs,
}

/// Options of `limit`.
#[derive(Debug, Args)]
pub struct LimitJobArgs {
    /// The job.
    #[command(flatten)]
    pub job: JobArg,
    /// Read units per second of each table, a share of its provisioned capacity, or none
    #[arg(long, value_name = "N|P%|none")]
    pub read_capacity: Option<Capacity>,
    /// Write units per second of each table, likewise
    #[arg(long, value_name = "N|P%|none")]
    pub write_capacity: Option<Capacity>,
    /// Dollars that the job may cost from its beginning on, or none
    #[arg(long, value_name = "DOLLARS|none", value_parser = max_cost_or_none)]
    pub max_cost: Option<MaxCost>,
}

/// What a job may cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaxCost {
    /// Dollars.
    Dollars(f64),
    /// Whatever it costs.
    Unlimited,
}

/// Options of `report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The job.
    #[command(flatten)]
    pub job: JobArg,
    /// How the discrepancies are written
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    pub format: ReportFormat,
    /// Exit as the job would
    #[arg(long)]
    pub exit_code: bool,
}

/// How discrepancies are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// A line each, for people.
    Text,
    /// A JSON object each, as in the report parts.
    Jsonl,
    /// A CSV record each, with a header.
    Csv,
}

fn segments(text: &str) -> Result<SegmentsArg, String> {
    if text == "auto" {
        return Ok(SegmentsArg::Auto);
    }
    match text.parse() {
        Ok(n) if (1..=MAX_SEGMENTS).contains(&n) => Ok(SegmentsArg::Fixed(n)),
        _ => Err(format!("a number from 1 to {MAX_SEGMENTS} is expected, or auto")),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("seconds from 0 to 86400 are expected".to_owned()),
    }
}

fn price(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(dollars) if (0.0..=1e6).contains(&dollars) => Ok(dollars),
        _ => Err("dollars per million units are expected, such as 0.125".to_owned()),
    }
}

fn capacity(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(units) if units > 0.0 && units <= 1e9 => Ok(units),
        _ => Err("read units per second are expected, such as 12000".to_owned()),
    }
}

fn max_cost_or_none(text: &str) -> Result<MaxCost, String> {
    if text == "none" { Ok(MaxCost::Unlimited) } else { max_cost(text).map(MaxCost::Dollars) }
}

/// Ids become folder names, on S3 and on disk.
fn job_id(text: &str) -> Result<String, BadJobId> {
    check_job_id(text).map(|()| text.to_owned())
}
