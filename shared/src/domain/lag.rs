//! How long suspects wait for their next look while a slave lags behind: slower where waiting heals, never for ever.

use std::time::Duration;

/// Longest wait that the brake comes to by itself.
const LONGEST: Duration = Duration::from_secs(30);

/// What the wait grows from where the user asked for none.
pub const SHORTEST: Duration = Duration::from_millis(500);

/// The wait between the looks at a suspect, adapted to what the last looks showed.
///
/// Suspects that heal were in flight, so a job that meets many of them runs ahead of the replication. While half of
/// them heal, the wait doubles, and with it the whole segment goes slower; when they do not, it comes back.
#[derive(Clone, Debug)]
pub struct Brake {
    base: Duration,
    longest: Duration,
    wait: Duration,
}

impl Brake {
    /// Begins with the wait that was asked for; `longest` is the lag that the user allows for.
    #[must_use]
    pub fn new(base: Duration, longest: Option<Duration>) -> Self {
        Self { base, longest: longest.unwrap_or(LONGEST).max(base), wait: base }
    }

    /// How long a suspect waits.
    #[must_use]
    pub fn wait(&self) -> Duration {
        self.wait
    }

    /// Takes note of how many suspects of a round had healed.
    pub fn note(&mut self, healed: u64, suspects: u64) {
        if suspects == 0 {
            return;
        }
        self.wait = if healed * 2 >= suspects {
            (self.wait * 2).max(SHORTEST).min(self.longest)
        } else {
            (self.wait / 2).max(self.base)
        };
    }
}

/// What a look at a suspect that still differs leads to, where a lag is allowed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// It is looked at again after this long.
    LookAgain(Duration),
    /// The master stood still for as long as a slave may lag: it is a discrepancy.
    Over,
    /// Time is up, and the master's item changed on the way: nobody can tell.
    Unstable,
}

/// Whether the master's item changed between the looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Motion {
    /// It did not.
    Still,
    /// It did.
    Moved,
}

/// Decides on a suspect first seen `age` ago which still differs.
#[must_use]
pub fn patience(age: Duration, max_lag: Duration, next_wait: Duration, master: Motion) -> Patience {
    match (max_lag.checked_sub(age).filter(|left| !left.is_zero()), master) {
        (Some(left), _) => Patience::LookAgain(next_wait.max(SHORTEST).min(left)),
        (None, Motion::Still) => Patience::Over,
        (None, Motion::Moved) => Patience::Unstable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_wait_doubles_while_suspects_heal_and_comes_back_when_they_do_not() {
        let mut brake = Brake::new(SECOND, None);
        let mut waits = Vec::new();
        for (healed, suspects) in [(1, 1), (5, 10), (0, 0), (4, 10), (0, 3), (0, 3), (0, 3)] {
            brake.note(healed, suspects);
            waits.push(brake.wait().as_millis());
        }
        assert_eq!(waits, [2000, 4000, 4000, 2000, 1000, 1000, 1000]);

        for _ in 0..10 {
            brake.note(1, 1);
        }
        assert_eq!(brake.wait(), LONGEST);
    }

    #[test]
    fn a_brake_keeps_to_the_users_bounds() {
        let mut brake = Brake::new(Duration::ZERO, Some(3 * SECOND));
        brake.note(1, 1);
        assert_eq!(brake.wait(), SHORTEST);
        (0..10).for_each(|_| brake.note(1, 1));
        assert_eq!(brake.wait(), 3 * SECOND);
        assert_eq!(Brake::new(5 * SECOND, Some(SECOND)).wait(), 5 * SECOND);
    }

    #[test]
    fn a_suspect_is_looked_at_until_the_lag_is_over() {
        let after = |age, motion| patience(age * SECOND, 10 * SECOND, 4 * SECOND, motion);

        assert_eq!(after(1, Motion::Still), Patience::LookAgain(4 * SECOND));
        assert_eq!(after(8, Motion::Moved), Patience::LookAgain(2 * SECOND));
        assert_eq!(after(10, Motion::Still), Patience::Over);
        assert_eq!(after(11, Motion::Moved), Patience::Unstable);
    }
}
