//! Where an entry stands in its steps: they come one after the other, and none is left out.

use std::fmt;

/// The kinds of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StepKind {
    /// The table is copied.
    Backfill,
    /// Its changes are followed.
    Stream,
    /// The tables are compared and repaired.
    Sync,
    /// The tables are compared.
    Verify,
}

impl StepKind {
    /// All of them, in their order.
    pub const ALL: [Self; 4] = [Self::Backfill, Self::Stream, Self::Sync, Self::Verify];

    /// The name in a plan and in logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Backfill => "backfill",
            Self::Stream => "stream",
            Self::Sync => "sync",
            Self::Verify => "verify",
        }
    }
}

impl fmt::Display for StepKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an entry does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It waits for its turn.
    Pending,
    /// It is at this step.
    At(StepKind),
    /// It did all of them.
    Done,
    /// It ended early, at this step or before the first.
    Ended(Option<StepKind>, Early),
}

/// Why an entry ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Early {
    /// It failed.
    Failed,
    /// It was told to stop.
    Stopped,
}

/// Where one step of an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The entry does not have it.
    Absent,
    /// Its turn has not come.
    Pending,
    /// It is at work.
    Running,
    /// It is done.
    Complete,
    /// It ended early.
    Ended(Early),
    /// Its turn never comes, for the entry ended early.
    Skipped,
}

/// The steps of an entry, and how far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Course {
    steps: Vec<StepKind>,
    phase: Phase,
}

/// A change of phase that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a step out of its turn: {from:?} to {to:?}")]
pub struct OutOfTurn {
    /// What the entry does.
    pub from: Phase,
    /// What it was told to do.
    pub to: Phase,
}

impl Course {
    /// The course of an entry with these steps; no kind comes twice.
    #[must_use]
    pub fn new(steps: impl IntoIterator<Item = StepKind>) -> Self {
        let mut steps: Vec<StepKind> = steps.into_iter().collect();
        steps.sort_unstable();
        steps.dedup();
        Self { steps, phase: Phase::Pending }
    }

