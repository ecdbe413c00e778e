//! One entry as it is watched.

use std::time::{Duration, Instant};

use super::course::{Course, Early, OutOfTurn, Phase, Standing, StepKind};
use super::rates::{Counts, Rates, Recent};
use super::short::{self, Fill};
use crate::figures::grouped;

/// How a step of an entry stands, from the step's beginning on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Items, or changes, that it read.
    pub read: u64,
    /// Items that it wrote or deleted, in all copies.
    pub written: u64,
    /// Discrepancies that it found.
    pub found: u64,
    /// Read units that it consumed.
    pub read_units: f64,
    /// Write units that it consumed.
    pub write_units: f64,
    /// How far the copies are behind, where that is known.
    pub lag: Option<Duration>,
    /// What was read and is not written yet, where there is a buffer.
    pub buffered: Option<Fill>,
}

/// The size of a table, as the service tells it every few hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Items.
    pub items: u64,
    /// Bytes.
    pub bytes: u64,
}

/// One line of the status.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What the entry is called.
    pub name: String,
    /// How large its table is.
    pub size: Option<Size>,
    /// What it does.
    pub phase: Phase,
    /// Its steps, by kind: where they stand, and what they did.
    pub steps: [(StepKind, Standing, Sample); 4],
    /// What happens per second.
    pub rates: Rates,
}

impl Row {
    /// The last sample of the step that is at work.
    #[must_use]
    pub fn running(&self) -> Option<&Sample> {
        let running = self.steps.iter().find(|(_, standing, _)| *standing == Standing::Running);
        running.map(|(_, _, sample)| sample)
    }
}

/// An entry, and what is known of it.
#[derive(Clone, Debug)]
pub struct Tracked {
    name: String,
    size: Option<Size>,
    course: Course,
    samples: [Sample; 4],
    recent: Recent,
    /// When the phase began.
    since: Instant,
}

impl Tracked {
    /// An entry that waits for its turn.
    #[must_use]
    pub fn new(name: impl Into<String>, steps: impl IntoIterator<Item = StepKind>, now: Instant) -> Self {
        Self {
            name: name.into(),
            size: None,
            course: Course::new(steps),
            samples: [Sample::default(); 4],
            recent: Recent::default(),
            since: now,
        }
    }

    /// Takes up how large its table is.
    pub fn describe(&mut self, size: Size) {
        self.size = Some(size);
    }

