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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::directory::DirectoryStore;
    use crate::ports::objects::{ObjectStore as _, PutMode};

    const STALE: &[u8] = b"what a program that died left behind";

    fn store() -> (tempfile::TempDir, DirectoryStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open(folder.path().to_owned()).unwrap();
        (folder, store)
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != ".locks");
        names.sort();
        names
    }

    #[tokio::test]
    async fn uploads_at_once_have_files_of_their_own_and_leave_none() {
        let (folder, store) = store();
        let (first, second) = (store.upload("a").await.unwrap(), store.upload("a").await.unwrap());
        let third = store.upload("a").await.unwrap();
        assert_eq!(names(folder.path()), [".a.0.upload", ".a.1.upload", ".a.2.upload"]);

        first.complete().await.unwrap();
        second.abort().await.unwrap();
        drop(third);

        assert_eq!(names(folder.path()), ["a"]);
    }

    #[tokio::test]
    async fn what_a_program_that_died_left_behind_is_taken_over() {
        let (folder, store) = store();
        fs::write(folder.path().join(".a.0.upload"), STALE).unwrap();

        let mut upload = store.upload("a").await.unwrap();
        upload.write(Bytes::from_static(b"new")).await.unwrap();
        upload.complete().await.unwrap();

        assert_eq!(names(folder.path()), ["a"]);
        assert_eq!(fs::read(folder.path().join("a")).unwrap(), b"new");
    }

    #[tokio::test]
    async fn keys_that_look_like_hidden_names_do_no_harm() {
        let (folder, store) = store();
        let upload = store.upload("a").await.unwrap();

        for key in ["a.0", "a.0.upload", "a.0.0"] {
            store.put(key, Bytes::from_static(b"other"), PutMode::Create).await.unwrap();
            store.upload(key).await.unwrap().complete().await.unwrap();
        }

        assert_eq!(names(folder.path()), [".a.0.upload", "a.0", "a.0.0", "a.0.upload"]);
        drop(upload);
    }

    #[tokio::test]
    async fn a_folder_in_its_place_is_found_at_once() {
        let (folder, store) = store();
        fs::create_dir(folder.path().join("a")).unwrap();

        for key in ["a", "../b", ".locks/01"] {
            let refused = store.upload(key).await.err().unwrap();
            assert_eq!(refused.kind, FailureKind::Invalid, "{refused}");
        }
    }

    #[tokio::test]
    async fn after_a_write_that_failed_the_object_cannot_be_completed() {
        let (folder, store) = store();
        let mut upload = begin(&store.file("Put", "a").unwrap()).unwrap();
        let path = folder.path().join(".a.0.upload");
        if let Some(draft) = &mut upload.draft {
            draft.file = File::open(&path).unwrap();
        }

        upload.write(vec![0; HELD].into()).await.unwrap_err();

        assert_eq!(upload.write(Bytes::new()).await.unwrap_err().kind, FailureKind::Invalid);
        assert_eq!(Box::new(upload).complete().await.unwrap_err().kind, FailureKind::Invalid);
        assert_eq!(names(folder.path()), Vec::<String>::new());
    }
}
