//! What a job may still cost, as far as this worker may spend it.
//!
//! Workers claim money before they spend it, and write the claim where all of them see it ([`crate::pacing::fleet`]). A
//! claim counts only if all claims together, looked at after it was written, are within the budget. Of two workers that
//! claim at once, at least one sees the other's claim; so what counts is never more than the budget.

use crate::domain::limits::{Budget, Direction};

/// What a worker claims at a time at least, if there is that much: a thousandth of a dollar.
const LEAST_CLAIM: u64 = 1_000_000;

/// A claim is this often what was spent since the last one, so that it lasts until the next.
const AHEAD: u64 = 3;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It may go; so much was set aside for it.
    Go(u64),
    /// Not before more was claimed.
    Wait,
    /// Not any more: what is left is less than it may cost.
    Spent,
}

/// One worker's purse. All amounts are billionths of dollars.
#[derive(Clone, Debug, Default)]
pub struct Purse {
    budget: Option<Budget>,
    granted: u64,
    spent: u64,
    set_aside: u64,
    /// What the largest request that waits may cost.
    need: u64,
    spent_at_claim: u64,
    /// What all others claimed at the last look, and how many workers there are.
    seen: Option<(u64, u32)>,
    is_empty: bool,
}

impl Purse {
    /// Takes a budget, or none. What was spent stays spent.
    pub fn set(&mut self, budget: Option<Budget>) {
        if self.budget != budget {
            self.budget = budget;
            self.is_empty = false;
            self.need = 0;
        }
    }

    /// Asks again for what had been refused.
    pub fn try_again(&mut self) {
        self.is_empty = false;
        self.need = 0;
    }

    /// Whether there is a budget.
    #[must_use]
    pub fn has_budget(&self) -> bool {
        self.budget.is_some()
    }

    /// Whether a request was refused for good.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// The budget under which a request was refused for good, if one was.
    #[must_use]
    pub fn emptied(&self) -> Option<Budget> {
        self.budget.filter(|_| self.is_empty)
    }

