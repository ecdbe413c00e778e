//! The scaling policy of `infra/scaling.yaml`, tried out in the simulation: every number of it comes from there.
//!
//! `DYNAMEND_WRITE_PLOTS=1 cargo test -p tests --test e2e -- scaling::the_picture` writes `infra/scaling.svg` anew.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};
use tests::scaling::expression::evaluate;
use tests::scaling::plot;
use tests::scaling::policy::{Adjustment, Policy};
use tests::scaling::scaler::BY_HAND;
use tests::scaling::simulate::{Arrival, History, World, simulate};
use tests::template::{self, Resolved, Template};

const MINUTE: u32 = 60;

/// When the first load of a world comes: not at the beginning of a minute.
const BEGIN: u32 = 10 * MINUTE + 5;

fn policy() -> Policy {
    policy_with(&[])
}

fn policy_with(parameters: &[(&str, &str)]) -> Policy {
    Policy::read(&Template::named("scaling.yaml").resolve(parameters))
}

fn job(at: u32, segments: usize, work: u32) -> Arrival {
    Arrival { at, segments, work }
}

/// All segments of a large job at once: more than the cap can hold.
fn burst() -> World {
    World::new(vec![job(BEGIN, 1000, 120)], 90)
}

/// A job that needs some tasks, and not as many as there may be.
fn smaller() -> World {
    World::new(vec![job(BEGIN, 100, 90)], 60)
}

/// Segments that are done so quickly that the backlog is gone at once, when it begins to go.
fn quick() -> World {
    World::new(vec![job(BEGIN, 4000, 20)], 90)
}

/// A second job that comes after the first is done and its tasks are gone.
fn two_jobs() -> World {
    World::new(vec![job(BEGIN, 1600, 120), job(85 * MINUTE, 600, 120)], 140)
}

/// Single segments, again and again: as a table with a stream of small jobs has them.
fn trickle() -> World {
    World::new((0..120).map(|number| job(BEGIN + number * 30, 1, 60)).collect(), 120)
}

/// Segments that take half an hour each, so that the fleet is to shrink while it works.
fn long_segments() -> World {
    World::new(vec![job(BEGIN, 200, 30 * MINUTE)], 180)
}

/// Every segment is done, no task was stopped while it held one, and in the end nothing runs.
fn assert_whole(history: &History) {
    assert_eq!(history.done, history.sent, "segments done and sent");
    assert_eq!(history.stopped_at_work, 0, "tasks stopped while they held a segment");
    let last = history.moments.last().expect("there are moments");
    assert_eq!((last.running, last.desired), (0, 0), "what runs in the end");
}

#[test]
fn a_burst_has_its_first_task_in_four_minutes_and_the_cap_in_five() {
    let policy = policy();

    let history = simulate(&policy, &burst());

    assert_whole(&history);
    let first = history.first(0, |moment| moment.running > 0).expect("a task starts");
    assert!(first <= BEGIN + 4 * MINUTE, "the first task runs {} s after the job", first - BEGIN);
    let full = history.first(0, |moment| moment.running == policy.max as usize).expect("the cap is reached");
    assert!(full <= BEGIN + 5 * MINUTE, "all tasks run {} s after the job", full - BEGIN);
}

#[test]
fn an_idle_fleet_is_gone_seven_minutes_after_the_last_segment() {
    let policy = policy();

    for world in [burst(), smaller(), quick()] {
        let history = simulate(&policy, &world);

        assert_whole(&history);
        let idle = history.first(BEGIN, |moment| moment.visible + moment.held == 0).expect("all is done");
        let gone = history.first(idle, |moment| moment.running == 0).expect("the tasks are stopped");
        assert!(gone <= idle + 7 * MINUTE, "tasks are idle for {} s", gone - idle);
    }
}

#[test]
fn no_load_starts_no_task() {
    let history = simulate(&policy(), &World::new(Vec::new(), 60));

    assert_eq!(history.changes, []);
}

#[test]
fn the_number_of_tasks_turns_no_more_often_than_the_load() {
    let policy = policy();
    let single = (0..8).map(|number| job(BEGIN + number * 20 * MINUTE, 1, 60)).collect();
    let worlds = [
        ("burst", burst(), 1),
        ("smaller", smaller(), 1),
        ("two jobs", two_jobs(), 3),
        ("trickle", trickle(), 1),
        ("long segments", long_segments(), 1),
        ("one segment every 20 minutes", World::new(single, 190), 15),
    ];
    for (name, world, turns) in worlds {
        let history = simulate(&policy, &world);

        assert_whole(&history);
        assert!(history.turns() <= turns, "{name}: {:?}", history.changes);
    }
}

