//! Adapters that tell a test of each call before it is made, and let it meddle, fail it, or hold it up.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use shared::domain::condition::{Condition, Write};
use shared::domain::definition::TableDefinition;
use shared::domain::encryption::Encryption;
use shared::ports::failure::{Failure, FailureKind};
use shared::ports::objects::{KeptPage, ListPage, Listing, Object, ObjectStore, PutMode, Slice, Version};
use shared::ports::table::{Batch, Description, GetRequest, Got, Page, ScanRequest, Table, WriteAnswer};
use shared::ports::uploads::Upload;

/// A call that is about to be made.
#[derive(Clone, Debug)]
pub enum Call {
    /// To table 0, the master, or table n + 1, slave n.
    Table(usize, Access),
    /// An object is put under this key, or completed; told once before, and once after it was put.
    Put(When, String),
    /// Bytes are added to an object that is put bit by bit under this key.
    Part(String),
    /// An object, a part or a version of it is read, or those below a prefix are listed.
    Get(String),
}

/// On which side of its effect a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// It is about to happen.
    Before,
    /// It has happened.
    After,
}

/// What is asked of a table.
#[derive(Clone, Debug)]
pub enum Access {
    /// Its description.
    Describe,
    /// That it be made, or made to delete items by their time.
    Create,
    /// A page.
    Scan(ScanRequest),
    /// Items by key.
    Get(GetRequest),
    /// A conditional write.
    Write(Write),
}

/// Is told of each call, and may have it fail.
#[derive(Clone)]
pub struct Watch(Arc<dyn Fn(Call) -> BoxFuture<'static, Option<Failure>> + Send + Sync>);

impl Watch {
    /// Watches by an async function.
    pub fn new<F: Future<Output = Option<Failure>> + Send + 'static>(
        watch: impl Fn(Call) -> F + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(move |call| Box::pin(watch(call))))
    }

    /// Watches by a plain function.
    pub fn plain(watch: impl Fn(Call) -> Option<Failure> + Send + Sync + 'static) -> Self {
        Self::new(move |call| std::future::ready(watch(call)))
    }

    async fn pass(&self, call: Call) -> Result<(), Failure> {
        (self.0)(call).await.map_or(Ok(()), Err)
    }
}

/// A failure of this kind.
#[must_use]
pub fn failure(kind: FailureKind) -> Failure {
    let message = "the test made it fail".to_owned();
    Failure { kind, operation: "Test", resource: "a watched adapter".to_owned(), message }
}

/// A watched table.
pub struct WatchedTable {
    /// The table.
    pub inner: Arc<dyn Table>,
    /// Its number.
    pub number: usize,
    /// Who watches.
    pub watch: Watch,
}

/// A watched store.
pub struct WatchedStore {
    /// The store.
    pub inner: Arc<dyn ObjectStore>,
    /// Who watches.
    pub watch: Watch,
}

#[async_trait]
impl Table for WatchedTable {
    async fn describe(&self) -> Result<Description, Failure> {
        self.watch.pass(Call::Table(self.number, Access::Describe)).await?;
        self.inner.describe().await
    }

    async fn time_to_live(&self) -> Result<Option<String>, Failure> {
        self.watch.pass(Call::Table(self.number, Access::Describe)).await?;
        self.inner.time_to_live().await
    }

    async fn definition(&self) -> Result<TableDefinition, Failure> {
        self.watch.pass(Call::Table(self.number, Access::Describe)).await?;
        self.inner.definition().await
    }

    async fn create(&self, definition: &TableDefinition) -> Result<(), Failure> {
        self.watch.pass(Call::Table(self.number, Access::Create)).await?;
        self.inner.create(definition).await
    }

    async fn set_time_to_live(&self, attribute: &str) -> Result<(), Failure> {
        self.watch.pass(Call::Table(self.number, Access::Create)).await?;
        self.inner.set_time_to_live(attribute).await
    }

    async fn scan_page(&self, request: &ScanRequest) -> Result<Page, Failure> {
        self.watch.pass(Call::Table(self.number, Access::Scan(request.clone()))).await?;
        self.inner.scan_page(request).await
    }

    async fn get_many(&self, request: &GetRequest) -> Result<Got, Failure> {
        self.watch.pass(Call::Table(self.number, Access::Get(request.clone()))).await?;
        self.inner.get_many(request).await
    }

