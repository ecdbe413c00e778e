//! Nothing that a run leaves behind holds a secret, or an item's values unless they were asked for.

use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value as Json, json};
use shared::domain::number::Number;
use shared::domain::value::{Item, Value};
use tests::ministack::MiniStack;
use tests::process::{Finished, Programs};
use tests::relay::{Relay, Reply, Request};
use tests::wait::{DEADLINE, eventually};

use crate::stage::{Fleet, SLAVE, SYNC, Stage, document, files, holds, order_schema, orders, text, unpacked};

/// Of the user, of the role that is assumed, and the code that opens it.
const SECRETS: [&str; 5] = [
    "PlantedSecretAccessKey0123456789abcdefgh",
    "PlantedSessionToken9876543210zyxwvuts",
    "PlantedRoleSecretKey0123456789abcdefghijk",
    "PlantedRoleSessionToken9876543210zyxwvuts",
    "736251904182",
];

/// Values of both tables, of every type and depth, in items that agree, differ, are missing and are extra.
const VALUES: [&str; 10] = [
    "PLANTED-TEXT-1a2b",
    "PLANTED-OTHER-3c4d",
    "918273645546372819",
    "PLANTED-DEEP-5e6f",
    "PLANTED-EXTRA-7a8b",
    "PLANTED-BINARY-9c0d",
    "PLANTED-SET-1e2f",
    "564738291019283746",
    "PLANTED-BINARIES-3a4b",
    "PLANTED-LIST-5c6d",
];

/// What the keys of all items begin with.
const KEYS: &str = "order-0";

/// Our own crates say all they can, and others what they say by default.
const ALL_OF_OURS: &str = "warn,shared=trace,worker=trace,coordinator=trace,dynamend=trace";

fn tables() -> (Vec<Item>, Vec<Item>) {
    let number = |digits: &str| Number::parse(digits).expect("it is a number");
    let deep = [("inner".to_owned(), Value::L(vec![text(VALUES[3])])), ("bytes".to_owned(), binary(VALUES[5]))];
    let master = orders(
        40,
        &[
            ("name", text(VALUES[0])),
            ("amount", Value::N(number(VALUES[2]))),
            ("meta", Value::M(deep.into())),
            ("photo", binary(VALUES[5])),
            ("tags", Value::Ss(vec![VALUES[6].into(), "plain".into()])),
            ("sizes", Value::Ns(vec![number(VALUES[7]), number("1")])),
            ("photos", Value::Bs(vec![VALUES[8].into()])),
            ("lines", Value::L(vec![text(VALUES[9])])),
        ],
    );
    let mut slave = master[..30].to_vec();
    for item in &mut slave[..10] {
        let names: Vec<String> = item.keys().filter(|name| *name != "id").cloned().collect();
        item.extend(names.into_iter().map(|name| (name, text(VALUES[1]))));
    }
    slave.push([("id".to_owned(), text("order-0zzz")), ("name".to_owned(), text(VALUES[4]))].into());
    (master, slave)
}

fn binary(text: &str) -> Value {
    Value::B(text.into())
}

async fn stage() -> Stage {
    let (master, slave) = tables();
    let mut stage = Stage::of(&order_schema(), &master, &slave).await;
    stage.programs = planted(stage.programs);
    stage
}

fn planted(programs: Programs) -> Programs {
    programs.with("AWS_SECRET_ACCESS_KEY", SECRETS[0]).with("AWS_SESSION_TOKEN", SECRETS[1])
}

/// As text, as base64, and as bytes are shown by Rust.
fn spellings(planted: &str) -> [String; 3] {
    let bytes: Vec<String> = planted.bytes().map(|byte| byte.to_string()).collect();
    [planted.to_owned(), BASE64.encode(planted), bytes.join(", ")]
}

fn found<'a>(body: &[u8], planted: &[&'a str]) -> Vec<&'a str> {
    planted.iter().copied().filter(|one| spellings(one).iter().any(|spelling| holds(body, spelling))).collect()
}

