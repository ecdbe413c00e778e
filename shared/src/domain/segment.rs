//! Segments of a parallel scan: how many, which, and in which order they are handed out.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Most segments one parallel scan has.
///
/// Source: Amazon DynamoDB API Reference, Scan, TotalSegments.
pub const MAX_SEGMENTS: u32 = 1_000_000;

/// Bytes of table per segment that `auto` aims for.
///
/// One partition gives 24 MB/s to eventually consistent scans, so a segment is a matter of seconds to a minute:
/// long enough to be worth a message, short enough to spread over a fleet and to lose little.
const BYTES_PER_SEGMENT: u64 = 128 * 1024 * 1024;

/// Plans the number of segments from the table's size, with at least one for each that is worked on at once.
///
/// DescribeTable refreshes the size every six hours or so; a new table says 0 and gets the least.
#[must_use]
pub fn planned_segments(table_bytes: u64, at_once: u32) -> u32 {
    let by_size = u32::try_from(table_bytes.div_ceil(BYTES_PER_SEGMENT)).unwrap_or(MAX_SEGMENTS);
    by_size.max(at_once).clamp(1, MAX_SEGMENTS)
}

/// All numbers below `total`, each as far as can be from the ones before it.
///
/// Neighbouring segments share storage partitions, so a fleet that takes them in this order spreads its reads.
pub fn strided(total: u32) -> impl Iterator<Item = u32> {
    let bits = u32::BITS - total.saturating_sub(1).leading_zeros();
    let reverse = move |n: u32| if bits == 0 { n } else { n.reverse_bits() >> (u32::BITS - bits) };
    (0..1u64 << bits).map(move |n| reverse(u32::try_from(n).unwrap_or(u32::MAX))).filter(move |&n| n < total)
}

/// A choice of segments, written as in `0,3,8-15`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SegmentSet {
    /// Ascending, apart from each other, both ends included.
    ranges: Vec<(u32, u32)>,
}

/// A text that is no choice of segments.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no list of segments such as 0,3,8-15")]
pub struct BadSegmentSet(pub String);

impl SegmentSet {
    /// Whether the segment is chosen.
    #[must_use]
    pub fn contains(&self, segment: u32) -> bool {
        let next = self.ranges.partition_point(|&(first, _)| first <= segment);
        next.checked_sub(1).is_some_and(|before| segment <= self.ranges[before].1)
    }

    /// How many segments are chosen.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.ranges.iter().map(|&(first, last)| (last - first).saturating_add(1)).sum()
    }

    /// These segments, in any order.
    #[must_use]
    pub fn of(segments: impl IntoIterator<Item = u32>) -> Self {
        Self::merged(segments.into_iter().map(|segment| (segment, segment)).collect())
    }

    fn merged(mut ranges: Vec<(u32, u32)>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::new();
        for (first, last) in ranges {
            match merged.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => merged.push((first, last)),
            }
        }
        Self { ranges: merged }
    }

    /// The highest segment chosen.
    #[must_use]
    pub fn highest(&self) -> u32 {
        self.ranges.last().map_or(0, |&(_, last)| last)
    }
}

impl FromStr for SegmentSet {
    type Err = BadSegmentSet;

    fn from_str(text: &str) -> Result<Self, BadSegmentSet> {
        let bad = || BadSegmentSet(text.to_owned());
        let mut ranges = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.trim().parse::<u32>().map_err(|_| bad());
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(bad());
            }
            ranges.push((first, last));
        }
        Ok(Self::merged(ranges))
    }
}

impl fmt::Display for SegmentSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.ranges.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            if first == last { write!(f, "{comma}{first}")? } else { write!(f, "{comma}{first}-{last}")? }
        }
        Ok(())
    }
}

impl TryFrom<String> for SegmentSet {
    type Error = BadSegmentSet;

    fn try_from(text: String) -> Result<Self, BadSegmentSet> {
        text.parse()
    }
}

impl From<SegmentSet> for String {
    fn from(set: SegmentSet) -> Self {
        set.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_strided_order_names_every_segment_once(total in 0u32..5000) {
            let mut order: Vec<u32> = strided(total).collect();
            order.sort_unstable();

            prop_assert_eq!(order, (0..total).collect::<Vec<_>>());
        }

        #[test]
        fn a_set_has_the_segments_it_was_made_of_and_no_others(segments: Vec<u8>) {
            let set = SegmentSet::of(segments.iter().map(|&segment| u32::from(segment)));

            for segment in 0..=u8::MAX {
                prop_assert_eq!(set.contains(segment.into()), segments.contains(&segment));
            }
            prop_assert!(!set.contains(256) && !set.contains(u32::MAX));
            let distinct: std::collections::BTreeSet<_> = segments.iter().collect();
            prop_assert_eq!(set.count() as usize, distinct.len());
        }
    }

    #[test]
    fn the_strided_order_starts_far_apart() {
        assert_eq!(strided(8).collect::<Vec<_>>(), [0, 4, 2, 6, 1, 5, 3, 7]);
        assert_eq!(strided(5).collect::<Vec<_>>(), [0, 4, 2, 1, 3]);
        assert_eq!(strided(1).collect::<Vec<_>>(), [0]);
        assert_eq!(strided(MAX_SEGMENTS).count(), 1_000_000);
    }

    #[test]
    fn lists_of_segments_are_read_and_written() {
        let set: SegmentSet = "8-15,0,3,14-16".parse().unwrap();

        assert_eq!(set.to_string(), "0,3,8-16");
        assert!(set.contains(3) && set.contains(16) && !set.contains(7) && !set.contains(17));
        assert_eq!((set.highest(), set.count()), (16, 11));
        for text in ["", "a", "1,", "5-3", "-1", "1-2-3", "4294967296"] {
            assert!(text.parse::<SegmentSet>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_plan_follows_the_size_of_the_table() {
        assert_eq!(planned_segments(0, 4), 4);
        assert_eq!(planned_segments(10 << 30, 4), 80);
        assert_eq!(planned_segments(u64::MAX, 4), MAX_SEGMENTS);
        assert_eq!(planned_segments(0, 0), 1);
    }
}
