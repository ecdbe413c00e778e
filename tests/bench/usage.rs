//! What a process took, as the kernel counts it.

use std::time::Duration;

use tests::process::{Finished, Running};

use crate::DEADLINE;

/// How often is looked; what a process does after the last look is not seen.
const EVERY: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, Default)]
pub(crate) struct Usage {
    /// Of memory, at its peak.
    pub(crate) megabytes: f64,
    /// In its own code and in the kernel's.
    pub(crate) cpu_seconds: f64,
}

/// Follows a process to its end.
pub(crate) fn watch(mut process: Running) -> (Finished, Usage) {
    let mut usage = Usage::default();
    while process.is_running() {
        usage = read(process.pid()).unwrap_or(usage);
        std::thread::sleep(EVERY);
    }
    (process.wait(DEADLINE), usage)
}

fn read(pid: u32) -> Option<Usage> {
    /// Clock ticks per second of `/proc/PID/stat` on every Linux that Rust supports.
    const TICKS: f64 = 100.0;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: f64 = peak.trim().trim_end_matches(" kB").parse().ok()?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(Usage { megabytes: kibibytes * 1024.0 / 1e6, cpu_seconds: ticks / TICKS })
}
