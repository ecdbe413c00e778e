//! One repair as a sequence of steps: look, decide, write on condition, and again when something moved.
//!
//! It says what to do next and is told what came of it; reading and writing are the caller's. So the very decisions
//! that workers make can be taken through every interleaving with other writers, which the tests do.

use std::fmt;

use super::compare::{Ignore, without_global_table_attributes};
use super::condition::{Condition, Guard, Write};
use super::decide::{Kind, Policy, Repair, Verdict, judge};
use super::discrepancy::Outcome;
use super::expiry::has_expired;
use super::job::{AfterWrite, OldImages};
use super::key::{Key, KeySchema};
use super::value::Item;
use super::version::{Versions, compare_versions};

/// Looks at an item that changes between each look and the write.
pub const LOOKS: u32 = 4;

/// Looks at an item that was written, and whose master changes behind each write. More, because what was written must
/// not stay there by mistake.
pub const LOOKS_BEHIND: u32 = 16;

/// Why a repair was given up without harm.
pub const CHANGED_MEANWHILE: &str = "changed meanwhile";

/// Why an item that is newer than the master's is left alone.
pub const SLAVE_IS_NEWER: &str = "slave is newer";

/// Why an item is left alone whose versions are no numbers or strings, or not of one type.
pub const VERSIONS_DIFFER_IN_TYPE: &str = "its versions cannot be compared";

/// Why an item whose time to live has passed is not created again.
pub const EXPIRED: &str = "expired";

/// What all repairs of one slave go by.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The key schema.
    pub schema: KeySchema,
    /// What may be repaired.
    pub policy: Policy,
    /// What does not count.
    pub ignore: Ignore,
    /// The attribute that holds versions, if there is one.
    pub version_attribute: Option<String>,
    /// The attribute that holds the time to live of the master's items, where the master deletes by it.
    pub time_to_live: Option<String>,
    /// What follows a write.
    pub after_write: AfterWrite,
    /// Whether what is overwritten or deleted is kept; then the write must meet exactly that.
    pub old_images: OldImages,
}

/// What is to be done next.
#[derive(Debug)]
pub enum Ask {
    /// Read the item on the slave and then on the master, strongly consistent.
    ///
    /// In this order: a change that reaches the master and the slave between the two reads would else be overwritten
    /// with what was there before it, on condition of itself.
    Look,
    /// Make this write.
    Write(Box<Planned>),
    /// Read the master's item again, strongly consistent.
    LookAtMaster,
    /// Nothing: it is over.
    End(Ending),
}

/// A write that was decided on.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// The write.
    pub write: Write,
    /// What must hold of the slave.
    pub condition: Condition,
    /// How much of what was seen the condition holds on to.
    pub guard: Guard,
    /// What the slave has now.
    pub old: Option<Item>,
    /// What the master had when it was decided.
    basis: Option<Item>,
}

/// How a repair ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Both sides agree, and not by our doing: it is no discrepancy any more.
    Healed,
    /// It has its outcome, and a reason where one is due.
    Settled(Outcome, Option<String>),
}

/// How old a look is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// It was taken for this step.
    Fresh,
    /// It was held for a while.
    Held,
}

/// What came of a conditional write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It was made.
    Made,
    /// The condition did not hold.
    Refused,
}

/// One repair under way.
#[derive(Clone)]
pub struct Mending<'a> {
    rules: &'a Rules,
    key: &'a Key,
    kind: Kind,
    looks_left: u32,
    /// Whether a write of ours may have been made.
    may_have_written: bool,
    /// What our last write left on the slave.
    ours: Option<Option<Item>>,
    planned: Option<Planned>,
}

/// What it is about to do and what it did, without the rules that it shares with all others.
impl fmt::Debug for Mending<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rules: _, key: _, kind, looks_left, may_have_written, ours, planned } = self;
        write!(f, "{kind:?} {looks_left} {may_have_written} {ours:?} {planned:?}")
    }
}

impl Planned {
    /// What the write leaves under the key.
    #[must_use]
    pub fn new_image(&self) -> Option<&Item> {
        match &self.write {
            Write::Put(item) => Some(item),
            Write::Delete(_) => None,
        }
    }
}