fn assert_clean(what: &str, body: &[u8]) {
    let found = found(body, &[&SECRETS[..], &VALUES].concat());
    assert!(found.is_empty(), "{what} holds {found:?}:\n{}", String::from_utf8_lossy(body));
}

fn assert_said_nothing(finished: &Finished) {
    assert_clean("standard output", finished.stdout.as_bytes());
    assert_clean("standard error", finished.stderr.as_bytes());
}

/// Everything below the programs' home: the store, and what was printed.
fn assert_left_nothing(programs: &Programs) {
    files(programs.home()).iter().for_each(|(name, body)| assert_clean(name, body));
}

/// A role's session with planted credentials.
fn session(request: &Request) -> Option<Reply> {
    String::from_utf8_lossy(&request.body).contains("Action=AssumeRole").then(|| Reply {
        status: 200,
        content_type: "text/xml",
        body: format!(
            "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIAPLANTED</AccessKeyId>\
             <SecretAccessKey>{}</SecretAccessKey><SessionToken>{}</SessionToken>\
             <Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>",
            SECRETS[2], SECRETS[3]
        ),
    })
}

type Answers = fn(&Request) -> Option<Reply>;

fn page(body: String) -> Reply {
    Reply { status: 200, content_type: "application/x-amz-json-1.0", body }
}

fn refusal(status: u16, code: &str, message: &str) -> Reply {
    let body = json!({ "__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": message });
    Reply { status, ..page(body.to_string()) }
}

fn asks(request: &Request, action: &str) -> bool {
    request.headers.get("x-amz-target").is_some_and(|target| target.ends_with(&format!(".{action}")))
}

#[tokio::test]
async fn a_run_in_one_process_leaves_none_behind() {
    let mut stage = stage().await;
    let sts = Relay::answering(&MiniStack::shared().endpoint(), session);
    stage.programs = stage.programs.with("AWS_ENDPOINT_URL_STS", &sts.endpoint());
    let role =
        ["--role-arn", "arn:aws:iam::1:role/r", "--mfa-serial", "arn:aws:iam::1:mfa/me", "--mfa-token", SECRETS[4]];

    let compared = stage.sync(&[&role[..], &["-vv", "--scan-for-extra", "--job-id", "compare"]].concat());
    stage.programs = stage.programs.with("RUST_LOG", ALL_OF_OURS);
    let looked_up = stage.sync(&["-vv", "--scan-for-extra", "--strategy", "lookup", "--typed-reader"]);
    let repaired = stage.sync(&["-vv", "--repair", "--log-format", "json", "--job-id", "repair"]);

    assert_eq!((compared.code, looked_up.code, repaired.code), (Some(1), Some(1), Some(0)), "{}", repaired.stderr);
    let code = |call: &tests::relay::Call| holds(&call.request.body, SECRETS[4]);
    assert!(sts.take_calls().iter().any(code), "the role was not assumed with the code");
    for command in [
        &["status", "compare"][..],
        &["status", "compare", "--output", "json", "-vv"],
        &["jobs"],
        &["report", "compare"],
        &["report", "compare", "--format", "jsonl"],
        &["report", "compare", "--format", "csv"],
        &["report", "repair", "--output", "json"],
    ] {
        assert_eq!(stage.programs.dynamend(command).code, Some(0));
    }
    let left = files(stage.programs.home());
    assert!(left.keys().any(|name| name.contains("/discrepancies-") && name.ends_with(".gz")), "there is a report");
    assert!(left.keys().any(|name| name.contains("/pending-")), "there are pending repairs");
    assert_left_nothing(&stage.programs);
}

