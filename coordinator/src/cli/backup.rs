//! The command line of `backup` and `restore`.

use clap::{Args, Subcommand, ValueEnum};
use shared::domain::key::KeySchema;
use shared::domain::table_ref::TableRef;
use shared::telemetry::metrics::{BadNamespace, Namespace};

use super::record::key_schema;
use super::{EncryptionArgs, LimitArgs, NewJobArgs, ScanArgs, SegmentsArg, segments};

/// Options of `backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// What is made.
    #[command(subcommand)]
    pub command: BackupCommand,
}

/// Kinds of backups.
#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Put all items of a table into files of DynamoDB JSON, readable by `restore` and by DynamoDB's ImportTable
    Full(Box<FullArgs>),
    /// Put each item of a table into an object of its own; `replicate --to-backup` keeps them up to date
    Incremental(Box<IncrementalArgs>),
    /// Fold a folder of one object per item into a full backup
    Snapshot(Box<SnapshotArgs>),
}

/// Options of `backup full`.
#[derive(Debug, Args)]
pub struct FullArgs {
    /// The table and the place.
    #[command(flatten)]
    pub of: OfTableArgs,
    /// How files are packed.
    #[command(flatten)]
    pub packing: PackingArgs,
}

/// Options of `backup incremental`.
#[derive(Debug, Args)]
pub struct IncrementalArgs {
    /// The table and the place.
    #[command(flatten)]
    pub of: OfTableArgs,
}

/// A table that is backed up.
#[derive(Debug, Args)]
pub struct OfTableArgs {
    /// The table: REGION:NAME, REGION/NAME or an ARN
    #[arg(value_name = "TABLE")]
    pub table: TableRef,
    /// Where the backup goes: s3://BUCKET/PREFIX or a directory. A full backup gets the folder DEST/JOB, items of an
    /// incremental one the folder DEST/TABLE
    #[arg(value_name = "DEST")]
    pub dest: String,
    /// The region of DEST's bucket [default: --region]
    #[arg(long, value_name = "REGION", help_heading = "AWS")]
    pub backup_region: Option<String>,
    /// Strongly consistent scans, at twice the price
    #[arg(long, help_heading = "Scan")]
    pub consistent_read: bool,
    /// How the table is scanned.
    #[command(flatten)]
    pub scan: ScanArgs,
    /// Publish BackupSize, BackupRecordCount and BackupErrors of the table in this namespace, as lines of CloudWatch's
    /// embedded metric format in the log
    #[arg(long, value_name = "NAMESPACE", value_parser = namespace, help_heading = "Output")]
    pub metric_namespace: Option<String>,
    /// The job itself.
    #[command(flatten)]
    pub new_job: NewJobArgs,
    /// How the backup's and the job's objects are encrypted.
    #[command(flatten)]
    pub encryption: EncryptionArgs,
    /// What the job may take.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Whose credentials are used.
    #[command(flatten)]
    pub access: TableAccessArgs,
}

/// Options of `backup snapshot`.
#[derive(Debug, Args)]
pub struct SnapshotArgs {
    /// The folder of one object per item, dynamend's or mapbox's: s3://BUCKET/PREFIX/TABLE or a directory
    #[arg(value_name = "SRC")]
    pub src: String,
    /// Where the full backup goes: s3://BUCKET/PREFIX or a directory; it gets the folder DEST/JOB
    #[arg(value_name = "DEST")]
    pub dest: String,
    /// Read the folder as it was at this time (2026-11-21T10:00:00Z), from a bucket with versioning
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub as_of: Option<i64>,
    /// The table's key attributes and their types, partition key first, for a folder that does not tell: id:S,at:N
    #[arg(long, value_name = "SCHEMA", value_parser = key_schema)]
    pub key_schema: Option<KeySchema>,
    /// The regions of the buckets.
    #[command(flatten)]
    pub regions: RegionArgs,
    /// How the work is cut.
    #[command(flatten)]
    pub cut: CutArgs,
    /// How files are packed.
    #[command(flatten)]
    pub packing: PackingArgs,
    /// Publish BackupSize, BackupRecordCount and BackupErrors of the table in this namespace, as lines of CloudWatch's
    /// embedded metric format in the log
    #[arg(long, value_name = "NAMESPACE", value_parser = namespace, help_heading = "Output")]
    pub metric_namespace: Option<String>,
    /// The job itself.
    #[command(flatten)]
    pub new_job: NewJobArgs,
    /// How the backup's and the job's objects are encrypted.
    #[command(flatten)]
    pub encryption: EncryptionArgs,
}

