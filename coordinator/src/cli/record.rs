//! The command line of `record`: one item, or some, by their keys.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use shared::domain::key::{KeyAttribute, KeySchema, KeyType};
use shared::domain::table_ref::TableRef;

use super::backup::TableAccessArgs;
use super::{CredentialArgs, MfaArgs, job_id, seconds};

/// Options of `record`.
#[derive(Debug, Args)]
pub struct RecordArgs {
    /// What is done.
    #[command(subcommand)]
    pub command: RecordCommand,
}

/// What is done with single records.
#[derive(Debug, Subcommand)]
pub enum RecordCommand {
    /// Show what two tables hold under a key; exits 0 when it is the same, and 1 when it is not
    Diff(Box<RecordDiffArgs>),
    /// Make the slave's record equal to the master's, by a put or a delete
    Sync(Box<RecordSyncArgs>),
    /// Put the object of a record into an incremental backup, or delete it when the record is gone
    Backup(Box<RecordBackupArgs>),
    /// Show what a table and an incremental backup hold under a key; exits as `record diff` does
    DiffBackup(Box<RecordDiffBackupArgs>),
    /// Show all versions of a record that a versioned bucket keeps, newest first
    History(Box<RecordHistoryArgs>),
}

/// What a job says of itself.
const OF_THE_JOB: [&str; 11] = [
    "master",
    "slave",
    "key",
    "keys_from",
    "role_arn",
    "external_id",
    "slave_profile",
    "slave_role_arn",
    "slave_external_id",
    "master_endpoint_url",
    "slave_endpoint_url",
];

/// Which records of which tables.
#[derive(Debug, Args)]
pub struct RecordsArgs {
    /// The table that is right: REGION:NAME, REGION/NAME or an ARN
    #[arg(value_name = "MASTER", required_unless_present = "from_report")]
    pub master: Option<TableRef>,
    /// The table to hold against it
    #[arg(value_name = "SLAVE", required_unless_present = "from_report")]
    pub slave: Option<TableRef>,
    /// The key, {"id":"abc"} or {"id":{"S":"abc"}}
    #[arg(value_name = "KEY", required_unless_present_any = ["keys_from", "from_report"])]
    pub key: Option<String>,
    /// Take the keys from this file, one per line; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    pub keys_from: Option<PathBuf>,
    /// Take tables, credentials, ignored attributes and keys from a job of the store and its report
    #[arg(long, value_name = "JOB", value_parser = job_id, conflicts_with_all = OF_THE_JOB)]
    pub from_report: Option<String>,
    /// Leave an attribute (lastModified) or a path (meta.updatedAt) out of the comparison; repeatable
    #[arg(long, visible_aliases = ["ignore-att", "ignore-atts"], value_name = "ATTR", help_heading = "Comparison")]
    pub ignore: Vec<String>,
    /// Whose credentials are used.
    #[command(flatten)]
    pub credentials: CredentialArgs,
    /// Codes of second factors.
    #[command(flatten)]
    pub mfa: MfaArgs,
}

/// Whether what differs is looked at again.
#[derive(Clone, Copy, Debug, Args)]
pub struct ConfirmArgs {
    /// A difference counts only if it is still there this many seconds later
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds, help_heading = "Comparison")]
    pub confirm_delay: f64,
    /// Count what the first look finds
    #[arg(long, conflicts_with = "confirm_delay", help_heading = "Comparison")]
    pub no_confirm: bool,
}

/// Options of `record diff`.
#[derive(Debug, Args)]
pub struct RecordDiffArgs {
    /// Which records.
    #[command(flatten)]
    pub records: RecordsArgs,
    /// When they count as different.
    #[command(flatten)]
    pub confirm: ConfirmArgs,
}

/// Options of `record sync`.
#[derive(Debug, Args)]
pub struct RecordSyncArgs {
    /// Which records.
    #[command(flatten)]
    pub records: RecordsArgs,
    /// An attribute that grows with every change of an item (number or string): what is newer on the slave is left alone
    #[arg(long, value_name = "ATTR", help_heading = "Repair")]
    pub version_attribute: Option<String>,
    /// Write to a slave that is a replica of the master's own global table
    #[arg(long, help_heading = "Repair")]
    pub allow_global_table: bool,
}

/// One record of one table, and a backup.
#[derive(Debug, Args)]
pub struct KeptRecordArgs {
    /// The table: REGION:NAME, REGION/NAME or an ARN
    #[arg(value_name = "TABLE")]
    pub table: TableRef,
    /// The incremental backup: s3://BUCKET/PREFIX or a directory; the object is DEST/TABLE/HASH
    #[arg(value_name = "DEST")]
    pub dest: String,
    /// The key, {"id":"abc"} or {"id":{"S":"abc"}}
    #[arg(value_name = "KEY")]
    pub key: String,
    /// Whose credentials are used.
    #[command(flatten)]
    pub access: TableAccessArgs,
}

/// Options of `record backup`.
#[derive(Debug, Args)]
pub struct RecordBackupArgs {
    /// The record.
    #[command(flatten)]
    pub record: KeptRecordArgs,
}

/// Options of `record diff-backup`.
#[derive(Debug, Args)]
pub struct RecordDiffBackupArgs {
    /// The record.
    #[command(flatten)]
    pub record: KeptRecordArgs,
    /// Leave an attribute (lastModified) or a path (meta.updatedAt) out of the comparison; repeatable
    #[arg(long, visible_aliases = ["ignore-att", "ignore-atts"], value_name = "ATTR", help_heading = "Comparison")]
    pub ignore: Vec<String>,
    /// When they count as different.
    #[command(flatten)]
    pub confirm: ConfirmArgs,
}

/// Options of `record history`.
#[derive(Debug, Args)]
pub struct RecordHistoryArgs {
    /// The record.
    #[command(flatten)]
    pub record: KeptRecordArgs,
    /// Show this many versions at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// The table's key attributes and their types, partition key first, for a table that is gone: id:S,at:N
    #[arg(long, value_name = "SCHEMA", value_parser = key_schema)]
    pub key_schema: Option<KeySchema>,
}

pub(super) fn key_schema(text: &str) -> Result<KeySchema, String> {
    let attribute = |part: &str| {
        let (name, kind) = part.rsplit_once(':')?;
        let kind = match kind {
            "S" => KeyType::S,
            "N" => KeyType::N,
            "B" => KeyType::B,
            _ => return None,
        };
        (!name.is_empty()).then(|| KeyAttribute { name: name.to_owned(), kind })
    };
    let attributes: Option<Vec<KeyAttribute>> = text.split(',').map(attribute).collect();
    match attributes.as_deref() {
        Some([partition]) => Ok(KeySchema { partition: partition.clone(), sort: None }),
        Some([partition, sort]) if partition.name != sort.name => {
            Ok(KeySchema { partition: partition.clone(), sort: Some(sort.clone()) })
        }
        _ => Err("one or two attributes with their types S, N or B are expected, such as id:S or id:S,at:N".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_schema_is_read_partition_key_first() {
        assert_eq!(key_schema("id:S").unwrap().to_string(), "id (S)");
        assert_eq!(key_schema("id:S,a:b:N").unwrap().to_string(), "id (S), a:b (N)");
        for text in ["", "id", "id:X", ":S", "id:S,id:N", "id:S,at:N,x:B", "id:S,"] {
            assert!(key_schema(text).is_err(), "{text}");
        }
    }
}
