//! Whose credentials, which region, which endpoint: the one place that builds SDK configuration and clients.
//!
//! There is one configuration per identity and region, and one client per identity, region and endpoint; all share one
//! pool of connections. Clients of tables and of streams do not retry, because [`crate::retry`] goes around
//! them; the others retry as the SDK does by default.
//!
//! The SDK's watch over stalled streams steps through every instant that the wall clock jumps over while a request is
//! under way, and holds up the whole process meanwhile. So it is off where the time for one try covers all of the
//! request; what remains is the body of an S3 object, which is read after the try.

mod streams;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_config::default_provider::region::DefaultRegionChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::config::{RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Builder, ConnectorBuilder};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use tokio::sync::Mutex;
use url::Url;

use super::classify;
use super::credentials::{NamedProfile, Session};
use crate::domain::job::{Access, Side};
use crate::ports::failure::{Failure, FailureKind};

pub use streams::region_of_arn;

/// Time to open a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Time for one try of a DynamoDB call; a page of 1 MB needs far less.
const TABLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Time for one try of an SQS call; longer than the 20 s a receive waits for messages.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(35);

/// Time for one try of an S3 or STS call.
pub(super) const STORE_TIMEOUT: Duration = Duration::from_secs(30);

/// Names us in the trails of accounts whose roles are assumed.
const SESSION_NAME: &str = "dynamend";

/// What the whole process was told, on its command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientSettings {
    /// The profile of the AWS configuration (`--profile`).
    pub profile: Option<String>,
    /// The region of the queue and the bucket (`--region`).
    pub region: Option<String>,
    /// Another endpoint than AWS's own (`--endpoint-url`).
    pub endpoint_url: Option<String>,
}

/// A code from a second factor, and the device it comes from.
pub struct Mfa {
    /// The device's serial number or ARN.
    pub serial: String,
    /// The code it shows; secret, and good for one use.
    pub token: String,
}

impl std::fmt::Debug for Mfa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mfa").field("serial", &self.serial).finish_non_exhaustive()
    }
}

/// All clients of the process, built when they are first asked for.
///
/// Clones share everything.
#[derive(Clone)]
pub struct Clients {
    settings: Arc<ClientSettings>,
    http: SharedHttpClient,
    cache: Arc<Mutex<Cache>>,
    /// What every client signs with, instead of looking for credentials.
    fixed: Option<SharedCredentialsProvider>,
}

/// Who a client acts as.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Identity {
    profile: Option<String>,
    role_arn: Option<String>,
    external_id: Option<String>,
}

impl Identity {
    /// Who assumes the role.
    fn without_role(&self) -> Self {
        Self { profile: self.profile.clone(), ..Self::default() }
    }
}

#[derive(Default)]
struct Cache {
    sessions: HashMap<Identity, SharedCredentialsProvider>,
    configs: HashMap<(Identity, Option<String>), SdkConfig>,
    tables: HashMap<(Identity, String, Option<String>), aws_sdk_dynamodb::Client>,
    streams: HashMap<(Identity, String, Option<String>), aws_sdk_dynamodbstreams::Client>,
    kinesis: HashMap<(Identity, String), aws_sdk_kinesis::Client>,
    queues: HashMap<Option<String>, aws_sdk_sqs::Client>,
    buckets: HashMap<Option<String>, aws_sdk_s3::Client>,
}

impl Clients {
    /// No client is built and nothing is read yet.
    #[must_use]
    pub fn new(settings: ClientSettings) -> Self {
        Self { settings: Arc::new(settings), http: http_client(), cache: Arc::default(), fixed: None }
    }

    /// Clients for an emulator, which wants requests signed and does not care by whom.
    #[must_use]
    pub fn for_emulator(settings: ClientSettings) -> Self {
        let anyone = Credentials::new("emulator", "emulator", None, None, "emulator");
        Self { fixed: Some(SharedCredentialsProvider::new(anyone)), ..Self::new(settings) }
    }

    /// Clients that sign with this access key and its secret, and look for no other credentials.
    #[must_use]
    pub fn signing_with(settings: ClientSettings, id: &str, secret: &str) -> Self {
        let keys = Credentials::new(id, secret, None, None, "settings");
        Self { fixed: Some(SharedCredentialsProvider::new(keys)), ..Self::new(settings) }
    }

