//! The library, as a program that embeds it uses it: the example of the README.

use shared::domain::summary::JobState;

#[expect(dead_code, reason = "its `main` is for `cargo run --example`")]
#[path = "../../worker/examples/own_rule.rs"]
mod own_rule;

#[tokio::test]
async fn an_own_rule_decides_what_differs_and_an_own_ear_hears_of_it() {
    let told = own_rule::run().await.unwrap();

    let slave = &told.summary.slaves[0];
    assert_eq!(told.summary.state, JobState::Succeeded);
    assert_eq!((slave.compared, slave.identical, slave.differing, slave.missing), (4, 2, 1, 1));
    assert_eq!((told.found, told.written), (2, 2));
    assert_eq!(told.prices, ["1", "2.004", "3.00", "4.00"]);
}