    /// What the entry does now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether nothing follows any more.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Done | Phase::Ended(..))
    }

    /// Begins a step, which ends the one before it.
    ///
    /// # Errors
    /// When it is not the next one.
    pub fn begin(&mut self, step: StepKind) -> Result<(), OutOfTurn> {
        self.go(Phase::At(step))
    }

    /// Ends the last step.
    ///
    /// # Errors
    /// When the entry is not at its last step.
    pub fn finish(&mut self) -> Result<(), OutOfTurn> {
        self.go(Phase::Done)
    }

    /// Ends early.
    ///
    /// # Errors
    /// When the entry has ended already.
    pub fn end(&mut self, why: Early) -> Result<(), OutOfTurn> {
        let at = match self.phase {
            Phase::At(step) => Some(step),
            _ => None,
        };
        self.go(Phase::Ended(at, why))
    }

    fn go(&mut self, to: Phase) -> Result<(), OutOfTurn> {
        let from = self.phase;
        let allowed = match (from, to) {
            (Phase::Done | Phase::Ended(..), _) | (_, Phase::Pending) => false,
            (_, Phase::Ended(..)) => true,
            (Phase::Pending | Phase::At(_), _) => to == self.next(),
        };
        if !allowed {
            return Err(OutOfTurn { from, to });
        }
        self.phase = to;
        Ok(())
    }

    /// What follows in the ordinary course of things.
    fn next(&self) -> Phase {
        let next = match self.phase {
            Phase::At(step) => self.steps.iter().find(|other| **other > step),
            _ => self.steps.first(),
        };
        next.map_or(Phase::Done, |step| Phase::At(*step))
    }

    /// Where one of its steps stands.
    #[must_use]
    pub fn standing(&self, step: StepKind) -> Standing {
        if !self.steps.contains(&step) {
            return Standing::Absent;
        }
        match self.phase {
            Phase::Pending => Standing::Pending,
            Phase::Done => Standing::Complete,
            Phase::At(at) if step == at => Standing::Running,
            Phase::At(at) if step < at => Standing::Complete,
            Phase::At(_) => Standing::Pending,
            Phase::Ended(Some(at), why) if step == at => Standing::Ended(why),
            Phase::Ended(Some(at), _) if step < at => Standing::Complete,
            Phase::Ended(..) => Standing::Skipped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use StepKind::{Backfill, Stream, Sync, Verify};

    fn standings(course: &Course) -> [Standing; 4] {
        StepKind::ALL.map(|step| course.standing(step))
    }

    #[test]
    fn p5_an_entry_goes_through_its_steps_in_their_order() {
        let mut course = Course::new([Verify, Backfill, Stream]);
        assert_eq!(standings(&course), [Standing::Pending, Standing::Pending, Standing::Absent, Standing::Pending]);

        for (step, expected) in [
            (Backfill, [Standing::Running, Standing::Pending, Standing::Absent, Standing::Pending]),
            (Stream, [Standing::Complete, Standing::Running, Standing::Absent, Standing::Pending]),
            (Verify, [Standing::Complete, Standing::Complete, Standing::Absent, Standing::Running]),
        ] {
            assert_eq!(course.begin(step), Ok(()));
            assert_eq!((course.phase(), standings(&course)), (Phase::At(step), expected));
            assert!(!course.has_ended());
        }
        assert_eq!(course.finish(), Ok(()));
        assert_eq!(standings(&course), [Standing::Complete, Standing::Complete, Standing::Absent, Standing::Complete]);
        assert!(course.has_ended());
    }

    #[test]
    fn p5_steps_out_of_turn_are_refused_and_change_nothing() {
        let course = Course::new([Backfill, Stream, Sync]);
        let at = |steps: &[StepKind]| {
            let mut course = course.clone();
            steps.iter().for_each(|step| course.begin(*step).unwrap());
            course
        };
        for (before, wrong) in [
            (at(&[]), Phase::At(Stream)),
            (at(&[]), Phase::At(Verify)),
            (at(&[]), Phase::Done),
            (at(&[]), Phase::Pending),
            (at(&[Backfill]), Phase::At(Backfill)),
            (at(&[Backfill]), Phase::At(Sync)),
            (at(&[Backfill]), Phase::Done),
            (at(&[Backfill]), Phase::Pending),
            (at(&[Backfill, Stream]), Phase::At(Backfill)),
            (at(&[Backfill, Stream, Sync]), Phase::At(Verify)),
        ] {
            let mut after = before.clone();
            assert_eq!(after.go(wrong), Err(OutOfTurn { from: before.phase(), to: wrong }));
            assert_eq!(after, before);
        }
    }

    #[test]
    fn p5_an_entry_may_end_early_once() {
        for why in [Early::Failed, Early::Stopped] {
            let mut course = Course::new([Backfill, Stream, Sync]);
            course.begin(Backfill).unwrap();
            course.begin(Stream).unwrap();

            assert_eq!(course.end(why), Ok(()));
            assert_eq!(
                standings(&course),
                [Standing::Complete, Standing::Ended(why), Standing::Skipped, Standing::Absent]
            );
            assert!(course.end(Early::Failed).is_err() && course.begin(Sync).is_err() && course.finish().is_err());
        }
        let mut pending = Course::new([Backfill]);
        pending.end(Early::Stopped).unwrap();
        assert_eq!(pending.standing(Backfill), Standing::Skipped);
    }

    #[test]
    fn p5_nothing_follows_the_end() {
        let mut course = Course::new([Backfill]);
        course.begin(Backfill).unwrap();
        course.finish().unwrap();

        assert!(course.begin(Backfill).is_err() && course.finish().is_err() && course.end(Early::Failed).is_err());
        assert_eq!(course.phase(), Phase::Done);
    }
}
