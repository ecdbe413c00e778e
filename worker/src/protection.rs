//! Scale-in protection: a task of ECS that holds a segment is not the one that a scale-in or a deployment stops.
//!
//! The decision is here; [`keeper`] carries it out, and [`agent`] asks the agent of ECS.
//!
//! Protection is asked for right after a unit was taken, and not before messages are received: an idle worker receives
//! all the time, and would never be free to go. What ECS stops in between loses nothing but time, because SIGTERM gives
//! everything back at its next commit.

mod agent;
mod keeper;

use std::time::Duration;

use tokio::time::Instant;

pub(crate) use keeper::keep;

/// How long the agent is asked to protect the task. A worker that hangs with a segment in hand is protected no longer.
///
/// Between 1 and 2,880 minutes. Source: Amazon ECS Developer Guide, "Amazon ECS task scale-in protection endpoint".
const EXPIRY: Duration = Duration::from_secs(15 * 60);

/// Protection is renewed once only so much of it is left: every five minutes, and an agent that does not answer has ten
/// more until it runs out.
const RENEWED_AT: Duration = Duration::from_secs(10 * 60);

/// How long a worker stays protected without a segment: from one to the next it takes a second or two, and is neither
/// exposed nor asks twice for each of them. Scaling in takes minutes to decide.
const LINGER: Duration = Duration::from_secs(30);

/// Wait after an attempt that failed; it doubles from the first to the second.
const AGAIN_AFTER: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));

/// What the agent is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    /// To protect the task, from now for [`EXPIRY`].
    Protect,
    /// To protect it no longer.
    Lift,
}

/// Whether segments are in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Some,
    NoneSince(Instant),
}

/// How far the task is protected, as this worker knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Standing {
    /// It is, until then: the agent said so.
    surely: Option<Instant>,
    /// It may be, until then: the agent was asked, and may have done it.
    perhaps: Option<Instant>,
    /// What failed last, and how often in a row.
    failing: Option<(Ask, u32)>,
    /// Before this the agent is not asked for that again.
    not_before: Option<Instant>,
}

/// How an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failed {
    /// The agent said no.
    Refused,
    /// Nobody knows whether it was done.
    Unknown,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Ask now.
    Now(Ask),
    /// Look again then, or when the work changes.
    At(Instant),
    /// Look again when the work changes.
    Nothing,
}

/// What is to be done about a task that stands so.
fn next(work: Work, standing: Standing, now: Instant) -> Next {
    let due = match work {
        Work::Some => match standing.surely.and_then(|until| until.checked_sub(RENEWED_AT)) {
            Some(renewal) if now < renewal => return Next::At(renewal),
            _ => Ask::Protect,
        },
        Work::NoneSince(since) => match standing.perhaps {
            Some(until) if now < until && now < since + LINGER => return Next::At(since + LINGER),
            Some(until) if now < until => Ask::Lift,
            _ => return Next::Nothing,
        },
    };
    // A lift that failed must not keep the next segment from being protected.
    let is_failing = standing.failing.is_some_and(|(failing, _)| failing == due);
    match standing.not_before {
        Some(not_before) if is_failing && now < not_before => Next::At(not_before),
        _ => Next::Now(due),
    }
}

impl Standing {
    /// After an answer to what was asked then.
    fn answered(self, ask: Ask, asked: Instant) -> Self {
        let until = match ask {
            Ask::Protect => Some(asked + EXPIRY),
            Ask::Lift => None,
        };
        Self { surely: until, perhaps: until, failing: None, not_before: None }
    }

