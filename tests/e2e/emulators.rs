//! The emulators start, and what is put into them comes back.

use std::time::Duration;

use shared::domain::key::KeyType;
use tests::buckets::Bucket;
use tests::dynamodb::DynamoDb;
use tests::generate::{Shares, pair_of_tables, schema};
use tests::ministack::MiniStack;
use tests::oracle::{Differences, brute_force};
use tests::queues::{Counts, Queue};
use tests::wait::{DEADLINE, eventually, until};

#[tokio::test]
async fn tables_of_every_key_type_come_back_as_they_were_filled() {
    let server = DynamoDb::start();
    let shares = Shares { missing: 0.1, differing: 0.1, extra: 0.1 };
    let kinds = [KeyType::S, KeyType::N, KeyType::B];
    let sorts = [None, Some(KeyType::S), Some(KeyType::N), Some(KeyType::B)];
    for (number, (kind, sort)) in kinds.iter().flat_map(|kind| sorts.map(|sort| (*kind, sort))).enumerate() {
        let pair = pair_of_tables(&schema(kind, sort), 7 + number as u64, 60, shares);
        let (master, slave) = (format!("master-{number}"), format!("slave-{number}"));
        server.create_filled(&master, &pair.schema, &pair.master).await;
        server.create_filled(&slave, &pair.schema, &pair.slave).await;

        let (master, slave) = (server.read_all(&master).await, server.read_all(&slave).await);

        assert_eq!(brute_force(&pair.master, &master, &pair.schema), Differences::default(), "{kind:?} {sort:?}");
        assert_eq!(brute_force(&master, &slave, &pair.schema), pair.expected, "{kind:?} {sort:?}");
    }
}

#[tokio::test]
async fn a_table_of_many_pages_comes_back_whole() {
    let server = DynamoDb::start();
    let pair = pair_of_tables(&schema(KeyType::S, None), 1, 200, Shares::default());
    let wide: Vec<_> = pair.master.into_iter().map(widened).collect();
    server.create_filled("wide", &pair.schema, &wide).await;

    let read = server.read_all("wide").await;
    server.delete("wide", &pair.schema, &wide[0]).await;

    assert!(brute_force(&wide, &read, &pair.schema).is_empty());
    assert_eq!(server.read_all("wide").await.len(), wide.len() - 1);
}

fn widened(mut item: shared::domain::value::Item) -> shared::domain::value::Item {
    item.insert("filling".to_owned(), shared::domain::value::Value::S("x".repeat(10_000)));
    item
}

#[tokio::test]
async fn a_message_that_is_never_settled_ends_among_the_dead_letters() {
    let queue = Queue::create(MiniStack::shared(), Duration::from_secs(60), 2).await;
    queue.send("poison").await;
    assert_eq!(queue.counts().await, Counts { visible: 1, ..Counts::default() });

    for _ in 0..2 {
        let (body, receipt) = queue.receive().await.expect("the message is there");
        assert_eq!(body, "poison");
        assert_eq!(queue.counts().await, Counts { in_flight: 1, ..Counts::default() });
        queue.give_back(&receipt).await;
    }

    eventually("the message is dead", DEADLINE, async || {
        assert_eq!(queue.receive().await, None);
        (queue.counts().await == Counts { dead: 1, ..Counts::default() }).then_some(())
    })
    .await;
    assert_eq!(queue.take_dead_letters().await, ["poison"]);
    assert_eq!(queue.counts().await, Counts::default());
}

#[tokio::test]
async fn a_settled_message_is_gone() {
    let queue = Queue::create(MiniStack::shared(), Duration::from_secs(60), 2).await;
    queue.send("work").await;

    let (_, receipt) = queue.receive().await.expect("the message is there");
    queue.delete(&receipt).await;

    assert_eq!(queue.counts().await, Counts::default());
}

#[tokio::test]
async fn objects_come_back_and_are_listed() {
    let bucket = Bucket::create(MiniStack::shared()).await;
    bucket.put("jobs/one/manifest.json", b"{}").await;
    bucket.put("jobs/one/part.gz", &[0, 159, 146, 150]).await;
    bucket.put("else", b"").await;

    assert_eq!(bucket.keys("jobs/").await, ["jobs/one/manifest.json", "jobs/one/part.gz"]);
    assert_eq!(bucket.get("jobs/one/part.gz").await, Some(vec![0, 159, 146, 150]));
    assert_eq!(bucket.get("nothing").await, None);
    assert_eq!(bucket.url("jobs"), format!("s3://{}/jobs", bucket.name));
}

#[test]
fn an_emulator_ends_with_its_owner() {
    let server = MiniStack::start();
    let address = server.endpoint().replace("http://", "");
    assert!(std::net::TcpStream::connect(&address).is_ok());

    drop(server);

    until("nobody answers", DEADLINE, || std::net::TcpStream::connect(&address).err());
}
