//! What is promised of uploads and slices.

use bytes::Bytes;
use futures::future::try_join;

use crate::ports::failure::FailureKind;
use crate::ports::objects::{ObjectStore, PutMode};

const KEY: &str = "folder/object";

/// More than the parts of any store hold, and no multiple of them.
const BIG: usize = 9_000_001;

pub(super) async fn all<T: ObjectStore>(fresh: &impl AsyncFn() -> T) {
    an_upload_arrives_whole_and_shows_only_when_complete(&fresh().await).await;
    what_is_not_completed_leaves_no_object(&fresh().await).await;
    of_two_uploads_the_later_wins_whole(&fresh().await).await;
    slices_together_are_the_object(&fresh().await).await;
    a_slice_of_other_content_is_a_conflict(&fresh().await).await;
}

/// Whatever its size and the sizes of its pieces, an object is put whole, in place of what was there.
pub async fn an_upload_arrives_whole_and_shows_only_when_complete(store: &dyn ObjectStore) {
    for (size, piece) in [(0, 1), (1, 1), (1000, 7), (BIG, 3_000_000)] {
        let body = bytes(size, 251);
        let before = store.get(KEY).await.unwrap().map(|object| object.version);
        let mut upload = store.upload(KEY).await.unwrap();
        for start in (0..size).step_by(piece) {
            upload.write(body.slice(start..size.min(start + piece))).await.unwrap();
        }
        let meanwhile = store.get(KEY).await.unwrap().map(|object| object.version);
        assert_eq!(meanwhile, before, "{size} bytes show before they are complete");

        let version = upload.complete().await.unwrap();

        let object = store.get(KEY).await.unwrap().expect("what is complete is there");
        assert!(object.body == body, "{size} bytes changed on their way: {} arrived", object.body.len());
        assert_eq!(object.version, version, "the version of {size} bytes");
    }
}

/// Dropped or aborted, an upload leaves what was there, and nothing where nothing was.
pub async fn what_is_not_completed_leaves_no_object(store: &dyn ObjectStore) {
    let first = store.put("there", Bytes::from_static(b"first"), PutMode::Create).await.unwrap();
    for key in ["folder/dropped", "folder/aborted", "there"] {
        for size in [0, 1, BIG] {
            let mut upload = store.upload(key).await.unwrap();
            upload.write(bytes(size, 7)).await.unwrap();
            if key == "folder/dropped" { drop(upload) } else { upload.abort().await.unwrap() }
        }
    }

    let keys: Vec<String> = store.list("").await.unwrap().objects.into_iter().map(|listed| listed.key).collect();
    assert_eq!(keys, ["there"]);
    assert_eq!(store.folders("").await.unwrap(), Vec::<String>::new(), "a folder without objects");
    assert_eq!(store.get("there").await.unwrap().expect("it was put").version, first);
}

/// Uploads of one key at once do not mix: each is whole when it is complete, and the later one stays.
pub async fn of_two_uploads_the_later_wins_whole(store: &dyn ObjectStore) {
    for size in [10, BIG] {
        let (one, two) = (bytes(size, 3), bytes(size - 1, 5));
        let (mut first, mut second) = try_join(store.upload(KEY), store.upload(KEY)).await.unwrap();
        for start in (0..size).step_by(size / 3) {
            let piece = |body: &Bytes| body.slice(start..body.len().min(start + size / 3));
            try_join(first.write(piece(&one)), second.write(piece(&two))).await.unwrap();
        }

        for (upload, body) in [(second, two), (first, one)] {
            let version = upload.complete().await.unwrap();
            let object = store.get(KEY).await.unwrap().expect("it is complete");
            assert!(object.body == body && object.version == version, "two uploads of {size} bytes are mixed");
        }
    }
}

/// Slices of any size, put together, are the object; behind its end there is nothing, of a known size.
pub async fn slices_together_are_the_object(store: &dyn ObjectStore) {
    assert!(store.slice(KEY, 0, 1, None).await.unwrap().is_none(), "a slice of what is not there");
    for (size, most) in [(0, 10), (1, 1), (1000, 333), (1000, 1000), (1000, u64::MAX)] {
        let body = bytes(size, 251);
        store.put(KEY, body.clone(), PutMode::Overwrite).await.unwrap();

        let mut found = Vec::new();
        let mut content = None;
        loop {
            let slice = store.slice(KEY, found.len() as u64, most, content.as_ref()).await.unwrap();
            let slice = slice.expect("the object is there");
            assert_eq!(slice.size, size as u64);
            let left = (size - found.len()) as u64;
            assert_eq!(slice.body.len() as u64, most.min(left), "at {} of {size}", found.len());
            if slice.body.is_empty() {
                break;
            }
            found.extend_from_slice(&slice.body);
            content = Some(slice.content);
        }
        assert!(found == body, "slices of {most} of {size} bytes");

        for (from, most) in [(size as u64, 1), (size as u64 + 1, u64::MAX), (u64::MAX, u64::MAX), (0, 0)] {
            let slice = store.slice(KEY, from, most, None).await.unwrap().expect("the object is there");
            assert_eq!((slice.body.len(), slice.size), (0, size as u64), "{most} bytes from {from} of {size}");
            let again = store.slice(KEY, from, most, Some(&slice.content)).await.unwrap();
            assert!(again.is_some(), "the content is the same");
        }
    }
}

/// Who reads on gets bytes of the same content or none, also behind its end.
pub async fn a_slice_of_other_content_is_a_conflict(store: &dyn ObjectStore) {
    store.put(KEY, bytes(100, 3), PutMode::Overwrite).await.unwrap();
    let first = store.slice(KEY, 0, 10, None).await.unwrap().expect("it was put").content;
    store.put(KEY, bytes(100, 5), PutMode::Overwrite).await.unwrap();

    for from in [0, 10, 100, 1000] {
        let refused = store.slice(KEY, from, 10, Some(&first)).await.unwrap_err();
        assert_eq!(refused.kind, FailureKind::Conflict, "from {from}: {refused}");
    }
    let second = store.slice(KEY, 10, 10, None).await.unwrap().expect("it was put");
    assert_eq!(&second.body[..], &bytes(100, 5)[10..20]);
    store.delete(KEY).await.unwrap();
    assert!(store.slice(KEY, 10, 10, Some(&second.content)).await.unwrap().is_none(), "what is deleted is not there");
}

fn bytes(length: usize, period: usize) -> Bytes {
    (0..length).map(|n| (n % period) as u8).collect::<Vec<u8>>().into()
}
