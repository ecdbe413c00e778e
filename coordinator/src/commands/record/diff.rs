//! `record diff`: what two tables hold under keys, beside each other.

use std::pin::pin;

use futures::stream::{self, StreamExt as _};
use serde_json::{Value as Json, json};
use shared::domain::decide::Verdict;
use shared::domain::job::MAX_KEYS_PER_GET;
use tokio_util::sync::CancellationToken;
use worker::record::pair::{Compared, Purpose};

use super::keys::{Against, asked};
use super::records::{Coverage, Records, Totals};
use super::{attributes, confirm_delay, item_json, key_text, layout, reason, result};
use crate::beside::{Images, Layout, lines};
use crate::cli::record::RecordDiffArgs;
use crate::failure::{Exit, Failure};
use crate::output::note;
use crate::settings::{Paint, Settings};

/// Batches of keys looked at at once; it bounds what is held of the items.
const BATCHES_AT_ONCE: usize = 4;

/// What records are counted by.
const COUNTS: [&str; 6] = ["same", "absent", "missing", "differing", "extra", "expired"];

pub(super) async fn run(settings: &Settings, args: &RecordDiffArgs, stop: &CancellationToken) -> Result<Exit, Failure> {
    let asked = asked(settings, &args.records, None, Purpose::Compare).await?;
    let confirm = confirm_delay(args.confirm);
    let mut records = Records::begin(settings.output, &[("master", Json::from(asked.master.as_str()))])?;
    let show = Show { master: &asked.master, totals: asked.totals, layout: layout(), paint: settings.paint };
    let mut failed = None;
    'all: for against in &asked.slaves {
        let batches = against.keys.chunks(MAX_KEYS_PER_GET as usize);
        let mut looks =
            pin!(stream::iter(batches).map(|keys| against.pair.compare(keys, confirm)).buffered(BATCHES_AT_ONCE));
        loop {
            let looked = tokio::select! {
                looked = looks.next() => looked,
                () = stop.cancelled() => None,
            };
            let Some(looked) = looked else { break };
            match looked {
                Ok(compared) => {
                    compared.iter().try_for_each(|compared| show.record(&mut records, against, compared))?
                }
                Err(failure) => {
                    failed = Some(failure);
                    break 'all;
                }
            }
        }
    }
    let differ = ["missing", "differing", "extra"].iter().any(|count| records.count(count) > 0);
    let coverage = if failed.is_some() || stop.is_cancelled() { Coverage::Some } else { Coverage::All };
    records.end(&COUNTS, asked.totals, coverage)?;
    match failed {
        Some(failure) => Err(failure.into()),
        None if stop.is_cancelled() => {
            note("interrupted: not all records were looked at\n\nhint: run the command again");
            Ok(Exit::Interrupted)
        }
        None if differ => Ok(Exit::Differ),
        None => Ok(Exit::Agree),
    }
}

/// How records are shown.
struct Show<'a> {
    master: &'a str,
    totals: Totals,
    layout: Layout,
    paint: Paint,
}

impl Show<'_> {
    fn record(&self, records: &mut Records, against: &Against, compared: &Compared) -> std::io::Result<()> {
        let Compared { key, master, slave, verdict, standing } = compared;
        let result = result(verdict);
        let differs = matches!(verdict, Verdict::Discrepant(..));
        let reason = if differs { reason(*standing) } else { None };
        let count = if differs && !compared.counts() { "expired" } else { result };
        // Of many records, those that are the same would bury the others.
        let is_shown = differs || self.totals == Totals::Hidden;
        let json = || {
            let mut record = json!({
                "slave": against.slave,
                "key": key.to_json(),
                "result": result,
                "reason": reason,
                "attributes": attributes(verdict),
            });
            if is_shown {
                record["values"] = json!({"master": item_json(master.as_ref()), "slave": item_json(slave.as_ref())});
            }
            record
        };
        let text = || {
            if !is_shown {
                return Vec::new();
            }
            let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            let mut text = vec![format!("{result}  {}{reason}", key_text(key))];
            let names = [format!("{} (master)", self.master), format!("{} (slave)", against.slave)];
            let images = Images {
                names: [&names[0], &names[1]],
                items: [master.as_ref(), slave.as_ref()],
                schema: against.pair.schema(),
                ignore: against.pair.ignore(),
            };
            text.extend(lines(&images, self.layout, self.paint));
            text
        };
        records.record(count, json, text)
    }
}
