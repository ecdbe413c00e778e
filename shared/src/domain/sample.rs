//! A random share of the segments, and what it says about the whole table.
//!
//! The segments are a simple random sample without replacement, and what is counted in one of them is one observation.
//! The estimate of a total is the mean times the number of segments; its 95 % interval is Student's, with the finite
//! population correction (Cochran, "Sampling Techniques", 3rd edition 1977, sections 2.5 to 2.9).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::segment::MAX_SEGMENTS;

/// Segments that a sample has at least where their number can be chosen; with fewer the intervals get wide.
const LEAST_PICKED: f64 = 20.0;

/// Segments that a table has at least where their number can be chosen.
const LEAST_SEGMENTS: u32 = 100;

/// So few of something that its spread over the segments does not show in the sample.
const FEW: u32 = 10;

/// A share, above 0 and below 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Fraction(f64);

/// It is never NaN.
impl Eq for Fraction {}

/// A number that is no share.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fraction above 0 and below 1 is expected, such as 0.05")]
pub struct BadFraction;

impl Fraction {
    /// The number.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }

    /// How many of these segments are picked: the share, rounded up, and 2 at least where there are 2.
    #[must_use]
    pub fn picked_of(self, segments: u32) -> u32 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "less than `segments`, or as many")]
        let share = (f64::from(segments) * self.0).ceil() as u32;
        share.max(2).min(segments)
    }

    /// How many segments there must be for a sample of this share to mean something.
    #[must_use]
    pub fn least_segments(self) -> u32 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast of a float saturates")]
        let enough = (LEAST_PICKED / self.0).ceil() as u32;
        enough.clamp(LEAST_SEGMENTS, MAX_SEGMENTS)
    }
}

impl TryFrom<f64> for Fraction {
    type Error = BadFraction;

    fn try_from(number: f64) -> Result<Self, BadFraction> {
        if number > 0.0 && number < 1.0 { Ok(Self(number)) } else { Err(BadFraction) }
    }
}

impl FromStr for Fraction {
    type Err = BadFraction;

    fn from_str(text: &str) -> Result<Self, BadFraction> {
        text.parse::<f64>().map_err(|_| BadFraction)?.try_into()
    }
}

impl From<Fraction> for f64 {
    fn from(fraction: Fraction) -> Self {
        fraction.0
    }
}

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// That a job's segments were picked at random, and out of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// The share that was asked for.
    pub fraction: Fraction,
    /// The segments that could have been picked.
    pub of: u32,
}

/// A total that was estimated, and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    /// The likeliest total.
    pub estimate: u64,
    /// The interval's lower end, never below what was counted.
    pub low: u64,
    /// Its upper end.
    pub high: u64,
}

/// What was counted, segment by segment, as far as an estimate needs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moments {
    segments: u32,
    sum: u128,
    squares: u128,
}

impl Moments {
    /// Adds what was counted in one whole segment.
    pub fn add(&mut self, count: u64) {
        let count = u128::from(count);
        self.segments += 1;
        self.sum += count;
        self.squares += count * count;
    }

    /// The total of so many segments, of which `counted` is known to be there; `None` below two whole segments.
    #[must_use]
    pub fn total(&self, of: u32, counted: u64) -> Option<Estimate> {
        let Self { segments, sum, squares } = *self;
        if segments < 2 || of < segments {
            return None;
        }
        let (n, all) = (f64::from(segments), f64::from(of));
        let unread = 1.0 - n / all;
        let estimate = all * sum as f64 / n;
        // The difference is taken of whole numbers, so that nothing is lost where all segments are nearly alike.
        let deviations = (u128::from(segments) * squares).saturating_sub(sum * sum) as f64;
        let variance = deviations / (n * (n - 1.0));
        let half = student_t_975(segments - 1) * all * (unread * variance / n).sqrt();
        // What the sample has hardly any of, or none, has hardly any variance in it, and yet the table may have more.
        let at_most = u32::try_from(sum).ok().filter(|&few| few <= FEW).map_or(0.0, |few| most(few, 1.0 - unread));
        let counted = counted as f64;
        let estimate = estimate.max(counted);
        Some(Estimate {
            estimate: whole(estimate.round()),
            low: whole((estimate - half).round().max(counted)),
            high: whole((estimate + half).round().max(estimate.round()).max(at_most)),
        })
    }
}