    /// The client for a table. The SDK does not retry its calls.
    ///
    /// # Errors
    /// `Failure` when the configuration cannot be used; credentials are looked for at the first call only.
    pub async fn dynamodb(&self, side: &Side) -> Result<aws_sdk_dynamodb::Client, Failure> {
        let identity = self.identity(&side.access);
        let region = side.table.region().to_owned();
        let endpoint = side.access.endpoint_url.as_ref().or(self.settings.endpoint_url.as_ref()).cloned();
        check_endpoint("CreateClient", endpoint.as_deref())?;
        let mut cache = self.cache.lock().await;
        let key = (identity, region, endpoint);
        if let Some(client) = cache.tables.get(&key) {
            return Ok(client.clone());
        }
        let (identity, region, endpoint) = key;
        let config = self.config(&mut cache, &identity, Some(&region)).await;
        let mut builder = aws_sdk_dynamodb::config::Builder::from(&config)
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .timeout_config(timeouts(TABLE_TIMEOUT));
        if endpoint.is_some() {
            builder.set_endpoint_url(endpoint.clone());
        }
        let client = aws_sdk_dynamodb::Client::from_conf(builder.build());
        cache.tables.insert((identity, region, endpoint), client.clone());
        Ok(client)
    }

    /// The client for a queue, in the region that its URL names, else that of the settings.
    ///
    /// # Errors
    /// `Invalid` when no region can be found.
    pub async fn sqs(&self, queue_url: &str) -> Result<aws_sdk_sqs::Client, Failure> {
        let region = queue_region(queue_url).or_else(|| self.settings.region.clone());
        let mut cache = self.cache.lock().await;
        if let Some(client) = cache.queues.get(&region) {
            return Ok(client.clone());
        }
        let resource = || format!("queue `{queue_url}`");
        let config = self.own_config(&mut cache, region.as_deref(), resource).await?;
        let mut builder = aws_sdk_sqs::config::Builder::from(&config)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .timeout_config(timeouts(QUEUE_TIMEOUT));
        if let Some(endpoint) = self.endpoint_unless_set_for("SQS")? {
            builder.set_endpoint_url(Some(endpoint));
        }
        let client = aws_sdk_sqs::Client::from_conf(builder.build());
        cache.queues.insert(region, client.clone());
        Ok(client)
    }

    /// The client for buckets in a region; without one, in that of the settings.
    ///
    /// # Errors
    /// `Invalid` when no region can be found.
    pub async fn s3(&self, region: Option<&str>) -> Result<aws_sdk_s3::Client, Failure> {
        let region = region.or(self.settings.region.as_deref()).map(str::to_owned);
        let mut cache = self.cache.lock().await;
        if let Some(client) = cache.buckets.get(&region) {
            return Ok(client.clone());
        }
        let config = self.own_config(&mut cache, region.as_deref(), || "the bucket".to_owned()).await?;
        let mut builder = aws_sdk_s3::config::Builder::from(&config)
            .stalled_stream_protection(StalledStreamProtectionConfig::enabled().upload_enabled(false).build())
            .timeout_config(timeouts(STORE_TIMEOUT));
        let endpoint = self.endpoint_unless_set_for("S3")?;
        // An emulator answers under one name, and not under one per bucket.
        let overridden = endpoint.is_some() || service_endpoint("S3").is_some() || config.endpoint_url().is_some();
        if endpoint.is_some() {
            builder.set_endpoint_url(endpoint);
        }
        builder = builder
            .force_path_style(overridden)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
        let client = aws_sdk_s3::Client::from_conf(builder.build());
        cache.buckets.insert(region, client.clone());
        Ok(client)
    }

