//! Keeps the task protected while segments are in hand: looks, asks, waits, until the worker has ended.
//!
//! It goes on beside the work, which never waits for it. What the agent does not answer is noted and asked again.

use std::time::Duration;

use shared::ports::failure::{Failure, FailureKind};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::agent::Agent;
use super::{Ask, Failed, Next, Standing, Work, next};
use crate::duty::Duty;

/// Time for lifting the protection once the worker has ended. With the grace time of 25 seconds, two for the last receive
/// and two for telemetry it is more than the 30 that ECS waits by default before it kills; the templates wait for 40.
///
/// Source: Amazon ECS Developer Guide, container definitions, `stopTimeout`.
const LAST_WORD: Duration = Duration::from_secs(3);

/// Keeps the task of this process protected while segments are in hand, where it is one of ECS; until `ended`, and then
/// no longer.
pub(crate) async fn keep(duty: &Duty, ended: &CancellationToken) {
    let agent = match Agent::from_environment() {
        None => return,
        Some(Ok(agent)) => agent,
        Some(Err(failure)) => return tracing::warn!(error = %failure, "{UNPROTECTED}"),
    };
    keep_with(async |ask| agent.ask(ask).await, duty.in_hand(), ended).await;
}

const UNPROTECTED: &str = "the task is not protected from being scaled in; its work goes on";

