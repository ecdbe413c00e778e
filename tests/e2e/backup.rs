//! Backups and restores with the real programs: what is backed up comes back to the last digit, or not at all.
//!
//! `bN_…` are the cases B1 to B10 of the acceptance list.

mod created;
mod damage;
mod exports;
mod fleet;
mod foreign;
mod full;
mod items;
mod killed;
mod points_in_time;
mod refusals;
mod round_trips;
mod scene;
mod stream;
mod stumbling;
