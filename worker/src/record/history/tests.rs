use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::json;
use shared::domain::item_object::Naming;
use shared::domain::json::{item_from_json, item_to_json};
use shared::domain::key::{KeyAttribute, KeySchema, KeyType};
use shared::ports::failure::FailureKind;
use shared::ports::objects::{KeptPage, ListPage, Listing, Object, ObjectStore, PutMode, Version as ObjectVersion};

use super::*;

/// The versions of one object, from the oldest to the newest; no content is a deletion.
type Versions = Vec<(Timestamp, Option<Bytes>)>;

/// A store that keeps versions, a few on each page of a listing.
#[derive(Default)]
struct Versioned {
    versions: Mutex<BTreeMap<String, Versions>>,
    archived: BTreeSet<String>,
}

/// Entries on a page.
const PAGE: usize = 2;

impl Versioned {
    fn add(&self, key: &str, second: i64, body: Option<&str>) {
        let at = Timestamp::from_second(second).unwrap();
        let body = body.map(|body| Bytes::from(body.to_owned()));
        self.versions.lock().unwrap().entry(key.to_owned()).or_default().push((at, body));
    }

    fn all(&self) -> Vec<Kept> {
        let versions = self.versions.lock().unwrap();
        let of_key = |(key, list): (&String, &Versions)| {
            let kept = |(at, (modified, body)): (usize, &(Timestamp, Option<Bytes>))| Kept {
                key: key.clone(),
                id: format!("v{at}"),
                modified: *modified,
                what: if body.is_some() { KeptKind::Content } else { KeptKind::Deletion },
            };
            list.iter().enumerate().rev().map(kept).collect::<Vec<_>>()
        };
        versions.iter().flat_map(of_key).collect()
    }
}

#[async_trait]
impl ObjectStore for Versioned {
    fn url(&self, key: &str) -> String {
        format!("s3://bucket/{key}")
    }

    async fn put(&self, _: &str, _: Bytes, _: PutMode) -> Result<ObjectVersion, Failure> {
        unreachable!("history puts nothing")
    }

    async fn get(&self, _: &str) -> Result<Option<Object>, Failure> {
        unreachable!("history reads versions")
    }

    async fn delete(&self, _: &str) -> Result<(), Failure> {
        unreachable!("history deletes nothing")
    }

    async fn folders(&self, _: &str) -> Result<Vec<String>, Failure> {
        Ok(Vec::new())
    }

    async fn list(&self, _: &str) -> Result<Listing, Failure> {
        unreachable!("history lists versions")
    }

    async fn list_page(&self, _: &str, _: Option<&str>) -> Result<ListPage, Failure> {
        unreachable!("history lists versions")
    }

    async fn list_versions(&self, prefix: &str, after: Option<&str>) -> Result<KeptPage, Failure> {
        let all = self.all().into_iter().filter(|kept| kept.key.starts_with(prefix));
        let after = after.unwrap_or_default();
        let rest: Vec<Kept> = match after.strip_prefix("place ") {
            Some(place) => all.skip(place.parse().unwrap()).collect(),
            None => all.filter(|kept| kept.key.as_str() > after).collect(),
        };
        let total = self.all().len();
        let from = total - rest.len();
        let more = if rest.len() > PAGE { More::After(format!("place {}", from + PAGE)) } else { More::No };
        Ok(KeptPage { versions: rest.into_iter().take(PAGE).collect(), more })
    }

    async fn get_version(&self, key: &str, id: &str) -> Result<Option<Object>, Failure> {
        if self.archived.contains(id) {
            let message = "the object is archived (InvalidObjectState)".to_owned();
            return Err(Failure {
                kind: FailureKind::Denied,
                operation: "GetObject",
                resource: self.url(key),
                message,
            });
        }
        let versions = self.versions.lock().unwrap();
        let (modified, body) = versions[key][id[1..].parse::<usize>().unwrap()].clone();
        let version = ObjectVersion(id.to_owned());
        Ok(body.map(|body| Object { body, version, modified, read_at: modified }))
    }

    async fn keeps_versions(&self) -> Result<bool, Failure> {
        Ok(true)
    }
}

fn schema() -> KeySchema {
    KeySchema { partition: KeyAttribute { name: "id".to_owned(), kind: KeyType::S }, sort: None }
}

fn item(x: &str) -> Item {
    item_from_json(&json!({"id": {"S": "a"}, "x": {"S": x}})).unwrap()
}

fn body(x: &str) -> String {
    item_to_json(&item(x)).to_string()
}

fn path(naming: Naming) -> String {
    format!("orders/{}", naming.name(&schema(), &Key::of(&schema(), &item("")).unwrap()))
}

async fn history(store: Versioned) -> Vec<(i64, Holds, Change)> {
    let folder = ItemFolder::new(Arc::new(store), "orders", schema());
    let mut history = folder.history(&Key::of(&schema(), &item("")).unwrap()).await.unwrap();
    let mut all = Vec::new();
    while let Some(Version { modified, holds, change, .. }) = history.next().await.unwrap() {
        all.push((modified.as_second(), holds, change));
    }
    assert_eq!(all.len(), history.len());
    all
}

fn changed() -> Change {
    Change::Changed(vec!["x".to_owned()])
}

#[tokio::test(start_paused = true)]
async fn versions_come_newest_first_with_what_changed_and_with_deletions() {
    let store = Versioned::default();
    let path = path(Naming::Sha256);
    for (second, version) in [(1, Some("one")), (2, Some("two")), (3, None), (4, None), (5, Some("five"))] {
        store.add(&path, second, version.map(body).as_deref());
    }
    for neighbour in ["0", "g"] {
        store.add(&format!("{}{neighbour}", &path[..path.len() - 1]), 9, Some("{}"));
        store.add(&format!("orders/{neighbour}"), 9, Some("{}"));
    }

    assert_eq!(
        history(store).await,
        [
            (5, Holds::Item(item("five")), Change::Created),
            (4, Holds::Deletion, Change::Nothing),
            (3, Holds::Deletion, Change::Deleted),
            (2, Holds::Item(item("two")), changed()),
            (1, Holds::Item(item("one")), Change::Created),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn an_object_that_got_another_name_was_not_deleted() {
    let store = Versioned::default();
    let (own, old) = (path(Naming::Sha256), path(Naming::Md5));
    store.add(&old, 1, Some(&body("one")));
    store.add(&own, 2, Some(&body("two")));
    // In the same second, as S3 tells the time.
    store.add(&old, 2, None);
    store.add(&own, 3, None);

    assert_eq!(
        history(store).await,
        [
            (3, Holds::Deletion, Change::Deleted),
            (2, Holds::Deletion, Change::Nothing),
            (2, Holds::Item(item("two")), changed()),
            (1, Holds::Item(item("one")), Change::Created),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_shown_as_such() {
    let mut store = Versioned::default();
    let path = path(Naming::Sha256);
    store.add(&path, 1, Some("nonsense"));
    store.add(&path, 2, Some(&body("two")));
    store.add(&path, 3, Some(&body("three")));
    store.archived.insert("v1".to_owned());

    let found = history(store).await;

    assert_eq!(found[0], (3, Holds::Item(item("three")), Change::Unknown));
    assert_eq!(found[1], (2, Holds::Archived, Change::Unknown));
    assert!(
        matches!(&found[2], (1, Holds::Unreadable(what), Change::Created) if what.contains("no JSON")),
        "{found:?}"
    );
}
