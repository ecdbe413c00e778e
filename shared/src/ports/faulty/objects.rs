//! A store at which things go wrong.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use rand::Rng;

use super::FaultPlan;
use crate::domain::encryption::Encryption;
use crate::ports::failure::{Failure, FailureKind};
use crate::ports::objects::{KeptPage, ListPage, Listing, More, Object, ObjectStore, PutMode, Slice, Version};
use crate::ports::uploads::Upload;

/// A store at which things go wrong: calls fail, and pages are short.
pub struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    plan: FaultPlan,
}

impl FaultyStore {
    /// Puts the plan around a store.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>, plan: FaultPlan) -> Self {
        Self { inner, plan }
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    fn url(&self, key: &str) -> String {
        self.inner.url(key)
    }

    async fn put(&self, key: &str, body: Bytes, mode: PutMode) -> Result<Version, Failure> {
        let call = self.plan.begin("PutObject").await;
        self.plan.end(call, self.inner.put(key, body, mode)).await
    }

    async fn get(&self, key: &str) -> Result<Option<Object>, Failure> {
        let call = self.plan.begin("GetObject").await;
        self.plan.end(call, self.inner.get(key)).await
    }

    async fn delete(&self, key: &str) -> Result<(), Failure> {
        let call = self.plan.begin("DeleteObject").await;
        self.plan.end(call, self.inner.delete(key)).await
    }

    fn encrypting(&self, encryption: &Encryption) -> Result<Arc<dyn ObjectStore>, Failure> {
        Ok(Arc::new(Self { inner: self.inner.encrypting(encryption)?, plan: self.plan.clone() }))
    }

    async fn folders(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let call = self.plan.begin("ListObjectsV2").await;
        self.plan.end(call, self.inner.folders(prefix)).await
    }

    async fn list(&self, prefix: &str) -> Result<Listing, Failure> {
        let call = self.plan.begin("ListObjectsV2").await;
        self.plan.end(call, self.inner.list(prefix)).await
    }

    async fn list_page(&self, prefix: &str, after: Option<&str>) -> Result<ListPage, Failure> {
        let mut call = self.plan.begin("ListObjectsV2").await;
        let is_short = call.dice.random_bool(self.plan.partial);
        let keeps = call.dice.random_range(1..=3);
        let page = self.plan.end(call, self.inner.list_page(prefix, after)).await?;
        Ok(if is_short { cut(page, keeps) } else { page })
    }

    async fn list_versions(&self, prefix: &str, after: Option<&str>) -> Result<KeptPage, Failure> {
        let mut call = self.plan.begin("ListObjectVersions").await;
        let is_short = call.dice.random_bool(self.plan.partial);
        let keeps = call.dice.random_range(1..=3);
        let page = self.plan.end(call, self.inner.list_versions(prefix, after)).await?;
        Ok(if is_short { cut_versions(page, keeps) } else { page })
    }

    async fn get_version(&self, key: &str, id: &str) -> Result<Option<Object>, Failure> {
        let call = self.plan.begin("GetObject").await;
        self.plan.end(call, self.inner.get_version(key, id)).await
    }

    async fn keeps_versions(&self) -> Result<bool, Failure> {
        let call = self.plan.begin("GetBucketVersioning").await;
        self.plan.end(call, self.inner.keeps_versions()).await
    }

    async fn slice(
        &self,
        key: &str,
        from: u64,
        most: u64,
        content: Option<&Version>,
    ) -> Result<Option<Slice>, Failure> {
        let call = self.plan.begin("GetObject").await;
        self.plan.end(call, self.inner.slice(key, from, most, content)).await
    }

    async fn upload(&self, key: &str) -> Result<Box<dyn Upload + '_>, Failure> {
        let call = self.plan.begin("CreateMultipartUpload").await;
        let inner = self.plan.end(call, self.inner.upload(key)).await?;
        Ok(Box::new(FaultyUpload { inner: Some(inner), plan: self.plan.clone() }))
    }
}

/// The first objects of a page; any key is a place to go on from.
fn cut(mut page: ListPage, keeps: usize) -> ListPage {
    if page.objects.len() > keeps {
        page.objects.truncate(keeps);
        page.more = page.objects.last().map_or(More::No, |last| More::After(last.key.clone()));
    }
    page
}

/// The versions of the first keys of a page. The last key's may go on behind the page, so it is not cut off there.
fn cut_versions(mut page: KeptPage, keeps: usize) -> KeptPage {
    let ends: Vec<usize> = page
        .versions
        .windows(2)
        .enumerate()
        .filter(|(_, two)| two[0].key != two[1].key)
        .map(|(at, _)| at + 1)
        .collect();
    if let Some(&end) = ends.get(keeps - 1) {
        page.versions.truncate(end);
        page.more = page.versions.last().map_or(More::No, |last| More::After(last.key.clone()));
    }
    page
}

