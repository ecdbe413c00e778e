//! `record history`: all versions of one record that a backup keeps, newest first.

use serde_json::{Value as Json, json};
use shared::domain::json::item_to_json;
use worker::record::history::{Change, Holds, Version};

use super::kept::{Access, open};
use super::key_text;
use crate::cells::escaped;
use crate::cli::OutputFormat;
use crate::cli::record::RecordHistoryArgs;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::settings::Settings;

pub(super) async fn run(settings: &Settings, args: &RecordHistoryArgs) -> Result<Exit, Failure> {
    let record = open(settings, &args.record, args.key_schema.as_ref(), Access::Read).await?;
    if !record.folder.keeps_versions().await? {
        settings.note(&format!("note: {} keeps no versions; only what is there now can be shown", args.record.dest));
    }
    let mut history = record.folder.history(&record.key).await?;
    let limit = args.limit.unwrap_or(u64::MAX);
    let mut output = Output::new();
    let key = key_text(&record.key);
    match settings.output {
        OutputFormat::Text if history.is_empty() => output.line(&format!("{key}: the backup has no version of it"))?,
        OutputFormat::Text => output.line(&key)?,
        OutputFormat::Json => output.line(&format!(
            "{{\"table\": {}, \"key\": {}, \"versions\": [",
            Json::from(record.name.as_str()),
            record.key.to_json()
        ))?,
    }
    let mut shown = 0;
    let mut failed = None;
    while shown < limit {
        let version = match history.next().await {
            Ok(Some(version)) => version,
            Ok(None) => break,
            Err(failure) => {
                failed = Some(failure);
                break;
            }
        };
        match settings.output {
            OutputFormat::Text => output.line(&line(&version))?,
            OutputFormat::Json => {
                let comma = if shown == 0 { "" } else { "," };
                output.line(&format!("{comma}{}", document(&version)))?;
            }
        }
        shown += 1;
    }
    let left = (history.len() as u64).saturating_sub(shown);
    match settings.output {
        OutputFormat::Json => output.line(&format!("], \"older\": {left}, \"complete\": {}}}", failed.is_none()))?,
        OutputFormat::Text if left > 0 => output.line(&format!("and {left} older"))?,
        OutputFormat::Text => {}
    }
    output.finish()?;
    match failed {
        Some(failure) => Err(failure.into()),
        None => Ok(Exit::Agree),
    }
}

fn line(version: &Version) -> String {
    let Version { url, id, modified, holds, change } = version;
    let what = match (holds, change) {
        (Holds::Archived, _) => "archived: it is in cold storage and has to be restored to be read".to_owned(),
        (Holds::Unreadable(what), _) => format!("unreadable: {}", escaped(what)),
        (_, Change::Created) => "created".to_owned(),
        (_, Change::Deleted) => "deleted".to_owned(),
        (Holds::Deletion, _) => "deleted here: the record is another object's, or there was none".to_owned(),
        (_, Change::Changed(paths)) if paths.is_empty() => "the same as before".to_owned(),
        (_, Change::Changed(paths)) => format!("changed: {}", escaped(&paths.join(", "))),
        (_, Change::Nothing) => "the same as before".to_owned(),
        (_, Change::Unknown) => "changed, but the version before cannot be read".to_owned(),
    };
    format!("{modified}  {what}\n    {url}  version {id}")
}

fn document(version: &Version) -> Json {
    let Version { url, id, modified, holds, change } = version;
    let (what, item, reason) = match holds {
        Holds::Item(item) => ("item", Some(item_to_json(item)), None),
        Holds::Deletion => ("deletion", None, None),
        Holds::Archived => ("archived", None, None),
        Holds::Unreadable(reason) => ("unreadable", None, Some(reason)),
    };
    let (change, attributes): (_, &[String]) = match change {
        Change::Created => ("created", &[]),
        Change::Changed(paths) if paths.is_empty() => ("none", &[]),
        Change::Changed(paths) => ("changed", paths),
        Change::Deleted => ("deleted", &[]),
        Change::Nothing => ("none", &[]),
        Change::Unknown => ("unknown", &[]),
    };
    json!({
        "object": url,
        "version": id,
        "modified": modified.to_string(),
        "what": what,
        "change": change,
        "attributes": attributes,
        "item": item,
        "reason": reason,
    })
}
