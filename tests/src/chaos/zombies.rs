//! Writes of a process that had lost the unit it wrote for.
//!
//! A write may reach a table after its sender lost the unit: it was on its way, and no sender can call it back. What
//! no sender may do is *decide* on one then. It asks for its lease right before every write, and so after the answer
//! to whatever it asked of that item before: the read that the write rests on, or the write that this one repeats. So
//! this is looked for: a write, before it the sender's last request about the same item, and before that request the
//! checkpoint of another process that took the unit.
//!
//! It is exact, however slow and busy the machine is. The proxy notes a request when it arrives, whose answer comes
//! later, and a checkpoint when the store has answered; the lease was over before another could take the unit; whoever
//! asks for it after the answer is told so. A request that was sent before its sender was stopped, and arrives when
//! it wakes, makes no difference: its answer comes even later. What the check cannot see is a sender's first write of
//! an item after the loss, where nothing but the time of its arrival says that it was not on its way.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::Value as Json;

use super::stage::{Stage, label, slave_name};
use crate::oracle::key_text_of_json;
use crate::proxy::{Asked, Question, Record};

/// Finds them, where checkpoints were put through the proxy.
pub(super) fn find(stage: &Stage, record: &Record, report: &[Json]) -> Vec<String> {
    let units = units(stage, report);
    let mut last: BTreeMap<(&str, &str, &str), Instant> = BTreeMap::new();
    let mut problems = Vec::new();
    for asked in &record.asked {
        let Asked { client, table, key, arrived, what } = asked;
        let before = last.insert((client, table, key), *arrived);
        let (Some(before), Question::Write) = (before, what) else { continue };
        let Some(unit) = units.get(&(label(table), key.clone())) else { continue };
        let owner_at = |time: Instant| {
            let before = record.taken.iter().filter(|taken| taken.unit == *unit && taken.at < time);
            before.max_by_key(|taken| taken.at).map(|taken| taken.client.as_str())
        };
        let owners = [before, *arrived].map(owner_at);
        if let [Some(owner), Some(later)] = owners
            && owner != client
            && later != client
        {
            problems.push(format!("a zombie writes for {unit}, which {owner} has: {asked:?}"));
        }
    }
    problems
}

/// The unit that each discrepancy belongs to.
fn units(stage: &Stage, report: &[Json]) -> BTreeMap<(String, String), String> {
    let unit = |line: &Json| {
        let own_pass = line["kind"] == "extra" && stage.plan.strategy == "lookup";
        let slave = (0..stage.plan.slaves).find(|slave| line["slave"] == label(&slave_name(*slave)).as_str());
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
