//! An SQS queue of work messages.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName, SendMessageBatchRequestEntry,
};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use serde::Deserialize;

use super::classify::{self, one_line};
use crate::ports::failure::{Failure, FailureKind};
use crate::ports::queue::{Delivery, MAX_DELAY, MAX_MESSAGES_PER_BATCH, QueueName, Unsent, WorkQueue};
use crate::telemetry::trace::{self, TRACEPARENT};

/// Longest time one receive waits for messages.
///
/// Source: Amazon SQS API Reference, ReceiveMessage, WaitTimeSeconds.
pub const MAX_WAIT: Duration = Duration::from_secs(20);

/// Longest time a message is hidden, counted from its delivery.
///
/// Source: Amazon SQS API Reference, ChangeMessageVisibility, VisibilityTimeout.
pub const MAX_VISIBILITY: Duration = Duration::from_secs(12 * 60 * 60);

/// What a queue says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueFacts {
    /// Where messages go that were delivered too often; without it they come back until they expire.
    pub dead_letters: Option<DeadLetters>,
}

/// A queue's redrive policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetters {
    /// The ARN of the dead-letter queue.
    pub queue_arn: String,
    /// Deliveries after which a message goes there.
    pub max_receive_count: u32,
}

/// One queue, reached through one client.
#[derive(Clone, Debug)]
pub struct SqsQueue {
    client: Client,
    url: String,
}

impl SqsQueue {
    /// The queue under this URL.
    #[must_use]
    pub fn new(client: Client, url: impl Into<String>) -> Self {
        Self { client, url: url.into() }
    }

    /// Asks the queue for its facts; fails when it cannot be reached or is not there.
    ///
    /// # Errors
    /// `Failure` of the request, or `Invalid` when the redrive policy cannot be read.
    pub async fn check(&self) -> Result<QueueFacts, Failure> {
        let request = self.client.get_queue_attributes().queue_url(&self.url);
        let answer = request.attribute_names(QueueAttributeName::RedrivePolicy).send().await;
        let answer = answer.map_err(|error| self.failed("GetQueueAttributes", &error))?;
        let policy = answer.attributes().and_then(|attributes| attributes.get(&QueueAttributeName::RedrivePolicy));
        let unreadable =
            || self.failure("GetQueueAttributes", FailureKind::Invalid, "its redrive policy is unreadable");
        let policy = policy.filter(|policy| !policy.is_empty());
        let dead_letters = policy.map(|policy| dead_letters(policy).ok_or_else(unreadable)).transpose()?;
        Ok(QueueFacts { dead_letters })
    }

    fn resource(&self) -> String {
        format!("queue `{}`", self.url)
    }

    fn failure(&self, operation: &'static str, kind: FailureKind, message: impl Into<String>) -> Failure {
        Failure { kind, operation, resource: self.resource(), message: message.into() }
    }

    fn failed<E>(&self, operation: &'static str, error: &SdkError<E, Response>) -> Failure
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        classify::failure(operation, self.resource(), error)
    }
}

#[async_trait]
impl WorkQueue for SqsQueue {
    fn name(&self) -> QueueName {
        let name = self.url.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        QueueName { system: "aws_sqs", name: name.to_owned() }
    }

