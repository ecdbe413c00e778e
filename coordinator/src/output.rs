//! The only writer of standard output, and of the last words on standard error.

use std::io::{self, BufWriter, StdoutLock, Write};

use serde::Serialize;

use crate::failure::Failure;

/// Writes to standard output; a reader that went away is no error.
pub struct Output {
    out: BufWriter<StdoutLock<'static>>,
}

impl Output {
    /// Takes standard output.
    #[must_use]
    pub fn new() -> Self {
        Self { out: BufWriter::new(io::stdout().lock()) }
    }

    /// Writes one line.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        forgive_closed_pipe(writeln!(self.out, "{text}"))
    }

    /// Writes one JSON document.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn json<T: Serialize>(&mut self, value: &T) -> io::Result<()> {
        let text = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
        self.line(&text)
    }

    /// What writes more than lines, such as CSV.
    pub fn writer(&mut self) -> &mut impl Write {
        &mut self.out
    }

    /// Makes sure that all of it arrived.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> io::Result<()> {
        forgive_closed_pipe(self.out.flush())
    }
}

impl Default for Output {
    fn default() -> Self {
        Self::new()
    }
}

/// As `head` does it: who reads no further got what they wanted.
pub fn forgive_closed_pipe(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Says on standard error what went wrong and what to do.
pub fn say_failure(failure: &Failure) {
    note(&format!("error: {}\n\nhint: {}", failure.message, failure.hint));
}

/// Says something on standard error that belongs to no result.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
