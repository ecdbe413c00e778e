//! What must hold of a manifest beyond its form, so that no number in it can lead whoever reads it astray.

use super::job::{Confirm, JobKind, MAX_KEYS_PER_GET, Manifest};
use super::job_id::{BadJobId, check_job_id};
use super::limits::BadLimits;
use super::segment::{MAX_SEGMENTS, SegmentSet};
use super::unit::MAX_SLAVES;

/// Most items per Scan page that can be asked for; a page ends at 1 MB in any case.
const MAX_SCAN_LIMIT: u32 = 1_000_000;

/// Most times that one request is tried again.
const MAX_RETRIES: u32 = 1000;

/// Longest base of the delay between tries.
const MAX_RETRY_DELAY_BASE_MS: u64 = 60_000;

/// Longest time before the second look: a day.
const MAX_CONFIRM_DELAY_MS: u64 = 86_400_000;

/// Longest time that a slave may lag behind: a day.
const MAX_MAX_LAG_MS: u64 = 86_400_000;

/// A manifest that no job can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadManifest {
    /// Its id cannot be the name of a folder.
    #[error("`{0}` is no id of a job: {BadJobId}")]
    JobId(String),
    /// A number is beyond its bounds.
    #[error("`{name}` is {value}, and has to be {bounds}")]
    OutOfBounds {
        /// Which.
        name: &'static str,
        /// What it is.
        value: u64,
        /// What it could be.
        bounds: String,
    },
    /// It has the settings of another kind of job.
    #[error("it has the settings of another kind of job")]
    OtherKind,
    /// It is to make a full backup of a part of a table.
    #[error("a full backup has all of its table; --only-segments and --starting-key leave some of it out")]
    PartOfTable,
    /// What is written would be marked in the key, and so be another item.
    #[error("`{0}` is an attribute of the key, and cannot tell whose write it was")]
    MarkedKey(String),
    /// Its limits are beyond theirs.
    #[error(transparent)]
    Limits(#[from] BadLimits),
}

impl Manifest {
    /// Refuses what no job can have. Whoever makes or reads a manifest asks this first.
    ///
    /// # Errors
    /// `BadManifest`.
    pub fn check(&self) -> Result<(), BadManifest> {
        check_job_id(&self.job).map_err(|BadJobId| BadManifest::JobId(self.job.clone()))?;
        let last_segment = u64::from(self.total_segments).saturating_sub(1);
        let slaves = self.slaves.len() as u64;
        let highest = self.only_segments.as_ref().map_or(0, SegmentSet::highest);
        let last_start = self.starting_keys.keys().max().copied().unwrap_or(0);
        let settings = &self.sync;
        // A backup is a slave of its own kind.
        let is_backed_up = self.replicate.as_ref().is_some_and(|replicate| replicate.backup.is_some());
        let (least_slaves, most_slaves) = match self.kind {
            JobKind::Sync | JobKind::Backfill => (1, MAX_SLAVES as u64),
            JobKind::Replicate => (u64::from(!is_backed_up), MAX_SLAVES as u64),
            JobKind::Backup | JobKind::Incremental | JobKind::Snapshot => (0, 0),
            JobKind::Restore | JobKind::Verify => (1, 1),
        };
        let has = (self.backfill.is_some(), self.replicate.is_some(), self.backup.is_some(), self.source.is_some());
        let fits = match self.kind {
            JobKind::Sync => has == (false, false, false, false),
            JobKind::Backfill => has == (true, false, false, false),
            JobKind::Replicate => matches!(has, (_, true, false, false)),
            JobKind::Backup | JobKind::Incremental => has == (false, false, true, false),
            JobKind::Snapshot => has == (false, false, true, true),
            JobKind::Restore => has == (true, false, false, true),
            JobKind::Verify => has == (false, false, false, true),
        };
        if !fits {
            return Err(BadManifest::OtherKind);
        }
        if self.kind.is_finished_last() && (self.only_segments.is_some() || !self.starting_keys.is_empty()) {
            return Err(BadManifest::PartOfTable);
        }
        let confirm_delay = match settings.confirm {
            Confirm::AfterMillis(delay) => delay,
            Confirm::Never => 0,
        };
        for (name, value, least, most) in [
            ("slaves", slaves, least_slaves, most_slaves),
            ("total_segments", self.total_segments.into(), 1, MAX_SEGMENTS.into()),
            ("only_segments", highest.into(), 0, last_segment),
            ("starting_keys", last_start.into(), 0, last_segment),
            ("strategies", self.strategies.len() as u64, 0, slaves),
            ("scan_limit", settings.scan_limit.unwrap_or(1).into(), 1, MAX_SCAN_LIMIT.into()),
            ("batch_read_limit", settings.batch_read_limit.into(), 1, MAX_KEYS_PER_GET.into()),
            ("max_retries", settings.max_retries.into(), 0, MAX_RETRIES.into()),
            ("retry_delay_base_ms", settings.retry_delay_base_ms, 0, MAX_RETRY_DELAY_BASE_MS),
            ("confirm", confirm_delay, 0, MAX_CONFIRM_DELAY_MS),
            ("max_lag_ms", settings.max_lag_ms.unwrap_or(0), 0, MAX_MAX_LAG_MS),
        ] {
            if !(least..=most).contains(&value) {
                return Err(BadManifest::OutOfBounds { name, value, bounds: format!("{least} to {most}") });
            }
        }
        let mark = self.replicate.as_ref().and_then(|replicate| replicate.origin_attribute.as_ref());
        if let Some(name) = mark.filter(|name| self.key_schema.names().any(|of_key| of_key == name.as_str())) {
            return Err(BadManifest::MarkedKey(name.clone()));
        }
        self.limits.check()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    fn prices() -> Json {
        serde_json::to_value(crate::domain::cost::Prices::US_EAST_ON_DEMAND).unwrap()
    }

    fn manifest(changes: &[(&str, Json)]) -> Manifest {
        let side = |name: &str| json!({ "table": name });
        let mut manifest = json!({
            "version": 1, "job": "J", "kind": "sync", "created_at": "2026-11-20T23:15:00.000Z",
            "master": side("us-east-1:orders"), "slaves": [side("us-east-1:copy")],
            "key_schema": { "partition": { "name": "id", "type": "S" }, "sort": null },
            "total_segments": 8, "only_segments": "0-7", "starting_keys": { "7": { "id": { "S": "a" } } },
            "strategies": ["paired"], "limits": {},
            "sync": serde_json::to_value(super::super::job::SyncSettings::default()).unwrap(),
        });
        for (pointer, value) in changes {
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            let parent = manifest.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer}"));
            parent[name] = value.clone();
        }
        serde_json::from_value(manifest).unwrap()
    }

