//! What a place holds that something is to be restored from: it is looked at, and nobody has to say.
//!
//! - `manifest.json` of dynamend's: a full backup.
//! - `manifest-summary.json`: an export of DynamoDB's own.
//! - the marker, or objects with the names of items: one object per item.
//! - other objects: files of items, as mapbox's `backup-table` writes them.

use bytes::Bytes;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use shared::domain::backup::{
    BACKUP_FORMAT, BACKUP_VERSION, BackupManifest, Checksum, FOLDER_FORMAT, FolderMarker, ItemFile, MARKER,
    StoredObject,
};
use shared::domain::export::{BadExport, Export, ExportFile, FILES, SUMMARY};
use shared::domain::item_line::Layout;
use shared::domain::item_object::hex;
use shared::journal::unpack;
use shared::packing::Compression;
use shared::ports::failure::Failure;
use shared::ports::objects::{Kept, KeptKind, KeptPage, ListPage, More, ObjectStore};
use shared::retry::{self, RetryPolicy};

use crate::finishing;
use crate::jobs::transfer::DATA;
use crate::plan::CannotPlan;
use crate::source::items::{is_hash, just_before};

/// Most files of a folder without a manifest. Each is looked at.
const MOST_FILES: usize = 100_000;

/// Files that are looked at at once.
const LOOKS_AT_ONCE: usize = 32;

/// What a place holds.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    /// A full backup of dynamend's.
    Backup {
        /// What it says of itself.
        manifest: Box<BackupManifest>,
        /// Its objects.
        files: Vec<ItemFile>,
    },
    /// Files of items of another kind.
    Files {
        /// The files.
        files: Vec<ItemFile>,
        /// The items in them, where that is known.
        items: Option<u64>,
    },
    /// One object per item.
    Items {
        /// What the folder says of itself, where dynamend made it.
        marker: Option<Box<FolderMarker>>,
    },
}

/// Looks what a place holds. Where it is read as of a time, a folder of items is one also when all of it was deleted since.
///
/// # Errors
/// `BadSource`, when it is nothing that can be restored from; the store's.
pub(crate) async fn find(store: &dyn ObjectStore, as_of_ms: Option<i64>) -> Result<Found, CannotPlan> {
    let bad = |why: String| CannotPlan::BadSource { url: store.url("").trim_end_matches('/').to_owned(), why };
    if let Some(body) = get(store, finishing::MANIFEST).await? {
        let manifest: BackupManifest =
            known(&body, BACKUP_FORMAT).map_err(|what| bad(format!("has a manifest.json that {what}")))?;
        let files = files_of(store, &manifest).await?;
        return Ok(Found::Backup { manifest: Box::new(manifest), files });
    }
    if let Some(body) = get(store, SUMMARY).await? {
        return export(store, &body).await;
    }
    let marker = match get(store, MARKER).await? {
        None if as_of_ms.is_some() => deleted_marker(store).await?,
        there => there,
    };
    if let Some(body) = marker {
        let marker: FolderMarker =
            known(&body, FOLDER_FORMAT).map_err(|what| bad(format!("has a {MARKER} that {what}")))?;
        return Ok(Found::Items { marker: Some(Box::new(marker)) });
    }
    let ListPage { objects, .. } = page(store, None).await?;
    if objects.iter().any(|listed| is_hash(&listed.key)) {
        return Ok(Found::Items { marker: None });
    }
    if objects.is_empty() && as_of_ms.is_some() && had_items(store).await? {
        return Ok(Found::Items { marker: None });
    }
    if objects.iter().any(|listed| listed.key.starts_with(DATA)) {
        return Err(bad(format!(
            "has objects of a backup in {DATA} and no manifest.json: the backup was not finished; `dynamend resume` its job"
        )));
    }
    if let Some(inner) = objects.iter().find_map(|listed| Some(listed.key.split_once('/')?.0)) {
        return Err(bad(format!("holds no backup itself; name a folder in it, such as {}", store.url(inner))));
    }
    if objects.is_empty() {
        return Err(bad("holds nothing".to_owned()));
    }
    foreign_files(store).await
}

/// The newest content that the marker had, where the store keeps what is deleted.
async fn deleted_marker(store: &dyn ObjectStore) -> Result<Option<Bytes>, Failure> {
    let policy = RetryPolicy::default();
    let mut after = just_before(MARKER);
    loop {
        let KeptPage { versions, more } = retry::call(policy, || store.list_versions("", Some(&after))).await?;
        for Kept { key, id, what, .. } in versions {
            if key != MARKER {
                return Ok(None);
            }
            if what == KeptKind::Content {
                return Ok(retry::call(policy, || store.get_version(MARKER, &id)).await?.map(|object| object.body));
            }
        }
        match more {
            More::No => return Ok(None),
            More::After(place) => after = place,
        }
    }
}

/// Whether something was deleted that had the name of an item.
async fn had_items(store: &dyn ObjectStore) -> Result<bool, Failure> {
    let KeptPage { versions, .. } = retry::call(RetryPolicy::default(), || store.list_versions("", None)).await?;
    Ok(versions.iter().any(|kept| is_hash(&kept.key)))
}

/// The objects of a full backup, as its list names them.
async fn files_of(store: &dyn ObjectStore, manifest: &BackupManifest) -> Result<Vec<ItemFile>, CannotPlan> {
    let name = &manifest.list.name;
    let damaged = |why: &str| CannotPlan::BadSource { url: store.url(name), why: why.to_owned() };
    let body = get(store, name).await?.ok_or_else(|| damaged("is gone, and the backup is not whole without it"))?;
    if hex(&Sha256::digest(&body)) != manifest.list.sha256 {
        return Err(damaged("has another SHA-256 than the backup's manifest.json says: it was cut off or changed"));
    }
    let objects: Vec<StoredObject> = unpack(&body).map_err(|error| damaged(&format!("cannot be read: {error}")))?;
    let file = |object: StoredObject| ItemFile {
        key: object.name,
        compression: manifest.compression,
        layout: Layout::Wrapped,
        items: Some(object.items),
        stored_bytes: Some(object.stored_bytes),
        checksum: Some(Checksum::Sha256(object.sha256)),
    };
    Ok(objects.into_iter().map(file).collect())
}

