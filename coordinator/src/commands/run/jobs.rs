//! From an entry of a plan to the jobs that carry it out, one after the other.

use std::collections::BTreeMap;

use jiff::Timestamp;
use shared::domain::encryption::Encryption;
use shared::domain::job::{BackfillSettings, Ends, Existing as OnSlaves, Manifest, SyncSettings};
use shared::domain::segment::SegmentSet;
use shared::domain::shards::Shards;
use worker::environment::Environment;
use worker::plan::{CannotPlan, GlobalTables, LimitsAsked, Segments, SyncRequest, plan, plan_backfill};
use worker::plan_replicate::{From, ReplicateRequest, plan_replicate};

use crate::live::course::StepKind;
use crate::plan_file::{Backfill, Entry, Existing, Step, Stream, StreamEnd, StreamFrom};

/// What all jobs of a run have in common.
pub(super) struct Common {
    /// The run's id, with which the jobs' ids begin.
    pub(super) run: String,
    /// Segments of each entry that are worked on at once.
    pub(super) parallel: u32,
    /// Whether slaves are written to that replicate back to the master.
    pub(super) global_tables: GlobalTables,
    /// How the objects of the jobs are encrypted.
    pub(super) encryption: Option<Encryption>,
}

/// A job, before its tables were looked at.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// The step of the entry with which it begins.
    pub(super) step: StepKind,
    /// What is asked for.
    pub(super) asked: Asked,
}

/// What is asked of a job.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Backfill(SyncRequest, BackfillSettings),
    Replicate(Box<ReplicateRequest>),
    Sync(SyncRequest),
}

impl Asked {
    /// What is asked for of the tables.
    pub(super) fn tables(&mut self) -> &mut SyncRequest {
        match self {
            Self::Backfill(tables, _) | Self::Sync(tables) => tables,
            Self::Replicate(request) => &mut request.tables,
        }
    }

    /// Looks at the tables, and writes nothing.
    pub(super) async fn plan(self, environment: &Environment) -> Result<(Manifest, Option<Shards>), CannotPlan> {
        match self {
            Self::Backfill(request, backfill) => Ok((plan_backfill(request, backfill, environment).await?, None)),
            Self::Sync(request) => Ok((plan(request, environment).await?, None)),
            Self::Replicate(request) => {
                let (manifest, shards) = plan_replicate(*request, environment).await?;
                Ok((manifest, Some(shards)))
            }
        }
    }
}

/// The jobs of an entry. A backfill and the stream after it are one, so that no change is lost between them.
pub(super) fn jobs_of(entry: &Entry, number: usize, common: &Common) -> Vec<Job> {
    let ask = |suffix: &str, settings: SyncSettings| SyncRequest {
        job: format!("{}-{number}{suffix}", common.run),
        master: entry.input.clone(),
        slaves: entry.outputs.clone(),
        segments: Segments::Auto { at_once: common.parallel },
        only_segments: None,
        sample: None,
        starting_keys: BTreeMap::new(),
        global_tables: common.global_tables,
        encryption: common.encryption.clone(),
        limits: LimitsAsked { read: entry.read_capacity, write: entry.write_capacity, max_cost: None },
        settings,
    };
    let mut jobs = Vec::new();
    let mut steps = entry.steps.iter().peekable();
    while let Some(step) = steps.next() {
        let asked = match step {
            Step::Backfill(backfill) => {
                let copied = |settings| of_segments(ask("", settings), backfill);
                if let Some(Step::Stream(stream)) = steps.next_if(|next| next.kind() == StepKind::Stream) {
                    let tables = copied(following(stream));
                    Asked::Replicate(Box::new(follow(stream, Some(on_slaves(backfill.existing)), tables)))
                } else {
                    Asked::Backfill(copied(SyncSettings::default()), on_slaves(backfill.existing))
                }
            }
            Step::Stream(stream) => Asked::Replicate(Box::new(follow(stream, None, ask("", following(stream))))),
            Step::Sync(_) => Asked::Sync(ask("-sync", step.comparison().unwrap_or_default())),
            Step::Verify { .. } => Asked::Sync(ask("-verify", step.comparison().unwrap_or_default())),
        };
        jobs.push(Job { step: step.kind(), asked });
    }
    jobs
}

fn of_segments(request: SyncRequest, backfill: &Backfill) -> SyncRequest {
    let only_segments: Option<SegmentSet> = backfill.only_segments.clone();
    let segments = backfill.total_segments.map_or(request.segments, Segments::Fixed);
    SyncRequest { segments, only_segments, ..request }
}

fn on_slaves(existing: Existing) -> BackfillSettings {
    BackfillSettings {
        existing: match existing {
            Existing::Overwrite => OnSlaves::Overwrite,
            Existing::Leave => OnSlaves::Keep,
        },
    }
}

