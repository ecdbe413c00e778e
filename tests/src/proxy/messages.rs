//! What the proxy knows of SQS: a standard queue delivers twice, delivers late, and takes a part of a batch.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use serde_json::{Value as Json, json};

use super::call::Call;
use super::fault::Fault;
use super::record::Record;
use super::relay::Answer;

/// Notes a deletion that came too late.
pub(super) fn remember(record: &mut Record, call: &Call, answer: &Answer) {
    record.late_deletions += u64::from(call.is("DeleteMessage") && answer.status.is_client_error());
}

/// How much later a message is delivered that is delivered late or again, at most.
const LATER: Duration = Duration::from_secs(3);

/// Deliveries to come, of messages that the queue holds delivered.
#[derive(Debug, Default)]
pub(super) struct Floating(Vec<(Instant, Json)>);

impl Floating {
    /// An answer to a receive with a delivery that is due.
    pub(super) fn land(&mut self, _receive: &Call) -> Option<Answer> {
        let now = Instant::now();
        let due = self.0.iter().position(|(due, _)| *due <= now)?;
        let (_, message) = self.0.swap_remove(due);
        Some(Answer::new(200, json!({ "Messages": [message] }).to_string()))
    }
}

/// Turns the messages of an answer round, and has one of them delivered again, or later instead.
pub(super) fn float(
    answer: Answer,
    fault: Fault,
    floating: &mut Floating,
    dice: &mut StdRng,
) -> (Option<String>, Option<Answer>) {
    let mut body: Json = serde_json::from_slice(&answer.body).unwrap_or(Json::Null);
    let Some(messages) = body["Messages"].as_array_mut().filter(|messages| !messages.is_empty()) else {
        return (None, Some(answer));
    };
    messages.shuffle(dice);
    let due = Instant::now() + LATER.mul_f64(dice.random());
    let name = if fault == Fault::Duplicate {
        floating.0.push((due, messages[0].clone()));
        "message delivered twice"
    } else {
        floating.0.push((due, messages.remove(0)));
        "message delivered late"
    };
    (Some(name.to_owned()), Some(answer.with_body(body.to_string())))
}

/// Entries of a batch that the queue does not take.
pub(super) struct Failed(Vec<Json>);

/// Takes some entries out of a batch; what is left of it, if anything, and those that were taken out.
pub(super) fn split(call: &Call, dice: &mut StdRng) -> (Option<Bytes>, Failed) {
    let mut body = call.json();
    let entries = body["Entries"].as_array_mut().map(std::mem::take).unwrap_or_default();
    let (kept, mut failed): (Vec<Json>, Vec<Json>) = entries.into_iter().partition(|_| dice.random());
    let mut kept = kept;
    if failed.is_empty() {
        failed.extend(kept.pop());
    }
    let rest = (!kept.is_empty()).then(|| {
        body["Entries"] = kept.into();
        Bytes::from(body.to_string())
    });
    (rest, Failed(failed))
}

impl Failed {
    pub(super) fn add_to(self, answer: Answer) -> Answer {
        if !answer.status.is_success() {
            return answer;
        }
        let mut body: Json = serde_json::from_slice(&answer.body).unwrap_or_else(|_| json!({}));
        let entry =
            |entry: &Json| json!({"Id": entry["Id"], "Code": "InternalError", "SenderFault": false, "Message": "No."});
        let failed: Vec<Json> = self.0.iter().map(entry).collect();
        match body["Failed"].as_array_mut() {
            Some(known) => known.extend(failed),
            None => body["Failed"] = failed.into(),
        }
        answer.with_body(body.to_string())
    }
}
