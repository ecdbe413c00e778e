//! The coordinator: the program `dynamend`.
//!
//! - [`cli`]: names, defaults and help of the command line.
//! - [`settings`]: from flags to what commands work with; refuses what cannot be.
//! - [`commands`]: one file per command.
//! - [`publish`]: units of work onto the queue. [`follow`]: watching a job until it ends.
//! - [`quote`]: what a sync would cost. [`output`], [`view`], [`figures`]: standard output. [`progress`]: standard error while work goes on.
//! - [`beside`], [`cells`]: two images of one item beside each other.
//! - [`plan_file`]: many table pairs in a file. [`live`]: how they stand, all at once. [`watch`]: from
//!   a running job to there.
//! - [`failure`]: exit codes, messages and hints.

use std::process::ExitCode;

use clap::Parser as _;
use shared::telemetry::{field, trace};
use tracing::Instrument as _;

pub mod beside;
pub mod cells;
pub mod cli;
pub mod commands;
pub mod failure;
pub mod figures;
pub mod follow;
pub mod live;
pub mod output;
pub mod plan_file;
pub mod progress;
pub mod publish;
pub mod quote;
pub mod settings;
pub mod view;
pub mod watch;

use failure::Failure;

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse_flags(&error),
    };
    let result = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::failed(format!("the program cannot start: {error}"), "look at the limits of processes and files")
        })
        .and_then(|runtime| {
            runtime.block_on(async {
                let _telemetry = shared::telemetry::init(&settings::log_settings(&cli.common), None, "dynamend");
                let span = span_of(&cli);
                commands::run(cli, worker::daemon::stop_on_signals()).instrument(span).await
            })
        });
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output::say_failure(&failure);
            failure.exit.into()
        }
    }
}

/// The trace of one command, where traces are exported; what it sends onto the queue is linked to it.
fn span_of(cli: &cli::Cli) -> tracing::Span {
    if !trace::is_on() {
        return tracing::Span::none();
    }
    let command = cli.command.name();
    tracing::info_span!(
        "command",
        { field::SPAN_NAME } = format!("dynamend {command}"),
        { field::COMMAND } = command,
        { field::JOB_ID } = tracing::field::Empty,
    )
}

/// Says what is wrong with the command line in the form of every other failure; prints help that was asked for.
fn refuse_flags(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind;
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return if error.use_stderr() { failure::Exit::Usage } else { failure::Exit::Agree }.into();
    }
    let failure = Failure::from(error);
    output::say_failure(&failure);
    failure.exit.into()
}
