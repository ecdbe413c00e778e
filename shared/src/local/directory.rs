//! A directory as an object store, with the promises of S3: whole objects, lasting puts, one winner of a race.
//!
//! A put writes a hidden file beside its target, syncs it, renames it over the target and syncs the folder, so that a
//! reader, who takes no lock, finds the old object or the new one. Puts and deletes of a key exclude each other, also
//! between processes, through a locked file under `.locks`; the kernel lets go of it when its holder dies. A crash
//! leaves at most one hidden file per key, which the next put of that key overwrites, and one per upload, which the
//! next upload of that key takes over.
//!
//! Unlike in S3, `a` and `a/b` cannot both be objects, and no part of a key begins with a dot.

mod listing;
mod slices;
mod upload;

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Component, Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use url::Url;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::ports::failure::{Failure, FailureKind};
use crate::ports::objects::{ListPage, Listing, Object, ObjectStore, PutMode, Slice, Version};
use crate::ports::uploads::Upload;

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

    /// The folder that holds everything below a prefix. Looking into it takes no lock.
    fn folder(&self, prefix: &str) -> Result<ObjectFile, Failure> {
        let call = Call { operation: "List", resource: format!("folder `{prefix}`") };
        let folder = match prefix.strip_suffix('/') {
            Some(key) => below(&self.root, key),
            None => prefix.is_empty().then(|| self.root.clone()),
        };
        let path = folder.ok_or_else(|| call.refused(FailureKind::Invalid, "this is no prefix of keys".to_owned()))?;
        Ok(ObjectFile { call, path, lock: PathBuf::new() })
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
        blocking(self.folder(prefix)?, |folder| {
            listing::folders_with_objects(&folder.path).map_err(folder.call.failed(&folder.path))
        })
        .await
    }

    async fn list(&self, prefix: &str) -> Result<Listing, Failure> {
        let below = prefix.to_owned();
        blocking(self.folder(prefix)?, move |folder| {
            let objects = listing::objects(&folder.path, &below, None, usize::MAX);
            Ok(Listing { objects: objects.map_err(folder.call.failed(&folder.path))?, read_at: Timestamp::now() })
        })
        .await
    }

    async fn list_page(&self, prefix: &str, after: Option<&str>) -> Result<ListPage, Failure> {
        let (below, after) = (prefix.to_owned(), after.map(str::to_owned));
        blocking(self.folder(prefix)?, move |folder| {
            listing::page(&folder.path, &below, after.as_deref()).map_err(folder.call.failed(&folder.path))
        })
        .await
    }

    async fn slice(
        &self,
        key: &str,
        from: u64,
        most: u64,
        content: Option<&Version>,
    ) -> Result<Option<Slice>, Failure> {
        let content = content.cloned();
        blocking(self.file("Get", key)?, move |file| file.slice(from, most, content.as_ref())).await
    }

    async fn upload(&self, key: &str) -> Result<Box<dyn Upload + '_>, Failure> {
        Ok(Box::new(blocking(self.file("Put", key)?, upload::begin).await?))
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
#[derive(Clone)]
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
        Ok(version_of(xxh3_128(body)))
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
        let version = version_of(xxh3_128(&body));
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

fn version_of(digest: u128) -> Version {
    Version(format!("{digest:032x}"))
}

/// Tells a file from another one that is where it was.
#[cfg(unix)]
fn number(about: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(about)
}

