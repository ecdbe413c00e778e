//! A job's folder in the object store, and the ordering rules that make a crash harmless.
//!
//! - The manifest is created before any message is sent, and never changed.
//! - A unit's checkpoint is the commit: report parts and counts exist once a committed checkpoint names them.
//! - A checkpoint is replaced only by the worker that wrote the version there is. Who is told `Lost` stops.
//! - Repairs are committed as pending before the first of them is made.
//!
//! `folder` holds what concerns the whole job, `owned` what a worker does to its unit, `parts` the report lines,
//! `files` which files of items it reads,
//! `objects` how its objects are encrypted, `location` how stores and manifests are addressed, `allowed` which of them
//! a worker lets messages lead it to, `presence` how workers learn of each other, `shards` which shards it
//! follows, `undo` what repairs overwrite or
//! delete.

mod allowed;
mod failure;
mod files;
mod folder;
mod location;
mod objects;
mod owned;
mod parts;
mod presence;
mod shards;
mod undo;

pub use allowed::{AllowedStores, NotAllowed};
pub use failure::JournalError;
pub use folder::{Journal, Survey, jobs_in};
pub use location::{BadLocation, StoreUrl, manifest_location};
pub use owned::{Acquired, GivenUp, OwnedUnit, Step};
pub use parts::{Begun, Intent, Packed, unpack};
pub use presence::Presence;
pub use undo::OldImages;

#[cfg(test)]
mod tests;
