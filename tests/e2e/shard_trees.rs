//! Trees of shards that split and merge, followed by the real programs: no emulator has them, so the streams are made up
//! behind their protocols, in front of a real table.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::types::StreamViewType;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use shared::domain::change::Created;
use shared::domain::value::Item;
use shared::local::stream::MemoryStream;
use shared::ports::stream::{ChangeStream, View};
use tests::process::Running;
use tests::relay::Relay;
use tests::streams::{change_of, dynamodb_streams, kinesis};
use tests::wait::eventually;

use crate::stage::{Fleet, MASTER, SLAVE, Stage, order_schema, orders, programs, text};

const LONG: Duration = Duration::from_secs(150);

const KINESIS_ARN: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/made-up";

/// A real table, and a made-up stream of its changes.
struct Tree {
    stage: Stage,
    stream: Arc<MemoryStream>,
    relay: Relay,
    /// Shards that are open; any key may be in any of them, as long as it stays in one line of them.
    leaves: Vec<Leaf>,
    items: Vec<Item>,
    dice: StdRng,
    shards: u64,
    records: u64,
}

struct Leaf {
    shard: String,
    /// The orders of this line.
    orders: Vec<usize>,
}

impl Tree {
    async fn new(stream: MemoryStream, of: fn(&str, Arc<dyn ChangeStream>) -> Relay) -> Self {
        let items = orders(64, &[("content", text("0"))]);
        let mut stage = Stage::of(&order_schema(), &items, &items).await;
        stage.server.enable_stream("orders", StreamViewType::NewAndOldImages).await;
        let stream = Arc::new(stream);
        let relay = of(&stage.server.endpoint(), Arc::clone(&stream) as _);
        stage.programs =
            programs().with_dynamodb(&relay.endpoint()).with("AWS_ENDPOINT_URL_KINESIS", &relay.endpoint());
        let leaf =
            |line: usize| Leaf { shard: stream.open_shard(), orders: (0..64).filter(|n| n % 4 == line).collect() };
        let leaves = (0..4).map(leaf).collect();
        Self { stage, stream, relay, leaves, items, dice: StdRng::seed_from_u64(7), shards: 4, records: 0 }
    }

    /// Changes some orders, and then splits or merges some shards.
    async fn change(&mut self) {
        let mut changed = Vec::new();
        for leaf in &self.leaves {
            let Some(&order) = leaf.orders.choose(&mut self.dice) else { continue };
            let before = self.items[order].clone();
            let mut after = before.clone();
            after.insert("content".into(), text(&self.dice.random::<u32>().to_string()));
            let created = Created::in_millisecond(jiff::Timestamp::now().as_millisecond());
            let change = change_of(&self.stage.schema, Some(&before), Some(&after), created);
            self.stream.append(&leaf.shard, Ok(change)).expect("it is open");
            self.records += 1;
            self.items[order] = after.clone();
            changed.push(after);
        }
        self.stage.server.put_all("orders", &changed).await;
    }

    fn reshape(&mut self) {
        let place = self.dice.random_range(0..self.leaves.len());
        let leaf = self.leaves.swap_remove(place);
        if self.leaves.len() > 1 && (leaf.orders.len() < 2 || self.dice.random_bool(0.3)) {
            let other = self.leaves.swap_remove(self.dice.random_range(0..self.leaves.len()));
            let shard = self.stream.merge(&leaf.shard, &other.shard).expect("both are open");
            self.leaves.push(Leaf { shard, orders: [leaf.orders, other.orders].concat() });
            self.shards += 1;
        } else {
            let (one, other) = self.stream.split(&leaf.shard).expect("it is open");
            let (few, rest) = leaf.orders.split_at(leaf.orders.len() / 2);
            self.leaves.push(Leaf { shard: one, orders: few.to_vec() });
            self.leaves.push(Leaf { shard: other, orders: rest.to_vec() });
            self.shards += 2;
        }
    }
}

/// R13.
#[tokio::test]
async fn r13_more_than_150_shards_are_followed_by_a_fleet_whose_workers_die() {
    let mut tree = Tree::new(MemoryStream::like_dynamodb(View::NewAndOld), dynamodb_streams).await;
    while tree.shards < 160 {
        tree.change().await;
        tree.reshape();
    }
    let mut fleet = Fleet::around(tree.stage, 8).await;
    let services = tests::ministack::MiniStack::shared().endpoint();
    fleet.stage.programs = programs().with_dynamodb(&tree.relay.endpoint()).with_services(&services);
    let enqueued = fleet.dynamend(&["replicate", "-m", MASTER, "-s", SLAVE, "--job-id", "job"]);
    assert_eq!(enqueued.code, Some(0), "{}", enqueued.stderr);
    let worker = || fleet.worker(&["--shards", "12"]);
    let mut workers: Vec<Running> = (0..3).map(|_| worker()).collect();
    for round in 0..6 {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(workers.remove(0).kill().code, None, "a worker ended by itself in round {round}");
        workers.push(worker());
    }
    tree.stream.disable();

    let summary = fleet.summary("job", LONG).await;

    assert_eq!(summary["state"], "succeeded", "{summary}");
    let queued = fleet.queue.counts().await;
    assert!(queued.visible + queued.in_flight + queued.delayed < 40, "messages multiply: {queued:?}");
    let replication = &summary["replication"];
    assert_eq!(replication["ended"], replication["shards"], "{summary}");
    assert!(replication["shards"].as_u64() >= Some(160), "{summary}");
    assert_eq!(replication["records"].as_u64(), Some(tree.records), "each record counts once: {summary}");
    assert!(fleet.stage.differences().await.is_empty());
}

#[tokio::test]
async fn a_kinesis_stream_that_splits_and_merges_is_followed() {
    let of = |endpoint: &str, stream| kinesis(endpoint, stream, "orders");
    let mut tree = Tree::new(MemoryStream::like_kinesis(), of).await;
    let arguments = ["replicate", "-m", MASTER, "-s", SLAVE, "--kinesis", KINESIS_ARN, "--until-caught-up", "30"];
    for _ in 0..12 {
        tree.change().await;
        tree.reshape();
    }
    let mut running = tree.stage.programs.spawn_dynamend(&[&arguments[..], &["--output", "json"]].concat());
    running.wait_for_stderr("following", tests::wait::DEADLINE);
    for _ in 0..12 {
        tree.change().await;
        tree.reshape();
    }

    let finished = running.wait(LONG);

    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    eventually("the tables agree", LONG, async || tree.stage.differences().await.is_empty().then_some(())).await;
}
