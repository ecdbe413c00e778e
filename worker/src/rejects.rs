//! Lines for the list of what could not be applied.

use shared::domain::rejected::Rejected;
use shared::domain::unit::Unit;

use crate::apply::Refused;
use crate::context::JobContext;

/// The line of a write that was refused.
pub(crate) fn rejected(job: &JobContext, unit: Unit, shard: Option<&str>, refused: Refused) -> Rejected {
    let Refused { sequence, slave, key, error } = refused;
    Rejected {
        pass: unit.pass,
        segment: unit.segment,
        shard: shard.map(str::to_owned),
        sequence,
        slave: slave.map(|slave| job.labels[slave + 1].clone()),
        key: key.map(|key| key.to_json()),
        error,
        at: format!("{:.3}", jiff::Timestamp::now()),
    }
}
