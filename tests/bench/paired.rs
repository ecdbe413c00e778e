//! The paired scan against what it could cost at least, and against other ways to compare tables.
//!
//! - [`units`]: read units, against bare scans and against lookups.
//! - [`cpu`]: CPU time, against a client that throws pages away, the SDK's types, and Python.
//! - [`memory`]: the peak of one segment, however the tables differ.
//! - [`workers`]: how much more is done by more of them.

pub(crate) mod cpu;
pub(crate) mod memory;
pub(crate) mod units;
pub(crate) mod workers;

use tests::process::{Finished, Programs};

use crate::replay::Replay;
use crate::usage::{Usage, watch};

fn programs(replay: &Replay) -> Programs {
    crate::programs().with_dynamodb(&replay.endpoint())
}

/// `dynamend sync` of the table `master` to its end, whether the tables agree or not.
fn sync(programs: &Programs, slaves: &[&str], more: &[&str]) -> (Finished, Usage) {
    let slaves: Vec<String> = slaves.iter().map(|slave| format!("us-east-1:{slave}")).collect();
    let mut arguments = vec!["sync", "-q", "-m", "us-east-1:master"];
    slaves.iter().for_each(|slave| arguments.extend(["-s", slave]));
    arguments.extend(more);
    let (finished, usage) = watch(programs.spawn_dynamend(&arguments));
    assert!(matches!(finished.code, Some(0 | 1)), "{}", finished.stderr);
    (finished, usage)
}
