//! What happens in a run, all of it drawn from its seed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use shared::domain::key::{KeySchema, KeyType};

use crate::generate::schema;
use crate::proxy::{Fault, On, Outage, Part, Rates, Tripwire, When};

/// The shortest lease that a worker takes.
pub(super) const LEASE: Duration = Duration::from_secs(3);

/// The lease of a job in one process.
const EMBEDDED_LEASE: Duration = Duration::from_secs(15);

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where it all comes from.
    pub seed: u64,
    pub(super) place: Place,
    pub(super) store: Store,
    pub(super) policy: Policy,
    pub(super) schema: KeySchema,
    pub(super) items: usize,
    pub(super) slaves: usize,
    pub(super) strategy: &'static str,
    pub(super) segments: u32,
    pub(super) page: u32,
    pub(super) confirm_delay: &'static str,
    pub(super) rates: Rates,
    pub(super) budget: u32,
    pub(super) outages: Vec<Outage>,
    pub(super) latency: Duration,
    /// What happens to the coordinator: to its first process, its second, and so on.
    pub(super) to_coordinator: Vec<Mishap>,
    /// What happens to the workers, by place; one after the other.
    pub(super) to_workers: Vec<Vec<Mishap>>,
    pub(super) user: User,
    /// How many steps of writing to its directory the first coordinator lives.
    pub(super) steps: Option<u32>,
}

/// What the user does while the job runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum User {
    /// Waits.
    Patient,
    /// Resumes a job that goes well, so long after its start.
    Resumes(Duration),
    /// Cancels it so long after its start, and resumes it so much later.
    Cancels(Duration, Duration),
}

/// Where the work is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// By workers behind a queue.
    Fleet { concurrency: u32 },
    /// In the coordinator.
    Embedded { parallel: u32 },
}

/// Where jobs are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Store {
    Bucket,
    Directory,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    Repair,
    DryRun,
}

/// Something that happens to a process at a certain request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mishap {
    pub(super) at: Tripwire,
    pub(super) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum What {
    /// SIGKILL.
    Kill,
    /// SIGSTOP, and SIGCONT so much later.
    Stop(Duration),
    /// SIGTERM.
    Terminate,
    /// SIGINT.
    Interrupt,
    /// The wall clock is off by so many seconds from now on.
    Jump(i64),
    /// The disk is full for so long.
    FullDisk(Duration),
}

impl Plan {
    /// Flags that make a repair careful, or slow; they change nothing in what comes of it.
    pub(super) fn care(&self) -> &'static [&'static str] {
        match (self.policy, self.seed % 6) {
            (Policy::Repair, 1) => &["--verify"],
            (Policy::Repair, 2) => &["--undo"],
            (Policy::Repair, 3) => &["--undo", "--verify", "--max-lag", "0.3"],
            (_, 4) => &["--read-capacity", "2000", "--write-capacity", "1000"],
            (Policy::Repair, 5) => &["--version-attribute", "nothing", "--undo", "--max-cost", "100"],
            _ => &[],
        }
    }

    /// Whether what it did can be undone.
    pub(super) fn is_undone(&self) -> bool {
        self.care().contains(&"--undo")
    }
}

impl User {
    /// Whether a user who resumes has done so by now.
    pub(super) fn has_acted(self, elapsed: Duration) -> bool {
        matches!(self, Self::Resumes(after) if elapsed >= after)
    }
}

