//! The templates are created, updated and deleted by the documented command, on an emulator, as far as it has the types.
//!
//! It refuses alarms with metric math, and so `scaling.yaml` and `scaling-ec2.yaml`, and one alarm of `core.yaml`; it does not
//! find exports of nested stacks, and so not what `fleet.yaml` is made of. It has no lifecycle of a bucket, and of an Auto
//! Scaling group neither lifecycle hooks nor a mixed policy: it makes the group and the launch template, and starts nothing.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value as Json, json};
use tests::cli::Cli;
use tests::ministack::{MiniStack, unique};
use tests::template::{self, Template};

const MASTER: &str = "arn:aws:dynamodb:us-east-1:111122223333:table/orders";
const SLAVE: &str = "arn:aws:dynamodb:eu-west-1:111122223333:table/orders-replica";

fn cli() -> Cli {
    Cli::new(MiniStack::shared().endpoint())
}

fn path(name: &str) -> PathBuf {
    template::folder().join(name)
}

/// A document that the service may give as text.
fn document(json: &Json) -> Json {
    json.as_str().map_or_else(|| json.clone(), |text| serde_json::from_str(text).expect("a policy is JSON"))
}

fn statement<'a>(policy: &'a Json, sid: &str) -> Option<&'a Json> {
    policy["Statement"].as_array().expect("statements").iter().find(|statement| statement["Sid"] == sid)
}

