//! The decision: from what both tables hold under one key, and what was asked for, to what is done.

use serde::{Deserialize, Serialize};

use super::expiry::has_expired;
use super::value::Item;
use super::version::{Versions, compare_versions};

/// What is wrong with a slave's copy of one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The master has it, the slave lacks it.
    Missing,
    /// Both have it, and attributes differ.
    Differing,
    /// The slave has it, the master lacks it.
    Extra,
}

impl Kind {
    /// The name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Differing => "differing",
            Self::Extra => "extra",
        }
    }
}

/// Why a discrepancy is not repaired like others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is.
    Ordinary,
    /// The time to live of the only copy has passed: one table has deleted it, and the other is going to. It is listed,
    /// and counts neither as missing nor as extra.
    Expired,
    /// The slave's copy has the higher version.
    SlaveIsNewer,
    /// The master's item kept changing for as long as a slave may lag.
    Unstable,
}

/// The attributes that tell more of an item than what it holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Marks<'a> {
    /// The attribute that holds its version.
    pub version: Option<&'a str>,
    /// The attribute by which the master deletes items.
    pub master_time_to_live: Option<&'a str>,
    /// The attribute by which the slave deletes items.
    pub slave_time_to_live: Option<&'a str>,
}

/// How a discrepancy stands, by what both sides hold; `now` is in seconds since 1970.
#[must_use]
pub fn standing(master: Option<&Item>, slave: Option<&Item>, marks: Marks<'_>, now: i64) -> Standing {
    let expired = |item: &Item, attribute: Option<&str>| attribute.is_some_and(|name| has_expired(item, name, now));
    match (master, slave) {
        (Some(master), None) if expired(master, marks.master_time_to_live) => Standing::Expired,
        (None, Some(slave)) if expired(slave, marks.slave_time_to_live) => Standing::Expired,
        (Some(master), Some(slave)) => match marks.version.map(|name| compare_versions(name, master, slave)) {
            Some(Versions::SlaveIsNewer) => Standing::SlaveIsNewer,
            Some(Versions::SlaveIsOlder | Versions::Same | Versions::Incomparable) | None => Standing::Ordinary,
        },
        _ => Standing::Ordinary,
    }
}

/// How two looks at one key compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Both tables hold equal items.
    Identical,
    /// Neither table holds the item any more.
    Gone,
    /// A discrepancy; with the paths that differ, when both sides have the item.
    Discrepant(Kind, Vec<String>),
}

/// What is done about one kind of discrepancy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Handling {
    /// It is reported.
    #[default]
    Report,
    /// It is reported and repaired.
    Repair,
}

/// What is done about items that only the slave has; looking for them costs another scan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExtraHandling {
    /// They are not looked for.
    #[default]
    Ignore,
    /// They are looked for and reported.
    Report,
    /// They are looked for, reported and deleted.
    Delete,
}

/// What a job does about each kind of discrepancy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Items the slave lacks.
    pub missing: Handling,
    /// Items whose attributes differ.
    pub differing: Handling,
    /// Items only the slave has.
    pub extra: ExtraHandling,
}

/// What a repair does to the slave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Nothing: the discrepancy is only reported.
    None,
    /// The master's item is put.
    Put,
    /// The slave's item is deleted.
    Delete,
}

impl Policy {
    /// The one repair that this policy allows for a discrepancy.
    #[must_use]
    pub fn repair(self, kind: Kind) -> Repair {
        match (kind, self) {
            (Kind::Missing, Self { missing: Handling::Repair, .. })
            | (Kind::Differing, Self { differing: Handling::Repair, .. }) => Repair::Put,
            (Kind::Extra, Self { extra: ExtraHandling::Delete, .. }) => Repair::Delete,
            (Kind::Missing, Self { missing: Handling::Report, .. })
            | (Kind::Differing, Self { differing: Handling::Report, .. })
            | (Kind::Extra, Self { extra: ExtraHandling::Ignore | ExtraHandling::Report, .. }) => Repair::None,
        }
    }

    /// Whether any discrepancy leads to a write.
    #[must_use]
    pub fn writes(self) -> bool {
        [Kind::Missing, Kind::Differing, Kind::Extra].into_iter().any(|kind| self.repair(kind) != Repair::None)
    }