fn following(stream: &Stream) -> SyncSettings {
    SyncSettings { version_attribute: stream.version_attribute.clone(), ..SyncSettings::default() }
}

fn follow(stream: &Stream, backfill: Option<BackfillSettings>, tables: SyncRequest) -> ReplicateRequest {
    let from = match (stream.from, backfill) {
        (StreamFrom::TrimHorizon, _) | (StreamFrom::Backfill, None) => From::TrimHorizon,
        // With a backfill, this is where the backfill began.
        (StreamFrom::Latest, _) | (StreamFrom::Backfill, Some(_)) => From::Latest,
        // What is made during the backfill is never left out.
        (StreamFrom::Time(time), Some(_)) if time > Timestamp::now() => From::Latest,
        (StreamFrom::Time(time), _) => From::Time(time.as_millisecond()),
    };
    let ends = match stream.end {
        StreamEnd::Never => Ends::WithTheStream,
        StreamEnd::CaughtUp { within } => Ends::CaughtUp(u64::try_from(within.as_millis()).unwrap_or(u64::MAX)),
    };
    let kinesis = stream.kinesis.clone();
    ReplicateRequest { tables, backfill, from, kinesis, ends, origin_attribute: None, backup: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan_file::{Defaults, PlanFile};

    /// The jobs of the second entry of a plan, the fields of which these are.
    fn jobs(fields: &str) -> Vec<Job> {
        let text = format!(
            "plan: [{{input: {{table: 'us-east-1:one'}}, output: {{table: two}}, read_capacity: 7, {fields}}}]"
        );
        let plan = PlanFile::parse(text.as_bytes(), &Defaults::default()).unwrap();
        let common =
            Common { run: "run".to_owned(), parallel: 3, global_tables: GlobalTables::Refuse, encryption: None };
        jobs_of(&plan.entries[0], 2, &common)
    }

    fn replication(fields: &str) -> ReplicateRequest {
        match jobs(fields).remove(0).asked {
            Asked::Replicate(request) => *request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_backfill_and_the_stream_after_it_are_one_job() {
        let mut jobs = jobs("backfill: {}, stream: {until_caught_up: 9}, sync: {repair: true}, verify: true");

        let ids: Vec<String> = jobs.iter_mut().map(|job| job.asked.tables().job.clone()).collect();
        assert_eq!(ids, ["run-2", "run-2-sync", "run-2-verify"]);
        let steps: Vec<StepKind> = jobs.iter().map(|job| job.step).collect();
        assert_eq!(steps, [StepKind::Backfill, StepKind::Sync, StepKind::Verify]);
        for job in &mut jobs {
            let tables = job.asked.tables();
            assert_eq!(tables.segments, Segments::Auto { at_once: 3 });
            assert!(tables.limits.read.is_some() && tables.limits.write.is_none());
        }
        let Asked::Replicate(request) = &jobs[0].asked else { panic!("{jobs:?}") };
        assert_eq!((request.backfill.is_some(), request.ends), (true, Ends::CaughtUp(9000)));
    }

    #[test]
    fn a_step_by_itself_is_a_job_of_its_kind() {
        let copy = jobs("backfill: {total_segments: 8, segments: 2-3, only_missing: true}, stream: {disabled: true}");
        let [Job { asked: Asked::Backfill(tables, settings), step: StepKind::Backfill }] = copy.as_slice() else {
            panic!("{copy:?}")
        };
        assert_eq!((tables.segments, settings.existing), (Segments::Fixed(8), OnSlaves::Keep));
        assert_eq!(tables.only_segments.as_ref().map(ToString::to_string).as_deref(), Some("2-3"));

        let followed = replication("backfill: {disabled: true}, stream: {version_attribute: v}");
        assert_eq!((followed.backfill, followed.ends), (None, Ends::WithTheStream));
        assert_eq!(followed.tables.settings.version_attribute.as_deref(), Some("v"));
    }

    #[test]
    fn following_begins_where_the_plan_says_and_never_after_the_backfill() {
        let past = From::Time(1_700_000_000_000);
        for (from, alone, after_a_backfill) in [
            ("", From::TrimHorizon, From::Latest),
            ("from: trim-horizon", From::TrimHorizon, From::TrimHorizon),
            ("from: latest", From::Latest, From::Latest),
            ("from: 2023-11-14T22:13:20Z", past.clone(), past),
            ("from: 2100-01-01T00:00:00Z", From::Time(4_102_444_800_000), From::Latest),
        ] {
            let request = replication(&format!("backfill: {{disabled: true}}, stream: {{{from}}}"));
            assert_eq!((request.from, request.backfill), (alone, None), "{from}");
            let request = replication(&format!("stream: {{{from}}}"));
            assert_eq!((request.from, request.backfill.is_some()), (after_a_backfill, true), "{from}");
        }
    }
}