/// Options of `restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The backup: the folder DEST/JOB of a full one, the folder of an incremental one, the folder of an export of
    /// DynamoDB's own (…/AWSDynamoDB/ID), or a folder of mapbox's backup-table
    #[arg(value_name = "SRC")]
    pub src: String,
    /// The table to restore into: REGION:NAME, REGION/NAME or an ARN
    #[arg(value_name = "TABLE")]
    pub table: TableRef,
    /// Create the table as the backup says, if there is none
    #[arg(long)]
    pub create: bool,
    /// Overwrite items that the table has already; those that are not in the backup stay
    #[arg(long, conflicts_with = "only_missing")]
    pub overwrite: bool,
    /// Leave items alone that the table has already
    #[arg(long)]
    pub only_missing: bool,
    /// Restore an incremental backup as it was at this time (2026-11-21T10:00:00Z), from a bucket with versioning
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub as_of: Option<i64>,
    /// Hold the table against the backup at the end
    #[arg(long)]
    pub verify: bool,
    /// The region of SRC's bucket [default: --region]
    #[arg(long, value_name = "REGION", help_heading = "AWS")]
    pub backup_region: Option<String>,
    /// How the work is cut.
    #[command(flatten)]
    pub cut: CutArgs,
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
    pub access: TableAccessArgs,
}

/// How a full backup is packed.
#[derive(Debug, Args)]
pub struct PackingArgs {
    /// How the backup's files are compressed
    #[arg(long, value_enum, default_value_t = CompressionArg::Gzip)]
    pub compression: CompressionArg,
}

/// Kinds of compression; ImportTable reads all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompressionArg {
    /// gzip.
    Gzip,
    /// Zstandard: smaller, and several times as fast.
    Zstd,
    /// None.
    None,
}

/// Where the buckets of a snapshot are.
#[derive(Debug, Args)]
pub struct RegionArgs {
    /// The region of SRC's bucket [default: --region]
    #[arg(long, value_name = "REGION", help_heading = "AWS")]
    pub source_region: Option<String>,
    /// The region of DEST's bucket [default: --region]
    #[arg(long, value_name = "REGION", help_heading = "AWS")]
    pub backup_region: Option<String>,
}

/// How work on a backup is cut, and how patient it is.
#[derive(Debug, Args)]
pub struct CutArgs {
    /// Parts that the backup is read in, 1 to 1000000, or auto: one per file, and 64 of a folder of items
    #[arg(long, value_name = "N|auto", value_parser = segments, help_heading = "Work")]
    pub segments: Option<SegmentsArg>,
    /// Parts worked on at once in this process [default: twice the cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024), help_heading = "Work")]
    pub parallel: Option<u32>,
    /// Times a request is tried again
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=1000), help_heading = "Work")]
    pub max_retries: u32,
    /// Base of the exponential delay between tries, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=60_000), help_heading = "Work")]
    pub retry_delay_base: u64,
}

/// Whose credentials reach a single table.
#[derive(Debug, Default, Args)]
pub struct TableAccessArgs {
    /// A role to assume for the table
    #[arg(long, value_name = "ARN", help_heading = "AWS")]
    pub role_arn: Option<String>,
    /// The external id that the role asks for
    #[arg(long, value_name = "ID", requires = "role_arn", help_heading = "AWS")]
    pub external_id: Option<String>,
    /// The MFA device for --role-arn; without --mfa-token its code is asked for on the terminal
    #[arg(long, value_name = "ARN", help_heading = "AWS")]
    pub mfa_serial: Option<String>,
    /// The code it shows
    #[arg(long, value_name = "CODE", requires = "mfa_serial", help_heading = "AWS")]
    pub mfa_token: Option<String>,
}

fn namespace(text: &str) -> Result<String, BadNamespace> {
    text.parse::<Namespace>().map(|_| text.to_owned())
}

/// A time that has passed, in milliseconds since 1970. What is read as of one to come is not always the same.
fn time(text: &str) -> Result<i64, String> {
    let time: jiff::Timestamp =
        text.parse().map_err(|_| "a time such as 2026-11-21T10:00:00Z is expected".to_owned())?;
    if time > jiff::Timestamp::now() { Err("it is still to come".to_owned()) } else { Ok(time.as_millisecond()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_come_is_no_time_to_go_back_to() {
        assert_eq!(time("1970-01-01T00:00:01Z"), Ok(1000));
        assert!(time("9999-01-01T00:00:00Z").is_err() && time("yesterday").is_err());
    }
}
