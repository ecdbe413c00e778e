//! What an instance of EC2 is told of its end, and what the worker does about it.

use std::time::Duration;

use serde::Deserialize;
use shared::aws::instance::{InstanceMetadata, Told};
use shared::ports::failure::Failure;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::duty::{Duty, Order};

/// How often the metadata service is asked.
///
/// Source: Amazon EC2 User Guide, "Spot Instance interruption notices", which recommends it.
const EVERY: Duration = Duration::from_secs(5);

/// Targets of an instance that its Auto Scaling group scales in: it is terminated, or goes back to the warm pool.
///
/// Source: Amazon EC2 Auto Scaling User Guide, "Retrieve the target lifecycle state through instance metadata".
const LEAVING: [&str; 4] = ["Terminated", "Warmed:Terminated", "Warmed:Stopped", "Warmed:Hibernated"];

/// What is announced to the instance, the worst of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Announced {
    Nothing,
    /// The Spot instance may be taken sooner than others.
    Rebalance,
    /// The Auto Scaling group scales the instance in.
    ScaleIn,
    /// The Spot instance is taken in two minutes.
    Interruption,
}

impl Announced {
    fn words(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Rebalance => "a rebalance recommendation",
            Self::ScaleIn => "scale-in",
            Self::Interruption => "a Spot interruption",
        }
    }
}

