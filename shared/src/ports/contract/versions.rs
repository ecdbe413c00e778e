//! The contract of an [`ObjectStore`] that keeps versions.
#![expect(clippy::unwrap_used, reason = "a clause fails by panicking, as a test does")]

use bytes::Bytes;

use crate::ports::objects::{Kept, KeptKind, KeptPage, More, NO_VERSION, ObjectStore, PutMode};

/// Holds an adapter to all clauses; `fresh` makes one with nothing in it, which keeps versions.
pub async fn versions<T: ObjectStore>(fresh: impl AsyncFn() -> T) {
    versions_come_newest_first_and_deletions_show(&fresh().await).await;
    old_content_is_read_back(&fresh().await).await;
    a_key_stands_for_all_its_versions(&fresh().await).await;
    many_versions_of_a_key_go_on_from_page_to_page(&fresh().await).await;
}

/// Every put and every deletion is there, by keys, and those of a key from the newest to the oldest.
pub async fn versions_come_newest_first_and_deletions_show(store: &dyn ObjectStore) {
    assert!(store.keeps_versions().await.unwrap());
    assert_eq!(all(store, "", None).await, []);
    for key in ["f/b", "f/a", "e", "f/b-c/d"] {
        put(store, key, "1").await;
        store.delete(key).await.unwrap();
        put(store, key, "2").await;
        put(store, key, "3").await;
        store.delete(key).await.unwrap();
    }
    put(store, "f/a", "4").await;

    let kept = all(store, "f/", None).await;

    let found: Vec<(&str, KeptKind)> = kept.iter().map(|kept| (kept.key.as_str(), kept.what)).collect();
    let kinds = [KeptKind::Deletion, KeptKind::Content, KeptKind::Content, KeptKind::Deletion, KeptKind::Content];
    let of = |key: &'static str| kinds.map(|kind| (key, kind));
    let expected = [vec![("f/a", KeptKind::Content)], of("f/a").into(), of("f/b").into(), of("f/b-c/d").into()];
    assert_eq!(found, expected.concat());
    assert_eq!(all(store, "", None).await.len(), kept.len() + 5, "from the root on");
    assert!(kept.windows(2).all(|two| two[0].key != two[1].key || two[0].modified >= two[1].modified), "{kept:?}");
    let listed: Vec<String> = store.list("").await.unwrap().objects.into_iter().map(|listed| listed.key).collect();
    assert_eq!(listed, ["f/a"], "the list has what is there");
}

/// Each version is read by its id, with its time; a deletion has nothing to read.
pub async fn old_content_is_read_back(store: &dyn ObjectStore) {
    put(store, "a", "1").await;
    put(store, "a", "2").await;
    store.delete("a").await.unwrap();
    let mut upload = store.upload("a").await.unwrap();
    upload.write(Bytes::from_static(b"3")).await.unwrap();
    upload.complete().await.unwrap();

    let mut bodies = Vec::new();
    let kept = all(store, "", None).await;
    for kept in &kept {
        assert_ne!(kept.id, NO_VERSION);
        let object = store.get_version(&kept.key, &kept.id).await.unwrap();
        if let Some(object) = &object {
            assert_eq!(object.modified.as_second(), kept.modified.as_second());
        }
        assert_eq!(object.is_some(), kept.what == KeptKind::Content, "{kept:?}");
        bodies.push(object.map(|object| String::from_utf8(object.body.to_vec()).unwrap()));
    }

    assert_eq!(bodies, [Some("3".to_owned()), None, Some("2".to_owned()), Some("1".to_owned())]);
    assert_eq!(&store.get("a").await.unwrap().expect("it was put").body[..], b"3", "without an id it is the newest");
    assert!(store.get_version("b", &kept[0].id).await.unwrap().is_none(), "a version belongs to its key");
}

/// Behind a key, no version of it comes, whether or not it exists.
pub async fn a_key_stands_for_all_its_versions(store: &dyn ObjectStore) {
    for key in ["f/a", "f/a/b", "f/b", "f/c"] {
        for body in ["1", "2", "3"] {
            put(store, key, body).await;
        }
    }

    let everything = all(store, "f/", None).await;
    for after in ["f/", "f/0", "f/a", "f/a/", "f/a/b", "f/aa", "f/b", "f/bb", "f/c", "f/d"] {
        let behind: Vec<&Kept> = everything.iter().filter(|kept| kept.key.as_str() > after).collect();
        assert_eq!(all(store, "f/", Some(after)).await.iter().collect::<Vec<_>>(), behind, "behind `{after}`");
    }
}

/// A page may end within a key, and the next one goes on there.
pub async fn many_versions_of_a_key_go_on_from_page_to_page(store: &dyn ObjectStore) {
    for n in 0..25 {
        put(store, "f/a", &n.to_string()).await;
        put(store, "f/b", &n.to_string()).await;
    }

    let kept = all(store, "f/", None).await;

    let mut bodies = Vec::new();
    for kept in &kept {
        let object = store.get_version(&kept.key, &kept.id).await.unwrap().expect("what is listed is there");
        bodies.push((kept.key.clone(), String::from_utf8(object.body.to_vec()).unwrap()));
    }
    let expected = |key: &'static str| (0..25).rev().map(move |n: u32| (key.to_owned(), n.to_string()));
    assert_eq!(bodies, expected("f/a").chain(expected("f/b")).collect::<Vec<_>>());
}

async fn put(store: &dyn ObjectStore, key: &str, body: &str) {
    store.put(key, Bytes::copy_from_slice(body.as_bytes()), PutMode::Overwrite).await.unwrap();
}

async fn all(store: &dyn ObjectStore, prefix: &str, after: Option<&str>) -> Vec<Kept> {
    let mut found = Vec::new();
    let mut after = after.map(str::to_owned);
    loop {
        let KeptPage { versions, more } = store.list_versions(prefix, after.as_deref()).await.unwrap();
        found.extend(versions);
        match more {
            More::No => return found,
            More::After(place) => after = Some(place),
        }
    }
}
