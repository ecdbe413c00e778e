//! Writes of a process that had lost the unit it wrote for.
//!
//! A write may reach a table after its sender lost the unit: it was on its way, and no sender can call it back. What
//! no sender may do is *decide* on one then. A decision begins with a strongly consistent read of the item, and the
//! lease is asked once more after its answer. So this is looked for: the write of an item, before it the sender's last
//! read of that item, and before that read the checkpoint of another process that took the unit.
//!
//! It is exact, however slow and busy the machine is. The proxy notes a checkpoint when the store has answered, a read
//! when it arrives, and so the answer to the read comes after the loss; the lease was over before another could take
//! the unit; whoever asks after the answer is told so. A read that was sent before a stop and arrives after it makes
//! no difference: its answer comes even later. What the check cannot see is a write that is decided on an older read.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::Value as Json;

use super::stage::{Stage, label};
use crate::oracle::key_text_of_json;
use crate::proxy::Record;

/// Finds them, where checkpoints were put through the proxy.
pub(super) fn find(stage: &Stage, record: &Record, report: &[Json]) -> Vec<String> {
    let units = units(stage, report);
    let mut problems = Vec::new();
    for written in &record.written {
        let place = (label(&written.table), written.key.clone());
        let Some(unit) = units.get(&place) else { continue };
        let reads = record.read.iter().filter(|read| {
            let same_item = read.table == written.table && read.key == written.key;
            same_item && read.client == written.client && read.arrived < written.arrived
        });
        let Some(decided) = reads.map(|read| read.arrived).max() else { continue };
        let owner_at = |time: Instant| {
            let before = record.taken.iter().filter(|taken| taken.unit == *unit && taken.at < time);
            before.max_by_key(|taken| taken.at)
        };
        let Some(owner) = owner_at(decided) else { continue };
        let taken_back = owner_at(written.arrived).is_some_and(|owner| owner.client == written.client);
        if owner.client != written.client && !taken_back {
            problems.push(format!("a zombie writes for {unit}, which {} has: {written:?}", owner.client));
        }
    }
    problems
}

/// The unit that each discrepancy belongs to.
fn units(stage: &Stage, report: &[Json]) -> BTreeMap<(String, String), String> {
    let unit = |line: &Json| {
        let own_pass = line["kind"] == "extra" && stage.plan.strategy == "lookup";
        let slave =
            (0..stage.plan.slaves).find(|slave| line["slave"] == label(&super::stage::slave_name(*slave)).as_str());
        let pass = match slave {
            Some(slave) if own_pass => format!("slave-{slave}"),
            _ => "master".to_owned(),
        };
        let segment = line["segment"].as_u64().unwrap_or_default();
        let slave = line["slave"].as_str().unwrap_or_default().to_owned();
        ((slave, key_text_of_json(&line["key"])), format!("{pass}/{segment:06}"))
    };
    report.iter().map(unit).collect()
}
