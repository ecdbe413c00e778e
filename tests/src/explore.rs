//! A model of one item under concurrent writers, and a search through the orders in which their steps may happen.
//!
//! The master has a client that writes and deletes; every change goes through a replicator that applies it to the slave
//! later, in order and unconditionally; another program may write to the slave. In between, one or two runs of dynamend
//! scan, confirm and repair. Reads and writes of one item are atomic, and everything between two of them is not. The
//! decisions are those of [`Mending`], the very ones that workers make.

use std::collections::{HashSet, VecDeque};
use std::fmt;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use shared::domain::compare::{Ignore, differing_paths};
use shared::domain::condition::{Condition, Write};
use shared::domain::decide::{Kind, Verdict, judge};
use shared::domain::discrepancy::Outcome;
use shared::domain::job::{AfterWrite, OldImages};
use shared::domain::key::{Key, KeySchema, KeyType};
use shared::domain::mend::{Ask, Ending, Look, Mending, Planned, Rules, Written};
use shared::domain::number::Number;
use shared::domain::value::{Item, Value};

use crate::generate::schema;
use crate::world::REPAIR;

/// The attribute in which images count their versions.
const VERSION: &str = "v";

/// An image of the item, by its version; none where there is no item.
pub type Image = Option<i64>;

/// What the master's client does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It puts a new version.
    Put,
    /// It puts the image that the slave began with.
    PutBack,
    /// It deletes the item.
    Delete,
}

/// How repairs are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As workers do.
    Guarded {
        /// Whether the item's version attribute is named.
        versions: Versions,
        /// What follows a write.
        after_write: AfterWrite,
    },
    /// As the first programs of this kind did: what was read is written, come what may.
    Unconditional,
}

/// Whether the job names the version attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// It does.
    Named,
    /// It does not.
    Unnamed,
}

/// Where a search begins, and what may happen.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The master's image.
    pub master: Image,
    /// The slave's image.
    pub slave: Image,
    /// Changes on their way to the slave.
    pub under_way: Vec<Image>,
    /// What the client does, in this order.
    pub client: Vec<Change>,
    /// Versions that another program puts on the slave, in this order.
    pub foreign: Vec<i64>,
    /// How repairs are made.
    pub mode: Mode,
    /// Runs side by side.
    pub runs: usize,
    /// Times a run may die and be taken up by a successor.
    pub crashes: usize,
}

/// A promise that was broken, and the steps that led there.
pub struct Broken {
    /// The promise.
    pub promise: String,
    /// What happened, in order.
    pub steps: Vec<Step>,
    /// Where it began.
    pub scenario: Scenario,
}

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nafter {:?}\nin {:?}", self.promise, self.steps, self.scenario)
    }
}

/// One atomic step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The client's next change.
    Client,
    /// The replicator applies the next change.
    Replicate,
    /// The other program's next write.
    Foreign,
    /// The next read or write of this run.
    Run(usize),
    /// This run dies, and a successor takes up what it had decided on.
    Crash(usize),
}

#[derive(Clone)]
struct State<'a> {
    rules: &'a Rules,
    key: &'a Key,
    master: Image,
    slave: Image,
    queue: VecDeque<Image>,
    client: VecDeque<Change>,
    foreign: VecDeque<i64>,
    next_version: i64,
    runs: Vec<Run<'a>>,
    crashes_left: usize,
    crashed: bool,
}

#[derive(Clone, Debug)]
enum Run<'a> {
    ScanMaster,
    ScanSlave {
        master: Image,
    },
    ConfirmSlave,
    ConfirmMaster {
        slave: Image,
    },
    LookAtSlave {
        mending: Mending<'a>,
        kind: Kind,
    },
    LookAtMaster {
        mending: Mending<'a>,
        kind: Kind,
        slave: Image,
    },
    Write {
        mending: Mending<'a>,
        kind: Kind,
        planned: Box<Planned>,
    },
    Verify {
        mending: Mending<'a>,
        kind: Kind,
    },
    WriteBlindly {
        image: Image,
    },
    /// The first look, or the second, found both sides the same.
    Agreed,
    Ended(Ending),
}

