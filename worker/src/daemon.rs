//! The program `dynamend-worker`: flags, signals, and the loop of [`crate::consume`].

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Parser, ValueEnum};
use shared::aws::clients::{ClientSettings, Clients};
use shared::aws::sqs::SqsQueue;
use shared::journal::{AllowedStores, StoreUrl};
use shared::pacing::Meter;
use shared::ports::failure::{Failure, FailureKind};
use shared::telemetry::metrics::Namespace;
use shared::telemetry::{self, LogFormat, LogSettings};
use tokio_util::sync::CancellationToken;

use crate::consume::{DeadLetters, Drain, Settings, consume};
use crate::context::OpenJobs;
use crate::duty::Duty;
use crate::environment::Environment;
use crate::hooks::NoHooks;
use crate::{health, notices, protection};

/// Exit code for a failure of configuration, credentials or a service.
const FAILED: u8 = 3;

/// Exit code of `--check-health` for a worker that is not.
const UNHEALTHY: u8 = 1;

/// Takes segments from an SQS queue, compares and repairs them, and writes checkpoints and reports.
///
/// It learns everything about a job from its messages. SIGTERM or SIGINT: it finishes the page in hand, commits, gives
/// its messages back and exits 0. A second signal ends it at once; the work is then redone from its last checkpoint.
///
/// Traces and metrics go over OTLP (gRPC) to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names, if it is set.
///
/// On ECS, where ECS_AGENT_URI is set, it protects its task from being scaled in while it holds a segment. The
/// task's role must allow ecs:UpdateTaskProtection and ecs:GetTaskProtection; without them the work goes on unprotected.
#[derive(Debug, Parser)]
#[command(name = "dynamend-worker", version)]
struct Flags {
    /// The SQS queue to take messages from
    #[arg(long, value_name = "URL", env = "DYNAMEND_QUEUE", required_unless_present = "check_health")]
    queue: Option<String>,
    /// Do only jobs below this store, s3://BUCKET/PREFIX or a directory, and refuse all other messages; repeatable
    #[arg(long, value_name = "URL", env = "DYNAMEND_ALLOW_STORE", value_delimiter = ',')]
    allow_store: Vec<StoreUrl>,
    /// Segments worked on at once [default: twice the cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    concurrency: Option<u16>,
    /// Shards of streams followed at once, beside the segments
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    shards: u16,
    /// Exit when the queue stays empty
    #[arg(long)]
    drain: bool,
    /// Visibility of messages and lease of segments: how long the work of a dead worker waits
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(3..=43_200))]
    lease: u32,
    /// Time for the page in hand after SIGTERM or SIGINT
    #[arg(long, value_name = "SECONDS", default_value_t = 25, value_parser = clap::value_parser!(u32).range(0..=3600))]
    shutdown_grace: u32,
    /// Heed what this EC2 instance is told of its end, asking its metadata service every 5 seconds
    ///
    /// A Spot interruption: stop as for SIGTERM. A rebalance recommendation, or the Auto Scaling group's wish to terminate
    /// the instance: take no new messages, give shards back, finish the segments in hand and exit 0, within
    /// --scale-in-grace. A metadata service that does not answer changes nothing. AWS_EC2_METADATA_SERVICE_ENDPOINT names
    /// another place for it.
    #[arg(long, env = "DYNAMEND_EC2_NOTICES", value_parser = FalseyValueParser::new(), help_heading = "EC2 and containers")]
    ec2_notices: bool,
    /// Time for the segments in hand after such a notice, then stop as for SIGTERM; less than the lifecycle hook's
    #[arg(long, value_name = "SECONDS", default_value_t = 3000, value_parser = clap::value_parser!(u32).range(0..=172_800), help_heading = "EC2 and containers")]
    scale_in_grace: u32,
    /// Touch this file every 10 seconds while running, and remove it at the end
    ///
    /// It shows that the process is there and turns, for --check-health. It does not show that AWS answers, nor that
    /// there is work or that it gets on: a new worker in place of this one would do no better.
    #[arg(long, value_name = "PATH", env = "DYNAMEND_HEALTH_FILE", help_heading = "EC2 and containers")]
    health_file: Option<PathBuf>,
    /// Only look whether another worker touched --health-file in the last 60 seconds: exit 0 if it did, 1 otherwise
    #[arg(long, requires = "health_file", help_heading = "EC2 and containers")]
    check_health: bool,
    /// A profile of the AWS configuration
    #[arg(long, value_name = "NAME", help_heading = "AWS")]
    profile: Option<String>,
    /// The region of the queue and the store [default: as the AWS CLI finds it]
    #[arg(long, value_name = "REGION", help_heading = "AWS")]
    region: Option<String>,
    /// Another endpoint than AWS's own
    #[arg(long, value_name = "URL", help_heading = "AWS")]
    endpoint_url: Option<String>,
    /// Say more: -v for debug messages
    #[arg(short, long, action = ArgAction::Count, help_heading = "Logs")]
    verbose: u8,
    /// Say only warnings and errors
    #[arg(short, long, conflicts_with = "verbose", help_heading = "Logs")]
    quiet: bool,
    /// When logs are coloured
    #[arg(long, value_enum, default_value_t = Color::Auto, help_heading = "Logs")]
    color: Color,
    /// How log lines are written
    #[arg(long, value_enum, default_value_t = Format::Text, help_heading = "Logs")]
    log_format: Format,
    /// Write what is done into the log once a minute, as metrics of this namespace in CloudWatch's embedded format
    #[arg(long, value_name = "NAMESPACE", env = "DYNAMEND_METRIC_NAMESPACE", help_heading = "Logs")]
    metric_namespace: Option<Namespace>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Runs the program.