    /// Whether a request waits for a claim.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.need > 0
    }

    /// Sets aside what a request may cost at most.
    pub fn ask(&mut self, direction: Direction, units: f64) -> Answer {
        let Some(budget) = &self.budget else { return Answer::Go(0) };
        if self.is_empty {
            return Answer::Spent;
        }
        let most = budget.nanos_of(direction, units);
        if self.spent + self.set_aside + most <= self.granted {
            self.set_aside += most;
            return Answer::Go(most);
        }
        self.need = self.need.max(most);
        Answer::Wait
    }

    /// Counts what a request cost in place of what was set aside for it.
    pub fn settle(&mut self, set_aside: u64, direction: Direction, units: f64) {
        self.set_aside = self.set_aside.saturating_sub(set_aside);
        self.spent += self.budget.map_or(0, |budget| budget.nanos_of(direction, units));
    }

    /// What to write as claimed: everything spent, and with a budget some of what is left. Of what was granted before,
    /// no more than this may be spent from now on: others take what is written at its word.
    pub fn claim(&mut self) -> u64 {
        let claim = self.next_claim();
        self.granted = self.granted.min(claim);
        claim
    }

    fn next_claim(&mut self) -> u64 {
        let used = self.used();
        let lately = used - self.spent_at_claim.min(used);
        self.spent_at_claim = used;
        // Nothing is claimed before others were looked at.
        let (Some(budget), Some((others, workers))) = (self.budget, self.seen) else { return used };
        let left = budget.nanos().saturating_sub(others).saturating_sub(used);
        let wanted = (lately * AHEAD).max(LEAST_CLAIM).min(left / u64::from(workers.max(1)));
        used + wanted.max(self.need.min(left))
    }

    /// Takes a claim that was written, with what all others had claimed when they were looked at afterwards.
    pub fn look(&mut self, claim: u64, others: u64, workers: u32) {
        self.seen = Some((others, workers));
        let Some(budget) = self.budget else { return };
        let total = budget.nanos();
        if claim.saturating_add(others) <= total {
            self.granted = claim;
        }
        let used = self.used();
        let is_too_little = used.saturating_add(others).saturating_add(self.need) > total;
        // What is set aside may yet come back.
        self.is_empty |= self.need > 0 && self.set_aside == 0 && is_too_little;
        // Whoever still waits asks again.
        self.need = 0;
    }

    /// What was spent, exactly: the last word of a worker that leaves. It spends nothing more until it claims anew.
    pub fn last_word(&mut self) -> u64 {
        self.granted = self.used();
        self.granted
    }

    fn used(&self) -> u64 {
        self.spent + self.set_aside
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::cost::Prices;

    /// So much as this many read units cost.
    fn budget(units: f64) -> Budget {
        let prices = Prices::US_EAST_ON_DEMAND;
        Budget { max_cost: prices.dollars(units, 0.0), prices, spent_before: 0.0 }
    }

    fn purse(units: f64) -> Purse {
        let mut purse = Purse::default();
        purse.set(Some(budget(units)));
        purse
    }

    fn spend(purse: &mut Purse, units: f64) -> bool {
        match purse.ask(Direction::Read, units) {
            Answer::Go(set_aside) => {
                purse.settle(set_aside, Direction::Read, units);
                true
            }
            Answer::Wait | Answer::Spent => false,
        }
    }

    #[test]
    fn without_a_budget_everything_goes() {
        assert_eq!(Purse::default().ask(Direction::Read, 1e12), Answer::Go(0));
    }

    #[test]
    fn one_worker_spends_all_of_it_and_no_more() {
        let mut purse = purse(1e6);
        let mut spent = 0.0;
        loop {
            while spend(&mut purse, 300.0) {
                spent += 300.0;
            }
            if purse.is_empty() {
                break;
            }
            let claim = purse.claim();
            purse.look(claim, 0, 1);
        }

        assert!(spent <= 1e6 && spent > 1e6 - 300.0, "{spent}");
        assert_eq!(purse.ask(Direction::Read, 0.5), Answer::Spent);
        assert_eq!(purse.used(), budget(spent).nanos());
    }

    #[test]
    fn many_workers_that_look_in_any_order_never_pass_the_budget() {
        use rand::rngs::StdRng;
        use rand::{Rng as _, SeedableRng as _};
        for seed in 0..20 {
            let mut dice = StdRng::seed_from_u64(seed);
            let total = budget(50_000.0).nanos();
            let mut workers: Vec<Purse> = (0..4).map(|_| purse(50_000.0)).collect();
            // What each has written, and whether it still has to look.
            let mut written = [0; 4];
            let mut to_look = [false; 4];
            for _ in 0..4000 {
                let n = dice.random_range(0..4);
                match dice.random_range(0..3) {
                    0 => drop(spend(&mut workers[n], dice.random_range(1.0..500.0))),
                    1 if !to_look[n] => {
                        written[n] = workers[n].claim();
                        to_look[n] = true;
                    }
                    _ if to_look[n] => {
                        let others = (0..4).filter(|&other| other != n).map(|other| written[other]).sum();
                        workers[n].look(written[n], others, 4);
                        to_look[n] = false;
                    }
                    _ => {}
                }
                let spent: u64 = workers.iter().map(Purse::used).sum();
                assert!(spent <= total, "{spent} of {total} with seed {seed}");
            }
            let spent: u64 = workers.iter().map(Purse::used).sum();
            assert!(spent > total / 2, "only {spent} of {total} with seed {seed}");
        }
    }

    #[test]
    fn a_higher_budget_makes_an_empty_purse_go_on() {
        let mut purse = purse(10.0);
        assert_eq!(purse.ask(Direction::Read, 100.0), Answer::Wait);
        let claim = purse.claim();
        purse.look(claim, 0, 1);
        assert!(purse.is_empty());

        purse.set(Some(budget(1000.0)));
        assert_eq!(purse.ask(Direction::Read, 100.0), Answer::Wait);
        let claim = purse.claim();
        purse.look(claim, 0, 1);

        assert!(spend(&mut purse, 100.0));
    }

    #[test]
    fn a_worker_that_left_and_comes_back_does_not_spend_what_others_were_granted() {
        let total = budget(1e6).nanos();
        let (mut a, mut b) = (purse(1e6), purse(1e6));
        // A works alone: first look, then two claims that grow with what it spends.
        let claim = a.claim();
        a.look(claim, 0, 1);
        let mut written_a = 0;
        for _ in 0..6 {
            while spend(&mut a, 1000.0) {}
            written_a = a.claim();
            a.look(written_a, 0, 1);
        }
        let slack = written_a - a.used();
        // A goes idle, and writes its last word.
        let written_a = a.last_word();
        // B spends all the rest, as its claims allow.
        b.claim();
        b.look(0, written_a, 1);
        for _ in 0..1000 {
            while spend(&mut b, 1000.0) {}
            let claim = b.claim();
            b.look(claim, written_a, 1);
            if b.is_empty() {
                break;
            }
        }
        assert!(a.used() + b.used() <= total);
        // A begins another unit.
        a.try_again();
        for _ in 0..10 {
            while spend(&mut a, 1000.0) {}
            let claim = a.claim();
            a.look(claim, b.used(), 2);
        }
        let spent = a.used() + b.used();
        assert!(spent <= total, "slack {slack}: {spent} of {total}");
    }

    #[test]
    fn a_lower_claim_lowers_the_grant_before_it_is_written() {
        let total = budget(1e6).nanos();
        let (mut a, mut b) = (purse(1e6), purse(1e6));
        let claim = a.claim();
        a.look(claim, 0, 1);
        for _ in 0..6 {
            while spend(&mut a, 1000.0) {}
            let claim = a.claim();
            a.look(claim, 0, 1);
        }
        // A spent nothing lately, so it claims less; it is written, and the answer to the tell is lost.
        let granted = a.granted;
        a.claim();
        let written_a = a.claim();
        assert!(written_a < granted, "{written_a} {granted}");
        b.claim();
        b.look(0, written_a, 2);
        for _ in 0..1000 {
            while spend(&mut b, 1000.0) {}
            let claim = b.claim();
            b.look(claim, written_a, 2);
            if b.is_empty() {
                break;
            }
        }
        while spend(&mut a, 1000.0) {}
        let spent = a.used() + b.used();
        assert!(spent <= total, "{spent} of {total}");
    }
}