    /// Whether the slaves are scanned for items that the master lacks.
    #[must_use]
    pub fn seeks_extra(self) -> bool {
        match self.extra {
            ExtraHandling::Ignore => false,
            ExtraHandling::Report | ExtraHandling::Delete => true,
        }
    }
}

/// Holds one look at the master against one look at the slave.
///
/// `differing` tells the paths at which two items differ; it is called only when both are there.
pub fn judge(
    master: Option<&Item>,
    slave: Option<&Item>,
    differing: impl FnOnce(&Item, &Item) -> Vec<String>,
) -> Verdict {
    match (master, slave) {
        (None, None) => Verdict::Gone,
        (Some(_), None) => Verdict::Discrepant(Kind::Missing, Vec::new()),
        (None, Some(_)) => Verdict::Discrepant(Kind::Extra, Vec::new()),
        (Some(master), Some(slave)) => match differing(master, slave) {
            paths if paths.is_empty() => Verdict::Identical,
            paths => Verdict::Discrepant(Kind::Differing, paths),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::number::Number;
    use crate::domain::value::Value;

    #[test]
    fn each_kind_is_judged_by_who_has_the_item() {
        let item = Item::new();
        let differ = |_: &Item, _: &Item| vec!["a".to_owned()];
        let equal = |_: &Item, _: &Item| Vec::new();

        assert_eq!(judge(None, None, differ), Verdict::Gone);
        assert_eq!(judge(Some(&item), None, differ), Verdict::Discrepant(Kind::Missing, vec![]));
        assert_eq!(judge(None, Some(&item), differ), Verdict::Discrepant(Kind::Extra, vec![]));
        assert_eq!(judge(Some(&item), Some(&item), equal), Verdict::Identical);
        assert_eq!(judge(Some(&item), Some(&item), differ), Verdict::Discrepant(Kind::Differing, vec!["a".into()]));
    }

    #[test]
    fn only_the_last_copy_of_an_item_expires_and_only_where_its_table_deletes_by_it() {
        let item = |ttl: i64, version: i64| -> Item {
            let number = |n: i64| Value::N(Number::parse(&n.to_string()).unwrap());
            [("ttl".to_owned(), number(ttl)), ("v".to_owned(), number(version))].into()
        };
        let (old, young, newer) = (item(999, 1), item(1001, 1), item(999, 2));
        let marks = Marks { version: Some("v"), master_time_to_live: Some("ttl"), slave_time_to_live: None };
        let both = Marks { slave_time_to_live: Some("ttl"), ..marks };
        for (master, slave, marks, expected) in [
            (Some(&old), None, marks, Standing::Expired),
            (Some(&young), None, marks, Standing::Ordinary),
            (Some(&old), None, Marks::default(), Standing::Ordinary),
            (None, Some(&old), marks, Standing::Ordinary),
            (None, Some(&old), both, Standing::Expired),
            (Some(&young), Some(&old), both, Standing::Ordinary),
            (Some(&old), Some(&newer), both, Standing::SlaveIsNewer),
            (Some(&newer), Some(&old), both, Standing::Ordinary),
            (Some(&old), Some(&newer), Marks { version: None, ..both }, Standing::Ordinary),
            (None, None, both, Standing::Ordinary),
        ] {
            assert_eq!(standing(master, slave, marks, 1000), expected, "{master:?} {slave:?}");
        }
    }

    #[test]
    fn a_repair_happens_only_where_its_own_flag_allows_it() {
        for missing in [Handling::Report, Handling::Repair] {
            for differing in [Handling::Report, Handling::Repair] {
                for extra in [ExtraHandling::Ignore, ExtraHandling::Report, ExtraHandling::Delete] {
                    let policy = Policy { missing, differing, extra };
                    let put = |handling| if handling == Handling::Repair { Repair::Put } else { Repair::None };
                    let delete = if extra == ExtraHandling::Delete { Repair::Delete } else { Repair::None };

                    assert_eq!(policy.repair(Kind::Missing), put(missing));
                    assert_eq!(policy.repair(Kind::Differing), put(differing));
                    assert_eq!(policy.repair(Kind::Extra), delete);
                    assert_eq!(
                        policy.writes(),
                        missing == Handling::Repair || differing == Handling::Repair || extra == ExtraHandling::Delete
                    );
                    assert_eq!(policy.seeks_extra(), extra != ExtraHandling::Ignore);
                }
            }
        }
    }
}
