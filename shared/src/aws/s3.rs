//! A folder of an S3 bucket as object store: conditional writes by ETag, and the bucket's own clock.

mod clock;
mod listing;
mod parts;
mod slices;
mod upload;
mod versions;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ServerSideEncryption;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use bytes::Bytes;

use self::clock::{StoreClock, timestamp};
use self::upload::S3Upload;
use super::classify;
use crate::domain::encryption::Encryption;
use crate::ports::failure::{Failure, FailureKind};
use crate::ports::objects::{KeptPage, ListPage, Listing, Object, ObjectStore, PutMode, Slice, Version};
use crate::ports::uploads::Upload;

/// Waits between tries of a put that met another one in flight; the service asks to try again (409).
///
/// Source: Amazon S3 User Guide, "Conditional writes", `409 Conflict`.
const CONFLICT_WAITS: [Duration; 4] =
    [Duration::from_millis(50), Duration::from_millis(100), Duration::from_millis(200), Duration::from_millis(400)];

/// Keys, or versions, that one request lists at most.
///
/// Source: Amazon S3 API Reference, "ListObjectsV2" and "ListObjectVersions", `max-keys`.
const MAX_KEYS: i32 = 1000;

/// The objects of a bucket whose keys begin with a prefix.
#[derive(Clone, Debug)]
pub struct S3Store {
    client: Client,
    bucket: String,
    /// Empty, or ends in `/`.
    prefix: String,
    /// Without it, as the bucket does by default.
    encryption: Option<Encryption>,
    /// Keys, or versions, on a page.
    page: i32,
}

impl S3Store {
    /// The folder `prefix` of the bucket; the whole bucket when it is empty.
    #[must_use]
    pub fn new(client: Client, bucket: impl Into<String>, prefix: &str) -> Self {
        let prefix = prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Self { client, bucket: bucket.into(), prefix, encryption: None, page: MAX_KEYS }
    }

    /// The same, with pages of so many keys or versions: a contract that is held with few objects meets many pages.
    #[cfg(any(test, feature = "contract-tests"))]
    #[must_use]
    pub fn paged(self, page: i32) -> Self {
        Self { page, ..self }
    }

    fn object_key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn failure(&self, operation: &'static str, key: &str, kind: FailureKind, message: impl Into<String>) -> Failure {
        Failure { kind, operation, resource: format!("`{}`", self.url(key)), message: message.into() }
    }

    fn failed<E>(&self, operation: &'static str, key: &str, error: &SdkError<E, Response>) -> Failure
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let failure = classify::failure(operation, format!("`{}`", self.url(key)), error);
        if code(error) == Some("NoSuchBucket") {
            let message = format!("the bucket `{}` is not there: {}", self.bucket, failure.message);
            return Failure { kind: FailureKind::NotFound, message, ..failure };
        }
        failure
    }

    /// What a request that makes an object says of its encryption.
    fn asked_encryption(&self) -> (Option<ServerSideEncryption>, Option<String>) {
        let kind = self.encryption.as_ref().map(|encryption| ServerSideEncryption::from(encryption.name()));
        (kind, self.encryption.as_ref().and_then(Encryption::key_id).map(str::to_owned))
    }

    async fn try_put(&self, key: &str, body: Bytes, mode: &PutMode) -> Result<Version, PutError> {
        let request = self.client.put_object().bucket(&self.bucket).key(self.object_key(key));
        let (kind, key_id) = self.asked_encryption();
        let request = request.set_server_side_encryption(kind).set_ssekms_key_id(key_id);
        let request = match mode {
            PutMode::Create => request.if_none_match("*"),
            PutMode::ReplaceIf(Version(etag)) => request.if_match(etag),
            PutMode::Overwrite => request,
        };
        let error = match request.body(ByteStream::from(body)).send().await {
            Ok(answer) => {
                return answer.e_tag.map(Version).ok_or_else(|| PutError::Final(self.no_etag("PutObject", key)));
            }
            Err(error) => error,
        };
        let failure = self.failed("PutObject", key, &error);
        let replaces = matches!(mode, PutMode::ReplaceIf(_));
        Err(match (code(&error), status(&error)) {
            (Some("ConditionalRequestConflict"), _) => PutError::MetAnother(failure),
            (Some("NoSuchBucket"), _) => PutError::Final(failure),
            // What was to be replaced is gone.
            (Some("NoSuchKey"), _) | (_, Some(404)) if replaces => {
                PutError::Final(Failure { kind: FailureKind::Conflict, ..failure })
            }
            _ => PutError::Final(failure),
        })
    }

