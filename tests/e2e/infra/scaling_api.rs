//! What `scaling.yaml` says is what the API of Application Auto Scaling takes, through the AWS CLI, which checks its shape.

use serde_json::{Value as Json, json};
use tests::cli::Cli;
use tests::moto::Moto;
use tests::template::{Resolved, Template};

/// The template with names in the place of other stacks' exports.
fn resolved() -> Resolved {
    let template = Template::named("scaling.yaml").resolve(&[]);
    let named = |resource: &Json| {
        let names =
            [("workers-ClusterName", "fleet"), ("workers-ServiceName", "workers"), ("core-QueueName", "dynamend")];
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

#[test]
fn the_policies_are_what_application_auto_scaling_takes() {
    let template = resolved();
    let moto = Moto::start();
    let cli = Cli::new(moto.endpoint());
    let ask = |service: &str, operation: &str, input: &Json| {
        cli.ask(&[service, operation, "--cli-input-json", &input.to_string()])
    };
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

        let action = json!([format!("resource:{id}")]);
        for (alarm, properties) in template.of_type("AWS::CloudWatch::Alarm") {
            if properties["AlarmActions"] != action {
                continue;
            }
            let mut input = with_numbers(properties);
            input["AlarmName"] = json!(alarm);
            input["AlarmActions"] = json!([text(&made["PolicyARN"])]);
            let _ = ask("cloudwatch", "put-metric-alarm", &input);
            let alarms = ask("cloudwatch", "describe-alarms", &json!({ "AlarmNames": [alarm] }));
            for name in ["Threshold", "EvaluationPeriods", "ComparisonOperator", "AlarmActions", "TreatMissingData"] {
                assert!(same(&alarms["MetricAlarms"][0][name], &input[name]), "{alarm}, {name}: {alarms}");
            }
        }
    }

    let misspelt = json!({ "ServiceNamespace": "ecs", "MaxCapcity": 3 });
    let refused =
        cli.run(&["application-autoscaling", "register-scalable-target", "--cli-input-json", &misspelt.to_string()]);
    assert!(refused.is_err_and(|said| said.contains("MaxCapcity")), "the CLI checks no names");
}
