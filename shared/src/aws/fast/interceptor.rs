//! Has the SDK hand over the bytes of an answer instead of items.
//!
//! The SDK builds, signs, sends and retries a request, and reads errors, as it always does. Only the deserializer of
//! successful answers is replaced, for one request, by an interceptor. These types of the SDK are public and meant for
//! its generated code, so an upgrade may do without them: then nothing comes through here, and the caller finds the
//! items in the SDK's own output.

use std::fmt;
use std::sync::{Arc, Mutex, Once, PoisonError};

use aws_sdk_dynamodb::operation::batch_get_item::{BatchGetItem, BatchGetItemOutput};
use aws_sdk_dynamodb::operation::scan::{Scan, ScanOutput};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeSerializationInterceptorContextRef, Output, OutputOrError,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::runtime_plugin::RuntimePlugin;
use aws_smithy_runtime_api::client::ser_de::{DeserializeResponse, SharedResponseDeserializer};
use aws_smithy_types::config_bag::{ConfigBag, FrozenLayer};

use super::{GotPage, Unreadable, got_from_bytes, page_from_bytes};
use crate::domain::digest::Digester;
use crate::ports::table::EntryPage;

/// Reads a Scan's answer for this request.
pub(in crate::aws) fn scanned(digester: &Digester) -> FastReader<EntryPage> {
    let output = || Output::erase(ScanOutput::builder().build());
    FastReader::new(&Scan::new(), digester, page_from_bytes, output)
}

/// Reads a BatchGetItem's answer for this request.
pub(in crate::aws) fn got(digester: &Digester) -> FastReader<GotPage> {
    let output = || Output::erase(BatchGetItemOutput::builder().build());
    FastReader::new(&BatchGetItem::new(), digester, got_from_bytes, output)
}

/// An interceptor for one request, and the place where its answer comes.
pub(in crate::aws) struct FastReader<T>(Arc<Reading<T>>);

struct Reading<T> {
    digester: Digester,
    read: fn(&[u8], &Digester) -> Result<T, Unreadable>,
    /// What the SDK gets instead of items.
    output: fn() -> Output,
    /// What the operation brings along, its own deserializer in it.
    operation: Option<FrozenLayer>,
    answer: Mutex<Option<T>>,
}

impl<T> FastReader<T> {
    fn new(
        operation: &dyn RuntimePlugin,
        digester: &Digester,
        read: fn(&[u8], &Digester) -> Result<T, Unreadable>,
        output: fn() -> Output,
    ) -> Self {
        let (digester, operation, answer) = (digester.clone(), operation.config(), Mutex::default());
        Self(Arc::new(Reading { digester, read, output, operation, answer }))
    }

    /// The answer; without it, the SDK has read the items itself.
    pub(in crate::aws) fn take(&self) -> Option<T> {
        self.0.answer.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<T> Reading<T> {
    fn own(&self) -> Option<&SharedResponseDeserializer> {
        self.operation.as_ref()?.load::<SharedResponseDeserializer>()
    }

    /// The answer of an attempt, if it is a successful one that can be read.
    fn fast(&self, response: &HttpResponse) -> Option<T> {
        let body = response.body().bytes().filter(|_| response.status().is_success())?;
        (self.read)(body, &self.digester).map_err(warn).ok()
    }
}

impl<T: Send + 'static> Intercept for FastReader<T> {
    fn name(&self) -> &'static str {
        "FastReader"
    }

    fn read_before_execution(
        &self,
        _context: &BeforeSerializationInterceptorContextRef<'_>,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // Without the operation's own, nobody would read errors.
        if self.0.own().is_some() {
            config.interceptor_state().store_put(SharedResponseDeserializer::new(self.clone()));
        }
        Ok(())
    }
}

impl<T: Send + 'static> DeserializeResponse for FastReader<T> {
    fn deserialize_nonstreaming_with_config(&self, response: &HttpResponse, config: &ConfigBag) -> OutputOrError {
        let answer = self.0.fast(response);
        let is_read = answer.is_some();
        *self.0.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
        match self.0.own() {
            _ if is_read => Ok((self.0.output)()),
            Some(own) => own.deserialize_nonstreaming_with_config(response, config),
            None => Err(OrchestratorError::other("the operation has no deserializer")),
        }
    }
}

/// That answers are read slowly is worth one warning.
fn warn(reason: Unreadable) {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        tracing::warn!(%reason, "an answer of DynamoDB is not as expected, and is read in a slower way");
    });
    tracing::debug!(%reason, "an answer is read by the SDK");
}

impl<T> Clone for FastReader<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for FastReader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FastReader")
    }
}

#[cfg(test)]
mod tests {
    use aws_smithy_types::error::metadata::ProvideErrorMetadata;

    use super::*;
    use crate::aws::canned::{Answer, Canned};
    use crate::domain::compare::Ignore;
    use crate::domain::key::{KeyAttribute, KeySchema, KeyType};

    fn digester() -> Digester {
        let partition = KeyAttribute { name: "id".into(), kind: KeyType::S };
        Digester::new(&KeySchema { partition, sort: None }, &Ignore::default(), 42)
    }

    fn client(status: u16, body: &str) -> aws_sdk_dynamodb::Client {
        Canned::new([Answer::new(status, body)]).dynamodb()
    }

    #[tokio::test]
    async fn the_sdk_hands_the_bytes_of_a_scan_over_and_reads_no_items() {
        let reader = scanned(&digester());
        let client = client(200, r#"{"Items":[{"id":{"S":"a"}}],"Count":1}"#);

        let output = client.scan().table_name("t").customize().interceptor(reader.clone()).send().await.unwrap();

        assert_eq!((output.items, output.count), (None, 0));
        assert_eq!(reader.take().map(|page| page.entries.len()), Some(1));
        assert!(reader.take().is_none());
    }

    #[tokio::test]
    async fn the_sdk_hands_the_bytes_of_a_batch_over_and_reads_no_items() {
        let reader = got(&digester());
        let client = client(200, r#"{"Responses":{"t":[{"id":{"S":"a"}}]},"UnprocessedKeys":{}}"#);

        let output = client.batch_get_item().customize().interceptor(reader.clone()).send().await.unwrap();

        assert_eq!((output.responses, output.unprocessed_keys), (None, None));
        assert_eq!(reader.take().map(|got| got.entries.len()), Some(1));
    }

    #[tokio::test]
    async fn what_is_not_understood_is_left_to_the_sdk() {
        let reader = scanned(&digester());
        let client = client(200, r#"{"Items":[{"id":{"S":"a"},"x":{"NULL":false}}],"Count":1}"#);

        let output = client.scan().table_name("t").customize().interceptor(reader.clone()).send().await.unwrap();

        assert_eq!(output.items.map(|items| items.len()), Some(1));
        assert!(reader.take().is_none());
    }

    #[tokio::test]
    async fn errors_are_read_by_the_sdk() {
        let reader = scanned(&digester());
        let client = client(400, r#"{"__type":"x#ProvisionedThroughputExceededException","message":"Slow."}"#);

        let sent = client.scan().table_name("t").customize().interceptor(reader.clone()).send().await;

        let error = sent.unwrap_err().into_service_error();
        assert!(error.is_provisioned_throughput_exceeded_exception(), "{error:?}");
        assert_eq!(error.message(), Some("Slow."));
        assert!(reader.take().is_none());
    }
}
