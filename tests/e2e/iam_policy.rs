//! `iam-policy` asks nobody, refuses what cannot be, and prints the policy and nothing else.

use serde_json::Value as Json;
use tests::process::{Finished, Programs};

use crate::bad_input::assert_refused;
use crate::stage::{document, programs};

const TABLES: [&str; 4] = ["-m", "us-east-1:orders", "-s", "eu-west-1:orders-replica"];

const ACCOUNT: [&str; 2] = ["--account", "111122223333"];

const STORE: [&str; 2] = ["--store", "s3://dynamend-jobs-111122223333/dynamend"];

const QUEUE: [&str; 2] = ["--queue", "https://sqs.eu-west-1.amazonaws.com/111122223333/dynamend"];

/// Runs it where there is no service, no region and no credentials.
fn print(parts: &[&[&str]]) -> Finished {
    nowhere().dynamend(&[&["iam-policy"][..], &parts.concat()].concat())
}

fn nowhere() -> Programs {
    let nobody = "http://127.0.0.1:1";
    let nothing = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"];
    let programs = programs().with_dynamodb(nobody).with_services(nobody);
    nothing.iter().fold(programs, |programs, name| programs.with(name, ""))
}

fn printed(parts: &[&[&str]]) -> Json {
    let finished = print(parts);
    assert_eq!(finished.code, Some(0), "{parts:?}: {}", finished.stderr);
    document(&finished)
}

fn refused(parts: &[&[&str]], words: &[&str]) {
    assert_refused(&print(parts), 2, words);
}

