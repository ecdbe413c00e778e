//! Objects that are put bit by bit, because they are too big to be held.

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

use super::failure::Failure;
use super::objects::{ObjectStore, PutMode, Version};

/// An object on its way into a store.
///
/// Dropped before it is complete, it leaves no object. What a store keeps of it then is the store's to clean up; with
/// [`Upload::abort`] it is done at once.
#[async_trait]
pub trait Upload: Send {
    /// Adds bytes. They may be held until there are enough for a request.
    ///
    /// After a failure nothing more can be added; the object has to be begun again.
    async fn write(&mut self, bytes: Bytes) -> Result<(), Failure>;

    /// Makes the object appear, whole, in place of what is there. After a passing failure it may have appeared.
    async fn complete(self: Box<Self>) -> Result<Version, Failure>;

    /// Gives the object up, with all that was sent.
    async fn abort(self: Box<Self>) -> Result<(), Failure>;
}

/// An upload that is held until it is complete, for stores whose objects are held anyway.
pub struct Buffered<'a, S: ?Sized> {
    store: &'a S,
    key: String,
    held: BytesMut,
}

impl<'a, S: ObjectStore + ?Sized> Buffered<'a, S> {
    /// Nothing yet.
    #[must_use]
    pub fn new(store: &'a S, key: &str) -> Self {
        Self { store, key: key.to_owned(), held: BytesMut::new() }
    }
}

#[async_trait]
impl<S: ObjectStore + ?Sized> Upload for Buffered<'_, S> {
    async fn write(&mut self, bytes: Bytes) -> Result<(), Failure> {
        self.held.extend_from_slice(&bytes);
        Ok(())
    }

    async fn complete(self: Box<Self>) -> Result<Version, Failure> {
        let Self { store, key, held } = *self;
        store.put(&key, held.freeze(), PutMode::Overwrite).await
    }

    async fn abort(self: Box<Self>) -> Result<(), Failure> {
        Ok(())
    }
}
