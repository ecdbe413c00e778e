//! A stream at which things go wrong.

use std::sync::Arc;

use async_trait::async_trait;
use rand::Rng;

use super::{FailureKind, FaultPlan};
use crate::ports::failure::Failure;
use crate::ports::stream::{ChangeStream, Cursor, ReadFrom, RecordPage, ShardPage, StreamDescription, Tip};

/// A stream at which things go wrong: calls fail, pages are short or empty, cursors expire.
pub struct FaultyStream {
    inner: Arc<dyn ChangeStream>,
    plan: FaultPlan,
}

impl FaultyStream {
    /// Puts the plan around a stream.
    #[must_use]
    pub fn new(inner: Arc<dyn ChangeStream>, plan: FaultPlan) -> Self {
        Self { inner, plan }
    }
}

#[async_trait]
impl ChangeStream for FaultyStream {
    async fn describe(&self) -> Result<StreamDescription, Failure> {
        let call = self.plan.begin("DescribeStream").await;
        self.plan.end(call, self.inner.describe()).await
    }

    async fn shards(&self, after: Option<&str>) -> Result<ShardPage, Failure> {
        let mut call = self.plan.begin("ListShards").await;
        let is_empty = call.dice.random_bool(self.plan.partial);
        if let (true, Some(after)) = (is_empty, after) {
            let nothing = ShardPage { shards: Vec::new(), next: Some(after.to_owned()) };
            return self.plan.end(call, async { Ok(nothing) }).await;
        }
        self.plan.end(call, self.inner.shards(after)).await
    }

    async fn open(&self, shard: &str, from: &ReadFrom) -> Result<Cursor, Failure> {
        let call = self.plan.begin("GetShardIterator").await;
        self.plan.end(call, self.inner.open(shard, from)).await
    }

    async fn read(&self, cursor: &Cursor, limit: u32) -> Result<RecordPage, Failure> {
        let mut call = self.plan.begin("GetRecords").await;
        if call.dice.random_bool(self.plan.expiring) {
            let expired = call.failure(FailureKind::Expired, "because its cursor is too old");
            return self.plan.end(call, async { Err(expired) }).await;
        }
        let is_short = call.dice.random_bool(self.plan.partial);
        if is_short && call.dice.random_bool(0.5) {
            let nothing = RecordPage { records: Vec::new(), next: Some(cursor.clone()), tip: Tip::Unknown };
            return self.plan.end(call, async { Ok(nothing) }).await;
        }
        let limit = if is_short { limit.min(call.dice.random_range(1..=3)) } else { limit };
        self.plan.end(call, self.inner.read(cursor, limit)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::change::Created;
    use crate::local::stream::MemoryStream;
    use crate::ports::contract;
    use crate::ports::contract::stream::{Source, insertion};
    use crate::ports::stream::View;

    struct Faulty {
        inner: Arc<MemoryStream>,
        shard: String,
        stream: FaultyStream,
    }

    #[async_trait]
    impl Source for Faulty {
        fn stream(&self) -> &dyn ChangeStream {
            &self.stream
        }

        async fn insert(&self, number: u32) {
            self.inner.append(&self.shard, Ok(insertion(number, Created::in_second(number.into())))).unwrap();
        }
    }

    fn faulty(plan: FaultPlan) -> Faulty {
        let inner = Arc::new(MemoryStream::like_dynamodb(View::New));
        Faulty { shard: inner.open_shard(), stream: FaultyStream::new(inner.clone(), plan), inner }
    }

    #[tokio::test]
    async fn an_empty_plan_leaves_a_stream_as_it_is() {
        contract::stream(async || faulty(FaultPlan::new(1))).await;
    }

    #[tokio::test]
    async fn a_stream_that_works_in_part_gives_every_record_all_the_same() {
        let mut empty = 0;
        for seed in 0..10 {
            let source = faulty(FaultPlan::new(seed).partial(0.5));
            for number in 0..20 {
                source.insert(number).await;
            }
            source.inner.disable();
            let mut cursor = Some(source.stream.open(&source.shard, &ReadFrom::TrimHorizon).await.unwrap());
            let mut records = Vec::new();

            while let Some(at) = cursor {
                let page = source.stream.read(&at, 10).await.unwrap();
                empty += usize::from(page.records.is_empty());
                records.extend(page.records);
                cursor = page.next;
            }

            assert_eq!(records.len(), 20);
        }
        assert!(empty > 0, "no page was empty");
    }

    #[tokio::test]
    async fn cursors_expire_as_often_as_the_plan_says() {
        let source = faulty(FaultPlan::new(1).expiring(0.5));
        let cursor = source.stream.open(&source.shard, &ReadFrom::TrimHorizon).await.unwrap();
        let mut expired = 0;

        for _ in 0..100 {
            match source.stream.read(&cursor, 10).await {
                Ok(_) => {}
                Err(failure) => {
                    assert_eq!(failure.kind, FailureKind::Expired);
                    expired += 1;
                }
            }
        }

        assert!((30..70).contains(&expired), "{expired} of 100 reads found their cursor expired");
    }
}
