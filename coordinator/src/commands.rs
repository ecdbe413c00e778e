//! The commands, one file each.

mod backfill;
mod backup;
mod cancel;
mod completions;
#[cfg(feature = "demo")]
mod demo;
mod estimate;
mod iam_policy;
mod jobs;
mod limit;
mod man;
mod pause;
mod record;
mod replicate;
mod report;
mod restore;
mod resume;
mod run;
mod status;
mod sync;
mod undo;

use tokio_util::sync::CancellationToken;

use crate::cli::{Cli, Command};
use crate::failure::{Exit, Failure};
use crate::settings::Settings;

/// Carries out one command. `stop` is cancelled by the first signal.
///
/// # Errors
/// What is said on standard error, and the exit code.
pub async fn run(cli: Cli, stop: CancellationToken) -> Result<Exit, Failure> {
    let settings = Settings::resolve(&cli.common)?;
    match cli.command {
        Command::Sync(args) => Box::pin(sync::run(&settings, *args, stop)).await,
        Command::Backfill(args) => Box::pin(backfill::run(&settings, *args, stop)).await,
        Command::Replicate(args) => Box::pin(replicate::run(&settings, *args, stop)).await,
        Command::Run(args) => Box::pin(run::run(&settings, *args, stop)).await,
        Command::Estimate(args) => Box::pin(estimate::run(settings, &args)).await,
        Command::Backup(args) => Box::pin(backup::run(&settings, args, stop)).await,
        Command::Restore(args) => Box::pin(restore::run(&settings, *args, stop)).await,
        Command::Status(args) => status::run(&settings, &args, &stop).await,
        Command::Jobs(args) => jobs::run(&settings, &args).await,
        Command::Resume(args) => Box::pin(resume::run(&settings, &args, stop)).await,
        Command::Cancel(args) => cancel::run(&settings, &args.job).await,
        Command::Undo(args) => Box::pin(undo::run(&settings, &args, stop)).await,
        Command::Pause(args) => pause::run(&settings, &args.job).await,
        Command::Limit(args) => limit::run(&settings, &args).await,
        Command::Report(args) => report::run(&settings, &args).await,
        Command::Record(args) => Box::pin(record::run(settings, args.command, stop)).await,
        Command::IamPolicy(args) => iam_policy::run(&settings, &args),
        #[cfg(feature = "demo")]
        Command::Demo => Box::pin(demo::run(&settings, stop)).await,
        Command::Completions { shell } => completions::run(shell),
        Command::Man => man::run(),
    }
}
