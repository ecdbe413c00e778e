//! The agent of ECS, as a task sees it: one request, and what its answers mean.
//!
//! It calls `UpdateTaskProtection` with the credentials of the task's role. Source: Amazon ECS Developer Guide, "Amazon
//! ECS task scale-in protection endpoint".

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde_json::json;
use shared::ports::failure::{Failure, FailureKind};
use tokio::time::timeout;

use super::{Ask, EXPIRY};

/// Where the agent is; set by ECS in the containers of its tasks.
const VARIABLE: &str = "ECS_AGENT_URI";

const PATH: &str = "task-protection/v1/state";

const OPERATION: &str = "UpdateTaskProtection";

/// Time for one request; the agent itself gives up on ECS sooner.
const PATIENCE: Duration = Duration::from_secs(6);

/// Longest answer that is read.
const LONGEST_ANSWER: usize = 64 * 1024;

/// The way to the agent. No proxy is between: it is on the same machine.
pub(super) struct Agent {
    client: Client<HttpConnector, Full<Bytes>>,
    uri: Uri,
}

/// An answer: one of these is there.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    protection: Option<Protection>,
    failure: Option<Refusal>,
    error: Option<Trouble>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Protection {
    protection_enabled: bool,
}

/// What ECS does not do: `TASK_NOT_VALID` for a task that is no service's, `DEPLOYMENT_BLOCKED`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Refusal {
    reason: String,
    detail: Option<String>,
}

/// What went wrong on the way, or is not allowed.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Trouble {
    code: String,
    message: String,
}

impl Agent {
    /// The agent of this process's task; none outside of ECS.
    pub(super) fn from_environment() -> Option<Result<Self, Failure>> {
        let base = std::env::var(VARIABLE).ok().filter(|base| !base.is_empty())?;
        Some(Self::at(&base))
    }

    fn at(base: &str) -> Result<Self, Failure> {
        let uri = format!("{}/{PATH}", base.trim_end_matches('/'));
        let uri = uri.parse().ok().filter(|uri: &Uri| uri.scheme_str() == Some("http"));
        let uri =
            uri.ok_or_else(|| failure(FailureKind::Invalid, format!("{VARIABLE} is no URL of HTTP: `{base}`")))?;
        // Minutes lie between two requests; a connection would not last that long.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
        Ok(Self { client, uri })
    }

    /// Asks for it, and waits for the answer, but not for long.
    pub(super) async fn ask(&self, ask: Ask) -> Result<(), Failure> {
        let exchange = async {
            let unreachable = |cause: &dyn Error| failure(FailureKind::Unavailable, innermost(cause));
            let answer = self.client.request(self.request(ask)).await.map_err(|error| unreachable(&error))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await;
            let body = body.map_err(|error| unreachable(&*error))?.to_bytes();
            understand(status, &body, ask)
        };
        let late = |_| failure(FailureKind::Unavailable, format!("no answer within {} seconds", PATIENCE.as_secs()));
        timeout(PATIENCE, exchange).await.map_err(late)?
    }

    fn request(&self, ask: Ask) -> Request<Full<Bytes>> {
        let body = match ask {
            Ask::Protect => json!({ "ProtectionEnabled": true, "ExpiresInMinutes": EXPIRY.as_secs() / 60 }),
            Ask::Lift => json!({ "ProtectionEnabled": false }),
        };
        let mut request = Request::new(Full::new(body.to_string().into()));
        *request.method_mut() = Method::PUT;
        *request.uri_mut() = self.uri.clone();
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request
    }
}

/// What an answer means. A refusal by ECS comes with status 200.
fn understand(status: StatusCode, body: &[u8], ask: Ask) -> Result<(), Failure> {
    let answer: Answer = serde_json::from_slice(body).unwrap_or_default();
    let protected = answer.protection.map(|protection| protection.protection_enabled);
    match (protected, answer.failure, answer.error) {
        (Some(protected), None, None) if status.is_success() && protected == (ask == Ask::Protect) => Ok(()),
        (_, Some(Refusal { reason, detail }), _) => {
            let detail = detail.map(|detail| format!(": {detail}")).unwrap_or_default();
            Err(failure(FailureKind::Invalid, format!("{reason}{detail}")))
        }
        (_, _, Some(Trouble { code, message })) => {
            let kind = match code.as_str() {
                _ if code.contains("AccessDenied") => FailureKind::Denied,
                _ if code.contains("Throttl") => FailureKind::Throttled,
                _ if status.is_client_error() => FailureKind::Invalid,
                _ => FailureKind::Unavailable,
            };
            Err(failure(kind, format!("{message} ({code})")))
        }
        (Some(protected), None, None) => {
            Err(failure(FailureKind::Unavailable, format!("it answered {status}, ProtectionEnabled={protected}")))
        }
        (None, None, None) => Err(failure(FailureKind::Unavailable, format!("it answered {status} and nothing else"))),
    }
}

