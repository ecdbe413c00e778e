//! Tests of the stream in memory.

use std::time::Duration;

use async_trait::async_trait;

use super::*;
use crate::domain::change::Created;
use crate::ports::contract;
use crate::ports::contract::stream::{Loses, Reshapes, Source, insertion};
use crate::ports::stream::{ChangeStream, Cursor, ReadFrom, Tip};

#[async_trait]
impl Source for MemoryStream {
    fn stream(&self) -> &dyn ChangeStream {
        self
    }

    async fn insert(&self, number: u32) {
        let shards = contract::stream::shards(self).await;
        let open = shards.iter().find(|shard| shard.state == ShardState::Open).unwrap();
        self.append(&open.id, Ok(insertion(number, Created::in_millisecond(number.into())))).unwrap();
    }
}

#[async_trait]
impl Reshapes for MemoryStream {
    async fn split(&self, shard: &str) {
        Self::split(self, shard).unwrap();
    }

    async fn merge(&self, one: &str, other: &str) {
        Self::merge(self, one, other).unwrap();
    }
}

#[async_trait]
impl Loses for MemoryStream {
    async fn trim(&self, shard: &str, through: &str) {
        Self::trim(self, shard, through).unwrap();
    }

    async fn drop_shard(&self, shard: &str) {
        Self::drop_shard(self, shard).unwrap();
    }

    async fn expire_cursors(&self) {
        Self::expire_cursors(self);
    }
}

fn with_a_shard(stream: MemoryStream) -> MemoryStream {
    stream.open_shard();
    stream
}

#[tokio::test]
async fn it_keeps_the_contract_of_a_stream() {
    let makers: [fn() -> MemoryStream; 4] = [
        || MemoryStream::like_dynamodb(View::New),
        MemoryStream::like_kinesis,
        || MemoryStream::like_dynamodb(View::New).with_pages_of(2, 3).with_empty_pages(),
        || MemoryStream::like_kinesis().with_pages_of(1, 1).with_empty_pages().with_children_first(),
    ];
    for make in makers {
        let fresh = async || with_a_shard(make());
        contract::stream(fresh).await;
        contract::stream::reshaping(fresh).await;
        contract::stream::losing(fresh).await;
    }
}

#[tokio::test]
async fn more_shards_than_a_page_holds_take_several() {
    let stream = MemoryStream::like_dynamodb(View::New);
    (0..150).for_each(|_| drop(stream.open_shard()));

    assert_eq!(contract::stream::shards(&stream).await.len(), 150);

    assert_eq!(stream.calls().listings, 2);
}

#[tokio::test]
async fn calls_are_counted_by_shard() {
    let stream = MemoryStream::like_dynamodb(View::New);
    let (one, other) = (stream.open_shard(), stream.open_shard());
    let cursor = stream.open(&one, &ReadFrom::TrimHorizon).await.unwrap();
    for _ in 0..3 {
        stream.read(&cursor, 1).await.unwrap();
    }
    stream.describe().await.unwrap();

    let calls = stream.calls();

    assert_eq!((calls.reads_of(&one), calls.reads_of(&other)), (3, 0));
    assert_eq!((calls.opened.get(&one), calls.descriptions), (Some(&1), 1));
}

#[tokio::test]
async fn a_disabled_stream_can_be_read_to_its_end() {
    let stream = with_a_shard(MemoryStream::like_dynamodb(View::New));
    stream.insert(1).await;
    let shard = contract::stream::shards(&stream).await.remove(0).id;

    stream.disable();

    assert_eq!(stream.describe().await.unwrap().status, StreamStatus::Disabled);
    let (records, end): (_, Option<Cursor>) = contract::stream::read(&stream, &shard, &ReadFrom::TrimHorizon).await;
    assert_eq!((records.len(), end), (1, None));
}

#[tokio::test]
async fn what_behaves_like_kinesis_begins_at_a_time_and_says_how_far_behind_it_is() {
    let stream = MemoryStream::like_kinesis();
    let shard = stream.open_shard();
    for ms in [1000, 2000, 5000] {
        stream.append(&shard, Ok(insertion(1, Created::in_millisecond(ms)))).unwrap();
    }

    let cursor = stream.open(&shard, &ReadFrom::Time(1500)).await.unwrap();
    let first = stream.read(&cursor, 1).await.unwrap();
    let second = stream.read(&first.next.unwrap(), 1).await.unwrap();

    assert_eq!(first.records[0].change.as_ref().unwrap().created.from_ms, 2000);
    assert_eq!((first.tip, second.tip), (Tip::Behind(Duration::from_secs(3)), Tip::Behind(Duration::ZERO)));
}

#[test]
fn records_of_their_own_numbers_must_grow() {
    let stream = MemoryStream::like_dynamodb(View::New);
    let shard = stream.open_shard();
    let record = |sequence: &str| Record { sequence: sequence.to_owned(), change: Err(BadRecord("no".to_owned())) };

    stream.append_record(&shard, record("0009")).unwrap();
    stream.append_record(&shard, record("10")).unwrap();

    for sequence in ["10", "2", "x"] {
        assert_eq!(stream.append_record(&shard, record(sequence)).unwrap_err().kind, FailureKind::Invalid);
    }
}
