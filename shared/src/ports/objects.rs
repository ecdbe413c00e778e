//! The port to a store of small objects with conditional writes: S3, or a directory.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use super::failure::{Failure, FailureKind};
use crate::domain::encryption::Encryption;

/// Names one version of an object; equal versions have equal content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(pub String);

/// When a put may replace what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutMode {
    /// Only when nothing is there.
    Create,
    /// Only when this version is there.
    ReplaceIf(Version),
    /// Always.
    Overwrite,
}

/// An object as it was read.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its content.
    pub body: Bytes,
    /// Its version.
    pub version: Version,
    /// When it was put, by the store's clock.
    pub modified: Timestamp,
    /// When it was read, by the store's clock: the only clock that leases are judged by.
    pub read_at: Timestamp,
}

/// An object in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: String,
    /// When it was put, by the store's clock.
    pub modified: Timestamp,
}

/// What a listing found.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The objects, sorted by their keys.
    pub objects: Vec<Listed>,
    /// When they were listed, by the store's clock.
    pub read_at: Timestamp,
}

/// A store of objects. Keys are paths with `/`, relative to the store's root.
///
/// A put is atomic and lasting: once it returns, a reader sees all of it, also after a crash of the machine (S3) or of
/// the program (directory: of the machine too, as far as its file system keeps what was synced).
#[async_trait]
pub trait ObjectStore: Send + Sync {
    /// The URL of an object, as it is written in messages and shown to people.
    fn url(&self, key: &str) -> String;

    /// Puts an object; `Conflict` when the mode's condition does not hold, and then nothing is changed.
    ///
    /// Of several racing puts with a condition at most one succeeds. After a passing failure it may have been made.
    async fn put(&self, key: &str, body: Bytes, mode: PutMode) -> Result<Version, Failure>;

    /// Reads an object, if it is there.
    async fn get(&self, key: &str) -> Result<Option<Object>, Failure>;

    /// Deletes an object; deleting what is not there is a success.
    async fn delete(&self, key: &str) -> Result<(), Failure>;

    /// The same store, encrypting what is put as asked; `Invalid` for one that cannot.
    fn encrypting(&self, encryption: &Encryption) -> Result<Arc<dyn ObjectStore>, Failure> {
        let message = format!("only S3 encrypts with {}", encryption.name());
        Err(Failure { kind: FailureKind::Invalid, operation: "Encrypt", resource: self.url(""), message })
    }

    /// The names of the folders right below `prefix` (which ends in `/`), sorted.
    async fn folders(&self, prefix: &str) -> Result<Vec<String>, Failure>;

    /// All objects below `prefix` (which ends in `/`), however deep. Every put and delete that had returned before shows.
    async fn list(&self, prefix: &str) -> Result<Listing, Failure>;
}
