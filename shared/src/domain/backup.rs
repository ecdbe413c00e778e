//! Backups: where they are, what a job that makes or reads one is told, and what a finished one says of itself.

use serde::{Deserialize, Serialize};

use super::definition::TableDefinition;
use super::encryption::Encryption;
use super::item_line::Layout;
use super::key::KeySchema;
use super::table_ref::TableRef;
use crate::packing::Compression;

/// The version of a backup's manifest that this program reads and writes.
pub const BACKUP_VERSION: u32 = 1;

/// What the `format` of a backup's manifest says.
pub const BACKUP_FORMAT: &str = "dynamend-backup";

/// What the `format` of a folder's marker says.
pub const FOLDER_FORMAT: &str = "dynamend-incremental-backup";

/// The name of the object in a folder of items that tells what the folder is.
pub const MARKER: &str = "_dynamend.json";

/// A store that holds backups: a folder of a bucket, or a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its URL.
    pub url: String,
    /// The bucket's region, if it is another than that of the queue and the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// How what is put there is encrypted; by the bucket's default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
}

/// What a job does that makes a backup.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackupSettings {
    /// Where the backup goes.
    pub to: Place,
    /// How its objects are packed. Items that are objects of their own are never packed.
    #[serde(default)]
    pub compression: Compression,
    /// The table as it is to be made again, as far as it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<TableDefinition>,
    /// The namespace of its metrics, if they are published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric_namespace: Option<String>,
}

/// Where a job reads items that come from no table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceSettings {
    /// The store.
    pub at: Place,
    /// What is in it.
    pub holds: Holds,
}

/// What a source holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Holds {
    /// Files of many items; `files.jsonl.gz` in the job's folder lists them.
    Files {
        /// How many.
        files: u64,
        /// The items in them, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        items: Option<u64>,
    },
    /// Objects of one item each.
    Items {
        /// The time as of which they are read, in milliseconds since 1970; the present without one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        as_of_ms: Option<i64>,
    },
}

/// One file of many items, as a job's list of files names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemFile {
    /// Its key in the source's store.
    pub key: String,
    /// How it is packed.
    pub compression: Compression,
    /// How its lines are written.
    pub layout: Layout,
    /// Its items, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<u64>,
    /// Its size in the store, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_bytes: Option<u64>,
    /// What its content is held against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
}

/// What the content of a file is held against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Checksum {
    /// The SHA-256 of the file as it is stored, in hexadecimal.
    Sha256(String),
    /// Its MD5, likewise.
    Md5(String),
}

/// One finished object of a backup: what a checkpoint names, and the backup's list of objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredObject {
    /// Its key, below the backup's folder.
    pub name: String,
    /// Items in it.
    pub items: u64,
    /// Bytes of its text.
    pub bytes: u64,
    /// Its size.
    pub stored_bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// Of what a backup was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MadeFrom {
    /// A scan of the table. It is no point in time: each item is as it was at some moment between start and end.
    Table,
    /// A folder of one object per item.
    Items,
}

/// `manifest.json` of a finished full backup. Where it is not, there is no backup.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackupManifest {
    /// Always [`BACKUP_FORMAT`].
    pub format: String,
    /// Always [`BACKUP_VERSION`].
    pub version: u32,
    /// The job that made it.
    pub job: String,
    /// Of what it was made.
    pub made_from: MadeFrom,
    /// The table.
    pub table: TableRef,
    /// Its id, where it was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_id: Option<String>,
    /// Its key schema.
    pub key_schema: KeySchema,
    /// The table as it is to be made again, where it was known: the input of `CreateTable`, without the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<TableDefinition>,
    /// When it was begun, as RFC 3339.
    pub started_at: String,
    /// When its last object was finished.
    pub ended_at: String,
    /// The time as of which a folder of items was read, if one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<String>,
    /// How its objects are packed.
    pub compression: Compression,
    /// Items.
    pub items: u64,
    /// Bytes of text.
    pub bytes: u64,
    /// Bytes in the store.
    pub stored_bytes: u64,
    /// Objects.
    pub objects: u64,
    /// The list of the objects: a [`StoredObject`] per line, gzip-compressed.
    pub list: ObjectList,
}

/// Where a backup's list of objects is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectList {
    /// Its key, below the backup's folder.
    pub name: String,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// The marker of a folder of items.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FolderMarker {
    /// Always [`FOLDER_FORMAT`].
    pub format: String,
    /// Always [`BACKUP_VERSION`].
    pub version: u32,
    /// How objects are named, in words.
    pub names: String,
    /// The table.
    pub table: TableRef,
    /// Its key schema.
    pub key_schema: KeySchema,
    /// The table as it is to be made again: the input of `CreateTable`, without the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<TableDefinition>,
}

/// How [`super::item_object::name`] makes the names, as a marker says it.
pub const NAMES: &str =
    "SHA-256, in hexadecimal, of the key as compact DynamoDB JSON, partition key first: {\"id\":{\"S\":\"a\"}}";

/// What was done with the items of backups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupTally {
    /// Items that were put into the backup.
    pub items: u64,
    /// Bytes of their text.
    pub bytes: u64,
    /// Bytes of it in the store.
    pub stored_bytes: u64,
    /// Objects.
    pub objects: u64,
    /// Lines and objects without anything in them.
    pub blank: u64,
    /// Objects in a folder of items that are none of it.
    pub foreign: u64,
    /// Objects that were listed and not there any more when they were read.
    pub vanished: u64,
    /// Objects of items that another object holds later, under another name.
    pub superseded: u64,
    /// Objects that have the name of an item and hold none. Whatever it was, it is lost.
    pub damaged: u64,
}

impl BackupTally {
    /// Whether nothing was counted.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// Lines and objects that were met and left out.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.blank + self.foreign + self.vanished + self.superseded + self.damaged
    }

    /// Adds another tally.
    pub fn add(&mut self, other: &Self) {
        let Self { items, bytes, stored_bytes, objects, blank, foreign, vanished, superseded, damaged } = *other;
        self.items += items;
        self.bytes += bytes;
        self.stored_bytes += stored_bytes;
        self.objects += objects;
        self.blank += blank;
        self.foreign += foreign;
        self.vanished += vanished;
        self.superseded += superseded;
        self.damaged += damaged;
    }
}

/// A backup, or where one is read, as a job's summary tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupSummary {
    /// Where it is.
    pub at: String,
    /// What was counted.
    #[serde(flatten)]
    pub counted: BackupTally,
}