fn statements(policy: &Json) -> Vec<(&str, Vec<&str>)> {
    let all = policy["Statement"].as_array().expect("a policy has statements").iter();
    all.map(|it| {
        let resources = it["Resource"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
        (it["Sid"].as_str().unwrap_or_default(), resources)
    })
    .collect()
}

#[test]
fn standard_output_has_the_policy_and_nothing_else_in_either_form() {
    let compare: [&[&str]; 4] = [&["--for", "compare"], &TABLES, &ACCOUNT, &STORE];
    let text = print(&compare);
    let json = print(&[&compare.concat(), &["--output", "json"]]);

    assert_eq!((text.code, text.stderr.as_str()), (Some(0), ""));
    assert_eq!(text.stdout, json.stdout);
    assert_eq!(document(&text)["Version"], "2012-10-17");
}

#[test]
fn names_are_those_of_the_account_and_the_partition() {
    for (region, queue, partition) in [
        ("eu-west-1", "https://sqs.eu-west-1.amazonaws.com/111122223333/work", "aws"),
        ("cn-north-1", "https://sqs.cn-north-1.amazonaws.com.cn/111122223333/work", "aws-cn"),
        ("us-gov-west-1", "arn:aws-us-gov:sqs:us-gov-west-1:111122223333:work", "aws-us-gov"),
    ] {
        let (master, slave) = (format!("{region}:orders"), format!("{region}:copy"));

        let policy = printed(&[&["--for", "compare", "-m", &master, "-s", &slave, "--queue", queue], &STORE]);

        let table = |name: &str| format!("arn:{partition}:dynamodb:{region}:111122223333:table/{name}");
        let bucket = format!("arn:{partition}:s3:::dynamend-jobs-111122223333");
        let expected = [
            ("ReadTables", vec![table("copy"), table("orders")]),
            ("Work", vec![format!("arn:{partition}:sqs:{region}:111122223333:work")]),
            ("KeepJobs", vec![format!("{bucket}/dynamend/jobs/*")]),
            ("TellOtherWorkers", vec![format!("{bucket}/dynamend/jobs/*/workers/*")]),
            ("TellMissingFromForbidden", vec![bucket.clone()]),
        ];
        let expected: Vec<(&str, Vec<&str>)> =
            expected.iter().map(|(sid, names)| (*sid, names.iter().map(String::as_str).collect())).collect();
        assert_eq!(statements(&policy), expected);
    }
}

#[test]
fn a_role_gets_the_tables_and_the_program_may_assume_it() {
    let role = "arn:aws:iam::444455556666:role/replica-writer";
    let flags: [&[&str]; 4] = [&["--for", "repair", "--slave-role-arn", role], &TABLES, &ACCOUNT, &STORE];

    let program = print(&flags);
    let of_role = printed(&[&flags.concat(), &["--policy-of", "slave-role"]]);

    assert!(program.stderr.contains("--policy-of slave-role"), "{}", program.stderr);
    let program = document(&program);
    let master = "arn:aws:dynamodb:us-east-1:111122223333:table/orders";
    let slave = "arn:aws:dynamodb:eu-west-1:444455556666:table/orders-replica";
    let of_program = statements(&program);
    assert!(of_program.contains(&("ReadMaster", vec![master])), "{program}");
    assert!(of_program.contains(&("AssumeRoles", vec![role])), "{program}");
    assert!(!program.to_string().contains("orders-replica"), "{program}");
    assert_eq!(statements(&of_role), [("ReadSlaves", vec![slave]), ("RepairSlaves", vec![slave])]);
}

#[test]
fn a_store_in_a_directory_needs_nothing_of_s3() {
    for store in [&[][..], &["--store", "jobs"]] {
        let finished = print(&[&["--for", "compare"], &TABLES, &ACCOUNT, store]);

        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        assert!(finished.stderr.starts_with("note: the store is the directory "), "{}", finished.stderr);
        let policy = document(&finished);
        assert_eq!(statements(&policy).iter().map(|(sid, _)| *sid).collect::<Vec<_>>(), ["ReadTables"]);
        assert!(!finished.stdout.contains("s3:"), "{policy}");
    }
    refused(&[&["--for", "report"]], &["nothing", "--store s3://"]);
}

#[test]
fn a_policy_that_is_too_long_is_printed_with_a_warning() {
    let tables: Vec<String> =
        (0..100).map(|number| format!("eu-west-1:a-table-with-a-rather-long-name-{number}")).collect();
    let flags: Vec<&str> = tables.iter().flat_map(|table| ["-s", table.as_str()]).collect();

    let finished = print(&[&["--for", "compare", "-m", "us-east-1:orders"], &flags, &ACCOUNT, &STORE]);

    assert_eq!(finished.code, Some(0));
    assert!(finished.stderr.starts_with("warning: ") && finished.stderr.contains("6144"), "{}", finished.stderr);
    assert!(document(&finished)["Statement"].is_array());
}

#[test]
fn without_an_account_there_is_no_policy() {
    refused(&[&["--for", "compare"], &TABLES, &STORE], &["account", "us-east-1:orders", "--account 111122223333"]);
    let other = ["-m", "arn:aws:dynamodb:us-east-1:444455556666:table/orders", "-s", "eu-west-1:copy"];
    refused(&[&["--for", "compare"], &other, &STORE], &["account", "eu-west-1:copy"]);
    refused(&[&["--for", "compare", "--account", "1"], &TABLES], &["--account", "12 digits"]);
}

#[test]
fn names_that_are_none_are_refused() {
    let compare = [&["--for", "compare"][..], &STORE].concat();
    for (flags, words) in [
        (&["-m", "arn:aws:dynamodb:us-east-1:1:table/orders"][..], &["12 digits"][..]),
        (&["-m", "arn:aws-cn:dynamodb:us-east-1:111122223333:table/orders"], &["partition"]),
        (&["-m", "useast1:orders", "--account", "111122223333"], &["useast1", "is no AWS region"]),
        (&["-m", "cn-north-1:orders", "--account", "111122223333"], &["aws-cn", "a policy for each"]),
        (&["-m", "us-east-1:orders", "--queue", "work"], &["`work`", "URL of a queue"]),
        (&["-m", "us-east-1:orders", "--queue", "http://127.0.0.1:4566/111122223333/work"], &["--region"]),
        (&["-m", "us-east-1:orders", "--queue", "arn:aws:sqs:eu-west-1:111122223333:*"], &["arn:aws:sqs:"]),
        (&["-m", "us-east-1:orders", "--kms-key", "alias/jobs"], &["--kms-key", "key/ID"]),
        (&["-m", "us-east-1:orders", "--role-arn", "reader"], &["--role-arn", "role/NAME"]),
    ] {
        let slave = ["-s", "arn:aws:dynamodb:eu-west-1:111122223333:table/copy"];
        refused(&[&compare, &slave, flags], words);
    }
    let bad_store = ["--store", "s3://arn:aws:s3:eu-west-1:111122223333:accesspoint/jobs"];
    refused(&[&["--for", "compare"], &TABLES, &ACCOUNT, &bad_store], &["bucket", "access points"]);
}

#[test]
fn a_purpose_is_refused_without_what_it_is_for() {
    for (flags, words) in [
        (&[][..], &["--for"][..]),
        (&["--for", "everything"], &["everything", "compare", "repair"]),
        (&["--for", "compare"], &["`--for compare`", "-m TABLE and -s TABLE"]),
        (&["--for", "estimate,repair", "-m", TABLES[1]], &["`--for estimate`", "-s TABLE"]),
        (&["--for", "coordinator", TABLES[0], TABLES[1], TABLES[2], TABLES[3]], &["--queue URL"]),
        (&["--for", "backup", "-m", TABLES[1]], &["--backup URL"]),
        (&["--for", "restore", "--backup", "s3://kept"], &["-s TABLE"]),
        (&["--for", "stream", "-m", TABLES[1]], &["-s TABLE"]),
    ] {
        refused(&[flags, &ACCOUNT, &STORE], words);
    }
    // Changes may go into a backup alone.
    printed(&[&["--for", "stream", "-m", TABLES[1], "--backup", "s3://kept/items"], &ACCOUNT, &STORE]);
}

#[test]
fn what_is_of_no_use_is_refused() {
    let role = "arn:aws:iam::111122223333:role/reader";
    for (flag, flags) in [
        ("--kinesis", &["--kinesis", "arn:aws:kinesis:us-east-1:111122223333:stream/changes"][..]),
        ("--backup", &["--backup", "s3://kept"]),
        ("--create", &["--create"]),
        ("--verify", &["--verify"]),
        ("--as-of", &["--as-of"]),
        ("--no-delete", &["--no-delete"]),
        ("--role-arn", &["--role-arn", role, "--slave-role-arn", role]),
    ] {
        let purpose: &[&str] = if flag == "--role-arn" {
            &["--for", "restore", "-s", TABLES[3], "--backup", "s3://kept"]
        } else {
            &["--for", "compare", "-m", TABLES[1], "-s", TABLES[3]]
        };
        refused(&[purpose, flags, &ACCOUNT, &STORE], &[flag, "is of no use"]);
    }
    refused(&[&["--for", "report", "-m", TABLES[1]], &ACCOUNT, &STORE], &["-m is of no use"]);
}

#[test]
fn a_queue_in_the_environment_makes_it_the_policy_of_a_worker() {
    let programs = nowhere().with("DYNAMEND_QUEUE", QUEUE[1]).with("DYNAMEND_STORE", STORE[1]);

    let finished = programs.dynamend(&[&["iam-policy", "--for", "repair"], &TABLES[..]].concat());

    let with_flags = printed(&[&["--for", "repair"], &TABLES, &QUEUE, &STORE]);
    assert_eq!(document(&finished), with_flags);
    assert!(statements(&with_flags).iter().any(|(sid, _)| *sid == "Work"), "{with_flags}");
}
