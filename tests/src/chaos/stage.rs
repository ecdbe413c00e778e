//! What a run stands on: tables that differ, a proxy before all services, and the programs.

use std::collections::BTreeMap;
use std::path::Path;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value as Json;
use shared::domain::key::KeySchema;
use shared::domain::value::Item;
use tempfile::TempDir;

use super::Paths;
use super::hand::{End, Hand};
use super::plan::{LEASE, Mishap, Place, Plan, Policy, Store, What};
use super::shim::Shim;
use crate::buckets::Bucket;
use crate::dynamodb::DynamoDb;
use crate::generate::table;
use crate::ministack::MiniStack;
use crate::process::{Finished, Programs};
use crate::proxy::{Client, Proxy, Setup, Weather};
use crate::queues::Queue;
use crate::vary::{mutate, respell};

pub(super) const JOB: &str = "job";
pub(super) const MASTER: &str = "orders";

/// Deliveries after which a message is a dead letter.
const MAX_RECEIVES: u32 = 10;

/// The last lines of a process that are worth showing.
const LOG_LINES: usize = 60;

/// Everything of one run.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) plan: Plan,
    pub(super) server: DynamoDb,
    pub(super) proxy: Proxy,
    pub(super) programs: Programs,
    pub(super) queue: Option<Queue>,
    pub(super) bucket: Option<Bucket>,
    pub(super) store: String,
    pub(super) master: Vec<Item>,
    /// The slaves' items, as they were.
    pub(super) slaves: Vec<Vec<Item>>,
    /// The processes that have ended.
    pub(super) ends: Vec<End>,
    folders: TempDir,
    hands: u32,
}

impl Stage {
    pub(super) async fn build(plan: Plan, paths: &Paths, services: &MiniStack) -> Self {
        let server = DynamoDb::start();
        let (master, slaves) = tables(&plan);
        server.create_filled(MASTER, &plan.schema, &master).await;
        for (number, items) in slaves.iter().enumerate() {
            server.create_filled(&slave_name(number), &plan.schema, items).await;
        }
        let proxy = Proxy::start(Setup {
            seed: plan.seed,
            tables: server.endpoint(),
            services: Some(services.endpoint()),
            key_names: plan.schema.names().map(str::to_owned).collect(),
            rates: plan.rates.clone(),
            budget: plan.budget,
            outages: plan.outages.clone(),
            latency: plan.latency,
        });
        let programs = Programs::new(&paths.dynamend, &paths.worker)
            .with_dynamodb(&server.endpoint())
            .with_services(&services.endpoint());
        let queue = match plan.place {
            Place::Fleet { .. } => Some(Queue::create(services, LEASE, MAX_RECEIVES).await),
            Place::Embedded { .. } => None,
        };
        let bucket = match plan.store {
            Store::Bucket => Some(Bucket::create(services).await),
            Store::Directory => None,
        };
        let directory = programs.home().join("store").to_string_lossy().into_owned();
        let store = bucket.as_ref().map_or(directory, |bucket| bucket.url("fleet"));
        let folders = TempDir::new().expect("a temporary directory can be created");
        let (ends, hands) = (Vec::new(), 0);
        Self { plan, server, proxy, programs, queue, bucket, store, master, slaves, ends, folders, hands }
    }

    /// Starts the coordinator with these arguments, the place and the store aside.
    pub(super) fn coordinator(&mut self, arguments: &[&str], weather: Weather, mishap: Option<Mishap>) -> Hand {
        let (client, shim, mut environment) = self.client("coordinator", weather);
        let steps = self.plan.steps.take();
        environment.extend(steps.map(|steps| ("CHAOS_DIE_AT".to_owned(), steps.to_string())));
        let arguments = [arguments, &self.location()].concat();
        let running = self.programs.spawn_dynamend_in(&environment, &arguments);
        let hand = Hand::new(running, client, shim, mishap);
        if steps.is_some() { hand.fated() } else { hand }
    }

    /// Starts a worker.
    pub(super) fn worker(&mut self, concurrency: u32, mishap: Option<Mishap>) -> Hand {
        let (client, shim, environment) = self.client("worker", Weather::Foul);
        let queue = self.queue.as_ref().map_or("", |queue| &queue.url);
        let (concurrency, lease) = (concurrency.to_string(), LEASE.as_secs().to_string());
        let arguments = ["--queue", queue, "--lease", &lease, "--concurrency", &concurrency];
        let running = self.programs.spawn_worker_in(&environment, &arguments);
        Hand::new(running, client, shim, mishap)
    }

    /// Runs a command that only looks, in fair weather.
    pub(super) fn look(&self, arguments: &[&str]) -> Finished {
        self.programs.dynamend(&[arguments, &["--store", &self.store]].concat())
    }

