//! A table, the programs that reach it, and a place for backups: a directory or a bucket.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use shared::domain::key::{Key, KeyAttribute, KeySchema, KeyType};
use shared::domain::value::Item;
use tempfile::TempDir;
use tests::buckets::Bucket;
use tests::dynamodb::DynamoDb;
use tests::ministack::MiniStack;
use tests::oracle::brute_force;
use tests::process::{Finished, Programs, Running};

use crate::stage::{document, programs, unpacked};

/// The table that is backed up, and the one that is restored into.
pub(super) const TABLE: &str = "us-east-1:orders";
pub(super) const COPY: &str = "us-east-1:copy";

/// Where backups are.
pub(super) enum Place {
    Directory,
    Bucket(Bucket),
}

/// All of it. Jobs are kept in a directory.
pub(super) struct Scene {
    pub(super) server: DynamoDb,
    pub(super) programs: Programs,
    pub(super) schema: KeySchema,
    pub(super) home: TempDir,
    pub(super) place: Place,
}

impl Scene {
    /// A table with these items, and backups in a directory.
    pub(super) async fn of(schema: &KeySchema, items: &[Item]) -> Self {
        let server = DynamoDb::start();
        server.create_filled("orders", schema, items).await;
        let programs = programs().with_dynamodb(&server.endpoint());
        let home = tempfile::tempdir().expect("a temporary directory can be created");
        Self { server, programs, schema: schema.clone(), home, place: Place::Directory }
    }

    /// The same with backups in a bucket, which keeps versions.
    pub(super) async fn on_s3(schema: &KeySchema, items: &[Item]) -> Self {
        let (services, mut scene) = (MiniStack::shared(), Self::of(schema, items).await);
        scene.programs = programs().with_dynamodb(&scene.server.endpoint()).with_services(&services.endpoint());
        scene.place = Place::Bucket(Bucket::versioned(services).await);
        scene
    }

    /// A folder of the place, as commands take it.
    pub(super) fn at(&self, folder: &str) -> String {
        match &self.place {
            Place::Directory => self.path(folder).display().to_string(),
            Place::Bucket(bucket) => bucket.url(folder),
        }
    }