    async fn send(&self, bodies: &[String], delay: Duration) -> Result<Vec<Unsent>, Failure> {
        if bodies.is_empty() {
            return Ok(Vec::new());
        }
        if bodies.len() > MAX_MESSAGES_PER_BATCH || delay > MAX_DELAY {
            let limits = format!(
                "{} messages held back for {} s are more than one request takes, {MAX_MESSAGES_PER_BATCH} and {} s",
                bodies.len(),
                delay.as_secs(),
                MAX_DELAY.as_secs()
            );
            return Err(self.failure("SendMessageBatch", FailureKind::Invalid, limits));
        }
        let delay = whole_seconds(delay);
        let traceparent = trace::current().and_then(|traceparent| text_attribute(&traceparent));
        let entry = |(index, body): (usize, &String)| {
            let entry = SendMessageBatchRequestEntry::builder().id(index.to_string()).message_body(body);
            let entry = entry.delay_seconds(delay);
            match &traceparent {
                Some(traceparent) => entry.message_attributes(TRACEPARENT, traceparent.clone()).build(),
                None => entry.build(),
            }
        };
        let entries = bodies.iter().enumerate().map(entry).collect::<Result<_, _>>();
        let entries =
            entries.map_err(|error| self.failure("SendMessageBatch", FailureKind::Invalid, error.to_string()))?;
        let request = self.client.send_message_batch().queue_url(&self.url).set_entries(Some(entries));
        let answer = request.send().await.map_err(|error| self.failed("SendMessageBatch", &error))?;
        let unsent = |entry: aws_sdk_sqs::types::BatchResultErrorEntry| {
            let index = entry.id.parse().ok().filter(|index| *index < bodies.len())?;
            let reason = match entry.message.as_deref().map(one_line) {
                Some(message) if !message.is_empty() => format!("{message} ({})", entry.code),
                _ => entry.code,
            };
            Some(Unsent { index, reason })
        };
        Ok(answer.failed.into_iter().filter_map(unsent).collect())
    }

    async fn receive(&self, max: usize, visibility: Duration, wait: Duration) -> Result<Vec<Delivery>, Failure> {
        let max = i32::try_from(max.clamp(1, MAX_MESSAGES_PER_BATCH)).unwrap_or(1);
        let answer = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(max)
            .visibility_timeout(whole_seconds(visibility.min(MAX_VISIBILITY)))
            .wait_time_seconds(whole_seconds(wait.min(MAX_WAIT)))
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .message_attribute_names(TRACEPARENT)
            .send()
            .await
            .map_err(|error| self.failed("ReceiveMessage", &error))?;
        let delivery = |message: aws_sdk_sqs::types::Message| {
            let count =
                message.attributes().and_then(|all| all.get(&MessageSystemAttributeName::ApproximateReceiveCount));
            let receive_count = count.and_then(|count| count.parse().ok()).unwrap_or(1);
            let trace = message.message_attributes().and_then(|all| all.get(TRACEPARENT));
            let trace = trace.and_then(|attribute| attribute.string_value().map(str::to_owned));
            // Without a receipt nothing can be done with the message; it comes back when its visibility ends.
            let receipt = message.receipt_handle?;
            Some(Delivery { body: message.body.unwrap_or_default(), receipt, receive_count, trace })
        };
        Ok(answer.messages.unwrap_or_default().into_iter().filter_map(delivery).collect())
    }

    async fn extend(&self, receipt: &str, visibility: Duration) -> Result<(), Failure> {
        let request = self.client.change_message_visibility().queue_url(&self.url).receipt_handle(receipt);
        let request = request.visibility_timeout(whole_seconds(visibility.min(MAX_VISIBILITY)));
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) if receipt_is_void(&error) => {
                Err(Failure { kind: FailureKind::NotFound, ..self.failed("ChangeMessageVisibility", &error) })
            }
            Err(error) => Err(self.failed("ChangeMessageVisibility", &error)),
        }
    }

    async fn settle(&self, receipt: &str) -> Result<(), Failure> {
        match self.client.delete_message().queue_url(&self.url).receipt_handle(receipt).send().await {
            Ok(_) => Ok(()),
            Err(error) if receipt_is_void(&error) => Ok(()),
            Err(error) => Err(self.failed("DeleteMessage", &error)),
        }
    }
}

/// Whether the error says that the delivery is over: its visibility ended, or the message is gone.
fn receipt_is_void<E: ProvideErrorMetadata>(error: &SdkError<E, Response>) -> bool {
    let Some(error) = error.as_service_error() else { return false };
    let code = error.code().unwrap_or_default();
    let code = code.rsplit(['#', '.']).next().unwrap_or(code);
    let message = error.message().unwrap_or_default();
    match code {
        "ReceiptHandleIsInvalid" | "MessageNotInflight" => true,
        "InvalidParameterValue" => message.contains("expired") || message.contains("does not exist"),
        _ => false,
    }
}

/// A text as a message's attribute.
fn text_attribute(text: &str) -> Option<MessageAttributeValue> {
    MessageAttributeValue::builder().data_type("String").string_value(text).build().ok()
}

