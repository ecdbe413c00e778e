//! What a program that embeds dynamend can say to a sync: when items differ, what it is told, what it may veto.

use shared::domain::condition::Write;
use shared::domain::discrepancy::Discrepancy;
use shared::domain::value::Item;

/// Whether a repair is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Consent {
    /// It is made.
    Proceed,
    /// It is not; the report says `skipped` with this reason.
    Refuse(String),
}

/// An own rule and an ear. Every method has a default that leaves dynamend as it is without hooks.
///
/// Methods are called from many tasks at once and must not block for long. After a crash and a resume they may be
/// called again for the same item; the report counts each discrepancy once all the same.
pub trait Hooks: Send + Sync {
    /// The attributes that differ, or `None` to leave it to dynamend's own comparison.
    ///
    /// `Some` of an empty list says that the items are equal. Attributes that are ignored are still in the items.
    ///
    /// A paired scan asks only about items that are not the same by dynamend's own rule, so there this can excuse a
    /// difference and not find one. A rule that is to find more needs [`StrategyChoice::Lookup`].
    ///
    /// [`StrategyChoice::Lookup`]: shared::domain::job::StrategyChoice::Lookup
    fn differing(&self, master: &Item, slave: &Item) -> Option<Vec<String>> {
        let _ = (master, slave);
        None
    }

    /// A discrepancy counts; its outcome is still open if it is going to be repaired.
    fn on_discrepancy(&self, found: &Discrepancy) {
        let _ = found;
    }

    /// A repair is about to be made on a slave.
    fn before_write(&self, slave: &str, write: &Write) -> Consent {
        let _ = (slave, write);
        Consent::Proceed
    }

    /// A discrepancy has its outcome.
    fn on_outcome(&self, settled: &Discrepancy) {
        let _ = settled;
    }
}

/// No hooks.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHooks;

impl Hooks for NoHooks {}
