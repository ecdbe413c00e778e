//! What requests to one table will cost, learned from what they did cost.

use crate::domain::cost::{BYTES_PER_PAGE, BYTES_PER_READ_UNIT, BYTES_PER_WRITE_UNIT, TableSize};
use crate::domain::job::Consistency;

/// How much of what a page may hold is asked for, so that items above the average do not make it dearer; the lesser
/// where the page is one block only and its price would double.
const FILL: f64 = 0.85;
const FILL_OF_ONE_BLOCK: f64 = 0.6;

/// How much of a new price enters the average.
const WEIGHT: f64 = 0.2;

/// How fast larger pages are tried while the size of items is not known.
const TRY_MORE: f64 = 0.7;

/// No item is smaller than this, as far as it matters.
const LEAST_BYTES: f64 = 10.0;

/// The sizes of one table's items.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    bytes: f64,
    /// Evidence that items are not smaller than this; 0 without any.
    at_least: f64,
    /// Read units of one key, strongly consistent.
    per_key: f64,
    per_write: f64,
}

impl Sizes {
    /// By what the table says of itself, if anything.
    #[must_use]
    pub fn new(size: Option<TableSize>) -> Self {
        let known = size.filter(|size| size.is_known()).map(TableSize::average);
        let bytes = known.unwrap_or(BYTES_PER_READ_UNIT).max(LEAST_BYTES);
        Self {
            bytes,
            at_least: known.unwrap_or(0.0),
            per_key: (bytes / BYTES_PER_READ_UNIT).ceil(),
            per_write: (bytes / BYTES_PER_WRITE_UNIT).ceil().max(1.0).min(if known.is_some() { f64::MAX } else { 1.0 }),
        }
    }

    /// Items on a page that costs at most so many units, one at least, and never more than were asked for.
    #[must_use]
    pub fn page_within(&self, units: f64, asked: Option<u32>, consistency: Consistency) -> Option<u32> {
        let blocks = (units / block(consistency)).floor().max(1.0);
        let (fits, fill) = match blocks {
            1.0 => (BYTES_PER_READ_UNIT, FILL_OF_ONE_BLOCK),
            _ => (blocks * BYTES_PER_READ_UNIT, FILL),
        };
        if fits * FILL >= BYTES_PER_PAGE {
            return asked;
        }
        let items = (fits * fill / self.bytes).clamp(1.0, f64::from(u32::MAX)) as u32;
        Some(asked.map_or(items, |asked| asked.min(items)))
    }

    /// What such a page will cost.
    #[must_use]
    pub fn page_units(&self, limit: Option<u32>, consistency: Consistency) -> f64 {
        let bytes = limit.map_or(BYTES_PER_PAGE, |limit| (f64::from(limit) * self.bytes).min(BYTES_PER_PAGE));
        (bytes / BYTES_PER_READ_UNIT).ceil().max(1.0) * block(consistency)
    }

    /// Learns from a page.
    pub fn learn_page(&mut self, items: usize, units: f64, consistency: Consistency) {
        let blocks = (units / block(consistency)).round();
        if items == 0 || blocks < 1.0 {
            return;
        }
        let (low, high) = ((blocks - 1.0) * BYTES_PER_READ_UNIT, blocks * BYTES_PER_READ_UNIT);
        let (low, high) = (low / items as f64, high / items as f64);
        if self.bytes <= low {
            self.bytes = f64::midpoint(low, high);
            self.at_least = self.at_least.max(low);
        } else if self.bytes > high {
            self.bytes = high;
            self.at_least = self.at_least.min(high);
        } else if blocks == 1.0 {
            self.bytes = (self.bytes * TRY_MORE).max(self.at_least).max(LEAST_BYTES).min(self.bytes);
        } else {
            self.bytes += WEIGHT * (f64::midpoint(low, high) - self.bytes);
        }
    }

    /// How many of these keys cost at most so many units together, one at least.
    #[must_use]
    pub fn keys_within(&self, units: f64, consistency: Consistency) -> usize {
        (units / self.key_units(1, consistency)).max(1.0) as usize
    }

