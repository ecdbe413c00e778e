//! One rate among the workers of a job.
//!
//! Each worker reckons its own share from what it last saw of the others, and their sum must not pass the rate although
//! they look at different times. So what a worker counts for *itself* is the least that all others can have seen of it,
//! and what it counts of the others is all that it saw ([`crate::pacing::fleet`] knows both).

/// The smallest share that is of use, in units per second: a request of half a unit or one, spread evenly over time,
/// fits into it.
pub const SMALLEST_SHARE: f64 = 2.0;

/// What one worker sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// This worker's id.
    pub own: String,
    /// The segments that all others know it to have had for a while.
    pub known: u32,
    /// The segments that it has told the others of most recently.
    pub told: u32,
    /// The other workers that have any segments: id and segments.
    pub others: Vec<(String, u32)>,
}

/// This worker's part of a rate.
///
/// By segments, as long as every segment's part is of use; else evenly among as many workers as it is of use to, the
/// first by their ids, and nothing for the rest.
#[must_use]
pub fn share(rate: f64, view: &View) -> f64 {
    let View { own, known, told, others } = view;
    if *known == 0 {
        return 0.0;
    }
    let segments = others.iter().map(|(_, segments)| f64::from(*segments)).sum::<f64>() + f64::from(*told.max(known));
    if rate >= SMALLEST_SHARE * segments {
        return rate * f64::from(*known) / segments;
    }
    let served = (rate / SMALLEST_SHARE).floor().max(1.0);
    let before = others.iter().filter(|(id, _)| id < own).count() as f64;
    let present = others.len() as f64 + 1.0;
    if before < served { rate / served.min(present) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(own: &str, known: u32, told: u32, others: &[(&str, u32)]) -> View {
        let others = others.iter().map(|(id, segments)| ((*id).to_owned(), *segments)).collect();
        View { own: own.to_owned(), known, told, others }
    }

    #[test]
    fn shares_follow_the_segments_and_small_rates_go_to_the_first() {
        for (what, rate, view, expected) in [
            ("alone", 100.0, view("a", 4, 4, &[]), 100.0),
            ("by segments", 100.0, view("a", 4, 4, &[("b", 6)]), 40.0),
            ("nobody knows of it yet", 100.0, view("a", 0, 4, &[("b", 4)]), 0.0),
            ("more than all others know of", 100.0, view("a", 2, 4, &[("b", 4)]), 25.0),
            ("fewer than it told before", 100.0, view("a", 2, 2, &[("b", 4)]), 100.0 / 3.0),
            ("too little by segments, enough by workers", 10.0, view("b", 4, 4, &[("a", 9)]), 5.0),
            ("the first of those it is enough for", 5.0, view("a", 4, 4, &[("b", 4), ("c", 4)]), 2.5),
            ("the second", 5.0, view("b", 4, 4, &[("a", 4), ("c", 4)]), 2.5),
            ("one too many", 5.0, view("c", 4, 4, &[("a", 4), ("b", 4)]), 0.0),
            ("one unit goes to one worker", 1.0, view("a", 4, 4, &[("b", 4)]), 1.0),
            ("and to no other", 1.0, view("b", 4, 4, &[("a", 4)]), 0.0),
            ("alone at one unit", 1.0, view("b", 4, 4, &[]), 1.0),
        ] {
            assert_eq!(share(rate, &view), expected, "{what}");
        }
    }

    #[test]
    fn the_shares_of_workers_that_see_each_other_make_the_rate() {
        for rate in [1.0, 3.0, 10.0, 33.0, 64.0, 1000.0, 40_000.0] {
            for workers in [1_usize, 2, 3, 8, 20] {
                let all: Vec<(String, u32)> = (0..workers).map(|n| (format!("{n:02}"), 1 + n as u32 % 4)).collect();
                let of = |n: usize| {
                    let (own, segments) = all[n].clone();
                    let others = all.iter().filter(|(id, _)| *id != own).cloned().collect();
                    share(rate, &View { own, known: segments, told: segments, others })
                };
                let sum: f64 = (0..workers).map(of).sum();

                assert!((sum - rate).abs() < 1e-6, "{workers} workers share {rate} as {sum}");
            }
        }
    }
}
