//! What is measured while work goes on, by page and by commit and never by item, for whoever collects it.
//!
//! Without a collector a sample costs one look at a flag. Figures that must be right are in the checkpoints; these are
//! for watching.

use std::time::Duration;

use crate::domain::tally::Tally;

/// One thing that happened.
#[derive(Clone, Copy, Debug)]
pub enum Sample<'a> {
    /// A page or a batch was asked for, and answered.
    Page {
        /// The operation.
        operation: &'static str,
        /// The table.
        table: &'a str,
    },
    /// A service throttled a request, or part of it.
    Throttled {
        /// The operation.
        operation: &'static str,
        /// Why, in the service's words.
        reason: &'a str,
    },
    /// A request is tried again.
    Retried {
        /// The operation.
        operation: &'static str,
        /// What was wrong.
        error: &'static str,
    },
    /// A step was committed: what it adds to the counts of its unit.
    Committed {
        /// The names of the tables, master first.
        labels: &'a [String],
        /// The counts before.
        before: &'a Tally,
        /// The counts after.
        after: &'a Tally,
    },
    /// A worker is done with a unit, for now or for good.
    Worked {
        /// What came of it.
        outcome: &'static str,
        /// What went wrong, by kind.
        error: Option<&'static str>,
        /// The messaging system that its message came by.
        system: &'static str,
        /// How long it took.
        took: Duration,
    },
    /// How far a shard is behind.
    Lag {
        /// The table that is followed.
        table: &'a str,
        /// By how much.
        behind: Duration,
    },
}

/// Notes a sample, if somebody collects.
pub fn note(sample: Sample<'_>) {
    #[cfg(feature = "otel")]
    if let Some(instruments) = instruments::get() {
        instruments.add(sample);
    }
    #[cfg(not(feature = "otel"))]
    let _ = sample;
}

#[cfg(feature = "otel")]
pub(super) mod instruments {
    //! The instruments of OpenTelemetry behind the samples.

    use std::sync::OnceLock;
    use std::time::Duration;

    use opentelemetry::KeyValue;
    use opentelemetry::metrics::{Counter, Histogram, Meter};

    use super::Sample;
    use crate::domain::tally::{SlaveTally, Tally};
    use crate::telemetry::names::{attribute, field, metric};

    static INSTRUMENTS: OnceLock<Instruments> = OnceLock::new();

    /// Bounds of the buckets of durations, in seconds: from a page to half a day.
    const BOUNDS: [f64; 12] = [0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 10_800.0, 21_600.0, 43_200.0];

    /// From now on samples go into these instruments; a second call changes nothing.
    pub(in crate::telemetry) fn set(meter: &Meter) {
        let _ = INSTRUMENTS.set(Instruments::of(meter));
    }

