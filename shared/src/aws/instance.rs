//! What an instance of EC2 is told of its end, read from its metadata service.
//!
//! It is no port: there is nothing to put in its place but the service's own protocol, which tests speak.

use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::imds::client::{Client, error::ImdsError};
use aws_config::provider_config::ProviderConfig;
use aws_smithy_http_client::Builder;

use super::classify;
use crate::ports::failure::{Failure, FailureKind};

/// Turns the metadata service off for everything that uses it; a variable of the SDK.
const DISABLED: &str = "AWS_EC2_METADATA_DISABLED";

/// Source: Amazon EC2 User Guide, "Spot Instance interruption notices".
const INSTANCE_ACTION: &str = "/latest/meta-data/spot/instance-action";

/// Source: Amazon EC2 User Guide, "EC2 instance rebalance recommendations".
const REBALANCE: &str = "/latest/meta-data/events/recommendations/rebalance";

/// Source: Amazon EC2 Auto Scaling User Guide, "Retrieve the target lifecycle state through instance metadata".
const TARGET_STATE: &str = "/latest/meta-data/autoscaling/target-lifecycle-state";

/// Time for one request; the service is on the same machine.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the service says, in its own words; nothing where it has nothing to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// That the Spot instance is about to be taken: an action and a time.
    pub instance_action: Option<String>,
    /// That the Spot instance is at a higher risk than others: a time.
    pub rebalance: Option<String>,
    /// Where the instance's Auto Scaling group wants it to be: the name of a state.
    pub target_state: Option<String>,
}

/// The metadata service, version 2.
pub struct InstanceMetadata {
    client: Client,
}

impl InstanceMetadata {
    /// Where the variables and the configuration of the SDK say it is; none where they turn it off.
    #[must_use]
    pub fn from_environment() -> Option<Self> {
        let is_off = std::env::var(DISABLED).is_ok_and(|value| value.eq_ignore_ascii_case("true"));
        (!is_off).then(|| Self { client: client() })
    }

    /// Reads all that there is to know, the most urgent first, as far as the service answers; and the first failure.
    ///
    /// It does not try again: whoever polls does.
    pub async fn read(&mut self) -> (Told, Option<Failure>) {
        let mut told = Told::default();
        let mut failure = None;
        for (path, into) in [
            (INSTANCE_ACTION, &mut told.instance_action),
            (REBALANCE, &mut told.rebalance),
            (TARGET_STATE, &mut told.target_state),
        ] {
            match self.get(path).await {
                Ok(text) => *into = text,
                Err(failed) => failure = failure.or(Some(failed)),
            }
        }
        (told, failure)
    }

    async fn get(&mut self, path: &'static str) -> Result<Option<String>, Failure> {
        let answer = self.client.get(path).await;
        let answer = match answer {
            // The token is no good any more, whatever its time. The client would keep it until then.
            Err(error) if status(&error) == Some(401) => {
                self.client = client();
                self.client.get(path).await
            }
            answer => answer,
        };
        match answer {
            Ok(text) => Ok(Some(text.into())),
            Err(error) if status(&error) == Some(404) => Ok(None),
            Err(error) => Err(Failure {
                kind: FailureKind::Unavailable,
                operation: "Get",
                resource: format!("instance metadata {path}"),
                message: match status(&error) {
                    Some(status) => format!("the service answered with status {status}"),
                    None => classify::causes(&error)
                        .last()
                        .map(|cause| classify::one_line(&cause.to_string()))
                        .unwrap_or_default(),
                },
            }),
        }
    }
}

/// A client without a token yet, and without a proxy between.
fn client() -> Client {
    let config = ProviderConfig::without_region()
        .with_behavior_version(Some(BehaviorVersion::v2026_01_12()))
        .with_http_client(Builder::new().build_http());
    Client::builder()
        .configure(&config)
        .max_attempts(1)
        .operation_attempt_timeout(PATIENCE)
        .operation_timeout(PATIENCE)
        .build()
}

fn status(error: &ImdsError) -> Option<u16> {
    match error {
        ImdsError::ErrorResponse(answer) => Some(answer.response().status().as_u16()),
        _ => None,
    }
}
