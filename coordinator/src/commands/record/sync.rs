//! `record sync`: the slave's records are made equal to the master's, each with the conditions of a repair.

use std::cell::RefCell;
use std::pin::pin;

use futures::stream::{self, StreamExt as _};
use serde_json::{Value as Json, json};
use shared::domain::decide::Kind;
use shared::domain::discrepancy::Outcome;
use shared::domain::job::MAX_KEYS_PER_GET;
use shared::domain::mend::{EXPIRED, Ending};
use shared::ports::failure as port;
use tokio_util::sync::CancellationToken;
use worker::plan::GlobalTables;
use worker::record::mend::Mended;
use worker::record::pair::{Compared, Purpose};

use super::key_text;
use super::keys::{Against, asked};
use super::records::{Coverage, Records, Totals};
use crate::cli::record::RecordSyncArgs;
use crate::failure::{Exit, Failure};
use crate::output::note;
use crate::settings::Settings;

/// Batches of keys looked at at once; it bounds what is held of the items.
const BATCHES_AT_ONCE: usize = 2;

/// Records repaired at once.
const REPAIRS_AT_ONCE: usize = 16;

/// What records are counted by.
const COUNTS: [&str; 7] = ["same", "written", "deleted", "skipped", "failed", "unstable", "expired"];

pub(super) async fn run(settings: &Settings, args: &RecordSyncArgs, stop: &CancellationToken) -> Result<Exit, Failure> {
    let global_tables = if args.allow_global_table { GlobalTables::Allow } else { GlobalTables::Refuse };
    let purpose = Purpose::Mend(global_tables);
    let asked = asked(settings, &args.records, args.version_attribute.as_deref(), purpose).await?;
    let mut records = Records::begin(settings.output, &[("master", Json::from(asked.master.as_str()))])?;
    let failed = RefCell::new(None);
    for against in &asked.slaves {
        mend_all(against, asked.totals, &mut records, &failed, stop).await?;
    }
    let failed = failed.into_inner();
    let remain = ["skipped", "failed", "unstable"].iter().any(|count| records.count(count) > 0);
    let coverage = if failed.is_some() || stop.is_cancelled() { Coverage::Some } else { Coverage::All };
    records.end(&COUNTS, asked.totals, coverage)?;
    match failed {
        Some(failure) => Err(Failure::from(failure)),
        None if stop.is_cancelled() => {
            note(
                "interrupted: not all records were looked at\n\nhint: run the command again; what was written stays so",
            );
            Ok(Exit::Interrupted)
        }
        None if remain => Ok(Exit::Differ),
        None => Ok(Exit::Agree),
    }
}

/// Repairs what differs of one slave. After a failure or a signal nothing is begun, and what was begun is finished, so
/// that no write is left out of the result.
async fn mend_all(
    against: &Against,
    totals: Totals,
    records: &mut Records,
    failed: &RefCell<Option<port::Failure>>,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let goes_on = || std::future::ready(failed.borrow().is_none() && !stop.is_cancelled());
    let batches = stream::iter(against.keys.chunks(MAX_KEYS_PER_GET as usize)).take_while(|_| goes_on());
    let looks = batches.map(|keys| against.pair.compare(keys, None)).buffered(BATCHES_AT_ONCE);
    // The items are read again for each repair.
    let without_items = |compared: Compared| Ok(Compared { master: None, slave: None, ..compared });
    let compared = looks.flat_map(|looked| {
        stream::iter(match looked {
            Ok(compared) => compared.into_iter().map(without_items).collect(),
            Err(failure) => vec![Err(failure)],
        })
    });
    let repairs = compared.take_while(|_| goes_on()).map(|compared| async {
        match compared {
            Ok(compared) => against.pair.mend(compared).await,
            Err(failure) => Err(failure),
        }
    });
    let mut mended = pin!(repairs.buffered(REPAIRS_AT_ONCE));
    while let Some(mended) = mended.next().await {
        match mended {
            Ok(mended) => record(records, &against.slave, totals, &mended)?,
            Err(failure) => {
                failed.borrow_mut().get_or_insert(failure);
            }
        }
    }
    Ok(())
}

fn record(records: &mut Records, slave: &str, totals: Totals, mended: &Mended) -> std::io::Result<()> {
    let Mended { key, found, ending } = mended;
    let (outcome, reason) = match ending {
        Ending::Healed => ("same", None),
        Ending::Settled(outcome, reason) => (outcome.name(), reason.as_deref()),
    };
    let is_expired = matches!(ending, Ending::Settled(Outcome::Skipped, Some(reason)) if reason == EXPIRED);
    let kind = found.as_ref().map(|(kind, _): &(Kind, _)| kind.name());
    let attributes = found.as_ref().map_or(&[][..], |(_, paths)| paths);
    let json = || {
        json!({
            "slave": slave,
            "key": key.to_json(),
            "kind": kind,
            "attributes": attributes,
            "outcome": outcome,
            "reason": reason,
        })
    };
    let text = || {
        if totals == Totals::Shown && outcome == "same" {
            return Vec::new();
        }
        let outcome = if outcome == "same" { "already the same" } else { outcome };
        let kind = kind.map(|kind| format!("  ({kind})")).unwrap_or_default();
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        vec![format!("{outcome}  {slave}  {}{kind}{reason}", key_text(key))]
    };
    records.record(if is_expired { "expired" } else { outcome }, json, text)
}