fn failure(kind: FailureKind, message: String) -> Failure {
    Failure { kind, operation: OPERATION, resource: "the task's own protection".to_owned(), message }
}

fn innermost(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_that_is_documented_is_understood() {
        let protected = r#"{"protection":{"ExpirationDate":"2026-11-28T14:00:00Z","ProtectionEnabled":true,"TaskArn":"arn:aws:ecs:us-west-2:1:task/a/b"}}"#;
        let bare = r#"{"protection":{"ExpirationDate":null,"ProtectionEnabled":false,"TaskArn":"arn:aws:ecs:us-west-2:1:task/a/b"}}"#;
        let not_valid =
            r#"{"failure":{"Arn":"arn:aws:ecs:us-west-2:1:task/a/b","Detail":null,"Reason":"TASK_NOT_VALID"}}"#;
        let blocked = r#"{"failure":{"Arn":"a","Detail":"a protected task","Reason":"DEPLOYMENT_BLOCKED"}}"#;
        let denied = r#"{"error":{"Arn":"a","Code":"AccessDeniedException","Message":"not authorized"}}"#;
        let throttled = r#"{"requestID":"1","error":{"Code":"ThrottlingException","Message":"Rate exceeded"}}"#;
        let wrong = r#"{"error":{"Code":"InvalidParameterException","Message":"no"}}"#;
        let failed = r#"{"error":{"Code":"ServerException","Message":"oops"}}"#;
        let table = [
            (Ask::Protect, 200, protected, Ok(())),
            (Ask::Lift, 200, bare, Ok(())),
            (Ask::Protect, 200, bare, Err((FailureKind::Unavailable, "it answered 200 OK, ProtectionEnabled=false"))),
            (Ask::Lift, 200, protected, Err((FailureKind::Unavailable, "it answered 200 OK, ProtectionEnabled=true"))),
            (Ask::Protect, 200, not_valid, Err((FailureKind::Invalid, "TASK_NOT_VALID"))),
            (Ask::Protect, 200, blocked, Err((FailureKind::Invalid, "DEPLOYMENT_BLOCKED: a protected task"))),
            (Ask::Protect, 400, denied, Err((FailureKind::Denied, "not authorized (AccessDeniedException)"))),
            (Ask::Protect, 400, throttled, Err((FailureKind::Throttled, "Rate exceeded (ThrottlingException)"))),
            (Ask::Protect, 400, wrong, Err((FailureKind::Invalid, "no (InvalidParameterException)"))),
            (Ask::Protect, 500, failed, Err((FailureKind::Unavailable, "oops (ServerException)"))),
            (
                Ask::Protect,
                404,
                "404 page not found",
                Err((FailureKind::Unavailable, "it answered 404 Not Found and nothing else")),
            ),
            (Ask::Protect, 200, "", Err((FailureKind::Unavailable, "it answered 200 OK and nothing else"))),
        ];
        for (ask, status, body, expected) in table {
            let understood = understand(StatusCode::from_u16(status).unwrap(), body.as_bytes(), ask);
            let understood = understood.map_err(|failure| (failure.kind, failure.message));
            assert_eq!(understood, expected.map_err(|(kind, message)| (kind, message.to_owned())), "{status} {body}");
        }
    }

    #[test]
    fn the_endpoint_lies_below_what_ecs_sets() {
        for base in ["http://169.254.170.2/api/some-id", "http://169.254.170.2/api/some-id/"] {
            let uri = Agent::at(base).unwrap().uri.to_string();
            assert_eq!(uri, "http://169.254.170.2/api/some-id/task-protection/v1/state");
        }
        for base in ["", "no url", "ftp://169.254.170.2/api"] {
            assert_eq!(Agent::at(base).err().unwrap().kind, FailureKind::Invalid, "{base}");
        }
    }

    #[tokio::test]
    async fn an_agent_that_is_not_there_is_a_failure_that_may_pass() {
        let failure = Agent::at("http://127.0.0.1:1/api/id").unwrap().ask(Ask::Protect).await.unwrap_err();

        assert!(failure.may_pass(), "{failure}");
        assert!(failure.message.contains("refused"), "{failure}");
    }
}
