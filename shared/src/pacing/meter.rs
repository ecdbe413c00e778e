//! How much is being done: a meter that running work feeds and progress displays read.
//!
//! It is for watching only. What counts is in the checkpoints.

use std::sync::atomic::{AtomicU64, Ordering};

/// Running totals of this process.
#[derive(Debug, Default)]
pub struct Meter {
    scanned: AtomicU64,
    discrepancies: AtomicU64,
    units_ended: AtomicU64,
    milli_read_units: AtomicU64,
    milli_write_units: AtomicU64,
}

/// What a meter showed at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// Items scanned.
    pub scanned: u64,
    /// Discrepancies that counted.
    pub discrepancies: u64,
    /// Units of work that ended.
    pub units_ended: u64,
    /// Read units consumed.
    pub read_units: f64,
    /// Write units consumed.
    pub write_units: f64,
}

impl Meter {
    /// Counts scanned items.
    pub fn add_scanned(&self, items: u64) {
        self.scanned.fetch_add(items, Ordering::Relaxed);
    }

    /// Counts discrepancies.
    pub fn add_discrepancies(&self, count: u64) {
        self.discrepancies.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts a unit of work that ended.
    pub fn add_ended_unit(&self) {
        self.units_ended.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts consumed read units.
    pub fn add_read_units(&self, units: f64) {
        self.milli_read_units.fetch_add(milli(units), Ordering::Relaxed);
    }

    /// Counts consumed write units.
    pub fn add_write_units(&self, units: f64) {
        self.milli_write_units.fetch_add(milli(units), Ordering::Relaxed);
    }

    /// What it shows now.
    #[must_use]
    pub fn read(&self) -> Reading {
        #[expect(clippy::cast_precision_loss, reason = "a display")]
        let units = |milli: &AtomicU64| milli.load(Ordering::Relaxed) as f64 / 1000.0;
        Reading {
            scanned: self.scanned.load(Ordering::Relaxed),
            discrepancies: self.discrepancies.load(Ordering::Relaxed),
            units_ended: self.units_ended.load(Ordering::Relaxed),
            read_units: units(&self.milli_read_units),
            write_units: units(&self.milli_write_units),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "units of one answer are small and not negative"
)]
fn milli(units: f64) -> u64 {
    (units * 1000.0).round() as u64
}