    /// The arguments of the job.
    pub(super) fn sync(&self) -> Vec<String> {
        let plan = &self.plan;
        let mut arguments = vec!["sync".to_owned(), "-m".to_owned(), label(MASTER)];
        for number in 0..plan.slaves {
            arguments.extend(["-s".to_owned(), label(&slave_name(number))]);
        }
        let policy = match plan.policy {
            Policy::Repair => "--repair",
            Policy::DryRun => "--scan-for-extra",
        };
        let (segments, page) = (plan.segments.to_string(), plan.page.to_string());
        let more = [policy, "--strategy", plan.strategy, "--segments", &segments, "--scan-limit", &page];
        let names = ["--confirm-delay", plan.confirm_delay, "--job-id", JOB, "-v"];
        arguments.extend(more.iter().chain(&names).chain(plan.care()).map(|&text| text.to_owned()));
        arguments
    }

    /// The summary that the job left when it ended.
    pub(super) async fn summary(&self) -> Option<Json> {
        let key = format!("jobs/{JOB}/summary.json");
        let body = match &self.bucket {
            Some(bucket) => bucket.get(&format!("fleet/{key}")).await?,
            None => std::fs::read(Path::new(&self.store).join(key)).ok()?,
        };
        serde_json::from_slice(&body).ok()
    }

    /// Everything that was done to the programs, by kind.
    pub(super) fn injected(&self) -> BTreeMap<String, u64> {
        let mut injected = self.proxy.injected();
        for what in self.ends.iter().flat_map(|end| &end.happened) {
            let name = match what {
                What::Kill => "process killed",
                What::Stop(long) if *long > LEASE => "process stopped beyond its lease",
                What::Stop(_) => "process stopped for a while",
                What::Terminate => "process asked to stop",
                What::Interrupt => "process interrupted",
                What::Jump(_) => "clock jumped",
                What::FullDisk(_) => "disk full",
            };
            *injected.entry(name.to_owned()).or_default() += 1;
        }
        let died = self.ends.iter().filter(|end| end.died).count() as u64;
        if died > 0 {
            injected.insert("process killed at a step of writing".to_owned(), died);
        }
        injected
    }

    /// What everyone said, the last of it.
    pub(super) fn logs(&self) -> Vec<String> {
        let mut logs = self.proxy.history();
        for end in &self.ends {
            logs.push(format!("--- {}", end.title()));
            let lines: Vec<&str> = end.stderr.lines().chain(end.stdout.lines()).collect();
            logs.extend(lines.iter().skip(lines.len().saturating_sub(LOG_LINES)).map(|&line| line.to_owned()));
        }
        logs
    }

    fn location(&self) -> Vec<&str> {
        let mut location = vec!["--store", self.store.as_str()];
        if let Some(queue) = &self.queue {
            location.extend(["--queue", queue.url.as_str()]);
        }
        location
    }

    fn client(&mut self, name: &str, weather: Weather) -> (Client, Shim, Vec<(String, String)>) {
        let client = self.proxy.client(name, weather);
        self.hands += 1;
        let home = self.folders.path().join(self.hands.to_string());
        std::fs::create_dir(&home).expect("the home can be created");
        let shim = Shim::new(&home, &self.programs.home().join("store"));
        let mut environment = shim.environment();
        for service in ["DYNAMODB", "SQS", "S3", "STS"] {
            environment.push((format!("AWS_ENDPOINT_URL_{service}"), client.endpoint()));
        }
        (client, shim, environment)
    }
}

/// The table's name on the command line and in reports.
pub(super) fn label(table: &str) -> String {
    format!("us-east-1:{table}")
}

pub(super) fn slave_name(number: usize) -> String {
    format!("copy-{number}")
}

/// A master, and slaves that each differ from it in ways of their own.
fn tables(plan: &Plan) -> (Vec<Item>, Vec<Vec<Item>>) {
    let mut random = StdRng::seed_from_u64(plan.seed);
    let dice = &mut random;
    let extra = dice.random_range(0..=plan.items / 6);
    let mut master = table(&plan.schema, plan.seed, plan.items + extra * plan.slaves);
    master.shuffle(dice);
    let mut rest = master.split_off(plan.items);
    let slaves = (0..plan.slaves).map(|_| {
        let mut slave = rest.split_off(rest.len() - extra);
        let (missing, differing) = (dice.random_range(0.0..0.25), dice.random_range(0.0..0.25));
        slave.extend(master.iter().filter_map(|item| copy(item, &plan.schema, missing, differing, dice)));
        slave.shuffle(dice);
        slave
    });
    let slaves = slaves.collect();
    (master, slaves)
}

fn copy(item: &Item, schema: &KeySchema, missing: f64, differing: f64, dice: &mut StdRng) -> Option<Item> {
    let point: f64 = dice.random();
    if point < missing {
        None
    } else if point < missing + differing {
        Some(mutate(item, schema, dice).0)
    } else {
        Some(respell(item, dice))
    }
}
