//! What a job may take: capacity units per second of each table, and dollars in all.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::cost::Prices;

/// The least rate that can be asked for, in units per second.
pub const LEAST_RATE: f64 = 1.0;

/// The highest rate that can be asked for: far above what a table gives.
const HIGHEST_RATE: f64 = 1e7;

/// The least rate that is believed of a file: a request of one unit waits for minutes there, and not for ever.
const LEAST_BELIEVED_RATE: f64 = 0.01;

/// The highest price of a million units, in dollars.
const HIGHEST_PRICE: f64 = 1e6;

/// The highest budget, in dollars: above it, billionths of dollars are no exact numbers any more.
const HIGHEST_COST: f64 = 1e6;

/// Which of a table's two capacities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// Reading.
    Read,
    /// Writing.
    Write,
}

/// Units per second that all workers of a job take from one table together, at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ceilings {
    /// Read units; without it there is no ceiling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<f64>,
    /// Write units; without it there is no ceiling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write: Option<f64>,
}

/// What a job may cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Dollars for all reads and writes of the job's tables.
    pub max_cost: f64,
    /// What they are reckoned with.
    pub prices: Prices,
    /// Dollars of it that were spent before workers began to keep account.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub spent_before: f64,
}

/// The limits of a job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// By table, the master first; a table that is not in it has no ceilings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<Ceilings>,
    /// What all of it may cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
}

/// Limits that no job can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is {value}, and has to be {bounds}")]
pub struct BadLimits {
    name: &'static str,
    value: String,
    bounds: String,
}

impl Limits {
    /// Refuses what would keep a job waiting for ever, or make nonsense of what it costs. Whoever reads limits that
    /// others wrote asks this first.
    ///
    /// # Errors
    /// `BadLimits`.
    pub fn check(&self) -> Result<(), BadLimits> {
        let rates = self.tables.iter().flat_map(|table| [("read", table.read), ("write", table.write)]);
        let rates = rates.filter_map(|(name, rate)| Some((name, rate?, LEAST_BELIEVED_RATE, HIGHEST_RATE)));
        let money = self.budget.iter().flat_map(|budget| {
            let Budget { max_cost, prices, spent_before } = *budget;
            [
                ("max_cost", max_cost, f64::MIN_POSITIVE, HIGHEST_COST),
                ("spent_before", spent_before, 0.0, f64::MAX),
                ("read_per_million", prices.read_per_million, 0.0, HIGHEST_PRICE),
                ("write_per_million", prices.write_per_million, 0.0, HIGHEST_PRICE),
            ]
        });
        for (name, value, least, most) in rates.chain(money) {
            if !(least..=most).contains(&value) {
                let bounds = match name {
                    "max_cost" => format!("more than 0 and at most {most}"),
                    "spent_before" => "0 or more".to_owned(),
                    _ => format!("{least} to {most}"),
                };
                return Err(BadLimits { name, value: value.to_string(), bounds });
            }
        }
        Ok(())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        let free = |ceilings: &Ceilings| *ceilings == Ceilings::default();
        self.budget.is_none() && self.tables.iter().all(free)
    }

    /// The ceiling of one table in one direction.
    #[must_use]
    pub fn ceiling(&self, table: usize, direction: Direction) -> Option<f64> {
        let ceilings = self.tables.get(table)?;
        match direction {
            Direction::Read => ceilings.read,
            Direction::Write => ceilings.write,
        }
    }

    /// Sets the ceilings of one direction, table by table.
    pub fn set(&mut self, direction: Direction, ceilings: &[Option<f64>]) {
        self.tables.resize(self.tables.len().max(ceilings.len()), Ceilings::default());
        for (table, &ceiling) in self.tables.iter_mut().zip(ceilings) {
            match direction {
                Direction::Read => table.read = ceiling,
                Direction::Write => table.write = ceiling,
            }
        }
    }
}

impl Budget {
    /// Billionths of dollars that workers may account for in all.
    #[must_use]
    pub fn nanos(&self) -> u64 {
        nanos((self.max_cost - self.spent_before).max(0.0)).floor() as u64
    }

    /// What units cost, in billionths of dollars, rounded up.
    #[must_use]
    pub fn nanos_of(&self, direction: Direction, units: f64) -> u64 {
        let dollars = match direction {
            Direction::Read => self.prices.dollars(units, 0.0),
            Direction::Write => self.prices.dollars(0.0, units),
        };
        nanos(dollars).ceil() as u64
    }
}

/// Billionths of dollars, without the noise that binary fractions leave behind.
fn nanos(dollars: f64) -> f64 {
    (dollars * 1e12).round() / 1e3
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(dollars: &f64) -> bool {
    *dollars == 0.0
}

/// A ceiling as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Capacity {
    /// Units per second.
    Units(f64),
    /// Percent of what the table is provisioned for.
    Percent(f64),
    /// None.
    Unlimited,
}