#[tokio::test]
async fn a_fleet_leaves_none_behind() {
    let mut fleet = Fleet::around(stage().await, 2).await;
    let services = Relay::answering(&MiniStack::shared().endpoint(), session);
    let programs = planted(fleet.stage.programs).with("RUST_LOG", ALL_OF_OURS);
    fleet.stage.programs = programs.with_services(&services.endpoint());
    fleet.queue.send("not for anybody").await;

    let role = ["--role-arn", "arn:aws:iam::1:role/r", "--external-id", "agreed"];
    let job = ["-vv", "--repair", "--segments", "2", "--job-id", "job"];
    let enqueued = fleet.dynamend(&[&SYNC[..], &role, &job].concat());
    assert_eq!(enqueued.code, Some(0), "{}", enqueued.stderr);
    let worker = fleet.worker(&["-vv", "--log-format", "json"]);
    fleet.summary("job", DEADLINE).await;
    eventually("the bad message is dead", 2 * DEADLINE, async || (fleet.queue.counts().await.dead == 1).then_some(()))
        .await;
    worker.terminate();
    let worker = worker.wait(DEADLINE);

    assert_eq!(worker.code, Some(0), "{}", worker.stderr);
    let calls = services.take_calls();
    let sent = calls.iter().filter(|call| call.request.headers.contains_key("x-amz-target"));
    let sent: Vec<_> = sent.inspect(|call| assert_clean("what SQS is told", &call.request.body)).collect();
    assert!(sent.iter().any(|call| asks(&call.request, "SendMessageBatch")), "messages were not seen");
    for body in fleet.queue.take_dead_letters().await {
        assert_clean("a dead letter", body.as_bytes());
    }
    let keys = fleet.bucket.keys("").await;
    assert!(keys.iter().any(|key| key.ends_with(".jsonl.gz")), "there is a report");
    for key in keys {
        let body = fleet.bucket.get(&key).await.expect("it was listed");
        assert_clean(&key, &unpacked(&key, body));
    }
    assert_left_nothing(&fleet.stage.programs);
    assert!(fleet.stage.differences().await.is_empty());
}

/// The first text of the item that is to be written, and a number, as DynamoDB quotes what it refuses.
fn quoting(request: &Request) -> String {
    let asked: Json = serde_json::from_slice(&request.body).expect("DynamoDB speaks JSON");
    let item = &asked["Item"];
    let quoted = [&item["name"]["S"], &item["amount"]["N"], &item["photo"]["B"], &item["tags"]["SS"]];
    let [name, amount, photo, tags] = quoted.map(|value| value.to_string().replace('"', ""));
    let (tags, old) = (tags.replace(',', ", "), asked["ExpressionAttributeValues"].to_string());
    format!("Cannot convert: {amount}. Input collection {tags} contains {name}, {photo}; expected {old}.")
}

#[tokio::test]
async fn failures_of_the_fast_reader_and_of_writes_repeat_no_value_even_when_the_service_does() {
    failures_repeat_no_value(&[]).await;
}

#[tokio::test]
async fn failures_of_the_typed_reader_repeat_no_value_either() {
    failures_repeat_no_value(&["--typed-reader"]).await;
}

