//! What the programs tell a collector, the log, and each other by their messages; and that it costs nobody anything.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use aws_sdk_dynamodb::types::StreamViewType;
use serde_json::{Value as Json, json};
use shared::domain::value::{Item, Value};
use tests::collector::{Collector, Received, Span};
use tests::ministack::MiniStack;
use tests::relay::{Relay, Reply};
use tests::wait::DEADLINE;

use crate::stage::{Fleet, MASTER, SLAVE, SYNC, Stage, programs};

const ITEMS: usize = 100;

fn telling(collector: &Collector) -> Vec<(String, String)> {
    vec![("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), collector.endpoint())]
}

/// A repair of the usual tables by a worker, both programs in this environment; what the worker wrote comes back.
async fn repaired(fleet: &Fleet, environment: &[(String, String)], of_worker: &[&str]) -> String {
    let place = ["--queue", &fleet.queue.url, "--store", &fleet.store];
    let sync = [&SYNC[..], &["--job-id", "job", "--segments", "4", "--repair"], &place].concat();
    let enqueued = fleet.stage.programs.spawn_dynamend_in(environment, &sync).wait(DEADLINE);
    assert_eq!(enqueued.code, Some(0), "{}", enqueued.stderr);
    let worker = [&["--queue", &fleet.queue.url, "--lease", "60", "--drain"], of_worker].concat();
    let worked = fleet.stage.programs.spawn_worker_in(environment, &worker).wait(DEADLINE);
    assert_eq!(worked.code, Some(0), "{}", worked.stderr);
    assert!(fleet.stage.differences().await.is_empty());
    worked.stderr
}

#[tokio::test]
async fn traces_lead_from_the_command_over_its_messages_to_the_work_of_each_segment() {
    let (stage, _) = Stage::differing(ITEMS).await;
    let fleet = Fleet::around(stage, 3).await;
    let collector = Collector::start();

    repaired(&fleet, &telling(&collector), &[]).await;

    let received = collector.received();
    let queue = fleet.queue.url.rsplit('/').next().unwrap_or_default();
    let one = |name: &str| match &received.named(name)[..] {
        [span] => (*span).clone(),
        other => panic!("{name}: {other:?}"),
    };
    let command = one("dynamend sync");
    assert_eq!((command.service.as_str(), command.parent.len()), ("dynamend", 0));
    assert_eq!(command.attributes["dynamend.job.id"], "job");
    let send = one(&format!("send {queue}"));
    assert_eq!((send.kind, &send.parent, &send.id.0), (4, &command.id.1, &command.id.0));
    assert_eq!(send.attributes["messaging.batch.message_count"], "4");
    let process = received.named(&format!("process {queue}"));
    assert_eq!(process.len(), 4, "{:?}", received.spans);
    for span in &process {
        assert_eq!((span.service.as_str(), span.kind, &span.error), ("dynamend-worker", 5, &None));
        assert_eq!(span.links, std::slice::from_ref(&send.id));
        let expected = [
            ("messaging.system", "aws_sqs"),
            ("messaging.destination.name", queue),
            ("messaging.operation.name", "process"),
            ("messaging.operation.type", "process"),
            ("dynamend.job.id", "job"),
            ("dynamend.outcome", "done"),
            ("aws.dynamodb.total_segments", "4"),
        ];
        for (name, value) in expected {
            assert_eq!(span.attributes.get(name).map(String::as_str), Some(value), "{name} of {span:?}");
        }
    }
    let figure = |span: &&Span| span.attributes["dynamend.items.compared"].parse::<usize>().expect("a number");
    assert_eq!(process.iter().map(figure).sum::<usize>(), ITEMS);
}

#[tokio::test]
async fn metrics_tell_what_the_report_tells() {
    let (stage, pair) = Stage::differing(ITEMS).await;
    let fleet = Fleet::around(stage, 3).await;
    let collector = Collector::start();

    repaired(&fleet, &telling(&collector), &[]).await;

    let received = collector.received();
    let discrepancies = |kind| received.sum("dynamend.discrepancies", ("dynamend.discrepancy.kind", kind));
    let (missing, differing, extra) =
        (pair.expected.missing.len(), pair.expected.differing.len(), pair.expected.extra.len());
    let count = |number: usize| f64::from(u32::try_from(number).expect("few"));
    assert_eq!(discrepancies("missing"), count(missing));
    assert_eq!(discrepancies("differing"), count(differing));
    assert_eq!(discrepancies("extra"), count(extra));
    let repairs = |outcome| received.sum("dynamend.repairs", ("dynamend.outcome", outcome));
    assert_eq!((repairs("written"), repairs("deleted")), (count(missing + differing), count(extra)));
    assert_eq!(received.sum("dynamend.items.compared", ("dynamend.table", SLAVE)), count(ITEMS));
    assert_eq!(received.sum("dynamend.items.scanned", ("dynamend.table", MASTER)), count(ITEMS));
    assert_eq!(received.sum("dynamend.units", ("dynamend.outcome", "done")), 4.0);
    assert!(received.sum("dynamend.pages", ("rpc.method", "Scan")) >= 8.0, "{:?}", received.values);
    assert!(received.sum("dynamend.pages", ("rpc.method", "BatchGetItem")) >= 1.0, "{:?}", received.values);
    for (table, direction) in [(MASTER, "read"), (SLAVE, "read"), (SLAVE, "write")] {
        let summary = fleet.summary("job", DEADLINE).await;
        let consumed = received.values.iter().find(|(series, _)| {
            series.name == "dynamend.capacity.consumed"
                && series.attributes["dynamend.table"] == table
                && series.attributes["dynamend.capacity.direction"] == direction
        });
        let consumed = consumed.unwrap_or_else(|| panic!("{table} {direction}: {:?}", received.values)).1;
        let expected = summary["consumed"][table][direction].as_f64().expect("units");
        assert!((consumed - expected).abs() < 1e-6, "{table} {direction}: {consumed} is not {expected}");
    }
    let units = [("dynamend.items.compared", "{item}"), ("messaging.process.duration", "s")];
    for (name, unit) in units {
        assert_eq!(received.units.get(name).map(String::as_str), Some(unit), "{name}");
    }
}

#[tokio::test]
async fn throttling_is_told_by_its_reason_and_retries_by_what_they_repeat() {
    let (stage, _) = Stage::differing(20).await;
    let collector = Collector::start();
    let body = r#"{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException","message":"Slow down.",
        "throttlingReasons":[{"reason":"TableReadAccountLimitExceeded","resource":"arn:aws:dynamodb:::table/t"}]}"#;
    let left = AtomicU32::new(3);
    let throttling = Relay::answering(&stage.server.endpoint(), move |request| {
        let is_scan = request.headers.get("x-amz-target").is_some_and(|target| target.ends_with(".Scan"));
        let one_less = |left: u32| left.checked_sub(1);
        let is_throttled = is_scan && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok();
        let content_type = "application/x-amz-json-1.0";
        is_throttled.then(|| Reply { status: 400, content_type, body: body.to_owned() })
    });
    let programs = programs().with_dynamodb(&throttling.endpoint());

    let compared = programs.spawn_dynamend_in(&telling(&collector), &SYNC).wait(DEADLINE);

    assert_eq!(compared.code, Some(1), "{}", compared.stderr);
    let received = collector.received();
    let reason = ("dynamend.throttle.reason", "TableReadAccountLimitExceeded");
    assert_eq!(received.sum("dynamend.throttles", reason), 3.0, "{:?}", received.values);
    assert_eq!(received.sum("dynamend.retries", ("error.type", "throttled")), 3.0);
    assert_eq!(received.sum("dynamend.retries", ("rpc.method", "Scan")), 3.0);
}

#[tokio::test]
async fn a_followed_stream_tells_its_lag() {
    let (stage, _) = Stage::differing(20).await;
    stage.server.enable_stream("orders", StreamViewType::NewAndOldImages).await;
    let items = stage.server.read_all("orders").await;
    stage.server.put_all("orders", &items[..5]).await;
    let collector = Collector::start();

    let arguments = ["replicate", "-m", MASTER, "-s", SLAVE, "--until-caught-up"];
    let followed = stage.programs.spawn_dynamend_in(&telling(&collector), &arguments).wait(DEADLINE);

    assert_eq!(followed.code, Some(0), "{}", followed.stderr);
    let received = collector.received();
    let lag: Vec<_> = received.values.iter().filter(|(series, _)| series.name == "dynamend.stream.lag").collect();
    assert!(matches!(&lag[..], [(series, _)] if series.attributes["dynamend.table"] == MASTER), "{lag:?}");
}

/// Texts and numbers of these items that nothing else could have told.
fn values_of(items: &[Item]) -> Vec<String> {
    let of_value = |value: &Value| match value {
        Value::S(text) if text.len() > 3 => Some(text.clone()),
        Value::N(number) if number.to_string().len() > 6 => Some(number.to_string()),
        _ => None,
    };
    items.iter().flat_map(|item| item.values()).filter_map(of_value).collect()
}

#[tokio::test]
async fn nothing_of_an_item_goes_to_a_collector() {
    let (stage, _) = Stage::differing(ITEMS).await;
    let mut fleet = Fleet::around(stage, 3).await;
    let collector = Collector::start();
    let items = fleet.stage.server.read_all("orders").await;
    // The service repeats what it refuses, as DynamoDB does.
    let refusing = Relay::answering(&fleet.stage.server.endpoint(), |request| {
        let is_put = request.headers.get("x-amz-target").is_some_and(|target| target.ends_with(".PutItem"));
        let asked: Json = serde_json::from_slice(&request.body).unwrap_or_default();
        let told = format!("One or more parameter values are not valid: {}", asked["Item"]);
        let body = json!({ "__type": "com.amazon.coral.validate#ValidationException", "message": told }).to_string();
        is_put.then_some(Reply { status: 400, content_type: "application/x-amz-json-1.0", body })
    });
    let programs = programs().with_dynamodb(&refusing.endpoint());
    fleet.stage.programs = programs.with_services(&MiniStack::shared().endpoint());
    let sync = [&SYNC[..], &["--job-id", "job", "--segments", "4", "--repair", "-vv"], &["--wait"]].concat();
    let place = ["--queue", &fleet.queue.url, "--store", &fleet.store];
    let following = fleet.stage.programs.spawn_dynamend_in(&telling(&collector), &[&sync[..], &place].concat());
    let worker = ["--queue", &fleet.queue.url, "--drain", "-v"];
    let worked = fleet.stage.programs.spawn_worker_in(&telling(&collector), &worker).wait(2 * DEADLINE);
    let followed = following.wait(2 * DEADLINE);
    assert_eq!((worked.code, followed.code), (Some(0), Some(1)), "{}\n{}", worked.stderr, followed.stderr);
    let Received { spans, values, .. } = collector.received();
    assert!(spans.iter().any(|span| !span.events.is_empty()) && !values.is_empty(), "nothing was told: {spans:?}");
    let told = format!("{spans:?}{values:?}");
    let secrets = values_of(&items);
    assert!(secrets.len() > ITEMS / 2, "the items have too few values to look for");
    for secret in secrets {
        assert!(!told.contains(&secret), "{secret} was told");
    }
}

#[tokio::test]
async fn a_collector_that_is_not_there_fails_nothing() {
    let (stage, _) = Stage::differing(ITEMS).await;
    let fleet = Fleet::around(stage, 3).await;
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    let nobody = nobody.expect("a port is free, and free again");
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), format!("http://{nobody}"))];

    repaired(&fleet, &environment, &[]).await;
}

