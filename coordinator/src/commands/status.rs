//! `status`: where a job stands, once or until it ends.

use tokio_util::sync::CancellationToken;

use super::sync::{advise, show};
use crate::cli::StatusArgs;
use crate::failure::{Exit, Failure};
use crate::follow;
use crate::settings::Settings;

pub(super) async fn run(settings: &Settings, args: &StatusArgs, stop: &CancellationToken) -> Result<Exit, Failure> {
    let journal = settings.journal(&args.job.job).await?;
    let manifest = journal.manifest().await?;
    let summary = if args.watch {
        follow::folder(settings.progress, &journal, &manifest, stop).await?
    } else {
        follow::where_it_stands(&journal, &manifest).await?
    };
    show(settings, &summary)?;
    advise(settings, &summary);
    if args.watch && stop.is_cancelled() && !summary.state.has_ended() {
        return Ok(Exit::Interrupted);
    }
    Ok(if args.exit_code { Exit::of(&summary) } else { Exit::Agree })
}