    /// Where a file of the directory is.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(super) async fn put(&self, key: &str, body: impl AsRef<[u8]>) {
        match &self.place {
            Place::Directory => {
                let path = self.path(key);
                fs::create_dir_all(path.parent().expect("it is in a folder")).expect("the folder can be created");
                fs::write(path, body).expect("the file can be written");
            }
            Place::Bucket(bucket) => bucket.put(key, body.as_ref()).await,
        }
    }

    pub(super) async fn get(&self, key: &str) -> Option<Vec<u8>> {
        match &self.place {
            Place::Directory => fs::read(self.path(key)).ok(),
            Place::Bucket(bucket) => bucket.get(key).await,
        }
    }

    pub(super) async fn delete(&self, key: &str) {
        match &self.place {
            Place::Directory => fs::remove_file(self.path(key)).expect("the file is there"),
            Place::Bucket(bucket) => {
                let request = bucket.client().delete_object().bucket(&bucket.name).key(key);
                request.send().await.expect("the bucket deletes it");
            }
        }
    }

    /// The keys of what is below a folder, sorted.
    pub(super) async fn keys(&self, folder: &str) -> Vec<String> {
        match &self.place {
            Place::Directory => {
                let home = self.home.path();
                let of = |path: &Path| path.strip_prefix(home).expect("it is below").display().to_string();
                let keys = crate::stage::files(&self.path(folder)).into_keys().map(|path| of(Path::new(&path)));
                // A directory has hidden files besides: locks, and what was being written when a program was killed.
                keys.filter(|key| !key.split('/').any(|part| part.starts_with('.'))).collect()
            }
            Place::Bucket(bucket) => bucket.keys(&format!("{folder}/")).await,
        }
    }

    /// The lines of a full backup's data files, packed with gzip or not at all; by file.
    pub(super) async fn lines(&self, backup: &str) -> Vec<(String, Vec<String>)> {
        let mut files = Vec::new();
        for key in self.keys(&format!("{backup}/data")).await {
            let body = unpacked(&key, self.get(&key).await.expect("it is there"));
            let lines = String::from_utf8(body).expect("it is text").lines().map(str::to_owned).collect();
            files.push((key, lines));
        }
        files
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Finished {
        self.spawn(arguments).wait(std::time::Duration::from_secs(120))
    }

    pub(super) fn spawn(&self, arguments: &[&str]) -> Running {
        self.programs.spawn_dynamend(&[arguments, &["--store", &self.jobs()]].concat())
    }

    /// The store of the jobs.
    pub(super) fn jobs(&self) -> String {
        self.path("jobs").display().to_string()
    }

    /// Runs a command that has to succeed; what it says as JSON.
    pub(super) fn done(&self, arguments: &[&str]) -> Json {
        let finished = self.run(&[arguments, &["--output", "json"]].concat());
        assert_eq!(finished.code, Some(0), "{arguments:?}: {}{}", finished.stdout, finished.stderr);
        document(&finished)
    }

    /// Runs a command that has to end so, and say these words on standard error or standard output.
    pub(super) fn refused(&self, arguments: &[&str], code: i32, words: &[&str]) -> Finished {
        let finished = self.run(arguments);
        let said = format!("{}{}", finished.stdout, finished.stderr);
        assert_eq!(finished.code, Some(code), "{arguments:?}: {said}");
        for word in words {
            assert!(said.contains(word), "{arguments:?} does not say `{word}`: {said}");
        }
        finished
    }

    /// Makes a full backup in the folder `backups/JOB`.
    pub(super) fn full(&self, job: &str, more: &[&str]) -> Json {
        self.done(&[&["backup", "full", TABLE, &self.at("backups"), "--job-id", job], more].concat())
    }

    /// Makes an incremental backup in the folder `items/orders`.
    pub(super) fn incremental(&self, job: &str) -> Json {
        self.done(&["backup", "incremental", TABLE, &self.at("items"), "--job-id", job])
    }

    /// Makes a snapshot of it, in the folder `backups/JOB`.
    pub(super) fn snapshot(&self, job: &str, more: &[&str]) -> Json {
        let (from, to) = (self.at("items/orders"), self.at("backups"));
        self.done(&[&["backup", "snapshot", &from, &to, "--job-id", job], more].concat())
    }

    /// Restores a folder into the copy, as the job R.
    pub(super) fn restore(&self, folder: &str, more: &[&str]) -> Json {
        self.done(&[&["restore", &self.at(folder), COPY, "--job-id", "R"], more].concat())
    }

    /// The lines of a job's report.
    pub(super) fn report(&self, job: &str) -> Vec<Json> {
        crate::stage::report(&self.programs, &[job, "--store", &self.jobs()])
    }

    /// Creates the copy, empty.
    pub(super) async fn create_copy(&self) {
        self.server.create_table("copy", &self.schema).await;
    }

    /// Panics if the copy has not exactly these items.
    pub(super) async fn assert_copy_is(&self, items: &[Item], what: &str) {
        let found = brute_force(items, &self.server.read_all("copy").await, &self.schema);
        assert!(found.is_empty(), "{what}: {found:?}");
    }

    /// The same of the table's items; `sync` finds nothing either.
    pub(super) async fn assert_same(&self, what: &str) {
        self.assert_copy_is(&self.server.read_all("orders").await, what).await;
        let found = self.done(&["sync", "-m", TABLE, "-s", COPY, "--scan-for-extra", "--confirm-delay", "0"]);
        let slave = &found["slaves"][0];
        assert_eq!(slave["compared"], slave["identical"], "{what}: {found}");
        assert_eq!(slave["extra"], 0, "{what}: {found}");
    }
}

/// The key of an item.
pub(super) fn key(schema: &KeySchema, item: &Item) -> Key {
    Key::of(schema, item).expect("it has its key")
}

/// An item from DynamoDB JSON.
pub(super) fn item(json: Json) -> Item {
    shared::domain::json::item_from_json(&json).expect("it is an item")
}

/// A key with a sort key whose name sorts before that of the partition key.
pub(super) fn sort_key_first(partition: KeyType, sort: KeyType) -> KeySchema {
    let attribute = |name: &str, kind| KeyAttribute { name: name.to_owned(), kind };
    KeySchema { partition: attribute("zone", partition), sort: Some(attribute("at", sort)) }
}
