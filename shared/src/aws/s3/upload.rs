//! Objects that are put part by part, as S3's multipart uploads.
//!
//! Parts are held until they are full, and at most one is on its way while the next one fills. An upload that is
//! dropped leaves its parts in the bucket, out of sight and on the bill: a lifecycle rule of the bucket
//! (`AbortIncompleteMultipartUpload`) removes them.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::config::{Builder, StalledStreamProtectionConfig};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::{Bytes, BytesMut};
use tokio_util::task::AbortOnDropHandle;

use super::parts::{MAX_PARTS, PART_SIZE, etag_of, part_size};
use super::{S3Store, code};
use crate::aws::clients::{STORE_TIMEOUT, timeouts};
use crate::ports::failure::{Failure, FailureKind};
use crate::ports::objects::{ObjectStore as _, PutMode, Version};
use crate::ports::uploads::Upload;

/// Time for one try to complete an object, which S3 puts together before the answer ends.
///
/// Source: Amazon S3 API Reference, "CompleteMultipartUpload" ("several minutes").
const COMPLETE_TIMEOUT: Duration = Duration::from_secs(600);

const CREATE: &str = "CreateMultipartUpload";
const PART: &str = "UploadPart";
const COMPLETE: &str = "CompleteMultipartUpload";
const ABORT: &str = "AbortMultipartUpload";

/// An object on its way into a bucket.
pub(super) struct S3Upload {
    store: S3Store,
    key: String,
    /// The part that is being filled; gone when a write failed or was cut off, for then bytes are missing.
    held: Option<BytesMut>,
    /// Of what did not fit into one part.
    multipart: Option<Multipart>,
}

struct Multipart {
    id: String,
    sent: Vec<CompletedPart>,
    in_flight: Option<AbortOnDropHandle<Result<CompletedPart, Failure>>>,
}

impl Multipart {
    fn parts(&self) -> usize {
        self.sent.len() + usize::from(self.in_flight.is_some())
    }
}

impl S3Upload {
    pub(super) fn new(store: &S3Store, key: &str) -> Self {
        Self { store: store.clone(), key: key.to_owned(), held: Some(BytesMut::new()), multipart: None }
    }

    /// Sends a part on its way once the one before has arrived.
    async fn send(&mut self, body: Bytes) -> Result<(), Failure> {
        self.arrive().await?;
        let multipart = match &mut self.multipart {
            Some(multipart) => multipart,
            None => {
                let id = self.store.create_multipart(&self.key).await?;
                self.multipart.insert(Multipart { id, sent: Vec::new(), in_flight: None })
            }
        };
        if multipart.sent.len() == MAX_PARTS {
            let message = format!("the object is too big for {MAX_PARTS} parts");
            return Err(self.store.failure(PART, &self.key, FailureKind::Invalid, message));
        }
        let number = multipart.sent.len() + 1;
        let (store, key, id) = (self.store.clone(), self.key.clone(), multipart.id.clone());
        let part = async move { store.upload_part(&key, &id, number, body).await };
        multipart.in_flight = Some(AbortOnDropHandle::new(tokio::spawn(part)));
        Ok(())
    }

    /// Waits for the part that is on its way.
    async fn arrive(&mut self) -> Result<(), Failure> {
        let Some(multipart) = &mut self.multipart else { return Ok(()) };
        let Some(part) = multipart.in_flight.take() else { return Ok(()) };
        let ended = part.await;
        let part = ended.map_err(|_| self.store.unreadable(PART, &self.key, "the program is about to end"))??;
        multipart.sent.push(part);
        Ok(())
    }

    fn broken(&self) -> Failure {
        let message = "a part of it failed before, and it has to be begun again";
        self.store.failure(PART, &self.key, FailureKind::Invalid, message)
    }
}

#[async_trait]
impl Upload for S3Upload {
    async fn write(&mut self, mut bytes: Bytes) -> Result<(), Failure> {
        let mut held = self.held.take().ok_or_else(|| self.broken())?;
        loop {
            let size = part_size(self.multipart.as_ref().map_or(0, Multipart::parts));
            let room = size - held.len();
            held.extend_from_slice(&bytes.split_to(room.min(bytes.len())));
            if held.len() < size {
                self.held = Some(held);
                return Ok(());
            }
            self.send(held.freeze()).await?;
            held = BytesMut::with_capacity(bytes.len());
        }
    }