async fn failures_repeat_no_value(reader: &[&str]) {
    let ways: [(&str, Answers, &[&str], i32); 5] = [
        (
            "refused writes",
            |request| asks(request, "PutItem").then(|| refusal(400, "ValidationException", &quoting(request))),
            &["--write-missing", "--write-differing"],
            1,
        ),
        (
            "denied writes",
            |request| asks(request, "PutItem").then(|| refusal(400, "AccessDeniedException", &quoting(request))),
            &["--write-missing", "--write-differing"],
            4,
        ),
        (
            "numbers that are none",
            |request| {
                let item = json!({ "id": { "S": "order-00001" }, "amount": { "N": VALUES[0] } });
                let body = json!({ "Items": [item], "Count": 1, "ScannedCount": 1 }).to_string();
                asks(request, "Scan").then_some(page(body))
            },
            &[],
            4,
        ),
        (
            "answers that break off",
            |request| {
                let body = format!(r#"{{"Items": [{{"id": {{"S": "order-00001"}}, "name": {{"S": "{}"#, VALUES[0]);
                asks(request, "Scan").then_some(page(body))
            },
            &["--max-retries", "1"],
            4,
        ),
        (
            "types that nobody knows",
            |request| {
                let body = format!(r#"{{"Items": [{{"id": {{"S": "order-00001"}}, "x": {{"Q": "{}"}}}}]}}"#, VALUES[0]);
                asks(request, "Scan").then_some(page(body))
            },
            &[],
            4,
        ),
    ];
    let mut throttles = 0;
    for (name, answers, flags, code) in ways {
        let mut stage = stage().await;
        let throttled = AtomicBool::new(false);
        let relay = Relay::answering(&stage.server.endpoint(), move |request| {
            let first = asks(request, "Scan") && !throttled.swap(true, Ordering::Relaxed);
            let throttle = || refusal(400, "ProvisionedThroughputExceededException", "Slow down.");
            if first { Some(throttle()) } else { answers(request) }
        });
        stage.programs = stage.programs.with_dynamodb(&relay.endpoint()).with("RUST_LOG", ALL_OF_OURS);

        let ended = stage.sync(&[&["-vv", "--segments", "1", "--job-id", "job"], flags, reader].concat());

        assert_eq!(ended.code, Some(code), "{name}: {}", ended.stderr);
        throttles += usize::from(ended.stderr.to_lowercase().contains("slow down"));
        assert_said_nothing(&ended);
        for command in [["report", "job"], ["status", "job"]] {
            assert_eq!(stage.programs.dynamend(&command).code, Some(0), "{name}");
        }
        assert_left_nothing(&stage.programs);
    }
    assert!(throttles > 0, "no throttled call was logged");
}

#[tokio::test]
async fn values_that_were_asked_for_are_in_the_report_and_nowhere_else() {
    let mut stage = stage().await;
    stage.programs = stage.programs.with("RUST_LOG", ALL_OF_OURS);

    let ended = stage.sync(&["-vv", "--repair", "--report-values", "--job-id", "job", "--output", "json"]);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(document(&ended)["slaves"][0]["table"], SLAVE);
    let report = |format: &str| stage.programs.dynamend(&["report", "job", "--format", format]);
    assert_said_nothing(&report("csv"));
    let mut reported = Vec::new();
    for (name, body) in files(stage.programs.home()) {
        // The lines of repairs about to be made wait in a list of their own until their outcome is known.
        if name.contains("/discrepancies-") || name.contains("/pending-") {
            assert!(found(&body, &SECRETS).is_empty(), "{name} holds a secret");
            reported.extend(body);
        } else {
            assert_clean(&name, &body);
        }
    }
    assert_eq!(found(&reported, &VALUES), VALUES);
    for format in ["text", "jsonl"] {
        let shown = report(format);
        assert_eq!(found(shown.stdout.as_bytes(), &VALUES), VALUES, "{format}");
        assert_clean("standard error", shown.stderr.as_bytes());
    }
}

#[tokio::test]
async fn logs_do_not_name_keys_unless_they_are_made_verbose() {
    for (status, code) in [(400, "ValidationException"), (400, "AccessDeniedException"), (500, "InternalServerError")] {
        let mut fleet = Fleet::around(stage().await, 2).await;
        let relay = Relay::answering(&fleet.stage.server.endpoint(), move |request| {
            let message = format!("Because of {}.", String::from_utf8_lossy(&request.body).replace('"', " "));
            asks(request, "PutItem").then(|| refusal(status, code, &message))
        });
        fleet.stage.programs = fleet.stage.programs.with_dynamodb(&relay.endpoint());
        let flags = ["--write-missing", "--segments", "1", "--max-retries", "0", "--job-id"];

        let here = fleet.stage.sync(&[&flags[..], &["here"]].concat());
        let queued = fleet.dynamend(&[&SYNC[..], &flags, &["job"]].concat());
        let worker = fleet.worker(&[]);
        eventually("the worker has met the failure", 2 * DEADLINE, async || {
            worker
                .stderr()
                .contains(if code == "ValidationException" { "unit done" } else { "cannot go on" })
                .then_some(())
        })
        .await;
        worker.terminate();
        let worker = worker.wait(DEADLINE);

        for finished in [&here, &queued, &worker] {
            assert!(!holds(finished.stderr.as_bytes(), KEYS), "{code}: {}", finished.stderr);
        }
    }
}
