//! Who passes a gate, and when.

use super::*;
use crate::domain::cost::Prices;

const SECOND: Duration = Duration::from_secs(1);

fn gate() -> Gate {
    Gate::new(Direction::Read, Arc::default())
}

fn for_ever(rate: f64) -> Ceiling {
    Ceiling::Until(rate, Instant::now() + SECOND * 3600)
}

async fn enter(gate: &Gate, units: f64) -> Result<(), Refused> {
    gate.enter(|_| units).await.map(|entry| entry.settle(units))
}

/// How long the gate takes for so many requests one after the other.
async fn time_of(gate: &Gate, requests: u32, units: f64) -> Duration {
    let began = Instant::now();
    for _ in 0..requests {
        enter(gate, units).await.unwrap();
    }
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn an_open_gate_lets_everything_through_and_asks_for_no_estimate() {
    let gate = gate();

    let entry = gate.enter(|_| panic!("an open gate estimates nothing")).await.unwrap();

    assert!(entry.is_free() && entry.within().is_infinite());
    entry.settle(1e9);
}

#[tokio::test(start_paused = true)]
async fn requests_come_at_the_rate_and_are_told_how_much_they_may_take() {
    let gate = gate();
    gate.set(for_ever(10.0));

    let time = time_of(&gate, 100, 1.0).await;

    assert!((9.0..=10.1).contains(&time.as_secs_f64()), "{time:?}");
    let entry = gate.enter(|within| within).await.unwrap();
    assert_eq!((entry.within(), entry.estimate()), (3.5, 3.5));
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_woken_by_a_higher_rate_and_by_what_others_give_back() {
    let gate = gate();
    gate.set(for_ever(1.0));
    let first = gate.enter(|_| 1000.0).await.unwrap();
    let began = Instant::now();
    let give_back = async {
        tokio::time::sleep(SECOND).await;
        first.give_back();
    };
    let (entered, ()) = tokio::join!(enter(&gate, 1000.0), give_back);
    entered.unwrap();
    assert_eq!(began.elapsed().as_secs(), 1);

    let raise = async {
        tokio::time::sleep(SECOND).await;
        gate.set(for_ever(100_000.0));
    };
    let (entered, ()) = tokio::join!(enter(&gate, 1000.0), raise);
    entered.unwrap();
    assert_eq!(began.elapsed().as_secs(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_rate_that_is_over_lets_nothing_through_until_there_is_another() {
    let gate = gate();
    gate.set(Ceiling::Until(10.0, Instant::now() + SECOND));
    tokio::time::sleep(2 * SECOND).await;

    let waited = tokio::time::timeout(100 * SECOND, enter(&gate, 1.0)).await;
    assert!(waited.is_err(), "it went through without a rate");

    gate.set(for_ever(10.0));
    enter(&gate, 1.0).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_given_up_while_it_waits_leaves_no_trace() {
    let gate = gate();
    gate.set(for_ever(1.0));
    enter(&gate, 10.0).await.unwrap();
    for _ in 0..5 {
        let waited = tokio::time::timeout(SECOND, enter(&gate, 10.0)).await;
        assert!(waited.is_err());
    }

    let time = time_of(&gate, 1, 10.0).await;

    assert!((4.9..5.1).contains(&time.as_secs_f64()), "{time:?}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_after_a_halt_is_refused_and_others_pass() {
    let gate = gate();
    gate.set(for_ever(1.0));
    enter(&gate, 2.0).await.unwrap();
    let began = Instant::now();
    let halt = async {
        tokio::time::sleep(SECOND).await;
        gate.halt(true);
    };

    let (soon, late, ()) = tokio::join!(enter(&gate, 2.0), enter(&gate, 50.0), halt);

    assert_eq!((soon, late), (Ok(()), Err(Refused::Halted)));
    assert_eq!(began.elapsed().as_secs(), 4);
    gate.halt(false);
    enter(&gate, 50.0).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn throttling_closes_an_open_gate_for_a_while() {
    let gate = gate();
    for _ in 0..200 {
        enter(&gate, 1.0).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    gate.throttled();

    let slow = time_of(&gate, 100, 1.0).await;
    assert!((0.8..2.0).contains(&slow.as_secs_f64()), "half of 100 per second, and growing: {slow:?}");
    tokio::time::sleep(60 * SECOND).await;
    enter(&gate, 1.0).await.unwrap();
    assert_eq!(time_of(&gate, 1000, 1.0).await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn without_money_a_request_waits_for_a_claim_or_is_refused() {
    let account = Arc::new(Account::default());
    let gate = Gate::new(Direction::Read, Arc::clone(&account));
    let prices = Prices::US_EAST_ON_DEMAND;
    account.set(Some(Budget { max_cost: prices.dollars(1000.0, 0.0), prices, spent_before: 0.0 }));
    gate.set(Ceiling::None);
    let claims = async {
        for _ in 0..2 {
            account.wanted.notified().await;
            let claim = account.purse().claim();
            account.purse().look(claim, 0, 1);
            gate.set(Ceiling::None);
        }
    };

    let (entered, ()) = tokio::join!(enter(&gate, 400.0), claims);

    assert_eq!(entered, Ok(()));
    let claims = async {
        account.wanted.notified().await;
        let claim = account.purse().claim();
        account.purse().look(claim, 0, 1);
        gate.set(Ceiling::None);
    };
    let (refused, ()) = tokio::join!(enter(&gate, 400.0), claims);
    assert_eq!(refused, Err(Refused::Spent));
}
