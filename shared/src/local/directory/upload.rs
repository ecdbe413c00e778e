//! Objects that are written bit by bit: into a hidden file of their own, which becomes the object when it is complete.
//!
//! The file is locked for as long as it is written to, and has one of the names that the key's uploads take turns at.
//! So uploads of one key at once have one file each, and what a program that died left behind is taken over.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::mem;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use xxhash_rust::xxh3::Xxh3Default;

use super::{ObjectFile, blocking, found, make_folder, number, sync_folder, version_of};
use crate::ports::failure::{Failure, FailureKind};
use crate::ports::objects::Version;
use crate::ports::uploads::Upload;

/// What is held before it is written: a write costs a change of threads.
const HELD: usize = 1 << 20;

/// An object on its way into a directory.
pub(super) struct DirectoryUpload {
    object: ObjectFile,
    held: BytesMut,
    /// Gone when a write failed or was cut off, for then bytes are missing.
    draft: Option<Draft>,
}

/// The hidden file, and the digest of what is in it. Dropped, it is removed.
struct Draft {
    file: File,
    path: PathBuf,
    digest: Box<Xxh3Default>,
    end: End,
}

/// What becomes of the file when nobody writes to it any more.
enum End {
    Remove,
    Keep,
}

pub(super) fn begin(object: &ObjectFile) -> Result<DirectoryUpload, Failure> {
    let folder = object.folder();
    make_folder(folder).map_err(object.call.failed(folder))?;
    // A folder in its place is found out now, and not after hours.
    if object.path.is_dir() {
        return Err(object.call.failed(&object.path)(ErrorKind::IsADirectory.into()));
    }
    let draft = Draft::create(&object.path).map_err(object.call.failed(folder))?;
    Ok(DirectoryUpload { object: object.clone(), held: BytesMut::new(), draft: Some(draft) })
}

impl Draft {
    /// A file that nobody else writes to.
    fn create(object: &Path) -> io::Result<Self> {
        let name = object.file_name().unwrap_or_default().to_string_lossy();
        let mut turn = 0u32;
        loop {
            let path = object.with_file_name(format!(".{name}.{turn}.upload"));
            let file = File::options().write(true).create(true).truncate(false).open(&path)?;
            match file.try_lock() {
                Ok(()) if is_at(&file, &path)? => {
                    file.set_len(0)?;
                    return Ok(Self { file, path, digest: Box::default(), end: End::Remove });
                }
                // Between opening and locking it became an object, or was removed: the name is free again.
                Ok(()) => {}
                Err(fs::TryLockError::WouldBlock) => turn += 1,
                Err(fs::TryLockError::Error(error)) => return Err(error),
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.digest.update(bytes);
        self.file.write_all(bytes)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // The lock is still held, so this is nobody else's; what cannot be removed is taken over later.
        if matches!(self.end, End::Remove) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let Some(there) = found(fs::symlink_metadata(path))? else { return Ok(false) };
    Ok(number(&there) == number(&file.metadata()?))
}

impl DirectoryUpload {
    fn take(&mut self) -> Result<Draft, Failure> {
        let message = "a write of it failed before, and it has to be begun again";
        self.draft.take().ok_or_else(|| self.object.call.refused(FailureKind::Invalid, message.to_owned()))
    }
}

#[async_trait]
impl Upload for DirectoryUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), Failure> {
        let mut draft = self.take()?;
        self.held.extend_from_slice(&bytes);
        if self.held.len() >= HELD {
            let held = mem::take(&mut self.held).freeze();
            let write = move |object: &ObjectFile| {
                draft.write(&held).map_err(object.call.failed(&draft.path))?;
                Ok(draft)
            };
            draft = blocking(self.object.clone(), write).await?;
        }
        self.draft = Some(draft);
        Ok(())
    }

    async fn complete(mut self: Box<Self>) -> Result<Version, Failure> {
        let mut draft = self.take()?;
        let held = mem::take(&mut self.held);
        let complete = move |object: &ObjectFile| {
            let written = draft.write(&held).and_then(|()| draft.file.sync_all());
            written.map_err(object.call.failed(&draft.path))?;
            let _others = object.exclude_others()?;
            fs::rename(&draft.path, &object.path).map_err(object.call.failed(&object.path))?;
            // From here on the hidden name may be somebody else's.
            draft.end = End::Keep;
            sync_folder(object.folder()).map_err(object.call.failed(object.folder()))?;
            Ok(version_of(draft.digest.digest128()))
        };
        blocking(self.object.clone(), complete).await
    }

    async fn abort(self: Box<Self>) -> Result<(), Failure> {
        Ok(())
    }
}
