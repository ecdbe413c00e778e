use proptest::prelude::*;

use super::*;
use crate::domain::decide::{ExtraHandling, Handling, Policy};

const COMPARE: Policy = Policy { missing: Handling::Report, differing: Handling::Report, extra: ExtraHandling::Report };

const REPAIR: Policy = Policy { missing: Handling::Repair, differing: Handling::Repair, extra: ExtraHandling::Delete };

const PURPOSES: [For; 16] = [
    For::Sync(COMPARE),
    For::SyncQueued,
    For::Estimate,
    For::Report,
    For::Limit,
    For::Undo,
    For::ResumeQueued,
    For::Worker(REPAIR),
    For::BackfillWorker,
    For::ReplicateWorker,
    For::ReplicateQueued,
    For::KeepingWorker,
    For::RestoreWorker,
    For::Restore,
    For::RecordSync,
    For::RecordHistory,
];

const CONDITIONS: [When; 10] = [
    When::Always,
    When::RoleNamed,
    When::OwnKey,
    When::Limited,
    When::ShareOfCapacity,
    When::FromKinesis,
    When::BackedUp,
    When::AsOf,
    When::Created,
    When::Verified,
];

const MASTER: &str = "arn:aws:dynamodb:us-east-1:111122223333:table/orders";
const SLAVE: &str = "arn:aws:dynamodb:eu-west-1:111122223333:table/orders-replica";

fn all_names() -> Vec<(Resource, String)> {
    let others = [
        (Resource::Master, MASTER),
        (Resource::Master, "arn:aws:dynamodb:us-east-1:111122223333:table/customers"),
        (Resource::Slaves, SLAVE),
        // One table is the slave of one and the master of another.
        (Resource::Slaves, MASTER),
        (Resource::Stream, "arn:aws:dynamodb:us-east-1:111122223333:table/orders/stream/*"),
        (Resource::KinesisStream, "arn:aws:kinesis:us-east-1:111122223333:stream/changes"),
        (Resource::Queue, "arn:aws:sqs:eu-west-1:111122223333:dynamend"),
        (Resource::Role, "arn:aws:iam::444455556666:role/reader"),
        (Resource::Key, "arn:aws:kms:eu-west-1:111122223333:key/jobs"),
    ];
    let others = others.into_iter().map(|(resource, name)| (resource, name.to_owned()));
    let stored = store_names("aws", "bucket", "dynamend").into_iter().chain(backup_names("aws", "bucket", "kept"));
    others.chain(stored).collect()
}

fn names(which: &[(Resource, String)]) -> Names {
    let mut names = Names::new();
    for (resource, name) in which {
        names.entry(*resource).or_default().insert(name.clone());
    }
    names
}

fn granted(document: &Document) -> Vec<(String, String)> {
    let pairs = document.statement.iter().flat_map(|it| {
        it.action.iter().flat_map(|action| it.resource.iter().map(|resource| (action.clone(), resource.clone())))
    });
    pairs.collect()
}

fn due(needed: &BTreeSet<Permission>, names: &Names) -> BTreeSet<(String, String)> {
    let pairs = needed.iter().flat_map(|it| {
        let action = format!("{}:{}", it.service.prefix(), it.action);
        names.get(&it.resource).into_iter().flatten().map(move |name| (action.clone(), name.clone()))
    });
    pairs.collect()
}

fn policy_of(purposes: &[For], given: &[When]) -> Document {
    policy(&needed(purposes, &given.iter().copied().collect()), &names(&all_names()))
}

fn sids(document: &Document) -> Vec<&str> {
    document.statement.iter().map(|it| it.sid).collect()
}

proptest! {
    #[test]
    fn what_is_needed_is_granted_where_it_has_a_name_and_nothing_else(
        purposes in proptest::sample::subsequence(PURPOSES.to_vec(), 1..PURPOSES.len()),
        given in proptest::sample::subsequence(CONDITIONS.to_vec(), 0..=CONDITIONS.len()),
        named in proptest::sample::subsequence(all_names(), 0..=all_names().len()),
    ) {
        let (needed, names) = (needed(&purposes, &given.into_iter().collect()), names(&named));

        let document = policy(&needed, &names);

        let granted: BTreeSet<_> = granted(&document).into_iter().collect();
        prop_assert_eq!(granted, due(&needed, &names));
        let sids = sids(&document);
        prop_assert_eq!(sids.iter().collect::<BTreeSet<_>>().len(), sids.len(), "{:?}", &sids);
        for it in &document.statement {
            prop_assert!(it.sid.chars().all(|symbol| symbol.is_ascii_alphanumeric()));
            prop_assert!(it.action.is_sorted() && it.resource.is_sorted());
            prop_assert!(!it.action.is_empty() && !it.resource.is_empty());
            prop_assert!(it.resource.iter().all(|resource| resource.starts_with("arn:")));
        }
    }
}

