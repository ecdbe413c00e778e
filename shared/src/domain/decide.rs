//! The decision: from what both tables hold under one key, and what was asked for, to what is done.

use serde::{Deserialize, Serialize};

use super::value::Item;

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
