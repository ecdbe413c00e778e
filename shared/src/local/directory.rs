//! A directory as an object store, with the promises of S3: whole objects, lasting puts, one winner of a race.
//!
//! A put writes a hidden file beside its target, syncs it, renames it over the target and syncs the folder, so that a
//! reader, who takes no lock, finds the old object or the new one. Puts and deletes of a key exclude each other, also
//! between processes, through a locked file under `.locks`; the kernel lets go of it when its holder dies. A crash
//! leaves at most one hidden file per key, which the next put of that key overwrites.
//!
//! Unlike in S3, `a` and `a/b` cannot both be objects, and no part of a key begins with a dot.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Component, Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use url::Url;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::ports::failure::{Failure, FailureKind};
use crate::ports::objects::{Object, ObjectStore, PutMode, Version};

/// Where the lock files are, below the root.
const LOCKS: &str = ".locks";

/// How many lock files there are; keys that share one only wait for each other.
const STRIPES: u64 = 64;

/// A store of objects in a directory of this machine.
#[derive(Clone, Debug)]
pub struct DirectoryStore {
    root: PathBuf,
}

impl DirectoryStore {
    /// Opens the store below `root`, which is made by the first put when it is not there.
    ///
    /// # Errors
    /// `Invalid` when `root` is something else than a directory, `Denied` when it cannot be looked at.
    pub fn open(root: PathBuf) -> Result<Self, Failure> {
        let call = Call { operation: "Open", resource: format!("directory `{}`", root.display()) };
        let root = std::path::absolute(&root).map_err(call.failed(&root))?;
        match fs::metadata(&root) {
            Ok(found) if found.is_dir() => Ok(Self { root }),
            Ok(_) => Err(call.refused(FailureKind::Invalid, format!("{} is not a directory", root.display()))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self { root }),
            Err(error) => Err(call.failed(&root)(error)),
        }
    }

    fn file(&self, operation: &'static str, key: &str) -> Result<ObjectFile, Failure> {
        let call = Call { operation, resource: format!("object `{key}`") };
        let path = below(&self.root, key)
            .ok_or_else(|| call.refused(FailureKind::Invalid, "this is no key of a directory store".to_owned()))?;
        let stripe = xxh3_64(key.as_bytes()) % STRIPES;
        let lock = self.root.join(LOCKS).join(format!("{stripe:02}"));
        Ok(ObjectFile { call, path, lock })
    }
}

#[async_trait]
impl ObjectStore for DirectoryStore {
    fn url(&self, key: &str) -> String {
        match Url::from_directory_path(&self.root) {
            Ok(mut url) => {
                if let Ok(mut segments) = url.path_segments_mut() {
                    segments.pop_if_empty().extend(key.split('/'));
                }
                url.into()
            }
            // Only a relative path has no URL, and the root is absolute.
            Err(()) => format!("file://{}/{key}", self.root.display()),
        }
    }

    async fn put(&self, key: &str, body: Bytes, mode: PutMode) -> Result<Version, Failure> {
        let file = self.file("Put", key)?;
        blocking(file, move |file| file.put(&body, &mode)).await
    }

    async fn get(&self, key: &str) -> Result<Option<Object>, Failure> {
        blocking(self.file("Get", key)?, ObjectFile::get).await
    }

    async fn delete(&self, key: &str) -> Result<(), Failure> {
        blocking(self.file("Delete", key)?, ObjectFile::delete).await
    }

    async fn folders(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let call = Call { operation: "List", resource: format!("folder `{prefix}`") };
        let folder = match prefix.strip_suffix('/') {
            Some(key) => below(&self.root, key),
            None => prefix.is_empty().then(|| self.root.clone()),
        };
        let path = folder.ok_or_else(|| call.refused(FailureKind::Invalid, "this is no prefix of keys".to_owned()))?;
        let lock = PathBuf::new();
        blocking(ObjectFile { call, path, lock }, |folder| {
            folders_with_objects(&folder.path).map_err(folder.call.failed(&folder.path))
        })
        .await
    }
}

/// The path of a key, if the key has one that stays below the root and clear of the hidden files.
fn below(root: &Path, key: &str) -> Option<PathBuf> {
    let is_name = |part: &str| {
        let mut components = Path::new(part).components();
        matches!(components.next(), Some(Component::Normal(name)) if name == part) && components.next().is_none()
    };
    let fits = key.split('/').all(|part| is_name(part) && !part.starts_with('.') && !part.contains(['\0', '\\']));
    fits.then(|| root.join(key))
}

async fn blocking<T: Send + 'static>(
    file: ObjectFile,
    work: impl FnOnce(&ObjectFile) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let call = file.call.clone();
    tokio::task::spawn_blocking(move || work(&file))
        .await
        .unwrap_or_else(|error| Err(call.refused(FailureKind::Unavailable, format!("the work did not end: {error}"))))
}

/// One call on one object: where its file is, and how a failure is told.
struct ObjectFile {
    call: Call,
    path: PathBuf,
    lock: PathBuf,
}

