//! Where the status is seen: a table on a terminal, plain lines now and then elsewhere; and lines for the log in both.

use std::io::IsTerminal as _;
use std::time::Instant;

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;

use super::due::{Every, LINES_EVERY, LOG_EVERY};
use super::table::{Room, plain_lines, table};
use super::tracked::{Row, Tracked};
use crate::output::note;
use crate::progress::Show;

/// Standard error, as the status of a plan uses it.
pub struct Screen {
    way: Way,
    log: Every,
}

enum Way {
    Silent,
    Table { bar: ProgressBar, terminal: Term },
    Lines(Every),
}

impl Screen {
    /// One that fits standard error.
    #[must_use]
    pub fn new(show: Show) -> Self {
        let now = Instant::now();
        let way = match show {
            Show::No => Way::Silent,
            Show::Yes if std::io::stderr().is_terminal() => {
                let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
                bar.set_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar()));
                Way::Table { bar, terminal: Term::stderr() }
            }
            Show::Yes => Way::Lines(Every::new(LINES_EVERY, now)),
        };
        Self { way, log: Every::new(LOG_EVERY, now) }
    }

    /// Shows how the entries stand now; to be called every [`TABLE_EVERY`](super::due::TABLE_EVERY).
    pub fn update(&mut self, entries: &[Tracked]) {
        let now = Instant::now();
        if self.log.is_due(now) {
            self.say(entries.iter().map(|entry| entry.progress(now)));
        }
        if entries.is_empty() {
            return;
        }
        let rows = || -> Vec<Row> { entries.iter().map(|entry| entry.row(now)).collect() };
        match &mut self.way {
            Way::Silent => {}
            Way::Table { bar, terminal } => {
                let (height, width) = terminal.size();
                let room = Room { width: width.into(), height: height.into() };
                bar.set_message(table(&rows(), Some(room)).join("\n"));
                bar.tick();
            }
            Way::Lines(every) => {
                if every.is_due(now) {
                    self.say(plain_lines(&rows()));
                }
            }
        }
    }

    /// Writes lines of the log, each with the time; the table stays whole.
    pub fn say(&self, lines: impl IntoIterator<Item = String>) {
        let now = Timestamp::now();
        let write = || lines.into_iter().for_each(|line| note(&format!("{now:.0} {line}")));
        match &self.way {
            Way::Silent => {}
            Way::Table { bar, .. } => bar.suspend(write),
            Way::Lines(_) => write(),
        }
    }

    /// Leaves the table as it was last, and goes on below it.
    pub fn close(&mut self) {
        if let Way::Table { bar, .. } = &self.way {
            bar.abandon();
        }
    }
}
