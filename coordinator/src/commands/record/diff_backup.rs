//! `record diff-backup`: what a table and an incremental backup hold under a key, beside each other.

use serde_json::json;
use shared::domain::compare::{Ignore, differing_paths};
use shared::domain::decide::{Verdict, judge};
use shared::domain::value::Item;
use worker::record::kept::Found;

use super::kept::{Access, Record, open};
use super::{attributes, confirm_delay, item_json, key_text, layout, result};
use crate::beside::{Images, lines};
use crate::cli::OutputFormat;
use crate::cli::record::RecordDiffBackupArgs;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::settings::Settings;

pub(super) async fn run(settings: &Settings, args: &RecordDiffBackupArgs) -> Result<Exit, Failure> {
    let record = open(settings, &args.record, None, Access::Read).await?;
    let ignore = Ignore::new(&args.ignore);
    let (mut item, mut found, mut verdict) = look(&record, &ignore).await?;
    if let (Verdict::Discrepant(..), Some(delay)) = (&verdict, confirm_delay(args.confirm)) {
        tokio::time::sleep(delay).await;
        (item, found, verdict) = look(&record, &ignore).await?;
    }
    let (result, backed_up) = (result(&verdict), found.as_ref().map(|found| &found.item));
    let mut output = Output::new();
    match settings.output {
        OutputFormat::Json => output.json(&json!({
            "table": record.name,
            "object": found.as_ref().map(|found| &found.url),
            "modified": found.as_ref().map(|found| found.modified.to_string()),
            "key": record.key.to_json(),
            "result": result,
            "attributes": attributes(&verdict),
            "values": {"table": item_json(item.as_ref()), "backup": item_json(backed_up)},
        }))?,
        OutputFormat::Text => {
            output.line(&format!("{result}  {}", key_text(&record.key)))?;
            let place = found.as_ref().map_or("the backup", |found| &found.url);
            let names = [format!("{} (table)", record.name), format!("{place} (backup)")];
            let images = Images {
                names: [&names[0], &names[1]],
                items: [item.as_ref(), backed_up],
                schema: &record.schema,
                ignore: &ignore,
            };
            for line in lines(&images, layout(), settings.paint) {
                output.line(&line)?;
            }
        }
    }
    output.finish()?;
    for url in found.iter().flat_map(|found| &found.older) {
        settings.note(&format!("note: an older object of the same key is at {url}"));
    }
    Ok(match verdict {
        Verdict::Identical | Verdict::Gone => Exit::Agree,
        Verdict::Discrepant(..) => Exit::Differ,
    })
}

/// The backup first: what it shows, the table has had.
async fn look(record: &Record, ignore: &Ignore) -> Result<(Option<Item>, Option<Found>, Verdict), Failure> {
    let found = record.folder.find(&record.key).await?;
    let item = record.folder.current(&*record.table, &record.key).await?;
    let backed_up = found.as_ref().map(|found| &found.item);
    let verdict = judge(item.as_ref(), backed_up, |one, other| differing_paths(one, other, ignore));
    Ok((item, found, verdict))
}