    /// Assumes the role of `access` with a second factor; later clients of the same identity, whatever their region
    /// and endpoint, use the credentials. They are kept in memory only, and end with the role's session.
    ///
    /// # Errors
    /// `Invalid` when `access` has no role; `Denied` when the service refuses.
    pub async fn sign_in(&self, access: &Access, region: &str, mfa: &Mfa) -> Result<(), Failure> {
        let identity = self.identity(access);
        let Some(role_arn) = identity.role_arn.clone() else {
            let message = "signing in with a second factor needs a role to assume";
            return Err(invalid("AssumeRole", format!("device `{}`", mfa.serial), message));
        };
        let mut cache = self.cache.lock().await;
        let config = self.config(&mut cache, &identity.without_role(), Some(region)).await;
        let config = self.for_sts(&config).await;
        let sts = aws_sdk_sts::config::Builder::from(&config).timeout_config(timeouts(STORE_TIMEOUT));
        let request = aws_sdk_sts::Client::from_conf(sts.build()).assume_role().role_arn(&role_arn);
        let request = request.role_session_name(SESSION_NAME).set_external_id(identity.external_id.clone());
        let answer = request.serial_number(&mfa.serial).token_code(&mfa.token).send().await;
        let resource = || format!("role `{role_arn}`");
        let answer = answer.map_err(|error| classify::failure("AssumeRole", resource(), &error))?;
        let credentials = answer.credentials.ok_or_else(|| Failure {
            kind: FailureKind::Unavailable,
            operation: "AssumeRole",
            resource: resource(),
            message: "the answer has no credentials".to_owned(),
        })?;
        let session = Session::new(Credentials::new(
            credentials.access_key_id,
            credentials.secret_access_key,
            Some(credentials.session_token),
            SystemTime::try_from(credentials.expiration).ok(),
            "AssumeRole with a second factor",
        ));
        cache.configs.retain(|(other, _), _| *other != identity);
        cache.tables.retain(|(other, _, _), _| *other != identity);
        cache.streams.retain(|(other, _, _), _| *other != identity);
        cache.kinesis.retain(|(other, _), _| *other != identity);
        cache.sessions.insert(identity, SharedCredentialsProvider::new(session));
        Ok(())
    }

    fn identity(&self, access: &Access) -> Identity {
        Identity {
            profile: access.profile.clone().or_else(|| self.settings.profile.clone()),
            role_arn: access.role_arn.clone(),
            external_id: access.external_id.clone(),
        }
    }

    /// The configuration of the process's own identity; for queue and bucket.
    async fn own_config(
        &self,
        cache: &mut Cache,
        region: Option<&str>,
        resource: impl FnOnce() -> String,
    ) -> Result<SdkConfig, Failure> {
        let config = self.config(cache, &self.identity(&Access::default()), region).await;
        if config.region().is_none() {
            let message = "no region is known: give --region, set AWS_REGION, or name one in the profile";
            return Err(invalid("CreateClient", resource(), message));
        }
        Ok(config)
    }

    async fn config(&self, cache: &mut Cache, identity: &Identity, region: Option<&str>) -> SdkConfig {
        let key = (identity.clone(), region.map(str::to_owned));
        if let Some(config) = cache.configs.get(&key) {
            return config.clone();
        }
        let session = cache.sessions.get(identity).cloned();
        let config = match (&identity.role_arn, session) {
            (Some(role_arn), None) => {
                let own = Box::pin(self.config(cache, &identity.without_role(), region)).await;
                self.assuming(role_arn, identity.external_id.as_deref(), own).await
            }
            (_, session) => self.load(identity.profile.as_deref(), region, session).await,
        };
        cache.configs.insert(key, config.clone());
        config
    }

    async fn load(
        &self,
        profile: Option<&str>,
        region: Option<&str>,
        session: Option<SharedCredentialsProvider>,
    ) -> SdkConfig {
        let mut loader = self.loader(region);
        if let Some(profile) = profile {
            loader = loader.profile_name(profile);
        }
        loader = match (session, profile) {
            (Some(session), _) => loader.credentials_provider(session),
            (None, Some(profile)) => loader.credentials_provider(self.profile_credentials(profile, region).await),
            (None, None) => loader,
        };
        Box::pin(loader.load()).await
    }

    /// The same configuration with the credentials of a role, which renew themselves.
    async fn assuming(&self, role_arn: &str, external_id: Option<&str>, config: SdkConfig) -> SdkConfig {
        let mut role = AssumeRoleProvider::builder(role_arn).session_name(SESSION_NAME);
        if let Some(external_id) = external_id {
            role = role.external_id(external_id);
        }
        let role = role.configure(&self.for_sts(&config).await).build().await;
        config.into_builder().credentials_provider(SharedCredentialsProvider::new(role)).build()
    }

