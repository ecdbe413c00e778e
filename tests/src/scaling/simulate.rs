//! A load, the fleet, its metrics and the policy, in steps of five seconds.

use super::fleet::{self, Behaviour, Fleet};
use super::metrics::{self, Delays, Metrics, PERIOD};
use super::policy::Policy;
use super::scaler::{Change, Scaler};

/// Seconds of one step.
pub const STEP: u32 = 5;

/// When in a minute the alarms are looked at, in seconds. The points of the minute before have come by then if nothing is late.
const LOOK: u32 = 25;

/// Messages that come at one time.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// When, in seconds.
    pub at: u32,
    /// How many.
    pub segments: usize,
    /// Seconds that each of them takes on average; they vary by half around it.
    pub work: u32,
}

/// Everything but the policy.
#[derive(Clone, Debug)]
pub struct World {
    /// The load, in the order of time.
    pub arrivals: Vec<Arrival>,
    /// How tasks behave.
    pub behaviour: Behaviour,
    /// How late metrics come.
    pub delays: Delays,
    /// Samples of the service's CPU utilization that a running task gives in a minute.
    pub samples: f64,
    /// Seconds during which no task starts, because there is no capacity.
    pub drought: std::ops::Range<u32>,
    /// When somebody sets the desired number, in seconds and in the order of time, and to what.
    pub by_hand: Vec<(u32, u32)>,
    /// How long it goes on, in seconds.
    pub ends: u32,
}

impl World {
    /// The usual tasks and delays, with that load, for so many minutes.
    #[must_use]
    pub fn new(arrivals: Vec<Arrival>, minutes: u32) -> Self {
        let (behaviour, delays) = (fleet::USUAL, metrics::USUAL);
        let ends = minutes * PERIOD;
        Self { arrivals, behaviour, delays, samples: 1.0, drought: 0..0, by_hand: Vec::new(), ends }
    }
}

/// The state at one time.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Seconds from the beginning.
    pub at: u32,
    /// Messages that wait.
    pub visible: usize,
    /// Messages that are being worked on.
    pub held: usize,
    /// Tasks that run.
    pub running: usize,
    /// Tasks that are to run.
    pub desired: u32,
}

/// What happened.
#[derive(Clone, Debug)]
pub struct History {
    /// Every step.
    pub moments: Vec<Moment>,
    /// Every change of the desired number.
    pub changes: Vec<Change>,
    /// Segments that were sent.
    pub sent: usize,
    /// Segments that were done.
    pub done: usize,
    /// Tasks that were stopped while they held a segment.
    pub stopped_at_work: usize,
}

impl History {
    /// Most tasks that ran at once.
    #[must_use]
    pub fn peak(&self) -> usize {
        self.moments.iter().map(|moment| moment.running).max().unwrap_or(0)
    }

    /// How often the desired number turned from growing to shrinking or back, and those changes that turned it.
    #[must_use]
    pub fn turns(&self) -> usize {
        let grows: Vec<bool> = self.changes.iter().map(|change| change.to > change.from).collect();
        grows.windows(2).filter(|pair| pair[0] != pair[1]).count()
    }

    /// The first time from `after` on when that holds.
    #[must_use]
    pub fn first(&self, after: u32, holds: impl Fn(&Moment) -> bool) -> Option<u32> {
        self.moments.iter().find(|moment| moment.at >= after && holds(moment)).map(|moment| moment.at)
    }

    /// Seconds that tasks ran, all together.
    #[must_use]
    pub fn task_seconds(&self) -> usize {
        self.moments.iter().map(|moment| moment.running * STEP as usize).sum()
    }
}

/// What the policy makes of it.
#[must_use]
pub fn simulate(policy: &Policy, world: &World) -> History {
    let mut fleet = Fleet::new(world.behaviour);
    let mut metrics = Metrics::new(world.delays, world.samples);
    let mut scaler = Scaler::new(policy.clone());
    let mut arrivals = world.arrivals.iter().peekable();
    let mut by_hand = world.by_hand.iter().peekable();
    let mut moments = Vec::new();
    for at in (0..world.ends).step_by(STEP as usize) {
        while let Some(arrival) = arrivals.next_if(|arrival| arrival.at <= at) {
            for number in 0..arrival.segments {
                fleet.send(varied(arrival.work, number));
            }
        }
        while let Some((_, desired)) = by_hand.next_if(|(when, _)| *when <= at) {
            scaler.set_by_hand(*desired, at);
        }
        if at > 0 && at % PERIOD == 0 {
            metrics.record(&fleet);
        }
        if at % PERIOD == LOOK {
            scaler.look(&metrics, at);
        }
        // Without capacity the service tries again and again; what was running goes on.
        let possible = if world.drought.contains(&at) { fleet.running() } else { usize::MAX };
        fleet.converge(possible.min(scaler.desired as usize));
        fleet.pass(STEP);
        moments.push(Moment {
            at,
            visible: fleet.visible(),
            held: fleet.held(),
            running: fleet.running(),
            desired: scaler.desired,
        });
    }
    let Fleet { sent, done, stopped_at_work, .. } = fleet;
    History { moments, changes: scaler.changes, sent, done, stopped_at_work }
}

/// A length of work between half of the average and one and a half times it, the same in every run.
fn varied(average: u32, number: usize) -> u32 {
    let spread = u32::try_from(number % 101 * 37 % 101).expect("it is less than 101");
    (average / 2 + average * spread / 100).max(1)
}