    /// Reads an object, or one version of it.
    async fn read(&self, key: &str, version: Option<&str>) -> Result<Option<Object>, Failure> {
        let clock = StoreClock::default();
        let request = self.client.get_object().bucket(&self.bucket).key(self.object_key(key));
        let request = request.set_version_id(version.map(str::to_owned));
        let answer = match request.customize().interceptor(clock.clone()).send().await {
            Ok(answer) => answer,
            Err(error) if code(&error) == Some("NoSuchKey") => return Ok(None),
            // Of what is listed, versions that were removed since, and deletions, are nothing to read.
            Err(error) if version.is_some() && matches!(code(&error), Some("NoSuchVersion" | "MethodNotAllowed")) => {
                return Ok(None);
            }
            Err(error) => return Err(self.failed("GetObject", key, &error)),
        };
        let unavailable = |message: &str| self.failure("GetObject", key, FailureKind::Unavailable, message);
        let read_at = clock.time().ok_or_else(|| unavailable("the answer has no readable Date header"))?;
        let modified = answer.last_modified.as_ref().and_then(timestamp);
        let modified = modified.ok_or_else(|| unavailable("the answer has no readable Last-Modified header"))?;
        let version = answer.e_tag.map(Version).ok_or_else(|| self.no_etag("GetObject", key))?;
        let body = answer.body.collect().await;
        let body = body.map_err(|_| unavailable("the answer broke off before its end"))?.into_bytes();
        Ok(Some(Object { body, version, modified, read_at }))
    }

    fn no_etag(&self, operation: &'static str, key: &str) -> Failure {
        self.failure(operation, key, FailureKind::Unavailable, "the answer has no ETag")
    }
}

#[async_trait]
impl ObjectStore for S3Store {
    fn url(&self, key: &str) -> String {
        format!("s3://{}/{}", self.bucket, self.object_key(key))
    }

    async fn put(&self, key: &str, body: Bytes, mode: PutMode) -> Result<Version, Failure> {
        for wait in CONFLICT_WAITS {
            match self.try_put(key, body.clone(), &mode).await {
                Ok(version) => return Ok(version),
                Err(PutError::Final(failure)) => return Err(failure),
                Err(PutError::MetAnother(_)) => tokio::time::sleep(wait).await,
            }
        }
        self.try_put(key, body, &mode).await.map_err(|error| match error {
            PutError::Final(failure) | PutError::MetAnother(failure) => failure,
        })
    }

    async fn get(&self, key: &str) -> Result<Option<Object>, Failure> {
        self.read(key, None).await
    }

    async fn delete(&self, key: &str) -> Result<(), Failure> {
        match self.client.delete_object().bucket(&self.bucket).key(self.object_key(key)).send().await {
            Ok(_) => Ok(()),
            Err(error) if code(&error) == Some("NoSuchKey") => Ok(()),
            Err(error) => Err(self.failed("DeleteObject", key, &error)),
        }
    }

    fn encrypting(&self, encryption: &Encryption) -> Result<Arc<dyn ObjectStore>, Failure> {
        Ok(Arc::new(Self { encryption: Some(encryption.clone()), ..self.clone() }))
    }

    async fn folders(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        self.list_folders(prefix).await
    }

    async fn list(&self, prefix: &str) -> Result<Listing, Failure> {
        self.list_all(prefix).await
    }

    async fn list_page(&self, prefix: &str, after: Option<&str>) -> Result<ListPage, Failure> {
        self.page_of_objects(prefix, after).await
    }

    async fn list_versions(&self, prefix: &str, after: Option<&str>) -> Result<KeptPage, Failure> {
        self.page_of_versions(prefix, after).await
    }

    async fn get_version(&self, key: &str, id: &str) -> Result<Option<Object>, Failure> {
        self.read(key, Some(id)).await
    }

    async fn keeps_versions(&self) -> Result<bool, Failure> {
        self.is_versioned().await
    }

    async fn slice(
        &self,
        key: &str,
        from: u64,
        most: u64,
        content: Option<&Version>,
    ) -> Result<Option<Slice>, Failure> {
        self.slice_of(key, from, most, content).await
    }

    async fn upload(&self, key: &str) -> Result<Box<dyn Upload + '_>, Failure> {
        Ok(Box::new(S3Upload::new(self, key)))
    }
}

/// Why a put was not made.
enum PutError {
    /// Another conditional put of the same object was in flight; the next try may succeed.
    MetAnother(Failure),
    /// The next try would end the same way.
    Final(Failure),
}

fn code<E: ProvideErrorMetadata>(error: &SdkError<E, Response>) -> Option<&str> {
    error.as_service_error().and_then(ProvideErrorMetadata::code)
}