impl<'a> Mending<'a> {
    /// A repair of a discrepancy of this kind. Begins with a look.
    #[must_use]
    pub fn new(rules: &'a Rules, key: &'a Key, kind: Kind) -> Self {
        Self { rules, key, kind, looks_left: LOOKS, may_have_written: false, ours: None, planned: None }
    }

    /// A write of this repair came to no answer, now or in the hands of another: it may have been made.
    pub fn may_have_written(&mut self) {
        self.may_have_written = true;
    }

    /// The write that was asked for was denied. A write of ours that is to be taken back stays, and the report says so;
    /// nothing when it is no such write.
    #[must_use]
    pub fn denied(&self) -> Option<Ending> {
        self.ours.as_ref()?;
        let reason = "the master changed behind the write, and following it is not permitted".to_owned();
        Some(Ending::Settled(Outcome::Unstable, Some(reason)))
    }

    /// Decides by what both sides hold. `now` is in seconds since 1970; `differing` is that of [`judge`].
    pub fn seen(
        &mut self,
        master: Option<Item>,
        slave: Option<Item>,
        look: Look,
        now: i64,
        differing: impl FnOnce(&Item, &Item) -> Vec<String>,
    ) -> Ask {
        let kind = match judge(master.as_ref(), slave.as_ref(), differing) {
            verdict @ (Verdict::Identical | Verdict::Gone) => return Ask::End(self.agreed(&verdict)),
            Verdict::Discrepant(kind, _) => kind,
        };
        match self.plan(kind, master, slave, now) {
            // What the condition leaves out is at least looked at right before the write.
            Ok(planned) if matches!((planned.guard, look), (Guard::Part { .. }, Look::Held)) => Ask::Look,
            Ok(planned) => {
                self.planned = Some(planned.clone());
                Ask::Write(Box::new(planned))
            }
            Err(reason) => Ask::End(skipped(reason)),
        }
    }

    /// Goes on after the write that was asked for.
    pub fn written(&mut self, written: Written) -> Ask {
        if written == Written::Refused {
            return self.look_again();
        }
        let Some(planned) = &self.planned else { return Ask::End(skipped(CHANGED_MEANWHILE)) };
        self.may_have_written = true;
        if self.ours.is_none() {
            self.looks_left = LOOKS_BEHIND;
        }
        self.ours = Some(planned.new_image().cloned());
        match (self.rules.after_write, &planned.write, &planned.old) {
            // An image that replaced another stands or falls with its condition: had the master changed, and the
            // change reached the slave, it would not have held.
            (AfterWrite::Trust, Write::Put(_), Some(_)) => Ask::End(self.settled()),
            // A delete that comes to a slave without the item leaves no trace there, nor does a put of the very item
            // that it has; only the master tells.
            (AfterWrite::Trust, Write::Put(_), None) | (AfterWrite::Trust, Write::Delete(_), _) => Ask::LookAtMaster,
            (AfterWrite::Verify, _, _) => Ask::LookAtMaster,
        }
    }

    /// Decides whether the write was right, by what the master holds after it.
    pub fn master_seen(&mut self, master: Option<&Item>, differing: impl FnOnce(&Item, &Item) -> Vec<String>) -> Ask {
        let basis = self.planned.as_ref().and_then(|planned| planned.basis.as_ref());
        match judge(master, basis, differing) {
            Verdict::Identical | Verdict::Gone => Ask::End(self.settled()),
            Verdict::Discrepant(..) => self.look_again(),
        }
    }

    fn look_again(&mut self) -> Ask {
        self.looks_left -= 1;
        match (self.looks_left, &self.ours) {
            (0, None) => Ask::End(skipped(CHANGED_MEANWHILE)),
            (0, Some(_)) => {
                let reason = "it was written, and the master kept changing".to_owned();
                Ask::End(Ending::Settled(Outcome::Unstable, Some(reason)))
            }
            _ => Ask::Look,
        }
    }

