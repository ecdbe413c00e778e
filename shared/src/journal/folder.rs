//! What concerns the whole job: its manifest, what the user wishes of it, its checkpoints, report and summary.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt as _, TryStreamExt as _};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::failure::JournalError;
use super::objects::JobObjects;
use super::parts::unpack;
use crate::domain::checkpoint::{CHECKPOINT_VERSION, Checkpoint, State};
use crate::domain::control::{CONTROL_VERSION, Control, Wish};
use crate::domain::discrepancy::Discrepancy;
use crate::domain::job::{MANIFEST_VERSION, Manifest};
use crate::domain::rejected::Rejected;
use crate::domain::shards::Shards;
use crate::domain::summary::{Fold, JobState, LeaseView, Summary, UnitView};
use crate::domain::unit::Unit;
use crate::ports::failure::{Failure, FailureKind};
use crate::ports::objects::{Object, ObjectStore, PutMode, Version};
use crate::retry::{self, RetryPolicy};

/// Checkpoints read at once when a job is looked at as a whole.
const READS_AT_ONCE: usize = 32;

/// How patiently the store is asked again; a lease is longer than all tries together.
///
/// A job is as many objects as it has units, and one read that fails must not make a worker give up on all of them.
pub(super) const STORE_RETRY: RetryPolicy = RetryPolicy { max_retries: 4, base: Duration::from_millis(100) };

/// Store clocks have a resolution of one second, so a lease is over only a second after its end.
const CLOCK_RESOLUTION: SignedDuration = SignedDuration::from_secs(1);

/// One job's folder.
#[derive(Clone)]
pub struct Journal {
    pub(super) store: JobObjects,
    pub(super) job: String,
}

/// A job as a whole.
pub struct Survey {
    /// Where it stands.
    pub summary: Summary,
    /// The first of its units, in the order in which they are handed out, that has not ended.
    pub unfinished: Option<Unit>,
}

/// A checkpoint as it is in the store.
pub(super) struct Stored {
    pub(super) checkpoint: Checkpoint,
    pub(super) version: Version,
    /// Zero or less when the unit is not running, or its worker's lease is over.
    pub(super) lease_left: SignedDuration,
}

/// The ids of all jobs in a store, sorted; ids made by dynamend sort by time.
///
/// # Errors
/// When the store fails.
pub async fn jobs_in(store: &dyn ObjectStore) -> Result<Vec<String>, JournalError> {
    Ok(store.folders("jobs/").await?)
}