impl fmt::Debug for State<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { master, slave, queue, client, foreign, runs, crashes_left, crashed, .. } = self;
        write!(f, "{master:?} {slave:?} {queue:?} {client:?} {foreign:?} {crashes_left} {crashed} {runs:?}")
    }
}

fn item(version: i64) -> Item {
    let version = Value::N(Number::parse(&version.to_string()).expect("it is a number"));
    [("id".to_owned(), Value::S("a".to_owned())), (VERSION.to_owned(), version)].into()
}

fn item_of(image: Image) -> Option<Item> {
    image.map(item)
}

fn image_of(item: Option<&Item>) -> Image {
    let Some(Value::N(version)) = item?.get(VERSION) else { panic!("an image has a version") };
    Some(version.text().parse().expect("versions here are small"))
}

fn differing(one: &Item, other: &Item) -> Vec<String> {
    differing_paths(one, other, &Ignore::default())
}

impl Scenario {
    /// Goes through every order of steps; counts the states that were met, or returns the first broken promise.
    ///
    /// # Errors
    /// The broken promise.
    pub fn explore(&self) -> Result<usize, Box<Broken>> {
        let (rules, key) = self.rules();
        let mut met = HashSet::new();
        let mut open = vec![(self.begin(&rules, &key), Vec::new())];
        while let Some((state, steps)) = open.pop() {
            if !met.insert(format!("{state:?}")) {
                continue;
            }
            let enabled = state.enabled();
            if enabled.is_empty() {
                self.check_the_end(&state).map_err(|promise| self.broken(promise, &steps))?;
            }
            for step in enabled {
                let mut next = state.clone();
                let steps: Vec<Step> = steps.iter().copied().chain([step]).collect();
                next.take(step, self.mode).map_err(|promise| self.broken(promise, &steps))?;
                open.push((next, steps));
            }
        }
        Ok(met.len())
    }

    /// Goes through one order of steps, by chance.
    ///
    /// # Errors
    /// The broken promise.
    pub fn wander(&self, seed: u64) -> Result<(), Box<Broken>> {
        let mut random = StdRng::seed_from_u64(seed);
        let (rules, key) = self.rules();
        let mut state = self.begin(&rules, &key);
        let mut steps = Vec::new();
        loop {
            let enabled = state.enabled();
            if enabled.is_empty() {
                return self.check_the_end(&state).map_err(|promise| self.broken(promise, &steps));
            }
            let step = enabled[random.random_range(0..enabled.len())];
            steps.push(step);
            state.take(step, self.mode).map_err(|promise| self.broken(promise, &steps))?;
        }
    }

    fn rules(&self) -> (Rules, Key) {
        let schema: KeySchema = schema(KeyType::S, None);
        let (version_attribute, after_write) = match self.mode {
            Mode::Guarded { versions: Versions::Named, after_write } => (Some(VERSION.to_owned()), after_write),
            Mode::Guarded { versions: Versions::Unnamed, after_write } => (None, after_write),
            Mode::Unconditional => (None, AfterWrite::Trust),
        };
        let key = Key::of(&schema, &item(0)).expect("it has the key");
        let rules = Rules {
            schema,
            policy: REPAIR,
            ignore: Ignore::default(),
            version_attribute,
            time_to_live: None,
            after_write,
            old_images: OldImages::Drop,
        };
        (rules, key)
    }

    fn begin<'a>(&self, rules: &'a Rules, key: &'a Key) -> State<'a> {
        State {
            rules,
            key,
            master: self.master,
            slave: self.slave,
            queue: self.under_way.iter().copied().collect(),
            client: self.client.iter().copied().collect(),
            foreign: self.foreign.iter().copied().collect(),
            next_version: 10,
            runs: vec![Run::ScanMaster; self.runs],
            crashes_left: self.crashes,
            crashed: false,
        }
    }

