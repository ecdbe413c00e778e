//! The agent of ECS, of which a task asks to be protected from being scaled in.
//!
//! Source: Amazon ECS Developer Guide, "Amazon ECS task scale-in protection endpoint".

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::{Method, StatusCode};
use serde_json::{Value as Json, json};

use crate::stand_in::{Answer, StandIn, answer};

/// Where the endpoint is, below what the task is told.
const BASE: &str = "/api/8a4f5b2c-container";
const PATH: &str = "/task-protection/v1/state";

/// How the agent takes what it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It does it.
    Obeys,
    /// It answers that it cannot.
    Fails,
    /// It does not answer.
    Hangs,
}

/// What it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To protect the task for so many minutes.
    Protect {
        /// The minutes.
        minutes: u64,
    },
    /// To protect it no longer.
    Lift,
}

/// The running agent; it ends when this is dropped.
#[derive(Debug)]
pub struct Agent {
    server: StandIn,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Agent {
    /// Starts it.
    #[must_use]
    pub fn start(manner: Manner) -> Self {
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let noted = Arc::clone(&asked);
        let server = StandIn::start(move |parts, body| {
            if parts.uri.path() != format!("{BASE}{PATH}") {
                return Some(answer(StatusCode::NOT_FOUND, "404 page not found\n"));
            }
            if parts.method != Method::PUT {
                return Some(answer(StatusCode::METHOD_NOT_ALLOWED, ""));
            }
            let Some(wanted) = understood(body) else {
                return Some(answer(StatusCode::BAD_REQUEST, error("InvalidParameterException")));
            };
            lock(&noted).push(wanted);
            answered(manner, wanted)
        });
        Self { server, asked }
    }

    /// The variable that tells a task of its agent.
    #[must_use]
    pub fn variable(&self) -> (String, String) {
        variable(&self.server.endpoint())
    }

    /// What it was asked so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.asked).clone()
    }
}

/// The variable that tells a task of an agent at this endpoint.
#[must_use]
pub fn variable(endpoint: &str) -> (String, String) {
    ("ECS_AGENT_URI".to_owned(), format!("{endpoint}{BASE}"))
}

/// As the agent reads it: other fields than these two are refused.
fn understood(body: &[u8]) -> Option<Asked> {
    let Ok(Json::Object(mut fields)) = serde_json::from_slice(body) else { return None };
    let minutes = match fields.remove("ExpiresInMinutes") {
        Some(minutes) => Some(minutes.as_u64().filter(|minutes| (1..=2880).contains(minutes))?),
        None => None,
    };
    let asked = match fields.remove("ProtectionEnabled")?.as_bool()? {
        true => Asked::Protect { minutes: minutes.unwrap_or(120) },
        false => Asked::Lift,
    };
    fields.is_empty().then_some(asked)
}

fn answered(manner: Manner, asked: Asked) -> Answer {
    match manner {
        Manner::Obeys => {
            let (enabled, until) = match asked {
                Asked::Protect { .. } => (true, json!("2126-11-28T14:00:00Z")),
                Asked::Lift => (false, Json::Null),
            };
            let task = "arn:aws:ecs:us-east-1:000000000000:task/fleet/1234567890abcdef";
            let protection = json!({ "ExpirationDate": until, "ProtectionEnabled": enabled, "TaskArn": task });
            Some(answer(StatusCode::OK, json!({ "protection": protection }).to_string()))
        }
        Manner::Fails => Some(answer(StatusCode::INTERNAL_SERVER_ERROR, error("ServerException"))),
        Manner::Hangs => None,
    }
}

fn error(code: &str) -> String {
    json!({ "error": { "Code": code, "Message": "on purpose" } }).to_string()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
