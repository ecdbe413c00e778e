//! Services that fail: a reverse proxy in front of the emulators that injects faults from a seed, and keeps a record.
//!
//! Every client process gets a listener of its own, so that each request is attributable to its sender. `fault` draws
//! what a request meets, `call` tells the services apart, `tables`, `messages` and `objects` know their protocols,
//! `relay` is the HTTP, `record` what is remembered. No fault is a lie: whatever an answer claims is what a service may
//! claim of what really happened.

mod call;
mod fault;
mod messages;
mod objects;
mod outage;
mod record;
mod relay;
mod tables;
mod tripwire;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::runtime::Runtime;

pub use self::fault::{Fault, Rates};
pub use self::outage::{Outage, Part};
pub use self::record::{Asked, Effect, Question, Record, Taken, Written};
pub use self::tripwire::{On, Tripwire, When};

use self::messages::Floating;
use self::outage::Outages;
use self::record::Recorder;
use self::tripwire::Wire;

/// What a proxy stands in front of, and how it behaves.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where every decision comes from.
    pub seed: u64,
    /// The emulator of DynamoDB.
    pub tables: String,
    /// The emulator of SQS and S3, where there is one.
    pub services: Option<String>,
    /// The attributes of the tables' keys.
    pub key_names: Vec<String>,
    /// How often which fault is injected.
    pub rates: Rates,
    /// Faults of the whole run; then no more are injected, outages aside.
    pub budget: u32,
    /// When a service fails altogether.
    pub outages: Vec<Outage>,
    /// How far away DynamoDB is.
    pub latency: Duration,
}

/// Whether a client meets faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// It does.
    Foul,
    /// It meets none.
    Fair,
}

/// The running proxy; it ends when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
    clients: AtomicU64,
}

/// One client process, as the proxy knows it.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its name in the record.
    pub name: String,
    address: SocketAddr,
    state: Arc<ClientState>,
}

#[derive(Debug)]
struct Shared {
    setup: Setup,
    budget: AtomicI64,
    outages: Outages,
    recorder: Mutex<Recorder>,
    floating: Mutex<Floating>,
    upstream: relay::Upstream,
}

#[derive(Debug)]
struct ClientState {
    name: String,
    weather: Weather,
    dice: Mutex<StdRng>,
    wire: Wire,
    injected: AtomicU64,
}

impl Proxy {
    /// Starts it, on a runtime of its own.
    #[must_use]
    pub fn start(setup: Setup) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let shared = Shared {
            budget: AtomicI64::new(setup.budget.into()),
            outages: Outages::new(&setup.outages),
            setup,
            recorder: Mutex::default(),
            floating: Mutex::default(),
            upstream: relay::upstream(),
        };
        let runtime = Some(runtime.expect("a runtime can be built"));
        Self { shared: Arc::new(shared), runtime, clients: AtomicU64::new(0) }
    }

    /// A listener for one more process.
    #[must_use]
    pub fn client(&self, name: &str, weather: Weather) -> Client {
        let number = self.clients.fetch_add(1, Ordering::Relaxed);
        let name = format!("{number}-{name}");
        let seed = self.shared.setup.seed.wrapping_mul(1009).wrapping_add(number);
        let state = Arc::new(ClientState {
            name: name.clone(),
            weather,
            dice: Mutex::new(StdRng::seed_from_u64(seed)),
            wire: Wire::default(),
            injected: AtomicU64::new(0),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port is free");
        listener.set_nonblocking(true).expect("a listener can be made not to block");
        let address = listener.local_addr().expect("a bound port has an address");
        let runtime = self.runtime.as_ref().expect("it runs until it is dropped");
        runtime.spawn(relay::serve(Arc::clone(&self.shared), Arc::clone(&state), listener));
        Client { name, address, state }
    }

    /// Injects no more faults, whatever is left of the budget.
    pub fn calm(&self) {
        self.shared.budget.store(0, Ordering::Relaxed);
        self.shared.outages.end();
    }

    /// Faults injected so far, by kind.
    #[must_use]
    pub fn injected(&self) -> BTreeMap<String, u64> {
        lock(&self.shared.recorder).injected.clone()
    }

    /// What the clients did to tables and checkpoints so far.
    #[must_use]
    pub fn record(&self) -> Record {
        lock(&self.shared.recorder).record.clone()
    }

    /// The requests of all clients and what became of them, a line each.
    #[must_use]
    pub fn history(&self) -> Vec<String> {
        lock(&self.shared.recorder).history.clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Client {
    /// Where this process finds every service.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Faults that this process has met.
    #[must_use]
    pub fn injected(&self) -> u64 {
        self.state.injected.load(Ordering::Relaxed)
    }

    /// Holds a request to come, so that something can be done to the process meanwhile.
    pub fn set(&self, tripwire: Tripwire) {
        self.state.wire.set(tripwire);
    }

    /// Whether a request is held.
    #[must_use]
    pub fn has_tripped(&self) -> bool {
        self.state.wire.has_tripped()
    }

    /// Holds no request any more.
    pub fn disarm(&self) {
        self.state.wire.disarm();
    }

    /// Lets the held request go on.
    pub fn let_go(&self) {
        self.state.wire.let_go();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