    /// After a failure of what was asked then. Whether it was done nobody knows, unless it was refused. The next attempt
    /// waits for `share`, from 0 to 1, of twice the usual delay, so that tasks that were refused together do not come back
    /// together.
    fn failed(self, ask: Ask, asked: Instant, how: Failed, now: Instant, share: f64) -> Self {
        let (surely, perhaps) = match (ask, how) {
            (Ask::Protect, Failed::Unknown) => (self.surely, Some(asked + EXPIRY)),
            (Ask::Protect, Failed::Refused) => (self.surely, self.perhaps),
            (Ask::Lift, _) => (None, self.perhaps),
        };
        let before = self.failing.filter(|(failing, _)| *failing == ask).map_or(0, |(_, times)| times);
        let (shortest, longest) = AGAIN_AFTER;
        let usual = (shortest * 2_u32.pow(before.min(10))).min(longest);
        let not_before = Some(now + usual.mul_f64(2.0 * share));
        Self { surely, perhaps, failing: Some((ask, before.saturating_add(1))), not_before }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_of_the_agent_goes_by_this_table() {
        let start = Instant::now();
        let now = start + 60 * MINUTE;
        let until = |left: Duration| Standing { surely: Some(now + left), perhaps: Some(now + left), ..bare() };
        let unsure = |left: Duration| Standing { perhaps: Some(now + left), ..bare() };
        let since = |ago: Duration| Work::NoneSince(now - ago);
        let waiting = |ask: Ask, standing: Standing| Standing {
            failing: Some((ask, 3)),
            not_before: Some(now + SECOND),
            ..standing
        };
        let table = [
            (Work::Some, bare(), Next::Now(Ask::Protect)),
            (Work::Some, unsure(14 * MINUTE), Next::Now(Ask::Protect)),
            (Work::Some, until(15 * MINUTE), Next::At(now + 5 * MINUTE)),
            (Work::Some, until(10 * MINUTE + SECOND), Next::At(now + SECOND)),
            (Work::Some, until(10 * MINUTE), Next::Now(Ask::Protect)),
            (Work::Some, until(Duration::ZERO), Next::Now(Ask::Protect)),
            (Work::Some, waiting(Ask::Protect, bare()), Next::At(now + SECOND)),
            (Work::Some, waiting(Ask::Protect, until(10 * MINUTE)), Next::At(now + SECOND)),
            (Work::Some, waiting(Ask::Lift, unsure(9 * MINUTE)), Next::Now(Ask::Protect)),
            (since(30 * SECOND), waiting(Ask::Protect, until(9 * MINUTE)), Next::Now(Ask::Lift)),
            (since(60 * MINUTE), bare(), Next::Nothing),
            (since(Duration::ZERO), until(9 * MINUTE), Next::At(now + LINGER)),
            (since(29 * SECOND), until(9 * MINUTE), Next::At(now + SECOND)),
            (since(30 * SECOND), until(9 * MINUTE), Next::Now(Ask::Lift)),
            (since(30 * SECOND), unsure(9 * MINUTE), Next::Now(Ask::Lift)),
            (since(30 * SECOND), waiting(Ask::Lift, until(9 * MINUTE)), Next::At(now + SECOND)),
            (since(30 * SECOND), until(Duration::ZERO), Next::Nothing),
            (since(Duration::ZERO), unsure(Duration::ZERO), Next::Nothing),
        ];
        for (work, standing, expected) in table {
            assert_eq!(next(work, standing, now), expected, "{work:?}, {standing:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_failed_may_have_been_done() {
        let asked = Instant::now() + MINUTE;
        let now = asked + 6 * SECOND;
        let protected = bare().answered(Ask::Protect, asked);
        let until = Some(asked + EXPIRY);
        assert_eq!((protected.surely, protected.perhaps), (until, until));

        let first = bare().failed(Ask::Protect, asked, Failed::Unknown, now, 0.5);
        assert_eq!((first.surely, first.perhaps), (None, until));
        let refused = bare().failed(Ask::Protect, asked, Failed::Refused, now, 0.5);
        assert_eq!((refused.surely, refused.perhaps), (None, None));
        let renewal = protected.failed(Ask::Protect, asked + 5 * MINUTE, Failed::Unknown, now + 5 * MINUTE, 0.5);
        assert_eq!((renewal.surely, renewal.perhaps), (until, until.map(|until| until + 5 * MINUTE)));
        let lift = protected.failed(Ask::Lift, now, Failed::Unknown, now, 0.5);
        assert_eq!((lift.surely, lift.perhaps), (None, until));
        assert_eq!(lift.answered(Ask::Lift, now), bare());
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_that_fail_come_rarer_and_apart() {
        let now = Instant::now();
        let waits = |share: f64| {
            let mut standing = bare();
            [(); 7].map(|()| {
                standing = standing.failed(Ask::Protect, now, Failed::Unknown, now, share);
                standing.not_before.map(|then| (then - now).as_secs())
            })
        };

        assert_eq!(waits(0.5), [10, 20, 40, 80, 160, 300, 300].map(Some));
        assert_eq!(waits(0.0), [Some(0); 7]);
        assert_eq!(waits(1.0), [20, 40, 80, 160, 320, 600, 600].map(Some));
    }

    fn bare() -> Standing {
        Standing::default()
    }
}