#[test]
fn no_more_tasks_are_asked_for_than_the_backlog_needs() {
    let policy = policy();

    let history = simulate(&policy, &smaller());

    // 100 messages, 16 for each.
    assert_eq!(history.moments.iter().map(|moment| moment.desired).max(), Some(7), "{:?}", history.changes);
    let one = simulate(&policy, &trickle());
    assert_eq!(one.peak(), 1, "{:?}", one.changes);
}

#[test]
fn a_fleet_whose_segments_are_long_shrinks_while_it_works_and_stops_nobody_at_work() {
    let policy = policy();

    let history = simulate(&policy, &long_segments());

    assert_whole(&history);
    let shrinks = history.changes.iter().find(|change| change.to < change.from).expect("it shrinks");
    let held = history.moments.iter().find(|moment| moment.at == shrinks.at).expect("it is a moment").held;
    assert!(held > 0, "it shrinks only when all is done: {:?}", history.changes);
    let forgotten = history.moments.iter().find(|moment| moment.held > 0 && moment.desired == 0);
    assert!(forgotten.is_none(), "no task is asked for, and some are at work: {forgotten:?}");
    // The same world without protection stops tasks that work, so that the assertion above is one.
    let mut unprotected = long_segments();
    unprotected.behaviour.protects = false;
    assert!(simulate(&policy, &unprotected).stopped_at_work > 0);
}

#[test]
fn a_job_that_comes_while_tasks_are_stopped_is_done_as_quickly_as_another() {
    let policy = policy();
    let first = simulate(&policy, &smaller());
    let idle = first.first(BEGIN, |moment| moment.visible + moment.held == 0).expect("all is done");
    for after in (0..10 * MINUTE).step_by(35) {
        let begin = idle + after;
        let world = World::new(vec![job(BEGIN, 100, 90), job(begin, 100, 90)], 90);

        let history = simulate(&policy, &world);

        assert_whole(&history);
        let works = history.first(begin + 1, |moment| moment.held > 0).expect("somebody takes it");
        assert!(works <= begin + 4 * MINUTE, "{after} s after the first: taken after {} s", works - begin);
        let done = history.first(begin + 1, |moment| moment.visible + moment.held == 0).expect("it is done");
        assert!(done <= begin + 20 * MINUTE, "{after} s after the first: done after {} s", done - begin);
    }
}

#[test]
fn without_capacity_for_half_an_hour_nothing_is_taken_back() {
    let mut world = smaller();
    world.drought = 0..BEGIN + 30 * MINUTE;
    world.ends += 30 * MINUTE;

    let history = simulate(&policy(), &world);

    assert_whole(&history);
    assert_eq!(history.turns(), 1, "{:?}", history.changes);
}

#[test]
fn metrics_of_tasks_that_come_a_minute_late_add_no_tasks() {
    // A load that one task just keeps up with, so that what came before it began still waits, and asks for no second one. A
    // single segment takes half of the average: a minute.
    let load = (0..120).map(|number| job(BEGIN + number * 15, 1, 2 * MINUTE)).collect();
    let mut world = World::new(load, 90);
    world.delays.tasks = 80;

    let history = simulate(&policy(), &world);

    assert_whole(&history);
    assert_eq!(history.peak(), 1, "{:?}", history.changes);
}

#[test]
fn three_samples_that_are_taken_for_one_make_the_fleet_smaller_and_lose_nothing() {
    let mut world = two_jobs();
    world.samples = 3.0;
    let told = policy_with(&[("SamplesPerTask", "3")]);

    let mistaken = simulate(&policy(), &world);
    let right = simulate(&told, &world);

    assert_whole(&mistaken);
    assert_whole(&right);
    assert_eq!(right.changes, simulate(&policy(), &two_jobs()).changes, "told of them, it is as with one sample");
}

#[test]
fn a_minimum_of_tasks_is_there_before_a_job_and_stays_after_it() {
    let policy = policy_with(&[("MinTasks", "2")]);

    let history = simulate(&policy, &smaller());

    assert_eq!((history.done, history.stopped_at_work), (history.sent, 0), "segments done; tasks stopped at work");
    assert_eq!(history.first(0, |moment| moment.held > 0), Some(BEGIN), "nobody waits for a first task");
    assert!(history.moments.iter().all(|moment| moment.desired >= 2), "{:?}", history.changes);
    assert!(history.peak() > 2, "it is not all that runs: {:?}", history.changes);
    assert_eq!(history.turns(), 1, "{:?}", history.changes);
    let last = history.moments.last().expect("there are moments");
    assert_eq!((last.running, last.desired), (2, 2), "what runs in the end");
}

