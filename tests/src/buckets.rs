//! S3 buckets for tests, looked at from outside.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Region};
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};

use crate::ministack::{MiniStack, unique};
use crate::process::{REGION, credentials};

/// A bucket.
#[derive(Clone, Debug)]
pub struct Bucket {
    client: Client,
    /// Its name.
    pub name: String,
}

impl Bucket {
    /// Creates an empty bucket.
    pub async fn create(server: &MiniStack) -> Self {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .credentials_provider(credentials())
            .endpoint_url(server.endpoint())
            // Without DNS, a bucket is no host.
            .force_path_style(true)
            .build();
        let client = Client::from_conf(config);
        let name = unique("bucket");
        client.create_bucket().bucket(&name).send().await.expect("the bucket is created");
        Self { client, name }
    }

    /// Creates an empty bucket that keeps what is overwritten and deleted.
    pub async fn versioned(server: &MiniStack) -> Self {
        let bucket = Self::create(server).await;
        let keeping = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
        let request = bucket.client.put_bucket_versioning().bucket(&bucket.name).versioning_configuration(keeping);
        request.send().await.expect("the bucket keeps versions");
        bucket
    }

    /// The URL of a prefix in it, as `--store` takes it.
    #[must_use]
    pub fn url(&self, prefix: &str) -> String {
        format!("s3://{}/{prefix}", self.name)
    }

    /// The client, for what the helpers lack.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The keys below a prefix, sorted.
    pub async fn keys(&self, prefix: &str) -> Vec<String> {
        let mut pages = self.client.list_objects_v2().bucket(&self.name).prefix(prefix).into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            let objects = page.expect("the bucket answers").contents.unwrap_or_default();
            keys.extend(objects.into_iter().filter_map(|object| object.key));
        }
        keys.sort();
        keys
    }

    /// An object's content, if it is there.
    pub async fn get(&self, key: &str) -> Option<Vec<u8>> {
        match self.client.get_object().bucket(&self.name).key(key).send().await {
            Ok(object) => Some(object.body.collect().await.expect("the content arrives").to_vec()),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_no_such_key()) => None,
            Err(error) => panic!("get of {key}: {error:?}"),
        }
    }

    /// Puts an object.
    pub async fn put(&self, key: &str, body: &[u8]) {
        let request = self.client.put_object().bucket(&self.name).key(key).body(body.to_vec().into());
        request.send().await.unwrap_or_else(|error| panic!("put of {key}: {error:?}"));
    }
}
