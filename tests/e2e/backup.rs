//! Backups and restores with the real programs: what is backed up comes back to the last digit, or not at all.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use shared::domain::key::{Key, KeySchema, KeyType};
use shared::domain::number::Number;
use shared::domain::value::{Item, Value};
use tempfile::TempDir;
use tests::dynamodb::DynamoDb;
use tests::generate::{schema, table};
use tests::process::{Finished, Programs};

use crate::stage::programs;

const TABLE: &str = "us-east-1:orders";
const COPY: &str = "us-east-1:copy";

/// A table, the programs that reach it, and a directory for backups and jobs.
struct Scene {
    server: DynamoDb,
    programs: Programs,
    schema: KeySchema,
    home: TempDir,
}

impl Scene {
    async fn of(schema: &KeySchema, items: &[Item]) -> Self {
        let server = DynamoDb::start();
        server.create_filled("orders", schema, items).await;
        let programs = programs().with_dynamodb(&server.endpoint());
        Self { server, programs, schema: schema.clone(), home: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn place(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        self.programs.dynamend(&[arguments, &["--store", &self.place("jobs")]].concat())
    }

    /// Runs a command that has to succeed; what it says as JSON.
    fn done(&self, arguments: &[&str]) -> Json {
        let finished = self.run(&[arguments, &["--output", "json"]].concat());
        assert_eq!(finished.code, Some(0), "{arguments:?}: {}{}", finished.stdout, finished.stderr);
        serde_json::from_str(&finished.stdout).expect("it is one document")
    }

    fn backup(&self, job: &str, more: &[&str]) -> Json {
        self.done(&[&["backup", "full", TABLE, &self.place("backups"), "--job-id", job], more].concat())
    }

    /// Holds the copy against the table, extra items included.
    fn assert_same(&self) {
        let found = self.done(&["sync", "-m", TABLE, "-s", COPY, "--scan-for-extra", "--confirm-delay", "0"]);
        let slave = &found["slaves"][0];
        assert_eq!(slave["compared"], slave["identical"], "{found}");
    }
}

fn key_schemas() -> [KeySchema; 4] {
    let mut sort_first = schema(KeyType::S, Some(KeyType::N));
    // The sort key's name comes before the partition key's.
    sort_first.partition.name = "zone".to_owned();
    if let Some(sort) = &mut sort_first.sort {
        sort.name = "at".to_owned();
    }
    [schema(KeyType::S, None), schema(KeyType::B, Some(KeyType::B)), schema(KeyType::N, None), sort_first]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_backed_up_and_restored_is_the_same_table() {
    for schema in key_schemas() {
        let items = table(&schema, 5, 300);
        let scene = Scene::of(&schema, &items).await;
        scene.backup("B", &["--segments", "3"]);

        let restored = scene.done(&["restore", &scene.place("backups/B"), COPY, "--create", "--verify"]);

        assert_eq!(restored["restore"]["slaves"][0]["written"], 300);
        assert_eq!(restored["verify"]["slaves"][0]["identical"], 300);
        scene.assert_same();
    }
}
