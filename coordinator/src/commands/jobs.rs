//! `jobs`: all jobs of the store, oldest first. One that cannot be read is listed as such and hides none of the others.

use futures::stream::{self, StreamExt as _};
use serde_json::{Value as Json, json};
use shared::domain::summary::Summary;
use shared::journal::{Journal, JournalError, jobs_in};

use crate::cli::{JobsArgs, OutputFormat};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::settings::Settings;
use crate::{figures, follow};

/// Jobs looked at at once.
const LOOKS_AT_ONCE: usize = 4;

pub(super) async fn run(settings: &Settings, args: &JobsArgs) -> Result<Exit, Failure> {
    let store = settings.open_store().await?;
    let looks: Vec<_> =
        jobs_in(&*store).await?.into_iter().map(|job| look(Journal::new(store.clone(), &job), job)).collect();
    let looks: Vec<(String, Result<Summary, JournalError>)> =
        stream::iter(looks).buffered(LOOKS_AT_ONCE).collect().await;
    let mut output = Output::new();
    match settings.output {
        OutputFormat::Json => {
            let jobs: Vec<Json> = looks.iter().map(|(job, look)| as_json(job, look)).collect();
            output.json(&json!({ "jobs": jobs }))?;
        }
        OutputFormat::Text => {
            let width = looks.iter().map(|(job, _)| job.len()).max().unwrap_or(0).max("job".len());
            output.line(&format!(
                "{:<width$}  {:<9}  {:>15}  {:>13}  master -> slaves",
                "job", "state", "units done", "discrepancies"
            ))?;
            for (job, look) in &looks {
                output.line(&as_row(job, look, width))?;
            }
        }
    }
    output.finish()?;
    let worst = looks.iter().map(|(_, look)| look.as_ref().map_or(Exit::Failed, Exit::of)).max();
    Ok(worst.filter(|_| args.exit_code).unwrap_or(Exit::Agree))
}

async fn look(journal: Journal, job: String) -> (String, Result<Summary, JournalError>) {
    let summary = async {
        let manifest = journal.manifest().await?;
        follow::where_it_stands(&journal, &manifest).await
    };
    let summary = summary.await;
    (job, summary)
}

fn as_json(job: &str, look: &Result<Summary, JournalError>) -> Json {
    let unreadable = |error: &dyn std::fmt::Display| json!({ "job": job, "error": error.to_string() });
    match look {
        Ok(summary) => serde_json::to_value(summary).unwrap_or_else(|error| unreadable(&error)),
        Err(error) => unreadable(error),
    }
}

fn as_row(job: &str, look: &Result<Summary, JournalError>, width: usize) -> String {
    match look {
        Ok(summary) => {
            let units = format!("{}/{}", summary.units.done, summary.units.total);
            let discrepancies: u64 = summary.slaves.iter().map(|slave| slave.discrepancies()).sum();
            let slaves: Vec<&str> = summary.slaves.iter().map(|slave| slave.table.as_str()).collect();
            // What has no slaves goes into a backup.
            let backup = summary.backup.as_ref().filter(|_| slaves.is_empty()).map(|backup| backup.at.as_str());
            let master = summary.scanned.keys().find(|table| !slaves.contains(&table.as_str()));
            format!(
                "{job:<width$}  {:<9}  {units:>15}  {:>13}  {} -> {}",
                summary.state.name(),
                figures::grouped(discrepancies),
                master.map_or("?", String::as_str),
                backup.map_or_else(|| slaves.join(", "), str::to_owned)
            )
        }
        Err(error) => format!("{job:<width$}  unreadable: {error}"),
    }
}