#[test]
fn a_collector_that_hangs_keeps_no_program_from_ending() {
    let hanging = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let address = hanging.local_addr().expect("it is bound");
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), format!("http://{address}"))];

    let answered = programs().spawn_dynamend_in(&environment, &["jobs"]).wait(DEADLINE);

    assert_eq!(answered.code, Some(0), "{}", answered.stderr);
}

#[tokio::test]
async fn without_a_collector_metrics_can_go_into_the_log() {
    let (stage, pair) = Stage::differing(ITEMS).await;
    let fleet = Fleet::around(stage, 3).await;

    let log = repaired(&fleet, &[], &["--log-format", "json", "--metric-namespace", "Fleet"]).await;

    let lines: Vec<Json> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
    let metrics: Vec<&Json> = lines.iter().filter(|line| line.get("_aws").is_some()).collect();
    let sum = |name: &str| metrics.iter().filter_map(|line| line[name].as_u64()).sum::<u64>();
    assert_eq!(sum("dynamend.items.compared"), ITEMS as u64, "{metrics:?}");
    let expected = pair.expected.missing.len() + pair.expected.differing.len() + pair.expected.extra.len();
    assert_eq!(sum("dynamend.discrepancies"), expected as u64);
    assert_eq!(sum("dynamend.units"), 4);
    for line in &metrics {
        assert_eq!(line["_aws"]["CloudWatchMetrics"][0]["Namespace"], "Fleet", "{line}");
    }
    let done = lines.iter().filter(|line| line["fields"]["message"] == "unit done");
    let spans: Vec<&Json> = done.map(|line| &line["span"]).collect();
    assert_eq!(spans.len(), 4, "{log}");
    assert!(spans.iter().all(|span| span["dynamend.job.id"] == "job" && span["otel.kind"] == json!(null)), "{spans:?}");
}
