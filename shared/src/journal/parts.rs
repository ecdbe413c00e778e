//! Report lines and pending repairs as gzip-compressed JSON lines.

use std::io::{Read as _, Write as _};
use std::marker::PhantomData;

use bytes::Bytes;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::domain::discrepancy::Discrepancy;

/// A repair that was decided and counted, and may or may not have been made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// Which slave.
    pub slave: usize,
    /// The line that will be in the report, its outcome still open.
    pub line: Discrepancy,
    /// Whether it may have been made.
    #[serde(default)]
    pub begun: Begun,
}

/// Whether a pending repair may have been made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Begun {
    /// It may.
    #[default]
    Maybe,
    /// It was not begun before the worker that decided on it gave the unit back.
    No,
}

/// Lines that are packed as they come, so that a great many of them take little memory.
pub struct Packed<T> {
    /// Made with the first line: it takes some hundred kilobytes.
    encoder: Option<GzEncoder<Vec<u8>>>,
    count: usize,
    failed: Option<std::io::Error>,
    lines: PhantomData<fn(&T)>,
}

impl<T: Serialize> Packed<T> {
    /// Adds a line. Should that fail, the commit says so.
    pub fn push(&mut self, line: &T) {
        let encoder = self.encoder.get_or_insert_with(|| GzEncoder::new(Vec::new(), Compression::default()));
        let written = serde_json::to_writer(&mut *encoder, line).map_err(std::io::Error::from);
        if let Err(error) = written.and_then(|()| encoder.write_all(b"\n")) {
            self.failed.get_or_insert(error);
        }
        self.count += 1;
    }

    /// How many lines there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The lines, packed.
    ///
    /// # Errors
    /// When one of them could not be written.
    pub fn finish(self) -> std::io::Result<Bytes> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        // A list without lines is a whole file, too: nothing at all would be one that was cut off.
        let encoder = self.encoder.unwrap_or_else(|| GzEncoder::new(Vec::new(), Compression::default()));
        encoder.finish().map(Bytes::from)
    }
}

impl<T> Default for Packed<T> {
    fn default() -> Self {
        Self { encoder: None, count: 0, failed: None, lines: PhantomData }
    }
}

impl<T: Serialize> FromIterator<T> for Packed<T> {
    fn from_iter<I: IntoIterator<Item = T>>(lines: I) -> Self {
        let mut packed = Self::default();
        lines.into_iter().for_each(|line| packed.push(&line));
        packed
    }
}

/// Reads lines that [`Packed`] packed.
///
/// # Errors
/// What is wrong with them.
pub fn unpack<T: DeserializeOwned>(body: &[u8]) -> Result<Vec<T>, String> {
    let mut text = String::new();
    MultiGzDecoder::new(body).read_to_string(&mut text).map_err(|error| error.to_string())?;
    text.lines().map(|line| serde_json::from_str(line).map_err(|error| error.to_string())).collect()
}
