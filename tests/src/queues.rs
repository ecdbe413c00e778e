//! SQS queues for tests: each with a dead-letter queue, and looked at from outside.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Region};
use aws_sdk_sqs::types::QueueAttributeName as Attribute;
use serde_json::json;

use crate::ministack::{MiniStack, unique};
use crate::process::{REGION, credentials};

/// A queue and the dead-letter queue behind it.
#[derive(Clone, Debug)]
pub struct Queue {
    client: Client,
    /// The queue's URL.
    pub url: String,
    /// The dead-letter queue's URL.
    pub dead_letter_url: String,
}

/// How many messages a queue has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Can be received.
    pub visible: u64,
    /// Are with a receiver.
    pub in_flight: u64,
    /// Are held back.
    pub delayed: u64,
    /// Are in the dead-letter queue.
    pub dead: u64,
}

impl Queue {
    /// Creates both queues; a message that was received `max_receives` times goes to the dead-letter queue.
    pub async fn create(server: &MiniStack, visibility: Duration, max_receives: u32) -> Self {
        let client = client(server);
        let name = unique("queue");
        let dead_letter_url = create(&client, &format!("{name}-dead"), &[]).await;
        let arn = attribute(&client, &dead_letter_url, Attribute::QueueArn).await;
        let redrive = json!({"deadLetterTargetArn": arn, "maxReceiveCount": max_receives.to_string()}).to_string();
        let visibility = visibility.as_secs().to_string();
        let attributes = [(Attribute::RedrivePolicy, redrive), (Attribute::VisibilityTimeout, visibility)];
        let url = create(&client, &name, &attributes).await;
        Self { client, url, dead_letter_url }
    }

    /// The client, for what the helpers lack.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Sends one message.
    pub async fn send(&self, body: &str) {
        self.client.send_message().queue_url(&self.url).message_body(body).send().await.expect("the message is sent");
    }

    /// Receives one message, if there is any, and leaves it in flight; gives its body and receipt.
    pub async fn receive(&self) -> Option<(String, String)> {
        let answer = self.client.receive_message().queue_url(&self.url).send().await.expect("the queue answers");
        let message = answer.messages.unwrap_or_default().into_iter().next()?;
        Some((message.body.unwrap_or_default(), message.receipt_handle.unwrap_or_default()))
    }

    /// Makes a received message visible again at once.
    pub async fn give_back(&self, receipt: &str) {
        let request = self.client.change_message_visibility().queue_url(&self.url).receipt_handle(receipt);
        request.visibility_timeout(0).send().await.expect("the message is given back");
    }

    /// Deletes a received message.
    pub async fn delete(&self, receipt: &str) {
        let request = self.client.delete_message().queue_url(&self.url).receipt_handle(receipt);
        request.send().await.expect("the message is deleted");
    }

    /// Counts the messages.
    pub async fn counts(&self) -> Counts {
        let count = async |url: &str, which: Attribute| {
            attribute(&self.client, url, which).await.parse().expect("a count is a number")
        };
        Counts {
            visible: count(&self.url, Attribute::ApproximateNumberOfMessages).await,
            in_flight: count(&self.url, Attribute::ApproximateNumberOfMessagesNotVisible).await,
            delayed: count(&self.url, Attribute::ApproximateNumberOfMessagesDelayed).await,
            dead: count(&self.dead_letter_url, Attribute::ApproximateNumberOfMessages).await,
        }
    }

    /// The bodies in the dead-letter queue, which is empty afterwards.
    pub async fn take_dead_letters(&self) -> Vec<String> {
        let mut bodies = Vec::new();
        loop {
            let receive = self.client.receive_message().queue_url(&self.dead_letter_url).max_number_of_messages(10);
            let messages = receive.send().await.expect("the queue answers").messages.unwrap_or_default();
            if messages.is_empty() {
                return bodies;
            }
            for message in messages {
                let delete = self.client.delete_message().queue_url(&self.dead_letter_url);
                let receipt = message.receipt_handle.unwrap_or_default();
                delete.receipt_handle(receipt).send().await.expect("the message is deleted");
                bodies.push(message.body.unwrap_or_default());
            }
        }
    }
}

fn client(server: &MiniStack) -> Client {
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .credentials_provider(credentials())
        .endpoint_url(server.endpoint())
        .build();
    Client::from_conf(config)
}

async fn create(client: &Client, name: &str, attributes: &[(Attribute, String)]) -> String {
    let attributes = attributes.iter().cloned().collect();
    let answer = client.create_queue().queue_name(name).set_attributes(Some(attributes)).send().await;
    answer.expect("the queue is created").queue_url.expect("a queue has a URL")
}

async fn attribute(client: &Client, url: &str, which: Attribute) -> String {
    let answer = client.get_queue_attributes().queue_url(url).attribute_names(which.clone()).send().await;
    let attributes = answer.expect("the queue answers").attributes.unwrap_or_default();
    attributes.get(&which).cloned().unwrap_or_else(|| panic!("{url} does not tell {which:?}"))
}