#[test]
fn conditions_decide_what_is_needed() {
    let has = |purpose: For, given: &[When], action: &str| {
        let needed = needed(&[purpose], &given.iter().copied().collect());
        needed.iter().any(|it| it.action == action)
    };
    for (purpose, given, action, is_needed) in [
        (For::Sync(COMPARE), &[When::Always][..], "AssumeRole", false),
        (For::Sync(COMPARE), &[When::Always, When::RoleNamed], "AssumeRole", true),
        (For::Sync(COMPARE), &[When::Always], "GenerateDataKey", false),
        (For::Sync(COMPARE), &[When::Always, When::OwnKey], "GenerateDataKey", true),
        (For::Replicate, &[When::Always], "DescribeStream", true),
        (For::Replicate, &[When::Always], "ListShards", false),
        (For::Replicate, &[When::Always, When::FromKinesis], "DescribeStream", false),
        (For::Replicate, &[When::Always, When::FromKinesis], "ListShards", true),
        (For::Restore, &[When::Always], "CreateTable", false),
        (For::Restore, &[When::Always, When::Created], "CreateTable", true),
        (For::Restore, &[When::Always], "GetObjectVersion", false),
        (For::Restore, &[When::Always, When::AsOf], "GetObjectVersion", true),
    ] {
        assert_eq!(has(purpose, given, action), is_needed, "{purpose:?}, {given:?}, {action}");
    }
}

#[test]
fn statements_are_called_by_what_they_are_for() {
    let always = [When::Always, When::Limited];
    for (purposes, expected) in [
        (
            &[For::SyncQueued, For::ResumeQueued][..],
            &["LookAtTables", "Enqueue", "KeepJobs", "WithdrawSummaries", "TellMissingFromForbidden"][..],
        ),
        (
            &[For::Worker(REPAIR)],
            &["ReadTables", "RepairSlaves", "Work", "KeepJobs", "TellOtherWorkers", "TellMissingFromForbidden"],
        ),
        (&[For::Report], &["ReadJobs", "TellMissingFromForbidden"]),
        (&[For::ReplicateQueued], &["LookAtTables", "ListShards", "Enqueue", "KeepJobs", "TellMissingFromForbidden"]),
        (
            &[For::Replicate],
            &[
                "LookAtTables",
                "ReadMaster",
                "WriteSlaves",
                "FollowStream",
                "KeepJobs",
                "TellOtherWorkers",
                "TellMissingFromForbidden",
            ],
        ),
        (&[For::RecordHistory], &["LookAtMaster", "ReadBackups", "ListVersions"]),
        (&[For::RecordBackup], &["ReadMaster", "KeepBackups", "TellMissingFromForbidden"]),
    ] {
        let given = if purposes == [For::RecordHistory] { &always[..1] } else { &always };

        assert_eq!(sids(&policy_of(purposes, given)), expected, "{purposes:?}");
    }
}

#[test]
fn names_in_buckets_are_below_the_prefix_and_stand_for_themselves() {
    for (prefix, jobs) in [
        ("dynamend", "arn:aws-cn:s3:::bucket/dynamend/jobs/*"),
        ("", "arn:aws-cn:s3:::bucket/jobs/*"),
        ("a/b c", "arn:aws-cn:s3:::bucket/a/b c/jobs/*"),
        ("a*b?c${d}", "arn:aws-cn:s3:::bucket/a${*}b${?}c${$}{d}/jobs/*"),
    ] {
        let names = store_names("aws-cn", "bucket", prefix);

        assert!(names.contains(&(Resource::Jobs, jobs.to_owned())), "{names:?}");
        assert!(names.contains(&(Resource::Bucket, "arn:aws-cn:s3:::bucket".to_owned())), "{names:?}");
    }
    assert_eq!(backup_names("aws", "bucket", "kept")[0].1, "arn:aws:s3:::bucket/kept/*");
    assert_eq!(backup_names("aws", "bucket", "")[0].1, "arn:aws:s3:::bucket/*");
}

#[test]
fn the_size_is_that_of_the_document_without_white_space() {
    let document = policy_of(&[For::Report], &[When::Always]);

    let text = serde_json::to_string_pretty(&document).unwrap();
    assert_eq!(document.size(), text.chars().filter(|symbol| !symbol.is_whitespace()).count());
    assert!(policy_of(&PURPOSES, &CONDITIONS).size() < MAX_MANAGED_POLICY);
    assert!(policy(&BTreeSet::new(), &Names::new()).is_empty());
}
