//! How a worker reaches tables, their streams, and stores: openers, built once per mode and nowhere else.

use std::sync::Arc;

use futures::future::BoxFuture;
use shared::aws::clients::Clients;
use shared::aws::dynamodb::DynamoTable;
use shared::aws::kinesis::KinesisStream;
use shared::aws::s3::S3Store;
use shared::aws::streams::DynamoDbStream;
use shared::domain::backup::Place;
use shared::domain::job::{Side, StreamSource};
use shared::domain::key::KeySchema;
use shared::journal::{BadLocation, StoreUrl};
use shared::local::directory::DirectoryStore;
use shared::ports::failure::{Failure, FailureKind};
use shared::ports::objects::ObjectStore;
use shared::ports::stream::ChangeStream;
use shared::ports::table::Table;

type Opened<T> = BoxFuture<'static, Result<Arc<T>, Failure>>;
type Opener<A, T> = Box<dyn Fn(A) -> Opened<T> + Send + Sync>;

/// Opens tables and stores by name.
pub struct Environment {
    open_table: Opener<Side, dyn Table>,
    open_store: Opener<(StoreUrl, Option<String>), dyn ObjectStore>,
    open_stream: Opener<Followed, dyn ChangeStream>,
}

/// A stream, the table that it tells of, and that table's key.
#[derive(Clone, Debug)]
pub struct Followed {
    /// The stream.
    pub source: StreamSource,
    /// The table.
    pub side: Side,
    /// Its key schema.
    pub schema: KeySchema,
}

impl Environment {
    /// An environment of any adapters; tests and embedding programs bring their own.
    pub fn new(
        open_table: impl Fn(Side) -> Opened<dyn Table> + Send + Sync + 'static,
        open_store: impl Fn(StoreUrl) -> Opened<dyn ObjectStore> + Send + Sync + 'static,
    ) -> Self {
        let no_streams = |followed: Followed| {
            let failure = Failure {
                kind: FailureKind::Invalid,
                operation: "DescribeStream",
                resource: followed.source.arn().to_owned(),
                message: "no stream can be reached from here".to_owned(),
            };
            Box::pin(std::future::ready(Err(failure))) as Opened<dyn ChangeStream>
        };
        Self {
            open_table: Box::new(open_table),
            open_store: Box::new(move |(url, _)| open_store(url)),
            open_stream: Box::new(no_streams),
        }
    }

    /// The same, in which streams can be reached too.
    #[must_use]
    pub fn with_streams(
        self,
        open_stream: impl Fn(Followed) -> Opened<dyn ChangeStream> + Send + Sync + 'static,
    ) -> Self {
        Self { open_stream: Box::new(open_stream), ..self }
    }

    /// Real tables, and stores on S3 or in a directory.
    #[must_use]
    pub fn aws(clients: Arc<Clients>) -> Self {
        let (for_tables, for_streams) = (Arc::clone(&clients), Arc::clone(&clients));
        let open_store = move |(url, region): (StoreUrl, Option<String>)| {
            let clients = Arc::clone(&clients);
            Box::pin(async move {
                Ok(match url {
                    StoreUrl::S3 { bucket, prefix } => {
                        Arc::new(S3Store::new(clients.s3(region.as_deref()).await?, bucket, &prefix))
                    }
                    StoreUrl::Directory(path) => Arc::new(DirectoryStore::open(path)?) as Arc<dyn ObjectStore>,
                })
            }) as Opened<dyn ObjectStore>
        };
        let open_store = Arc::new(open_store);
        let in_any_region = Arc::clone(&open_store);
        let environment = Self::new(
            move |side| {
                let clients = Arc::clone(&for_tables);
                Box::pin(async move {
                    let client = clients.dynamodb(&side).await?;
                    Ok(Arc::new(DynamoTable::new(client, side.table)) as Arc<dyn Table>)
                })
            },
            move |url| open_store((url, None)),
        );
        Self { open_store: Box::new(move |place| in_any_region(place)), ..environment }.with_streams(
            move |Followed { source, side, schema }| {
                let clients = Arc::clone(&for_streams);
                Box::pin(async move {
                    Ok(match source {
                        StreamSource::DynamoDb { arn } => {
                            Arc::new(DynamoDbStream::new(clients.dynamodb_streams(&side).await?, arn, schema))
                                as Arc<dyn ChangeStream>
                        }
                        StreamSource::Kinesis { arn } => {
                            let client = clients.kinesis(&side.access, &arn).await?;
                            Arc::new(KinesisStream::new(client, arn, side.table.name(), schema))
                        }
                    })
                })
            },
        )
    }

    /// Opens a table.
    ///
    /// # Errors
    /// When its credentials cannot be had.
    pub async fn table(&self, side: &Side) -> Result<Arc<dyn Table>, Failure> {
        (self.open_table)(side.clone()).await
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// When its credentials cannot be had.
    pub async fn stream(&self, followed: Followed) -> Result<Arc<dyn ChangeStream>, Failure> {
        (self.open_stream)(followed).await
    }

    /// Opens a store.
    ///
    /// # Errors
    /// When its credentials cannot be had, or it is no place for a store.
    pub async fn store(&self, url: &StoreUrl) -> Result<Arc<dyn ObjectStore>, Failure> {
        (self.open_store)((url.clone(), None)).await
    }

    /// Opens a store that holds backups, encrypting what is put as it says.
    ///
    /// # Errors
    /// As for [`Environment::store`]; `Invalid` when its URL is none, or it cannot encrypt.
    pub async fn place(&self, place: &Place) -> Result<Arc<dyn ObjectStore>, Failure> {
        let url: StoreUrl = place.url.parse().map_err(|error: BadLocation| Failure {
            kind: FailureKind::Invalid,
            operation: "Open",
            resource: format!("`{}`", place.url),
            message: error.to_string(),
        })?;
        let store = (self.open_store)((url, place.region.clone())).await?;
        match &place.encryption {
            Some(encryption) => store.encrypting(encryption),
            None => Ok(store),
        }
    }
}