    #[test]
    fn what_a_plan_makes_passes() {
        assert_eq!(manifest(&[]).check(), Ok(()));
        let most = manifest(&[
            ("/total_segments", MAX_SEGMENTS.into()),
            ("/sync/max_retries", MAX_RETRIES.into()),
            ("/sync/scan_limit", MAX_SCAN_LIMIT.into()),
            ("/sync/max_lag_ms", MAX_MAX_LAG_MS.into()),
            ("/limits", json!({ "tables": [{ "read": 0.01, "write": 1e7 }] })),
            ("/limits/budget", json!({ "max_cost": 0.000_001, "prices": prices() })),
        ]);
        assert_eq!(most.check(), Ok(()));
    }

    #[test]
    fn numbers_that_would_keep_a_worker_busy_for_ever_and_names_that_lead_away_are_refused() {
        for (pointer, value, word) in [
            ("/job", json!("../x"), "no id of a job"),
            ("/job", json!(""), "no id of a job"),
            ("/kind", json!("backfill"), "another kind"),
            ("/kind", json!("replicate"), "another kind"),
            ("/backfill", json!({ "existing": "keep" }), "another kind"),
            ("/slaves", json!([]), "`slaves`"),
            ("/slaves", json!(vec![json!({ "table": "us-east-1:copy" }); MAX_SLAVES + 1]), "`slaves`"),
            ("/total_segments", json!(0), "`total_segments`"),
            ("/total_segments", json!(u32::MAX), "`total_segments`"),
            ("/only_segments", json!("0-8"), "`only_segments`"),
            ("/starting_keys", json!({ "8": {} }), "`starting_keys`"),
            ("/strategies", json!(["paired", "lookup"]), "`strategies`"),
            ("/sync/scan_limit", json!(0), "`scan_limit`"),
            ("/sync/scan_limit", json!(u32::MAX), "`scan_limit`"),
            ("/sync/batch_read_limit", json!(0), "`batch_read_limit`"),
            ("/sync/batch_read_limit", json!(101), "`batch_read_limit`"),
            ("/sync/max_retries", json!(u32::MAX), "`max_retries`"),
            ("/sync/retry_delay_base_ms", json!(u64::MAX), "`retry_delay_base_ms`"),
            ("/sync/confirm", json!({ "after_millis": u64::MAX }), "`confirm`"),
            ("/sync/max_lag_ms", json!(u64::MAX), "`max_lag_ms`"),
            ("/limits", json!({ "tables": [{}, { "read": 0.0 }] }), "`read`"),
            ("/limits", json!({ "tables": [{ "write": -5.0 }] }), "`write`"),
            ("/limits", json!({ "tables": [{ "write": 1e300 }] }), "`write`"),
            ("/limits", json!({ "budget": { "max_cost": 0.0, "prices": prices() } }), "`max_cost`"),
            ("/limits", json!({ "budget": { "max_cost": -1.0, "prices": prices() } }), "`max_cost`"),
        ] {
            let refused = manifest(&[(pointer, value)]).check().unwrap_err().to_string();
            assert!(refused.contains(word), "{pointer}: {refused}");
        }
    }

    #[test]
    fn the_key_is_never_marked() {
        let source = json!({ "kind": "dynamo_db", "arn": "arn:aws:dynamodb:us-east-1:1:table/t/stream/s" });
        let marked = |name: &str| {
            let replicate = json!({ "source": source, "origin_attribute": name });
            manifest(&[("/kind", json!("replicate")), ("/replicate", replicate)]).check()
        };

        assert_eq!(marked("id"), Err(BadManifest::MarkedKey("id".to_owned())));
        assert_eq!(marked("from"), Ok(()));
    }
}
