//! What streams must do that lose records, shards and cursors.
#![expect(clippy::unwrap_used, reason = "a clause fails by panicking, as a test does")]

use async_trait::async_trait;

use super::{Source, assert_kind, insert, only_shard, read, read_on, shards};
use crate::ports::failure::FailureKind;
use crate::ports::stream::{MAX_RECORDS_PER_PAGE, ReadFrom};

/// A stream that can be made to lose what it holds.
#[async_trait]
pub trait Loses: Source {
    /// Removes the records of a shard up to a sequence number, and that one.
    async fn trim(&self, shard: &str, through: &str);

    /// Removes a shard.
    async fn drop_shard(&self, shard: &str);

    /// Makes all cursors too old.
    async fn expire_cursors(&self);
}

/// Holds an adapter to what streams must do that lose records, shards and cursors.
pub async fn losing<S: Loses>(fresh: impl AsyncFn() -> S) {
    the_trim_horizon_is_the_oldest_record_that_is_left(&fresh().await).await;
    what_was_trimmed_is_told_or_passed_over(&fresh().await).await;
    a_cursor_outlives_the_records_before_it(&fresh().await).await;
    an_expired_cursor_is_told_and_can_be_had_anew(&fresh().await).await;
    a_shard_that_is_gone_is_not_found(&fresh().await).await;
}

/// `TrimHorizon` begins with what is left.
pub async fn the_trim_horizon_is_the_oldest_record_that_is_left(source: &dyn Loses) {
    insert(source, 0..5).await;
    let shard = only_shard(source).await;
    let all = read(source.stream(), &shard.id, &ReadFrom::TrimHorizon).await.0;

    source.trim(&shard.id, &all[1].sequence).await;

    assert_eq!(read(source.stream(), &shard.id, &ReadFrom::TrimHorizon).await.0, all[2..]);
    assert_eq!(read(source.stream(), &shard.id, &ReadFrom::After(all[2].sequence.clone())).await.0, all[3..]);
}

/// What was to be read and is gone is `Trimmed`, or, where the stream does not tell, reading begins with what is left.
pub async fn what_was_trimmed_is_told_or_passed_over(source: &dyn Loses) {
    insert(source, 0..5).await;
    let shard = only_shard(source).await;
    let all = read(source.stream(), &shard.id, &ReadFrom::TrimHorizon).await.0;
    let cursor = source.stream().open(&shard.id, &ReadFrom::TrimHorizon).await.unwrap();

    source.trim(&shard.id, &all[2].sequence).await;

    match source.stream().open(&shard.id, &ReadFrom::After(all[0].sequence.clone())).await {
        Ok(cursor) => assert_eq!(read_on(source.stream(), cursor).await.0, all[3..]),
        refused => assert_kind(&refused, FailureKind::Trimmed),
    }
    match source.stream().read(&cursor, MAX_RECORDS_PER_PAGE).await {
        Ok(_) => assert_eq!(read_on(source.stream(), cursor).await.0, all[3..]),
        refused => assert_kind(&refused, FailureKind::Trimmed),
    }
}

/// A cursor goes on where it was, though records before it go, and go again.
pub async fn a_cursor_outlives_the_records_before_it(source: &dyn Loses) {
    insert(source, 0..6).await;
    let shard = only_shard(source).await;
    let all = read(source.stream(), &shard.id, &ReadFrom::TrimHorizon).await.0;
    let cursor = source.stream().open(&shard.id, &ReadFrom::After(all[3].sequence.clone())).await.unwrap();

    for trimmed in [0, 2] {
        source.trim(&shard.id, &all[trimmed].sequence).await;
        assert_eq!(read_on(source.stream(), cursor.clone()).await.0, all[4..]);
    }
}

/// A cursor that is too old is `Expired`; one that is opened after the last record goes on.
pub async fn an_expired_cursor_is_told_and_can_be_had_anew(source: &dyn Loses) {
    insert(source, 0..5).await;
    let shard = only_shard(source).await;
    let all = read(source.stream(), &shard.id, &ReadFrom::TrimHorizon).await.0;
    let cursor = source.stream().open(&shard.id, &ReadFrom::After(all[2].sequence.clone())).await.unwrap();

    source.expire_cursors().await;

    assert_kind(&source.stream().read(&cursor, MAX_RECORDS_PER_PAGE).await, FailureKind::Expired);
    assert_eq!(read(source.stream(), &shard.id, &ReadFrom::After(all[2].sequence.clone())).await.0, all[3..]);
}

/// A shard that is gone is neither listed nor read.
pub async fn a_shard_that_is_gone_is_not_found(source: &dyn Loses) {
    let shard = only_shard(source).await;

    source.drop_shard(&shard.id).await;

    assert_eq!(shards(source.stream()).await, []);
    assert_kind(&source.stream().open(&shard.id, &ReadFrom::TrimHorizon).await, FailureKind::NotFound);
}
