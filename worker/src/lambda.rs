//! The program `dynamend-lambda`: the functions `replicate` and `backup`, for event source mappings of AWS Lambda from
//! DynamoDB Streams and from Kinesis.
//!
//! `replicate` writes the changes of a table to others; `backup` keeps each item as an object
//! `PREFIX/TABLE/<SHA-256 of the key>` on S3. They take the place of the functions of mapbox's dynamodb-replicator under
//! its environment variables. A variable that is empty counts as absent; whatever is missing, contradictory or unknown
//! stops the function at its cold start, all problems at once.
//!
//! | variable | of the original | meaning |
//! | --- | --- | --- |
//! | `DYNAMEND_FUNCTION` | the handler, `index.replicate` | `replicate` or `backup`; without it the last part of the handler's name |
//! | `DYNAMEND_SLAVES` | `ReplicaTable` with `ReplicaRegion` | `replicate`: the tables that are written, `REGION:TABLE`, several with commas |
//! | `DYNAMEND_SLAVE_ENDPOINT_URL` | `ReplicaEndpoint` | another endpoint for them |
//! | `DYNAMEND_SLAVE_ROLE_ARN`, `DYNAMEND_SLAVE_EXTERNAL_ID` | | a role that is assumed for them |
//! | | `ReplicaAccessKeyId` with `ReplicaSecretAccessKey` | keys for them; a role keeps no secret in the environment |
//! | `DYNAMEND_BACKUP` | `BackupBucket` with `BackupPrefix` | `backup`: `s3://BUCKET/PREFIX`, or a directory |
//! | | `BackupRegion` | the region of the bucket; else the function's |
//! | `DYNAMEND_MASTER` | `PrimaryTable` with `PrimaryRegion` | the table whose changes come; else each record tells. Records of other tables in a Kinesis stream are passed over. Needed for a table of another account (its ARN), and for records that name no table |
//! | `DYNAMEND_MASTER_ENDPOINT_URL` | `PrimaryEndpoint` | another endpoint for it |
//! | `DYNAMEND_ROLE_ARN`, `DYNAMEND_EXTERNAL_ID` | | a role that is assumed for it |
//! | | `TurnoverRole` with `TurnoverAt` | `BEFORE`: only records created before this moment (milliseconds since 1970); `AFTER`: only those from then on |
//! | `DYNAMEND_VERSION_ATTRIBUTE` | | an item of a slave with a higher value is not overwritten |
//! | `DYNAMEND_ORIGIN_ATTRIBUTE` | | marks what is written, so that two tables can follow each other; needs new and old images |
//! | `DYNAMEND_REREAD` | | `always`: read the master for every change, as the original's Kinesis generation did; a number: for changes older than so many seconds; `never`: take records at their word. Default: `never` for DynamoDB Streams, `always` for Kinesis, which may repeat changes and swap them |
//! | `DYNAMEND_SKIP_REJECTED` | | `true`: log a record that can never be applied, and go on |
//! | `DYNAMEND_PARTIAL_BATCHES` | | `true`: name the first record that failed in the answer, and Lambda goes on from there. The mapping must have the response type `ReportBatchItemFailures`, **for without it Lambda takes the answer for a success**. Default: the invocation fails, and Lambda repeats the batch |
//! | `RUST_LOG` | | what is logged, as for the other programs |
//!
//! # Permissions
//!
//! `replicate`: `dynamodb:BatchWriteItem`, `PutItem` and `DeleteItem` on the slaves. `backup`: `s3:PutObject` and
//! `s3:DeleteObject` on the objects. Both: `dynamodb:DescribeTable` on the master, for the key schema, once for each
//! instance; where it is not allowed, `replicate` asks the slave instead, and a key of one attribute is told by the
//! records. `dynamodb:BatchGetItem` on the master where it is read: for records without the new item, for Kinesis, and
//! with `DYNAMEND_REREAD`. `sts:AssumeRole` on roles that are named. The event source mapping needs its own to read the stream.
//!
//! # Failures
//!
//! Applying is idempotent: what is repeated changes nothing. Requests are tried again until shortly before the function's
//! time is over, so that the failure is told rather than cut off; a minute is a good time, and a mapping with
//! `BisectBatchOnFunctionError` and a destination for failures isolates a record that can never be applied. A batch's
//! changes of one key are reduced to the last.

pub mod event;
pub mod function;
pub mod settings;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lambda_events::event::streams::{DynamoDbBatchItemFailure, DynamoDbEventResponse};
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde_json::{Value as Json, json};
use shared::aws::clients::{ClientSettings, Clients};
use shared::telemetry::{self, LogFormat, LogSettings, field};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tracing::Instrument as _;

use crate::environment::Environment;
use function::{Failed, Handled, StreamFunction};
use settings::{Failures, Function, Settings};

/// Exit code for a failure of configuration, credentials or a service.
const FAILED: u8 = 3;

/// Time kept back to tell Lambda of a failure, of an invocation's last part.
const TO_ANSWER: Duration = Duration::from_secs(1);

/// What Lambda sets for every function; without it, this is no place to run.
const NEEDED: [&str; 4] = [
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_VERSION",
];

/// Runs the program.
pub fn main() -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(Box::pin(run())),
        Err(_) => ExitCode::from(FAILED),
    }
}