#[test]
fn tasks_asked_for_by_hand_while_nothing_is_to_do_are_taken_back_and_a_raised_minimum_is_not() {
    let mut world = World::new(Vec::new(), 60);
    world.by_hand = vec![(BEGIN, 10)];

    let history = simulate(&policy(), &world);

    assert_whole(&history);
    let steps = |history: &History| -> Vec<(String, u32, u32)> {
        history.changes.iter().map(|change| (change.by.clone(), change.from, change.to)).collect()
    };
    assert_eq!(steps(&history), [(BY_HAND.to_owned(), 0, 10), ("Idle".to_owned(), 10, 0)]);
    let back = history.first(BEGIN, |moment| moment.desired == 0).expect("they are taken back");
    assert!(back <= BEGIN + 3 * MINUTE, "they are taken back after {} s", back - BEGIN);

    let raised = simulate(&policy_with(&[("MinTasks", "10")]), &World::new(Vec::new(), 60));
    assert_eq!(steps(&raised), []);
    assert_eq!(raised.moments.last().map(|moment| moment.running), Some(10));

    // The minimum is also what the taking back ends at.
    let both = simulate(&policy_with(&[("MinTasks", "4")]), &world);
    assert_eq!(steps(&both), [(BY_HAND.to_owned(), 4, 10), ("Idle".to_owned(), 10, 4)]);

    // It is no better together with a job, whose messages are not seen before the next minute is over.
    let mut with_job = burst();
    with_job.by_hand = vec![(BEGIN, 20)];
    let history = simulate(&policy(), &with_job);
    assert_whole(&history);
    assert_eq!(steps(&history)[..2], [(BY_HAND.to_owned(), 0, 20), ("Idle".to_owned(), 20, 0)]);
}

#[test]
fn the_simulation_sees_a_policy_that_is_bad() {
    let broken = |change: &dyn Fn(&mut Policy)| {
        let mut policy = policy();
        change(&mut policy);
        policy
    };
    let without = |name: &str| broken(&|policy| policy.steps.retain(|steps| steps.name != name));

    let unstarted = simulate(&without("FirstTask"), &burst());
    assert_eq!(unstarted.done, 0, "target tracking cannot start from none");

    let lasting = simulate(&without("Idle"), &quick());
    let idle = lasting.first(BEGIN, |moment| moment.visible + moment.held == 0).expect("all is done");
    assert!(lasting.moments.iter().any(|moment| moment.at > idle + 7 * MINUTE && moment.running > 0));

    let unguarded = broken(&|policy| policy.tracking.expression = "(visible + held) / running".to_owned());
    let history = simulate(&unguarded, &burst());
    let full = history.first(0, |moment| moment.running == unguarded.max as usize);
    assert!(full.is_none_or(|full| full > BEGIN + 5 * MINUTE), "without tasks there is no data: {full:?}");

    let hasty = broken(&|policy| policy.tracking.scale_out_cooldown = 0);
    let history = simulate(&hasty, &smaller());
    assert!(history.peak() > 7, "starting tasks are asked for twice: {:?}", history.changes);

    let exact = broken(&|policy| policy.step("FirstTask").adjustment = Adjustment::Exact(1));
    let mut dry = smaller();
    dry.drought = 0..BEGIN + 30 * MINUTE;
    let history = simulate(&exact, &dry);
    assert!(history.turns() > 1, "two policies pull in two directions: {:?}", history.changes);
}

/// What is said when the policy is not one that the simulation can be of; none when it is.
fn refused(template: &Resolved) -> Option<String> {
    let said = std::panic::catch_unwind(|| Policy::read(template)).err()?;
    Some(said.downcast_ref::<String>().cloned().unwrap_or_default())
}

/// The metric of that id which target tracking, or an alarm, of that name reads.
fn metric<'a>(template: &'a mut Resolved, name: &str, id: &str) -> &'a mut Json {
    let properties = &mut template.resources.get_mut(name).expect("it is there")["Properties"];
    let tracks = properties["PolicyType"].is_string();
    let specification = if tracks {
        &mut properties["TargetTrackingScalingPolicyConfiguration"]["CustomizedMetricSpecification"]
    } else {
        properties
    };
    let mut metrics = specification["Metrics"].as_array_mut().expect("metrics").iter_mut();
    &mut metrics.find(|metric| metric["Id"] == id).expect("a metric")["MetricStat"]
}