/// A text that is no capacity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("units per second are expected, 1 or more, such as 500; or a share of the provisioned capacity, such as 20%")]
pub struct BadCapacity;

impl Capacity {
    /// The ceiling for a table that is provisioned for so many units per second, or for none.
    ///
    /// # Errors
    /// When a share is asked for of a table without provisioned capacity.
    pub fn resolve(self, provisioned: Option<u64>) -> Result<Option<f64>, NotProvisioned> {
        match self {
            Self::Units(units) => Ok(Some(units)),
            Self::Percent(percent) => {
                let of = provisioned.ok_or(NotProvisioned)?;
                Ok(Some((of as f64 * percent / 100.0).max(LEAST_RATE)))
            }
            Self::Unlimited => Ok(None),
        }
    }
}

/// The table has no provisioned capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotProvisioned;

impl FromStr for Capacity {
    type Err = BadCapacity;

    fn from_str(text: &str) -> Result<Self, BadCapacity> {
        let number = |text: &str| text.parse::<f64>().map_err(|_| BadCapacity);
        match text.strip_suffix('%') {
            _ if text == "none" => Ok(Self::Unlimited),
            Some(percent) => {
                let percent = number(percent)?;
                if percent > 0.0 && percent <= 100.0 { Ok(Self::Percent(percent)) } else { Err(BadCapacity) }
            }
            None => {
                let units = number(text)?;
                if (LEAST_RATE..=HIGHEST_RATE).contains(&units) { Ok(Self::Units(units)) } else { Err(BadCapacity) }
            }
        }
    }
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Units(units) => write!(f, "{units}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Unlimited => f.write_str("none"),
        }
    }
}

/// Reads a budget in dollars.
///
/// # Errors
/// What is expected instead.
pub fn max_cost(text: &str) -> Result<f64, String> {
    match text.trim_start_matches('$').parse::<f64>() {
        Ok(dollars) if dollars > 0.0 && dollars <= HIGHEST_COST => Ok(dollars),
        _ => Err("dollars are expected, more than 0, such as 2.50".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacities_are_units_or_shares() {
        for (text, capacity) in [
            ("1", Capacity::Units(1.0)),
            ("2.5", Capacity::Units(2.5)),
            ("40000", Capacity::Units(40_000.0)),
            ("20%", Capacity::Percent(20.0)),
            ("none", Capacity::Unlimited),
        ] {
            assert_eq!(text.parse(), Ok(capacity));
            assert_eq!(capacity.to_string(), text);
        }
        for text in ["", "0", "0.5", "-3", "NaN", "inf", "0%", "101%", "%", "5 units"] {
            assert_eq!(text.parse::<Capacity>(), Err(BadCapacity), "{text}");
        }
    }

    #[test]
    fn a_share_is_one_of_provisioned_capacity_only() {
        assert_eq!(Capacity::Percent(20.0).resolve(Some(50)), Ok(Some(10.0)));
        assert_eq!(Capacity::Percent(1.0).resolve(Some(50)), Ok(Some(1.0)));
        assert_eq!(Capacity::Percent(20.0).resolve(None), Err(NotProvisioned));
        assert_eq!(Capacity::Units(7.0).resolve(None), Ok(Some(7.0)));
        assert_eq!(Capacity::Unlimited.resolve(Some(50)), Ok(None));
    }

    #[test]
    fn money_is_counted_in_billionths_and_rounded_to_the_safe_side() {
        let budget = Budget { max_cost: 0.3, prices: Prices::US_EAST_ON_DEMAND, spent_before: 0.1 };

        assert_eq!(budget.nanos(), 200_000_000);
        assert_eq!(budget.nanos_of(Direction::Read, 0.5), 63);
        assert_eq!(budget.nanos_of(Direction::Read, 8e6), 1_000_000_000);
        assert_eq!(budget.nanos_of(Direction::Write, 1.0), 625);
        assert_eq!(Budget { spent_before: 0.5, ..budget }.nanos(), 0);
    }

    #[test]
    fn limits_are_written_by_table_and_without_what_is_not_limited() {
        let mut limits = Limits::default();
        assert!(limits.is_none());
        assert_eq!(serde_json::to_string(&limits).unwrap(), "{}");

        limits.set(Direction::Read, &[Some(500.0), None]);
        assert_eq!(serde_json::to_string(&limits).unwrap(), r#"{"tables":[{"read":500.0},{}]}"#);
        assert_eq!(limits.ceiling(0, Direction::Read), Some(500.0));
        assert_eq!((limits.ceiling(1, Direction::Read), limits.ceiling(0, Direction::Write)), (None, None));
        limits.set(Direction::Read, &[None, None]);
        assert!(limits.is_none());
    }
}
