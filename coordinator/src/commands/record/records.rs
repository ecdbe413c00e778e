//! The result for any number of records, written as they come: text, or one JSON document.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use crate::cli::OutputFormat;
use crate::figures::grouped;
use crate::output::Output;

/// What is written of the records.
pub(super) struct Records {
    output: Output,
    format: OutputFormat,
    any: Any,
    keys: u64,
    counts: BTreeMap<&'static str, u64>,
}

/// Whether something was written that the next record is set apart from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Any {
    No,
    Yes,
}

/// Whether all records were looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coverage {
    All,
    Some,
}

impl Records {
    /// Begins the document with these members.
    pub(super) fn begin(format: OutputFormat, head: &[(&str, Json)]) -> std::io::Result<Self> {
        let mut output = Output::new();
        if format == OutputFormat::Json {
            let head: String = head.iter().map(|(name, value)| format!("{}: {value}, ", Json::from(*name))).collect();
            output.line(&format!("{{{head}\"records\": ["))?;
        }
        Ok(Self { output, format, any: Any::No, keys: 0, counts: BTreeMap::new() })
    }

    /// Adds one record, which counts under a name. Without lines, text says nothing of it.
    pub(super) fn record(
        &mut self,
        count: &'static str,
        json: impl FnOnce() -> Json,
        lines: impl FnOnce() -> Vec<String>,
    ) -> std::io::Result<()> {
        self.keys += 1;
        *self.counts.entry(count).or_default() += 1;
        let before = self.any;
        match self.format {
            OutputFormat::Json => {
                self.any = Any::Yes;
                let comma = if before == Any::Yes { "," } else { "" };
                self.output.line(&format!("{comma}{}", json()))
            }
            OutputFormat::Text => {
                let lines = lines();
                if lines.is_empty() {
                    return Ok(());
                }
                self.any = Any::Yes;
                if before == Any::Yes && lines.len() > 1 {
                    self.output.line("")?;
                }
                lines.iter().try_for_each(|line| self.output.line(line))
            }
        }
    }

    /// How many records counted under a name.
    pub(super) fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    /// Ends the document with the totals by these names; text has them where there was more than one key to look at.
    pub(super) fn end(mut self, names: &[&'static str], totals: Totals, coverage: Coverage) -> std::io::Result<()> {
        match self.format {
            OutputFormat::Json => {
                let mut json: Map<String, Json> = [("keys".to_owned(), Json::from(self.keys))].into_iter().collect();
                json.extend(names.iter().map(|name| ((*name).to_owned(), Json::from(self.count(name)))));
                let complete = coverage == Coverage::All;
                self.output.line(&format!("], \"totals\": {}, \"complete\": {complete}}}", Json::Object(json)))?;
            }
            OutputFormat::Text if totals == Totals::Shown => {
                let counts = names.iter().filter(|name| self.count(name) > 0);
                let counts: Vec<String> = counts.map(|name| format!("{} {name}", grouped(self.count(name)))).collect();
                let keys = format!("{} key{}", grouped(self.keys), if self.keys == 1 { "" } else { "s" });
                let counts = if counts.is_empty() { String::new() } else { format!(": {}", counts.join(", ")) };
                if self.any == Any::Yes {
                    self.output.line("")?;
                }
                self.output.line(&format!("{keys}{counts}"))?;
            }
            OutputFormat::Text => {}
        }
        self.output.finish()
    }
}

/// Whether text ends with totals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Totals {
    Shown,
    Hidden,
}