    pub(super) fn get() -> Option<&'static Instruments> {
        INSTRUMENTS.get()
    }

    pub(in crate::telemetry) struct Instruments {
        scanned: Counter<u64>,
        compared: Counter<u64>,
        discrepancies: Counter<u64>,
        repairs: Counter<u64>,
        units: Counter<u64>,
        pages: Counter<u64>,
        retries: Counter<u64>,
        throttles: Counter<u64>,
        consumed: Counter<f64>,
        lag: Histogram<f64>,
        process: Histogram<f64>,
    }

    impl Instruments {
        pub(in crate::telemetry) fn of(meter: &Meter) -> Self {
            let counter = |name, unit, what| meter.u64_counter(name).with_unit(unit).with_description(what).build();
            let seconds = |name, what| {
                let histogram = meter.f64_histogram(name).with_unit("s").with_description(what);
                histogram.with_boundaries(BOUNDS.to_vec()).build()
            };
            Self {
                scanned: counter(metric::ITEMS_SCANNED, "{item}", "Items read by scans"),
                compared: counter(metric::ITEMS_COMPARED, "{item}", "Items of the master held against a slave"),
                discrepancies: counter(metric::DISCREPANCIES, "{discrepancy}", "Discrepancies found"),
                repairs: counter(metric::REPAIRS, "{item}", "What came of repairs and other writes"),
                units: counter(metric::UNITS, "{unit}", "Units of work that ended or were given back"),
                pages: counter(metric::PAGES, "{request}", "Requests for pages and batches"),
                retries: counter(metric::RETRIES, "{request}", "Requests that were tried again"),
                throttles: counter(metric::THROTTLES, "{request}", "Requests that a service throttled"),
                consumed: meter
                    .f64_counter(metric::CONSUMED)
                    .with_unit("{capacity_unit}")
                    .with_description("Capacity units consumed")
                    .build(),
                lag: seconds(metric::STREAM_LAG, "How far a followed shard is behind"),
                process: seconds(metric::PROCESS_DURATION, "How long units were worked on"),
            }
        }

        pub(in crate::telemetry) fn add(&self, sample: Sample<'_>) {
            match sample {
                Sample::Page { operation, table } => {
                    self.pages.add(1, &[of_table(table), KeyValue::new(attribute::OPERATION, operation)]);
                }
                Sample::Throttled { operation, reason } => {
                    let reason = KeyValue::new(attribute::REASON, reason.to_owned());
                    self.throttles.add(1, &[KeyValue::new(attribute::OPERATION, operation), reason]);
                }
                Sample::Retried { operation, error } => {
                    let error = KeyValue::new(field::ERROR_TYPE, error);
                    self.retries.add(1, &[KeyValue::new(attribute::OPERATION, operation), error]);
                }
                Sample::Committed { labels, before, after } => self.committed(labels, before, after),
                Sample::Worked { outcome, error, system, took } => {
                    let outcome = KeyValue::new(field::OUTCOME, outcome);
                    let error = error.map(|error| KeyValue::new(field::ERROR_TYPE, error));
                    let attributes: Vec<KeyValue> = std::iter::once(outcome).chain(error).collect();
                    self.units.add(1, &attributes);
                    let of_process = [(field::QUEUE_SYSTEM, system), (field::QUEUE_OPERATION, "process")];
                    let of_process = of_process.map(|(name, value)| KeyValue::new(name, value));
                    self.process.record(seconds(took), &[attributes, of_process.into()].concat());
                }
                Sample::Lag { table, behind } => self.lag.record(seconds(behind), &[of_table(table)]),
            }
        }

        fn committed(&self, labels: &[String], before: &Tally, after: &Tally) {
            for (number, label) in labels.iter().enumerate() {
                let table = of_table(label);
                let grown = grown(before.scanned.get(number), after.scanned.get(number));
                if grown > 0 {
                    self.scanned.add(grown, std::slice::from_ref(&table));
                }
                let units = |tally: &Tally| tally.consumed.get(number).copied().unwrap_or_default();
                let (old, new) = (units(before), units(after));
                for (direction, units) in [("read", new.read - old.read), ("write", new.write - old.write)] {
                    if units > 0.0 {
                        self.consumed.add(units, &[table.clone(), KeyValue::new(attribute::DIRECTION, direction)]);
                    }
                }
            }
            let zero = SlaveTally::default();
            for ((slave, new), label) in after.slaves.iter().enumerate().zip(labels.iter().skip(1)) {
                self.on_slave(label, before.slaves.get(slave).unwrap_or(&zero), new);
            }
        }

        fn on_slave(&self, label: &str, old: &SlaveTally, new: &SlaveTally) {
            let table = of_table(label);
            let compared = new.compared.saturating_sub(old.compared);
            if compared > 0 {
                self.compared.add(compared, std::slice::from_ref(&table));
            }
            let kinds = [
                ("missing", old.missing, new.missing),
                ("differing", old.differing, new.differing),
                ("extra", old.extra, new.extra),
            ];
            let outcomes = [
                ("written", old.written, new.written),
                ("deleted", old.deleted, new.deleted),
                ("skipped", old.skipped, new.skipped),
                ("failed", old.failed, new.failed),
            ];
            let by_kind = kinds.map(|figures| (&self.discrepancies, attribute::KIND, figures));
            let by_outcome = outcomes.map(|figures| (&self.repairs, field::OUTCOME, figures));
            for (counter, name, (value, old, new)) in by_kind.into_iter().chain(by_outcome) {
                if new > old {
                    counter.add(new - old, &[table.clone(), KeyValue::new(name, value)]);
                }
            }
        }
    }

    fn of_table(label: &str) -> KeyValue {
        KeyValue::new(attribute::TABLE, label.to_owned())
    }

    fn grown(old: Option<&u64>, new: Option<&u64>) -> u64 {
        new.copied().unwrap_or_default().saturating_sub(old.copied().unwrap_or_default())
    }

    /// Whole milliseconds are enough.
    fn seconds(duration: Duration) -> f64 {
        Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)).as_secs_f64()
    }
}
