//! What README and `infra` say of permissions is the list that the programs are tested against, and what they print.

use std::collections::BTreeSet;
use std::path::Path;

use shared::domain::decide::{ExtraHandling, Handling, Policy};
use shared::domain::permissions::{For, Permission, Resource, Service, When, permissions};

use crate::stage::{document, programs};

const COMPARE: Policy = Policy { missing: Handling::Report, differing: Handling::Report, extra: ExtraHandling::Ignore };

const REPAIR: Policy = Policy { missing: Handling::Repair, differing: Handling::Repair, extra: ExtraHandling::Delete };

fn text(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the workspace");
    std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn listed(purposes: &[For]) -> BTreeSet<Permission> {
    purposes.iter().flat_map(|purpose| permissions(*purpose)).collect()
}

/// The rows of README's table, as it has them; the last adds to the others.
fn rows() -> [(&'static str, Vec<For>); 26] {
    [
        ("`sync` without a queue", vec![For::Sync(COMPARE)]),
        ("`sync --queue`", vec![For::SyncQueued]),
        ("`estimate`", vec![For::Estimate]),
        ("`status`, `report`, `jobs`", vec![For::Status, For::Report, For::Jobs]),
        ("`cancel`, `pause`, `limit`", vec![For::Cancel, For::Limit]),
        ("`undo`", vec![For::Undo]),
        ("`resume` without a queue", vec![For::Resume(COMPARE)]),
        ("`resume --queue`", vec![For::ResumeQueued]),
        ("`dynamend-worker`", vec![For::Worker(COMPARE)]),
        ("`backfill` without a queue", vec![For::Backfill]),
        ("`backfill --queue`", vec![For::BackfillQueued]),
        ("`replicate` without a queue", vec![For::Replicate]),
        ("`replicate --queue`", vec![For::ReplicateQueued]),
        ("`dynamend-worker` that copies and follows", vec![For::CopyingWorker]),
        ("`backup full`, `backup incremental` without a queue", vec![For::Backup]),
        ("`backup snapshot` without a queue", vec![For::Snapshot]),
        ("`backup --queue`", vec![For::BackupQueued]),
        ("`restore` without a queue", vec![For::Restore]),
        ("`restore --queue`", vec![For::RestoreQueued]),
        ("`dynamend-worker` that backs up and restores", vec![For::BackupWorker]),
        ("`record diff`", vec![For::RecordDiff]),
        ("`record sync`", vec![For::RecordSync]),
        ("`record backup`", vec![For::RecordBackup]),
        ("`record diff-backup`", vec![For::RecordDiffBackup]),
        ("`record history`", vec![For::RecordHistory]),
        ("who repairs, on the slaves: also", vec![For::Worker(REPAIR)]),
    ]
}

#[test]
fn the_table_in_the_readme_is_the_list() {
    let readme = text("README.md");
    let section = readme.split_once("\n## Permissions\n").expect("there is the section").1;
    let section = section.split_once("\n## ").expect("another follows").0;
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let table: Vec<Vec<String>> = section.lines().filter(|line| line.starts_with('|')).skip(2).map(cells).collect();
    let names: Vec<&str> = table.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(names, rows().map(|(name, _)| name));
    let compared = listed(&[For::Worker(COMPARE)]);
    for (row, (name, purposes)) in table.iter().zip(rows()) {
        let mut due = listed(&purposes);
        if name.starts_with("who repairs") {
            due.retain(|it| !compared.contains(it));
            assert!(due.iter().all(|it| it.resource == Resource::Slaves), "{due:?}");
        }
        let named = |cell: &str| -> BTreeSet<String> {
            let words = cell.split('`').skip(1).step_by(2).filter(|word| word.starts_with(char::is_uppercase));
            words.map(str::to_owned).collect()
        };
        for (cell, service) in row[1..].iter().zip([Service::DynamoDb, Service::Sqs, Service::S3]) {
            let of_service = due.iter().filter(|it| it.service == service && it.when == When::Always);
            let due: BTreeSet<String> = of_service.map(|it| it.action.to_owned()).collect();
            assert_eq!(named(cell), due, "{name}, {service:?}");
        }
        if due.iter().any(|it| it.when == When::OwnKey) {
            assert!(section.contains("`kms:Decrypt`") && section.contains("`kms:GenerateDataKey`"));
        }
    }
    assert!(section.contains("`sts:AssumeRole`"));
}

/// The block of this language behind a place in the text.
fn block<'a>(text: &'a str, language: &str) -> (&'a str, &'a str) {
    let (_, rest) = text.split_once(&format!("```{language}\n")).expect("there is such a block");
    rest.split_once("```").expect("it ends")
}

#[test]
fn the_policy_in_infra_is_what_the_command_prints() {
    let infra = text("infra/README.md");
    let section = infra.split_once("\n## Policies\n").expect("there is the section").1;
    let section = section.split_once("\n## ").expect("another follows").0;
    let (_, example) = section.split_once("For reading").expect("there is the example");
    let (command, rest) = block(example, "sh");
    let (policy, _) = block(rest, "json");
    let command = command.replace("\\\n", " ");
    let mut words = command.split_whitespace();
    assert_eq!(words.next(), Some("dynamend"));

    let printed = programs().dynamend(&words.collect::<Vec<_>>());

    assert_eq!(printed.code, Some(0), "{}", printed.stderr);
    // It is a worker's, and the policy cannot name its tasks.
    assert!(printed.stderr.starts_with("note: a worker on ECS needs ecs:UpdateTaskProtection"), "{}", printed.stderr);
    assert_eq!(printed.stderr.lines().count(), 1, "{}", printed.stderr);
    assert_eq!(policy, printed.stdout);
}

#[test]
fn the_commands_in_infra_print_policies() {
    let infra = text("infra/README.md");
    let section = infra.split_once("\n## Policies\n").expect("there is the section").1;
    let (commands, _) = block(section, "sh");
    let commands = commands.replace("\\\n", " ");
    let commands: Vec<&str> = commands.lines().filter(|line| line.starts_with("dynamend ")).collect();
    assert!(commands.len() >= 4, "{commands:?}");
    let programs = programs()
        .with("DYNAMEND_QUEUE", "https://sqs.eu-west-1.amazonaws.com/111122223333/dynamend")
        .with("DYNAMEND_STORE", "s3://dynamend-jobs-111122223333/dynamend");
    for command in commands {
        let words: Vec<&str> = command.split(" > ").next().unwrap_or_default().split_whitespace().skip(1).collect();

        let printed = programs.dynamend(&words);

        assert_eq!(printed.code, Some(0), "{command}: {}", printed.stderr);
        assert!(document(&printed)["Statement"].is_array(), "{command}");
    }
}
