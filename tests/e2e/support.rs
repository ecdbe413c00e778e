//! What the tests stand on does what it says.

use std::collections::BTreeSet;
use std::time::Duration;

use shared::domain::key::KeyType;
use shared::domain::value::{Item, Value};
use tests::generate::{Shares, pair_of_tables, schema, table};
use tests::oracle::{brute_force, plain_decimal};
use tests::process::Programs;
use tests::wait::DEADLINE;

fn shells() -> Programs {
    Programs::new("/bin/sh", "/bin/sh").with_dynamodb("http://127.0.0.1:1").with_services("http://127.0.0.1:2")
}

#[test]
fn programs_see_a_clean_environment_and_their_own_home() {
    let programs = shells();

    let finished = programs.dynamend(&["-c", "env; pwd >&2; exit 4"]);

    let names: BTreeSet<&str> = finished.stdout.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    let expected = [
        "AWS_ACCESS_KEY_ID",
        "AWS_EC2_METADATA_DISABLED",
        "AWS_ENDPOINT_URL_DYNAMODB",
        "AWS_ENDPOINT_URL_DYNAMODB_STREAMS",
        "AWS_ENDPOINT_URL_S3",
        "AWS_ENDPOINT_URL_SQS",
        "AWS_ENDPOINT_URL_STS",
        "AWS_REGION",
        "AWS_SECRET_ACCESS_KEY",
        "HOME",
        "PATH",
        "TMPDIR",
    ];
    let of_the_shell = ["PWD", "OLDPWD", "SHLVL", "_"];
    assert_eq!(names.into_iter().filter(|name| !of_the_shell.contains(name)).collect::<Vec<_>>(), expected);
    assert_eq!(finished.stderr.trim(), programs.home().to_str().unwrap());
    assert_eq!(finished.code, Some(4));
}

#[test]
fn signals_reach_a_running_program() {
    let programs = shells();
    let script = "trap 'echo ending >&2; exit 7' TERM; echo ready >&2; while :; do read -t 1 _; done";
    let mut running = programs.spawn_worker(&["-c", script]);
    running.wait_for_stderr("ready", DEADLINE);

    running.pause();
    running.terminate();
    assert!(running.is_running());
    assert!(!running.stderr().contains("ending"));
    running.resume();

    assert_eq!(running.wait(DEADLINE).code, Some(7));
}

#[test]
fn a_killed_program_has_no_exit_code_and_keeps_what_it_wrote() {
    let programs = shells();
    let mut running = programs.spawn_worker(&["-c", "echo out; echo ready >&2; exec sleep 600"]);
    running.wait_for_stderr("ready", DEADLINE);

    let finished = running.kill();

    assert_eq!((finished.code, finished.stdout.as_str()), (None, "out\n"));
}

#[test]
#[should_panic(expected = "still runs after")]
fn a_program_that_does_not_end_fails_the_test() {
    let programs = shells();

    let _ = programs.spawn_worker(&["-c", "exec sleep 600"]).wait(Duration::from_millis(50));
}

#[test]
fn the_oracle_writes_numbers_out() {
    for (text, plain) in [
        ("1", "1"),
        ("1.0", "1"),
        ("1E2", "100"),
        ("100", "100"),
        ("-1.50e-1", "-0.15"),
        ("-0.0E5", "0"),
        ("+007", "7"),
        ("12.345e1", "123.45"),
        ("1e-5", "0.00001"),
        (".5", "0.5"),
    ] {
        assert_eq!(plain_decimal(text), plain, "{text}");
    }
}

#[test]
fn a_pair_of_tables_differs_as_it_says_and_is_the_same_every_time() {
    let shares = Shares { missing: 0.2, differing: 0.3, extra: 0.1 };
    for schema in [schema(KeyType::S, None), schema(KeyType::N, Some(KeyType::B))] {
        let pair = pair_of_tables(&schema, 42, 100, shares);
        let again = pair_of_tables(&schema, 42, 100, shares);

        assert_eq!(brute_force(&pair.master, &pair.slave, &schema), pair.expected);
        let sizes = (pair.expected.missing.len(), pair.expected.differing.len(), pair.expected.extra.len());
        assert_eq!((pair.master.len(), sizes), (100, (20, 30, 10)));
        assert_eq!((pair.master, pair.slave, pair.expected), (again.master, again.slave, again.expected));
    }
}

#[test]
fn generated_tables_have_every_type_and_nesting() {
    fn visit(value: &Value, depth: usize, seen: &mut BTreeSet<&'static str>, deepest: &mut usize) {
        *deepest = depth.max(*deepest);
        seen.insert(match value {
            Value::S(text) if text.is_empty() => "empty S",
            Value::S(_) => "S",
            Value::N(number) if number.significant_digits() > 35 => "long N",
            Value::N(_) => "N",
            Value::B(bytes) if bytes.is_empty() => "empty B",
            Value::B(_) => "B",
            Value::Bool(_) => "BOOL",
            Value::Null => "NULL",
            Value::Ss(_) => "SS",
            Value::Ns(_) => "NS",
            Value::Bs(_) => "BS",
            Value::L(values) if values.is_empty() => "empty L",
            Value::L(_) => "L",
            Value::M(values) if values.is_empty() => "empty M",
            Value::M(_) => "M",
        });
        match value {
            Value::L(values) => values.iter().for_each(|inner| visit(inner, depth + 1, seen, deepest)),
            Value::M(values) => values.values().for_each(|inner| visit(inner, depth + 1, seen, deepest)),
            _ => {}
        }
    }
    let (mut seen, mut deepest) = (BTreeSet::new(), 0);
    let items: Vec<Item> = table(&schema(KeyType::S, None), 3, 300);
    items.iter().flat_map(Item::values).for_each(|value| visit(value, 0, &mut seen, &mut deepest));

    assert_eq!(seen.len(), 15, "{seen:?}");
    assert!(deepest >= 4, "{deepest}");
}
