//! The numbers of a scaling policy, as the resolved template has them. None of them is written here.
//!
//! What is written here are the metrics that the simulation stands for: a template that reads others is refused.

use serde_json::Value as Json;

use crate::template::Resolved;

/// The metrics that the simulation has, by their ids: namespace, name and statistic, and the names of their dimensions.
const METRICS: [(&str, [&str; 3], &[&str]); 4] = [
    ("visible", ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "Maximum"], &["QueueName"]),
    ("held", ["AWS/SQS", "ApproximateNumberOfMessagesNotVisible", "Maximum"], &["QueueName"]),
    ("running", ["AWS/ECS", "CPUUtilization", "SampleCount"], &["ClusterName", "ServiceName"]),
    ("running", ["ECS/ContainerInsights", "RunningTaskCount", "Average"], &["ClusterName", "ServiceName"]),
];

/// Periods of a metric, in seconds. Target tracking has that of its alarms, a minute, where none is named.
const OF_TRACKING: &[Option<i64>] = &[None, Some(60)];
const OF_ALARMS: &[Option<i64>] = &[Some(60)];

/// Everything in `scaling.yaml` that decides how many tasks run.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Fewest tasks.
    pub min: u32,
    /// Most tasks.
    pub max: u32,
    /// Target tracking.
    pub tracking: Tracking,
    /// The step policies with their alarms, by the policy's logical id.
    pub steps: Vec<Steps>,
}

/// A target tracking policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracking {
    /// The metric math.
    pub expression: String,
    /// What the metric is to be.
    pub target: f64,
    /// Seconds.
    pub scale_out_cooldown: u32,
    /// Seconds.
    pub scale_in_cooldown: u32,
    /// Whether it takes tasks away at all.
    pub scales_in: bool,
}

/// A step scaling policy, and the alarm that calls it.
#[derive(Clone, Debug, PartialEq)]
pub struct Steps {
    /// The policy's logical id.
    pub name: String,
    /// The alarm's metric math.
    pub expression: String,
    /// The alarm's comparison with its threshold.
    pub comparison: Comparison,
    /// The alarm's threshold.
    pub threshold: f64,
    /// Minutes that the alarm looks at; it rings when all of them breach.
    pub minutes: usize,
    /// What the policy then does.
    pub adjustment: Adjustment,
    /// Seconds.
    pub cooldown: u32,
}

/// How an alarm compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// At the threshold or above.
    AtLeast,
    /// Below the threshold.
    Below,
}

/// What a step policy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adjustment {
    /// Adds so many.
    Change(i64),
    /// Sets the number.
    Exact(i64),
}

impl Policy {
    /// Reads `scaling.yaml`.
    ///
    /// # Panics
    /// When the template has something that the simulation does not know.
    #[must_use]
    pub fn read(template: &Resolved) -> Self {
        let (_, target) = one(template.of_type("AWS::ApplicationAutoScaling::ScalableTarget").collect());
        let policies: Vec<_> = template.of_type("AWS::ApplicationAutoScaling::ScalingPolicy").collect();
        let (tracking, steps): (Vec<_>, Vec<_>) =
            policies.into_iter().partition(|(_, policy)| policy["PolicyType"] == "TargetTrackingScaling");
        let (_, tracking) = one(tracking);
        let steps = steps.into_iter().map(|(name, policy)| Steps::read(name, policy, template)).collect();
        let whole = |name: &str| u32::try_from(integer(&target[name])).expect("a capacity is no less than zero");
        Self { min: whole("MinCapacity"), max: whole("MaxCapacity"), tracking: Tracking::read(tracking), steps }
    }

    /// The step policy of that name.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn step(&mut self, name: &str) -> &mut Steps {
        self.steps.iter_mut().find(|steps| steps.name == name).unwrap_or_else(|| panic!("there is no {name}"))
    }
}

impl Tracking {
    fn read(properties: &Json) -> Self {
        let tracking = &properties["TargetTrackingScalingPolicyConfiguration"];
        let cooldown = |name: &str| u32::try_from(integer(&tracking[name])).expect("a cooldown is no less than zero");
        Self {
            expression: returned(&tracking["CustomizedMetricSpecification"]["Metrics"], OF_TRACKING),
            target: number(&tracking["TargetValue"]),
            scale_out_cooldown: cooldown("ScaleOutCooldown"),
            scale_in_cooldown: cooldown("ScaleInCooldown"),
            scales_in: tracking["DisableScaleIn"] != true,
        }
    }
}

