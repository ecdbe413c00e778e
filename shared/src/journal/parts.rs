//! Report lines and pending repairs as gzip-compressed JSON lines.

use std::io::{Read as _, Write as _};

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
}

pub(super) fn pack<T: Serialize>(lines: &[T]) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    for line in lines {
        serde_json::to_writer(&mut encoder, line)?;
        encoder.write_all(b"\n")?;
    }
    encoder.finish().map(Bytes::from)
}

pub(super) fn unpack<T: DeserializeOwned>(body: &[u8]) -> Result<Vec<T>, String> {
    let mut text = String::new();
    MultiGzDecoder::new(body).read_to_string(&mut text).map_err(|error| error.to_string())?;
    text.lines().map(|line| serde_json::from_str(line).map_err(|error| error.to_string())).collect()
}
