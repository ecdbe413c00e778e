//! Nothing that a run leaves behind holds a secret, or an item's values unless they were asked for.

use tests::process::{Finished, Programs};
use tests::wait::DEADLINE;

use shared::domain::number::Number;
use shared::domain::value::{Item, Value};

use crate::stage::{Fleet, SYNC, Stage, files, holds, order_schema, orders, text, unpacked};

const SECRET: &str = "PlantedSecretAccessKey0123456789abcdefgh";
const TOKEN: &str = "PlantedSessionToken9876543210zyxwvuts";

/// Values of both tables, of several types, in items that agree, differ, are missing and are extra.
const VALUES: [&str; 5] =
    ["PLANTED-TEXT-1a2b", "PLANTED-OTHER-3c4d", "918273645546372819", "PLANTED-DEEP-5e6f", "PLANTED-EXTRA-7a8b"];

fn tables() -> (Vec<Item>, Vec<Item>) {
    let number = |digits: &str| Value::N(Number::parse(digits).expect("it is a number"));
    let deep = Value::M([("inner".to_owned(), Value::L(vec![text(VALUES[3])]))].into());
    let master = orders(40, &[("name", text(VALUES[0])), ("amount", number(VALUES[2])), ("meta", deep)]);
    let mut slave = master[..30].to_vec();
    for item in &mut slave[..10] {
        item.insert("name".into(), text(VALUES[1]));
        item.insert("amount".into(), number("5"));
        item.insert("meta".into(), Value::Null);
    }
    slave.push([("id".to_owned(), text("zzz")), ("name".to_owned(), text(VALUES[4]))].into());
    (master, slave)
}

fn planted(programs: Programs) -> Programs {
    programs.with("AWS_SECRET_ACCESS_KEY", SECRET).with("AWS_SESSION_TOKEN", TOKEN)
}

fn assert_clean(what: &str, body: &[u8]) {
    for planted in [SECRET, TOKEN].iter().chain(&VALUES) {
        assert!(!holds(body, planted), "{what} holds {planted}:\n{}", String::from_utf8_lossy(body));
    }
}

fn assert_said_nothing(finished: &Finished) {
    assert_clean("standard output", finished.stdout.as_bytes());
    assert_clean("standard error", finished.stderr.as_bytes());
}

#[tokio::test]
async fn a_run_in_one_process_leaves_none_behind() {
    let (master, slave) = tables();
    let mut stage = Stage::of(&order_schema(), &master, &slave).await;
    stage.programs = planted(stage.programs);

    let compared = stage.sync(&["-vv", "--scan-for-extra", "--job-id", "compare"]);
    let repaired = stage.sync(&["-vv", "--repair", "--log-format", "json", "--job-id", "repair"]);

    assert_eq!((compared.code, repaired.code), (Some(1), Some(0)), "{}", repaired.stderr);
    [compared, repaired].iter().for_each(assert_said_nothing);
    for command in [["status", "compare"], ["report", "compare"], ["report", "repair"]] {
        assert_said_nothing(&stage.programs.dynamend(&command));
    }
    let left = files(stage.programs.home());
    assert!(left.keys().any(|name| name.ends_with(".jsonl.gz")), "there is a report");
    left.iter().for_each(|(name, body)| assert_clean(name, body));
}

#[tokio::test]
async fn a_fleet_leaves_none_behind() {
    let (master, slave) = tables();
    let mut fleet = Fleet::around(Stage::of(&order_schema(), &master, &slave).await, 2).await;
    fleet.stage.programs = planted(fleet.stage.programs);
    fleet.queue.send("not for anybody").await;

    let enqueued = fleet.dynamend(&[&SYNC[..], &["-vv", "--repair", "--segments", "2", "--job-id", "job"]].concat());
    assert_eq!(enqueued.code, Some(0), "{}", enqueued.stderr);
    let mut receipts = Vec::new();
    while let Some((body, receipt)) = fleet.queue.receive().await {
        assert_clean("a message", body.as_bytes());
        receipts.push(receipt);
    }
    assert_eq!(receipts.len(), 3);
    for receipt in receipts {
        fleet.queue.give_back(&receipt).await;
    }
    let worker = fleet.worker(&["-vv"]);
    fleet.summary("job", DEADLINE).await;
    worker.terminate();
    let worker = worker.wait(DEADLINE);

    assert_eq!(worker.code, Some(0), "{}", worker.stderr);
    [enqueued, worker].iter().for_each(assert_said_nothing);
    let keys = fleet.bucket.keys("").await;
    assert!(keys.iter().any(|key| key.ends_with(".jsonl.gz")), "there is a report");
    for key in keys {
        let body = fleet.bucket.get(&key).await.expect("it was listed");
        assert_clean(&key, &unpacked(&key, body));
    }
    assert!(fleet.stage.differences().await.is_empty());
}
