//! `files.jsonl.gz`: the files of items that a job reads. Written once, before the manifest, and never changed.

use super::failure::JournalError;
use super::folder::Journal;
use super::parts::{Packed, unpack};
use crate::domain::backup::ItemFile;
use crate::domain::job::Manifest;

const NAME: &str = "files.jsonl.gz";

impl Journal {
    /// Creates a job that reads files. Must have returned before its first message is sent.
    ///
    /// The list comes first: without a manifest there is no job, and so there never is a job without its files.
    ///
    /// # Errors
    /// `JobExists` when the id is taken; nothing is changed then.
    pub async fn create_reading(&self, manifest: &Manifest, files: &[ItemFile]) -> Result<(), JournalError> {
        let body = files.iter().collect::<Packed<&ItemFile>>().finish();
        let url = || self.store.url(&self.key(NAME));
        let body = body.map_err(|error| JournalError::Damaged { url: url(), what: error.to_string() })?;
        self.create_after(NAME, body, manifest).await
    }

    /// The files that the job reads, in the order in which they are numbered.
    ///
    /// # Errors
    /// `Damaged`, or the store's.
    pub async fn files(&self) -> Result<Vec<ItemFile>, JournalError> {
        let key = self.key(NAME);
        let damaged = |what: String| JournalError::Damaged { url: self.store.url(&key), what };
        let object = self.get(&key).await?;
        let object = object.ok_or_else(|| damaged("it is gone, and the job reads the files in it".to_owned()))?;
        unpack(&object.body).map_err(damaged)
    }
}
