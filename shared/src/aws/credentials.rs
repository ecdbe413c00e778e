//! Where credentials come from when the SDK's own sources say too little.

use std::time::SystemTime;

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};

/// The credentials of a profile; says its name when there are none.
#[derive(Debug)]
pub(super) struct NamedProfile {
    name: String,
    provider: ProfileFileCredentialsProvider,
}

impl NamedProfile {
    pub(super) fn new(name: &str, provider: ProfileFileCredentialsProvider) -> Self {
        Self { name: name.to_owned(), provider }
    }
}

impl ProvideCredentials for NamedProfile {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async move {
            self.provider.provide_credentials().await.map_err(|error| match error {
                CredentialsError::CredentialsNotLoaded(_) => CredentialsError::invalid_configuration(format!(
                    "the profile `{}` is not defined, or names no credentials",
                    self.name
                )),
                other => other,
            })
        })
    }
}

/// Temporary credentials that cannot be renewed without a new code.
#[derive(Debug)]
pub(super) struct Session(Credentials);

impl Session {
    pub(super) fn new(credentials: Credentials) -> Self {
        Self(credentials)
    }
}

impl ProvideCredentials for Session {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let ended = self.0.expiry().is_some_and(|expiry| expiry <= SystemTime::now());
        future::ProvideCredentials::ready(if ended {
            Err(CredentialsError::invalid_configuration("the session ended; sign in again with a new code"))
        } else {
            Ok(self.0.clone())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_session_that_ended_asks_for_a_new_code() {
        let ended = Some(SystemTime::UNIX_EPOCH);
        let session = Session::new(Credentials::new("id", "secret", None, ended, "tests"));

        let error = session.provide_credentials().await.unwrap_err();

        assert!(format!("{error:?}").contains("sign in again"), "{error:?}");
    }
}
