//! The contract of [`ObjectStore`].
#![expect(clippy::unwrap_used, reason = "a clause fails by panicking, as a test does")]

pub mod pages;
pub mod uploads;

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;

use crate::domain::encryption::Encryption;
use crate::ports::failure::{Failure, FailureKind};
use crate::ports::objects::{ObjectStore, PutMode, Version};

/// Writers in a race.
const RACERS: usize = 16;

/// How far the clocks that stamp puts and reads may be apart.
const CLOCK_SLACK: Duration = Duration::from_secs(2);

/// Holds an adapter to all clauses; `fresh` makes one with nothing in it.
pub async fn objects<T: ObjectStore>(fresh: impl AsyncFn() -> T) {
    nothing_is_found_where_nothing_was_put(&fresh().await).await;
    what_was_put_is_read_back(&fresh().await).await;
    create_does_not_replace(&fresh().await).await;
    replace_if_wants_the_version_that_is_there(&fresh().await).await;
    overwrite_always_succeeds(&fresh().await).await;
    another_content_is_another_version(&fresh().await).await;
    one_of_many_creates_wins(&fresh().await).await;
    one_of_many_replacements_wins(&fresh().await).await;
    delete_may_be_repeated(&fresh().await).await;
    folders_are_those_right_below(&fresh().await).await;
    all_objects_below_a_prefix_are_listed(&fresh().await).await;
    keys_with_unusual_characters_are_kept_apart(&fresh().await).await;
    big_bodies_arrive_whole(&fresh().await).await;
    an_object_is_read_after_it_was_put(&fresh().await).await;
    urls_end_in_the_key(&fresh().await).await;
    a_store_encrypts_or_says_that_it_cannot(&fresh().await).await;
    uploads::all(&fresh).await;
    pages::all(&fresh).await;
}

/// The encrypting store has the same objects; one that cannot encrypt says so before anything is put.
pub async fn a_store_encrypts_or_says_that_it_cannot(store: &dyn ObjectStore) {
    match store.encrypting(&Encryption::Aes256) {
        Err(refused) => assert_eq!(refused.kind, FailureKind::Invalid, "{refused}"),
        Ok(encrypting) => {
            let version = put(&*encrypting, "secret", PutMode::Create).await.unwrap();
            assert_holds(store, "secret", &version).await;
            assert_eq!(encrypting.url("a"), store.url("a"), "it is the same store");
        }
    }
}

/// An object that nobody put is not there, and its folder is empty.
pub async fn nothing_is_found_where_nothing_was_put(store: &dyn ObjectStore) {
    assert!(store.get("a/b").await.unwrap().is_none(), "an object is there that nobody put");
    assert_eq!(store.folders("a/").await.unwrap(), Vec::<String>::new(), "a folder that is not there has folders");
    assert_eq!(store.folders("").await.unwrap(), Vec::<String>::new(), "an empty store has folders");
}

/// A read returns the body, byte for byte, and the version that the put returned.
pub async fn what_was_put_is_read_back(store: &dyn ObjectStore) {
    for (key, body) in [("plain", &b"text"[..]), ("deep/er/key.json", &[0, 255, 10, 13]), ("empty", &[])] {
        let version = store.put(key, Bytes::copy_from_slice(body), PutMode::Create).await.unwrap();

        let object = store.get(key).await.unwrap().expect("what was put is there");
        assert_eq!(&object.body[..], body, "the body of {key}");
        assert_eq!(object.version, version, "the version of {key}");
    }
}

/// `Create` succeeds once; after that it is a conflict and changes nothing.
pub async fn create_does_not_replace(store: &dyn ObjectStore) {
    let version = put(store, "first", PutMode::Create).await.unwrap();

    assert_conflict(&put(store, "second", PutMode::Create).await);
    assert_holds(store, "first", &version).await;

    store.delete(KEY).await.unwrap();
    put(store, "third", PutMode::Create).await.expect("what was deleted can be created again");
}

