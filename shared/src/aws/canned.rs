//! Answers of a service, made up by a test.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use aws_credential_types::Credentials;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;

/// One answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn new(status: u16, body: impl Into<String>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// A connection that gives these answers one after the other and keeps what was sent; then it is refused.
#[derive(Clone, Debug, Default)]
pub(super) struct Canned {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    sent: Arc<Mutex<Vec<String>>>,
    uris: Arc<Mutex<Vec<String>>>,
    lengths: Arc<Mutex<Vec<usize>>>,
    headers: Arc<Mutex<Vec<BTreeMap<String, String>>>>,
}

impl Canned {
    pub(super) fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self { answers: Arc::new(Mutex::new(answers.into_iter().collect())), ..Self::default() }
    }

    /// The bodies of the requests, in order.
    pub(super) fn sent(&self) -> Vec<String> {
        self.sent.lock().unwrap().clone()
    }

    /// The methods and URIs of the requests, in order (`GET http://…`).
    pub(super) fn sent_uris(&self) -> Vec<String> {
        self.uris.lock().unwrap().clone()
    }

    /// How many bytes the bodies of the requests have, in order.
    pub(super) fn sent_lengths(&self) -> Vec<usize> {
        self.lengths.lock().unwrap().clone()
    }

    /// One header of the requests, in order.
    pub(super) fn sent_header(&self, name: &str) -> Vec<Option<String>> {
        self.headers.lock().unwrap().iter().map(|headers| headers.get(name).cloned()).collect()
    }

    pub(super) fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(aws_sdk_dynamodb::config::BehaviorVersion::v2026_01_12())
            .region(aws_sdk_dynamodb::config::Region::new("us-east-1"))
            .credentials_provider(credentials())
            .retry_config(aws_sdk_dynamodb::config::retry::RetryConfig::disabled())
            .http_client(self.http());
        aws_sdk_dynamodb::Client::from_conf(config.build())
    }

    pub(super) fn streams(&self) -> aws_sdk_dynamodbstreams::Client {
        let config = aws_sdk_dynamodbstreams::Config::builder()
            .behavior_version(aws_sdk_dynamodbstreams::config::BehaviorVersion::v2026_01_12())
            .region(aws_sdk_dynamodbstreams::config::Region::new("us-east-1"))
            .credentials_provider(credentials())
            .retry_config(aws_sdk_dynamodbstreams::config::retry::RetryConfig::disabled())
            .http_client(self.http());
        aws_sdk_dynamodbstreams::Client::from_conf(config.build())
    }

    pub(super) fn kinesis(&self) -> aws_sdk_kinesis::Client {
        let config = aws_sdk_kinesis::Config::builder()
            .behavior_version(aws_sdk_kinesis::config::BehaviorVersion::v2026_01_12())
            .region(aws_sdk_kinesis::config::Region::new("us-east-1"))
            .credentials_provider(credentials())
            .retry_config(aws_sdk_kinesis::config::retry::RetryConfig::disabled())
            .http_client(self.http());
        aws_sdk_kinesis::Client::from_conf(config.build())
    }

    pub(super) fn sqs(&self) -> aws_sdk_sqs::Client {
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(aws_sdk_sqs::config::BehaviorVersion::v2026_01_12())
            .region(aws_sdk_sqs::config::Region::new("us-east-1"))
            .credentials_provider(credentials())
            .retry_config(aws_sdk_sqs::config::retry::RetryConfig::disabled())
            .http_client(self.http());
        aws_sdk_sqs::Client::from_conf(config.build())
    }

    pub(super) fn s3(&self) -> aws_sdk_s3::Client {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(aws_sdk_s3::config::BehaviorVersion::v2026_01_12())
            .region(aws_sdk_s3::config::Region::new("us-east-1"))
            .credentials_provider(credentials())
            .retry_config(aws_sdk_s3::config::retry::RetryConfig::disabled())
            .http_client(self.http());
        aws_sdk_s3::Client::from_conf(config.build())
    }

    pub(super) fn http(&self) -> SharedHttpClient {
        let connector = SharedHttpConnector::new(self.clone());
        http_client_fn(move |_, _| connector.clone())
    }
}

impl HttpConnector for Canned {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body = request.body().bytes().unwrap_or_default();
        self.lengths.lock().unwrap().push(body.len());
        self.sent.lock().unwrap().push(String::from_utf8_lossy(body).into_owned());
        self.uris.lock().unwrap().push(format!("{} {}", request.method(), request.uri()));
        let headers = request.headers().iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        self.headers.lock().unwrap().push(headers);
        let Some(answer) = self.answers.lock().unwrap().pop_front() else {
            let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
            return HttpConnectorFuture::ready(Err(ConnectorError::io(refused.into())));
        };
        let mut response =
            HttpResponse::new(answer.status.try_into().unwrap(), SdkBody::from(answer.body.into_bytes()));
        for (name, value) in answer.headers {
            response.headers_mut().insert(name, value);
        }
        HttpConnectorFuture::ready(Ok(response))
    }
}

fn credentials() -> Credentials {
    Credentials::new("id", "secret", None, None, "tests")
}