pub fn main() -> ExitCode {
    let flags = Flags::parse();
    if let (true, Some(path)) = (flags.check_health, &flags.health_file) {
        return match health::check(path) {
            Ok(()) => ExitCode::SUCCESS,
            Err(unhealthy) => {
                say(&format!("unhealthy: {unhealthy}"));
                ExitCode::from(UNHEALTHY)
            }
        };
    }
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run(flags)),
        Err(error) => {
            say(&format!("error: the program cannot start: {error}"));
            ExitCode::from(FAILED)
        }
    }
}

async fn run(flags: Flags) -> ExitCode {
    let _telemetry = telemetry::init(&log_settings(&flags), flags.metric_namespace.as_ref(), "dynamend-worker");
    let health_file = flags.health_file.clone();
    match health::shown_by(health_file.as_deref(), Box::pin(work(flags))).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&format!("error: {failure}\n\nhint: {}", failure.hint()));
            ExitCode::from(FAILED)
        }
    }
}

async fn work(flags: Flags) -> Result<(), Failure> {
    // First of all: a worker that is stopped while it starts ends in good order too.
    let stop = stop_on_signals();
    let allowed = AllowedStores::of(flags.allow_store).map_err(|error| Failure {
        kind: FailureKind::Invalid,
        operation: "Start",
        resource: "--allow-store".to_owned(),
        message: format!("the current directory cannot be told: {error}"),
    })?;
    let clients = Arc::new(Clients::new(ClientSettings {
        profile: flags.profile,
        region: flags.region,
        endpoint_url: flags.endpoint_url,
    }));
    let queue_url = flags.queue.unwrap_or_default();
    let queue = Arc::new(SqsQueue::new(clients.sqs(&queue_url).await?, queue_url.clone()));
    let facts = tokio::select! {
        facts = queue.check() => facts?,
        () = stop.cancelled() => return Ok(()),
    };
    let dead_letters = if facts.dead_letters.is_some() {
        DeadLetters::Kept
    } else {
        tracing::warn!(queue = queue_url, "the queue has no dead-letter queue: messages that nobody can do stay in it");
        DeadLetters::Circulating
    };
    let settings = Settings {
        concurrency: flags.concurrency.map_or_else(default_concurrency, usize::from),
        shards: flags.shards.into(),
        lease: Duration::from_secs(flags.lease.into()),
        grace: Duration::from_secs(flags.shutdown_grace.into()),
        drain: if flags.drain { Drain::WhenEmpty } else { Drain::Never },
        dead_letters,
    };
    tracing::info!(queue = queue_url, concurrency = settings.concurrency, stores = %allowed, "worker started");
    let jobs = OpenJobs::new(Environment::aws(clients), Arc::new(NoHooks), Arc::<Meter>::default());
    let jobs = jobs.only_from(allowed);
    let (duty, ended) = (Duty::from(stop), CancellationToken::new());
    let working = async {
        let worked = consume(queue, Arc::new(jobs), settings, duty.clone()).await;
        ended.cancel();
        worked
    };
    let heeding = async {
        if flags.ec2_notices {
            notices::heed(&duty, Duration::from_secs(flags.scale_in_grace.into()), &ended).await;
        }
    };
    let (worked, (), ()) = tokio::join!(working, protection::keep(&duty, &ended), heeding);
    worked?;
    tracing::info!("worker stopped");
    Ok(())
}

/// Twice the cores: a segment waits for the network most of its time.
#[must_use]
pub fn default_concurrency() -> usize {
    2 * std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}

/// A token that the first SIGTERM or SIGINT cancels; the second ends the process at once.
#[must_use]
pub fn stop_on_signals() -> CancellationToken {
    let stop = CancellationToken::new();
    let token = stop.clone();
    // Lives as long as the process, and ends with it.
    tokio::spawn(async move {
        let Ok(signal) = next_signal().await else { return };
        tracing::warn!("stopping after the page in hand; a second signal ends it at once");
        token.cancel();
        let again = next_signal().await.unwrap_or(signal);
        end_now(again);
    });
    stop
}

async fn next_signal() -> std::io::Result<i32> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(tokio::select! {
        _ = interrupt.recv() => SignalKind::interrupt().as_raw_value(),
        _ = terminate.recv() => SignalKind::terminate().as_raw_value(),
    })
}

#[expect(clippy::exit, reason = "the user asked twice; what is in hand is redone from its last checkpoint")]
fn end_now(signal: i32) -> ! {
    std::process::exit(128 + signal)
}

fn log_settings(flags: &Flags) -> LogSettings {
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    LogSettings {
        format: match flags.log_format {
            Format::Text => LogFormat::Text,
            Format::Json => LogFormat::Json,
        },
        verbosity: if flags.quiet { 0 } else { 1 + i8::try_from(flags.verbose).unwrap_or(1) },
        color: match flags.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && std::env::var_os("NO_COLOR").is_none(),
        },
    }
}

#[expect(clippy::print_stderr, reason = "the program's last word")]
fn say(text: &str) {
    eprintln!("{text}");
}
