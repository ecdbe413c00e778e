//! Target tracking and step scaling, as the documentation of Application Auto Scaling has them.
//!
//! Alarms are looked at every minute, and call their policy every minute while they ring. What target tracking does exactly
//! is AWS's own affair and not yet verified there; this is the published part of it.

use super::metrics::Metrics;
use super::policy::{Adjustment, Comparison, Policy, Steps, Tracking};

/// Minutes above the target before target tracking adds tasks.
const MINUTES_ABOVE: usize = 3;

/// Minutes below the lower bound before target tracking takes tasks away.
const MINUTES_BELOW: usize = 15;

/// The lower bound, as a share of the target.
const LOWER_BOUND: f64 = 0.9;

/// What a change is by that no policy made.
pub const BY_HAND: &str = "hand";

/// A change of the desired number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When, in seconds.
    pub at: u32,
    /// From how many.
    pub from: u32,
    /// To how many.
    pub to: u32,
    /// By which policy, or [`BY_HAND`].
    pub by: String,
}

/// What a policy did last.
#[derive(Clone, Copy, Debug)]
struct Activity {
    at: u32,
    /// The desired number before it.
    from: u32,
}

/// The policies, and what they did.
#[derive(Clone, Debug)]
pub struct Scaler {
    policy: Policy,
    /// How many tasks the service is to have.
    pub desired: u32,
    /// Every change so far.
    pub changes: Vec<Change>,
    scaled_out: Option<Activity>,
    scaled_in: Option<u32>,
    stepped: Vec<Option<u32>>,
}

impl Scaler {
    /// At the fewest tasks.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        let stepped = vec![None; policy.steps.len()];
        Self { desired: policy.min, policy, changes: Vec::new(), scaled_out: None, scaled_in: None, stepped }
    }

    /// Looks at all alarms; every minute.
    pub fn look(&mut self, metrics: &Metrics, now: u32) {
        self.track(metrics, now);
        for (at, steps) in self.policy.steps.clone().iter().enumerate() {
            let cooled = self.stepped[at].is_none_or(|last| now >= last + steps.cooldown);
            if cooled
                && rings(steps, metrics, now)
                && self.set(adjusted(self.desired, steps.adjustment), &steps.name, now)
            {
                self.stepped[at] = Some(now);
            }
        }
    }

    /// Somebody sets the desired number, past the policies and their bounds.
    pub fn set_by_hand(&mut self, to: u32, now: u32) {
        let _ = self.change(to, BY_HAND, now);
    }

    fn track(&mut self, metrics: &Metrics, now: u32) {
        let Tracking { expression, target, scale_out_cooldown, scale_in_cooldown, scales_in } =
            self.policy.tracking.clone();
        let points = metrics.newest(&expression, now, MINUTES_BELOW);
        let all = |count: usize, breaches: &dyn Fn(f64) -> bool| {
            points.len() >= count && points[..count].iter().all(|point| point.is_some_and(breaches))
        };
        let Some(newest) = points.first().copied().flatten() else { return };
        if all(MINUTES_ABOVE, &|value| value > target) {
            // While the tasks that were added last are still cooling, they count as asked for: only a larger need adds more.
            let cooling = self.scaled_out.filter(|last| now < last.at + scale_out_cooldown);
            let base = cooling.map_or(self.desired, |last| last.from);
            let before = self.desired;
            if needed(base, newest, target) > before && self.set(needed(base, newest, target), "BacklogPerTask", now) {
                self.scaled_out = Some(cooling.unwrap_or(Activity { at: now, from: before }));
                self.scaled_in = None;
            }
        } else if scales_in && all(MINUTES_BELOW, &|value| value < LOWER_BOUND * target) {
            let cooled = self.scaled_in.is_none_or(|last| now >= last + scale_in_cooldown);
            let fewer = needed(self.desired, newest, target);
            if cooled && fewer < self.desired && self.set(fewer, "BacklogPerTask", now) {
                self.scaled_in = Some(now);
            }
        }
    }

    /// Sets the desired number within the bounds; whether that changes it.
    fn set(&mut self, to: u32, by: &str, now: u32) -> bool {
        self.change(to.clamp(self.policy.min, self.policy.max), by, now)
    }

    fn change(&mut self, to: u32, by: &str, now: u32) -> bool {
        let from = std::mem::replace(&mut self.desired, to);
        if from != to {
            self.changes.push(Change { at: now, from, to, by: by.to_owned() });
        }
        from != to
    }
}

/// So many tasks that each has its target, if the metric is what each of the present ones has.
fn needed(tasks: u32, metric: f64, target: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is rounded, and no less than zero")]
    let needed = (f64::from(tasks) * metric / target).ceil() as u32;
    needed
}

fn adjusted(tasks: u32, adjustment: Adjustment) -> u32 {
    let to = match adjustment {
        Adjustment::Change(by) => i64::from(tasks) + by,
        Adjustment::Exact(to) => to,
    };
    u32::try_from(to.max(0)).unwrap_or(u32::MAX)
}

fn rings(steps: &Steps, metrics: &Metrics, now: u32) -> bool {
    let points = metrics.newest(&steps.expression, now, steps.minutes);
    let breaches = |value: f64| match steps.comparison {
        Comparison::AtLeast => value >= steps.threshold,
        Comparison::Below => value < steps.threshold,
    };
    points.len() == steps.minutes && points.iter().all(|point| point.is_some_and(breaches))
}