async fn run() -> ExitCode {
    let logs = LogSettings { format: LogFormat::Json, verbosity: 1, color: false };
    let _telemetry = telemetry::init(&logs, None, "dynamend-lambda");
    let ended = match start().await {
        Ok(function) => serve(Arc::new(function)).await,
        Err(error) => {
            tell_of_bad_start(&error).await;
            Err(error)
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error, "the function ends");
            ExitCode::from(FAILED)
        }
    }
}

async fn start() -> Result<StreamFunction, String> {
    if let Some(name) = NEEDED.iter().find(|name| std::env::var_os(name).is_none()) {
        return Err(format!("{name} is not set: this program is run by AWS Lambda, as the bootstrap of a function"));
    }
    let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
    let settings = Settings::read(std::env::vars_os().map(|(name, value)| (text(name), text(value))));
    let settings = settings.map_err(|error| error.to_string())?;
    let own = Environment::aws(Arc::new(Clients::new(ClientSettings::default())));
    let others = match &settings.function {
        Function::Replicate { keys: Some(keys), .. } => {
            Clients::signing_with(ClientSettings::default(), &keys.id, &keys.secret)
        }
        Function::Replicate { keys: None, .. } => Clients::new(ClientSettings::default()),
        Function::Backup { region, .. } => {
            Clients::new(ClientSettings { region: region.clone(), ..ClientSettings::default() })
        }
    };
    let name = std::env::var("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default();
    let opened = StreamFunction::open(settings, &name, own, &Environment::aws(Arc::new(others))).await;
    opened.map_err(|failure| format!("{failure} (hint: {})", failure.hint()))
}

async fn serve(function: Arc<StreamFunction>) -> Result<(), String> {
    let handler = service_fn(move |event: LambdaEvent<Json>| {
        let function = Arc::clone(&function);
        let invocation = tracing::info_span!("invocation", { field::REQUEST_ID } = event.context.request_id);
        let answered = async move {
            let left = event.context.deadline().duration_since(SystemTime::now()).unwrap_or_default();
            answer(&function, event.payload, left.saturating_sub(TO_ANSWER.min(left / 4))).await
        };
        answered.instrument(invocation)
    });
    lambda_runtime::run(handler).await.map_err(|error| error.to_string())
}

/// The answer to one event.
///
/// # Errors
/// The invocation fails, and Lambda repeats the whole batch.
pub async fn answer(
    function: &StreamFunction,
    event: Json,
    time: Duration,
) -> Result<DynamoDbEventResponse, Diagnostic> {
    let handled = function.handle(event, time).await.map_err(|refusal| {
        tracing::error!(error = %refusal, "nothing of the event was done");
        failed("EventRefused", refusal.to_string())
    })?;
    say_what_was_done(function.settings(), &handled);
    let mut response = DynamoDbEventResponse::default();
    match (handled.failed, function.settings().failures) {
        (None, _) => {}
        (Some(Failed { sequence, error }), Failures::OfRecord) => {
            tracing::error!(sequence, error, "a record failed; Lambda is asked to go on from it");
            let mut failure = DynamoDbBatchItemFailure::default();
            failure.item_identifier = Some(sequence);
            response.batch_item_failures.push(failure);
        }
        (Some(Failed { sequence, error }), Failures::OfInvocation) => {
            tracing::error!(sequence, error, "a record failed; Lambda is asked to repeat the batch");
            return Err(failed("RecordFailed", format!("record {sequence}: {error}")));
        }
    }
    Ok(response)
}

fn say_what_was_done(settings: &Settings, handled: &Handled) {
    let Handled { tally, records, skipped, failed: _ } = handled;
    let written: u64 = tally.slaves.iter().map(|slave| slave.written).sum();
    let deleted: u64 = tally.slaves.iter().map(|slave| slave.deleted).sum();
    let newer: u64 = tally.slaves.iter().map(|slave| slave.skipped).sum();
    let counted = &tally.stream;
    match &settings.function {
        Function::Replicate { .. } => {
            let (squashed, reread, looped) = (counted.squashed, counted.reread, counted.looped);
            tracing::info!(written, deleted, newer, squashed, reread, looped, skipped, "replicated {records} records");
        }
        Function::Backup { .. } => {
            let (put, deleted, squashed, reread) =
                (counted.backed_up, counted.unbacked, counted.squashed, counted.reread);
            tracing::info!(put, deleted, squashed, reread, skipped, "backed up {records} records");
        }
    }
}

fn failed(error_type: &str, error_message: String) -> Diagnostic {
    Diagnostic { error_type: error_type.to_owned(), error_message }
}

/// Lambda shows this where it would otherwise show that the program ended.
///
/// Source: AWS Lambda Developer Guide, "Using the Lambda runtime API", initialization error.
async fn tell_of_bad_start(error: &str) {
    let Ok(api) = std::env::var("AWS_LAMBDA_RUNTIME_API") else { return };
    let body = json!({ "errorType": "Runtime.BadStart", "errorMessage": error, "stackTrace": [] }).to_string();
    let head = format!(
        "POST /2018-06-01/runtime/init/error HTTP/1.1\r\nHost: {api}\r\nContent-Type: application/json\r\n\
         Lambda-Runtime-Function-Error-Type: Runtime.BadStart\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len(),
    );
    let tell = async {
        let mut connection = TcpStream::connect(&api).await?;
        connection.write_all(head.as_bytes()).await?;
        connection.write_all(body.as_bytes()).await?;
        connection.read_to_end(&mut Vec::new()).await
    };
    // The same is in the log in any case.
    drop(tokio::time::timeout(TO_ANSWER, tell).await);
}
