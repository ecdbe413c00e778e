//! One process, and what happens to it.

use std::time::{Duration, Instant};

use super::plan::{Mishap, What};
use super::shim::Shim;
use crate::process::{Finished, Running};
use crate::proxy::Client;

/// A running process with a mishap ahead of it.
#[derive(Debug)]
pub(super) struct Hand {
    running: Option<Running>,
    client: Client,
    shim: Shim,
    mishap: Option<Mishap>,
    paused_until: Option<Instant>,
    full_until: Option<Instant>,
    happened: Vec<What>,
    fated: bool,
}

/// A process that ended.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) name: String,
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
    /// Whether it was killed by what it was loaded with.
    pub(super) died: bool,
    /// What had happened to it.
    pub(super) happened: Vec<What>,
    /// Faults that it had met.
    pub(super) injected: u64,
}

impl End {
    pub(super) fn was_killed(&self) -> bool {
        self.died || self.happened.contains(&What::Kill)
    }

    pub(super) fn was_asked_to_stop(&self) -> bool {
        self.happened.iter().any(|what| matches!(what, What::Terminate | What::Interrupt))
    }

    /// Whether a service or the disk failed it.
    pub(super) fn was_hindered(&self) -> bool {
        self.injected > 0 || self.happened.iter().any(|what| matches!(what, What::FullDisk(_)))
    }

    pub(super) fn title(&self) -> String {
        format!("{} (exit code {:?}, {} faults, {:?})", self.name, self.code, self.injected, self.happened)
    }
}

impl Hand {
    pub(super) fn new(running: Running, client: Client, shim: Shim, mishap: Option<Mishap>) -> Self {
        if let Some(mishap) = mishap {
            client.set(mishap.at);
        }
        let (paused_until, full_until) = (None, None);
        let (running, happened, fated) = (Some(running), Vec::new(), false);
        Self { running, client, shim, mishap, paused_until, full_until, happened, fated }
    }

    /// It was loaded with its end, and may be killed at any step.
    pub(super) fn fated(self) -> Self {
        Self { fated: true, ..self }
    }

    /// Whether nothing more will happen to it until its end, unless it is told.
    pub(super) fn is_at_rest(&self) -> bool {
        self.paused_until.is_none() && self.full_until.is_none() && !self.client.has_tripped()
    }

    /// Something else is ahead of it.
    pub(super) fn prepare(&mut self, mishap: Mishap) {
        self.mishap = Some(mishap);
        self.client.set(mishap.at);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.running.is_none()
    }

    pub(super) fn has_mishap_ahead(&self) -> bool {
        self.mishap.is_some()
    }

    /// Lets happen what is due; tells when the process has ended.
    pub(super) fn tick(&mut self) -> Option<End> {
        let now = Instant::now();
        if self.full_until.is_some_and(|until| until <= now) {
            self.full_until = None;
            self.shim.free_disk();
        }
        let running = self.running.as_mut()?;
        if self.paused_until.is_some_and(|until| until <= now) {
            self.paused_until = None;
            running.resume();
        }
        if !running.is_running() {
            let finished = self.running.take()?.wait(Duration::from_secs(1));
            return Some(self.end(finished));
        }
        if self.client.has_tripped()
            && let Some(mishap) = self.mishap.take()
        {
            self.happened.push(mishap.what);
            let killed = self.happen(mishap.what, now);
            self.client.let_go();
            return killed;
        }
        None
    }

    /// Ends it in good order, and says how it ended.
    pub(super) fn terminate(mut self, deadline: Duration) -> Option<End> {
        self.shim.free_disk();
        let mut running = self.running.take()?;
        if self.paused_until.take().is_some() {
            running.resume();
        }
        self.client.disarm();
        // A second signal would end it at once.
        if running.is_running() && !self.happened.contains(&What::Terminate) {
            running.terminate();
            self.happened.push(What::Terminate);
        }
        let finished = running.wait(deadline);
        Some(self.end(finished))
    }

    pub(super) fn stderr(&self) -> String {
        self.running.as_ref().map(Running::stderr).unwrap_or_default()
    }

    pub(super) fn name(&self) -> &str {
        &self.client.name
    }

    fn happen(&mut self, what: What, now: Instant) -> Option<End> {
        let running = self.running.as_ref()?;
        match what {
            What::Kill => {
                let finished = self.running.take()?.kill();
                return Some(self.end(finished));
            }
            What::Stop(long) => {
                running.pause();
                self.paused_until = Some(now + long);
            }
            What::Terminate => running.terminate(),
            What::Interrupt => running.interrupt(),
            What::Jump(seconds) => self.shim.jump(seconds),
            What::FullDisk(long) => {
                self.shim.fill_disk();
                self.full_until = Some(now + long);
            }
        }
        None
    }

    fn end(&mut self, finished: Finished) -> End {
        self.shim.free_disk();
        let Finished { code, stdout, stderr } = finished;
        let (name, injected) = (self.client.name.clone(), self.client.injected());
        let happened = std::mem::take(&mut self.happened);
        End { name, code, stdout, stderr, died: self.fated && code.is_none(), happened, injected }
    }
}