    /// What reads of so many keys will cost.
    #[must_use]
    pub fn key_units(&self, keys: usize, consistency: Consistency) -> f64 {
        keys as f64 * self.per_key * block(consistency)
    }

    /// Learns from reads by key.
    pub fn learn_keys(&mut self, keys: usize, units: f64, consistency: Consistency) {
        if keys > 0 && units > 0.0 {
            let per_key = (units / keys as f64 / block(consistency)).max(1.0);
            self.per_key += WEIGHT * (per_key - self.per_key);
        }
    }

    /// How many writes cost at most so many units together, one at least.
    #[must_use]
    pub fn writes_within(&self, units: f64) -> usize {
        (units / self.per_write).max(1.0) as usize
    }

    /// What so many writes will cost.
    #[must_use]
    pub fn write_units(&self, writes: usize) -> f64 {
        writes as f64 * self.per_write
    }

    /// Learns from writes.
    pub fn learn_writes(&mut self, writes: usize, units: f64) {
        if writes > 0 && units > 0.0 {
            let per_write = (units / writes as f64).max(1.0);
            self.per_write += WEIGHT * (per_write - self.per_write);
        }
    }
}

/// Units of one block of 4 KB.
fn block(consistency: Consistency) -> f64 {
    match consistency {
        Consistency::Strong => 1.0,
        Consistency::Eventual => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: u64) -> Sizes {
        Sizes::new(Some(TableSize { items: 1000, bytes: 1000 * bytes }))
    }

    #[test]
    fn pages_are_cut_to_what_they_may_cost() {
        let sizes = of(200);
        for (units, asked, expected) in [
            (0.35, None, Some(12)),
            (0.35, Some(5), Some(5)),
            (1.0, None, Some(34)),
            (100.0, None, Some(3481)),
            (100.0, Some(2000), Some(2000)),
            (1000.0, None, None),
            (f64::INFINITY, Some(2000), Some(2000)),
        ] {
            let limit = sizes.page_within(units, asked, Consistency::Eventual);
            assert_eq!(limit, expected, "{units} units");
            assert!(sizes.page_units(limit, Consistency::Eventual) <= units.clamp(0.5, 128.0));
        }
        assert_eq!(of(300_000).page_within(1.0, None, Consistency::Eventual), Some(1));
        assert_eq!(of(300_000).page_units(Some(1), Consistency::Eventual), 37.0);
        assert_eq!(sizes.page_units(None, Consistency::Strong), 256.0);
    }

    #[test]
    fn a_table_of_unknown_size_is_felt_out_from_one_item_up() {
        for (bytes, most) in [(200.0, 20), (3000.0, 1)] {
            let mut sizes = Sizes::new(None);
            let mut limits = Vec::new();
            for _ in 0..40 {
                let limit = sizes.page_within(0.35, None, Consistency::Eventual).unwrap();
                limits.push(limit);
                let units = (f64::from(limit) * bytes / BYTES_PER_READ_UNIT).ceil() * 0.5;
                sizes.learn_page(limit as usize, units, Consistency::Eventual);
            }
            assert_eq!(limits[0], 1);
            assert!(limits[39] <= most && limits[39] * 2 >= most, "{limits:?} for {bytes} bytes");
        }
    }

    #[test]
    fn sizes_that_changed_are_learned() {
        let mut sizes = of(200);
        for _ in 0..40 {
            sizes.learn_page(100, 25.0, Consistency::Eventual);
            sizes.learn_keys(10, 30.0, Consistency::Strong);
            sizes.learn_writes(2, 6.0);
        }

        assert_eq!(sizes.page_within(10.0, None, Consistency::Eventual), Some(34));
        assert_eq!(sizes.keys_within(30.5, Consistency::Strong), 10);
        assert_eq!(sizes.keys_within(30.5, Consistency::Eventual), 20);
        assert_eq!(sizes.writes_within(7.0), 2);
        assert_eq!((sizes.keys_within(0.1, Consistency::Strong), sizes.writes_within(0.1)), (1, 1));
    }
}