#[test]
fn core_and_workers_are_created_updated_and_deleted() {
    let cli = cli();
    let core = unique("core");
    // The emulator refuses alarms with metric math; 0 leaves that one out.
    let without = ("NoProgressPeriods", "0");
    cli.deploy(&path("core.yaml"), &core, &[without]);
    let outputs = cli.outputs(&core);
    let queue = &outputs["DynamendQueue"];
    let bucket = &outputs["BucketName"];
    assert_eq!(outputs["DynamendStore"], format!("s3://{bucket}/dynamend"));
    let environment = format!("export DYNAMEND_QUEUE={queue} DYNAMEND_STORE=s3://{bucket}/dynamend");
    assert_eq!(outputs["Environment"], environment);

    let attributes = |url: &str| {
        cli.ask(&["sqs", "get-queue-attributes", "--attribute-names", "All", "--queue-url", url])["Attributes"].clone()
    };
    let of_queue = attributes(queue);
    let dead = attributes(&outputs["DeadLetterQueueUrl"]);
    for of_one in [&of_queue, &dead] {
        assert_eq!(of_one["MessageRetentionPeriod"], "1209600");
        assert_eq!(of_one["SqsManagedSseEnabled"], "true");
        let policy = document(&of_one["Policy"]);
        assert_eq!(statement(&policy, "OnlyOverTls").expect("TLS only")["Effect"], "Deny");
    }
    assert_eq!(of_queue["VisibilityTimeout"], "60");
    let redrive = document(&of_queue["RedrivePolicy"]);
    assert_eq!(redrive, json!({ "deadLetterTargetArn": dead["QueueArn"], "maxReceiveCount": 10 }));
    let allowed = document(&dead["RedriveAllowPolicy"]);
    assert_eq!(allowed["redrivePermission"], "byQueue");

    let s3 = |operation: &str| cli.ask(&["s3api", operation, "--bucket", bucket]);
    let encryption = s3("get-bucket-encryption");
    let rule = &encryption["ServerSideEncryptionConfiguration"]["Rules"][0];
    assert_eq!(rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"], "AES256");
    let blocked = s3("get-public-access-block");
    let blocked = blocked["PublicAccessBlockConfiguration"].as_object().expect("a configuration");
    assert!(blocked.len() == 4 && blocked.values().all(|value| value == true), "{blocked:?}");
    let policy = document(&s3("get-bucket-policy")["Policy"]);
    assert_eq!(statement(&policy, "OnlyOverTls").expect("TLS only")["Effect"], "Deny");

    let alarms = || {
        let alarms = cli.ask(&["cloudwatch", "describe-alarms", "--alarm-name-prefix", &core]);
        alarms["MetricAlarms"].as_array().expect("alarms").clone()
    };
    let on_dead_letters = || alarms().into_iter().find(|alarm| alarm.to_string().contains("-dead")).expect("an alarm");
    assert_eq!(on_dead_letters()["Threshold"], 1.0);
    assert!(s3("get-bucket-versioning")["Status"].is_null(), "a new bucket has no versioning, not a suspended one");
    let changed = [without, ("DeadLetterThreshold", "3"), ("BucketVersioning", "Enabled")];
    cli.deploy(&path("core.yaml"), &core, &changed);
    assert_eq!(on_dead_letters()["Threshold"], 3.0);
    assert_eq!(s3("get-bucket-versioning")["Status"], "Enabled");
    assert_eq!(&cli.outputs(&core)["DynamendQueue"], queue, "an update leaves the queue alone");

    workers(&cli, &core);
    instances(&cli, &core);

    cli.delete(&core);
    let gone = cli.run(&["sqs", "get-queue-attributes", "--queue-url", queue]);
    assert!(gone.is_err(), "the queue is still there");
    let _ = s3("get-bucket-encryption");
}

/// A network and a subnet that the emulator has.
fn network(cli: &Cli) -> (String, String) {
    let first = |operation: &str, list: &str, id: &str| {
        let answer = cli.ask(&["ec2", operation]);
        answer[list][0][id].as_str().unwrap_or_else(|| panic!("there is no network: {answer}")).to_owned()
    };
    (first("describe-vpcs", "Vpcs", "VpcId"), first("describe-subnets", "Subnets", "SubnetId"))
}

/// Writes the template there, with its numbers for the emulator.
fn write(file: &Path, template: &str, given: &[(&str, &str)]) {
    let written = Template::named(template).with_numbers(given);
    std::fs::write(file, written.json().to_string()).expect("the template can be written");
}

/// The policy of a role about the work itself.
fn work(cli: &Cli, role: &str) -> Json {
    let policy = cli.ask(&["iam", "get-role-policy", "--role-name", role, "--policy-name", "work"]);
    document(&policy["PolicyDocument"])
}

/// The service on the core's queue.
fn workers(cli: &Cli, core: &str) {
    let stack = unique("workers");
    let (vpc, subnet) = network(cli);
    let folder = tempfile::tempdir().expect("a temporary directory can be created");
    let file = folder.path().join("workers.json");
    write(&file, "workers.yaml", &[]);
    let given = [
        ("CoreStack", core),
        ("ImageUri", "111122223333.dkr.ecr.us-east-1.amazonaws.com/dynamend:1"),
        ("VpcId", &vpc),
        ("SubnetIds", &subnet),
        ("Purpose", "repair"),
        ("MasterTables", MASTER),
        ("SlaveTables", SLAVE),
    ];
    cli.deploy(&file, &stack, &given);
    let outputs = cli.outputs(&stack);
    let (cluster, service) = (&outputs["ClusterName"], &outputs["ServiceName"]);

    let described = || {
        let answer = cli.ask(&["ecs", "describe-services", "--cluster", cluster, "--services", service]);
        let service = answer["services"][0].clone();
        let task = service["taskDefinition"].as_str().expect("a task definition");
        let task = cli.ask(&["ecs", "describe-task-definition", "--task-definition", task]);
        (service, task["taskDefinition"].clone())
    };
    let (service_, task) = described();
    assert_eq!(service_["desiredCount"], 0, "a new fleet is empty");
    let providers = service_["capacityProviderStrategy"].as_array().expect("a strategy");
    assert!(providers.iter().any(|it| it["capacityProvider"] == "FARGATE_SPOT" && it["weight"] == 1), "{providers:?}");
    assert_eq!(
        (&task["cpu"], &task["memory"], &task["networkMode"]),
        (&json!("2048"), &json!("4096"), &json!("awsvpc"))
    );
    let container = &task["containerDefinitions"][0];
    assert_eq!(container["stopTimeout"], 40, "longer than the worker's 25 s of grace");
    assert_eq!(container["readonlyRootFilesystem"], true);
    let variables = container["environment"].as_array().expect("variables");
    let variable = |name: &str| variables.iter().find(|it| it["name"] == name).map(|it| it["value"].clone());
    let of_core = cli.outputs(core);
    assert_eq!(variable("DYNAMEND_QUEUE"), Some(json!(of_core["DynamendQueue"])));
    assert_eq!(variable("DYNAMEND_ALLOW_STORE"), Some(json!(of_core["DynamendStore"])));

    assert_eq!(task["taskRoleArn"], outputs["RoleArn"]);
    let role = outputs["RoleArn"].rsplit('/').next().expect("an ARN has a name");
    let policy = work(cli, role);
    let repair = statement(&policy, "RepairSlaves").expect("it repairs");
    assert_eq!(repair["Action"], json!(["dynamodb:PutItem", "dynamodb:DeleteItem"]));
    assert_eq!(repair["Resource"], json!([SLAVE]));
    assert_eq!(statement(&policy, "Work").expect("it works")["Resource"], of_core["QueueArn"]);

    cli.deploy(&file, &stack, &[&given[..], &[("ShutdownGrace", "60")]].concat());
    let (_, task) = described();
    assert_eq!(task["containerDefinitions"][0]["stopTimeout"], 75);

    cli.delete(&stack);
    let answer = cli.run(&["iam", "get-role", "--role-name", role]);
    assert!(answer.is_err(), "the role is still there");
}

/// The group of instances on the core's queue.
fn instances(cli: &Cli, core: &str) {
    let stack = unique("instances");
    let (vpc, subnet) = network(cli);
    let folder = tempfile::tempdir().expect("a temporary directory can be created");
    let file = folder.path().join("workers-ec2.json");
    write(&file, "workers-ec2.yaml", &[]);
    let sha256 = "5e".repeat(32);
    let given = [
        ("CoreStack", core),
        ("BinaryBucket", "programs"),
        ("BinarySha256", &sha256),
        ("ImageId", "ami-0123456789abcdef0"),
        ("VpcId", &vpc),
        ("SubnetIds", &subnet),
        ("Purpose", "repair"),
        ("MasterTables", MASTER),
        ("SlaveTables", SLAVE),
    ];
    cli.deploy(&file, &stack, &given);
    let outputs = cli.outputs(&stack);
    let resources = cli.ask(&["cloudformation", "describe-stack-resources", "--stack-name", &stack]);
    let id_of = |logical: &str| {
        let resources = resources["StackResources"].as_array().expect("resources");
        let found = resources.iter().find(|resource| resource["LogicalResourceId"] == logical).expect("a resource");
        found["PhysicalResourceId"].as_str().expect("an id").to_owned()
    };

    let groups = || {
        let named =
            ["autoscaling", "describe-auto-scaling-groups", "--auto-scaling-group-names", &outputs["GroupName"]];
        cli.ask(&named)["AutoScalingGroups"].as_array().expect("groups").clone()
    };
    let group = &groups()[0];
    assert_eq!((&group["MinSize"], &group["MaxSize"], &group["DesiredCapacity"]), (&json!(0), &json!(20), &json!(0)));
    assert_eq!(group["VPCZoneIdentifier"], subnet.as_str());

    let template = id_of("LaunchTemplate");
    let launches = || {
        let latest = ["--launch-template-id", &template, "--versions", "$Latest"];
        let answer = cli.ask(&[&["ec2", "describe-launch-template-versions"][..], &latest].concat());
        let data = answer["LaunchTemplateVersions"][0]["LaunchTemplateData"].clone();
        let script = BASE64.decode(data["UserData"].as_str().expect("a script")).expect("it is Base64");
        (data, String::from_utf8(script).expect("it is text"))
    };
    let (data, script) = launches();
    assert_eq!((&data["ImageId"], &data["InstanceType"]), (&json!("ami-0123456789abcdef0"), &json!("c7g.large")));
    assert_eq!(data["MetadataOptions"]["HttpTokens"], "required");
    let of_core = cli.outputs(core);
    let (queue, store) = (&of_core["DynamendQueue"], &of_core["DynamendStore"]);
    let lines = [
        format!("DYNAMEND_QUEUE={queue}"),
        format!("DYNAMEND_ALLOW_STORE={store}"),
        "--scale-in-grace 3000".to_owned(),
    ];
    for line in lines.iter().chain([&sha256]) {
        assert!(script.contains(line), "{line} is not in {script}");
    }
    let firewall = cli.ask(&["ec2", "describe-security-groups", "--group-ids", &id_of("SecurityGroup")]);
    let firewall = &firewall["SecurityGroups"][0];
    assert_eq!(firewall["IpPermissions"], json!([]), "nothing comes in");
    for out in firewall["IpPermissionsEgress"].as_array().expect("rules") {
        assert_eq!((&out["FromPort"], &out["ToPort"]), (&json!(443), &json!(443)));
    }

    let role = outputs["RoleArn"].rsplit('/').next().expect("an ARN has a name");
    let profile = cli.ask(&["iam", "list-instance-profiles-for-role", "--role-name", role]);
    assert_eq!(profile["InstanceProfiles"][0]["Arn"], data["IamInstanceProfile"]["Arn"]);
    let policy = work(cli, role);
    assert_eq!(statement(&policy, "RepairSlaves").expect("it repairs")["Resource"], json!([SLAVE]));
    assert_eq!(statement(&policy, "Work").expect("it works")["Resource"], of_core["QueueArn"]);

    let changed = [("MaxInstances", "30"), ("ScaleInGrace", "600"), ("InstanceSize", "xlarge"), ("Purpose", "compare")];
    write(&file, "workers-ec2.yaml", &changed);
    let kept = given.iter().filter(|(name, _)| *name != "Purpose").copied();
    cli.deploy(&file, &stack, &kept.chain(changed).collect::<Vec<_>>());
    assert_eq!(groups()[0]["MaxSize"], 30);
    let (data, script) = launches();
    assert_eq!(data["InstanceType"], "c7g.xlarge");
    assert!(script.contains("--scale-in-grace 600"), "{script}");
    assert!(statement(&work(cli, role), "RepairSlaves").is_none(), "it still repairs");

    cli.delete(&stack);
    assert_eq!(groups(), Vec::<Json>::new());
    assert!(cli.run(&["iam", "get-role", "--role-name", role]).is_err(), "the role is still there");
}

#[test]
fn the_role_of_a_slave_account_is_created_updated_and_deleted() {
    let cli = cli();
    let stack = unique("slave");
    let given =
        [("WorkerRoleArns", "arn:aws:iam::111122223333:role/worker"), ("ExternalId", "a1b2c3d4"), ("TableArns", SLAVE)];
    let given = [&given[..], &[("RoleName", stack.as_str())]].concat();
    let policy = || {
        let answer = cli.ask(&["iam", "get-role-policy", "--role-name", &stack, "--policy-name", "tables"]);
        document(&answer["PolicyDocument"])
    };

    cli.deploy(&path("slave-account.yaml"), &stack, &given);

    let role = cli.ask(&["iam", "get-role", "--role-name", &stack]);
    let trust = document(&role["Role"]["AssumeRolePolicyDocument"]);
    let workers = statement(&trust, "Workers").expect("workers are trusted");
    assert_eq!(workers["Condition"], json!({ "StringEquals": { "sts:ExternalId": "a1b2c3d4" } }));
    assert!(statement(&trust, "Coordinators").is_none());
    assert!(statement(&policy(), "RepairSlaves").is_none(), "to compare only is the default");
    let of_purpose = |purpose: &str| {
        cli.deploy(&path("slave-account.yaml"), &stack, &[&given[..], &[("Purpose", purpose)]].concat());
        policy()
    };
    let repair = of_purpose("repair");
    assert_eq!(statement(&repair, "RepairSlaves").expect("it repairs")["Resource"], json!([SLAVE]));
    let follow = of_purpose("follow");
    assert!(statement(&follow, "RepairSlaves").is_none());
    let stream = format!("{SLAVE}/stream/*");
    assert_eq!(statement(&follow, "FollowStream").expect("it follows")["Resource"], json!([stream]));
    cli.delete(&stack);
    assert!(cli.run(&["iam", "get-role", "--role-name", &stack]).is_err(), "the role is still there");
}

#[test]
fn the_function_of_a_stream_is_created_updated_and_deleted() {
    let cli = cli();
    let stack = unique("function");
    let bucket = unique("code");
    let _ = cli.ask(&["s3api", "create-bucket", "--bucket", &bucket]);
    let folder = tempfile::tempdir().expect("a temporary directory can be created");
    let package = folder.path().join("package");
    // An empty archive: nothing is invoked.
    std::fs::write(&package, [&b"PK\x05\x06"[..], &[0; 18]].concat()).expect("the package can be written");
    let body = package.to_str().expect("a plain name");
    let _ = cli.ask(&["s3api", "put-object", "--bucket", &bucket, "--key", "dynamend-lambda.zip", "--body", body]);
    let table = json!({
        "TableName": stack,
        "AttributeDefinitions": [{ "AttributeName": "id", "AttributeType": "S" }],
        "KeySchema": [{ "AttributeName": "id", "KeyType": "HASH" }],
        "BillingMode": "PAY_PER_REQUEST",
        "StreamSpecification": { "StreamEnabled": true, "StreamViewType": "NEW_AND_OLD_IMAGES" },
    });
    let table = cli.ask(&["dynamodb", "create-table", "--cli-input-json", &table.to_string()]);
    let text = |name: &str| table["TableDescription"][name].as_str().expect("an ARN").to_owned();
    let (stream, master) = (text("LatestStreamArn"), text("TableArn"));
    let given = [
        ("CodeBucket", bucket.as_str()),
        ("StreamArn", &stream),
        ("MasterTableArn", &master),
        ("Slaves", "eu-west-1:orders-replica"),
        ("SlaveTableArns", SLAVE),
    ];

    cli.deploy(&path("stream-function.yaml"), &stack, &given);

    let outputs = cli.outputs(&stack);
    let function = &outputs["FunctionName"];
    let configured = || cli.ask(&["lambda", "get-function-configuration", "--function-name", function]);
    let configuration = configured();
    assert_eq!(configuration["Runtime"], "provided.al2023");
    let variables = &configuration["Environment"]["Variables"];
    assert_eq!(variables["DYNAMEND_MASTER"], master.as_str());
    assert_eq!(variables["DYNAMEND_PARTIAL_BATCHES"], "true");
    let mapped = || {
        let mappings = cli.ask(&["lambda", "list-event-source-mappings", "--function-name", function]);
        mappings["EventSourceMappings"][0].clone()
    };
    let mapping = mapped();
    assert_eq!(mapping["EventSourceArn"], stream.as_str());
    assert_eq!(mapping["FunctionResponseTypes"], json!(["ReportBatchItemFailures"]), "as the function is told");
    assert_eq!((&mapping["BisectBatchOnFunctionError"], &mapping["MaximumRetryAttempts"]), (&json!(true), &json!(20)));
    let attributes = ["sqs", "get-queue-attributes", "--attribute-names", "All", "--queue-url"];
    let failures = cli.ask(&[&attributes[..], &[&outputs["FailureQueueUrl"]]].concat());
    assert_eq!(mapping["DestinationConfig"]["OnFailure"]["Destination"], failures["Attributes"]["QueueArn"]);

    let changed = [("MemorySize", "1024"), ("Reread", "always"), ("BatchSize", "100"), ("MaximumRetryAttempts", "5")];
    cli.deploy(&path("stream-function.yaml"), &stack, &[&given[..], &changed].concat());
    assert_eq!(&cli.outputs(&stack)["FunctionName"], function, "an update leaves the function where it is");
    let configuration = configured();
    assert_eq!(configuration["MemorySize"], 1024);
    assert_eq!(configuration["Environment"]["Variables"]["DYNAMEND_REREAD"], "always");
    let mapping = mapped();
    assert_eq!((&mapping["BatchSize"], &mapping["MaximumRetryAttempts"]), (&json!(100), &json!(5)));
    let role = outputs["RoleArn"].rsplit('/').next().expect("an ARN has a name");
    let policy = cli.ask(&["iam", "get-role-policy", "--role-name", role, "--policy-name", "function"]);
    let policy = document(&policy["PolicyDocument"]);
    assert_eq!(statement(&policy, "AskMaster").expect("it asks")["Resource"], master.as_str());
    assert_eq!(statement(&policy, "ListStreams").expect("Lambda wants it")["Resource"], "*");
    cli.delete(&stack);
    assert!(cli.run(&["lambda", "get-function", "--function-name", function]).is_err(), "the function is still there");
}
