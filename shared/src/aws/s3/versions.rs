//! The versions that a bucket keeps.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::BucketVersioningStatus;

use super::clock::timestamp;
use super::{MAX_KEYS, S3Store};
use crate::ports::failure::Failure;
use crate::ports::objects::{Kept, KeptKind, KeptPage, More};

const LIST: &str = "ListObjectVersions";

/// Between a key and a version's id in a place; no key of a store has it, and XML cannot even write it.
const PLACE: char = '\0';

impl S3Store {
    pub(super) async fn page_of_versions(&self, prefix: &str, after: Option<&str>) -> Result<KeptPage, Failure> {
        let order = Order::default();
        let request = self.client.list_object_versions().bucket(&self.bucket).prefix(self.object_key(prefix));
        let request = request.set_max_keys(Some(self.page.min(MAX_KEYS)));
        let place = after.map(|after| after.rsplit_once(PLACE).ok_or(after));
        let request = match place {
            None => request,
            Some(Ok((key, id))) => request.key_marker(self.object_key(key)).version_id_marker(id),
            Some(Err(key)) => request.key_marker(self.object_key(key)),
        };
        let answer = request.customize().interceptor(order.clone()).send().await;
        let page = answer.map_err(|error| self.failed(LIST, prefix, &error))?;

        let contents = page.versions().iter();
        let contents =
            contents.map(|it| self.kept(prefix, KeptKind::Content, it.key(), it.version_id(), it.last_modified()));
        let deletions = page.delete_markers().iter();
        let deletions =
            deletions.map(|it| self.kept(prefix, KeptKind::Deletion, it.key(), it.version_id(), it.last_modified()));
        let versions = in_order(&order.kinds(), contents, deletions)
            .ok_or_else(|| self.unreadable(LIST, prefix, "the answer does not show in which order its versions are"))?;
        let more = match (page.is_truncated, &page.next_key_marker, &page.next_version_id_marker) {
            (Some(true), Some(key), id) => {
                let key = key.strip_prefix(&self.prefix).unwrap_or(key);
                More::After(id.as_ref().map_or_else(|| key.to_owned(), |id| format!("{key}{PLACE}{id}")))
            }
            (Some(true), None, _) => return Err(self.unreadable(LIST, prefix, "the answer goes on behind nothing")),
            (Some(false) | None, ..) => More::No,
        };
        let mut versions = versions.into_iter().collect::<Result<Vec<Kept>, _>>()?;
        match place {
            // S3's words leave open whether the versions of the marker itself come first.
            Some(Err(key)) => versions.retain(|kept| kept.key != key),
            // An emulator lists the marker again where it is the only version of its key.
            Some(Ok((key, id))) => versions.retain(|kept| kept.key != key || kept.id != id),
            None => {}
        }
        Ok(KeptPage { versions, more })
    }

    fn kept(
        &self,
        prefix: &str,
        what: KeptKind,
        key: Option<&str>,
        id: Option<&str>,
        modified: Option<&DateTime>,
    ) -> Result<Kept, Failure> {
        let key = key.and_then(|key| key.strip_prefix(&self.prefix));
        let (Some(key), Some(id), Some(modified)) = (key, id, modified.and_then(timestamp)) else {
            return Err(self.unreadable(LIST, prefix, "the answer lists a version without a key, an id or a time"));
        };
        Ok(Kept { key: key.to_owned(), id: id.to_owned(), modified, what })
    }

    /// A bucket that keeps no new versions still has those from before.
    pub(super) async fn is_versioned(&self) -> Result<bool, Failure> {
        let answer = self.client.get_bucket_versioning().bucket(&self.bucket).send().await;
        let answer = answer.map_err(|error| self.failed("GetBucketVersioning", "", &error))?;
        Ok(matches!(answer.status, Some(BucketVersioningStatus::Enabled | BucketVersioningStatus::Suspended)))
    }
}

/// Puts contents and deletions, each in the order of the answer, together as the answer had them.
fn in_order<T>(
    kinds: &[KeptKind],
    mut contents: impl Iterator<Item = T>,
    mut deletions: impl Iterator<Item = T>,
) -> Option<Vec<T>> {
    let next = |kind: &KeptKind| match kind {
        KeptKind::Content => contents.next(),
        KeptKind::Deletion => deletions.next(),
    };
    let together = kinds.iter().map(next).collect::<Option<Vec<T>>>()?;
    (contents.next().is_none() && deletions.next().is_none()).then_some(together)
}

/// Reads off an answer in which order contents and deletions are in it.
///
/// S3 writes both into one list, newest first. The SDK makes two of it, and times are whole seconds, so that they do
/// not tell whether an object was deleted before it was put or after.
#[derive(Clone, Debug, Default)]
struct Order {
    kinds: Arc<Mutex<Vec<KeptKind>>>,
}