/// The most there may be in all of what so few were seen of: with any more, seeing so few has less than 2.5 %.
///
/// Each is in a segment that was read with the probability `read`, because a hash spreads the items over the segments:
/// the exact bound of Clopper and Pearson (Biometrika 26, 1934), for an unknown number of trials.
fn most(few: u32, read: f64) -> f64 {
    let unread = 1.0 - read;
    let probable = |all: f64| {
        let (mut of_this_many, mut of_so_few) = (unread.powf(all), 0.0);
        for seen in 0..=few {
            of_so_few += of_this_many;
            of_this_many *= (all - f64::from(seen)) / f64::from(seen + 1) * read / unread;
        }
        of_so_few >= 0.025
    };
    let mut low = f64::from(few);
    if unread <= 0.0 {
        return low;
    }
    let mut above = low + 1.0;
    while probable(above) {
        (low, above) = (above, 2.0 * above);
    }
    while above - low > 1.0 {
        let middle = ((low + above) / 2.0).floor();
        if probable(middle) { low = middle } else { above = middle }
    }
    low
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast of a float saturates")]
fn whole(number: f64) -> u64 {
    number as u64
}

/// The 97.5 % quantile of Student's t: two-sided, it leaves 5 %.
///
/// Up to 10 degrees of freedom from the table, above by the expansion in Abramowitz and Stegun, "Handbook of
/// Mathematical Functions", 26.7.5, which is right to four decimals there.
fn student_t_975(degrees: u32) -> f64 {
    const TABLE: [f64; 10] = [12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281];
    /// The quantile of the normal distribution.
    const NORMAL: f64 = 1.959_963_985;
    let index = usize::try_from(degrees).unwrap_or(usize::MAX).saturating_sub(1);
    if let Some(&quantile) = TABLE.get(index) {
        return quantile;
    }
    let (v, x) = (f64::from(degrees), NORMAL);
    let g1 = (x.powi(3) + x) / 4.0;
    let g2 = (5.0 * x.powi(5) + 16.0 * x.powi(3) + 3.0 * x) / 96.0;
    let g3 = (3.0 * x.powi(7) + 19.0 * x.powi(5) + 17.0 * x.powi(3) - 15.0 * x) / 384.0;
    x + g1 / v + g2 / v.powi(2) + g3 / v.powi(3)
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::seq::index;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    /// Source of the values: NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2.
    #[test]
    fn the_quantiles_are_those_of_the_tables() {
        for (degrees, quantile) in [
            (1, 12.706),
            (2, 4.303),
            (9, 2.262),
            (10, 2.228),
            (11, 2.201),
            (12, 2.179),
            (15, 2.131),
            (20, 2.086),
            (30, 2.042),
            (60, 2.000),
            (100, 1.984),
            (1_000_000, 1.960),
        ] {
            let found = student_t_975(degrees);
            assert!((found - quantile).abs() < 0.0006, "{degrees}: {found}");
        }
    }

    #[test]
    fn an_estimate_worked_by_hand() {
        let mut moments = Moments::default();
        [10, 12, 14, 16].into_iter().for_each(|count| moments.add(count));

        // The mean is 13, the variance 20/3; 40 * 3.1824 * sqrt(0.9 * 20/3 / 4) = 155.9.
        assert_eq!(moments.total(40, 52), Some(Estimate { estimate: 520, low: 364, high: 676 }));
        // Of segments that were all read nothing is left to estimate.
        assert_eq!(moments.total(4, 52), Some(Estimate { estimate: 52, low: 52, high: 52 }));
    }

    #[test]
    fn the_interval_never_contradicts_what_was_counted() {
        let mut moments = Moments::default();
        [0, 0, 0, 900].into_iter().for_each(|count| moments.add(count));

        let estimate = moments.total(8, 901).unwrap();
        assert_eq!((estimate.estimate, estimate.low), (1800, 901));
        assert!(estimate.high > 1800);
        // 10,000 more were counted in segments that are not done yet.
        let estimate = moments.total(8, 10_900).unwrap();
        assert_eq!((estimate.estimate, estimate.low), (10_900, 10_900));
        assert!(estimate.high >= 10_900);
    }

    #[test]
    fn one_segment_says_nothing_about_the_others() {
        let mut moments = Moments::default();
        assert_eq!(moments.total(10, 0), None);
        moments.add(5);
        assert_eq!(moments.total(10, 5), None);
    }

    #[test]
    fn what_was_not_seen_may_be_there_all_the_same() {
        let mut moments = Moments::default();
        (0..10).for_each(|_| moments.add(0));

        // 0.9 to the power of 35 is 0.02503.
        assert_eq!(moments.total(100, 0), Some(Estimate { estimate: 0, low: 0, high: 35 }));
        assert_eq!(moments.total(10, 0), Some(Estimate { estimate: 0, low: 0, high: 0 }));
        // Garwood's upper limits for few that were seen, 3.689, 5.572 and 18.390, are those of ever smaller shares.
        for (few, limit) in [(0, 3.689), (1, 5.572), (10, 18.390)] {
            assert!((most(few, 1e-4) * 1e-4 - limit).abs() < 0.005, "{few}: {}", most(few, 1e-4));
        }
    }

    /// The share of samples whose interval holds the truth, over samples of one population per seed.
    fn coverage(picked: u32, population: impl Fn(&mut StdRng) -> Vec<u64>) -> f64 {
        const SEEDS: u64 = 600;
        let covered = |seed| {
            let mut random = StdRng::seed_from_u64(seed);
            let counts = population(&mut random);
            let (truth, mut moments) = (counts.iter().sum::<u64>(), Moments::default());
            let chosen = index::sample(&mut random, counts.len(), picked as usize);
            chosen.iter().for_each(|segment| moments.add(counts[segment]));
            let counted = chosen.iter().map(|segment| counts[segment]).sum();
            let Estimate { estimate, low, high } = moments.total(counts.len() as u32, counted).unwrap();
            assert!(counted <= low && low <= estimate && estimate <= high, "{low} {estimate} {high}");
            (low..=high).contains(&truth)
        };
        (0..SEEDS).filter(|&seed| covered(seed)).count() as f64 / SEEDS as f64
    }

    /// So many items, each in a segment of its own choice.
    fn scattered(items: u32, segments: usize) -> impl Fn(&mut StdRng) -> Vec<u64> {
        move |random| {
            let mut counts = vec![0; segments];
            (0..items).for_each(|_| counts[random.random_range(0..segments)] += 1);
            counts
        }
    }

    #[test]
    fn the_interval_holds_the_truth_nineteen_times_out_of_twenty() {
        let uneven = |random: &mut StdRng| (0..500).map(|_| 1000 + random.random_range(0..3000)).collect();
        for (name, found) in [
            ("items of a table", coverage(20, scattered(4_000, 200))),
            ("segments of uneven size", coverage(25, uneven)),
            ("two segments", coverage(2, scattered(4_000, 200))),
            ("half of the segments", coverage(100, scattered(2_000, 200))),
            ("rare discrepancies", coverage(50, scattered(100, 500))),
        ] {
            assert!((0.90..=0.99).contains(&found), "{name}: {found}");
        }
        // The bound for few that were seen is on the safe side.
        let found = coverage(100, scattered(30, 1000));
        assert!(found >= 0.95, "hardly any discrepancies: {found}");
    }

    #[test]
    fn a_fraction_is_above_zero_and_below_one() {
        for text in ["0", "1", "-0.1", "1.5", "NaN", "inf", "", "x", "5%"] {
            assert_eq!(text.parse::<Fraction>(), Err(BadFraction), "{text}");
        }
        let fraction: Fraction = "0.05".parse().unwrap();
        assert_eq!(fraction.get(), 0.05);
        assert!(serde_json::from_str::<Fraction>("1.0").is_err());
    }

    #[test]
    fn a_share_of_the_segments_is_picked_and_two_at_least() {
        for (fraction, segments, picked) in
            [(0.1, 100, 10), (0.101, 100, 11), (0.01, 100, 2), (0.5, 2, 2), (0.9, 1, 1), (0.999, 10, 10)]
        {
            assert_eq!(Fraction(fraction).picked_of(segments), picked, "{fraction} of {segments}");
        }
        assert_eq!([0.5, 0.1, 0.01, 1e-9].map(|f| Fraction(f).least_segments()), [100, 200, 2000, MAX_SEGMENTS]);
    }
}
