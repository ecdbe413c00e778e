//! `--sse`: every object of a job is encrypted as was asked for, by whichever program it was put.

use serde_json::json;
use tests::wait::DEADLINE;

use crate::bad_input::assert_refused;
use crate::stage::{Fleet, SYNC, Stage};

const KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/// Kind and key of every object in the bucket, by key.
async fn encryption(fleet: &Fleet) -> Vec<(String, Option<String>, Option<String>)> {
    let mut found = Vec::new();
    for key in fleet.bucket.keys("").await {
        let head = fleet.bucket.client().head_object().bucket(&fleet.bucket.name).key(&key).send().await;
        let head = head.unwrap_or_else(|error| panic!("head of {key}: {error:?}"));
        let kind = head.server_side_encryption().map(|kind| kind.as_str().to_owned());
        found.push((key, kind, head.ssekms_key_id().map(str::to_owned)));
    }
    found
}

async fn assert_all(fleet: &Fleet, kind: Option<&str>, key_id: Option<&str>, parts: &[&str]) {
    let found = encryption(fleet).await;
    for part in parts {
        assert!(found.iter().any(|(key, ..)| key.contains(part)), "there is no {part} in {found:?}");
    }
    for (key, with, by) in found {
        assert_eq!((with.as_deref(), by.as_deref()), (kind, key_id), "{key}");
    }
}

#[tokio::test]
async fn every_object_of_a_fleets_job_is_encrypted_with_the_key_that_was_named() {
    let (stage, _) = Stage::differing(60).await;
    let fleet = Fleet::around(stage, 5).await;
    let flags = ["--sse", "aws:kms", "--sse-kms-key-id", KEY, "--segments", "2", "--repair"];
    fleet.enqueue("job", &flags);
    for command in [["cancel", "job"], ["resume", "job"]] {
        let finished = fleet.dynamend(&command);
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    }

    let worker = fleet.worker(&["--drain"]).wait(2 * DEADLINE);

    assert_eq!(worker.code, Some(0), "{}", worker.stderr);
    fleet.summary("job", DEADLINE).await;
    let manifest = fleet.bucket.get("fleet/jobs/job/manifest.json").await.expect("there is a manifest");
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    assert_eq!(manifest["encryption"], json!({"sse": "aws:kms", "key_id": KEY}));
    let parts = ["manifest.json", "control.json", "checkpoint.json", "discrepancies-", "pending-", "summary.json"];
    assert_all(&fleet, Some("aws:kms"), Some(KEY), &parts).await;
}

#[tokio::test]
async fn a_job_in_one_process_is_encrypted_too_and_without_the_flag_the_bucket_decides() {
    let (stage, _) = Stage::differing(60).await;
    let fleet = Fleet::around(stage, 5).await;
    let parts = ["manifest.json", "checkpoint.json", "discrepancies-", "summary.json"];
    for (flags, kind) in [(&["--sse"][..], Some("AES256")), (&[], None)] {
        let store = fleet.bucket.url("here");
        let place = ["--store", &store, "--job-id", "job"];

        let finished = fleet.stage.programs.dynamend(&[&SYNC[..], &place, flags].concat());

        assert!(matches!(finished.code, Some(1)), "{}", finished.stderr);
        assert_all(&fleet, kind, None, &parts).await;
        for key in fleet.bucket.keys("").await {
            let delete = fleet.bucket.client().delete_object().bucket(&fleet.bucket.name).key(key);
            delete.send().await.expect("the object is deleted");
        }
    }
}

#[tokio::test]
async fn flags_that_cannot_be_are_refused_before_anything_is_touched() {
    let (stage, _) = Stage::differing(5).await;
    for (flags, words) in [
        (&["--sse", "AES256"][..], &["directory", "--store s3://"][..]),
        (&["--sse-kms-key-id", KEY], &["--sse"]),
        (&["--sse", "rot13"], &["rot13", "aws:kms:dsse"]),
        (&["--sse", "AES256", "--sse-kms-key-id", KEY, "--store", "s3://bucket"], &[KEY, "--sse aws:kms"]),
    ] {
        assert_refused(&stage.sync(flags), 2, words);
    }
    assert!(!stage.programs.home().join(".dynamend").exists());
}