impl Steps {
    fn read(name: &str, policy: &Json, template: &Resolved) -> Self {
        let steps = &policy["StepScalingPolicyConfiguration"];
        let action = Json::String(format!("resource:{name}"));
        let calls = |alarm: &Json| alarm["AlarmActions"].as_array().is_some_and(|actions| actions.contains(&action));
        let alarms = template.of_type("AWS::CloudWatch::Alarm").filter(|(_, alarm)| calls(alarm));
        let (_, alarm) = one(alarms.collect());
        let comparison = match alarm["ComparisonOperator"].as_str() {
            Some("GreaterThanOrEqualToThreshold") => Comparison::AtLeast,
            Some("LessThanThreshold") => Comparison::Below,
            other => panic!("{name}: the simulation does not know {other:?}"),
        };
        let step = one(steps["StepAdjustments"].as_array().expect("steps are a list").iter().collect());
        // One step from the threshold on, so that the size of the breach does not matter.
        let bound = match comparison {
            Comparison::AtLeast => "MetricIntervalLowerBound",
            Comparison::Below => "MetricIntervalUpperBound",
        };
        assert_eq!(integer(&step[bound]), 0, "{name}");
        let amount = integer(&step["ScalingAdjustment"]);
        let adjustment = match steps["AdjustmentType"].as_str() {
            Some("ChangeInCapacity") => Adjustment::Change(amount),
            Some("ExactCapacity") => Adjustment::Exact(amount),
            other => panic!("{name}: the simulation does not know {other:?}"),
        };
        let minutes = integer(&alarm["EvaluationPeriods"]);
        assert_eq!(integer(&alarm["DatapointsToAlarm"]), minutes, "{name}: all of the minutes have to breach");
        assert_eq!(alarm["TreatMissingData"], "notBreaching", "{name}");
        Self {
            name: name.to_owned(),
            expression: returned(&alarm["Metrics"], OF_ALARMS),
            comparison,
            threshold: number(&alarm["Threshold"]),
            minutes: usize::try_from(minutes).expect("an alarm looks at some minutes"),
            adjustment,
            cooldown: u32::try_from(integer(&steps["Cooldown"])).expect("a cooldown is no less than zero"),
        }
    }
}

/// The expression that a list of metrics returns.
fn returned(metrics: &Json, periods: &[Option<i64>]) -> String {
    let metrics = metrics.as_array().expect("metrics are a list");
    let returned = one(metrics.iter().filter(|metric| metric["ReturnData"] == true).collect());
    for metric in metrics.iter().filter(|metric| metric["ReturnData"] != true) {
        assert!(is_simulated(metric, periods), "the simulation does not have {metric}");
    }
    returned["Expression"].as_str().expect("an expression is returned").to_owned()
}

/// Whether the metric is what the simulation takes its id for, of the queue and the service of the other stacks' exports.
fn is_simulated(metric: &Json, periods: &[Option<i64>]) -> bool {
    let of_metric = &metric["MetricStat"]["Metric"];
    let read = [&of_metric["Namespace"], &of_metric["MetricName"], &metric["MetricStat"]["Stat"]];
    let dimensions = of_metric["Dimensions"].as_array().map_or(&[][..], Vec::as_slice);
    let is_of = |dimension: &Json, name: &str| {
        let export = dimension["Value"].as_str().unwrap_or_default();
        dimension["Name"] == name && export.ends_with(&format!("-{name}"))
    };
    let period = match &metric["MetricStat"]["Period"] {
        Json::Null => None,
        period => Some(integer(period)),
    };
    let known = METRICS.iter().any(|(id, due, names)| {
        metric["Id"] == *id
            && read.iter().zip(due).all(|(read, due)| **read == **due)
            && dimensions.len() == names.len()
            && names.iter().all(|name| dimensions.iter().any(|dimension| is_of(dimension, name)))
    });
    known && periods.contains(&period)
}

fn one<T>(mut all: Vec<T>) -> T {
    assert_eq!(all.len(), 1, "one is due");
    all.remove(0)
}

fn number(json: &Json) -> f64 {
    let text = json.as_str().and_then(|text| text.parse().ok());
    json.as_f64().or(text).unwrap_or_else(|| panic!("{json} is no number"))
}

fn integer(json: &Json) -> i64 {
    let text = json.as_str().and_then(|text| text.parse().ok());
    json.as_i64().or(text).unwrap_or_else(|| panic!("{json} is no whole number"))
}
