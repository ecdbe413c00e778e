//! What the proxy remembers: what was asked of items and done to them, who took which unit when, and every request as a line.

use std::collections::BTreeMap;
use std::time::Instant;

use super::call::Call;

/// What the clients did to tables and checkpoints.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// What was asked of items, whatever came of it, in the order of arrival.
    pub asked: Vec<Asked>,
    /// The writes that took effect.
    pub written: Vec<Written>,
    /// Checkpoints that were put.
    pub taken: Vec<Taken>,
    /// Deletions of messages that came too late: the message was delivered anew, or gone.
    pub late_deletions: u64,
}

/// A request about an item.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Who sent it.
    pub client: String,
    /// The table, as the request names it.
    pub table: String,
    /// The key, as the oracle writes it.
    pub key: String,
    /// When it arrived.
    pub arrived: Instant,
    /// What it asks for.
    pub what: Question,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// To read the item, strongly consistent.
    Read,
    /// To change it.
    Write,
}

/// A write that took effect.
#[derive(Clone, Debug)]
pub struct Written {
    /// Who sent it.
    pub client: String,
    /// The table, as the request names it.
    pub table: String,
    /// The key, as the oracle writes it.
    pub key: String,
    /// What it did.
    pub effect: Effect,
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The item was put.
    Put,
    /// The item was deleted.
    Deleted,
}

/// A checkpoint that was put with an owner in it.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Who put it.
    pub client: String,
    /// The unit: `master/000003`.
    pub unit: String,
    /// The owner's id, new with every take.
    pub owner: String,
    /// When the store had answered.
    pub at: Instant,
}

#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) record: Record,
    pub(super) injected: BTreeMap<String, u64>,
    pub(super) history: Vec<String>,
    started: Instant,
}

impl Default for Recorder {
    fn default() -> Self {
        let (record, injected) = (Record::default(), BTreeMap::new());
        Self { record, injected, history: Vec::new(), started: Instant::now() }
    }
}

impl Recorder {
    pub(super) fn note(&mut self, client: &str, call: &Call, fault: Option<&str>, outcome: &str) {
        let at = call.arrived.saturating_duration_since(self.started).as_secs_f64();
        let took = call.arrived.elapsed().as_secs_f64();
        let fault = fault.map_or_else(String::new, |fault| format!(" [{fault}]"));
        self.history.push(format!("{at:8.3} {client} {}{fault}: {outcome}, {took:.3} s", call.title()));
        if let Some(fault) = fault.strip_prefix(" [").and_then(|fault| fault.strip_suffix(']')) {
            *self.injected.entry(fault.to_owned()).or_default() += 1;
        }
    }
}
