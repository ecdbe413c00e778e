//! `report`: the discrepancies that committed checkpoints name, part by part, so that any number fits.

use std::io::Write as _;
use std::pin::pin;

use futures::stream::TryStreamExt as _;
use serde::Serialize;
use shared::domain::discrepancy::Discrepancy;
use shared::domain::rejected::Rejected;

use crate::cli::{OutputFormat, ReportArgs, ReportFormat};
use crate::failure::{Exit, Failure};
use crate::output::{Output, forgive_closed_pipe};
use crate::settings::Settings;
use crate::{follow, view};

pub(super) async fn run(settings: &Settings, args: &ReportArgs) -> Result<Exit, Failure> {
    let journal = settings.journal(&args.job.job).await?;
    let manifest = journal.manifest().await?;
    let mut writer = Writer::new(settings.output, args.format, &manifest.job);
    let mut output = Output::new();
    writer.begin(&mut output)?;
    let mut looks = pin!(journal.look(&manifest));
    while let Some((unit, view)) = looks.try_next().await? {
        for name in view.iter().flat_map(|view| &view.checkpoint.parts) {
            for line in journal.part(unit, name).await? {
                writer.write(&mut output, &line)?;
            }
        }
        for name in view.iter().flat_map(|view| &view.checkpoint.rejected) {
            for line in journal.rejected(unit, name).await? {
                writer.write_rejected(&mut output, &line)?;
            }
        }
    }
    writer.end(&mut output)?;
    output.finish()?;
    if !args.exit_code {
        return Ok(Exit::Agree);
    }
    Ok(Exit::of(&follow::where_it_stands(&journal, &manifest).await?))
}

/// Writes discrepancies in one of the formats.
enum Writer {
    Text {
        any: bool,
    },
    Jsonl,
    Csv,
    /// One JSON document, for `--output json` without a format of its own.
    Document {
        job: String,
        any: bool,
    },
}

impl Writer {
    fn new(output: OutputFormat, format: ReportFormat, job: &str) -> Self {
        match (format, output) {
            (ReportFormat::Text, OutputFormat::Text) => Self::Text { any: false },
            (ReportFormat::Text, OutputFormat::Json) => Self::Document { job: job.to_owned(), any: false },
            (ReportFormat::Jsonl, _) => Self::Jsonl,
            (ReportFormat::Csv, _) => Self::Csv,
        }
    }

    fn begin(&self, output: &mut Output) -> Result<(), Failure> {
        match self {
            Self::Text { .. } | Self::Jsonl => Ok(()),
            Self::Csv => {
                csv_record(output, &["segment", "slave", "kind", "key", "attributes", "outcome", "reason", "at"])
            }
            Self::Document { job, .. } => {
                let job = serde_json::Value::from(job.as_str());
                Ok(output.line(&format!("{{\"job\": {job}, \"discrepancies\": ["))?)
            }
        }
    }

    fn write(&mut self, output: &mut Output, line: &Discrepancy) -> Result<(), Failure> {
        match self {
            Self::Text { any } => {
                *any = true;
                Ok(output.line(&view::discrepancy(line))?)
            }
            Self::Jsonl => Ok(output.line(&json(line))?),
            Self::Csv => {
                let Discrepancy { segment, slave, kind, key, attributes, outcome, reason, at, values: _ } = line;
                let (segment, key, attributes) = (segment.to_string(), key.to_string(), attributes.join(" "));
                let reason = reason.as_deref().unwrap_or("");
                csv_record(output, &[&segment, slave, kind.name(), &key, &attributes, outcome.name(), reason, at])
            }
            Self::Document { any, .. } => {
                let comma = if std::mem::replace(any, true) { "," } else { "" };
                Ok(output.line(&format!("{comma}{}", json(line)))?)
            }
        }
    }

    fn write_rejected(&mut self, output: &mut Output, line: &Rejected) -> Result<(), Failure> {
        match self {
            Self::Text { any } => {
                *any = true;
                Ok(output.line(&view::rejected(line))?)
            }
            Self::Jsonl => Ok(output.line(&json(line))?),
            Self::Csv => {
                let Rejected { segment, slave, key, error, at, .. } = line;
                let (segment, key) = (segment.to_string(), key.as_ref().map(ToString::to_string).unwrap_or_default());
                let slave = slave.as_deref().unwrap_or_default();
                csv_record(output, &[&segment, slave, "rejected", &key, "", "failed", error, at])
            }
            Self::Document { any, .. } => {
                let comma = if std::mem::replace(any, true) { "," } else { "" };
                Ok(output.line(&format!("{comma}{}", json(line)))?)
            }
        }
    }

    fn end(&self, output: &mut Output) -> Result<(), Failure> {
        match self {
            Self::Text { any: false } => Ok(output.line("no discrepancies")?),
            Self::Text { any: true } | Self::Jsonl | Self::Csv => Ok(()),
            Self::Document { .. } => Ok(output.line("]}")?),
        }
    }
}

fn json(line: &impl Serialize) -> String {
    serde_json::to_string(line).unwrap_or_else(|error| unreachable!("a line always serialises: {error}"))
}

fn csv_record(output: &mut Output, fields: &[&str]) -> Result<(), Failure> {
    let mut record = csv::Writer::from_writer(Vec::new());
    record.write_record(fields).map_err(|error| std::io::Error::other(error.to_string()))?;
    let bytes = record.into_inner().map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(forgive_closed_pipe(output.writer().write_all(&bytes))?)
}
