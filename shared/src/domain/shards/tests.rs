//! R12: the cases of ddb-sync's shard tree, and those that it lacks.

use super::*;

fn tree(shards: &[(&str, &[&str])]) -> Shards {
    let mut tree = Shards::new(Gate::Open, 0);
    for (id, parents) in shards {
        add(&mut tree, id, parents).unwrap();
    }
    tree
}

fn add(tree: &mut Shards, id: &str, parents: &[&str]) -> Result<(), BadShard> {
    let parents: Vec<String> = parents.iter().map(|&parent| parent.to_owned()).collect();
    tree.add(id, &parents, Start::TrimHorizon)
}

fn take(tree: &mut Shards) -> Vec<String> {
    let numbers = tree.take();
    numbers.iter().map(|&number| tree.get(number).unwrap().id.clone()).collect()
}

fn complete(tree: &mut Shards, id: &str) -> Result<News, BadShard> {
    let number = tree.shards.iter().find(|shard| shard.id == id).unwrap().number;
    tree.complete(number)
}

#[test]
fn r12_a_shard_whose_parent_changes_is_refused() {
    let mut shards = tree(&[("a", &[]), ("b", &["a"])]);
    let before = shards.clone();

    assert!(matches!(add(&mut shards, "b", &["c"]), Err(BadShard::OtherParents { .. })));
    assert_eq!(shards, before);
    assert_eq!(add(&mut shards, "b", &["a"]), Ok(()));
    assert_eq!(shards, before);
}

#[test]
fn r12_a_shard_that_is_not_known_cannot_end() {
    assert_eq!(tree(&[("a", &[])]).complete(7), Err(BadShard::Unknown(7)));
}

#[test]
fn r12_a_shard_cannot_end_before_its_parent_and_then_nothing_is_changed() {
    let mut shards = tree(&[("a", &[]), ("b", &["a"])]);
    let before = shards.clone();

    assert!(matches!(complete(&mut shards, "b"), Err(BadShard::ParentFirst { .. })));
    assert_eq!(shards, before);
}

#[test]
fn r12_only_roots_are_there_at_first_and_each_is_handed_out_once() {
    let mut shards = tree(&[("b", &["a"]), ("a", &[]), ("c", &[]), ("d", &["b"])]);

    assert_eq!(take(&mut shards), ["a", "c"]);
    assert_eq!(take(&mut shards), [""; 0]);
}

#[test]
fn r12_children_come_when_their_parents_have_ended_all_of_them() {
    let mut shards = tree(&[("a", &[]), ("b", &[]), ("split-1", &["a"]), ("split-2", &["a"]), ("merged", &["a", "b"])]);
    take(&mut shards);

    complete(&mut shards, "a").unwrap();
    assert_eq!(take(&mut shards), ["split-1", "split-2"]);
    complete(&mut shards, "b").unwrap();
    assert_eq!(take(&mut shards), ["merged"]);
}

#[test]
fn r12_a_shard_whose_parent_is_not_known_is_a_root() {
    assert_eq!(take(&mut tree(&[("b", &["gone"])])), ["b"]);
}

#[test]
fn r12_the_end_of_a_leaf_frees_nothing_and_may_be_told_again() {
    let mut shards = tree(&[("a", &[])]);
    take(&mut shards);

    assert_eq!(complete(&mut shards, "a"), Ok(News::New));
    assert_eq!(complete(&mut shards, "a"), Ok(News::Known));

    assert_eq!(take(&mut shards), [""; 0]);
}

#[test]
fn nothing_is_handed_out_before_the_backfill_has_ended() {
    let mut shards = tree(&[("a", &[])]);
    shards.gate = Gate::Closed;

    assert_eq!(take(&mut shards), [""; 0]);
}

#[test]
fn what_was_over_before_the_job_began_is_not_read_and_holds_up_nobody() {
    let mut shards = Shards::new(Gate::Open, 0);
    shards.add("a", &[], Start::Over).unwrap();
    shards.add("b", &["a".to_owned()], Start::TrimHorizon).unwrap();

    assert_eq!(take(&mut shards), ["b"]);
}

#[test]
fn shards_that_the_stream_has_forgotten_leave_only_their_counts() {
    let mut shards = tree(&[("a", &[]), ("b", &["a"])]);
    take(&mut shards);
    complete(&mut shards, "a").unwrap();
    let listed = BTreeSet::from(["b"]);
    let gone: Vec<u32> = shards.outlived(&listed).map(|shard| shard.number).collect();
    assert_eq!(gone, [0]);

    let mut counted = Tally::zero(1);
    counted.slaves[0].written = 3;
    shards.retire(0, Some(&counted));
    shards.retire(0, Some(&counted));

    let retired = shards.retired.clone().unwrap();
    assert_eq!((retired.count, retired.tally.slaves[0].written), (1, 3));
    assert_eq!(take(&mut shards), ["b"]);
    assert_eq!(shards.get(1).unwrap().id, "b");
}

#[test]
fn a_tree_of_150_shards_is_read_from_its_roots_to_its_leaves() {
    let mut shards = Shards::new(Gate::Open, 0);
    for n in 0_u32..150 {
        let parents: Vec<String> = if n < 2 { vec![] } else { vec![format!("s{}", n / 2 - 1)] };
        shards.add(&format!("s{n}"), &parents, Start::TrimHorizon).unwrap();
    }
    let mut read = Vec::new();
    loop {
        let ready = take(&mut shards);
        if ready.is_empty() {
            break;
        }
        for id in ready {
            complete(&mut shards, &id).unwrap();
            read.push(id);
        }
    }

    assert_eq!(read.len(), 150);
    assert_eq!(read.iter().collect::<BTreeSet<_>>().len(), 150);
}

#[test]
fn whoever_finds_an_end_told_before_knows_whose_messages_may_be_missing() {
    let mut shards = tree(&[("a", &[]), ("b", &[]), ("of-a", &["a"]), ("of-b", &["b"])]);
    take(&mut shards);
    complete(&mut shards, "a").unwrap();
    take(&mut shards);

    assert_eq!(shards.taken(Some(0)), [2]);
    assert_eq!(shards.taken(None), [1, 2]);
}
