//! What `scaling.yaml` and `scaling-ec2.yaml` say is what the APIs of Application Auto Scaling and Auto Scaling take, through
//! the AWS CLI, which checks its shape.

use serde_json::{Value as Json, json};
use tests::cli::Cli;
use tests::moto::Moto;
use tests::template::{Resolved, Template};

/// The template with names in the place of other stacks' exports.
fn resolved(name: &str) -> Resolved {
    let template = Template::named(name).resolve(&[]);
    let named = |resource: &Json| {
        let names = [
            ("workers-ClusterName", "fleet"),
            ("workers-ServiceName", "workers"),
            ("workers-GroupName", "workers"),
            ("core-QueueName", "dynamend"),
        ];
        let replaced = names.iter().fold(resource.to_string(), |text, (export, name)| {
            text.replace(&format!("import:dynamend-{export}"), name)
        });
        serde_json::from_str(&replaced).expect("it is still JSON")
    };
    let resources = template.resources.iter().map(|(id, resource)| (id.clone(), named(resource))).collect();
    Resolved { resources, ..template }
}

/// Parameters are text in a template, and numbers for the API.
fn with_numbers(json: &Json) -> Json {
    match json {
        Json::Array(items) => items.iter().map(with_numbers).collect(),
        Json::Object(fields) => {
            Json::Object(fields.iter().map(|(name, field)| (name.clone(), with_numbers(field))).collect())
        }
        Json::String(text) => text.parse::<i64>().map_or_else(|_| json.clone(), Json::from),
        _ => json.clone(),
    }
}

fn text(json: &Json) -> &str {
    json.as_str().unwrap_or_else(|| panic!("{json} is no text"))
}

/// Numbers compare by value: the API makes `16` `16.0`.
fn same(left: &Json, right: &Json) -> bool {
    match (left, right) {
        (Json::Object(left), Json::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(name, field)| right.get(name).is_some_and(|it| same(field, it)))
        }
        (Json::Array(left), Json::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Json::Number(left), Json::Number(right)) => left.as_f64() == right.as_f64(),
        _ => left == right,
    }
}

/// Whether everything that was sent was kept; the API may add fields.
fn keeps(kept: &Json, sent: &Json) -> bool {
    match (kept, sent) {
        (Json::Object(kept), Json::Object(sent)) => {
            sent.iter().all(|(name, field)| kept.get(name).is_some_and(|it| keeps(it, field)))
        }
        (Json::Array(kept), Json::Array(sent)) => {
            kept.len() == sent.len() && kept.iter().zip(sent).all(|(kept, sent)| keeps(kept, sent))
        }
        _ => same(kept, sent),
    }
}

fn ask(cli: &Cli, service: &str, operation: &str, input: &Json) -> Json {
    cli.ask(&[service, operation, "--cli-input-json", &input.to_string()])
}

/// Sends the alarms that call the policy of that logical id, which the API has made with that ARN; how many there are.
fn send_alarms(cli: &Cli, template: &Resolved, id: &str, arn: &str) -> usize {
    let action = json!([format!("resource:{id}")]);
    let alarms = template.of_type("AWS::CloudWatch::Alarm").filter(|(_, alarm)| alarm["AlarmActions"] == action);
    let mut sent = 0;
    for (name, properties) in alarms {
        let mut input = with_numbers(properties);
        input["AlarmName"] = json!(name);
        input["AlarmActions"] = json!([arn]);
        let _ = ask(cli, "cloudwatch", "put-metric-alarm", &input);
        let alarms = ask(cli, "cloudwatch", "describe-alarms", &json!({ "AlarmNames": [name] }));
        for field in ["Threshold", "EvaluationPeriods", "ComparisonOperator", "AlarmActions", "TreatMissingData"] {
            assert!(same(&alarms["MetricAlarms"][0][field], &input[field]), "{name}, {field}: {alarms}");
        }
        sent += 1;
    }
    sent
}

