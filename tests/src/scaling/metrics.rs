//! What CloudWatch shows of the fleet: one point a minute, and that late.

use std::collections::BTreeMap;

use super::expression::evaluate;
use super::fleet::Fleet;

/// Seconds of a period.
pub const PERIOD: u32 = 60;

/// Seconds from the end of a minute until its point can be read.
#[derive(Clone, Copy, Debug)]
pub struct Delays {
    /// Points of the queue.
    pub queue: u32,
    /// Points of the service.
    pub tasks: u32,
}

/// Both after 20 seconds.
pub const USUAL: Delays = Delays { queue: 20, tasks: 20 };

#[derive(Clone, Copy, Debug)]
struct Minute {
    visible: usize,
    held: usize,
    running: usize,
}

/// All points so far.
#[derive(Clone, Debug)]
pub struct Metrics {
    delays: Delays,
    /// Samples that a running task gives in a minute.
    samples: f64,
    minutes: Vec<Minute>,
}

impl Metrics {
    /// Without points.
    #[must_use]
    pub fn new(delays: Delays, samples: f64) -> Self {
        Self { delays, samples, minutes: Vec::new() }
    }

    /// A minute ends.
    pub fn record(&mut self, fleet: &Fleet) {
        self.minutes.push(Minute { visible: fleet.visible(), held: fleet.held(), running: fleet.running() });
    }

    /// The newest values of an expression at that time, newest first, as many as asked for.
    ///
    /// The newest minute is the last of which any metric has come; what has not come yet is missing in it, as are tasks
    /// where none runs, and messages in flight where there are none.
    #[must_use]
    pub fn newest(&self, expression: &str, now: u32, count: usize) -> Vec<Option<f64>> {
        let ended = |minute: usize| (u32::try_from(minute).expect("some hours are simulated") + 1) * PERIOD;
        let has_come = |minute: usize, delay: u32| ended(minute) + delay <= now;
        let shown = |minute: usize, delay: u32, value: usize| {
            #[expect(clippy::cast_precision_loss, reason = "some thousands")]
            let value = value as f64;
            has_come(minute, delay).then_some(value)
        };
        let first = self.delays.queue.min(self.delays.tasks);
        let newest = (0..self.minutes.len()).rev().skip_while(|minute| !has_come(*minute, first));
        let values = newest.take(count).map(|at| {
            let Minute { visible, held, running } = self.minutes[at];
            let nonzero = |value: Option<f64>| value.filter(|value| *value > 0.0);
            let running = nonzero(shown(at, self.delays.tasks, running)).map(|tasks| tasks * self.samples);
            let held = nonzero(shown(at, self.delays.queue, held));
            let visible = shown(at, self.delays.queue, visible);
            evaluate(expression, &BTreeMap::from([("visible", visible), ("held", held), ("running", running)]))
        });
        values.collect()
    }
}
