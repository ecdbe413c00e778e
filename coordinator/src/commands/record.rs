//! `record`: one item, or some, by their keys. No job is made, and nothing of a store is needed but by `--from-report`.

mod backup;
mod diff;
mod diff_backup;
mod history;
mod kept;
mod keys;
mod records;
mod sync;

use std::io::IsTerminal as _;
use std::time::Duration;

use console::Term;
use serde_json::Value as Json;
use shared::domain::decide::{Standing, Verdict};
use shared::domain::key::{BadKey, Key, KeySchema};
use shared::domain::mend::{EXPIRED, SLAVE_IS_NEWER};
use tokio_util::sync::CancellationToken;

use crate::beside::Layout;
use crate::cells::escaped;
use crate::cli::record::{ConfirmArgs, RecordCommand};
use crate::failure::{Exit, Failure};
use crate::output::note;
use crate::settings::Settings;

/// All of it is done by this process, so a queue in the environment does not count.
pub(super) async fn run(
    mut settings: Settings,
    command: RecordCommand,
    stop: CancellationToken,
) -> Result<Exit, Failure> {
    settings.queue = None;
    match command {
        RecordCommand::Diff(args) => diff::run(&settings, &args, &stop).await,
        RecordCommand::Sync(args) => sync::run(&settings, &args, &stop).await,
        RecordCommand::Backup(args) => unless_stopped(&stop, backup::run(&settings, &args)).await,
        RecordCommand::DiffBackup(args) => unless_stopped(&stop, diff_backup::run(&settings, &args)).await,
        RecordCommand::History(args) => unless_stopped(&stop, history::run(&settings, &args)).await,
    }
}

/// For what can be given up at any moment and be done again.
async fn unless_stopped(
    stop: &CancellationToken,
    work: impl Future<Output = Result<Exit, Failure>>,
) -> Result<Exit, Failure> {
    tokio::select! {
        done = work => done,
        () = stop.cancelled() => {
            note("interrupted\n\nhint: run the command again");
            Ok(Exit::Interrupted)
        }
    }
}

/// How long what differs is given to become the same.
fn confirm_delay(args: ConfirmArgs) -> Option<Duration> {
    (!args.no_confirm).then(|| Duration::from_secs_f64(args.confirm_delay))
}

/// How two images are laid out on standard output.
fn layout() -> Layout {
    Layout::of(std::io::stdout().is_terminal().then(|| usize::from(Term::stdout().size().1)))
}

/// A key on one line.
fn key_text(key: &Key) -> String {
    escaped(&key.to_json().to_string())
}

/// What a look found, in one word.
fn result(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Identical => "same",
        Verdict::Gone => "absent",
        Verdict::Discrepant(kind, _) => kind.name(),
    }
}

/// Where it differs, as reports say it.
fn attributes(verdict: &Verdict) -> &[String] {
    match verdict {
        Verdict::Identical | Verdict::Gone => &[],
        Verdict::Discrepant(_, paths) => paths,
    }
}

/// What else is to be known of a discrepancy.
fn reason(standing: Standing) -> Option<&'static str> {
    match standing {
        Standing::Ordinary | Standing::Unstable => None,
        Standing::Expired => Some(EXPIRED),
        Standing::SlaveIsNewer => Some(SLAVE_IS_NEWER),
    }
}

/// Says which key was meant, which keys the table has, and what does not fit.
fn bad_key(what: &str, text: &str, table: &str, schema: &KeySchema, error: &BadKey) -> Failure {
    Failure::usage(
        format!("{what} `{text}` does not fit table {table} with key {schema}: {error}"),
        "give all key attributes and no others, as {\"id\":\"abc\"} or as {\"id\":{\"S\":\"abc\"}}",
    )
}

fn item_json(item: Option<&shared::domain::value::Item>) -> Json {
    item.map_or(Json::Null, shared::domain::json::item_to_json)
}
