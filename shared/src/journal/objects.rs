//! The objects of one job: whoever puts one, it is encrypted as the job's manifest says.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::Deserialize;

use super::folder::STORE_RETRY;
use crate::domain::encryption::Encryption;
use crate::ports::failure::{Failure, FailureKind};
use crate::ports::objects::{Listing, Object, ObjectStore, PutMode, Version};
use crate::retry;

/// A store as one job uses it. Clones share what is known of the job.
#[derive(Clone)]
pub(super) struct JobObjects {
    store: Arc<dyn ObjectStore>,
    manifest_key: String,
    encryption: Arc<OnceLock<Option<Encryption>>>,
}

impl JobObjects {
    pub(super) fn new(store: Arc<dyn ObjectStore>, manifest_key: String) -> Self {
        Self { store, manifest_key, encryption: Arc::default() }
    }

    /// Learns from the manifest, when it is made or read, how this job is encrypted.
    pub(super) fn learn(&self, encryption: Option<&Encryption>) {
        // A manifest never changes, so whoever learned it first learned the same.
        let _ = self.encryption.set(encryption.cloned());
    }

    pub(super) fn url(&self, key: &str) -> String {
        self.store.url(key)
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Object>, Failure> {
        self.store.get(key).await
    }

    pub(super) async fn list(&self, prefix: &str) -> Result<Listing, Failure> {
        self.store.list(prefix).await
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), Failure> {
        self.store.delete(key).await
    }

    pub(super) async fn put(&self, key: &str, body: Bytes, mode: PutMode) -> Result<Version, Failure> {
        match self.encryption().await? {
            Some(encryption) => self.store.encrypting(&encryption)?.put(key, body, mode).await,
            None => self.store.put(key, body, mode).await,
        }
    }

    /// As the manifest says. It is read when nobody has: no object may slip through because of the order of calls.
    async fn encryption(&self) -> Result<Option<Encryption>, Failure> {
        #[derive(Deserialize)]
        struct Told {
            encryption: Option<Encryption>,
        }
        if let Some(known) = self.encryption.get() {
            return Ok(known.clone());
        }
        let manifest = retry::call(STORE_RETRY, || self.store.get(&self.manifest_key)).await?;
        // Where there is no manifest there is no job, and nothing to go by.
        let Some(manifest) = manifest else { return Ok(None) };
        let told: Told = serde_json::from_slice(&manifest.body).map_err(|error| Failure {
            kind: FailureKind::Invalid,
            operation: "Encrypt",
            resource: self.url(&self.manifest_key),
            message: format!("the manifest does not say how objects are encrypted: {error}"),
        })?;
        self.learn(told.encryption.as_ref());
        Ok(told.encryption)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use serde_json::json;

    use super::*;
    use crate::domain::summary::Wish;
    use crate::journal::Journal;
    use crate::local::memory::MemoryStore;

    type Log = Arc<Mutex<Vec<(String, Option<Encryption>)>>>;

    /// Notes how each object was encrypted.
    #[derive(Clone)]
    struct Vault {
        inner: Arc<MemoryStore>,
        encryption: Option<Encryption>,
        log: Log,
    }

    #[async_trait]
    impl ObjectStore for Vault {
        fn url(&self, key: &str) -> String {
            self.inner.url(key)
        }

        async fn put(&self, key: &str, body: Bytes, mode: PutMode) -> Result<Version, Failure> {
            self.log.lock().unwrap().push((key.to_owned(), self.encryption.clone()));
            self.inner.put(key, body, mode).await
        }

        async fn get(&self, key: &str) -> Result<Option<Object>, Failure> {
            self.inner.get(key).await
        }

        async fn delete(&self, key: &str) -> Result<(), Failure> {
            self.inner.delete(key).await
        }

        fn encrypting(&self, encryption: &Encryption) -> Result<Arc<dyn ObjectStore>, Failure> {
            Ok(Arc::new(Self { encryption: Some(encryption.clone()), ..self.clone() }))
        }

        async fn folders(&self, prefix: &str) -> Result<Vec<String>, Failure> {
            self.inner.folders(prefix).await
        }

        async fn list(&self, prefix: &str) -> Result<Listing, Failure> {
            self.inner.list(prefix).await
        }
    }

    fn vault() -> Vault {
        Vault { inner: Arc::new(MemoryStore::new("memory")), encryption: None, log: Log::default() }
    }

    #[tokio::test]
    async fn a_put_is_encrypted_as_the_manifest_says_even_if_nobody_has_read_it_yet() {
        let vault = vault();
        let manifest = json!({"version": 1, "encryption": {"sse": "aws:kms", "key_id": "k"}}).to_string();
        vault.inner.put("jobs/J/manifest.json", manifest.into(), PutMode::Create).await.unwrap();
        let journal = Journal::new(Arc::new(vault.clone()), "J");

        journal.set_wish(Wish::Cancel).await.unwrap();
        journal.set_wish(Wish::Run).await.unwrap();

        let expected = ("jobs/J/control.json".to_owned(), Some(Encryption::Kms { key_id: Some("k".into()) }));
        assert_eq!(*vault.log.lock().unwrap(), [expected.clone(), expected]);
    }

    #[tokio::test]
    async fn nothing_is_put_where_the_encryption_cannot_be_told_or_be_had() {
        for (manifest, with) in [
            ("not json", Arc::new(vault()) as Arc<dyn ObjectStore>),
            (r#"{"encryption": {"sse": "rot13"}}"#, Arc::new(vault())),
            (r#"{"encryption": {"sse": "AES256"}}"#, Arc::new(MemoryStore::new("memory"))),
        ] {
            with.put("jobs/J/manifest.json", manifest.into(), PutMode::Create).await.unwrap();

            let refused = Journal::new(Arc::clone(&with), "J").set_wish(Wish::Cancel).await.unwrap_err();

            assert!(!refused.may_pass(), "{refused}");
            assert!(with.get("jobs/J/control.json").await.unwrap().is_none(), "{manifest}");
        }
    }
}