/// Elsewhere files have no number that can be had.
#[cfg(not(unix))]
fn number(_about: &fs::Metadata) -> u64 {
    0
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

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read};
    use std::process::{Child, Command, Stdio};

    use tempfile::TempDir;

    use super::*;
    use crate::ports::contract;

    /// Tells a test that it runs as another process, and on which store; without it such a test does nothing.
    const CHILD_ROOT: &str = "DYNAMEND_TEST_CHILD_ROOT";

    fn store() -> (TempDir, DirectoryStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open(folder.path().join("root")).unwrap();
        (folder, store)
    }

    fn body(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    async fn text(store: &DirectoryStore, key: &str) -> Option<String> {
        store.get(key).await.unwrap().map(|object| String::from_utf8(object.body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn it_keeps_the_contract_of_a_store() {
        let folder = tempfile::tempdir().unwrap();
        let fresh = async || DirectoryStore::open(tempfile::tempdir_in(&folder).unwrap().keep()).unwrap();

        contract::objects(fresh).await;
    }

    #[tokio::test]
    async fn only_a_put_makes_the_directory() {
        let (_folder, store) = store();

        assert!(store.get("a/b").await.unwrap().is_none());
        assert_eq!(store.folders("").await.unwrap(), Vec::<String>::new());
        store.delete("a/b").await.unwrap();
        assert!(!store.root.exists(), "looking made the directory");

        store.put("a/b", body("text"), PutMode::Create).await.unwrap();
        assert_eq!(text(&store, "a/b").await.unwrap(), "text");
    }

    #[tokio::test]
    async fn a_stale_hidden_file_does_no_harm() {
        let (_folder, store) = store();
        let stale = store.root.join("job/.object.tmp");
        fs::create_dir_all(stale.parent().unwrap()).unwrap();
        fs::write(&stale, "what a writer that died left behind, longer than the next body").unwrap();

        assert!(store.get("job/object").await.unwrap().is_none(), "a half-written object is none");
        assert_eq!(store.folders("").await.unwrap(), Vec::<String>::new(), "nor does it make a folder");
        store.put("job/object", body("whole"), PutMode::Create).await.unwrap();

        assert_eq!(text(&store, "job/object").await.unwrap(), "whole");
        assert!(!stale.exists(), "the next put takes it over");
    }

    #[tokio::test]
    async fn keys_stay_below_the_root() {
        let (_folder, store) = store();
        for key in
            ["", "/", "/etc/passwd", "a//b", "a/", "..", "../b", "a/../b", "a/./b", ".locks/01", "a/.b", "a\\b", "a\0b"]
        {
            let refused = store.put(key, body("text"), PutMode::Overwrite).await.unwrap_err();
            assert_eq!(refused.kind, FailureKind::Invalid, "{key:?}");
            assert_eq!(store.get(key).await.unwrap_err().kind, FailureKind::Invalid, "{key:?}");
            assert_eq!(store.delete(key).await.unwrap_err().kind, FailureKind::Invalid, "{key:?}");
        }
        for prefix in ["/", "../", "a", "a//", ".locks/"] {
            assert_eq!(store.folders(prefix).await.unwrap_err().kind, FailureKind::Invalid, "{prefix:?}");
        }
    }

    #[tokio::test]
    async fn a_folder_is_no_object_and_an_object_no_folder() {
        let (_folder, store) = store();
        store.put("a/b", body("text"), PutMode::Create).await.unwrap();

        assert!(store.get("a").await.unwrap().is_none());
        assert!(store.get("a/b/c").await.unwrap().is_none());
        assert_eq!(store.folders("a/b/").await.unwrap(), Vec::<String>::new());
        store.delete("a").await.unwrap();
        assert_eq!(text(&store, "a/b").await.unwrap(), "text");
        for key in ["a", "a/b/c"] {
            let refused = store.put(key, body("text"), PutMode::Create).await.unwrap_err();
            assert_eq!(refused.kind, FailureKind::Invalid, "{refused}");
        }
    }

    #[test]
    fn a_file_is_no_root() {
        let file = tempfile::NamedTempFile::new().unwrap();

        let refused = DirectoryStore::open(file.path().to_owned()).unwrap_err();

        assert_eq!(refused.kind, FailureKind::Invalid);
        assert!(refused.message.contains(file.path().to_str().unwrap()), "{refused}");
    }

    #[test]
    fn failures_are_told_by_meaning_and_name_the_path() {
        let call = Call { operation: "Put", resource: "object `a`".into() };
        for (kind, expected) in [
            (ErrorKind::PermissionDenied, FailureKind::Denied),
            (ErrorKind::ReadOnlyFilesystem, FailureKind::Denied),
            (ErrorKind::StorageFull, FailureKind::Unavailable),
            (ErrorKind::Other, FailureKind::Unavailable),
            (ErrorKind::NotADirectory, FailureKind::Invalid),
        ] {
            let failure = call.failed(Path::new("/store/a"))(kind.into());
            assert_eq!(failure.kind, expected, "{kind}");
            assert!(failure.message.starts_with("/store/a: "), "{failure}");
        }
    }

    #[test]
    fn a_url_leads_back_to_the_file() {
        let store = DirectoryStore::open("/a folder/ä%20".into()).unwrap();

        let url = store.url("jobs/x y/#1?.json");

        assert_eq!(url, "file:///a%20folder/%C3%A4%2520/jobs/x%20y/%231%3F.json");
        let path = Url::parse(&url).unwrap().to_file_path().unwrap();
        assert_eq!(path, Path::new("/a folder/ä%20/jobs/x y/#1?.json"));
        assert_eq!(store.url("jobs/"), "file:///a%20folder/%C3%A4%2520/jobs/");
    }

    /// Runs one test of this file in a process of its own.
    fn spawn(test: &str, store: &DirectoryStore) -> Child {
        let name = format!("{}::{test}", module_path!().split_once("::").unwrap().1);
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &name, "--nocapture"])
            .env(CHILD_ROOT, &store.root)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn store_of_parent() -> Option<DirectoryStore> {
        std::env::var_os(CHILD_ROOT).map(|root| DirectoryStore::open(root.into()).unwrap())
    }

    fn wait_for_parent() {
        io::stdin().read_to_end(&mut Vec::new()).unwrap();
    }

    #[tokio::test]
    async fn processes_lose_no_increment_of_a_counter() {
        const TARGET: u64 = 200;
        let (_folder, store) = store();
        store.put("counter", body("0"), PutMode::Create).await.unwrap();
        store.put("target", body(&TARGET.to_string()), PutMode::Create).await.unwrap();

        let mut children: Vec<Child> = (0..4).map(|_| spawn("child_increments_a_counter", &store)).collect();
        // The end of their input is the sign to begin, for all of them.
        children.iter_mut().for_each(|child| drop(child.stdin.take()));
        let mut successes = 0;
        for mut child in children {
            assert!(child.wait().unwrap().success(), "a process failed");
            let done = text(&store, &format!("done/{}", child.id())).await.expect("a process did its part");
            successes += done.parse::<u64>().unwrap();
        }

        assert_eq!(text(&store, "counter").await.unwrap(), TARGET.to_string());
        assert_eq!(successes, TARGET, "increments that succeeded");
    }

    #[tokio::test]
    async fn child_increments_a_counter() {
        let Some(store) = store_of_parent() else { return };
        wait_for_parent();
        let target: u64 = text(&store, "target").await.unwrap().parse().unwrap();
        let mut successes = 0;
        loop {
            let seen = store.get("counter").await.unwrap().unwrap();
            let count: u64 = std::str::from_utf8(&seen.body).unwrap().parse().unwrap();
            if count >= target {
                break;
            }
            match store.put("counter", body(&(count + 1).to_string()), PutMode::ReplaceIf(seen.version)).await {
                Ok(_) => successes += 1,
                Err(failure) => assert_eq!(failure.kind, FailureKind::Conflict, "{failure}"),
            }
        }
        let done = format!("done/{}", std::process::id());
        store.put(&done, body(&successes.to_string()), PutMode::Create).await.unwrap();
    }

    #[tokio::test]
    async fn a_lock_ends_with_the_process_that_holds_it() {
        let (_folder, store) = store();
        let mut child = spawn("child_holds_a_lock", &store);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("holding")), "the process holds the lock");
        let lock = store.file("Put", "object").unwrap().lock;
        File::open(&lock).unwrap().try_lock().expect_err("the lock is held by the other process");

        child.kill().unwrap();
        child.wait().unwrap();

        store.put("object", body("text"), PutMode::Create).await.unwrap();
    }

    #[test]
    fn child_holds_a_lock() {
        let Some(store) = store_of_parent() else { return };
        let _held = store.file("Put", "object").unwrap().exclude_others().unwrap();
        println!("holding");
        wait_for_parent();
    }
}
