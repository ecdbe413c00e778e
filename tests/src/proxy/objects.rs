//! What the proxy knows of S3: two of its errors, and that a checkpoint tells who owns a unit.

use std::time::Instant;

use serde_json::Value as Json;

use super::call::Call;
use super::record::{Record, Taken};
use super::relay::Answer;

/// A put that met another of the same object: nothing was done, and the client shall try again.
pub(super) fn conflict() -> (String, Answer) {
    error(409, "ConditionalRequestConflict")
}

pub(super) fn slow_down() -> (String, Answer) {
    error(503, "SlowDown")
}

fn error(status: u16, code: &str) -> (String, Answer) {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>Not now.</Message></Error>");
    (format!("S3 {code}"), Answer::new(status, body))
}

/// Notes that a unit was taken or kept, when a checkpoint with an owner was put.
pub(super) fn remember(record: &mut Record, client: &str, call: &Call, answer: &Answer) {
    let Some(folder) = call.head.uri.path().strip_suffix("/checkpoint.json") else { return };
    if !call.is("PUT") || !answer.status.is_success() {
        return;
    }
    let Some((_, unit)) = folder.rsplit_once("/units/") else { return };
    let checkpoint: Json = serde_json::from_slice(&call.body).expect("a checkpoint is JSON");
    let Some(owner) = checkpoint["state"]["running"]["owner"].as_str() else { return };
    let (client, unit, owner) = (client.to_owned(), unit.to_owned(), owner.to_owned());
    record.taken.push(Taken { client, unit, owner, at: Instant::now() });
}
