//! What the proxy knows of DynamoDB: its errors, its partial successes, and which items a request reads or writes.

use bytes::Bytes;
use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::{Value as Json, json};

use super::call::Call;
use super::fault::Fault;
use super::record::{Asked, Effect, Question, Record, Written};
use super::relay::Answer;
use crate::oracle::key_text_of_json;

const THROTTLES: [&str; 2] = ["ProvisionedThroughputExceededException", "ThrottlingException"];

/// What throttles, and which limit was met.
///
/// Source: Amazon DynamoDB API Reference, `ThrottlingReason`.
const RESOURCES: [&str; 2] = ["Table", "Index"];
const LIMITS: [&str; 4] = ["ProvisionedThroughput", "KeyRangeThroughput", "AccountLimit", "MaxOnDemandThroughput"];

/// A throttled request, with one of all reasons.
pub(super) fn throttle(call: &Call, dice: &mut StdRng) -> (String, Answer) {
    let kind = if call.writes_tables() { "Write" } else { "Read" };
    let resource = RESOURCES[dice.random_range(0..RESOURCES.len())];
    let limit = LIMITS[dice.random_range(0..LIMITS.len())];
    let code = THROTTLES[dice.random_range(0..THROTTLES.len())];
    let reason = format!("{resource}{kind}{limit}Exceeded");
    // The two errors spell the member differently.
    let member = if code == "ThrottlingException" { "throttlingReasons" } else { "ThrottlingReasons" };
    let arn = "arn:aws:dynamodb:us-east-1:000000000000:table/orders";
    let reasons = json!([{"reason": reason, "resource": arn}]);
    (format!("{code} {reason}"), error(400, code, &[(member, reasons)]))
}

/// Another error after which nothing was done.
pub(super) fn refusal(call: &Call, dice: &mut StdRng) -> (String, Answer) {
    let known = [(500, "InternalServerError"), (400, "RequestLimitExceeded"), (400, "TransactionConflictException")];
    // Only a write can meet a transaction.
    let choices = if call.writes_tables() { 3 } else { 2 };
    let (status, code) = known[dice.random_range(0..choices)];
    (code.to_owned(), error(status, code, &[]))
}

fn error(status: u16, code: &str, more: &[(&str, Json)]) -> Answer {
    let mut body = json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": "Not now."});
    for (name, value) in more {
        body[*name] = value.clone();
    }
    let mut answer = Answer::new(status, body.to_string());
    answer.headers.insert("content-type", "application/x-amz-json-1.0".parse().expect("it is plain text"));
    answer
}

/// A request that will be done in part.
pub(super) struct Bent {
    pub(super) name: &'static str,
    /// What is asked of the service; nothing if it need not be asked.
    pub(super) call: Option<Bytes>,
    /// What its answer lacks.
    pub(super) after: Addition,
}

/// What is added to the answer of a request that was done in part.
pub(super) struct Addition(Vec<(&'static str, Json)>);

impl Addition {
    pub(super) fn apply(self, answer: Answer) -> Answer {
        if !answer.status.is_success() || self.0.is_empty() {
            return answer;
        }
        let mut body: Json = serde_json::from_slice(&answer.body).unwrap_or_else(|_| json!({}));
        for (name, value) in self.0 {
            body[name] = value;
        }
        answer.with_body(body.to_string())
    }
}

/// Makes a request one that is done in part, if it can be.
pub(super) fn bend(call: &Call, fault: Fault, dice: &mut StdRng) -> Option<Bent> {
    let mut body = call.json();
    match fault {
        Fault::ShortPage => {
            let limit = body["Limit"].as_u64().filter(|limit| *limit > 1)?;
            body["Limit"] = dice.random_range(1..limit).into();
            let call = Some(body.to_string().into());
            Some(Bent { name: "short page", call, after: Addition(Vec::new()) })
        }
        Fault::EmptyPage => {
            // Nothing was looked at, so the next page begins where this one did.
            let start = body.get("ExclusiveStartKey").filter(|start| start.is_object())?.clone();
            let page =
                [("Items", json!([])), ("Count", json!(0)), ("ScannedCount", json!(0)), ("LastEvaluatedKey", start)];
            Some(Bent { name: "empty page", call: None, after: Addition(page.into()) })
        }
        _ => {
            let of_keys = call.is("BatchGetItem");
            let (table, asked) = body["RequestItems"].as_object_mut()?.iter_mut().next()?;
            let table = table.clone();
            let list = if of_keys { asked["Keys"].as_array_mut()? } else { asked.as_array_mut()? };
            // One at least is done: had all been throttled, the request would have failed.
            let left = dice.random_range(1..list.len().max(2)).min(list.len().checked_sub(1)?);
            let left = list.split_off(list.len() - left);
            if left.is_empty() {
                return None;
            }
            let (name, member, left) = if of_keys {
                let mut rest = asked.clone();
                rest["Keys"] = left.into();
                ("keys unprocessed", "UnprocessedKeys", rest)
            } else {
                ("items unprocessed", "UnprocessedItems", left.into())
            };
            let after = Addition(vec![(member, json!({ table: left }))]);
            Some(Bent { name, call: Some(body.to_string().into()), after })
        }
    }
}

/// Notes which items are to be read strongly, or to be written.
pub(super) fn note(record: &mut Record, client: &str, call: &Call, key_names: &[String]) {
    let mut note = |table: &str, key: String, what: Question| {
        let (client, table) = (client.to_owned(), table.to_owned());
        record.asked.push(Asked { client, table, key, arrived: call.arrived, what });
    };
    if let Some((table, key, _)) = write_of(call, key_names) {
        note(&table, key, Question::Write);
    } else if call.is("BatchGetItem") {
        for (table, asked) in call.json()["RequestItems"].as_object().into_iter().flatten() {
            for key in asked["Keys"].as_array().into_iter().flatten().filter(|_| asked["ConsistentRead"] == true) {
                note(table, key_of(key, key_names), Question::Read);
            }
        }
    }
}

/// Notes what was written.
pub(super) fn remember(record: &mut Record, client: &str, call: &Call, answer: &Answer, key_names: &[String]) {
    if let Some((table, key, effect)) = write_of(call, key_names).filter(|_| answer.status.is_success()) {
        record.written.push(Written { client: client.to_owned(), table, key, effect });
    }
}

fn write_of(call: &Call, key_names: &[String]) -> Option<(String, String, Effect)> {
    if !call.writes_tables() {
        return None;
    }
    let body = call.json();
    let table = body["TableName"].as_str().unwrap_or_default().to_owned();
    Some(match call.operation.as_str() {
        "PutItem" => (table, key_of(&body["Item"], key_names), Effect::Put),
        "DeleteItem" => (table, key_of(&body["Key"], key_names), Effect::Deleted),
        // No program of ours sends these; whoever does so is found out by a key that no oracle knows.
        other => (table, other.to_owned(), Effect::Put),
    })
}

fn key_of(item: &Json, key_names: &[String]) -> String {
    let names = key_names.iter().filter_map(|name| Some((name.clone(), item.get(name)?.clone())));
    key_text_of_json(&Json::Object(names.collect()))
}
