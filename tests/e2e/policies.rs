//! What README and `infra` say of permissions is the list that the programs are tested against.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value as Json;
use shared::domain::decide::{ExtraHandling, Handling, Policy};
use shared::domain::permissions::{For, Permission, Resource, Service, When, permissions};

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

/// What a statement of a policy in `infra` is about.
fn resource(arn: &str) -> Resource {
    match arn {
        "arn:aws:dynamodb:us-east-1:111122223333:table/orders" => Resource::Master,
        "arn:aws:dynamodb:us-east-1:111122223333:table/orders/stream/*" => Resource::Stream,
        "arn:aws:dynamodb:eu-west-1:111122223333:table/orders-replica" => Resource::Slaves,
        "arn:aws:sqs:eu-west-1:111122223333:dynamend" => Resource::Queue,
        "arn:aws:s3:::dynamend-jobs-111122223333/dynamend/jobs/*" => Resource::Jobs,
        "arn:aws:s3:::dynamend-jobs-111122223333/dynamend/jobs/*/summary.json" => Resource::Summaries,
        "arn:aws:s3:::dynamend-jobs-111122223333/dynamend/jobs/*/workers/*" => Resource::Workers,
        "arn:aws:s3:::dynamend-jobs-111122223333" => Resource::Bucket,
        _ => panic!("{arn} is none of the example's resources"),
    }
}

fn one_or_many(json: &Json) -> Vec<&str> {
    let many = json.as_array().into_iter().flatten().filter_map(Json::as_str);
    json.as_str().into_iter().chain(many).collect()
}

fn granted(policy: &Json) -> BTreeSet<(String, Resource)> {
    let statements = policy["Statement"].as_array().expect("a policy has statements");
    let grants = statements.iter().flat_map(|statement| {
        assert_eq!(statement["Effect"], "Allow");
        let actions = one_or_many(&statement["Action"]);
        let resources: Vec<Resource> = one_or_many(&statement["Resource"]).into_iter().map(resource).collect();
        assert!(!actions.is_empty() && !resources.is_empty(), "{statement}");
        actions
            .into_iter()
            .flat_map(move |action| resources.clone().into_iter().map(move |resource| (action.to_owned(), resource)))
    });
    grants.collect()
}

#[test]
fn the_policies_of_infra_grant_what_is_on_the_list_and_no_more() {
    let infra = text("infra/README.md");
    let blocks = infra.split("```json\n").skip(1).map(|block| block.split("```").next().unwrap_or_default());
    let policies: Vec<Json> = blocks.map(|block| serde_json::from_str(block).expect("a policy is JSON")).collect();
    let coordinator =
        [For::SyncQueued, For::Status, For::Report, For::Jobs, For::Cancel, For::Limit, For::ResumeQueued];
    let copying = [For::BackfillQueued, For::ReplicateQueued, For::Status, For::Report, For::Jobs];
    let copying = [&copying[..], &[For::Cancel, For::Limit, For::ResumeQueued]].concat();
    let purposes = [&coordinator[..], &[For::Worker(REPAIR)], &copying, &[For::CopyingWorker]];
    assert_eq!(policies.len(), purposes.len(), "policies for the coordinator and for a worker, twice");
    for (policy, purposes) in policies.iter().zip(purposes) {
        let always = listed(purposes).into_iter().filter(|it| matches!(it.when, When::Always | When::Limited));
        let due: BTreeSet<(String, Resource)> =
            always.map(|it| (format!("{}:{}", it.service.prefix(), it.action), it.resource)).collect();
        assert_eq!(granted(policy), due, "{purposes:?}");
    }
    assert!(["`kms:Decrypt`", "`kms:GenerateDataKey`", "`sts:AssumeRole`"].iter().all(|action| infra.contains(action)));
}