#[test]
fn the_policies_are_what_application_auto_scaling_takes() {
    let template = resolved("scaling.yaml");
    let moto = Moto::start();
    let cli = Cli::new(moto.endpoint());
    let ask = |service: &str, operation: &str, input: &Json| ask(&cli, service, operation, input);
    let _ = ask("ecs", "create-cluster", &json!({ "clusterName": "fleet" }));
    let container = json!({ "name": "worker", "image": "dynamend", "memory": 128 });
    let _ = ask("ecs", "register-task-definition", &json!({ "family": "worker", "containerDefinitions": [container] }));
    let service =
        json!({ "cluster": "fleet", "serviceName": "workers", "taskDefinition": "worker", "desiredCount": 0 });
    let _ = ask("ecs", "create-service", &service);

    let target = with_numbers(template.properties("Tasks"));
    let _ = ask("application-autoscaling", "register-scalable-target", &target);
    let ecs = json!({ "ServiceNamespace": "ecs" });
    let targets = ask("application-autoscaling", "describe-scalable-targets", &ecs);
    for (name, value) in target.as_object().expect("properties") {
        assert_eq!(&targets["ScalableTargets"][0][name], value, "{name}");
    }

    for (id, properties) in template.of_type("AWS::ApplicationAutoScaling::ScalingPolicy") {
        assert_eq!(properties["ScalingTargetId"], "resource:Tasks", "{id}");
        let mut input = with_numbers(properties);
        let fields = input.as_object_mut().expect("properties");
        fields.remove("ScalingTargetId");
        for name in ["ServiceNamespace", "ResourceId", "ScalableDimension"] {
            fields.insert(name.to_owned(), target[name].clone());
        }
        let made = ask("application-autoscaling", "put-scaling-policy", &input);
        let policies = ask("application-autoscaling", "describe-scaling-policies", &ecs);
        let policies = policies["ScalingPolicies"].as_array().expect("policies").iter();
        let kept = policies.filter(|policy| policy["PolicyName"] == input["PolicyName"]).collect::<Vec<_>>();
        assert_eq!(kept.len(), 1, "{id}");
        for (name, value) in input.as_object().expect("properties") {
            assert!(same(&kept[0][name], value), "{id}, {name}: {} and {value}", kept[0][name]);
        }

        let alarms = send_alarms(&cli, &template, id, text(&made["PolicyARN"]));
        assert_eq!(alarms, usize::from(properties["PolicyType"] == "StepScaling"), "{id}");
    }

    let misspelt = json!({ "ServiceNamespace": "ecs", "MaxCapcity": 3 });
    let refused =
        cli.run(&["application-autoscaling", "register-scalable-target", "--cli-input-json", &misspelt.to_string()]);
    assert!(refused.is_err_and(|said| said.contains("MaxCapcity")), "the CLI checks no names");
}

#[test]
fn the_policies_of_instances_are_what_auto_scaling_takes() {
    let template = resolved("scaling-ec2.yaml");
    let moto = Moto::start();
    let cli = Cli::new(moto.endpoint());
    let ask = |service: &str, operation: &str, input: &Json| ask(&cli, service, operation, input);
    let instance = json!({ "ImageId": "ami-0123456789abcdef0", "InstanceType": "c7g.large" });
    let launch = json!({ "LaunchTemplateName": "workers", "LaunchTemplateData": instance });
    let _ = ask("ec2", "create-launch-template", &launch);
    let group = json!({
        "AutoScalingGroupName": "workers",
        "LaunchTemplate": { "LaunchTemplateName": "workers" },
        "MinSize": 0,
        "MaxSize": 20,
        "AvailabilityZones": ["us-east-1a"],
    });
    let _ = ask("autoscaling", "create-auto-scaling-group", &group);

    let mut policies = 0;
    for (id, properties) in template.of_type("AWS::AutoScaling::ScalingPolicy") {
        let mut input = with_numbers(properties);
        assert_eq!(input["AutoScalingGroupName"], "workers", "{id}");
        // CloudFormation makes the name.
        input["PolicyName"] = json!(id);
        let _ = ask("autoscaling", "put-scaling-policy", &input);
        let named = json!({ "AutoScalingGroupName": "workers", "PolicyNames": [id] });
        let kept = ask("autoscaling", "describe-policies", &named);
        let kept = kept["ScalingPolicies"].as_array().expect("policies");
        assert_eq!(kept.len(), 1, "{id}");
        assert!(keeps(&kept[0], &input), "{id}: {} of {input}", kept[0]);

        let alarms = send_alarms(&cli, &template, id, text(&kept[0]["PolicyARN"]));
        assert_eq!(alarms, usize::from(properties["PolicyType"] != "TargetTrackingScaling"), "{id}");
        policies += 1;
    }
    assert_eq!(policies, 3, "target tracking, and the policies to and from none");
}
