use serde_json::{Value as Json, json};
use shared::domain::item_object::Naming;
use shared::domain::key::{KeyAttribute, KeyType};
use shared::local::memory::MemoryStore;
use shared::local::table::MemoryTable;

use super::*;

/// The sort key's name sorts before that of the partition key.
fn schema() -> KeySchema {
    let attribute = |name: &str, kind| KeyAttribute { name: name.to_owned(), kind };
    KeySchema { partition: attribute("id", KeyType::S), sort: Some(attribute("at", KeyType::N)) }
}

fn item(at: &str, x: &str) -> Item {
    let json = json!({"id": {"S": "a"}, "at": {"N": at}, "x": {"S": x}});
    item_from_json(&json).unwrap()
}

fn key(text: &str) -> Key {
    Key::parse(&schema(), text).unwrap()
}

fn folder(store: &Arc<MemoryStore>) -> ItemFolder {
    ItemFolder::new(Arc::clone(store) as Arc<dyn ObjectStore>, "orders", schema())
}

fn path(naming: Naming, at: &str) -> String {
    let key = Key::of(&schema(), &item(at, "")).unwrap();
    format!("orders/{}", naming.name(&schema(), &key))
}

fn body(item: &Item) -> String {
    item_to_json(item).to_string()
}

#[tokio::test(start_paused = true)]
async fn an_item_has_one_object_under_dynamends_own_name() {
    let store = Arc::new(MemoryStore::new("bucket"));
    let table = MemoryTable::new(schema());
    table.put(item("1.5", "new")).unwrap();
    for naming in [Naming::Md5Sorted, Naming::Sha256Sorted] {
        store.write(&path(naming, "1.5"), body(&item("1.5", "old")));
    }

    let done = folder(&store).back_up(&table, &key(r#"{"id":"a","at":1.50}"#)).await.unwrap();

    let own = path(Naming::Sha256, "1.5");
    assert_eq!(done.what, What::Put { url: format!("s3://bucket/{own}") });
    assert_eq!(done.removed.len(), 2);
    assert_eq!(store.keys(), std::slice::from_ref(&own));
    let kept: Json = serde_json::from_slice(&store.read(&own).unwrap()).unwrap();
    assert_eq!(kept, item_to_json(&item("1.5", "new")));
}

#[tokio::test(start_paused = true)]
async fn the_object_goes_with_the_item() {
    let store = Arc::new(MemoryStore::new("bucket"));
    let table = MemoryTable::new(schema());
    store.write(&path(Naming::Sha256, "100"), body(&item("100", "old")));
    store.write(&path(Naming::Md5, "100"), body(&item("100", "older")));
    store.write(&path(Naming::Sha256, "7"), body(&item("7", "another")));
    let typed = key(r#"{"id":"a","at":{"N":"1E2"}}"#);

    let done = folder(&store).back_up(&table, &typed).await.unwrap();

    assert_eq!((done.what, done.removed.len()), (What::Deleted, 2));
    assert_eq!(store.keys(), [path(Naming::Sha256, "7")]);
    assert_eq!(folder(&store).back_up(&table, &typed).await.unwrap().what, What::Absent);
}

#[tokio::test(start_paused = true)]
async fn the_newest_of_several_objects_is_what_the_backup_has() {
    let store = Arc::new(MemoryStore::new("bucket"));
    let folder = folder(&store);
    let typed = key(r#"{"id":"a","at":"1.50"}"#);
    assert!(folder.find(&typed).await.unwrap().is_none());
    store.write(&path(Naming::Sha256, "1.5"), body(&item("1.5", "older")));
    store.put_clock_forward(std::time::Duration::from_secs(1));
    store.write(&path(Naming::Md5Sorted, "1.5"), body(&item("1.5", "newer")));

    let found = folder.find(&typed).await.unwrap().unwrap();

    assert_eq!(found.item, item("1.5", "newer"));
    assert_eq!(found.older, [format!("s3://bucket/{}", path(Naming::Sha256, "1.5"))]);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_holds_something_else_is_named() {
    let store = Arc::new(MemoryStore::new("bucket"));
    let path = path(Naming::Sha256, "1");
    for (content, what) in [
        (String::new(), "it is no JSON"),
        ("{\"id\": 5}".to_owned(), "it is no DynamoDB JSON"),
        (body(&item("2", "other")), "its key is"),
        ("{\"id\": {\"S\": \"a\"}}".to_owned(), "`at` is missing"),
    ] {
        store.write(&path, content);

        let error = folder(&store).find(&key(r#"{"id":"a","at":1}"#)).await.unwrap_err().to_string();

        assert!(error.contains(&path) && error.contains(what), "{error}");
    }
}
