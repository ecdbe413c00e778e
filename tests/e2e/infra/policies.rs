//! The roles of the templates grant what `shared/src/domain/permissions.rs` lists, and no more.

use std::collections::BTreeSet;

use serde_json::Value as Json;
use shared::domain::decide::{ExtraHandling, Handling, Policy};
use shared::domain::permissions::{For, Permission, Resource, When, permissions};
use tests::template::{Resolved, Template};

const COMPARE: Policy = Policy { missing: Handling::Report, differing: Handling::Report, extra: ExtraHandling::Ignore };

const REPAIR: Policy = Policy { missing: Handling::Repair, differing: Handling::Repair, extra: ExtraHandling::Delete };

const MASTER: &str = "arn:aws:dynamodb:us-east-1:111122223333:table/orders";
const STREAM: &str = "arn:aws:dynamodb:us-east-1:111122223333:table/orders/stream/*";
const SLAVE: &str = "arn:aws:dynamodb:eu-west-1:111122223333:table/orders-replica";
const KINESIS: &str = "arn:aws:kinesis:us-east-1:111122223333:stream/orders";
const ROLE: &str = "arn:aws:iam::444455556666:role/dynamend-slave";
const SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/// Everything that a worker's policy can be about.
const EVERYTHING: [(&str, &str); 7] = [
    ("MasterTables", MASTER),
    ("SlaveTables", SLAVE),
    ("KinesisStreamArn", KINESIS),
    ("BackupBucket", "backups"),
    ("BackupPrefix", "items/"),
    ("RoleArns", ROLE),
    ("KmsKeyArns", KEY),
];

fn resource(arn: &str) -> Resource {
    match arn {
        MASTER => Resource::Master,
        STREAM => Resource::Stream,
        SLAVE => Resource::Slaves,
        KINESIS => Resource::KinesisStream,
        ROLE => Resource::Role,
        KEY => Resource::Key,
        "arn:aws:s3:::backups/items/*" => Resource::Backup,
        "arn:aws:s3:::backups" => Resource::BackupBucket,
        "import:dynamend-core-QueueArn" => Resource::Queue,
        "import:dynamend-core-BucketArn" => Resource::Bucket,
        "import:dynamend-core-StoreArn/jobs/*" => Resource::Jobs,
        "import:dynamend-core-StoreArn/jobs/*/workers/*" => Resource::Workers,
        _ => panic!("{arn} is none of the resources that a program is about"),
    }
}

fn one_or_many(json: &Json) -> Vec<&str> {
    let many = json.as_array().into_iter().flatten().filter_map(Json::as_str);
    json.as_str().into_iter().chain(many).collect()
}

/// The statements of a role's own policies, with the policy's name.
fn statements(template: &Resolved, role: &str) -> Vec<(String, Json)> {
    let policies = template.properties(role)["Policies"].as_array().expect("a role has policies");
    let of_policy = |policy: &Json| {
        let name = policy["PolicyName"].as_str().expect("a policy has a name").to_owned();
        let statements = policy["PolicyDocument"]["Statement"].as_array().expect("statements").clone();
        statements.into_iter().map(move |statement| (name.clone(), statement))
    };
    let all: Vec<_> = policies.iter().flat_map(of_policy).collect();
    for (_, statement) in &all {
        assert_eq!(statement["Effect"], "Allow");
        assert!(statement["Sid"].is_string(), "{statement} has no name");
        assert!(one_or_many(&statement["Action"]).iter().all(|action| !action.contains('*')), "{statement}");
    }
    all
}

/// What the policies of those names grant, by action and ARN.
fn granted(template: &Resolved, role: &str, of: impl Fn(&str) -> bool) -> BTreeSet<(String, String)> {
    let each = |(_, statement): (String, Json)| {
        let (actions, arns) = (one_or_many(&statement["Action"]), one_or_many(&statement["Resource"]));
        assert!(!actions.is_empty() && !arns.is_empty(), "{statement}");
        let pairs = actions.iter().flat_map(|action| arns.iter().map(move |arn| ((*action).into(), (*arn).into())));
        pairs.collect::<Vec<(String, String)>>()
    };
    statements(template, role).into_iter().filter(|(policy, _)| of(policy)).flat_map(each).collect()
}

/// The same by what the resource is to a program.
fn of_programs(granted: &BTreeSet<(String, String)>) -> BTreeSet<(String, Resource)> {
    granted.iter().map(|(action, arn)| (action.clone(), resource(arn))).collect()
}

fn due(purposes: &[For], needs: impl Fn(&Permission) -> bool) -> BTreeSet<(String, Resource)> {
    let all = purposes.iter().flat_map(|purpose| permissions(*purpose)).filter(needs);
    all.map(|it| (format!("{}:{}", it.service.prefix(), it.action), it.resource)).collect()
}

/// The policy of a worker's role that is about the work itself; others are about the place that it runs in.
const WORK: &str = "work";