impl Plan {
    /// Draws a run.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let dice = &mut random;
        let is_fleet = dice.random_bool(0.72);
        let store = if dice.random_bool(if is_fleet { 0.75 } else { 0.3 }) { Store::Bucket } else { Store::Directory };
        let items = if dice.random_bool(0.15) { dice.random_range(110..=200) } else { dice.random_range(30..=110) };
        let slaves = dice.random_range(1..=2);
        let segments: u32 = *[1, 1, 2, 2, 3, 4, 6].choose(dice).expect("there are some");
        let page = dice.random_range(1..=4);
        let strategy = if dice.random() { "paired" } else { "lookup" };
        let workers = if is_fleet { dice.random_range(1..=4) } else { 0 };
        let concurrency = dice.random_range(1..=4);
        let place = if is_fleet { Place::Fleet { concurrency } } else { Place::Embedded { parallel: concurrency } };
        let kinds = [KeyType::S, KeyType::N, KeyType::B];
        let kind = |dice: &mut StdRng| *kinds.choose(dice).expect("there are kinds");
        let (partition, sort) = (kind(dice), dice.random_bool(0.5).then(|| kind(dice)));
        let mut plan = Self {
            seed,
            place,
            store,
            policy: if dice.random_bool(0.85) { Policy::Repair } else { Policy::DryRun },
            schema: schema(partition, sort),
            items,
            slaves,
            strategy,
            segments,
            page,
            confirm_delay: if dice.random_bool(0.7) { "0" } else { "0.4" },
            rates: rates(dice),
            budget: dice.random_range(20..=120),
            outages: Vec::new(),
            latency: Duration::ZERO,
            to_coordinator: Vec::new(),
            to_workers: Vec::new(),
            user: User::Patient,
            steps: None,
        };
        plan.latency = latency(&plan, workers.max(1) * concurrency, dice);
        plan.draw_mishaps(workers, dice);
        if workers > 1 && store == Store::Bucket && dice.random_bool(0.15) {
            plan.wake_a_zombie(dice);
        } else if dice.random_bool(0.3) {
            plan.outages.push(outage(is_fleet, dice));
        }
        plan.user = user(is_fleet, dice);
        if !is_fleet && matches!(plan.user, User::Resumes(_)) && dice.random_bool(0.5) {
            // The first process stands still until long after its leases, and wakes beside the one that went on.
            let long = EMBEDDED_LEASE + Duration::from_millis(dice.random_range(2000..5000));
            plan.to_coordinator = vec![mishap(On::Any, What::Stop(long), 10, dice)];
        } else if store == Store::Directory && dice.random_bool(0.3) {
            plan.steps = Some(dice.random_range(1..200));
        }
        plan
    }

    /// In a line, for people.
    #[must_use]
    pub fn title(&self) -> String {
        let Self { seed, place, store, policy, items, slaves, strategy, segments, page, latency, user, steps, .. } =
            self;
        let outages: Vec<String> = self
            .outages
            .iter()
            .map(|Outage { of, after, lasts, fate }| format!("{of:?} {fate:?} {lasts:?} after {after}"))
            .collect();
        let key = self.schema.attributes().map(|attribute| format!("{:?}", attribute.kind)).collect::<String>();
        format!(
            "seed {seed}: {place:?}, {store:?}, {policy:?}, {strategy}, {items} items ({key}), {slaves} slaves, {segments} \
             segments, {page} per page, {latency:?} away; outages: {outages:?}; user: {user:?}; steps: {steps:?}; coordinator: {:?}; workers: {:?}",
            self.to_coordinator.iter().map(|mishap| mishap.what).collect::<Vec<_>>(),
            self.to_workers
                .iter()
                .map(|worker| worker.iter().map(|mishap| mishap.what).collect::<Vec<_>>())
                .collect::<Vec<_>>(),
        )
    }

    fn draw_mishaps(&mut self, workers: u32, dice: &mut StdRng) {
        if matches!(self.place, Place::Embedded { .. }) {
            // A kill costs a lease.
            let count = *[0, 1, 1, 1, 2, 2].choose(dice).expect("there are counts");
            for _ in 0..count {
                let what = match dice.random_range(0..10) {
                    0..3 if !self.to_coordinator.iter().any(|mishap| mishap.what == What::Kill) => What::Kill,
                    0..5 => {
                        if dice.random() {
                            What::Interrupt
                        } else {
                            What::Terminate
                        }
                    }
                    5 => What::Stop(Duration::from_millis(dice.random_range(300..3000))),
                    _ if self.store == Store::Bucket => What::Jump(jump(dice)),
                    _ => What::FullDisk(Duration::from_millis(dice.random_range(100..6000))),
                };
                let on = *[On::Any, On::Any, On::Write].choose(dice).expect("there are some");
                let least = if matches!(what, What::Interrupt | What::Terminate) { 8 } else { 0 };
                self.to_coordinator.push(mishap(on, what, least, dice));
            }
            return;
        }
        if dice.random_bool(0.25) {
            let on = if dice.random() { On::Send } else { On::Any };
            let at = Tripwire { on, after: dice.random_range(0..3), when: when(dice) };
            self.to_coordinator.push(Mishap { at, what: What::Kill });
        }
        for _ in 0..workers {
            let count = *[0, 0, 1, 1, 2].choose(dice).expect("there are counts");
            let mishaps = (0..count).map(|_| self.to_worker(dice)).collect();
            self.to_workers.push(mishaps);
        }
    }

    /// A worker stands still in the midst of its repairs, which fail then for all, and wakes when another has its unit
    /// and could not make them either.
    fn wake_a_zombie(&mut self, dice: &mut StdRng) {
        (self.segments, self.policy) = (dice.random_range(1..=2), Policy::Repair);
        let first = dice.random_range(0..4);
        let long = LEASE + Duration::from_millis(dice.random_range(1200..3500));
        let at = Tripwire { on: On::Write, after: first, when: when(dice) };
        self.to_workers[0] = vec![Mishap { at, what: What::Stop(long) }];
        let fate = *[Fault::Refuse, Fault::Fail, Fault::Throttle].choose(dice).expect("there are fates");
        let lasts = long + Duration::from_millis(dice.random_range(500..2500));
        self.outages.push(Outage { of: Part::Writes, after: first, lasts, fate });
    }

    fn to_worker(&self, dice: &mut StdRng) -> Mishap {
        let what = match dice.random_range(0..10) {
            0..4 => What::Kill,
            4..6 => What::Stop(LEASE + Duration::from_millis(dice.random_range(1500..3500))),
            6 => What::Stop(Duration::from_millis(dice.random_range(200..2500))),
            7 | 8 => What::Terminate,
            // A directory's clock is the machine's, and so the worker's own; nobody claims otherwise.
            _ if self.store == Store::Bucket => What::Jump(jump(dice)),
            _ => What::Kill,
        };
        let on = *[On::Any, On::Any, On::Write, On::Put].choose(dice).expect("there are some");
        // The first requests are made before a worker listens to signals.
        let least = if what == What::Terminate { 6 } else { 0 };
        mishap(on, what, least, dice)
    }
}