/// An upload at which things go wrong: each write may be a part that fails.
struct FaultyUpload<'a> {
    /// Gone after a failure, when nothing more can be added.
    inner: Option<Box<dyn Upload + 'a>>,
    plan: FaultPlan,
}

impl<'a> FaultyUpload<'a> {
    fn take(&mut self) -> Result<Box<dyn Upload + 'a>, Failure> {
        self.inner.take().ok_or_else(|| Failure {
            kind: FailureKind::Invalid,
            operation: "UploadPart",
            resource: "a faulty adapter".to_owned(),
            message: "a part failed before, and the object has to be begun again".to_owned(),
        })
    }
}

#[async_trait]
impl Upload for FaultyUpload<'_> {
    async fn write(&mut self, bytes: Bytes) -> Result<(), Failure> {
        let mut inner = self.take()?;
        let call = self.plan.begin("UploadPart").await;
        self.plan.end(call, inner.write(bytes)).await?;
        self.inner = Some(inner);
        Ok(())
    }

    async fn complete(mut self: Box<Self>) -> Result<Version, Failure> {
        let inner = self.take()?;
        let call = self.plan.begin("CompleteMultipartUpload").await;
        self.plan.end(call, inner.complete()).await
    }

    async fn abort(self: Box<Self>) -> Result<(), Failure> {
        let Self { inner, plan } = *self;
        let call = plan.begin("AbortMultipartUpload").await;
        let abort = async {
            match inner {
                Some(inner) => inner.abort().await,
                None => Ok(()),
            }
        };
        plan.end(call, abort).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::directory::DirectoryStore;
    use crate::local::memory::MemoryStore;
    use crate::ports::contract;

    const ALWAYS: f64 = 1.0;

    #[tokio::test]
    async fn an_empty_plan_leaves_a_store_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let fresh = async || {
            let root = tempfile::tempdir_in(&folder).unwrap().keep();
            FaultyStore::new(Arc::new(DirectoryStore::open(root).unwrap()), FaultPlan::new(1))
        };

        contract::objects(fresh).await;
    }

    #[tokio::test]
    async fn short_pages_keep_the_contracts() {
        for seed in 0..10 {
            let plan = || FaultPlan::new(seed).partial(0.5);
            contract::versions(async || FaultyStore::new(Arc::new(MemoryStore::versioned("memory")), plan())).await;
            let store = FaultyStore::new(Arc::new(MemoryStore::new("memory")), plan());
            contract::objects::pages::pages_together_are_the_list(&store).await;
        }
    }

    #[tokio::test]
    async fn pages_are_short_and_say_that_more_follows() {
        let inner = Arc::new(MemoryStore::versioned("memory"));
        (0..9).for_each(|n| inner.write(&format!("a/{n}"), ""));
        let store = FaultyStore::new(inner, FaultPlan::new(1).partial(ALWAYS));

        let (page, versions) =
            (store.list_page("a/", None).await.unwrap(), store.list_versions("a/", None).await.unwrap());

        assert!((1..=3).contains(&page.objects.len()) && page.more != More::No, "{page:?}");
        assert!((1..=3).contains(&versions.versions.len()) && versions.more != More::No, "{versions:?}");
    }

    #[tokio::test]
    async fn an_upload_fails_before_and_after_its_effect() {
        let (inner, plan) = (Arc::new(MemoryStore::new("memory")), FaultPlan::new(1).failing(0.3));
        let store = FaultyStore::new(inner.clone(), plan);
        let (mut begun, mut written, mut completed) = (0, 0, 0);
        for n in 0..100 {
            let key = n.to_string();
            let Ok(mut upload) = store.upload(&key).await else { continue };
            begun += 1;
            if let Err(failure) = upload.write(Bytes::from_static(b"body")).await {
                assert!(failure.may_pass(), "{failure}");
                assert_eq!(upload.write(Bytes::new()).await.unwrap_err().kind, FailureKind::Invalid);
                assert_eq!(upload.complete().await.unwrap_err().kind, FailureKind::Invalid);
                assert!(inner.read(&key).is_none(), "what was not completed is there");
                continue;
            }
            written += 1;
            completed += u32::from(upload.complete().await.is_ok());
        }

        assert!(0 < written && written < begun && begun < 100, "{written} of {begun} were written");
        let there = u32::try_from(inner.keys().len()).unwrap();
        assert!(completed < there && there < written, "{there} of {written} appeared, and {completed} were told of it");
    }
}