impl Order {
    fn kinds(&self) -> Vec<KeptKind> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Intercept for Order {
    fn name(&self) -> &'static str {
        "Order"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = String::from_utf8_lossy(context.response().body().bytes().unwrap_or_default());
        // In texts there is no `<`.
        let kinds = body.split('<').filter_map(|element| match element.split(['>', ' ']).next() {
            Some("Version") => Some(KeptKind::Content),
            Some("DeleteMarker") => Some(KeptKind::Deletion),
            _ => None,
        });
        *self.kinds.lock().unwrap_or_else(PoisonError::into_inner) = kinds.collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::canned::{Answer, Canned};
    use crate::ports::failure::FailureKind;
    use crate::ports::objects::ObjectStore as _;

    fn version(element: &str, key: &str, id: &str) -> String {
        let time = "<LastModified>2015-10-21T07:28:00.000Z</LastModified>";
        format!("<{element}><Key>jobs/{key}</Key><VersionId>{id}</VersionId>{time}</{element}>")
    }

    fn page(versions: &[String], rest: &str) -> Answer {
        let versions = versions.concat();
        Answer::new(200, format!("<ListVersionsResult>{rest}{versions}</ListVersionsResult>"))
    }

    fn refused(status: u16, code: &str) -> Answer {
        Answer::new(status, format!("<Error><Code>{code}</Code><Message>No.</Message></Error>"))
    }

    #[tokio::test]
    async fn versions_of_one_second_keep_the_order_of_the_answer() {
        let (content, deletion) = ("Version", "DeleteMarker");
        let shown = [(deletion, "a", "5"), (content, "a", "4"), (deletion, "a", "3"), (content, "b", "null")];
        let answer = page(&shown.map(|(element, key, id)| version(element, key, id)), "");
        let store = S3Store::new(Canned::new([answer]).s3(), "bucket", "jobs");

        let page = store.page_of_versions("", None).await.unwrap();

        let kinds = [KeptKind::Deletion, KeptKind::Content, KeptKind::Deletion, KeptKind::Content];
        let seen: Vec<_> = page.versions.iter().map(|kept| (kept.what, kept.key.as_str(), kept.id.as_str())).collect();
        let expected: Vec<_> = kinds.into_iter().zip(shown).map(|(kind, (_, key, id))| (kind, key, id)).collect();
        assert_eq!(seen, expected);
        assert_eq!(page.more, More::No);
    }

    #[tokio::test]
    async fn a_page_goes_on_within_the_versions_of_a_key() {
        let rest = "<IsTruncated>true</IsTruncated><NextKeyMarker>jobs/a</NextKeyMarker>\
            <NextVersionIdMarker>4</NextVersionIdMarker>";
        let connection = Canned::new([page(&[version("Version", "a", "4")], rest), page(&[], "")]);
        let store = S3Store::new(connection.s3(), "bucket", "jobs");

        let first = store.page_of_versions("", Some("0")).await.unwrap();
        let More::After(place) = &first.more else { panic!("{first:?}") };
        assert_eq!(store.page_of_versions("", Some(place)).await.unwrap().more, More::No);

        let uris = connection.sent_uris();
        assert!(uris[0].contains("key-marker=jobs%2F0") && !uris[0].contains("version-id-marker"), "{}", uris[0]);
        assert!(uris[1].contains("key-marker=jobs%2Fa") && uris[1].contains("version-id-marker=4"), "{}", uris[1]);
    }

    #[tokio::test]
    async fn a_deletion_and_a_removed_version_are_nothing_to_read() {
        let answers = [refused(405, "MethodNotAllowed"), refused(404, "NoSuchVersion"), refused(403, "AccessDenied")];
        let store = S3Store::new(Canned::new(answers).s3(), "bucket", "jobs");

        assert!(store.get_version("a", "5").await.unwrap().is_none());
        assert!(store.get_version("a", "4").await.unwrap().is_none());
        assert_eq!(store.get_version("a", "3").await.unwrap_err().kind, FailureKind::Denied);
    }

    #[tokio::test]
    async fn versions_from_before_count_where_new_ones_are_not_kept() {
        let answer = |status| Answer::new(200, format!("<VersioningConfiguration>{status}</VersioningConfiguration>"));
        for (status, keeps) in [("", false), ("<Status>Enabled</Status>", true), ("<Status>Suspended</Status>", true)] {
            let store = S3Store::new(Canned::new([answer(status)]).s3(), "bucket", "jobs");

            assert_eq!(store.keeps_versions().await.unwrap(), keeps, "{status}");
        }
    }
}
