//! The metadata service of an instance of EC2, in its version 2: nothing is told without a token.
//!
//! Source: Amazon EC2 User Guide, "Use the Instance Metadata Service to access instance metadata".

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::http::request::Parts;
use hyper::{Method, StatusCode};

use crate::stand_in::{Answer, StandIn, answer};

/// A Spot instance that is about to be taken.
pub const INTERRUPTION: (&str, &str) =
    ("spot/instance-action", r#"{"action": "terminate", "time": "2026-11-28T08:22:00Z"}"#);

/// A Spot instance that is at a higher risk than others.
pub const REBALANCE: (&str, &str) = ("events/recommendations/rebalance", r#"{"noticeTime": "2026-11-28T08:20:00Z"}"#);

/// An instance that its group scales in.
pub const SCALE_IN: (&str, &str) = ("autoscaling/target-lifecycle-state", "Terminated");

const TOKEN: &str = "x-aws-ec2-metadata-token";
const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";

#[derive(Debug, Default)]
struct State {
    told: BTreeMap<String, String>,
    /// Tokens given so far; the last one counts.
    tokens: u32,
    /// No token counts that was given before.
    expired: u32,
    answers: u32,
}

/// The running service; it ends when this is dropped.
#[derive(Debug)]
pub struct Metadata {
    server: StandIn,
    state: Arc<Mutex<State>>,
}

impl Metadata {
    /// Starts it; the instance is in service.
    #[must_use]
    pub fn start() -> Self {
        let state = Arc::<Mutex<State>>::default();
        let served = Arc::clone(&state);
        let metadata = Self { server: StandIn::start(move |parts, _| lock(&served).answer(parts)), state };
        metadata.tell((SCALE_IN.0, "InService"));
        metadata
    }

    /// Tells the instance something.
    pub fn tell(&self, (path, text): (&str, &str)) {
        lock(&self.state).told.insert(path.to_owned(), text.to_owned());
    }

    /// No token is good any more that was given so far.
    pub fn expire_tokens(&self) {
        let mut state = lock(&self.state);
        state.expired = state.tokens;
    }

    /// Requests so far that came with a good token.
    #[must_use]
    pub fn answers(&self) -> u32 {
        lock(&self.state).answers
    }

    /// Tokens given so far.
    #[must_use]
    pub fn tokens(&self) -> u32 {
        lock(&self.state).tokens
    }

    /// The variables with which a worker heeds it.
    #[must_use]
    pub fn variables(&self) -> Vec<(String, String)> {
        variables(&self.server.endpoint())
    }
}

/// The variables with which a worker heeds a metadata service at this endpoint.
#[must_use]
pub fn variables(endpoint: &str) -> Vec<(String, String)> {
    let variables = [
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint),
        ("AWS_EC2_METADATA_DISABLED", "false"),
        ("DYNAMEND_EC2_NOTICES", "true"),
    ];
    variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

impl State {
    fn answer(&mut self, parts: &Parts) -> Answer {
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let path = parts.uri.path();
        if (&parts.method, path) == (&Method::PUT, "/latest/api/token") {
            let Some(ttl) = parts.headers.get(TTL).cloned() else {
                return Some(answer(StatusCode::BAD_REQUEST, ""));
            };
            self.tokens += 1;
            let mut token = answer(StatusCode::OK, format!("token-{}", self.tokens));
            token.headers_mut().insert(TTL, ttl);
            return Some(token);
        }
        let number = header(TOKEN).and_then(|token| token.strip_prefix("token-")?.parse().ok());
        if !number.is_some_and(|number: u32| (self.expired + 1..=self.tokens).contains(&number)) {
            return Some(answer(StatusCode::UNAUTHORIZED, ""));
        }
        self.answers += 1;
        let told = path.strip_prefix("/latest/meta-data/").and_then(|path| self.told.get(path));
        Some(match told {
            Some(text) => answer(StatusCode::OK, text.clone()),
            None => answer(StatusCode::NOT_FOUND, ""),
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