async fn keep_with(
    ask: impl AsyncFn(Ask) -> Result<(), Failure>,
    mut in_hand: watch::Receiver<usize>,
    ended: &CancellationToken,
) {
    let mut standing = Standing::default();
    let mut idle_since = Instant::now();
    let mut was_working = false;
    loop {
        let working = *in_hand.borrow_and_update() > 0;
        if was_working && !working {
            idle_since = Instant::now();
        }
        was_working = working;
        let work = if working { Work::Some } else { Work::NoneSince(idle_since) };
        let look_again = match next(work, standing, Instant::now()) {
            Next::Now(asked) => {
                let began = Instant::now();
                let before = standing.failing.filter(|(failing, _)| *failing == asked).map_or(0, |(_, times)| times);
                let answer = tokio::select! {
                    answer = ask(asked) => answer,
                    () = ended.cancelled() => {
                        standing = standing.failed(asked, began, Failed::Unknown, began, 0.0);
                        break;
                    }
                };
                say(asked, &answer, before);
                standing = match answer {
                    Ok(()) => standing.answered(asked, began),
                    Err(failure) => {
                        let how = if failure.may_pass() { Failed::Unknown } else { Failed::Refused };
                        standing.failed(asked, began, how, Instant::now(), rand::random())
                    }
                };
                continue;
            }
            Next::At(then) => Some(then),
            Next::Nothing => None,
        };
        let wait = async {
            match look_again {
                Some(then) => sleep_until(then).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = wait => {}
            changed = in_hand.changed() => if changed.is_err() { break },
            () = ended.cancelled() => break,
        }
    }
    if standing.perhaps.is_some_and(|until| Instant::now() < until) {
        match timeout(LAST_WORD, ask(Ask::Lift)).await {
            Ok(Ok(())) => tracing::debug!("the task is protected no longer"),
            Ok(Err(failure)) => tracing::warn!(error = %failure, "{STILL_PROTECTED}"),
            Err(_) => tracing::warn!(error = "the agent does not answer", "{STILL_PROTECTED}"),
        }
    }
}

const STILL_PROTECTED: &str = "the protection from being scaled in could not be lifted; it runs out by itself";

/// Warns of the first failure in a row only: a worker without the permission fails all its life.
fn say(asked: Ask, answer: &Result<(), Failure>, failures_before: u32) {
    match answer {
        Ok(()) if failures_before > 0 => tracing::info!(?asked, "the agent of ECS does what it is asked again"),
        Ok(()) => tracing::debug!(?asked, "the agent of ECS did what it was asked"),
        Err(failure) if failures_before == 0 && asked == Ask::Protect => {
            let hint = (failure.kind == FailureKind::Denied).then(|| failure.hint());
            tracing::warn!(error = %failure, hint, "{UNPROTECTED}");
        }
        Err(failure) if failures_before == 0 => tracing::warn!(error = %failure, "{STILL_PROTECTED}"),
        Err(failure) => tracing::debug!(?asked, error = %failure, "the agent of ECS failed again"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// What the agent was asked for, and how many seconds after the start.
    #[derive(Default)]
    struct Asked(Mutex<Vec<(Ask, u64)>>);

    impl Asked {
        fn note(&self, ask: Ask, start: Instant) {
            self.0.lock().unwrap().push((ask, start.elapsed().as_secs()));
        }

        fn take(&self) -> Vec<(Ask, u64)> {
            std::mem::take(&mut *self.0.lock().unwrap())
        }
    }

    fn refused() -> Failure {
        Failure {
            kind: FailureKind::Unavailable,
            operation: "UpdateTaskProtection",
            resource: "the task".to_owned(),
            message: "on purpose".to_owned(),
        }
    }

    /// Lets a keeper go on beside a script of units that come and go.
    async fn beside<F: Future<Output = ()>>(
        answer: impl AsyncFn(Ask) -> Result<(), Failure>,
        script: impl FnOnce(watch::Sender<usize>) -> F,
    ) -> Vec<(Ask, u64)> {
        let (asked, start) = (Asked::default(), Instant::now());
        let (count, in_hand) = watch::channel(0);
        let ended = CancellationToken::new();
        let ask = async |ask| {
            asked.note(ask, start);
            answer(ask).await
        };
        let script = async {
            script(count.clone()).await;
            ended.cancel();
        };
        tokio::join!(keep_with(ask, in_hand, &ended), script);
        asked.take()
    }

    #[tokio::test(start_paused = true)]
    async fn a_unit_is_protected_and_its_protection_renewed_until_it_is_done() {
        let asked = beside(
            async |_| Ok(()),
            async |count: watch::Sender<usize>| {
                tokio::time::sleep(MINUTE).await;
                count.send_replace(1);
                tokio::time::sleep(17 * MINUTE).await;
                count.send_replace(0);
                tokio::time::sleep(10 * MINUTE).await;
            },
        );

        let renewals = [60, 360, 660, 960].map(|second| (Ask::Protect, second));
        assert_eq!(asked.await, [&renewals[..], &[(Ask::Lift, 18 * 60 + 30)]].concat());
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_between_two_units_asks_for_nothing() {
        let asked = beside(
            async |_| Ok(()),
            async |count: watch::Sender<usize>| {
                for _ in 0..20 {
                    count.send_replace(2);
                    tokio::time::sleep(Duration::from_secs(10)).await;
                    count.send_replace(0);
                    tokio::time::sleep(Duration::from_secs(2)).await;
                }
            },
        );

        assert_eq!(asked.await, [(Ask::Protect, 0), (Ask::Lift, 240)]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_worker_asks_for_nothing() {
        let asked = beside(async |_| Ok(()), async |_| tokio::time::sleep(60 * MINUTE).await);

        assert_eq!(asked.await, []);
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_refuses_is_asked_again_and_rarer() {
        let asked = beside(
            async |_| Err(refused()),
            async |count: watch::Sender<usize>| {
                count.send_replace(1);
                tokio::time::sleep(60 * MINUTE).await;
            },
        );

        let asked = asked.await;
        assert!((8..60).contains(&asked.len()), "{asked:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_hangs_does_not_hold_up_the_end() {
        let start = Instant::now();
        let asked = beside(
            async |_| std::future::pending().await,
            async |count: watch::Sender<usize>| {
                count.send_replace(1);
                tokio::time::sleep(MINUTE).await;
            },
        );

        assert_eq!(asked.await, [(Ask::Protect, 0), (Ask::Lift, 60)]);
        assert_eq!(start.elapsed(), MINUTE + LAST_WORD);
    }

    #[tokio::test(start_paused = true)]
    async fn a_protection_that_cannot_be_lifted_runs_out() {
        let fails_to_lift = async |ask| if ask == Ask::Lift { Err(refused()) } else { Ok(()) };
        let asked = beside(fails_to_lift, async |count: watch::Sender<usize>| {
            count.send_replace(1);
            tokio::time::sleep(MINUTE).await;
            count.send_replace(0);
            tokio::time::sleep(60 * MINUTE).await;
        });

        let asked = asked.await;
        assert!(asked.iter().all(|(ask, second)| *ask == Ask::Protect || *second < 15 * 60), "{asked:?}");
        assert!(asked.len() > 2, "{asked:?}");
    }
}