    fn broken(&self, promise: String, steps: &[Step]) -> Box<Broken> {
        Box::new(Broken { promise, steps: steps.to_vec(), scenario: self.clone() })
    }

    /// What must hold once everybody has finished and every change has arrived.
    fn check_the_end(&self, state: &State<'_>) -> Result<(), String> {
        let State { master, slave, runs, crashed, .. } = state;
        if master == slave || !self.foreign.is_empty() {
            return Ok(());
        }
        let is_quiet = |run: &Run<'_>| match run {
            Run::Agreed | Run::Ended(Ending::Healed) => true,
            Run::Ended(Ending::Settled(outcome, _)) => matches!(outcome, Outcome::Written | Outcome::Deleted),
            _ => false,
        };
        if runs.iter().all(is_quiet) {
            return Err(format!("the report is content, and the master has {master:?}, the slave {slave:?}"));
        }
        let is_unstable = |run: &Run<'_>| matches!(run, Run::Ended(Ending::Settled(Outcome::Unstable, _)));
        // Replication alone would have brought the slave in step: then it was dynamend that did not leave it so. A
        // run that died between its write and the look behind it has a successor that says so, and one that never
        // caught up with the master says so itself.
        let in_step_without = match self.under_way.is_empty() && self.client.is_empty() {
            true => self.master == self.slave,
            false => true,
        };
        if in_step_without && !crashed && !runs.iter().any(is_unstable) {
            return Err(format!("replication was undone: the master has {master:?}, the slave {slave:?}"));
        }
        Ok(())
    }
}

impl<'a> State<'a> {
    fn enabled(&self) -> Vec<Step> {
        let is_open = |run: &Run<'_>| !matches!(run, Run::Agreed | Run::Ended(_));
        let runs = || self.runs.iter().enumerate().filter(|(_, run)| is_open(run));
        let mut enabled = Vec::new();
        enabled.extend((!self.client.is_empty()).then_some(Step::Client));
        enabled.extend((!self.queue.is_empty()).then_some(Step::Replicate));
        enabled.extend((!self.foreign.is_empty()).then_some(Step::Foreign));
        enabled.extend(runs().map(|(number, _)| Step::Run(number)));
        if self.crashes_left > 0 {
            enabled.extend(runs().filter(|(_, run)| run.decided_on().is_some()).map(|(number, _)| Step::Crash(number)));
        }
        enabled
    }

    fn take(&mut self, step: Step, mode: Mode) -> Result<(), String> {
        match step {
            Step::Client => {
                self.master = match self.client.pop_front().expect("it is enabled") {
                    Change::Delete => None,
                    Change::PutBack => Some(1),
                    Change::Put => {
                        self.next_version += 1;
                        Some(self.next_version)
                    }
                };
                self.queue.push_back(self.master);
            }
            Step::Replicate => self.slave = self.queue.pop_front().expect("it is enabled"),
            Step::Foreign => self.slave = self.foreign.pop_front(),
            Step::Crash(number) => {
                self.crashes_left -= 1;
                self.crashed = true;
                let kind = self.runs[number].decided_on().expect("it is enabled");
                let mut mending = Mending::new(self.rules, self.key, kind);
                mending.may_have_written();
                self.runs[number] = Run::LookAtSlave { mending, kind };
            }
            Step::Run(number) => {
                let run = self.runs[number].clone();
                self.runs[number] = self.run(run, mode)?;
            }
        }
        Ok(())
    }