/// The templates with workers, the role that a worker has in each, and what else the role needs there.
const WORKERS: [(&str, &str, &[&str]); 2] = [
    ("workers.yaml", "TaskRole", &["ecs:GetTaskProtection", "ecs:UpdateTaskProtection"]),
    (
        "workers-ec2.yaml",
        "Role",
        &[
            "autoscaling:CompleteLifecycleAction",
            "logs:CreateLogStream",
            "logs:DescribeLogStreams",
            "logs:PutLogEvents",
            "s3:GetObject",
        ],
    ),
];

fn purposes() -> [(&'static str, Vec<For>); 5] {
    [
        ("compare", vec![For::Worker(COMPARE)]),
        ("repair", vec![For::Worker(REPAIR)]),
        ("copy", vec![For::CopyingWorker]),
        ("backup", vec![For::BackupWorker]),
        ("all", vec![For::Worker(REPAIR), For::CopyingWorker, For::BackupWorker]),
    ]
}

#[test]
fn a_worker_may_do_what_its_purpose_needs_and_no_more() {
    for (name, role, of_place) in WORKERS {
        for (purpose, programs) in purposes() {
            let given = [&EVERYTHING[..], &[("Purpose", purpose)], &required(name)].concat();
            let template = Template::named(name).resolve(&given);

            let work = of_programs(&granted(&template, role, |policy| policy == WORK));
            assert_eq!(work, due(&programs, |_| true), "{name}, {purpose}");
            let others = granted(&template, role, |policy| policy != WORK);
            let others: BTreeSet<&str> = others.iter().map(|(action, _)| action.as_str()).collect();
            assert_eq!(others, of_place.iter().copied().collect(), "{name}, {purpose}");
        }
    }
}

#[test]
fn a_worker_whose_stack_names_no_tables_reaches_none() {
    for (name, role, _) in WORKERS {
        for (purpose, programs) in purposes() {
            let given = [&required(name)[..], &[("Purpose", purpose)]].concat();
            let template = Template::named(name).resolve(&given);
            let granted = of_programs(&granted(&template, role, |policy| policy == WORK));

            let own = [Resource::Queue, Resource::Jobs, Resource::Workers, Resource::Bucket];
            assert_eq!(granted, due(&programs, |it| own.contains(&it.resource)), "{name}, {purpose}");
        }
    }
}

/// Parameters of the template that have no default.
fn required(template: &str) -> Vec<(&'static str, &'static str)> {
    let known = [
        ("ImageUri", "dynamend"),
        ("VpcId", "vpc-1"),
        ("SubnetIds", "subnet-1"),
        ("BinaryBucket", "code"),
        ("BinarySha256", SHA256),
    ];
    let template = Template::named(template);
    let lacks = |name: &str| template.parameter(name).is_some_and(|parameter| parameter.get("Default").is_none());
    known.into_iter().filter(|(name, _)| lacks(name)).collect()
}

#[test]
fn a_role_named_with_an_external_id_is_assumed_only_with_it() {
    let given = [&EVERYTHING[..], &[("ExternalId", "a1b2c3d4")], &required("workers.yaml")].concat();
    let template = Template::named("workers.yaml").resolve(&given);

    let statements = statements(&template, "TaskRole");

    let assume = statements.iter().find(|(_, it)| it["Action"] == "sts:AssumeRole").expect("it may assume");
    assert_eq!(assume.1["Condition"]["StringEquals"]["sts:ExternalId"], "a1b2c3d4");
}

#[test]
fn the_role_of_a_slave_account_grants_what_is_done_to_slaves() {
    let trusted = "arn:aws:iam::111122223333:role/worker";
    let with = |more: &[(&str, &str)]| {
        let given = [("WorkerRoleArns", trusted), ("ExternalId", "a1b2c3d4"), ("TableArns", SLAVE)];
        Template::named("slave-account.yaml").resolve(&[&given, more].concat())
    };
    let of_slaves = |it: &Permission| it.resource == Resource::Slaves;
    for (purpose, policy) in [("compare", COMPARE), ("repair", REPAIR)] {
        let alone = with(&[("Purpose", purpose)]);
        assert_eq!(
            of_programs(&granted(&alone, "Role", |_| true)),
            due(&[For::Worker(policy)], of_slaves),
            "{purpose}"
        );
        let both = with(&[("Purpose", purpose), ("CoordinatorArns", trusted)]);
        let programs = [For::Worker(policy), For::SyncQueued];
        assert_eq!(of_programs(&granted(&both, "Role", |_| true)), due(&programs, of_slaves), "{purpose}");
        for statement in both.properties("Role")["AssumeRolePolicyDocument"]["Statement"].as_array().unwrap() {
            assert_eq!(statement["Condition"]["StringEquals"]["sts:ExternalId"], "a1b2c3d4");
            assert_eq!(one_or_many(&statement["Principal"]["AWS"]), [trusted]);
        }
    }
}

#[test]
fn the_role_of_another_account_grants_what_copies_and_replications_do_there() {
    let with = |purpose: &str, tables: &str, more: &[(&str, &str)]| {
        let worker = "arn:aws:iam::111122223333:role/worker";
        let given =
            [("WorkerRoleArns", worker), ("ExternalId", "a1b2c3d4"), ("TableArns", tables), ("Purpose", purpose)];
        let template = Template::named("slave-account.yaml").resolve(&[&given, more].concat());
        of_programs(&granted(&template, "Role", |_| true))
    };
    let copying = [For::BackfillWorker, For::ReplicateWorker];
    let of_slaves = |it: &Permission| it.resource == Resource::Slaves;
    let of_masters = |it: &Permission| [Resource::Master, Resource::Stream].contains(&it.resource);
    assert_eq!(with("copy", SLAVE, &[]), due(&copying, of_slaves));
    assert_eq!(with("follow", MASTER, &[]), due(&copying, of_masters));
    assert_eq!(with("compare", MASTER, &[]), due(&[For::Worker(COMPARE)], of_masters));

    // Who makes the jobs looks at the tables, of syncs too.
    let coordinator = [("CoordinatorArns", "arn:aws:iam::111122223333:user/operator")];
    let made = [&copying[..], &[For::BackfillQueued, For::ReplicateQueued, For::SyncQueued]].concat();
    assert_eq!(with("copy", SLAVE, &coordinator), due(&made, of_slaves));
    assert_eq!(with("follow", MASTER, &coordinator), due(&made, of_masters));
}

#[test]
fn the_function_of_a_stream_may_do_no_more_than_a_replication() {
    let stream = MASTER.to_owned() + "/stream/2026-11-21T19:31:28.530";
    let listed = |needs: &dyn Fn(&Permission) -> bool| due(&[For::Replicate], needs);
    let cases = [("replicate", "always", ""), ("replicate", "", KEY), ("replicate", "", ""), ("backup", "", "")];
    for (function, reread, key) in cases {
        let given = [
            ("CodeBucket", "code"),
            ("Function", function),
            ("StreamArn", stream.as_str()),
            ("StreamKmsKeyArn", key),
            ("MasterTableArn", MASTER),
            ("Slaves", "eu-west-1:orders-replica"),
            ("SlaveTableArns", SLAVE),
            ("SlaveRoleArn", ROLE),
            ("BackupBucket", "backups"),
            ("BackupPrefix", "items"),
            ("BackupKmsKeyArn", KEY),
            ("Reread", reread),
        ];
        let mut granted = granted(&Template::named("stream-function.yaml").resolve(&given), "Role", |_| true);
        let of_place = ["logs:CreateLogStream", "logs:PutLogEvents", "sqs:SendMessage", "dynamodb:ListStreams"];
        let lists = granted.contains(&("dynamodb:ListStreams".to_owned(), "*".to_owned()));
        assert!(lists, "{function}: Lambda wants it of whoever reads a stream of DynamoDB");
        granted.retain(|(action, _)| !of_place.contains(&action.as_str()));
        // The mapping names the one stream that there is; a program any.
        let named = granted.into_iter().map(|(action, arn)| (action, arn.replace(&stream, STREAM))).collect();
        let granted = of_programs(&named);

        let all = listed(&|_| true);
        assert!(granted.is_subset(&all), "{function}: {:?}", granted.difference(&all));
        let writes = |resource: Resource| granted.iter().any(|(_, it)| *it == resource);
        assert_eq!(writes(Resource::Slaves), function == "replicate");
        assert_eq!(writes(Resource::Backup), function == "backup");
        let rereads = granted.contains(&("dynamodb:BatchGetItem".to_owned(), Resource::Master));
        assert_eq!(rereads, reread == "always");
        let decrypts = granted.contains(&("kms:Decrypt".to_owned(), Resource::Key));
        assert_eq!(decrypts, function == "backup" || !key.is_empty(), "{function}");
        let reads = listed(&|it| it.resource == Resource::Stream && it.when == When::Always);
        assert!(reads.is_subset(&granted), "{function} cannot read its stream");
    }
    let given = [("CodeBucket", "code"), ("StreamArn", KINESIS), ("StreamKind", "kinesis"), ("MasterTableArn", MASTER)];
    let granted = granted(&Template::named("stream-function.yaml").resolve(&given), "Role", |_| true);
    let of_tables = |action: &str| action.starts_with("dynamodb:") && action.contains("Stream");
    assert!(!granted.iter().any(|(action, _)| of_tables(action)), "no stream of a table is read: {granted:?}");
}

#[test]
fn the_schedule_that_keeps_the_queue_awake_may_tag_it_and_no_more() {
    for name in ["scaling.yaml", "scaling-ec2.yaml"] {
        let template = Template::named(name);
        let granted = granted(&template.resolve(&[]), "KeepActiveRole", |_| true);

        let due = ("sqs:TagQueue".to_owned(), "import:dynamend-core-QueueArn".to_owned());
        assert_eq!(granted, BTreeSet::from([due]), "{name}");
        let target = template.resolve(&[]).properties("KeepActive")["Target"]["Arn"].clone();
        assert_eq!(target, "arn:aws:scheduler:::aws-sdk:sqs:tagQueue", "{name}: a schedule may not read");
        let without = template.resolve(&[("KeepQueueActive", "false")]);
        assert!(!without.resources.keys().any(|id| id.starts_with("KeepActive")), "{name}");
    }
}
