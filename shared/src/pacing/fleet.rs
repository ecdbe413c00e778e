//! How the workers of a limited job learn of each other: each keeps one small object whose name says all.
//!
//! Every three seconds a worker writes its name anew and lists all names. The rest is about time: nobody counts on a look
//! that is older than 8 seconds, a worker is missed when its name is older than 10 by the store's clock, and what a
//! worker has more than before, it counts only after 8.5, when every look of the others is newer.
//! So no two workers ever hold the same part of a rate, and one that is killed is replaced within 15 seconds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::time::Instant;

use super::pacer::Shared;
use super::shares::View;
use crate::journal::{Journal, Presence};
use crate::ports::failure::{Failure, FailureKind};

/// How often a worker tells of itself and looks at the others.
const EVERY: Duration = Duration::from_secs(3);

/// A worker whose name is older is gone.
const PRESENT_FOR: SignedDuration = SignedDuration::from_secs(10);

/// How long a look at the others may be counted on. With the store's clock rounded to seconds it is over before the
/// others miss this worker.
const GOOD_FOR: Duration = Duration::from_secs(8);

/// After so long everyone's look shows what was told.
const KNOWN_AFTER: Duration = Duration::from_millis(8500);

/// Earliest next look when a request waits for money.
const EARLIEST: Duration = Duration::from_millis(500);

/// Longest time that the store may take to be told and listed.
const LONGEST: Duration = Duration::from_secs(5);

/// Takes part until there is nothing more to take part in.
pub(super) async fn take_part(shared: Arc<Shared>, journal: Journal) {
    let mut told = Told::default();
    while let Some(segments) = shared.segments() {
        let began = Instant::now();
        let claim = shared.account.purse().claim();
        match tell(&shared, &journal, segments, claim).await {
            Ok(others) => {
                told.add(began, Instant::now(), segments);
                let workers = 1 + u32::try_from(others.segments.len()).unwrap_or(u32::MAX - 1);
                shared.account.purse().look(claim, others.claimed, workers);
                let known = if others.segments.is_empty() { segments } else { told.known(Instant::now()) };
                let others = others.segments.into_iter().collect();
                let own = shared.id.clone();
                shared.account.blind(None);
                shared.look(View { own, known, told: segments, others }, began + GOOD_FOR);
            }
            Err(failure) => {
                tracing::warn!(error = %failure, "the other workers of the job cannot be seen");
                if is_for_good(failure.kind) {
                    shared.blind(failure);
                }
            }
        }
        let is_wanted = shared.account.purse().is_wanted();
        tokio::select! {
            () = tokio::time::sleep_until(began + EVERY) => {}
            () = async {
                if !is_wanted {
                    shared.account.wanted.notified().await;
                }
                tokio::time::sleep_until(began + EARLIEST).await;
            } => {}
        }
    }
    leave(&shared, &journal).await;
}

/// Whether telling again would come to the same, until someone changes permissions or settings.
fn is_for_good(kind: FailureKind) -> bool {
    match kind {
        FailureKind::NotFound | FailureKind::Denied | FailureKind::Invalid => true,
        FailureKind::Conflict
        | FailureKind::Throttled
        | FailureKind::HotKeys
        | FailureKind::Halted
        | FailureKind::Trimmed
        | FailureKind::Expired
        | FailureKind::Unavailable => false,
    }
}

/// Tells the others that this worker is gone, and what it has spent.
pub(super) async fn leave(shared: &Shared, journal: &Journal) {
    let spent = shared.account.purse().last_word();
    if let Err(failure) = tell(shared, journal, 0, spent).await {
        tracing::warn!(error = %failure, "the other workers of the job could not be told that this one leaves");
    }
}

/// All others, by what they last told.
struct Others {
    /// Those that are there, with their segments.
    segments: BTreeMap<String, u32>,
    /// What all of them claimed, those that are gone too.
    claimed: u64,
}

