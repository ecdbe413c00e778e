//! What an SDK error means: its kind, and one line for a person.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_dynamodb::operation::RequestId;
use aws_smithy_runtime_api::client::result::{ConnectorError, SdkError};
use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::error::ErrorMetadata;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use serde::Deserialize;

use crate::ports::failure::{Failure, FailureKind};
use crate::telemetry::sample::{self, Sample};

/// Turns the error of an SDK call into a failure of a port.
///
/// The message is the service's own with the error code and the request id, or the innermost cause when no answer
/// came; it never is the SDK's debug output, which holds requests.
pub fn failure<E>(operation: &'static str, resource: String, error: &SdkError<E, Response>) -> Failure
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let (kind, message) = match error {
        // A broken body may come as an error without a code; S3 has answers that are errors though they began well.
        SdkError::ServiceError(context) if context.raw().status().is_success() && context.err().code().is_none() => {
            (FailureKind::Unavailable, "the answer could not be read".to_owned())
        }
        SdkError::ServiceError(context) => {
            let code = context.err().code().unwrap_or_default();
            let status = context.raw().status().as_u16();
            let reasons = throttling_reasons(context.raw());
            let kind = match kind_of_answer(code, status) {
                FailureKind::Throttled if is_hot(&reasons) => FailureKind::HotKeys,
                kind => kind,
            };
            if matches!(kind, FailureKind::Throttled | FailureKind::HotKeys) {
                let reason = reasons.first().map_or(code, String::as_str);
                sample::note(Sample::Throttled { operation, reason });
            }
            (kind, describe_answer(context.err(), status, &reasons, error.request_id()))
        }
        SdkError::ConstructionFailure(_) => without_answer(error, FailureKind::Invalid),
        SdkError::TimeoutError(_) => (FailureKind::Unavailable, "no answer in time".to_owned()),
        SdkError::ResponseError(_) => {
            let (kind, cause) = without_answer(error, FailureKind::Unavailable);
            (kind, format!("the answer could not be read: {cause}"))
        }
        _ => without_answer(error, FailureKind::Unavailable),
    };
    Failure { kind, operation, resource, message }
}

/// What an answer with this error code and HTTP status means.
fn kind_of_answer(code: &str, status: u16) -> FailureKind {
    // Codes come as `Code`, `com.amazonaws…#Code` or `AWS.SimpleQueueService.Code`.
    let name = code.rsplit(['#', '.']).next().unwrap_or(code);
    match name {
        "ProvisionedThroughputExceededException"
        | "ProvisionedThroughputExceeded"
        | "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "RequestLimitExceeded"
        | "LimitExceeded"
        | "LimitExceededException"
        | "TooManyRequestsException"
        | "KmsThrottled"
        | "KMSThrottlingException"
        | "OverLimit"
        | "SlowDown" => FailureKind::Throttled,
        "InternalServerError"
        | "InternalError"
        | "InternalFailure"
        | "RequestTimeout"
        | "TransactionConflictException"
        | "TransactionInProgressException"
        | "ReplicatedWriteConflictException"
        | "ConditionalRequestConflict"
        | "OperationAborted" => FailureKind::Unavailable,
        "ResourceNotFoundException" | "NoSuchKey" | "NoSuchBucket" | "QueueDoesNotExist" | "NonExistentQueue" => {
            FailureKind::NotFound
        }
        "ConditionalCheckFailedException" | "PreconditionFailed" => FailureKind::Conflict,
        "TrimmedDataAccessException" => FailureKind::Trimmed,
        "ExpiredIteratorException" => FailureKind::Expired,
        "UnrecognizedClientException"
        | "UnrecognizedClient"
        | "InvalidClientTokenId"
        | "InvalidAccessKeyId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "RequestTimeTooSkewed"
        | "RequestExpired" => FailureKind::Denied,
        _ if ["AccessDenied", "KMSAccessDenied", "ExpiredToken"].iter().any(|start| name.starts_with(start)) => {
            FailureKind::Denied
        }
        _ => match status {
            429 | 503 => FailureKind::Throttled,
            500.. => FailureKind::Unavailable,
            404 => FailureKind::NotFound,
            412 => FailureKind::Conflict,
            401 | 403 => FailureKind::Denied,
            _ => FailureKind::Invalid,
        },
    }
}

fn describe_answer<E: ProvideErrorMetadata>(
    error: &E,
    status: u16,
    reasons: &[String],
    request_id: Option<&str>,
) -> String {
    let text = error.message().map(one_line).filter(|text| !text.is_empty());
    let text = text.unwrap_or_else(|| format!("the service answered with HTTP status {status}"));
    let request = request_id.map(|id| format!("request {id}"));
    let reasons = (!reasons.is_empty()).then(|| reasons.join(", "));
    let notes: Vec<String> = error.code().map(str::to_owned).into_iter().chain(reasons).chain(request).collect();
    if notes.is_empty() { text } else { format!("{text} ({})", notes.join(", ")) }
}