/// What the service's words mean. What they do not mean for certain they do not mean.
fn announced(told: &Told) -> Announced {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct InstanceAction {
        #[serde(rename = "action")]
        _action: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Recommendation {
        #[serde(rename = "noticeTime")]
        _notice_time: String,
    }
    let is_interrupted =
        told.instance_action.as_deref().is_some_and(|text| serde_json::from_str::<InstanceAction>(text).is_ok());
    let is_leaving = told.target_state.as_deref().is_some_and(|state| LEAVING.contains(&state.trim()));
    let is_at_risk = told.rebalance.as_deref().is_some_and(|text| serde_json::from_str::<Recommendation>(text).is_ok());
    match (is_interrupted, is_leaving, is_at_risk) {
        (true, _, _) => Announced::Interruption,
        (false, true, _) => Announced::ScaleIn,
        (false, false, true) => Announced::Rebalance,
        (false, false, false) => Announced::Nothing,
    }
}

/// What the worker is to do, when it has been draining for so long already, and may for `grace`.
fn order(announced: Announced, draining: Option<Duration>, grace: Duration) -> Order {
    match (announced, draining) {
        (Announced::Interruption, _) => Order::Stop,
        (_, Some(draining)) if draining >= grace => Order::Stop,
        (Announced::Rebalance | Announced::ScaleIn, _) | (Announced::Nothing, Some(_)) => Order::Drain,
        (Announced::Nothing, None) => Order::GoOn,
    }
}

/// Asks this instance's metadata service what is announced, and gives the worker its orders, until `ended`.
pub(crate) async fn heed(duty: &Duty, grace: Duration, ended: &CancellationToken) {
    let Some(mut metadata) = InstanceMetadata::from_environment() else {
        return tracing::warn!(
            "EC2 notices are asked for, but AWS_EC2_METADATA_DISABLED turns the metadata service off"
        );
    };
    heed_what(async || metadata.read().await, duty, grace, ended).await;
}

async fn heed_what(
    mut read: impl AsyncFnMut() -> (Told, Option<Failure>),
    duty: &Duty,
    grace: Duration,
    ended: &CancellationToken,
) {
    let mut draining: Option<Instant> = None;
    let mut was_failing = false;
    loop {
        let (told, failure) = tokio::select! {
            answer = read() => answer,
            () = ended.cancelled() => return,
        };
        say(failure.as_ref(), was_failing);
        was_failing = failure.is_some();
        let announced = announced(&told);
        let order = order(announced, draining.map(|since| since.elapsed()), grace);
        if order > duty.asked() {
            match (order, announced) {
                (Order::GoOn, _) => {}
                (Order::Drain, _) => {
                    tracing::warn!(announced = announced.words(), "taking no more work; what is in hand is finished")
                }
                (Order::Stop, Announced::Interruption) => {
                    tracing::warn!(announced = announced.words(), "stopping after the page in hand")
                }
                (Order::Stop, _) => tracing::warn!(
                    seconds = grace.as_secs(),
                    "the time for the work in hand is over; stopping after the page in hand"
                ),
            }
            duty.order(order);
        }
        if order == Order::Drain {
            draining.get_or_insert_with(Instant::now);
        }
        tokio::select! {
            () = sleep(EVERY) => {}
            () = ended.cancelled() => return,
        }
    }
}

/// Warns of the first failure in a row only.
fn say(failure: Option<&Failure>, was_failing: bool) {
    match (failure, was_failing) {
        (Some(failure), false) => {
            tracing::warn!(error = %failure, "EC2 notices cannot be read; the work goes on, and SIGTERM still counts");
        }
        (Some(failure), true) => tracing::debug!(error = %failure, "EC2 notices still cannot be read"),
        (None, true) => tracing::info!("EC2 notices can be read again"),
        (None, false) => {}
    }
}

#[cfg(test)]
mod tests {
    use shared::ports::failure::FailureKind;
    use std::sync::Mutex;

    use super::*;

    const GRACE: Duration = Duration::from_secs(3000);

    fn told(instance_action: &str, rebalance: &str, target_state: &str) -> Told {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Told { instance_action: some(instance_action), rebalance: some(rebalance), target_state: some(target_state) }
    }

    #[test]
    fn what_is_announced_goes_by_this_table() {
        let action = r#"{"action": "terminate", "time": "2026-11-28T08:22:00Z"}"#;
        let risk = r#"{"noticeTime": "2026-11-28T08:20:00Z"}"#;
        let table = [
            (told("", "", ""), Announced::Nothing),
            (told("", "", "InService"), Announced::Nothing),
            (told("", "", "Standby"), Announced::Nothing),
            (told("", "", "Detached"), Announced::Nothing),
            (told("", "", "Warmed:Running"), Announced::Nothing),
            (told("", "", "Terminated"), Announced::ScaleIn),
            (told("", "", "Terminated\n"), Announced::ScaleIn),
            (told("", "", "Warmed:Terminated"), Announced::ScaleIn),
            (told("", "", "Warmed:Stopped"), Announced::ScaleIn),
            (told("", "", "Warmed:Hibernated"), Announced::ScaleIn),
            (told("", risk, "InService"), Announced::Rebalance),
            (told("", risk, "Terminated"), Announced::ScaleIn),
            (told(action, "", "InService"), Announced::Interruption),
            (told(action, risk, "Terminated"), Announced::Interruption),
            (told(r#"{"action":"stop","time":"t"}"#, "", ""), Announced::Interruption),
            (told(r#"{"action":"hibernate"}"#, "", ""), Announced::Interruption),
            // What answers here is not the metadata service.
            (told("<html>", "<html>", "<html>"), Announced::Nothing),
            (told("{}", "{}", "{}"), Announced::Nothing),
        ];
        for (told, expected) in table {
            assert_eq!(announced(&told), expected, "{told:?}");
        }
    }

    #[test]
    fn what_is_done_about_it_goes_by_this_table() {
        let (soon, late) = (Some(EVERY), Some(GRACE));
        let table = [
            (Announced::Nothing, None, Order::GoOn),
            (Announced::Nothing, soon, Order::Drain),
            (Announced::Nothing, late, Order::Stop),
            (Announced::Rebalance, None, Order::Drain),
            (Announced::Rebalance, soon, Order::Drain),
            (Announced::Rebalance, late, Order::Stop),
            (Announced::ScaleIn, None, Order::Drain),
            (Announced::ScaleIn, soon, Order::Drain),
            (Announced::ScaleIn, late, Order::Stop),
            (Announced::Interruption, None, Order::Stop),
            (Announced::Interruption, soon, Order::Stop),
            (Announced::Interruption, late, Order::Stop),
        ];
        for (announced, draining, expected) in table {
            assert_eq!(order(announced, draining, GRACE), expected, "{announced:?} {draining:?}");
        }
    }

    /// What the worker was asked, and when, while the service says one thing after another, 5 seconds each.
    async fn orders(answers: Vec<(Told, Option<Failure>)>, grace: Duration) -> Vec<(Order, u64)> {
        let (duty, ended) = (Duty::from(CancellationToken::new()), CancellationToken::new());
        let (start, answers) = (Instant::now(), Mutex::new(answers.into_iter()));
        let orders = Mutex::new(Vec::new());
        let read = async || {
            let next = answers.lock().unwrap().next();
            orders.lock().unwrap().push((duty.asked(), start.elapsed().as_secs()));
            next.unwrap_or_else(|| {
                ended.cancel();
                Default::default()
            })
        };
        heed_what(read, &duty, grace, &ended).await;
        orders.into_inner().unwrap().into_iter().skip(1).collect()
    }

    fn failure() -> Option<Failure> {
        Some(Failure {
            kind: FailureKind::Unavailable,
            operation: "Get",
            resource: "instance metadata".to_owned(),
            message: "on purpose".to_owned(),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn the_worker_drains_and_then_stops_when_its_time_is_over_whatever_the_service_says() {
        let answers = vec![
            (Told::default(), None),
            (Told::default(), failure()),
            (told("", "", "Terminated"), None),
            (Told::default(), failure()),
            (told("", "", "InService"), None),
            (Told::default(), failure()),
        ];

        let asked = orders(answers, Duration::from_secs(15)).await;

        let expected = [Order::GoOn, Order::GoOn, Order::Drain, Order::Drain, Order::Drain, Order::Stop];
        assert_eq!(asked, expected.into_iter().zip((1..).map(|poll| 5 * poll)).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn an_interruption_is_heeded_though_the_rest_cannot_be_read() {
        let action = r#"{"action":"terminate","time":"t"}"#;

        let asked =
            orders(vec![(told("", r#"{"noticeTime":"t"}"#, ""), None), (told(action, "", ""), failure())], GRACE);

        assert_eq!(asked.await, [(Order::Drain, 5), (Order::Stop, 10)]);
    }
}