    /// The same configuration for STS, which answers where the settings say.
    async fn for_sts(&self, config: &SdkConfig) -> SdkConfig {
        let endpoint = service_endpoint("STS").is_none().then(|| self.settings.endpoint_url.clone()).flatten();
        let (Some(endpoint), Some(credentials)) = (endpoint, config.credentials_provider()) else {
            return config.clone();
        };
        let region = config.region().map(ToString::to_string);
        let loader = self.loader(region.as_deref()).credentials_provider(credentials).endpoint_url(endpoint);
        Box::pin(loader.load()).await
    }

    fn loader(&self, region: Option<&str>) -> ConfigLoader {
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(self.http.clone());
        if let Some(fixed) = &self.fixed {
            loader = loader.credentials_provider(fixed.clone());
        }
        match region {
            Some(region) => loader.region(Region::new(region.to_owned())),
            None => loader,
        }
    }

    /// A profile that was named wins over credentials in the environment, as with the AWS CLI: two tables may be two
    /// accounts', and the environment's credentials would be the wrong ones for one of them.
    async fn profile_credentials(&self, profile: &str, region: Option<&str>) -> NamedProfile {
        let region = match region {
            Some(region) => Some(Region::new(region.to_owned())),
            None => DefaultRegionChain::builder().profile_name(profile).build().region().await,
        };
        let config = ProviderConfig::without_region()
            .with_region(region)
            .with_behavior_version(Some(BehaviorVersion::v2026_01_12()))
            .with_http_client(self.http.clone());
        let provider = ProfileFileCredentialsProvider::builder().profile_name(profile).configure(&config).build();
        NamedProfile::new(profile, provider)
    }

    /// The endpoint of the settings, unless the environment names one for this very service.
    fn endpoint_unless_set_for(&self, service: &str) -> Result<Option<String>, Failure> {
        if service_endpoint(service).is_some() {
            return Ok(None);
        }
        check_endpoint("CreateClient", self.settings.endpoint_url.as_deref())?;
        Ok(self.settings.endpoint_url.clone())
    }
}

/// The region in the URL of an SQS queue, when it has the form of AWS's own.
#[must_use]
pub fn queue_region(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let host = url.host_str()?;
    let labels: Vec<&str> = ["amazonaws.com", "amazonaws.com.cn", "api.aws"]
        .iter()
        .find_map(|domain| host.strip_suffix(domain)?.strip_suffix('.'))?
        .split('.')
        .collect();
    let region = match labels.as_slice() {
        ["queue"] => "us-east-1",
        [region, "queue"] | ["sqs" | "sqs-fips", region] | [_, "sqs", region, "vpce"] => region,
        _ => return None,
    };
    Some(region.to_owned())
}

/// The endpoint that the environment names for one service.
fn service_endpoint(service: &str) -> Option<String> {
    std::env::var(format!("AWS_ENDPOINT_URL_{service}")).ok().filter(|endpoint| !endpoint.is_empty())
}

fn check_endpoint(operation: &'static str, endpoint: Option<&str>) -> Result<(), Failure> {
    let Some(endpoint) = endpoint else { return Ok(()) };
    let url = Url::parse(endpoint);
    // It goes into manifests and messages to the user, which hold no secrets.
    if let Ok(url) = &url
        && (!url.username().is_empty() || url.password().is_some())
    {
        let host = url.host_str().unwrap_or_default();
        return Err(invalid(
            operation,
            format!("endpoint at `{host}`"),
            "an endpoint has no user name and no password",
        ));
    }
    let usable = url.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let message = "an endpoint is written as http://HOST:PORT or https://HOST";
    if usable { Ok(()) } else { Err(invalid(operation, format!("endpoint `{endpoint}`"), message)) }
}

fn invalid(operation: &'static str, resource: String, message: &str) -> Failure {
    Failure { kind: FailureKind::Invalid, operation, resource, message: message.to_owned() }
}

pub(super) fn timeouts(attempt: Duration) -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_attempt_timeout(attempt).build()
}