/// Seconds, rounded up: SQS counts in whole ones, and zero means at once.
fn whole_seconds(duration: Duration) -> i32 {
    let rounded = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    i32::try_from(rounded).unwrap_or(i32::MAX)
}

fn dead_letters(policy: &str) -> Option<DeadLetters> {
    #[derive(Deserialize)]
    struct Policy {
        #[serde(rename = "deadLetterTargetArn")]
        queue_arn: String,
        #[serde(rename = "maxReceiveCount")]
        max_receive_count: serde_json::Value,
    }
    let Policy { queue_arn, max_receive_count } = serde_json::from_str(policy).ok()?;
    // The service takes and returns the count as a number or as text.
    let count = match max_receive_count.as_str() {
        Some(text) => text.parse().ok()?,
        None => max_receive_count.as_u64()?,
    };
    Some(DeadLetters { queue_arn, max_receive_count: u32::try_from(count).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::canned::{Answer, Canned};

    #[test]
    fn durations_are_rounded_up_to_whole_seconds() {
        assert_eq!(whole_seconds(Duration::ZERO), 0);
        assert_eq!(whole_seconds(Duration::from_millis(1)), 1);
        assert_eq!(whole_seconds(Duration::from_secs(30)), 30);
    }

    #[test]
    fn a_redrive_policy_counts_in_numbers_or_in_text() {
        let expected = DeadLetters { queue_arn: "arn:aws:sqs:us-east-1:1:dead".into(), max_receive_count: 5 };
        for count in ["5", "\"5\""] {
            let policy =
                format!(r#"{{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:1:dead","maxReceiveCount":{count}}}"#);

            assert_eq!(dead_letters(&policy), Some(expected.clone()), "{policy}");
        }
        assert_eq!(dead_letters("{}"), None);
    }

    fn queue(answers: impl IntoIterator<Item = Answer>) -> SqsQueue {
        SqsQueue::new(Canned::new(answers).sqs(), "https://sqs.us-east-1.amazonaws.com/1/work")
    }

    fn refused(code: &str, message: &str) -> Answer {
        let body = format!(r#"{{"__type":"com.amazonaws.sqs#{code}","message":"{message}"}}"#);
        Answer::new(400, body).with("x-amzn-query-error", format!("{code};Sender"))
    }

    #[tokio::test]
    async fn a_message_that_was_not_accepted_is_told_by_its_place() {
        let body = r#"{"Successful":[{"Id":"0","MessageId":"m","MD5OfMessageBody":"0cc175b9c0f1b6a831c399e269772661"}],
            "Failed":[{"Id":"1","Code":"InternalError","SenderFault":false,"Message":"Try again."}]}"#;

        let unsent = queue([Answer::new(200, body)]).send(&["a".into(), "b".into()], Duration::ZERO).await.unwrap();

        assert_eq!(unsent, [Unsent { index: 1, reason: "try again (InternalError)".into() }]);
    }

    #[tokio::test]
    async fn a_delivery_that_is_over_cannot_be_extended_but_settled() {
        for (code, message) in [
            ("ReceiptHandleIsInvalid", "The receipt handle is not valid."),
            ("AWS.SimpleQueueService.MessageNotInflight", "Not in flight."),
            ("InvalidParameterValue", "Reason: The receipt handle has expired."),
            ("InvalidParameterValue", "Reason: Message does not exist or is not available."),
        ] {
            let queue = queue([refused(code, message), refused(code, message)]);

            let failure = queue.extend("receipt", Duration::from_secs(30)).await.unwrap_err();
            assert_eq!(failure.kind, FailureKind::NotFound, "{failure}");
            queue.settle("receipt").await.unwrap();
        }
        let too_long = refused("InvalidParameterValue", "Total VisibilityTimeout is beyond the limit");
        let failure = queue([too_long]).extend("receipt", Duration::from_secs(30)).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Invalid, "{failure}");
    }

    #[tokio::test]
    async fn a_queue_that_is_missing_is_not_found() {
        let missing = refused("AWS.SimpleQueueService.NonExistentQueue", "The specified queue does not exist.");

        let failure = queue([missing]).check().await.unwrap_err();

        assert_eq!(failure.kind, FailureKind::NotFound, "{failure}");
    }
}