fn status<E>(error: &SdkError<E, Response>) -> Option<u16> {
    error.raw_response().map(|answer| answer.status().as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::canned::{Answer, Canned};

    fn store(answers: impl IntoIterator<Item = Answer>) -> S3Store {
        S3Store::new(Canned::new(answers).s3(), "bucket", "/jobs/")
    }

    fn refused(status: u16, code: &str) -> Answer {
        Answer::new(status, format!("<Error><Code>{code}</Code><Message>No.</Message></Error>"))
    }

    fn object() -> Answer {
        let answer = Answer::new(200, "body").with("etag", "\"1\"");
        answer.with("last-modified", "Wed, 21 Oct 2015 07:28:00 GMT")
    }

    fn replace() -> PutMode {
        PutMode::ReplaceIf(Version("\"1\"".into()))
    }

    #[tokio::test]
    async fn an_object_comes_with_the_clock_of_the_store() {
        let store = store([object().with("date", "Wed, 21 Oct 2015 07:28:30 GMT")]);

        let object = store.get("a").await.unwrap().unwrap();

        assert_eq!(object.version, Version("\"1\"".into()));
        assert_eq!(object.read_at.as_second() - object.modified.as_second(), 30);
        assert_eq!(object.body, "body");
    }

    #[tokio::test]
    async fn an_answer_without_a_date_is_no_answer() {
        let failure = store([object()]).get("a").await.unwrap_err();

        assert_eq!(failure.kind, FailureKind::Unavailable);
        assert!(failure.message.contains("Date"), "{failure}");
    }

    #[tokio::test]
    async fn a_lost_race_is_a_conflict() {
        let lost = store([refused(412, "PreconditionFailed")]).put("a", Bytes::new(), PutMode::Create).await;
        let gone = store([refused(404, "NoSuchKey")]).put("a", Bytes::new(), replace()).await;

        for failure in [lost.unwrap_err(), gone.unwrap_err()] {
            assert_eq!(failure.kind, FailureKind::Conflict, "{failure}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_put_that_met_another_is_tried_again_a_few_times() {
        let met = || refused(409, "ConditionalRequestConflict");
        let won = Answer::new(200, "").with("etag", "\"2\"");

        let version = store([met(), met(), won]).put("a", Bytes::new(), replace()).await.unwrap();
        let failure = store(std::iter::repeat_with(met).take(5)).put("a", Bytes::new(), replace()).await.unwrap_err();

        assert_eq!(version, Version("\"2\"".into()));
        assert_eq!(failure.kind, FailureKind::Unavailable, "{failure}");
    }

    #[tokio::test]
    async fn a_missing_object_is_none_and_a_missing_bucket_a_failure_that_names_it() {
        assert!(store([refused(404, "NoSuchKey")]).get("a").await.unwrap().is_none());

        let get = store([refused(404, "NoSuchBucket")]).get("a").await.unwrap_err();
        let put = store([refused(404, "NoSuchBucket")]).put("a", Bytes::new(), replace()).await.unwrap_err();
        for failure in [get, put] {
            assert_eq!(failure.kind, FailureKind::NotFound);
            assert!(failure.message.starts_with("the bucket `bucket` is not there"), "{failure}");
        }
    }

    #[tokio::test]
    async fn every_kind_of_put_asks_for_the_encryption_that_the_store_was_told() {
        const KIND: &str = "x-amz-server-side-encryption";
        const KEY: &str = "x-amz-server-side-encryption-aws-kms-key-id";
        let key_id = Some("alias/jobs".to_owned());
        for (encryption, kind, key) in [
            (None, None, None),
            (Some(Encryption::Aes256), Some("AES256"), None),
            (Some(Encryption::Kms { key_id: None }), Some("aws:kms"), None),
            (Some(Encryption::Kms { key_id: key_id.clone() }), Some("aws:kms"), Some("alias/jobs")),
            (Some(Encryption::KmsTwice { key_id }), Some("aws:kms:dsse"), Some("alias/jobs")),
        ] {
            let done = || Answer::new(200, "").with("etag", "\"2\"");
            let met = refused(409, "ConditionalRequestConflict");
            let connection =
                Canned::new([done(), done(), met, done(), object().with("date", "Wed, 21 Oct 2015 07:28:30 GMT")]);
            let plain = Arc::new(S3Store::new(connection.s3(), "bucket", "jobs")) as Arc<dyn ObjectStore>;
            let store = encryption.as_ref().map_or(Ok(Arc::clone(&plain)), |wanted| plain.encrypting(wanted)).unwrap();

            for mode in [PutMode::Create, PutMode::Overwrite, replace()] {
                store.put("a", Bytes::new(), mode).await.unwrap();
            }
            store.get("a").await.unwrap();

            let sent = |value: Option<&str>| [vec![value.map(str::to_owned); 4], vec![None]].concat();
            assert_eq!(connection.sent_header(KIND), sent(kind), "{encryption:?}, and S3 refuses it on a read");
            assert_eq!(connection.sent_header(KEY), sent(key), "{encryption:?}");
        }
    }

    #[test]
    fn a_url_has_bucket_prefix_and_key() {
        assert_eq!(store([]).url("one/manifest.json"), "s3://bucket/jobs/one/manifest.json");
        assert_eq!(S3Store::new(Canned::default().s3(), "bucket", "").url("a"), "s3://bucket/a");
    }
}