/// The files of an export of DynamoDB's own, wherever it was copied.
async fn export(store: &dyn ObjectStore, summary: &Bytes) -> Result<Found, CannotPlan> {
    let bad = |why: String| CannotPlan::BadSource { url: store.url("").trim_end_matches('/').to_owned(), why };
    let unreadable = |error: BadExport| bad(format!("cannot be restored from: {error}"));
    let export = Export::read(summary).map_err(unreadable)?;
    let list = get(store, FILES).await?.ok_or_else(|| bad(format!("has a {SUMMARY} and no {FILES}")))?;
    let listed = export.files(&list).map_err(unreadable)?;
    let looks = listed.into_iter().map(|file| look_for(store, &export, file));
    let files = stream::iter(looks).buffered(LOOKS_AT_ONCE).try_collect().await?;
    Ok(Found::Files { files, items: Some(export.item_count) })
}

/// A file of an export, where it is now.
async fn look_for(store: &dyn ObjectStore, export: &Export, file: ExportFile) -> Result<ItemFile, CannotPlan> {
    for place in export.places(&file) {
        if retry::call(RetryPolicy::default(), || store.slice(&place, 0, 1, None)).await?.is_some() {
            return Ok(ItemFile {
                key: place,
                compression: Compression::Gzip,
                layout: Layout::Wrapped,
                items: Some(file.item_count),
                // The manifest does not say; and a file that is damaged now may be put right, and the job resumed.
                stored_bytes: None,
                checksum: Some(Checksum::Md5(hex(&file.md5))),
            });
        }
    }
    let url = store.url("").trim_end_matches('/').to_owned();
    Err(CannotPlan::BadSource { url, why: format!("lacks the file {} that its {FILES} names", file.key) })
}

/// Files of which nothing is known but what they begin with.
async fn foreign_files(store: &dyn ObjectStore) -> Result<Found, CannotPlan> {
    let mut files = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let ListPage { objects, more } = page(store, after.as_deref()).await?;
        let looks = objects.into_iter().map(|listed| foreign_file(store, listed.key));
        let looks: Vec<Option<ItemFile>> = stream::iter(looks).buffered(LOOKS_AT_ONCE).try_collect().await?;
        files.extend(looks.into_iter().flatten());
        if files.len() > MOST_FILES {
            let (url, why) = (store.url(""), format!("holds more than {MOST_FILES} files, and none that lists them"));
            return Err(CannotPlan::BadSource { url, why });
        }
        match more {
            // Nobody's backup of an empty table is an empty file: at the least it is packed.
            More::No if files.is_empty() => {
                let url = store.url("").trim_end_matches('/').to_owned();
                return Err(CannotPlan::BadSource { url, why: "holds nothing but empty files".to_owned() });
            }
            More::No => return Ok(Found::Files { files, items: None }),
            More::After(place) => after = Some(place),
        }
    }
}

/// A file of items, by what it begins with; none when it is empty.
async fn foreign_file(store: &dyn ObjectStore, key: String) -> Result<Option<ItemFile>, CannotPlan> {
    let first = retry::call(RetryPolicy::default(), || store.slice(&key, 0, 4, None)).await?;
    let Some(first) = first.filter(|first| first.size > 0) else { return Ok(None) };
    let compression = of_magic(&first.body);
    if compression == Compression::None && first.body.first() != Some(&b'{') {
        let why = "is no file of items: it is neither JSON lines nor packed with gzip or Zstandard".to_owned();
        return Err(CannotPlan::BadSource { url: store.url(&key), why });
    }
    let (layout, items, checksum) = (Layout::Unknown, None, None);
    Ok(Some(ItemFile { key, compression, layout, items, stored_bytes: Some(first.size), checksum }))
}

async fn get(store: &dyn ObjectStore, key: &str) -> Result<Option<Bytes>, Failure> {
    Ok(retry::call(RetryPolicy::default(), || store.get(key)).await?.map(|object| object.body))
}

async fn page(store: &dyn ObjectStore, after: Option<&str>) -> Result<ListPage, Failure> {
    retry::call(RetryPolicy::default(), || store.list_page("", after)).await
}

/// Reads what one of our own objects says of itself; says what is wrong with any other.
fn known<T: DeserializeOwned>(body: &[u8], format: &str) -> Result<T, String> {
    let json: serde_json::Value = serde_json::from_slice(body).map_err(|error| format!("is not JSON: {error}"))?;
    if json.get("format").and_then(serde_json::Value::as_str) != Some(format) {
        return Err("is none of dynamend's".to_owned());
    }
    match json.get("version").and_then(serde_json::Value::as_u64) {
        Some(version) if version == u64::from(BACKUP_VERSION) => {}
        version => {
            let version = version.map_or_else(|| "no version".to_owned(), |version| format!("version {version}"));
            return Err(format!("has {version}, and this program understands version {BACKUP_VERSION}"));
        }
    }
    serde_json::from_value(json).map_err(|error| format!("cannot be read: {error}"))
}

/// How a file is packed, by its first bytes.
///
/// Source: RFC 1952 (gzip), section 2.3.1; RFC 8878 (Zstandard), section 3.1.1.
fn of_magic(first: &[u8]) -> Compression {
    match first {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        _ => Compression::None,
    }
}