/// One pool of connections for all clients; HTTP proxies of the environment are honoured.
fn http_client() -> SharedHttpClient {
    Builder::new().build_with_connector_fn(|settings, components| {
        let mut connector = ConnectorBuilder::default().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
        connector.set_connector_settings(settings.cloned());
        if let Some(components) = components {
            connector.set_sleep_impl(components.sleep_impl());
        }
        connector.proxy_config(ProxyConfig::from_env()).build()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::canned::{Answer, Canned};

    fn role() -> Access {
        let role_arn = Some("arn:aws:iam::1:role/reader".to_owned());
        Access { role_arn, external_id: Some("agreed".into()), ..Access::default() }
    }

    /// Clients whose own credentials are a session, so that nothing is looked for outside.
    async fn canned(connection: &Canned) -> Clients {
        let clients = Clients { http: connection.http(), ..Clients::new(ClientSettings::default()) };
        let session = Session::new(Credentials::new("id", "secret", None, None, "tests"));
        let own = clients.identity(&Access::default());
        clients.cache.lock().await.sessions.insert(own, SharedCredentialsProvider::new(session));
        clients
    }

    fn assumed() -> Answer {
        Answer::new(
            200,
            "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>a</AccessKeyId>\
             <SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>\
             <Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>",
        )
    }

    fn tables() -> Answer {
        Answer::new(200, r#"{"TableNames":[]}"#)
    }

    fn side(text: &str, access: Access) -> Side {
        Side::new(text.parse().unwrap(), access)
    }

    #[test]
    fn the_region_is_read_off_the_url_of_a_queue_of_aws() {
        for (url, region) in [
            ("https://sqs.eu-west-1.amazonaws.com/123456789012/work", Some("eu-west-1")),
            ("https://sqs-fips.us-gov-west-1.amazonaws.com/1/work", Some("us-gov-west-1")),
            ("https://sqs.cn-north-1.amazonaws.com.cn/1/work", Some("cn-north-1")),
            ("https://sqs.eu-west-1.api.aws/1/work", Some("eu-west-1")),
            ("https://eu-west-1.queue.amazonaws.com/1/work", Some("eu-west-1")),
            ("https://queue.amazonaws.com/1/work", Some("us-east-1")),
            ("https://vpce-0a1b-2c3d.sqs.eu-west-1.vpce.amazonaws.com/1/work", Some("eu-west-1")),
            ("http://127.0.0.1:4566/000000000000/work", None),
            ("https://sqs.eu-west-1.example.com/1/work", None),
            ("work", None),
        ] {
            assert_eq!(queue_region(url).as_deref(), region, "{url}");
        }
    }

    #[test]
    fn a_code_is_never_shown() {
        let mfa = Mfa { serial: "arn:aws:iam::1:mfa/me".into(), token: "123456".into() };

        let shown = format!("{mfa:?}");

        assert!(shown.contains("mfa/me") && !shown.contains("123456"), "{shown}");
    }

    #[tokio::test]
    async fn one_client_serves_one_identity_region_and_endpoint() {
        let clients = Clients::new(ClientSettings::default());
        let local = Access { endpoint_url: Some("http://127.0.0.1:1".into()), ..Access::default() };
        for access in [Access::default(), local.clone(), local] {
            clients.dynamodb(&side("us-east-1:orders", access.clone())).await.unwrap();
            clients.dynamodb(&side("us-east-1:others", access.clone())).await.unwrap();
            clients.dynamodb(&side("eu-west-1:orders", access)).await.unwrap();
        }

        let cache = clients.cache.lock().await;

        assert_eq!(cache.tables.len(), 4);
        assert_eq!(cache.configs.len(), 2);
    }

    #[tokio::test]
    async fn an_endpoint_that_is_none_is_refused() {
        for endpoint in ["localhost:8000", "ftp://host", "", "http://"] {
            let settings = ClientSettings { endpoint_url: Some(endpoint.into()), ..ClientSettings::default() };
            let clients = Clients::new(settings);

            let failure = clients.dynamodb(&side("us-east-1:orders", Access::default())).await.unwrap_err();

            assert_eq!(failure.kind, FailureKind::Invalid, "{endpoint}");
        }
    }

    #[tokio::test]
    async fn an_endpoint_with_a_password_is_refused_without_repeating_it() {
        let access = Access { endpoint_url: Some("https://me:s3cr3t@host:8000".into()), ..Access::default() };

        let failure = Clients::new(ClientSettings::default()).dynamodb(&side("us-east-1:orders", access)).await;
        let failure = failure.unwrap_err();

        assert_eq!(failure.kind, FailureKind::Invalid);
        assert!(failure.to_string().contains("`host`") && !failure.to_string().contains("s3cr3t"), "{failure}");
    }

    #[tokio::test]
    async fn a_profile_that_is_not_there_is_denied_by_name() {
        let access = Access {
            profile: Some("dynamend-no-such-profile".into()),
            endpoint_url: Some("http://127.0.0.1:1".into()),
            ..Access::default()
        };
        let client = Clients::new(ClientSettings::default()).dynamodb(&side("us-east-1:orders", access)).await.unwrap();

        let error = client.list_tables().send().await.unwrap_err();
        let failure = classify::failure("ListTables", "here".into(), &error);

        assert_eq!(failure.kind, FailureKind::Denied, "{failure}");
        assert!(failure.message.contains("dynamend-no-such-profile"), "{failure}");
    }

    #[tokio::test]
    async fn a_role_is_assumed_with_its_external_id() {
        let connection = Canned::new([assumed(), tables()]);
        let client = canned(&connection).await.dynamodb(&side("us-east-1:orders", role())).await.unwrap();

        client.list_tables().send().await.unwrap();

        let assume = &connection.sent()[0];
        assert!(assume.contains("Action=AssumeRole") && assume.contains("ExternalId=agreed"), "{assume}");
        assert!(assume.contains("RoleSessionName=dynamend"), "{assume}");
    }

    #[tokio::test]
    async fn a_role_that_is_refused_is_denied_in_the_words_of_the_service() {
        let body =
            "<ErrorResponse><Error><Code>AccessDenied</Code><Message>Not yours.</Message></Error></ErrorResponse>";
        let clients = canned(&Canned::new([Answer::new(403, body)])).await;
        let client = clients.dynamodb(&side("us-east-1:orders", role())).await.unwrap();

        let error = client.list_tables().send().await.unwrap_err();
        let failure = classify::failure("ListTables", "here".into(), &error);

        assert_eq!(failure.kind, FailureKind::Denied, "{failure}");
        assert_eq!(failure.message, "no usable AWS credentials: not yours (AccessDenied)");
    }

    #[tokio::test]
    async fn signing_in_serves_every_region_and_endpoint_of_the_identity() {
        let connection = Canned::new([assumed(), tables(), tables()]);
        let clients = canned(&connection).await;
        let mfa = Mfa { serial: "arn:aws:iam::1:mfa/me".into(), token: "123456".into() };

        clients.sign_in(&role(), "us-east-1", &mfa).await.unwrap();
        let local = Access { endpoint_url: Some("http://127.0.0.1:1".into()), ..role() };
        for side in [side("us-east-1:orders", role()), side("eu-west-1:orders", local)] {
            let client = clients.dynamodb(&side).await.unwrap();
            client.list_tables().send().await.unwrap();
        }

        let sent = connection.sent();
        assert!(sent[0].contains("SerialNumber=") && sent[0].contains("TokenCode=123456"), "{}", sent[0]);
        assert_eq!(sent.iter().filter(|body| body.contains("AssumeRole")).count(), 1);
    }

    #[tokio::test]
    async fn signing_in_forgets_the_clients_of_before() {
        let clients = canned(&Canned::new([assumed()])).await;
        let mfa = Mfa { serial: "arn:aws:iam::1:mfa/me".into(), token: "123456".into() };
        for access in [role(), Access::default()] {
            let arn = "arn:aws:kinesis:us-east-1:1:stream/changes";
            clients.kinesis(&access, arn).await.unwrap();
            let side = side("us-east-1:orders", access);
            clients.dynamodb(&side).await.unwrap();
            clients.dynamodb_streams(&side).await.unwrap();
        }

        clients.sign_in(&role(), "us-east-1", &mfa).await.unwrap();

        let cache = clients.cache.lock().await;
        assert_eq!([cache.tables.len(), cache.streams.len(), cache.kinesis.len()], [1, 1, 1]);
    }

    #[tokio::test]
    async fn signing_in_without_a_role_is_refused() {
        let mfa = Mfa { serial: "device".into(), token: "123456".into() };
        let clients = Clients::new(ClientSettings::default());

        let failure = clients.sign_in(&Access::default(), "us-east-1", &mfa).await.unwrap_err();

        assert_eq!(failure.kind, FailureKind::Invalid);
    }
}
