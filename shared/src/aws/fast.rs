//! Answers of Scan and BatchGetItem reduced to digests straight from their bytes, without building the items.
//!
//! The SDK takes fifteen allocations for a small item; here an attribute is mostly hashed where it lies, which is
//! what the canonical text in [`crate::domain::digest`] is made for. Nothing is taken on trust: a body that is not
//! exactly what it should be is refused as [`Unreadable`], and the same answer is then read by the SDK, so that a
//! surprise costs time and never makes a result wrong. Two things are not looked for: an attribute that is in its item
//! twice, which no service sends, and whether what is ignored as a whole is more than JSON.
//!
//! - `cursor`, `escapes`, `base64`: JSON text, its strings where they lie.
//! - `items`: from DynamoDB JSON to digests and keys.
//! - `answer`: the fields around the items.
//! - `interceptor`: how the SDK is made to hand its bytes over.

mod answer;
mod base64;
mod cursor;
mod escapes;
mod interceptor;
mod items;
#[cfg(test)]
mod tests;

pub(super) use self::interceptor::{got, scanned};

use crate::domain::digest::Digester;
use crate::domain::entries::Entries;
use crate::domain::value::Item;
use crate::ports::table::EntryPage;

/// A body that is not what this reader expects; it says what was met and where, and holds no values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct Unreadable {
    what: &'static str,
    at: usize,
}

/// The answer of a BatchGetItem.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GotPage {
    /// The items that are there.
    pub entries: Entries,
    /// Key attributes that were not looked at this time.
    pub unprocessed: Vec<Item>,
    /// Read units it cost.
    pub read_units: f64,
}

/// Reads the body of a Scan's answer.
///
/// # Errors
/// When there is anything in it that is not understood.
pub fn page_from_bytes(body: &[u8], digester: &Digester) -> Result<EntryPage, Unreadable> {
    answer::page(body, digester)
}

/// Reads the body of a BatchGetItem's answer; items of all tables in it are taken together.
///
/// # Errors
/// When there is anything in it that is not understood.
pub fn got_from_bytes(body: &[u8], digester: &Digester) -> Result<GotPage, Unreadable> {
    answer::got(body, digester)
}
