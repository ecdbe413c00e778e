//! What streams must do whose shards split and merge.
#![expect(clippy::unwrap_used, reason = "a clause fails by panicking, as a test does")]

use std::collections::BTreeSet;

use async_trait::async_trait;

use super::{Source, insert, numbers, only_shard, read, shards};
use crate::ports::stream::{ReadFrom, Shard, ShardState};

/// A stream whose shards can be changed.
#[async_trait]
pub trait Reshapes: Source {
    /// Splits a shard in two.
    async fn split(&self, shard: &str);

    /// Merges two shards into one.
    async fn merge(&self, one: &str, other: &str);
}

/// Holds an adapter to what streams must do whose shards split and merge.
pub async fn reshaping<S: Reshapes>(fresh: impl AsyncFn() -> S) {
    a_split_shard_ends_and_its_children_go_on(&fresh().await).await;
    a_merged_shard_has_two_parents(&fresh().await).await;
    every_shard_is_listed_once(&fresh().await).await;
}

/// The parent is closed and can be read to its end; what comes later is the children's, who name it.
pub async fn a_split_shard_ends_and_its_children_go_on(source: &dyn Reshapes) {
    insert(source, 0..5).await;
    let parent = only_shard(source).await;
    source.split(&parent.id).await;
    insert(source, 5..10).await;

    let shards = shards(source.stream()).await;
    let (records, end) = read(source.stream(), &parent.id, &ReadFrom::TrimHorizon).await;

    assert_eq!((numbers(&records), end), ((0..5).collect(), None));
    let last = records.last().unwrap().sequence.clone();
    assert_eq!(read(source.stream(), &parent.id, &ReadFrom::After(last)).await, (Vec::new(), None));
    assert_eq!(shards.iter().find(|shard| shard.id == parent.id).unwrap().state, ShardState::Closed);
    let children: Vec<&Shard> = shards.iter().filter(|shard| shard.id != parent.id).collect();
    assert_eq!(children.len(), 2);
    let mut later = Vec::new();
    for child in children {
        assert_eq!((&child.parents, child.state), (&vec![parent.id.clone()], ShardState::Open));
        later.extend(read(source.stream(), &child.id, &ReadFrom::TrimHorizon).await.0);
    }
    assert_eq!(numbers(&later), (5..10).collect::<Vec<_>>());
}

/// A merged shard names both its parents, which have ended.
pub async fn a_merged_shard_has_two_parents(source: &dyn Reshapes) {
    let first = only_shard(source).await;
    source.split(&first.id).await;
    let halves: BTreeSet<String> =
        shards(source.stream()).await.into_iter().map(|shard| shard.id).filter(|id| *id != first.id).collect();
    let ids: Vec<&String> = halves.iter().collect();
    source.merge(ids[0], ids[1]).await;
    insert(source, 0..3).await;

    let shards = shards(source.stream()).await;

    let is_merged = |shard: &&Shard| shard.id != first.id && !halves.contains(&shard.id);
    let merged = shards.iter().find(is_merged).expect("the merged shard is listed");
    assert_eq!(merged.parents.iter().cloned().collect::<BTreeSet<_>>(), halves);
    assert_eq!(merged.state, ShardState::Open);
    assert!(shards.iter().all(|shard| shard.id == merged.id || shard.state == ShardState::Closed));
    assert_eq!(numbers(&read(source.stream(), &merged.id, &ReadFrom::TrimHorizon).await.0), [0, 1, 2]);
}

/// However many pages a listing takes, a shard is on one of them.
pub async fn every_shard_is_listed_once(source: &dyn Reshapes) {
    for _ in 0..6 {
        let open = shards(source.stream()).await.into_iter().find(|shard| shard.state == ShardState::Open);
        source.split(&open.expect("a shard is open").id).await;
    }

    let shards = shards(source.stream()).await;

    assert_eq!(shards.len(), 13, "{shards:?}");
    assert_eq!(shards.iter().filter(|shard| shard.parents.is_empty()).count(), 1);
    assert_eq!(shards.iter().filter(|shard| shard.state == ShardState::Open).count(), 7);
}