/// Whether nothing but a range of keys was asked for too much.
///
/// Source: Amazon DynamoDB Developer Guide, "Diagnosing throttling": reasons are a resource, an operation and one of
/// `KeyRangeThroughputExceeded`, `ProvisionedThroughputExceeded`, `AccountLimitExceeded` and
/// `MaxOnDemandThroughputExceeded`.
fn is_hot(reasons: &[String]) -> bool {
    !reasons.is_empty() && reasons.iter().all(|reason| reason.ends_with("KeyRangeThroughputExceeded"))
}

/// Why DynamoDB throttled (`TableReadProvisionedThroughputExceeded`), as far as it says.
fn throttling_reasons(answer: &Response) -> Vec<String> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(rename = "ThrottlingReasons", alias = "throttlingReasons", default)]
        reasons: Vec<Reason>,
    }
    #[derive(Deserialize)]
    struct Reason {
        reason: Option<String>,
    }
    let body: Option<Body> = answer.body().bytes().and_then(|bytes| serde_json::from_slice(bytes).ok());
    let reasons = body.into_iter().flat_map(|body| body.reasons);
    let mut reasons: Vec<String> = reasons.filter_map(|reason| reason.reason).collect();
    reasons.dedup();
    reasons
}

/// No answer to go by: credentials that could not be had are told from a service that could not be reached.
fn without_answer(error: &(dyn Error + 'static), otherwise: FailureKind) -> (FailureKind, String) {
    let innermost = causes(error).last().map(|cause| one_line(&cause.to_string())).unwrap_or_default();
    // A role's credentials fail because those that assume it do: the innermost failure is the one that counts.
    let Some(credentials) = causes(error).filter_map(|cause| cause.downcast_ref::<CredentialsError>()).last() else {
        let no_identity = innermost.contains("no auth scheme") || innermost.contains("identity resolver");
        return if no_identity { (FailureKind::Denied, no_credentials(&innermost)) } else { (otherwise, innermost) };
    };
    // The role's or the profile's own call may have been answered, by STS or SSO; those answers mean what they say.
    if let Some(answer) = causes(credentials).find_map(|cause| cause.downcast_ref::<ErrorMetadata>()) {
        let kind = match kind_of_answer(answer.code().unwrap_or_default(), 403) {
            passing @ (FailureKind::Throttled | FailureKind::Unavailable) => passing,
            _ => FailureKind::Denied,
        };
        let code = answer.code().map(|code| format!(" ({code})")).unwrap_or_default();
        return (kind, no_credentials(&format!("{}{code}", one_line(answer.message().unwrap_or("no reason given")))));
    }
    let unreachable = causes(credentials).any(|cause| cause.is::<ConnectorError>());
    let kind = match credentials {
        CredentialsError::ProviderTimedOut(_) => FailureKind::Unavailable,
        CredentialsError::ProviderError(_) if unreachable => FailureKind::Unavailable,
        _ => FailureKind::Denied,
    };
    // The list of all places that were looked at is no line for a person.
    (kind, no_credentials(innermost.split(". Attempted").next().unwrap_or_default()))
}

fn no_credentials(cause: &str) -> String {
    format!("no usable AWS credentials: {cause}")
}

/// The error and its sources, outermost first.
pub(super) fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// A service's sentence as part of one of ours: one line, no full stop, lower-case unless it begins with a name.
pub(super) fn one_line(text: &str) -> String {
    let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let trimmed = joined.trim_end_matches('.');
    let mut characters = trimmed.chars();
    match (characters.next(), characters.next()) {
        (Some(first), Some(second)) if first.is_uppercase() && !second.is_uppercase() => {
            first.to_lowercase().chain(trimmed.chars().skip(1)).collect()
        }
        _ => trimmed.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::canned::{Answer, Canned};

    async fn scan(answer: Option<Answer>) -> Failure {
        let error = Canned::new(answer).dynamodb().scan().table_name("orders").send().await.unwrap_err();
        failure("Scan", "table `orders`".into(), &error)
    }

    fn coded(status: u16, code: &str) -> Answer {
        Answer::new(status, format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{code}","message":"Because."}}"#))
    }

    #[tokio::test]
    async fn error_codes_have_a_meaning() {
        for (status, code, kind) in [
            (400, "ProvisionedThroughputExceededException", FailureKind::Throttled),
            (400, "ThrottlingException", FailureKind::Throttled),
            (400, "RequestLimitExceeded", FailureKind::Throttled),
            (400, "KMSThrottlingException", FailureKind::Throttled),
            (429, "Whatever", FailureKind::Throttled),
            (503, "Whatever", FailureKind::Throttled),
            (500, "InternalServerError", FailureKind::Unavailable),
            (502, "Whatever", FailureKind::Unavailable),
            (400, "TransactionConflictException", FailureKind::Unavailable),
            (400, "ResourceNotFoundException", FailureKind::NotFound),
            (404, "Whatever", FailureKind::NotFound),
            (412, "Whatever", FailureKind::Conflict),
            (400, "AccessDeniedException", FailureKind::Denied),
            (400, "KMSAccessDeniedException", FailureKind::Denied),
            (400, "UnrecognizedClientException", FailureKind::Denied),
            (400, "ExpiredTokenException", FailureKind::Denied),
            (400, "InvalidSignatureException", FailureKind::Denied),
            (403, "Whatever", FailureKind::Denied),
            (400, "ValidationException", FailureKind::Invalid),
        ] {
            assert_eq!(scan(Some(coded(status, code))).await.kind, kind, "{status} {code}");
        }
    }

    #[tokio::test]
    async fn a_message_is_one_line_with_code_and_request() {
        let body = r#"{"__type":"x#AccessDeniedException","Message":"User: me is not\n authorized."}"#;

        let failure = scan(Some(Answer::new(400, body).with("x-amzn-requestid", "R42"))).await;

        assert_eq!(failure.message, "user: me is not authorized (AccessDeniedException, request R42)");
    }

    #[tokio::test]
    async fn throttling_says_what_throttled() {
        let body = r#"{"__type":"x#ThrottlingException","message":"Slow down.",
            "throttlingReasons":[{"reason":"TableReadKeyRangeThroughputExceeded","resource":"arn"}]}"#;

        let failure = scan(Some(Answer::new(400, body))).await;

        assert_eq!(failure.message, "slow down (ThrottlingException, TableReadKeyRangeThroughputExceeded)");
    }

    #[tokio::test]
    async fn only_throttling_by_key_ranges_alone_is_about_hot_keys() {
        let reason = |reason: &str| format!(r#"{{"reason":"{reason}","resource":"arn"}}"#);
        let (hot, table) = (reason("TableReadKeyRangeThroughputExceeded"), reason("TableReadAccountLimitExceeded"));
        let index = reason("IndexWriteKeyRangeThroughputExceeded");
        for (reasons, kind) in [
            (hot.clone(), FailureKind::HotKeys),
            (format!("{hot},{index}"), FailureKind::HotKeys),
            (format!("{hot},{table}"), FailureKind::Throttled),
            (table, FailureKind::Throttled),
            (String::new(), FailureKind::Throttled),
        ] {
            let code = "ProvisionedThroughputExceededException";
            let body = format!(r#"{{"__type":"x#{code}","message":"No.","ThrottlingReasons":[{reasons}]}}"#);

            assert_eq!(scan(Some(Answer::new(400, body))).await.kind, kind, "{reasons}");
        }
        let other = format!(r#"{{"__type":"x#ValidationException","ThrottlingReasons":[{hot}]}}"#);
        assert_eq!(scan(Some(Answer::new(400, other))).await.kind, FailureKind::Invalid);
    }

    #[tokio::test]
    async fn no_answer_may_pass_and_says_why() {
        let failure = scan(None).await;

        assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Unavailable, "connection refused"));
    }

    #[tokio::test]
    async fn an_answer_that_is_no_json_may_pass() {
        let failure = scan(Some(Answer::new(200, "<html>"))).await;

        assert_eq!(failure.kind, FailureKind::Unavailable, "{failure}");
        assert!(!failure.message.contains("Error {"), "{failure}");
    }

    #[tokio::test]
    async fn missing_credentials_are_denied() {
        let without = aws_sdk_dynamodb::Config::builder()
            .behavior_version(aws_sdk_dynamodb::config::BehaviorVersion::v2026_01_12())
            .region(aws_sdk_dynamodb::config::Region::new("us-east-1"))
            .build();
        let error = aws_sdk_dynamodb::Client::from_conf(without).list_tables().send().await.unwrap_err();

        let failure = failure("ListTables", "here".into(), &error);

        assert_eq!(failure.kind, FailureKind::Denied, "{failure}");
        assert!(failure.message.starts_with("no usable AWS credentials"), "{failure}");
    }

    #[test]
    fn sentences_become_parts_of_ours() {
        assert_eq!(one_line("Requested resource\n  not found."), "requested resource not found");
        assert_eq!(one_line("AWS says no"), "AWS says no");
        assert_eq!(one_line(""), "");
    }
}
