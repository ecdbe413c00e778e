//! Counts that merge in any order.

use serde::{Deserialize, Serialize};

use super::backup::BackupTally;
use super::decide::{Kind, Standing, Verdict};
use super::discrepancy::Outcome;

/// Where a suspect was met at the first look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetIn {
    /// In the master only, or in both while the slave's items are not this look's to count.
    Master,
    /// In the slave only.
    Slave,
    /// In both.
    Both,
}

/// What was found and done on one slave.
///
/// `compared = identical + missing + differing` of the master pass, always, and of it those of the `expired` items
/// that only the master has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlaveTally {
    /// Master items held against this slave.
    pub compared: u64,
    /// Of these, the ones that agree.
    pub identical: u64,
    /// Items the slave lacks.
    pub missing: u64,
    /// Items whose attributes differ.
    pub differing: u64,
    /// Items only the slave has.
    pub extra: u64,
    /// Suspects that were no discrepancy any more when both sides were read again: changes in flight.
    pub healed: u64,
    /// Items put.
    pub written: u64,
    /// Items deleted.
    pub deleted: u64,
    /// Repairs that were allowed and not made, each with its reason in the report.
    pub skipped: u64,
    /// Repairs that failed, each with its error in the report.
    pub failed: u64,
    /// Items of which nobody could tell, because the master kept changing; each is in the report.
    #[serde(default)]
    pub unstable: u64,
    /// Items that only one side has and whose time to live has passed; each is in the report, and none of them counts
    /// as missing or extra.
    #[serde(default)]
    pub expired: u64,
    /// Segments in which the paired scan gave way to lookups.
    #[serde(default)]
    pub gave_way: u64,
}

/// Capacity units that the table service says it charged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Consumed {
    /// Read units.
    pub read: f64,
    /// Write units.
    pub write: f64,
}

/// What was done with the records of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamTally {
    /// Records read.
    pub records: u64,
    /// Of these, the ones that a later record of the same page made needless.
    pub squashed: u64,
    /// Last changes of keys for which the master was read.
    pub reread: u64,
    /// Last changes that were on the slaves already.
    pub known: u64,
    /// Last changes that a replication in the other direction had made.
    pub looped: u64,
    /// Records that are no change of an item; each is in the list of rejected ones.
    pub malformed: u64,
    /// Objects put into the backup.
    #[serde(default)]
    pub backed_up: u64,
    /// Objects deleted from the backup.
    #[serde(default)]
    pub unbacked: u64,
}

/// The counts of one unit of work, or of many: table 0 is the master, table n + 1 is slave n.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// By slave.
    pub slaves: Vec<SlaveTally>,
    /// Items scanned, by table.
    pub scanned: Vec<u64>,
    /// Capacity consumed, by table.
    pub consumed: Vec<Consumed>,
    /// What was done with the records of a stream.
    #[serde(default, skip_serializing_if = "StreamTally::is_zero")]
    pub stream: StreamTally,
    /// What was done with the items of backups.
    #[serde(default, skip_serializing_if = "BackupTally::is_zero")]
    pub backup: BackupTally,
}

impl StreamTally {
    /// Whether nothing was counted.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// Adds another tally.
    pub fn add(&mut self, other: &Self) {
        let Self { records, squashed, reread, known, looped, malformed, backed_up, unbacked } = *other;
        self.records += records;
        self.squashed += squashed;
        self.reread += reread;
        self.known += known;
        self.looped += looped;
        self.malformed += malformed;
        self.backed_up += backed_up;
        self.unbacked += unbacked;
    }
}

impl SlaveTally {
    /// Adds another tally of the same slave.
    pub fn add(&mut self, other: &Self) {
        let Self {
            compared,
            identical,
            missing,
            differing,
            extra,
            healed,
            written,
            deleted,
            skipped,
            failed,
            unstable,
            expired,
            gave_way,
        } = *other;
        self.compared += compared;
        self.identical += identical;
        self.missing += missing;
        self.differing += differing;
        self.extra += extra;
        self.healed += healed;
        self.written += written;
        self.deleted += deleted;
        self.skipped += skipped;
        self.failed += failed;
        self.unstable += unstable;
        self.expired += expired;
        self.gave_way += gave_way;
    }

    /// Counts one discrepancy of this kind.
    pub fn count_kind(&mut self, kind: Kind) {
        *self.of_kind(kind) += 1;
    }

    fn of_kind(&mut self, kind: Kind) -> &mut u64 {
        match kind {
            Kind::Missing => &mut self.missing,
            Kind::Differing => &mut self.differing,
            Kind::Extra => &mut self.extra,
        }
    }

