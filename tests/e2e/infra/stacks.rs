//! The templates are created, updated and deleted by the documented command, on an emulator, as far as it has the types:
//! no alarm with metric math, no Application Auto Scaling, no lifecycle of a bucket.

use std::path::PathBuf;

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
    cli.deploy(&path("core.yaml"), &core, &[without, ("DeadLetterThreshold", "3")]);
    assert_eq!(on_dead_letters()["Threshold"], 3.0);
    assert_eq!(&cli.outputs(&core)["DynamendQueue"], queue, "an update leaves the queue alone");

    workers(&cli, &core);

    cli.delete(&core);
    let gone = cli.run(&["sqs", "get-queue-attributes", "--queue-url", queue]);
    assert!(gone.is_err(), "the queue is still there");
    let _ = s3("get-bucket-encryption");
}

/// The service on the core's queue.
fn workers(cli: &Cli, core: &str) {
    let stack = unique("workers");
    let network = |operation: &str, list: &str, id: &str| {
        let answer = cli.ask(&["ec2", operation]);
        answer[list][0][id].as_str().unwrap_or_else(|| panic!("there is no network: {answer}")).to_owned()
    };
    let vpc = network("describe-vpcs", "Vpcs", "VpcId");
    let subnet = network("describe-subnets", "Subnets", "SubnetId");
    let folder = tempfile::tempdir().expect("a temporary directory can be created");
    let file = folder.path().join("workers.json");
    let written = Template::named("workers.yaml").with_numbers(&[]);
    std::fs::write(&file, written.json().to_string()).expect("the template can be written");
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
    let policy = cli.ask(&["iam", "get-role-policy", "--role-name", role, "--policy-name", "work"]);
    let policy = document(&policy["PolicyDocument"]);
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
    cli.deploy(&path("slave-account.yaml"), &stack, &[&given[..], &[("Purpose", "repair")]].concat());
    assert_eq!(statement(&policy(), "RepairSlaves").expect("it repairs")["Resource"], json!([SLAVE]));
    cli.delete(&stack);
    assert!(cli.run(&["iam", "get-role", "--role-name", &stack]).is_err(), "the role is still there");
}

#[test]
fn the_function_of_a_stream_is_created_and_deleted() {
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
    let configuration = cli.ask(&["lambda", "get-function-configuration", "--function-name", function]);
    assert_eq!(configuration["Runtime"], "provided.al2023");
    let variables = &configuration["Environment"]["Variables"];
    assert_eq!(variables["DYNAMEND_MASTER"], master.as_str());
    assert_eq!(variables["DYNAMEND_PARTIAL_BATCHES"], "true");
    let mappings = cli.ask(&["lambda", "list-event-source-mappings", "--function-name", function]);
    let mapping = &mappings["EventSourceMappings"][0];
    assert_eq!(mapping["EventSourceArn"], stream.as_str());
    assert_eq!(mapping["FunctionResponseTypes"], json!(["ReportBatchItemFailures"]), "as the function is told");
    assert_eq!((&mapping["BisectBatchOnFunctionError"], &mapping["MaximumRetryAttempts"]), (&json!(true), &json!(20)));
    let attributes = ["sqs", "get-queue-attributes", "--attribute-names", "All", "--queue-url"];
    let failures = cli.ask(&[&attributes[..], &[&outputs["FailureQueueUrl"]]].concat());
    assert_eq!(mapping["DestinationConfig"]["OnFailure"]["Destination"], failures["Attributes"]["QueueArn"]);
    cli.delete(&stack);
    assert!(cli.run(&["lambda", "get-function", "--function-name", function]).is_err(), "the function is still there");
}