    async fn complete(mut self: Box<Self>) -> Result<Version, Failure> {
        let held = self.held.take().ok_or_else(|| self.broken())?.freeze();
        if self.multipart.is_some() && !held.is_empty() {
            self.send(held.clone()).await?;
        }
        self.arrive().await?;
        let Self { store, key, multipart, .. } = *self;
        match multipart {
            Some(Multipart { id, sent, .. }) => store.complete_multipart(&key, &id, sent).await,
            None => store.put(&key, held, PutMode::Overwrite).await,
        }
    }

    async fn abort(self: Box<Self>) -> Result<(), Failure> {
        let Some(Multipart { id, in_flight, .. }) = self.multipart else { return Ok(()) };
        if let Some(part) = in_flight {
            // S3 may keep a part that arrives while the rest is given up.
            part.abort();
            let _ = part.await;
        }
        let request = self.store.client.abort_multipart_upload().bucket(&self.store.bucket);
        match request.key(self.store.object_key(&self.key)).upload_id(id).send().await {
            Ok(_) => Ok(()),
            Err(error) if code(&error) == Some("NoSuchUpload") => Ok(()),
            Err(error) => Err(self.store.failed(ABORT, &self.key, &error)),
        }
    }
}

impl S3Store {
    async fn create_multipart(&self, key: &str) -> Result<String, Failure> {
        let (kind, key_id) = self.asked_encryption();
        let request = self.client.create_multipart_upload().bucket(&self.bucket).key(self.object_key(key));
        let request = request.set_server_side_encryption(kind).set_ssekms_key_id(key_id);
        let answer = request.send().await.map_err(|error| self.failed(CREATE, key, &error))?;
        answer.upload_id.ok_or_else(|| self.unreadable(CREATE, key, "the answer has no upload id"))
    }

    async fn upload_part(&self, key: &str, id: &str, number: usize, body: Bytes) -> Result<CompletedPart, Failure> {
        let tries_last = STORE_TIMEOUT * u32::try_from(body.len().div_ceil(PART_SIZE)).unwrap_or(u32::MAX);
        let number = i32::try_from(number).unwrap_or(i32::MAX);
        let request = self.client.upload_part().bucket(&self.bucket).key(self.object_key(key)).upload_id(id);
        let request = request.part_number(number).body(ByteStream::from(body)).customize();
        let request = request.config_override(Builder::new().timeout_config(timeouts(tries_last)));
        let answer = request.send().await.map_err(|error| self.failed(PART, key, &error))?;
        let etag = answer.e_tag.ok_or_else(|| self.no_etag(PART, key))?;
        let part = CompletedPart::builder().part_number(number).e_tag(etag);
        // Of these the client makes one or none, and what it made must be told again.
        let part = part.set_checksum_crc32(answer.checksum_crc32).set_checksum_crc64_nvme(answer.checksum_crc64_nvme);
        Ok(part.build())
    }

    async fn complete_multipart(&self, key: &str, id: &str, sent: Vec<CompletedPart>) -> Result<Version, Failure> {
        let expected = etag_of(&sent);
        let parts = CompletedMultipartUpload::builder().set_parts(Some(sent)).build();
        let request = self.client.complete_multipart_upload().bucket(&self.bucket).key(self.object_key(key));
        let request = request.upload_id(id).multipart_upload(parts).customize();
        // While S3 puts the object together it sends next to nothing.
        let patient = Builder::new()
            .timeout_config(timeouts(COMPLETE_TIMEOUT))
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        match request.config_override(patient).send().await {
            Ok(answer) => answer.e_tag.map(Version).ok_or_else(|| self.no_etag(COMPLETE, key)),
            Err(error) if code(&error) == Some("NoSuchUpload") => self.completed_before(key, expected).await,
            Err(error) => Err(self.failed(COMPLETE, key, &error)),
        }
    }