    /// Whether nothing follows any more.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.course.has_ended()
    }

    /// Takes up how a step stands. One that comes late, after the step has ended, still corrects what it did.
    pub fn take(&mut self, step: StepKind, sample: Sample, now: Instant) {
        self.samples[step as usize] = sample;
        if self.course.phase() == Phase::At(step) {
            let Sample { read, read_units, write_units, .. } = sample;
            self.recent.push(now, Counts { items: read, read_units, write_units });
        }
    }

    /// Begins a step, which ends the one before it; returns lines for the log.
    ///
    /// # Errors
    /// When it is not the next one.
    pub fn begin(&mut self, step: StepKind, now: Instant) -> Result<Vec<String>, OutOfTurn> {
        let before = self.course.phase();
        self.course.begin(step)?;
        let mut lines = Vec::new();
        lines.extend(self.ended_line(before, "complete", now));
        lines.push(format!("{}: {step} started", self.name));
        self.recent = Recent::default();
        self.recent.push(now, Counts::default());
        self.since = now;
        Ok(lines)
    }

    /// Ends the last step; returns lines for the log.
    ///
    /// # Errors
    /// When the entry is not at its last step.
    pub fn finish(&mut self, now: Instant) -> Result<Vec<String>, OutOfTurn> {
        let before = self.course.phase();
        self.course.finish()?;
        Ok(self.ended_line(before, "complete", now).into_iter().collect())
    }

    /// Ends early; returns lines for the log.
    ///
    /// # Errors
    /// When the entry has ended already.
    pub fn end(&mut self, why: Early, now: Instant) -> Result<Vec<String>, OutOfTurn> {
        let before = self.course.phase();
        self.course.end(why)?;
        let word = match why {
            Early::Failed => "failed",
            Early::Stopped => "stopped",
        };
        let line = self.ended_line(before, word, now);
        Ok(vec![line.unwrap_or_else(|| format!("{}: {word} before its first step", self.name))])
    }

    fn ended_line(&self, before: Phase, word: &str, now: Instant) -> Option<String> {
        let Phase::At(step) = before else { return None };
        Some(format!("{}: {step} {word}: {}", self.name, self.account(step, now)))
    }

    /// What a step did, in words.
    fn account(&self, step: StepKind, now: Instant) -> String {
        let Sample { written, found, lag, .. } = self.samples[step as usize];
        let over = short::duration(now.saturating_duration_since(self.since));
        let (written, found) = (grouped(written), grouped(found));
        match step {
            StepKind::Backfill => format!("{written} items written over {over}"),
            StepKind::Stream => {
                let behind = lag.map(|lag| format!(", {} behind", short::duration(lag))).unwrap_or_default();
                format!("{written} items written over {over}{behind}")
            }
            StepKind::Sync => format!("{found} discrepancies found, {written} items written over {over}"),
            StepKind::Verify => format!("{found} discrepancies found over {over}"),
        }
    }

    /// Where it stands, in a line for the log.
    #[must_use]
    pub fn progress(&self, now: Instant) -> String {
        let name = &self.name;
        match self.course.phase() {
            Phase::Pending => format!("{name}: pending"),
            Phase::At(step) => format!("{name}: {step} in progress: {}", self.account(step, now)),
            Phase::Done => format!("{name}: done"),
            Phase::Ended(_, Early::Failed) => format!("{name}: failed"),
            Phase::Ended(_, Early::Stopped) => format!("{name}: stopped"),
        }
    }

    /// Its line of the status.
    #[must_use]
    pub fn row(&self, now: Instant) -> Row {
        let rates = if matches!(self.course.phase(), Phase::At(_)) { self.recent.rates(now) } else { Rates::default() };
        Row {
            name: self.name.clone(),
            size: self.size,
            phase: self.course.phase(),
            steps: StepKind::ALL.map(|step| (step, self.course.standing(step), self.samples[step as usize])),
            rates,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn an_entry_tells_the_log_what_its_steps_did() {
        let start = Instant::now();
        let mut entry = Tracked::new("orders", [StepKind::Backfill, StepKind::Stream, StepKind::Sync], start);
        assert_eq!(entry.progress(start), "orders: pending");

        assert_eq!(entry.begin(StepKind::Backfill, start).unwrap(), ["orders: backfill started"]);
        entry.take(StepKind::Backfill, Sample { written: 822, ..Sample::default() }, start + second(60));
        assert_eq!(entry.progress(start + second(61)), "orders: backfill in progress: 822 items written over 1m1s");
        entry.take(StepKind::Backfill, Sample { written: 14_301, ..Sample::default() }, start + second(300));
        let lines = entry.begin(StepKind::Stream, start + second(309)).unwrap();
        assert_eq!(lines, ["orders: backfill complete: 14,301 items written over 5m9s", "orders: stream started"]);
        let sample = Sample { written: 400, lag: Some(second(5)), ..Sample::default() };
        entry.take(StepKind::Stream, sample, start + second(310));
        assert_eq!(
            entry.progress(start + second(309 + 1201)),
            "orders: stream in progress: 400 items written over 20m1s, 5s behind"
        );
        entry.begin(StepKind::Sync, start + second(2000)).unwrap();
        entry.take(StepKind::Sync, Sample { found: 3, written: 2, ..Sample::default() }, start + second(2001));
        assert_eq!(
            entry.finish(start + second(2002)).unwrap(),
            ["orders: sync complete: 3 discrepancies found, 2 items written over 2s"]
        );
        assert_eq!(entry.progress(start + second(3000)), "orders: done");
        assert!(entry.has_ended());
    }

    #[test]
    fn an_entry_that_ends_early_says_where() {
        let start = Instant::now();
        let mut entry = Tracked::new("orders", [StepKind::Verify], start);
        let mut waiting = entry.clone();
        entry.begin(StepKind::Verify, start).unwrap();

        assert_eq!(
            entry.end(Early::Failed, start + second(1)).unwrap(),
            ["orders: verify failed: 0 discrepancies found over 1s"]
        );
        assert_eq!(entry.progress(start), "orders: failed");
        assert_eq!(waiting.end(Early::Stopped, start).unwrap(), ["orders: stopped before its first step"]);
        assert!(entry.end(Early::Stopped, start).is_err());
    }

    #[test]
    fn rates_are_those_of_the_step_at_work() {
        let start = Instant::now();
        let mut entry = Tracked::new("orders", [StepKind::Backfill, StepKind::Stream], start);
        let sample = |read: u64| Sample { read, write_units: 10.0, ..Sample::default() };
        entry.begin(StepKind::Backfill, start).unwrap();
        entry.take(StepKind::Backfill, sample(500), start + second(5));
        let row = entry.row(start + second(5));
        assert_eq!((row.rates.items, row.rates.write_units), (100.0, 2.0));

        entry.begin(StepKind::Stream, start + second(6)).unwrap();
        assert_eq!(entry.row(start + second(6)).rates, Rates::default());
        entry.take(StepKind::Stream, sample(4), start + second(8));
        entry.take(StepKind::Backfill, sample(501), start + second(8));
        let row = entry.row(start + second(8));
        assert_eq!((row.rates.items, row.steps[0].2.read, row.steps[1].2.read), (2.0, 501, 4));

        entry.finish(start + second(8)).unwrap();
        assert_eq!(entry.row(start + second(8)).rates, Rates::default());
    }
}
