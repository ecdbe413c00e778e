//! What is promised of pages of a listing.

use bytes::Bytes;

use crate::ports::objects::{KeptKind, ListPage, Listed, More, ObjectStore, PutMode};

/// Keys below `below/`, in the order of their bytes, with a folder among its neighbours.
const FIRST: [&str; 7] = ["a", "b!", "b-c/d", "b.d", "b/c", "b/c-d/e", "b0"];

pub(super) async fn all<T: ObjectStore>(fresh: &impl AsyncFn() -> T) {
    pages_together_are_the_list(&fresh().await).await;
    a_store_without_versions_has_one_of_each_object(&fresh().await).await;
}

/// From the beginning, and from behind any key, the pages have what the list has, each object once, in order.
pub async fn pages_together_are_the_list(store: &dyn ObjectStore) {
    let keys = fill(store).await;

    let listed = store.list("below/").await.unwrap().objects;
    let found = pages(store, "below/", None).await;
    assert_eq!(found, listed);
    assert_eq!(found.into_iter().map(|listed| listed.key).collect::<Vec<_>>(), keys);
    let beside = ["below/", "below/b", "below/b/", "below/b/c-", "below/b/c-d/", "below/b/d", "below/b1", "below/z"];
    for after in beside.into_iter().chain(keys.iter().map(String::as_str)) {
        let behind: Vec<&Listed> = listed.iter().filter(|listed| listed.key.as_str() > after).collect();
        let found = pages(store, "below/", Some(after)).await;
        assert_eq!(found.iter().collect::<Vec<_>>(), behind, "behind `{after}`");
    }
    assert_eq!(pages(store, "below/b/", None).await.len(), 2);
    assert_eq!(pages(store, "nothing/", None).await, []);
    assert_eq!(pages(store, "", None).await.len(), keys.len() + 2, "from the root on");
}

/// Where nothing is kept, the versions are the objects themselves; and what was deleted is not among them.
pub async fn a_store_without_versions_has_one_of_each_object(store: &dyn ObjectStore) {
    if store.keeps_versions().await.unwrap() {
        return;
    }
    let keys = fill(store).await;
    store.put("below/zz", Bytes::new(), PutMode::Create).await.unwrap();
    store.delete("below/zz").await.unwrap();

    let mut found = Vec::new();
    let mut more = More::After("below/a".to_owned());
    while let More::After(place) = &more {
        let page = store.list_versions("below/", Some(place)).await.unwrap();
        found.extend(page.versions);
        more = page.more;
    }

    assert_eq!(found.iter().map(|kept| &kept.key).collect::<Vec<_>>(), keys.iter().skip(1).collect::<Vec<_>>());
    for kept in found {
        assert_eq!(kept.what, KeptKind::Content);
        let object = store.get_version(&kept.key, &kept.id).await.unwrap().expect("what is listed is there");
        assert_eq!(&object.body[..], kept.key.as_bytes());
        assert_eq!(kept.modified.as_second(), object.modified.as_second(), "the time of {}", kept.key);
    }
}

/// Puts objects, each with its key as body, and returns the keys that are below `below/`, in order.
async fn fill(store: &dyn ObjectStore) -> Vec<String> {
    let more = (10..40).map(|n| format!("below/c/{n}"));
    let keys: Vec<String> = FIRST.iter().map(|key| format!("below/{key}")).chain(more).collect();
    for key in keys.iter().rev().map(String::as_str).chain(["belo/w", "below0"]) {
        store.put(key, Bytes::copy_from_slice(key.as_bytes()), PutMode::Create).await.unwrap();
    }
    keys
}

async fn pages(store: &dyn ObjectStore, prefix: &str, after: Option<&str>) -> Vec<Listed> {
    let mut found = Vec::new();
    let mut after = after.map(str::to_owned);
    loop {
        let ListPage { objects, more } = store.list_page(prefix, after.as_deref()).await.unwrap();
        found.extend(objects);
        match more {
            More::No => return found,
            More::After(place) => after = Some(place),
        }
    }
}
