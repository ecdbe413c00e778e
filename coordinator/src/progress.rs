//! Live progress on standard error: one line that changes on a terminal, plain lines now and then elsewhere.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use shared::domain::summary::Summary;
use shared::pacing::Reading;

use crate::figures::grouped;
use crate::output::note;

/// How often a plain line is written.
const PLAIN_LINE_EVERY: Duration = Duration::from_secs(15);

/// Whether progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// It is.
    Yes,
    /// Standard error stays silent.
    No,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Items scanned.
    pub scanned: u64,
    /// Units of work that ended.
    pub ended: u64,
    /// All of them.
    pub units: u64,
    /// Discrepancies found.
    pub discrepancies: u64,
    /// Read units consumed.
    pub read_units: f64,
    /// Write units consumed.
    pub write_units: f64,
}

impl Progress {
    /// From this process's own meter; `ended_before` units had ended when it began.
    #[must_use]
    pub fn of_meter(reading: Reading, ended_before: u64, units: u64) -> Self {
        let Reading { scanned, discrepancies, units_ended, read_units, write_units } = reading;
        Self { scanned, ended: ended_before + units_ended, units, discrepancies, read_units, write_units }
    }

    /// From a job's committed state.
    #[must_use]
    pub fn of_summary(summary: &Summary) -> Self {
        Self {
            scanned: summary.scanned.values().sum(),
            ended: summary.units.done + summary.units.failed,
            units: summary.units.total,
            discrepancies: summary.slaves.iter().map(|slave| slave.discrepancies()).sum(),
            read_units: summary.consumed.values().map(|consumed| consumed.read).sum(),
            write_units: summary.consumed.values().map(|consumed| consumed.write).sum(),
        }
    }
}

/// Draws progress.
pub struct Display {
    way: Way,
    started: Instant,
    first: Option<Progress>,
    last: Option<(Instant, Progress)>,
}

enum Way {
    Silent,
    Bar(ProgressBar),
    Lines { next: Instant },
}

impl Display {
    /// A display that fits standard error.
    #[must_use]
    pub fn new(show: Show) -> Self {
        let way = match show {
            Show::No => Way::Silent,
            Show::Yes if std::io::stderr().is_terminal() => {
                let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
                let style = ProgressStyle::with_template("{spinner} [{bar:24}] {pos}/{len} segments  {msg}");
                bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
                Way::Bar(bar)
            }
            Show::Yes => Way::Lines { next: Instant::now() + PLAIN_LINE_EVERY },
        };
        Self { way, started: Instant::now(), first: None, last: None }
    }

    /// Shows how far it is now.
    pub fn update(&mut self, now: Progress) {
        let first = *self.first.get_or_insert(now);
        let text = self.text(now, first);
        match &mut self.way {
            Way::Silent => {}
            Way::Bar(bar) => {
                bar.set_length(now.units);
                bar.set_position(now.ended);
                bar.set_message(text);
                bar.tick();
            }
            Way::Lines { next } => {
                if Instant::now() >= *next {
                    *next = Instant::now() + PLAIN_LINE_EVERY;
                    note(&format!("{}/{} segments  {text}", now.ended, now.units));
                }
            }
        }
        self.last = Some((Instant::now(), now));
    }

    /// Takes the line away.
    pub fn clear(&mut self) {
        if let Way::Bar(bar) = &self.way {
            bar.finish_and_clear();
        }
    }

    fn text(&self, now: Progress, first: Progress) -> String {
        let per_second = match self.last {
            Some((at, before)) => {
                let seconds = at.elapsed().as_secs_f64().max(0.001);
                #[expect(clippy::cast_precision_loss, reason = "a display")]
                let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
                let reads = (now.read_units - before.read_units).max(0.0) / seconds;
                let writes = (now.write_units - before.write_units).max(0.0) / seconds;
                (rate(now.scanned, before.scanned), reads, writes)
            }
            None => (0.0, 0.0, 0.0),
        };
        let (items, reads, writes) = per_second;
        format!(
            "{} items ({items:.0}/s)  {} discrepancies  {reads:.0} RCU/s  {writes:.0} WCU/s  ETA {}",
            grouped(now.scanned),
            grouped(now.discrepancies),
            self.eta(now, first)
        )
    }

    /// From the segments that ended while we looked; they are about equally large.
    fn eta(&self, now: Progress, first: Progress) -> String {
        let ended = now.ended.saturating_sub(first.ended);
        let left = now.units.saturating_sub(now.ended);
        if ended == 0 {
            return "--".to_owned();
        }
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let seconds = self.started.elapsed().as_secs_f64() * left as f64 / ended as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative, and far from the end of u64"
        )]
        let seconds = seconds.round() as u64;
        match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
            (0, 0, s) => format!("{s}s"),
            (0, m, s) => format!("{m}m{s:02}s"),
            (h, m, _) => format!("{h}h{m:02}m"),
        }
    }
}
