//! Parts of an object, read one by one: each only if it is of the same content as the one before.

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use bytes::Bytes;

use super::{S3Store, code, status};
use crate::ports::failure::{Failure, FailureKind};
use crate::ports::objects::{Slice, Version};

const GET: &str = "GetObject";

/// No object reaches so far, and a range that a server cannot read it may pass over.
const FURTHEST: u64 = i64::MAX.unsigned_abs();

impl S3Store {
    pub(super) async fn slice_of(
        &self,
        key: &str,
        from: u64,
        most: u64,
        content: Option<&Version>,
    ) -> Result<Option<Slice>, Failure> {
        if from > FURTHEST {
            return self.nothing_of(key, from, content).await;
        }
        // A range has at least one byte.
        let to = from.saturating_add(most.max(1) - 1).min(FURTHEST);
        let request = self.client.get_object().bucket(&self.bucket).key(self.object_key(key));
        let request = request.set_if_match(content.map(|Version(etag)| etag.clone()));
        let error = match request.range(format!("bytes={from}-{to}")).send().await {
            Ok(answer) => return self.read_slice(key, from, most, answer).await.map(Some),
            Err(error) => error,
        };
        match (code(&error), status(&error)) {
            (Some("NoSuchKey"), _) => Ok(None),
            (Some("InvalidRange"), _) | (_, Some(416)) => self.nothing_of(key, from, content).await,
            (Some("PreconditionFailed"), _) | (_, Some(412)) => Err(self.changed(GET, key)),
            _ => Err(self.failed(GET, key, &error)),
        }
    }

    async fn read_slice(&self, key: &str, from: u64, most: u64, answer: GetObjectOutput) -> Result<Slice, Failure> {
        let size = answer.content_range().and_then(|range| size_in_range(range, from));
        let unread = || self.unreadable(GET, key, "the answer does not say which bytes it has");
        let size = size.ok_or_else(unread)?;
        let content = answer.e_tag.map(Version).ok_or_else(|| self.no_etag(GET, key))?;
        let broken = || self.unreadable(GET, key, "the answer broke off before its end");
        let mut body = answer.body.collect().await.map_err(|_| broken())?.into_bytes();
        let asked = most.max(1).min(size.saturating_sub(from));
        if body.len() as u64 != asked {
            return Err(broken());
        }
        if most == 0 {
            body.clear();
        }
        Ok(Slice { body, size, content })
    }

    /// The slice behind the end of an object. The answer to its range does not name the content, nor surely the size.
    async fn nothing_of(&self, key: &str, from: u64, content: Option<&Version>) -> Result<Option<Slice>, Failure> {
        const HEAD: &str = "HeadObject";
        let request = self.client.head_object().bucket(&self.bucket).key(self.object_key(key));
        let request = request.set_if_match(content.map(|Version(etag)| etag.clone()));
        let answer = match request.send().await {
            Ok(answer) => answer,
            // The answer has no body, and so no code.
            Err(error) => {
                return match status(&error) {
                    Some(404) => Ok(None),
                    Some(412) => Err(self.changed(HEAD, key)),
                    _ => Err(self.failed(HEAD, key, &error)),
                };
            }
        };
        let size = answer.content_length.and_then(|size| u64::try_from(size).ok());
        let size = size.ok_or_else(|| self.unreadable(HEAD, key, "the answer does not say how long the object is"))?;
        if size > from {
            return Err(self.unreadable(HEAD, key, "the object became longer while it was read"));
        }
        let content = answer.e_tag.map(Version).ok_or_else(|| self.no_etag(HEAD, key))?;
        Ok(Some(Slice { body: Bytes::new(), size, content }))
    }

    fn changed(&self, operation: &'static str, key: &str) -> Failure {
        self.failure(operation, key, FailureKind::Conflict, "the object changed while it was read")
    }
}

/// The size of the whole object in a `Content-Range` that begins where it was asked to.
fn size_in_range(range: &str, from: u64) -> Option<u64> {
    let (bytes, size) = range.strip_prefix("bytes ")?.split_once('/')?;
    let first: u64 = bytes.split_once('-')?.0.parse().ok()?;
    size.parse().ok().filter(|_| first == from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::canned::{Answer, Canned};

    fn refused(status: u16, code: &str) -> Answer {
        Answer::new(status, format!("<Error><Code>{code}</Code><Message>No.</Message></Error>"))
    }

    fn part(body: &str, range: &str) -> Answer {
        Answer::new(206, body).with("etag", "\"1\"").with("content-range", range)
    }

    fn head(size: &str) -> Answer {
        Answer::new(200, "").with("etag", "\"1\"").with("content-length", size)
    }

    fn one() -> Version {
        Version("\"1\"".to_owned())
    }

    async fn slice(from: u64, most: u64, answers: impl IntoIterator<Item = Answer>) -> Result<Option<Slice>, Failure> {
        S3Store::new(Canned::new(answers).s3(), "bucket", "jobs").slice_of("a", from, most, Some(&one())).await
    }

    #[tokio::test]
    async fn a_slice_asks_for_its_bytes_of_the_same_content() {
        let connection = Canned::new([part("cde", "bytes 2-4/6"), part("f", "bytes 5-5/6")]);
        let store = S3Store::new(connection.s3(), "bucket", "jobs");

        let first = store.slice_of("a", 2, 3, None).await.unwrap().unwrap();
        let last = store.slice_of("a", 5, u64::MAX, Some(&first.content)).await.unwrap().unwrap();

        assert_eq!((&first.body[..], first.size, first.content), (&b"cde"[..], 6, one()));
        assert_eq!((&last.body[..], last.size), (&b"f"[..], 6));
        let ranges = ["bytes=2-4".to_owned(), format!("bytes=5-{}", i64::MAX)];
        assert_eq!(connection.sent_header("range"), ranges.map(Some));
        assert_eq!(connection.sent_header("if-match"), [None, Some("\"1\"".to_owned())]);
    }

    #[tokio::test]
    async fn changed_content_is_a_conflict() {
        let at_once = slice(0, 9, [refused(412, "PreconditionFailed")]).await;
        let behind_the_end = slice(9, 9, [refused(416, "InvalidRange"), Answer::new(412, "")]).await;

        for failure in [at_once.unwrap_err(), behind_the_end.unwrap_err()] {
            assert_eq!(failure.kind, FailureKind::Conflict, "{failure}");
        }
    }

    #[tokio::test]
    async fn behind_the_end_there_is_nothing_of_a_known_size() {
        let slice = slice(6, 9, [refused(416, "InvalidRange"), head("6")]).await.unwrap().unwrap();

        assert_eq!((slice.body.len(), slice.size, slice.content), (0, 6, one()));
    }

    #[tokio::test]
    async fn what_is_gone_is_none() {
        assert!(slice(0, 9, [refused(404, "NoSuchKey")]).await.unwrap().is_none());
        assert!(slice(9, 9, [refused(416, "InvalidRange"), Answer::new(404, "")]).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn an_answer_with_other_bytes_is_none() {
        for answers in [
            vec![part("ab", "bytes 0-1/6")],
            vec![part("c", "bytes 2-4/6")],
            vec![Answer::new(200, "abcdef").with("etag", "\"1\"")],
            vec![refused(416, "InvalidRange"), head("9")],
        ] {
            let failure = slice(2, 3, answers.clone()).await.unwrap_err();

            assert_eq!(failure.kind, FailureKind::Unavailable, "{failure} of {answers:?}");
        }
    }
}
