//! Workers that are killed again and again, and the messages they leave behind.

use std::time::Duration;

use shared::domain::job::SyncSettings;
use shared::domain::key::KeyType;
use tests::generate::{Pair, Shares, pair_of_tables, schema};
use tests::world::{MAX_RECEIVES, PAST_THE_LEASE, REPAIR, Worker, World};

use super::exact::{STRATEGIES, settings_by};

#[tokio::test(start_paused = true)]
async fn a_message_that_many_killed_workers_had_is_no_dead_letter() {
    let shares = Shares { missing: 0.5, differing: 0.3, extra: 0.2 };
    let pair = pair_of_tables(&schema(KeyType::S, None), 11, 12, shares);
    for strategy in STRATEGIES {
        many_killed_workers(&pair, settings_by(strategy, REPAIR)).await;
    }
}

async fn many_killed_workers(pair: &Pair, settings: SyncSettings) {
    let world = World::of_pair(pair, 4);
    let job = world.job(1, settings).await;
    let queue = job.enqueue().await;

    for _ in 0..2 * MAX_RECEIVES {
        // Killed while it waits to look at its suspects again.
        let killed = tokio::time::timeout(Duration::from_millis(500), world.work(&Worker::default(), &queue)).await;
        assert!(killed.is_err(), "it was done before it could be killed");
        tokio::time::sleep(PAST_THE_LEASE).await;
    }
    world.work(&Worker::default(), &queue).await.expect("the queue works");

    assert!(queue.dead_letters().is_empty());
    job.report().await.assert_exact(std::slice::from_ref(&pair.expected), REPAIR, pair.master.len());
    world.assert_in_step();
}