    /// The one write that is allowed and right, or why there is none.
    fn plan(
        &self,
        now: Kind,
        master: Option<Item>,
        slave: Option<Item>,
        seconds: i64,
    ) -> Result<Planned, &'static str> {
        let Rules { schema, policy, ignore, version_attribute, time_to_live, old_images, after_write: _ } = self.rules;
        // What is kept must be all that is overwritten, ignored attributes included.
        let nothing = Ignore::default();
        let ignore = match old_images {
            OldImages::Drop => ignore,
            OldImages::Keep => &nothing,
        };
        let left = slave.as_ref().map(without_global_table_attributes);
        // What a write of ours left is ours to take back, whatever the policy says of its kind.
        let is_ours = self.ours.as_ref() == Some(&left);
        // Whether the item is to be on the slave at all was counted one way; the other way is another discrepancy,
        // which the next run reports.
        let same_question = (self.kind == Kind::Extra) == (now == Kind::Extra);
        let repair = if same_question { policy.repair(now) } else { Repair::None };
        let (write, condition, guard) = match (now, &master, &slave) {
            (Kind::Missing, Some(master), None) if repair == Repair::Put || is_ours => {
                if time_to_live.as_ref().is_some_and(|attribute| has_expired(master, attribute, seconds)) {
                    return Err(EXPIRED);
                }
                (Write::Put(without_global_table_attributes(master)), Condition::absent(schema), Guard::Whole)
            }
            (Kind::Differing, Some(master), Some(slave)) if repair == Repair::Put || is_ours => {
                let versions = version_attribute.as_ref().map(|name| (name, compare_versions(name, master, slave)));
                let (condition, guard) = match versions {
                    Some((_, Versions::SlaveIsNewer)) => return Err(SLAVE_IS_NEWER),
                    Some((_, Versions::Incomparable)) => return Err(VERSIONS_DIFFER_IN_TYPE),
                    Some((name, Versions::SlaveIsOlder)) => {
                        let than = master.get(name).ok_or(VERSIONS_DIFFER_IN_TYPE)?;
                        let older = Condition::older(schema, name, than);
                        match old_images {
                            OldImages::Drop => (older, Guard::Whole),
                            OldImages::Keep => {
                                let (unchanged, guard) = Condition::unchanged(schema, slave, Some(master), ignore);
                                (unchanged.and(older), guard)
                            }
                        }
                    }
                    Some((_, Versions::Same)) | None => Condition::unchanged(schema, slave, Some(master), ignore),
                };
                (Write::Put(without_global_table_attributes(master)), condition, guard)
            }
            (Kind::Extra, None, Some(slave)) if repair == Repair::Delete || is_ours => {
                let (condition, guard) = Condition::unchanged(schema, slave, None, ignore);
                (Write::Delete(self.key.clone()), condition, guard)
            }
            _ => return Err(CHANGED_MEANWHILE),
        };
        Ok(Planned { write, condition, guard, old: slave, basis: master })
    }

    /// What it means that both sides agree now.
    ///
    /// If a write of ours may have been made, it was, where the slave is as that write would have left it. Where it is
    /// not, nobody can tell: the report names the discrepancy and claims no repair.
    fn agreed(&self, now: &Verdict) -> Ending {
        match (self.kind, now) {
            _ if !self.may_have_written => Ending::Healed,
            (Kind::Missing | Kind::Differing, Verdict::Identical) => Ending::Settled(Outcome::Written, None),
            (Kind::Extra, Verdict::Gone) => Ending::Settled(Outcome::Deleted, None),
            _ => skipped(CHANGED_MEANWHILE),
        }
    }

    /// What the last write makes of the discrepancy.
    fn settled(&self) -> Ending {
        let Some(planned) = &self.planned else { return skipped(CHANGED_MEANWHILE) };
        let reason = match planned.guard {
            Guard::Whole => None,
            Guard::Part { checked, of } => Some(format!(
                "the condition held {checked} of {of} attributes, the others were looked at right before the write"
            )),
        };
        match (self.kind, &planned.write) {
            (Kind::Missing | Kind::Differing, Write::Put(_)) => Ending::Settled(Outcome::Written, reason),
            (Kind::Extra, Write::Delete(_)) => Ending::Settled(Outcome::Deleted, reason),
            // It was taken back, because the master had changed its mind.
            (Kind::Missing | Kind::Differing, Write::Delete(_)) | (Kind::Extra, Write::Put(_)) => {
                skipped(CHANGED_MEANWHILE)
            }
        }
    }
}

fn skipped(reason: &str) -> Ending {
    Ending::Settled(Outcome::Skipped, Some(reason.to_owned()))
}

#[cfg(test)]
mod tests;