#[test]
fn a_policy_of_other_metrics_than_those_that_are_simulated_is_refused() {
    type Change = fn(&mut Json);
    let mutants: [(&str, &str, Change); 13] = [
        ("BacklogPerTask", "running", |it| it["Stat"] = json!("Average")),
        ("BacklogPerTask", "visible", |it| it["Stat"] = json!("Minimum")),
        ("BacklogPerTask", "held", |it| it["Period"] = json!(300)),
        ("BacklogPerTask", "held", |it| it["Metric"]["Namespace"] = json!("AWS/ECS")),
        ("BacklogPerTask", "running", |it| it["Metric"]["MetricName"] = json!("MemoryUtilization")),
        ("FirstTaskAlarm", "visible", |it| it["Metric"]["MetricName"] = json!("ApproximateNumberOfMessagesDelayed")),
        ("FirstTaskAlarm", "running", |it| it["Stat"] = json!("Average")),
        ("FirstTaskAlarm", "running", |it| it["Metric"]["Namespace"] = json!("ECS/ContainerInsights")),
        ("FirstTaskAlarm", "running", |it| it["Metric"]["Dimensions"] = json!([])),
        ("FirstTaskAlarm", "running", |it| it["Period"] = json!(300)),
        ("IdleAlarm", "held", |it| it["Stat"] = json!("Minimum")),
        ("IdleAlarm", "held", |it| it["Period"] = Json::Null),
        ("IdleAlarm", "visible", |it| {
            it["Metric"]["Dimensions"][0]["Value"] = json!("import:dynamend-core-DeadLetterQueueName");
        }),
    ];
    let resolved = |parameters: &[(&str, &str)]| Template::named("scaling.yaml").resolve(parameters);
    assert_eq!(refused(&resolved(&[])), None);
    for (name, id, change) in mutants {
        let mut template = resolved(&[]);
        change(metric(&mut template, name, id));

        let said =
            refused(&template).unwrap_or_else(|| panic!("{name} is taken with {}", metric(&mut template, name, id)));
        assert!(said.starts_with("the simulation does not have"), "{name}, {id}: {said}");
    }
    // What counts the tasks instead is known as well, and is the same policy.
    assert_eq!(policy_with(&[("RunningTasks", "ContainerInsights")]), policy());
    let mut template = resolved(&[("RunningTasks", "ContainerInsights")]);
    metric(&mut template, "BacklogPerTask", "running")["Stat"] = json!("SampleCount");
    assert!(refused(&template).is_some());
}

#[test]
fn whatever_the_runbook_lets_one_choose_of_scaling_is_a_parameter_of_the_whole_fleet() {
    let runbook = std::fs::read_to_string(template::folder().join("README.md")).expect("the runbook can be read");
    let (_, section) = runbook.split_once("\n## How the fleet scales\n").expect("the section is there");
    let section = section.split("\n## ").next().expect("a text has a beginning");
    // `NAME`, or `NAME=VALUE`.
    let marked = section.split('`').skip(1).step_by(2).filter_map(|marked| marked.split('=').next());
    let names: BTreeSet<&str> = marked.collect();
    let fleet = Template::named("fleet.yaml");
    let mut seen = 0;
    for (stack, of_stack) in [("Scaling", "scaling.yaml"), ("Workers", "workers.yaml")] {
        let part = Template::named(of_stack);
        for name in &names {
            let Some(own) = part.parameter(name) else { continue };
            seen += 1;
            let given = fleet.parameter(name).unwrap_or_else(|| panic!("fleet.yaml has no {name} for {of_stack}"));
            assert_eq!(given["Default"], own["Default"], "{name}");
            let passed = &fleet.json()["Resources"][stack]["Properties"]["Parameters"][name];
            assert!(passed.to_string().contains(name), "{name} is not passed to {of_stack}: {passed}");
        }
    }
    assert!(seen > 5, "the section names {names:?}");
}

#[test]
fn metric_math_is_evaluated_with_missing_points() {
    let metrics = [("a", Some(6.0)), ("b", None), ("zero", Some(0.0))].into();
    let cases = [
        ("1 + 2 * 3", Some(7.0)),
        ("(1 + 2) * 3", Some(9.0)),
        ("a / 4 - 1", Some(0.5)),
        ("a + b", None),
        ("a + FILL(b, 1)", Some(7.0)),
        ("FILL(a, 1)", Some(6.0)),
        ("a / zero", None),
        ("IF(a < 7, 1, b)", Some(1.0)),
        ("IF(a >= 7, 1, b)", None),
        ("IF(b, 1, 2)", None),
        ("IF(FILL(b, 0) < 1, 1, b)", Some(1.0)),
        ("a != 6", Some(0.0)),
    ];
    for (expression, value) in cases {
        assert_eq!(evaluate(expression, &metrics), value, "{expression}");
    }
}

#[test]
fn the_picture_in_the_runbook_is_what_the_policy_does() {
    let policy = policy();
    let title = "Two jobs, of 1,600 and 600 segments, of two minutes each";
    let svg = plot::svg(&simulate(&policy, &two_jobs()), &policy, title);
    let path = template::folder().join("scaling.svg");
    if std::env::var_os("DYNAMEND_WRITE_PLOTS").is_some() {
        std::fs::write(&path, &svg).expect("the picture can be written");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == svg, "infra/scaling.svg is out of date; DYNAMEND_WRITE_PLOTS=1 writes it anew");
}