fn mishap(on: On, what: What, least: u32, dice: &mut StdRng) -> Mishap {
    let most = match on {
        On::Any => 120,
        On::Write | On::Put => 12,
        On::Send => 3,
    };
    Mishap { at: Tripwire { on, after: dice.random_range(least..most.max(least + 1)), when: when(dice) }, what }
}

fn when(dice: &mut StdRng) -> When {
    if dice.random() { When::Before } else { When::After }
}

fn jump(dice: &mut StdRng) -> i64 {
    *[-86_400, -3_600, -7, 7, 3_600, 86_400 * 400].choose(dice).expect("there are jumps")
}

fn outage(is_fleet: bool, dice: &mut StdRng) -> Outage {
    let parts: &[Part] =
        if is_fleet { &[Part::Tables, Part::Writes, Part::Queue, Part::Store] } else { &[Part::Tables, Part::Writes] };
    let of = *parts.choose(dice).expect("there are parts");
    let fates = [Fault::Refuse, Fault::LoseAnswer, Fault::LoseAnswer, Fault::FailAfterwards, Fault::Fail];
    let most = if of == Part::Writes { 10 } else { 60 };
    Outage {
        of,
        after: dice.random_range(0..most),
        lasts: Duration::from_millis(dice.random_range(500..7000)),
        fate: *fates.choose(dice).expect("there are fates"),
    }
}

fn user(is_fleet: bool, dice: &mut StdRng) -> User {
    let after = Duration::from_millis(dice.random_range(200..6000));
    match dice.random_range(0..10) {
        0 => User::Resumes(after),
        1 if is_fleet => User::Cancels(after, Duration::from_millis(dice.random_range(0..4000))),
        _ => User::Patient,
    }
}

/// Some kinds of faults, and how often; sometimes none at all.
fn rates(dice: &mut StdRng) -> Rates {
    let intensity = *[0.0, 0.2, 0.5, 1.0, 1.0].choose(dice).expect("there are some");
    let mut rates = Vec::new();
    for fault in Fault::ALL {
        if dice.random_bool(0.65) {
            let most = if fault.is_mild() { 0.15 } else { 0.025 };
            rates.push((fault, intensity * most * dice.random_range(0.3..1.0)));
        }
    }
    Rates(rates)
}

/// So far away that the job takes some seconds, and something can happen in the middle of it.
fn latency(plan: &Plan, lanes: u32, dice: &mut StdRng) -> Duration {
    let pages = u32::try_from(plan.items).expect("tables are small") / plan.page + 2 * plan.segments;
    let requests = pages * (1 + u32::try_from(plan.slaves).expect("there are few")) / lanes.min(plan.segments).max(1);
    let whole = Duration::from_millis(dice.random_range(1500..5000));
    (whole / requests.max(1)).clamp(Duration::from_millis(1), Duration::from_millis(80))
}
