//! Clients for streams of changes. Like those of tables they do not retry, because [`crate::retry`] goes around them.

use aws_config::retry::RetryConfig;
use aws_sdk_s3::config::StalledStreamProtectionConfig;

use super::{Clients, TABLE_TIMEOUT, check_endpoint, invalid, service_endpoint, timeouts};
use crate::domain::job::{Access, Side};
use crate::ports::failure::Failure;

impl Clients {
    /// The client for a table's DynamoDB stream. It goes to the table's endpoint, unless the environment names one for
    /// streams.
    ///
    /// # Errors
    /// `Failure` when the configuration cannot be used; credentials are looked for at the first call only.
    pub async fn dynamodb_streams(&self, side: &Side) -> Result<aws_sdk_dynamodbstreams::Client, Failure> {
        let own = side.access.endpoint_url.as_ref().or(self.settings.endpoint_url.as_ref());
        let endpoint = own.filter(|_| service_endpoint("DYNAMODB_STREAMS").is_none()).cloned();
        check_endpoint("CreateClient", endpoint.as_deref())?;
        let key = (self.identity(&side.access), side.table.region().to_owned(), endpoint);
        let mut cache = self.cache.lock().await;
        if let Some(client) = cache.streams.get(&key) {
            return Ok(client.clone());
        }
        let config = self.config(&mut cache, &key.0, Some(&key.1)).await;
        let mut builder = aws_sdk_dynamodbstreams::config::Builder::from(&config)
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .timeout_config(timeouts(TABLE_TIMEOUT));
        if key.2.is_some() {
            builder.set_endpoint_url(key.2.clone());
        }
        let client = aws_sdk_dynamodbstreams::Client::from_conf(builder.build());
        cache.streams.insert(key, client.clone());
        Ok(client)
    }

    /// The client for the Kinesis stream with this ARN, in the ARN's region. The endpoint of `access` is a table's, and
    /// does not count.
    ///
    /// # Errors
    /// `Invalid` when the ARN is none.
    pub async fn kinesis(&self, access: &Access, arn: &str) -> Result<aws_sdk_kinesis::Client, Failure> {
        let Some(region) = region_of_arn(arn) else {
            let message = "an ARN is written as arn:aws:kinesis:REGION:ACCOUNT:stream/NAME";
            return Err(invalid("CreateClient", format!("stream `{arn}`"), message));
        };
        let endpoint = self.endpoint_unless_set_for("KINESIS")?;
        let key = (self.identity(access), region.to_owned());
        let mut cache = self.cache.lock().await;
        if let Some(client) = cache.kinesis.get(&key) {
            return Ok(client.clone());
        }
        let config = self.config(&mut cache, &key.0, Some(&key.1)).await;
        let mut builder = aws_sdk_kinesis::config::Builder::from(&config)
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .timeout_config(timeouts(TABLE_TIMEOUT));
        if endpoint.is_some() {
            builder.set_endpoint_url(endpoint);
        }
        let client = aws_sdk_kinesis::Client::from_conf(builder.build());
        cache.kinesis.insert(key, client.clone());
        Ok(client)
    }
}

/// The region in an ARN, where it has one.
#[must_use]
pub fn region_of_arn(arn: &str) -> Option<&str> {
    let mut parts = arn.split(':');
    let region = (parts.next() == Some("arn")).then(|| parts.nth(2)).flatten()?;
    // Account and resource follow.
    (!region.is_empty() && parts.nth(1).is_some_and(|resource| !resource.is_empty())).then_some(region)
}

#[cfg(test)]
mod tests {
    use super::super::ClientSettings;
    use super::*;
    use crate::ports::failure::FailureKind;

    const ARN: &str = "arn:aws:kinesis:eu-west-1:123456789012:stream/changes";

    fn side(text: &str, endpoint_url: Option<&str>) -> Side {
        let access = Access { endpoint_url: endpoint_url.map(str::to_owned), ..Access::default() };
        Side::new(text.parse().unwrap(), access)
    }

    #[test]
    fn the_region_is_read_off_an_arn() {
        for (arn, region) in [
            (ARN, Some("eu-west-1")),
            ("arn:aws-cn:dynamodb:cn-north-1:1:table/orders/stream/2026-01-01T00:00:00.000", Some("cn-north-1")),
            ("arn:aws:s3:::bucket", None),
            ("arn:aws:kinesis:eu-west-1:1:", None),
            ("arn:aws:kinesis:eu-west-1:1", None),
            ("kinesis:aws:arn:eu-west-1:1:stream/x", None),
            ("changes", None),
        ] {
            assert_eq!(region_of_arn(arn), region, "{arn}");
        }
    }

    #[tokio::test]
    async fn one_client_serves_one_identity_region_and_endpoint() {
        let clients = Clients::new(ClientSettings::default());
        for endpoint in [None, Some("http://127.0.0.1:1"), Some("http://127.0.0.1:1")] {
            clients.dynamodb_streams(&side("us-east-1:orders", endpoint)).await.unwrap();
            clients.dynamodb_streams(&side("us-east-1:others", endpoint)).await.unwrap();
            clients.dynamodb_streams(&side("eu-west-1:orders", endpoint)).await.unwrap();
            clients.kinesis(&side("us-east-1:orders", endpoint).access, ARN).await.unwrap();
        }

        let cache = clients.cache.lock().await;

        assert_eq!((cache.streams.len(), cache.kinesis.len(), cache.configs.len()), (4, 1, 2));
    }

    #[tokio::test]
    async fn the_clients_of_streams_do_not_retry() {
        let clients = Clients::new(ClientSettings::default());

        let streams = clients.dynamodb_streams(&side("us-east-1:orders", None)).await.unwrap();
        let kinesis = clients.kinesis(&Access::default(), ARN).await.unwrap();

        assert_eq!(streams.config().retry_config().map(RetryConfig::max_attempts), Some(1));
        assert_eq!(kinesis.config().retry_config().map(RetryConfig::max_attempts), Some(1));
    }

    #[tokio::test]
    async fn an_endpoint_or_arn_that_is_none_is_refused() {
        let clients = Clients::new(ClientSettings::default());

        let endpoint = clients.dynamodb_streams(&side("us-east-1:orders", Some("localhost:8000"))).await.unwrap_err();
        let arn = clients.kinesis(&Access::default(), "changes").await.unwrap_err();

        assert_eq!((endpoint.kind, arn.kind), (FailureKind::Invalid, FailureKind::Invalid));
    }
}