async fn tell(shared: &Shared, journal: &Journal, segments: u32, claimed: u64) -> Result<Others, Failure> {
    let too_late = || Failure {
        kind: FailureKind::Unavailable,
        operation: "Put",
        resource: "the job's folder".to_owned(),
        message: "no answer in time".to_owned(),
    };
    let told = tokio::time::timeout(LONGEST, journal.tell(&shared.id, segments, claimed)).await;
    let all = told.map_err(|_| too_late())??;
    Ok(others_of(&shared.id, &all))
}

/// A worker may have several names for a moment, of which the greatest number counts.
fn others_of(own: &str, all: &[Presence]) -> Others {
    let (mut segments, mut claims) = (BTreeMap::<String, u32>::new(), BTreeMap::<&str, u64>::new());
    for Presence { worker, segments: running, claimed, age } in all.iter().filter(|one| one.worker != own) {
        let claim = claims.entry(worker).or_default();
        *claim = (*claim).max(*claimed);
        if *running > 0 && *age < PRESENT_FOR {
            let most = segments.entry(worker.clone()).or_default();
            *most = (*most).max(*running);
        }
    }
    Others { segments, claimed: claims.values().sum() }
}

/// What was told lately, and since when it can be seen.
#[derive(Default)]
struct Told {
    lately: VecDeque<(Instant, u32)>,
    last_began: Option<Instant>,
}

impl Told {
    /// Notes what was told between two moments. After a break that let others miss this worker, it is new to them.
    fn add(&mut self, began: Instant, now: Instant, segments: u32) {
        // A name may be as old as the telling's beginning, however late the telling ended.
        if self.last_began.replace(began).is_some_and(|last| began.duration_since(last) > GOOD_FOR) {
            self.lately.clear();
        }
        self.lately.push_back((now, segments));
    }

    /// The least that anyone may still believe this worker to have.
    fn known(&mut self, now: Instant) -> u32 {
        while self.lately.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= KNOWN_AFTER) {
            self.lately.pop_front();
        }
        match self.lately.front() {
            Some((first, _)) if now.duration_since(*first) >= KNOWN_AFTER => {
                self.lately.iter().map(|(_, segments)| *segments).min().unwrap_or(0)
            }
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn more_segments_count_when_all_others_must_know_of_them_and_fewer_at_once() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut told = Told::default();
        let mut known = |at: u32, segments: u32| {
            let now = start + second * at;
            told.add(now, now, segments);
            told.known(now)
        };

        assert_eq!([known(0, 4), known(3, 4), known(6, 4), known(9, 4)], [0, 0, 0, 4]);
        assert_eq!([known(12, 6), known(15, 6), known(18, 6), known(21, 6)], [4, 4, 4, 6]);
        assert_eq!([known(24, 2), known(27, 6), known(30, 6), known(33, 6), known(36, 6)], [2, 2, 2, 2, 6]);
        assert_eq!(known(50, 6), 0, "it was missed in between");
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_was_missed_if_its_name_may_be_too_old_however_long_the_telling_took() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut told = Told::default();

        told.add(start, start + second * 5, 4);
        told.add(start + second * 9, start + second * 9, 4);

        assert_eq!(told.known(start + second * 14), 0);
        assert_eq!(told.known(start + second * 18), 4);
    }

    #[test]
    fn the_greatest_of_a_workers_names_counts_and_money_outlives_it() {
        let name = |worker: &str, segments, claimed, age| Presence {
            worker: worker.to_owned(),
            segments,
            claimed,
            age: SignedDuration::from_secs(age),
        };
        let all = [
            name("own", 4, 100, 0),
            name("a", 2, 10, 4),
            name("a", 3, 8, 1),
            name("gone", 5, 20, 11),
            name("left", 0, 30, 1),
        ];

        let Others { segments, claimed } = others_of("own", &all);

        assert_eq!(segments, BTreeMap::from([("a".to_owned(), 3)]));
        assert_eq!(claimed, 60);
    }
}