/// `ReplaceIf` succeeds only with the version that is there.
pub async fn replace_if_wants_the_version_that_is_there(store: &dyn ObjectStore) {
    let first = put(store, "first", PutMode::Create).await.unwrap();
    let second = put(store, "second", PutMode::ReplaceIf(first.clone())).await.unwrap();

    assert_conflict(&put(store, "late", PutMode::ReplaceIf(first)).await);
    assert_holds(store, "second", &second).await;

    store.delete(KEY).await.unwrap();
    assert_conflict(&put(store, "too late", PutMode::ReplaceIf(second)).await);
    assert!(store.get(KEY).await.unwrap().is_none(), "a refused replacement leaves nothing behind");
}

/// `Overwrite` puts whether or not something is there.
pub async fn overwrite_always_succeeds(store: &dyn ObjectStore) {
    put(store, "first", PutMode::Overwrite).await.unwrap();
    let version = put(store, "second", PutMode::Overwrite).await.unwrap();

    assert_holds(store, "second", &version).await;
}

/// Equal versions mean equal content.
pub async fn another_content_is_another_version(store: &dyn ObjectStore) {
    let one = put(store, "one", PutMode::Overwrite).await.unwrap();
    let two = put(store, "two", PutMode::Overwrite).await.unwrap();

    assert_ne!(one, two, "the version must change with the content");
}

/// Of many that create the same object at once exactly one succeeds, and its body is the one that stays.
pub async fn one_of_many_creates_wins(store: &dyn ObjectStore) {
    one_of_many_wins(store, &PutMode::Create).await;
}

/// Of many that replace the same version at once exactly one succeeds, and its body is the one that stays.
pub async fn one_of_many_replacements_wins(store: &dyn ObjectStore) {
    let version = put(store, "before", PutMode::Create).await.unwrap();

    one_of_many_wins(store, &PutMode::ReplaceIf(version)).await;
}

/// Deleting twice, and deleting what never was, succeeds.
pub async fn delete_may_be_repeated(store: &dyn ObjectStore) {
    put(store, "body", PutMode::Create).await.unwrap();

    store.delete(KEY).await.unwrap();
    store.delete(KEY).await.unwrap();
    store.delete("never/was").await.unwrap();

    assert!(store.get(KEY).await.unwrap().is_none(), "what was deleted is gone");
}

/// Only the folders right below the prefix, each once, sorted; objects are none, and empty folders do not exist.
pub async fn folders_are_those_right_below(store: &dyn ObjectStore) {
    for key in ["jobs/b/manifest", "jobs/b/parts/1", "jobs/a/manifest", "jobs/c/x/y", "jobs/file", "jobsite/d/e"] {
        store.put(key, Bytes::from_static(b"."), PutMode::Create).await.unwrap();
    }

    assert_eq!(store.folders("jobs/").await.unwrap(), ["a", "b", "c"]);
    assert_eq!(store.folders("jobs/c/").await.unwrap(), ["x"]);
    assert_eq!(store.folders("jobs/a/").await.unwrap(), Vec::<String>::new());
    assert_eq!(store.folders("").await.unwrap(), ["jobs", "jobsite"]);

    store.delete("jobs/a/manifest").await.unwrap();
    assert_eq!(store.folders("jobs/").await.unwrap(), ["b", "c"], "a folder goes with its last object");
}

/// Every object below the prefix, however deep, sorted, with the time at which it was put; and nothing else.
pub async fn all_objects_below_a_prefix_are_listed(store: &dyn ObjectStore) {
    let keys = async |prefix: &str| -> Vec<String> {
        store.list(prefix).await.unwrap().objects.into_iter().map(|object| object.key).collect()
    };
    assert_eq!(keys("jobs/").await, Vec::<String>::new(), "an empty store has objects");
    for key in ["jobs/b/workers/2/4-0", "jobs/b/workers/10/3-5 x", "jobs/b/manifest", "jobs/bb/workers/1/1-1", "b/c"] {
        store.put(key, Bytes::new(), PutMode::Create).await.unwrap();
    }

    assert_eq!(keys("jobs/b/workers/").await, ["jobs/b/workers/10/3-5 x", "jobs/b/workers/2/4-0"]);
    assert_eq!(keys("jobs/").await.len(), 4);
    assert_eq!(keys("").await.len(), 5);
    assert_eq!(keys("jobs/c/").await, Vec::<String>::new());
    store.delete("jobs/b/workers/2/4-0").await.unwrap();
    assert_eq!(keys("jobs/b/workers/").await, ["jobs/b/workers/10/3-5 x"], "what was deleted is listed");

    let listing = store.list("b/").await.unwrap();
    let object = store.get("b/c").await.unwrap().expect("what was put is there");
    let [listed] = &listing.objects[..] else { panic!("{listing:?}") };
    assert_eq!(listed.modified.as_second(), object.modified.as_second(), "the time of the put");
    assert!(
        listed.modified <= listing.read_at + CLOCK_SLACK,
        "listed at {} but put at {}",
        listing.read_at,
        listed.modified
    );
}