impl ObjectFile {
    fn put(&self, body: &[u8], mode: &PutMode) -> Result<Version, Failure> {
        let folder = self.folder();
        make_folder(folder).map_err(self.call.failed(folder))?;
        let _held = self.exclude_others()?;
        self.check(mode)?;
        let beside = self.beside();
        write_synced(&beside, body).map_err(|error| {
            // What could not be written must not keep the disk full.
            let _ = fs::remove_file(&beside);
            self.call.failed(&beside)(error)
        })?;
        fs::rename(&beside, &self.path).map_err(self.call.failed(&self.path))?;
        sync_folder(folder).map_err(self.call.failed(folder))?;
        Ok(version_of(body))
    }

    fn get(&self) -> Result<Option<Object>, Failure> {
        let failed = self.call.failed(&self.path);
        let Some(mut file) = found(File::open(&self.path)).map_err(&failed)? else { return Ok(None) };
        let about = file.metadata().map_err(&failed)?;
        if about.is_dir() {
            return Ok(None);
        }
        let mut body = Vec::new();
        io::Read::read_to_end(&mut file, &mut body).map_err(&failed)?;
        let modified = about.modified().map_err(&failed)?;
        let modified = Timestamp::try_from(modified).map_err(io::Error::other).map_err(&failed)?;
        let version = version_of(&body);
        Ok(Some(Object { body: body.into(), version, modified, read_at: Timestamp::now() }))
    }

    fn delete(&self) -> Result<(), Failure> {
        let failed = self.call.failed(&self.path);
        // Nothing is made, not even a lock, to delete what is not there.
        if found(fs::symlink_metadata(&self.path)).map_err(&failed)?.is_none_or(|about| about.is_dir()) {
            return Ok(());
        }
        let _held = self.exclude_others()?;
        if found(fs::remove_file(&self.path)).map_err(&failed)?.is_some() {
            sync_folder(self.folder()).map_err(self.call.failed(self.folder()))?;
        }
        Ok(())
    }

    /// Waits for everyone else who puts or deletes this key; the lock is held until the file is dropped.
    fn exclude_others(&self) -> Result<File, Failure> {
        let failed = self.call.failed(&self.lock);
        make_folder(self.lock.parent().unwrap_or(&self.lock)).map_err(&failed)?;
        let file = File::options().write(true).create(true).truncate(false).open(&self.lock).map_err(&failed)?;
        file.lock().map_err(&failed)?;
        Ok(file)
    }

    fn check(&self, mode: &PutMode) -> Result<(), Failure> {
        let conflict = |what: &str| Err(self.call.refused(FailureKind::Conflict, what.to_owned()));
        match (mode, self.get()?) {
            (PutMode::Overwrite, _) | (PutMode::Create, None) => Ok(()),
            (PutMode::Create, Some(_)) => conflict("it exists already"),
            (PutMode::ReplaceIf(expected), Some(there)) if there.version == *expected => Ok(()),
            (PutMode::ReplaceIf(_), Some(_)) => conflict("it has changed since it was read"),
            (PutMode::ReplaceIf(_), None) => conflict("it is not there any more"),
        }
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    /// The file that a put writes first. One per key: whoever writes it holds the lock.
    fn beside(&self) -> PathBuf {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        self.path.with_file_name(format!(".{name}.tmp"))
    }
}

/// What is being tried, for failures.
#[derive(Clone)]
struct Call {
    operation: &'static str,
    resource: String,
}

impl Call {
    fn refused(&self, kind: FailureKind, message: String) -> Failure {
        Failure { kind, operation: self.operation, resource: self.resource.clone(), message }
    }

    fn failed(&self, path: &Path) -> impl Fn(io::Error) -> Failure {
        move |error| {
            let kind = match error.kind() {
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => FailureKind::Denied,
                ErrorKind::IsADirectory
                | ErrorKind::NotADirectory
                | ErrorKind::InvalidFilename
                | ErrorKind::InvalidInput => FailureKind::Invalid,
                _ => FailureKind::Unavailable,
            };
            self.refused(kind, format!("{}: {error}", path.display()))
        }
    }
}

fn version_of(body: &[u8]) -> Version {
    Version(format!("{:032x}", xxh3_128(body)))
}

/// Takes "there is no such file", also because a file is where a folder would be, as an answer.
fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

fn write_synced(path: &Path, body: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(body)?;
    file.sync_all()
}

/// Makes a folder and those above it, each of them lasting.
fn make_folder(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Ok(()) => path.parent().map_or(Ok(()), sync_folder),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            if path.is_dir() {
                Ok(())
            } else {
                Err(ErrorKind::NotADirectory.into())
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make_folder(path.parent().ok_or(error)?)?;
            make_folder(path)
        }
        Err(error) => Err(error),
    }
}

/// Makes what was created, renamed or removed in a folder outlast a crash of the machine.
fn sync_folder(path: &Path) -> io::Result<()> {
    // Elsewhere a folder cannot be opened as a file.
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

/// The folders in a folder. As in S3, one without any object in it does not exist.
fn folders_with_objects(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in found(fs::read_dir(path))?.into_iter().flatten() {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if !name.starts_with('.') && entry.file_type()?.is_dir() && holds_object(&entry.path())? {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn holds_object(folder: &Path) -> io::Result<bool> {
    for entry in found(fs::read_dir(folder))?.into_iter().flatten() {
        let entry = entry?;
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !is_hidden && (!entry.file_type()?.is_dir() || holds_object(&entry.path())?) {
            return Ok(true);
        }
    }
    Ok(false)
}
