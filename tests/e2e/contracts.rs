//! The adapters for AWS keep the promises of their ports, held against servers that speak its protocols.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use shared::aws::dynamodb::DynamoTable;
use shared::aws::s3::S3Store;
use shared::aws::sqs::SqsQueue;
use shared::ports::contract;
use tests::buckets::Bucket;
use tests::dynamodb::DynamoDb;
use tests::ministack::MiniStack;
use tests::process::REGION;
use tests::queues::Queue;

#[tokio::test]
async fn dynamo_tables_keep_the_contract() {
    let server = DynamoDb::start();
    let next = AtomicU32::new(0);
    let fresh = async || {
        let name = format!("table-{}", next.fetch_add(1, Ordering::Relaxed));
        server.create_table(&name, &contract::table::schema()).await;
        let table = format!("{REGION}:{name}").parse().expect("this names a table");
        DynamoTable::new(server.client().clone(), table)
    };

    contract::table(fresh).await;
}

#[tokio::test]
async fn dynamo_tables_are_made_as_the_contract_asks() {
    let server = DynamoDb::start();
    let next = AtomicU32::new(0);
    let missing = async || {
        let table = format!("{REGION}:table-{}", next.fetch_add(1, Ordering::Relaxed));
        DynamoTable::new(server.client().clone(), table.parse().expect("this names a table"))
    };

    contract::definition(missing, async || tokio::task::yield_now().await).await;
}

#[tokio::test]
async fn sqs_queues_keep_the_contract() {
    let fresh = async || {
        let queue = Queue::create(MiniStack::shared(), Duration::from_secs(30), 1000).await;
        SqsQueue::new(queue.client().clone(), queue.url)
    };
    // The server's clock cannot be moved; it is rounded to seconds here and there.
    let advance = async |time: Duration| tokio::time::sleep(time + Duration::from_millis(500)).await;

    contract::queue(fresh, advance).await;
}

#[tokio::test]
async fn s3_stores_keep_the_contract() {
    let fresh = async || {
        let bucket = Bucket::create(MiniStack::shared()).await;
        S3Store::new(bucket.client().clone(), bucket.name, "")
    };

    contract::objects(fresh).await;
}

#[tokio::test]
async fn s3_stores_keep_the_contract_below_a_prefix() {
    let fresh = async || {
        let bucket = Bucket::create(MiniStack::shared()).await;
        bucket.put("else/jobs/z/manifest", b"of nobody's concern").await;
        S3Store::new(bucket.client().clone(), bucket.name, "/below/a prefix/")
    };

    contract::objects(fresh).await;
}

#[tokio::test]
async fn s3_stores_keep_the_contract_page_by_page() {
    let fresh = async || {
        let bucket = Bucket::create(MiniStack::shared()).await;
        S3Store::new(bucket.client().clone(), bucket.name, "paged").paged(3)
    };

    contract::objects(fresh).await;
}

#[tokio::test]
async fn versioned_s3_stores_keep_the_contract_of_versions_too() {
    for (prefix, page) in [("", 1000), ("/below/a prefix/", 4)] {
        let fresh = async || {
            let bucket = Bucket::versioned(MiniStack::shared()).await;
            if !prefix.is_empty() {
                bucket.put("else/f/z", b"of nobody's concern").await;
            }
            S3Store::new(bucket.client().clone(), bucket.name, prefix).paged(page)
        };

        contract::objects(fresh).await;
        contract::versions(fresh).await;
    }
}