/// Keys that a URL or a shell would take for something else address different objects.
pub async fn keys_with_unusual_characters_are_kept_apart(store: &dyn ObjectStore) {
    let keys = ["a b", "a%20b", "a+b", "a#b", "a?b=c", "ä", "a~b", "a=b,c:d"];
    for key in keys {
        store.put(key, Bytes::copy_from_slice(key.as_bytes()), PutMode::Create).await.unwrap();
    }

    for key in keys {
        let object = store.get(key).await.unwrap().expect("what was put is there");
        assert_eq!(&object.body[..], key.as_bytes(), "the object under `{key}`");
    }
}

/// A body of 5 MB comes back whole.
pub async fn big_bodies_arrive_whole(store: &dyn ObjectStore) {
    let body: Bytes = (0..5_000_000u32).map(|n| (n % 251) as u8).collect::<Vec<u8>>().into();

    store.put(KEY, body.clone(), PutMode::Create).await.unwrap();

    let object = store.get(KEY).await.unwrap().expect("what was put is there");
    assert!(object.body == body, "the body changed on its way");
}

/// An object is read after it was put, by the store's clock, and that clock does not jump.
pub async fn an_object_is_read_after_it_was_put(store: &dyn ObjectStore) {
    put(store, "body", PutMode::Create).await.unwrap();

    let first = store.get(KEY).await.unwrap().expect("what was put is there");
    let again = store.get(KEY).await.unwrap().expect("what was put is there");

    assert!(first.modified <= first.read_at + CLOCK_SLACK, "read at {} but put at {}", first.read_at, first.modified);
    assert_eq!(first.modified, again.modified, "reading changes no time");
    assert!(first.read_at <= again.read_at + CLOCK_SLACK, "the clock went back");
}

/// The URL names the object.
pub async fn urls_end_in_the_key(store: &dyn ObjectStore) {
    let url = store.url("jobs/1/manifest.json");

    assert!(url.contains("://"), "{url} is no URL");
    assert!(url.ends_with("/jobs/1/manifest.json"), "{url} does not name the object");
}

const KEY: &str = "folder/object";

async fn put(store: &dyn ObjectStore, body: &'static str, mode: PutMode) -> Result<Version, Failure> {
    store.put(KEY, Bytes::from_static(body.as_bytes()), mode).await
}

fn assert_conflict(result: &Result<Version, Failure>) {
    assert!(
        matches!(result, Err(Failure { kind: FailureKind::Conflict, .. })),
        "a put whose condition does not hold is a conflict, not {result:?}"
    );
}

async fn assert_holds(store: &dyn ObjectStore, body: &str, version: &Version) {
    let object = store.get(KEY).await.unwrap().expect("the object is there");
    assert_eq!(&object.body[..], body.as_bytes(), "a refused put changed the body");
    assert_eq!(object.version, *version, "a refused put changed the version");
}

async fn one_of_many_wins(store: &dyn ObjectStore, mode: &PutMode) {
    let puts = (0..RACERS).map(|racer| store.put(KEY, format!("racer {racer}").into(), mode.clone()));
    let results = join_all(puts).await;

    let (wins, losses): (Vec<_>, Vec<_>) = results.iter().enumerate().partition(|(_, result)| result.is_ok());
    losses.iter().for_each(|(_, result)| assert_conflict(result));
    let [(winner, Ok(version))] = wins[..] else { panic!("{} of {RACERS} won", wins.len()) };
    assert_holds(store, &format!("racer {winner}"), version).await;
}
