//! The status that several jobs feed at once, and one screen shows.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::course::{Early, OutOfTurn, StepKind};
use super::due::TABLE_EVERY;
use super::screen::Screen;
use super::tracked::{Sample, Size, Tracked};
use crate::progress::Show;

/// All entries as they are watched, and lines that the log does not have yet.
#[derive(Debug, Default)]
pub struct Board(Mutex<Content>);

#[derive(Debug, Default)]
struct Content {
    entries: Vec<Tracked>,
    lines: Vec<String>,
}

impl Board {
    /// A board of entries of these names and steps; they are known by their index.
    #[must_use]
    pub fn new<S: IntoIterator<Item = StepKind>>(entries: impl IntoIterator<Item = (String, S)>) -> Self {
        let now = Instant::now();
        let entries = entries.into_iter().map(|(name, steps)| Tracked::new(name, steps, now)).collect();
        Self(Mutex::new(Content { entries, lines: Vec::new() }))
    }

    /// Shows it while the work goes on, and leaves it as it was at the end.
    pub async fn shown<T>(&self, show: Show, work: impl Future<Output = T>) -> T {
        let mut screen = Screen::new(show);
        let mut work = std::pin::pin!(work);
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                () = tokio::time::sleep(TABLE_EVERY) => self.refresh(&mut screen),
            }
        };
        self.refresh(&mut screen);
        screen.close();
        done
    }

    /// Puts a line into the log.
    pub fn say(&self, line: String) {
        self.content().lines.push(line);
    }

    /// An entry begins a step.
    pub fn begin(&self, entry: usize, step: StepKind) {
        self.change(entry, |entry, now| entry.begin(step, now));
    }

    /// An entry has ended its last step.
    pub fn finish(&self, entry: usize) {
        self.change(entry, Tracked::finish);
    }

    /// An entry ends early.
    pub fn end(&self, entry: usize, why: Early) {
        self.change(entry, |entry, now| entry.end(why, now));
    }

    /// How a step stands.
    pub fn take(&self, entry: usize, step: StepKind, sample: Sample) {
        if let Some(entry) = self.content().entries.get_mut(entry) {
            entry.take(step, sample, Instant::now());
        }
    }

    /// How large an entry's table is.
    pub fn describe(&self, entry: usize, size: Size) {
        if let Some(entry) = self.content().entries.get_mut(entry) {
            entry.describe(size);
        }
    }

    fn change(&self, entry: usize, change: impl FnOnce(&mut Tracked, Instant) -> Result<Vec<String>, OutOfTurn>) {
        let mut content = self.content();
        let Content { entries, lines } = &mut *content;
        let Some(entry) = entries.get_mut(entry) else { return };
        match change(entry, Instant::now()) {
            Ok(said) => lines.extend(said),
            // The status is for looking at: work does not stop for it.
            Err(error) => tracing::warn!(%error, "the status is not what is done"),
        }
    }

    fn refresh(&self, screen: &mut Screen) {
        let mut content = self.content();
        screen.say(std::mem::take(&mut content.lines));
        screen.update(&content.entries);
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