    /// The upload is over. If the answer to an earlier try was lost, the object is there, and its ETag is that of its
    /// parts; else somebody gave it up, or somebody else has replaced it since, and it may be begun again.
    async fn completed_before(&self, key: &str, expected: Option<String>) -> Result<Version, Failure> {
        let request = self.client.head_object().bucket(&self.bucket).key(self.object_key(key));
        let there = request.send().await.ok().and_then(|answer| answer.e_tag);
        match (there, expected) {
            (Some(there), Some(expected)) if there.trim_matches('"') == expected => Ok(Version(there)),
            _ => Err(self.unreadable(COMPLETE, key, "the upload was over before, and the object is not what was sent")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::canned::{Answer, Canned};
    use crate::domain::encryption::Encryption;

    /// MD5 of nothing, as an ETag.
    const PART_ETAG: &str = "\"d41d8cd98f00b204e9800998ecf8427e\"";
    /// `printf '\xd4\x1d…\x7e' | md5sum` of that once, and of that twice.
    const WHOLE_ETAG: [&str; 2] = ["\"59adb24ef3cdbe0297f05b395827453f-1\"", "\"5873dd45edd01f09c1ef2e7819369e8e-2\""];

    fn created() -> Answer {
        let body = "<InitiateMultipartUploadResult><UploadId>ID</UploadId></InitiateMultipartUploadResult>";
        Answer::new(200, body)
    }

    fn arrived() -> Answer {
        Answer::new(200, "").with("etag", PART_ETAG)
    }

    fn completed() -> Answer {
        let body = "<CompleteMultipartUploadResult><ETag>\"9\"</ETag></CompleteMultipartUploadResult>";
        Answer::new(200, body)
    }

    fn refused(status: u16, code: &str) -> Answer {
        Answer::new(status, format!("<Error><Code>{code}</Code><Message>No.</Message></Error>"))
    }

    fn store(connection: &Canned) -> S3Store {
        S3Store::new(connection.s3(), "bucket", "jobs")
    }

    fn bytes(length: usize) -> Bytes {
        vec![7; length].into()
    }

    /// What was asked, without what is the same in all.
    fn asked(connection: &Canned) -> Vec<String> {
        let short = |uri: String| {
            let (method, rest) = uri.split_once(' ').unwrap();
            let query = rest.split_once('?').map_or("", |(_, query)| query);
            let query: Vec<&str> = query.split('&').filter(|part| !part.starts_with("x-id")).collect();
            format!("{method} {}", query.join("&")).trim_end().to_owned()
        };
        connection.sent_uris().into_iter().map(short).collect()
    }

    /// Sends an object of two parts, the second of one byte.
    async fn two_parts(connection: &Canned) -> Result<Version, Failure> {
        let store = store(connection);
        let mut upload = store.upload("a").await?;
        upload.write(bytes(PART_SIZE + 1)).await?;
        upload.complete().await
    }

    #[tokio::test]
    async fn what_fits_into_one_part_is_put_at_once() {
        let connection = Canned::new([Answer::new(200, "").with("etag", "\"1\"")]);
        let store = store(&connection);
        let mut upload = store.upload("a").await.unwrap();
        upload.write(bytes(PART_SIZE - 1)).await.unwrap();

        assert_eq!(upload.complete().await.unwrap(), Version("\"1\"".into()));
        assert_eq!(asked(&connection), ["PUT"]);
    }

    #[tokio::test]
    async fn parts_go_out_as_they_are_full_and_the_last_one_as_it_is() {
        let connection = Canned::new([created(), arrived(), arrived(), arrived(), completed()]);
        let store = store(&connection);
        let mut upload = store.upload("a").await.unwrap();
        for _ in 0..5 {
            upload.write(bytes(PART_SIZE / 2)).await.unwrap();
        }

        assert_eq!(upload.complete().await.unwrap(), Version("\"9\"".into()));
        let parts = ["partNumber=1", "partNumber=2", "partNumber=3"].map(|part| format!("PUT {part}&uploadId=ID"));
        let [one, two, three] = parts;
        assert_eq!(asked(&connection), ["POST uploads", &one, &two, &three, "POST uploadId=ID"]);
        let lengths: Vec<usize> = connection.sent_lengths()[1..4].to_vec();
        assert_eq!(lengths, [PART_SIZE, PART_SIZE, PART_SIZE / 2]);
        let told = connection.sent().pop().unwrap();
        assert_eq!(told.matches("<Part>").count(), 3, "{told}");
        assert!(told.contains("<PartNumber>3</PartNumber>"), "{told}");
    }

    #[tokio::test]
    async fn an_object_that_ends_with_a_part_has_no_empty_one() {
        let connection = Canned::new([created(), arrived(), completed()]);
        let store = store(&connection);
        let mut upload = store.upload("a").await.unwrap();
        upload.write(bytes(PART_SIZE)).await.unwrap();

        upload.complete().await.unwrap();
        assert_eq!(asked(&connection).len(), 3);
    }

    #[tokio::test]
    async fn what_needs_more_parts_than_there_are_is_refused() {
        let store = store(&Canned::default());
        let sent = vec![CompletedPart::builder().build(); MAX_PARTS];
        let multipart = Some(Multipart { id: "ID".into(), sent, in_flight: None });
        let mut upload = S3Upload { multipart, ..S3Upload::new(&store, "a") };

        let refused = upload.send(bytes(1)).await.unwrap_err();

        assert_eq!(refused.kind, FailureKind::Invalid);
        assert!(refused.message.contains("10000 parts"), "{refused}");
    }

    #[tokio::test]
    async fn encryption_is_asked_for_where_the_upload_begins_and_only_there() {
        let connection = Canned::new([created(), arrived(), arrived(), completed()]);
        let encryption = Encryption::Kms { key_id: Some("alias/jobs".into()) };
        let store = store(&connection).encrypting(&encryption).unwrap();
        let mut upload = store.upload("a").await.unwrap();
        upload.write(bytes(PART_SIZE + 1)).await.unwrap();
        upload.complete().await.unwrap();

        let first = |value: &str| [vec![Some(value.to_owned())], vec![None; 3]].concat();
        assert_eq!(connection.sent_header("x-amz-server-side-encryption"), first("aws:kms"));
        assert_eq!(connection.sent_header("x-amz-server-side-encryption-aws-kms-key-id"), first("alias/jobs"));
    }

    #[tokio::test]
    async fn after_a_part_that_failed_the_object_cannot_be_completed() {
        let connection = Canned::new([created(), refused(403, "AccessDenied"), arrived(), completed()]);
        let store = store(&connection);
        let mut upload = store.upload("a").await.unwrap();
        upload.write(bytes(PART_SIZE)).await.unwrap();

        let denied = upload.write(bytes(PART_SIZE)).await.unwrap_err();
        assert_eq!((denied.kind, denied.operation), (FailureKind::Denied, PART));
        assert_eq!(upload.write(bytes(1)).await.unwrap_err().kind, FailureKind::Invalid);
        assert_eq!(upload.complete().await.unwrap_err().kind, FailureKind::Invalid);
    }

    #[tokio::test]
    async fn an_object_whose_answer_was_lost_is_known_by_its_parts() {
        let head = |etag: &str| Answer::new(200, "").with("etag", etag);
        let over = || [created(), arrived(), arrived(), refused(404, "NoSuchUpload")];

        let done = two_parts(&Canned::new(over().into_iter().chain([head(WHOLE_ETAG[1])]))).await;
        let replaced = two_parts(&Canned::new(over().into_iter().chain([head(WHOLE_ETAG[0])]))).await;
        let missing = two_parts(&Canned::new(over().into_iter().chain([Answer::new(404, "")]))).await;

        assert_eq!(done.unwrap(), Version(WHOLE_ETAG[1].into()));
        for failure in [replaced.unwrap_err(), missing.unwrap_err()] {
            assert_eq!(failure.kind, FailureKind::Unavailable, "it may be begun again: {failure}");
        }
    }

    #[tokio::test]
    async fn an_error_after_a_good_beginning_is_an_error() {
        for (code, kind) in [("InternalError", FailureKind::Unavailable), ("AccessDenied", FailureKind::Denied)] {
            let answers = [created(), arrived(), arrived(), refused(200, code)];

            let failure = two_parts(&Canned::new(answers)).await.unwrap_err();

            assert_eq!((failure.kind, failure.operation), (kind, COMPLETE), "{failure}");
            assert!(failure.message.contains(code), "{failure}");
        }
    }

    #[tokio::test]
    async fn what_is_given_up_is_removed_if_it_is_still_there() {
        for (answer, kind) in [
            (Answer::new(204, ""), None),
            (refused(404, "NoSuchUpload"), None),
            (refused(403, "AccessDenied"), Some(FailureKind::Denied)),
        ] {
            let connection = Canned::new([created(), arrived(), answer]);
            let store = store(&connection);
            let mut upload = store.upload("a").await.unwrap();
            upload.write(bytes(PART_SIZE)).await.unwrap();
            // On its way, the part would take an answer or not.
            tokio::task::yield_now().await;

            assert_eq!(upload.abort().await.err().map(|failure| failure.kind), kind);
            assert_eq!(asked(&connection).last().unwrap(), "DELETE uploadId=ID");
        }
        let nothing = Canned::default();
        store(&nothing).upload("a").await.unwrap().abort().await.unwrap();
        assert_eq!(asked(&nothing), Vec::<String>::new(), "nothing was begun");
    }
}
