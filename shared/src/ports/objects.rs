//! The port to a store of small objects with conditional writes: S3, or a directory.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;

use super::failure::{Failure, FailureKind};
use super::uploads::{Buffered, Upload};
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

/// A page of a listing.
#[derive(Clone, Debug, Default)]
pub struct ListPage {
    /// The objects, sorted by their keys as bytes.
    pub objects: Vec<Listed>,
    /// Whether there are more behind the last of them.
    pub more: More,
}

/// Whether a listing goes on behind a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum More {
    /// It ends with the page.
    #[default]
    No,
    /// It goes on behind this place, which only the listing that said so understands.
    After(String),
}

/// One version of an object, as a versioned store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The object's key.
    pub key: String,
    /// The version's id in the store; what is no version of its own, where none are kept, is `null` as in S3.
    pub id: String,
    /// When it was put, or deleted, by the store's clock.
    pub modified: Timestamp,
    /// What it is.
    pub what: KeptKind,
}

/// What a version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptKind {
    /// Content.
    Content,
    /// A mark that the object was deleted.
    Deletion,
}

/// A page of a listing of versions.
#[derive(Clone, Debug, Default)]
pub struct KeptPage {
    /// The versions, sorted by their keys as bytes, and those of one key from the newest to the oldest.
    pub versions: Vec<Kept>,
    /// Whether there are more behind the last of them; the versions of one key may go on there.
    pub more: More,
}

/// Some bytes of an object.
#[derive(Clone, Debug)]
pub struct Slice {
    /// The bytes; fewer than asked for only at the object's end.
    pub body: Bytes,
    /// How many bytes the whole object has.
    pub size: u64,
    /// Names the content that they are of, for the next [`ObjectStore::slice`] of the same object and nothing else.
    pub content: Version,
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

    /// Some of the objects that [`ObjectStore::list`] lists: those behind a place in it, as many as one request gives.
    ///
    /// `after` is a key below the prefix, which need not exist, or what a page before said of [`More::After`].
    async fn list_page(&self, prefix: &str, after: Option<&str>) -> Result<ListPage, Failure> {
        let all = self.list(prefix).await?.objects;
        let objects = all.into_iter().filter(|listed| after.is_none_or(|after| listed.key.as_str() > after)).collect();
        Ok(ListPage { objects, more: More::No })
    }

    /// Some of the versions that the store keeps of the objects below `prefix`, deleted ones included, behind a place.
    ///
    /// `after` is as for [`ObjectStore::list_page`]; a key stands for all its versions. A store that keeps no versions
    /// lists its objects, each as its only version.
    async fn list_versions(&self, prefix: &str, after: Option<&str>) -> Result<KeptPage, Failure> {
        let ListPage { objects, more } = self.list_page(prefix, after).await?;
        let only =
            |Listed { key, modified }| Kept { key, id: NO_VERSION.to_owned(), modified, what: KeptKind::Content };
        Ok(KeptPage { versions: objects.into_iter().map(only).collect(), more })
    }

    /// Reads one version of an object, by the id that [`ObjectStore::list_versions`] gave, if it is there.
    async fn get_version(&self, key: &str, id: &str) -> Result<Option<Object>, Failure> {
        if id == NO_VERSION {
            return self.get(key).await;
        }
        Ok(None)
    }

    /// Whether the store keeps what is overwritten and deleted.
    async fn keeps_versions(&self) -> Result<bool, Failure> {
        Ok(false)
    }

    /// Reads at most `most` bytes of an object from one on, if it is there.
    ///
    /// With `content`, of a slice before, `Conflict` when the object is another by now.
    async fn slice(
        &self,
        key: &str,
        from: u64,
        most: u64,
        content: Option<&Version>,
    ) -> Result<Option<Slice>, Failure> {
        let Some(Object { body, version, .. }) = self.get(key).await? else { return Ok(None) };
        if content.is_some_and(|content| *content != version) {
            return Err(Failure {
                kind: FailureKind::Conflict,
                operation: "Get",
                resource: self.url(key),
                message: "the object changed while it was read".to_owned(),
            });
        }
        let size = body.len();
        let from = usize::try_from(from).unwrap_or(size).min(size);
        let to = usize::try_from(most).map_or(size, |most| from.saturating_add(most)).min(size);
        Ok(Some(Slice { body: body.slice(from..to), size: size as u64, content: version }))
    }

    /// Begins an object that is put bit by bit. Nothing of it shows before it is complete.
    async fn upload(&self, key: &str) -> Result<Box<dyn Upload + '_>, Failure> {
        Ok(Box::new(Buffered::new(self, key)))
    }
}

/// The id of the only version of an object, where no versions are kept.
///
/// Source: Amazon S3 User Guide, "Working with objects in a versioning-suspended bucket".
pub const NO_VERSION: &str = "null";
