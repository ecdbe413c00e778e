//! `record backup`: the object of one record is put, or deleted when the record is gone.

use serde_json::json;
use worker::record::kept::{BackedUp, What};

use super::kept::{Access, open};
use super::key_text;
use crate::cli::OutputFormat;
use crate::cli::record::RecordBackupArgs;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::settings::Settings;

pub(super) async fn run(settings: &Settings, args: &RecordBackupArgs) -> Result<Exit, Failure> {
    let record = open(settings, &args.record, None, Access::Write).await?;
    let BackedUp { key, what, removed } = record.folder.back_up(&*record.table, &record.key).await?;
    let (outcome, object) = match &what {
        What::Put { url } => ("written", Some(url)),
        What::Deleted => ("deleted", None),
        What::Absent => ("absent", None),
    };
    let mut output = Output::new();
    match settings.output {
        OutputFormat::Json => output.json(&json!({
            "table": record.name,
            "key": key.to_json(),
            "outcome": outcome,
            "object": object,
            "removed": removed,
        }))?,
        OutputFormat::Text => {
            let key = key_text(&key);
            match &what {
                What::Put { url } => output.line(&format!("written  {key}  {url}"))?,
                What::Deleted => output.line(&format!("deleted  {key}: table {} has no such item", record.name))?,
                What::Absent => output.line(&format!("absent  {key}: neither the table nor the backup has it"))?,
            }
            for url in &removed {
                output.line(&format!("removed  {url}"))?;
            }
        }
    }
    output.finish()?;
    Ok(Exit::Agree)
}