    fn run(&mut self, run: Run<'a>, mode: Mode) -> Result<Run<'a>, String> {
        let verdict = |master: Image, slave: Image| judge(item_of(master).as_ref(), item_of(slave).as_ref(), differing);
        Ok(match run {
            Run::ScanMaster => Run::ScanSlave { master: self.master },
            Run::ScanSlave { master } => match verdict(master, self.slave) {
                Verdict::Discrepant(..) => Run::ConfirmSlave,
                Verdict::Identical | Verdict::Gone => Run::Agreed,
            },
            Run::ConfirmSlave => Run::ConfirmMaster { slave: self.slave },
            Run::ConfirmMaster { slave } => match (verdict(self.master, slave), mode) {
                (Verdict::Identical | Verdict::Gone, _) => Run::Agreed,
                (Verdict::Discrepant(..), Mode::Unconditional) => Run::WriteBlindly { image: self.master },
                (Verdict::Discrepant(kind, _), Mode::Guarded { .. }) => {
                    let mut mending = Mending::new(self.rules, self.key, kind);
                    let ask = mending.seen(item_of(self.master), item_of(slave), Look::Held, 0, differing);
                    Run::after(ask, mending, kind)
                }
            },
            Run::LookAtSlave { mending, kind } => Run::LookAtMaster { mending, kind, slave: self.slave },
            Run::LookAtMaster { mut mending, kind, slave } => {
                let ask = mending.seen(item_of(self.master), item_of(slave), Look::Fresh, 0, differing);
                Run::after(ask, mending, kind)
            }
            Run::Write { mut mending, kind, planned } => {
                let written = self.write(&planned)?;
                let ask = mending.written(written);
                Run::after(ask, mending, kind)
            }
            Run::Verify { mut mending, kind } => {
                let ask = mending.master_seen(item_of(self.master).as_ref(), differing);
                Run::after(ask, mending, kind)
            }
            Run::WriteBlindly { image } => {
                self.overwrite(image)?;
                let outcome = if image.is_some() { Outcome::Written } else { Outcome::Deleted };
                Run::Ended(Ending::Settled(outcome, None))
            }
            ended @ (Run::Agreed | Run::Ended(_)) => ended,
        })
    }

    fn write(&mut self, planned: &Planned) -> Result<Written, String> {
        let Planned { write, condition, .. } = planned;
        if !Condition::holds(condition, item_of(self.slave).as_ref()) {
            return Ok(Written::Refused);
        }
        let image = match write {
            Write::Put(item) => image_of(Some(item)),
            Write::Delete(_) => None,
        };
        if self.rules.version_attribute.is_none() && self.slave != image_of(planned.old.as_ref()) {
            return Err(format!("what was never seen was overwritten: {:?}", self.slave));
        }
        self.overwrite(image)?;
        Ok(Written::Made)
    }

    fn overwrite(&mut self, image: Image) -> Result<(), String> {
        // A put of an older version; a delete is right or wrong by what the master has in the end.
        if let (Some(new), Some(old)) = (image, self.slave)
            && new < old
            && (self.rules.version_attribute.is_some() || self.queue.is_empty() && self.master == self.slave)
        {
            return Err(format!("version {new} was put over version {old}"));
        }
        self.slave = image;
        Ok(())
    }
}

impl<'a> Run<'a> {
    fn after(ask: Ask, mending: Mending<'a>, kind: Kind) -> Self {
        match ask {
            Ask::Look => Self::LookAtSlave { mending, kind },
            Ask::Write(planned) => Self::Write { mending, kind, planned },
            Ask::LookAtMaster => Self::Verify { mending, kind },
            Ask::End(ending) => Self::Ended(ending),
        }
    }

    /// The discrepancy that a successor would find among what is pending.
    fn decided_on(&self) -> Option<Kind> {
        match self {
            Self::LookAtMaster { kind, .. }
            | Self::LookAtSlave { kind, .. }
            | Self::Write { kind, .. }
            | Self::Verify { kind, .. } => Some(*kind),
            Self::ScanMaster
            | Self::ScanSlave { .. }
            | Self::ConfirmSlave
            | Self::ConfirmMaster { .. }
            | Self::WriteBlindly { .. }
            | Self::Agreed
            | Self::Ended(_) => None,
        }
    }
}