impl Journal {
    /// The folder of a job, which need not be there yet.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, job: &str) -> Self {
        Self { store: JobObjects::new(store, format!("jobs/{job}/manifest.json")), job: job.to_owned() }
    }

    /// The URL of the manifest, as messages carry it.
    #[must_use]
    pub fn manifest_url(&self) -> String {
        self.store.url(&self.key("manifest.json"))
    }

    /// Creates the job. Must have returned before its first message is sent.
    ///
    /// # Errors
    /// `JobExists` when the id is taken; nothing is changed then.
    pub async fn create(&self, manifest: &Manifest) -> Result<(), JournalError> {
        let body = self.to_json("manifest.json", manifest)?;
        self.store.learn(manifest.encryption.as_ref());
        match self.store.put(&self.key("manifest.json"), body, PutMode::Create).await {
            Ok(_) => Ok(()),
            // A repeated request may meet what its first try created.
            Err(failure) if failure.kind == FailureKind::Conflict => match self.manifest().await {
                Ok(existing) if existing == *manifest => Ok(()),
                _ => Err(JournalError::JobExists { job: self.job.clone(), url: self.manifest_url() }),
            },
            Err(failure) => Err(failure.into()),
        }
    }

    /// Creates the job together with an object that has to be there whenever the manifest is, and so comes first.
    ///
    /// # Errors
    /// As for [`Journal::create`].
    pub(super) async fn create_after(&self, name: &str, body: Bytes, manifest: &Manifest) -> Result<(), JournalError> {
        self.store.learn(manifest.encryption.as_ref());
        let key = self.key(name);
        match self.store.put(&key, body.clone(), PutMode::Create).await {
            Err(failure) if failure.kind == FailureKind::Conflict => {
                if self.get(&self.key("manifest.json")).await?.is_some() {
                    return Err(JournalError::JobExists { job: self.job.clone(), url: self.manifest_url() });
                }
                // Whoever wanted to create the job before died over it.
                self.store.put(&key, body, PutMode::Overwrite).await?;
            }
            answer => drop(answer?),
        }
        self.create(manifest).await
    }

    /// Reads the manifest.
    ///
    /// # Errors
    /// `NoSuchJob`, `Damaged`, or the store's.
    pub async fn manifest(&self) -> Result<Manifest, JournalError> {
        let key = self.key("manifest.json");
        let no_such_job = || JournalError::NoSuchJob { job: self.job.clone(), url: self.store.url(&key) };
        let object = self.get(&key).await?.ok_or_else(no_such_job)?;
        let manifest: Manifest = self.versioned(&key, &object, MANIFEST_VERSION)?;
        manifest.check().map_err(|bad| JournalError::Damaged { url: self.store.url(&key), what: bad.to_string() })?;
        self.store.learn(manifest.encryption.as_ref());
        Ok(manifest)
    }

    /// What the user last asked of the job.
    ///
    /// # Errors
    /// `Damaged`, or the store's.
    pub async fn control(&self) -> Result<Control, JournalError> {
        Ok(self.stored_control().await?.0)
    }

    /// Asks something else of the job.
    ///
    /// # Errors
    /// `Damaged`, or the store's.
    pub async fn set_wish(&self, wish: Wish) -> Result<(), JournalError> {
        self.change_control(|control| control.wish = wish).await
    }

    /// Changes what is asked of the job. What others change at the same time is not lost, and so `change` may be called
    /// again, with what they made of it.
    ///
    /// # Errors
    /// `Damaged`, or the store's.
    pub async fn change_control(&self, change: impl Fn(&mut Control)) -> Result<(), JournalError> {
        let key = self.key("control.json");
        loop {
            let (before, version) = self.stored_control().await?;
            let mut control = before.clone();
            change(&mut control);
            if control == before && version.is_some() {
                return Ok(());
            }
            let mode = version.map_or(PutMode::Create, PutMode::ReplaceIf);
            let body = self.to_json("control.json", &control)?;
            match retry::call(STORE_RETRY, || self.store.put(&key, body.clone(), mode.clone())).await {
                Err(failure) if failure.kind == FailureKind::Conflict => {}
                Err(failure) => return Err(failure.into()),
                Ok(_) => return Ok(()),
            }
        }
    }

    async fn stored_control(&self) -> Result<(Control, Option<Version>), JournalError> {
        let key = self.key("control.json");
        match self.get(&key).await? {
            None => Ok((Control::default(), None)),
            Some(object) => {
                let control: Control = self.versioned(&key, &object, CONTROL_VERSION)?;
                let bad = control.limits.iter().find_map(|limits| limits.check().err());
                match bad {
                    Some(bad) => Err(JournalError::Damaged { url: self.store.url(&key), what: bad.to_string() }),
                    None => Ok((control, Some(object.version))),
                }
            }
        }
    }

    /// Reads one unit's checkpoint, if it has one.
    ///
    /// # Errors
    /// `Damaged`, or the store's.
    pub async fn view(&self, unit: Unit) -> Result<Option<UnitView>, JournalError> {
        Ok(self.stored(unit).await?.map(|Stored { checkpoint, lease_left, .. }| {
            let lease = if lease_left.is_positive() { LeaseView::Live } else { LeaseView::Expired };
            UnitView { checkpoint, lease }
        }))
    }

    pub(super) async fn stored(&self, unit: Unit) -> Result<Option<Stored>, JournalError> {
        let key = self.unit_key(unit, "checkpoint.json");
        let Some(object) = self.get(&key).await? else { return Ok(None) };
        let checkpoint: Checkpoint = self.versioned(&key, &object, CHECKPOINT_VERSION)?;
        if checkpoint.unit != unit {
            let what = format!("it is the checkpoint of unit {}", checkpoint.unit);
            return Err(JournalError::Damaged { url: self.store.url(&key), what });
        }
        let lease_left = lease_left(&checkpoint, object.modified, object.read_at);
        Ok(Some(Stored { checkpoint, version: object.version, lease_left }))
    }

    /// Looks at all units in the order in which they are handed out, a few at a time; `None` has no checkpoint.
    ///
    /// Nothing is kept of what was looked at: a job may have a million units.
    pub fn look<'a>(
        &'a self,
        manifest: &'a Manifest,
    ) -> impl Stream<Item = Result<(Unit, Option<UnitView>), JournalError>> + Send + 'a {
        let shards = async move {
            let units: Vec<Unit> = self.shards_of(manifest).await?.iter().flat_map(Shards::units).collect();
            Ok::<_, JournalError>(self.look_at_each(units))
        };
        self.look_at_each(manifest.units()).chain(stream::once(shards).try_flatten())
    }

    fn look_at_each<'a>(
        &'a self,
        units: impl IntoIterator<Item = Unit, IntoIter: Send + 'a>,
    ) -> impl Stream<Item = Result<(Unit, Option<UnitView>), JournalError>> + Send + 'a {
        stream::iter(units.into_iter().map(|unit| self.clone().look_at(unit))).buffered(READS_AT_ONCE)
    }

    async fn look_at(self, unit: Unit) -> Result<(Unit, Option<UnitView>), JournalError> {
        Ok((unit, self.view(unit).await?))
    }

    /// Where the job stands now. One that is finished last ([`JobKind::is_finished_last`]) has not succeeded before its
    /// summary is written.
    ///
    /// [`JobKind::is_finished_last`]: crate::domain::job::JobKind::is_finished_last
    ///
    /// # Errors
    /// `Damaged`, or the store's.
    pub async fn summary(&self, manifest: &Manifest) -> Result<Summary, JournalError> {
        let summary = self.survey(manifest).await?.summary;
        let waits = manifest.kind.is_finished_last() && summary.state == JobState::Succeeded;
        if waits && self.written_summary().await?.is_none() {
            return Ok(Summary { state: JobState::Running, ended_at: None, ..summary });
        }
        Ok(summary)
    }

    /// Where the job stands now, and the first of its units that has not ended.
    ///
    /// # Errors
    /// `Damaged`, or the store's.
    pub async fn survey(&self, manifest: &Manifest) -> Result<Survey, JournalError> {
        let control = self.control().await?;
        // All counts are of these shards, though others may become known meanwhile.
        let shards = self.shards_of(manifest).await?;
        let mut fold = Fold::new(manifest);
        if let Some(shards) = &shards {
            fold = fold.with_shards(shards);
        }
        let mut unfinished = None;
        let of_shards = shards.iter().flat_map(Shards::units);
        let mut looks = pin!(self.look_at_each(manifest.units().chain(of_shards)));
        while let Some((unit, view)) = looks.try_next().await? {
            if !view.as_ref().is_some_and(|view| view.checkpoint.has_ended()) {
                unfinished.get_or_insert(unit);
            }
            view.iter().for_each(|view| fold.add(view));
        }
        Ok(Survey { summary: fold.finish(&control), unfinished })
    }

    /// The summary that was written when the last unit ended, if it is there.
    ///
    /// # Errors
    /// `Damaged`, or the store's.
    pub async fn written_summary(&self) -> Result<Option<Summary>, JournalError> {
        let key = self.key("summary.json");
        self.get(&key).await?.map(|object| self.parse(&key, &object)).transpose()
    }

    /// Writes `summary.json`. Writing it again, by whomever, is harmless.
    ///
    /// # Errors
    /// The store's.
    pub async fn write_summary(&self, summary: &Summary) -> Result<(), JournalError> {
        let body = self.to_json("summary.json", summary)?;
        let key = self.key("summary.json");
        retry::call(STORE_RETRY, || self.store.put(&key, body.clone(), PutMode::Overwrite)).await?;
        Ok(())
    }

    /// Takes `summary.json` away, because units are going to be taken up again.
    ///
    /// # Errors
    /// The store's.
    pub async fn withdraw_summary(&self) -> Result<(), JournalError> {
        Ok(self.store.delete(&self.key("summary.json")).await?)
    }

    /// The report lines of one unit, one part after the other: only parts that its checkpoint names.
    ///
    /// # Errors
    /// `Damaged`, or the store's.
    pub async fn part(&self, unit: Unit, name: &str) -> Result<Vec<Discrepancy>, JournalError> {
        self.lines(unit, name).await
    }

    /// Changes of one unit that could not be applied: only lists that its checkpoint names.
    ///
    /// # Errors
    /// `Damaged`, or the store's.
    pub async fn rejected(&self, unit: Unit, name: &str) -> Result<Vec<Rejected>, JournalError> {
        self.lines(unit, name).await
    }

    pub(super) async fn lines<T: DeserializeOwned>(&self, unit: Unit, name: &str) -> Result<Vec<T>, JournalError> {
        let key = self.unit_key(unit, name);
        let damaged = |what: String| JournalError::Damaged { url: self.store.url(&key), what };
        // The name comes from a checkpoint, and must not lead out of the unit's folder.
        if !is_plain_name(name) {
            return Err(damaged("a checkpoint names it, and no part has such a name".to_owned()));
        }
        let object = self.get(&key).await?;
        let object = object.ok_or_else(|| damaged("it is gone, though a checkpoint names it".to_owned()))?;
        unpack(&object.body).map_err(damaged)
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Object>, Failure> {
        retry::call(STORE_RETRY, || self.store.get(key)).await
    }

    pub(super) fn key(&self, name: &str) -> String {
        format!("jobs/{}/{name}", self.job)
    }

    pub(super) fn unit_key(&self, unit: Unit, name: &str) -> String {
        format!("jobs/{}/units/{unit}/{name}", self.job)
    }

    pub(super) fn to_json<T: Serialize>(&self, name: &str, value: &T) -> Result<Bytes, JournalError> {
        let unwritable = |error: serde_json::Error| JournalError::Damaged {
            url: self.store.url(&self.key(name)),
            what: error.to_string(),
        };
        let mut body = serde_json::to_vec_pretty(value).map_err(unwritable)?;
        body.push(b'\n');
        Ok(body.into())
    }

    pub(super) fn versioned<T: DeserializeOwned>(
        &self,
        key: &str,
        object: &Object,
        known: u32,
    ) -> Result<T, JournalError> {
        let json: serde_json::Value = self.parse(key, object)?;
        let damaged = |what: String| JournalError::Damaged { url: self.store.url(key), what };
        match json.get("version").and_then(serde_json::Value::as_u64) {
            Some(version) if version == u64::from(known) => {}
            Some(version) => {
                return Err(damaged(format!("it has version {version}, and this program understands version {known}")));
            }
            None => return Err(damaged("it has no version".to_owned())),
        }
        serde_json::from_value(json).map_err(|error| damaged(error.to_string()))
    }

    fn parse<T: DeserializeOwned>(&self, key: &str, object: &Object) -> Result<T, JournalError> {
        serde_json::from_slice(&object.body)
            .map_err(|error| JournalError::Damaged { url: self.store.url(key), what: error.to_string() })
    }
}

fn is_plain_name(name: &str) -> bool {
    !name.starts_with('.') && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

/// How long a running unit's lease still lasts; zero or less when it is over or there is none.
fn lease_left(checkpoint: &Checkpoint, modified: Timestamp, now: Timestamp) -> SignedDuration {
    match &checkpoint.state {
        State::Running { lease_seconds, .. } => {
            let lease = SignedDuration::from_secs(i64::try_from(*lease_seconds).unwrap_or(i64::MAX));
            lease.saturating_add(CLOCK_RESOLUTION).saturating_sub(now.duration_since(modified))
        }
        State::Queued | State::Done | State::Failed { .. } => SignedDuration::ZERO,
    }
}