    async fn write_if(&self, write: &Write, condition: &Condition) -> Result<WriteAnswer, Failure> {
        self.watch.pass(Call::Table(self.number, Access::Write(write.clone()))).await?;
        self.inner.write_if(write, condition).await
    }

    async fn write_many(&self, writes: &[Write]) -> Result<Batch, Failure> {
        for write in writes {
            self.watch.pass(Call::Table(self.number, Access::Write(write.clone()))).await?;
        }
        self.inner.write_many(writes).await
    }
}

#[async_trait]
impl ObjectStore for WatchedStore {
    fn url(&self, key: &str) -> String {
        self.inner.url(key)
    }

    async fn put(&self, key: &str, body: bytes::Bytes, mode: PutMode) -> Result<Version, Failure> {
        self.watch.pass(Call::Put(When::Before, key.to_owned())).await?;
        let version = self.inner.put(key, body, mode).await?;
        self.watch.pass(Call::Put(When::After, key.to_owned())).await?;
        Ok(version)
    }

    async fn get(&self, key: &str) -> Result<Option<Object>, Failure> {
        self.watch.pass(Call::Get(key.to_owned())).await?;
        self.inner.get(key).await
    }

    async fn delete(&self, key: &str) -> Result<(), Failure> {
        self.inner.delete(key).await
    }

    fn encrypting(&self, encryption: &Encryption) -> Result<Arc<dyn ObjectStore>, Failure> {
        Ok(Arc::new(Self { inner: self.inner.encrypting(encryption)?, watch: self.watch.clone() }))
    }

    async fn folders(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        self.inner.folders(prefix).await
    }

    async fn list(&self, prefix: &str) -> Result<Listing, Failure> {
        self.watch.pass(Call::Get(prefix.to_owned())).await?;
        self.inner.list(prefix).await
    }

    async fn list_page(&self, prefix: &str, after: Option<&str>) -> Result<ListPage, Failure> {
        self.watch.pass(Call::Get(prefix.to_owned())).await?;
        self.inner.list_page(prefix, after).await
    }

    async fn list_versions(&self, prefix: &str, after: Option<&str>) -> Result<KeptPage, Failure> {
        self.watch.pass(Call::Get(prefix.to_owned())).await?;
        self.inner.list_versions(prefix, after).await
    }

    async fn get_version(&self, key: &str, id: &str) -> Result<Option<Object>, Failure> {
        self.watch.pass(Call::Get(key.to_owned())).await?;
        self.inner.get_version(key, id).await
    }

    async fn keeps_versions(&self) -> Result<bool, Failure> {
        self.inner.keeps_versions().await
    }

    async fn slice(
        &self,
        key: &str,
        from: u64,
        most: u64,
        content: Option<&Version>,
    ) -> Result<Option<Slice>, Failure> {
        self.watch.pass(Call::Get(key.to_owned())).await?;
        self.inner.slice(key, from, most, content).await
    }

    async fn upload(&self, key: &str) -> Result<Box<dyn Upload + '_>, Failure> {
        let inner = self.inner.upload(key).await?;
        Ok(Box::new(WatchedUpload { inner, key: key.to_owned(), watch: self.watch.clone() }))
    }
}

/// A watched upload.
struct WatchedUpload<'a> {
    inner: Box<dyn Upload + 'a>,
    key: String,
    watch: Watch,
}

#[async_trait]
impl Upload for WatchedUpload<'_> {
    async fn write(&mut self, bytes: bytes::Bytes) -> Result<(), Failure> {
        self.watch.pass(Call::Part(self.key.clone())).await?;
        self.inner.write(bytes).await
    }

    async fn complete(self: Box<Self>) -> Result<Version, Failure> {
        let Self { inner, key, watch } = *self;
        watch.pass(Call::Put(When::Before, key.clone())).await?;
        let version = inner.complete().await?;
        watch.pass(Call::Put(When::After, key)).await?;
        Ok(version)
    }

    async fn abort(self: Box<Self>) -> Result<(), Failure> {
        self.inner.abort().await
    }
}

/// Lets the clock go on by this much at one moment, as it seems to a process that was stopped for so long.
pub async fn sleep_through(time: Duration) {
    tokio::time::advance(time).await;
}