    /// Counts what the second look at a suspect says; returns the discrepancy, if it is one.
    ///
    /// An item of the master is compared once, and so it is counted where the master's was met. What the slave alone
    /// turns out to have is counted where the slave's was met.
    pub fn count_second_look(
        &mut self,
        met: MetIn,
        verdict: Verdict,
        standing: Standing,
    ) -> Option<(Kind, Vec<String>)> {
        match (met, verdict) {
            (MetIn::Master | MetIn::Both, Verdict::Discrepant(Kind::Missing, paths))
                if standing == Standing::Expired =>
            {
                self.compared += 1;
                self.expired += 1;
                Some((Kind::Missing, paths))
            }
            (MetIn::Slave | MetIn::Both, Verdict::Discrepant(Kind::Extra, paths)) if standing == Standing::Expired => {
                self.expired += 1;
                Some((Kind::Extra, paths))
            }
            (MetIn::Master | MetIn::Both, Verdict::Identical) => {
                self.compared += 1;
                self.identical += 1;
                None
            }
            (MetIn::Master | MetIn::Both, Verdict::Discrepant(kind @ (Kind::Missing | Kind::Differing), paths)) => {
                self.compared += 1;
                self.count_kind(kind);
                Some((kind, paths))
            }
            (MetIn::Slave | MetIn::Both, Verdict::Discrepant(Kind::Extra, paths)) => {
                self.count_kind(Kind::Extra);
                Some((Kind::Extra, paths))
            }
            (MetIn::Master, Verdict::Gone | Verdict::Discrepant(Kind::Extra, _))
            | (MetIn::Both, Verdict::Gone)
            | (MetIn::Slave, Verdict::Identical | Verdict::Gone | Verdict::Discrepant(..)) => None,
        }
    }

    /// Takes back a discrepancy that healed after it was counted.
    pub fn uncount(&mut self, kind: Kind) {
        let count = self.of_kind(kind);
        *count = count.saturating_sub(1);
        self.healed += 1;
        // An extra item is none of the master's that were compared.
        self.identical += u64::from(kind != Kind::Extra);
    }

    /// Counts a discrepancy as expired instead, when its time to live passed before its repair.
    pub fn expire(&mut self, kind: Kind) {
        let count = self.of_kind(kind);
        *count = count.saturating_sub(1);
        self.expired += 1;
    }

    /// Counts what came of one discrepancy.
    pub fn count_outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Reported => {}
            Outcome::Written => self.written += 1,
            Outcome::Deleted => self.deleted += 1,
            Outcome::Skipped => self.skipped += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::Unstable => self.unstable += 1,
        }
    }

    /// Discrepancies of all kinds.
    #[must_use]
    pub fn discrepancies(&self) -> u64 {
        self.missing + self.differing + self.extra
    }

    /// Discrepancies that were not repaired.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.discrepancies().saturating_sub(self.written + self.deleted)
    }
}

impl Consumed {
    /// Adds units.
    pub fn add(&mut self, other: Self) {
        let Self { read, write } = other;
        self.read += read;
        self.write += write;
    }
}

impl Tally {
    /// All zeros, for a master and this many slaves.
    #[must_use]
    pub fn zero(slaves: usize) -> Self {
        Self {
            slaves: vec![SlaveTally::default(); slaves],
            scanned: vec![0; slaves + 1],
            consumed: vec![Consumed::default(); slaves + 1],
            stream: StreamTally::default(),
            backup: BackupTally::default(),
        }
    }

    /// Whether these are the counts of a master and this many slaves.
    #[must_use]
    pub fn is_of(&self, slaves: usize) -> bool {
        let Self { slaves: by_slave, scanned, consumed, stream: _, backup: _ } = self;
        by_slave.len() == slaves && scanned.len() == slaves + 1 && consumed.len() == slaves + 1
    }

    /// Adds the tally of another unit of the same job.
    pub fn add(&mut self, other: &Self) {
        let Self { slaves, scanned, consumed, stream, backup } = other;
        self.slaves.iter_mut().zip(slaves).for_each(|(sum, slave)| sum.add(slave));
        self.scanned.iter_mut().zip(scanned).for_each(|(sum, items)| *sum += items);
        self.consumed.iter_mut().zip(consumed).for_each(|(sum, units)| sum.add(*units));
        self.stream.add(stream);
        self.backup.add(backup);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_add_up_in_any_order() {
        let slave =
            SlaveTally { compared: 3, identical: 1, missing: 1, differing: 1, written: 1, ..SlaveTally::default() };
        let one = Tally {
            slaves: vec![slave],
            scanned: vec![3, 0],
            consumed: vec![Consumed { read: 0.5, write: 0.0 }; 2],
            stream: StreamTally::default(),
            backup: BackupTally::default(),
        };
        let mut two = Tally::zero(1);
        two.slaves[0].extra = 4;
        let (mut forth, mut back) = (one.clone(), two.clone());
        forth.add(&two);
        back.add(&one);

        assert_eq!(forth, back);
        assert_eq!(forth.slaves[0].remaining(), 5);
    }
}
