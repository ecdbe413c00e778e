//! Listings of a bucket's objects.
//!
//! A bucket lists its keys in the order of their bytes, and goes on behind any key.

use aws_sdk_s3::types;

use super::clock::{StoreClock, timestamp};
use super::{MAX_KEYS, S3Store};
use crate::ports::failure::{Failure, FailureKind};
use crate::ports::objects::{ListPage, Listed, Listing, More};

const LIST: &str = "ListObjectsV2";

impl S3Store {
    pub(super) async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let full = self.object_key(prefix);
        let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(&full).delimiter("/");
        let mut pages = request.into_paginator().send();
        let mut folders = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.failed(LIST, prefix, &error))?;
            let found = page.common_prefixes().iter().filter_map(|found| found.prefix());
            let names = found.filter_map(|found| found.strip_prefix(&full)).map(|name| name.trim_end_matches('/'));
            folders.extend(names.filter(|name| !name.is_empty()).map(str::to_owned));
        }
        folders.sort_unstable();
        Ok(folders)
    }

    pub(super) async fn list_all(&self, prefix: &str) -> Result<Listing, Failure> {
        let full = self.object_key(prefix);
        let (mut objects, mut after) = (Vec::new(), None);
        loop {
            let clock = StoreClock::default();
            let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(&full);
            let request = request.set_continuation_token(after).customize().interceptor(clock.clone());
            let page = request.send().await.map_err(|error| self.failed(LIST, prefix, &error))?;
            for object in page.contents() {
                objects.push(self.listed(prefix, object)?);
            }
            after = page.next_continuation_token.filter(|_| page.is_truncated == Some(true));
            if after.is_none() {
                let unread = || self.unreadable(LIST, prefix, "the answer has no readable Date header");
                let read_at = clock.time().ok_or_else(unread)?;
                objects.sort_unstable_by(|one, other| one.key.cmp(&other.key));
                return Ok(Listing { objects, read_at });
            }
        }
    }

    pub(super) async fn page_of_objects(&self, prefix: &str, after: Option<&str>) -> Result<ListPage, Failure> {
        let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(self.object_key(prefix));
        let request = request.set_start_after(after.map(|after| self.object_key(after)));
        let request = request.set_max_keys(Some(self.page.min(MAX_KEYS)));
        let page = request.send().await.map_err(|error| self.failed(LIST, prefix, &error))?;
        let objects =
            page.contents().iter().map(|object| self.listed(prefix, object)).collect::<Result<Vec<_>, _>>()?;
        let more = match (page.is_truncated, objects.last()) {
            (Some(true), Some(last)) => More::After(last.key.clone()),
            (Some(true), None) => return Err(self.unreadable(LIST, prefix, "the answer goes on behind nothing")),
            (Some(false) | None, _) => More::No,
        };
        Ok(ListPage { objects, more })
    }

    fn listed(&self, prefix: &str, object: &types::Object) -> Result<Listed, Failure> {
        let key = object.key().and_then(|key| key.strip_prefix(&self.prefix));
        let modified = object.last_modified().and_then(timestamp);
        let (Some(key), Some(modified)) = (key, modified) else {
            return Err(self.unreadable(LIST, prefix, "the answer lists an object without a key or a time"));
        };
        Ok(Listed { key: key.to_owned(), modified })
    }

    pub(super) fn unreadable(&self, operation: &'static str, key: &str, message: &str) -> Failure {
        self.failure(operation, key, FailureKind::Unavailable, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::canned::{Answer, Canned};

    fn page(keys: &[&str], is_truncated: bool) -> Answer {
        let time = "<LastModified>2015-10-21T07:28:00.000Z</LastModified>";
        let contents = keys.iter().map(|key| format!("<Contents><Key>jobs/{key}</Key>{time}</Contents>"));
        let contents: String = contents.collect();
        let truncated = format!("<IsTruncated>{is_truncated}</IsTruncated>");
        Answer::new(200, format!("<ListBucketResult>{truncated}{contents}</ListBucketResult>"))
    }

    #[tokio::test]
    async fn a_page_goes_on_behind_its_last_key() {
        let connection = Canned::new([page(&["a/1", "a/2"], true), page(&["a/3"], false)]);
        let store = S3Store::new(connection.s3(), "bucket", "jobs");

        let first = store.page_of_objects("a/", Some("a/0")).await.unwrap();
        let More::After(place) = &first.more else { panic!("{first:?}") };
        let last = store.page_of_objects("a/", Some(place)).await.unwrap();

        let keys: Vec<&str> = first.objects.iter().chain(&last.objects).map(|listed| listed.key.as_str()).collect();
        assert_eq!(keys, ["a/1", "a/2", "a/3"]);
        assert_eq!(last.more, More::No);
        for (uri, after) in connection.sent_uris().iter().zip(["jobs%2Fa%2F0", "jobs%2Fa%2F2"]) {
            for part in ["max-keys=1000", "prefix=jobs%2Fa%2F", &format!("start-after={after}")] {
                assert!(uri.contains(part), "{uri} lacks {part}");
            }
        }
    }

    #[tokio::test]
    async fn a_page_that_goes_on_behind_nothing_is_no_answer() {
        let store = S3Store::new(Canned::new([page(&[], true)]).s3(), "bucket", "jobs");

        let failure = store.page_of_objects("a/", None).await.unwrap_err();

        assert_eq!(failure.kind, FailureKind::Unavailable, "{failure}");
    }
}
