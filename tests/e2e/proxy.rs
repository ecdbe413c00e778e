//! The proxy's faults are what they are called: what was done is done, and what was not is not.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::error::ProvideErrorMetadata as _;
use aws_sdk_dynamodb::types::KeysAndAttributes;
use tests::attribute::to_sdk;
use tests::dynamodb::DynamoDb;
use tests::process::{REGION, credentials};
use tests::proxy::{Effect, Fault, On, Proxy, Question, Rates, Setup, Tripwire, Weather, When};
use tests::wait::{DEADLINE, eventually};

use crate::stage::{order_schema, orders};

struct Stage {
    server: DynamoDb,
    proxy: Proxy,
}

/// An empty table behind a proxy that injects nothing but this.
async fn stage(fault: Fault, budget: u32) -> Stage {
    let server = DynamoDb::start();
    server.create_table("orders", &order_schema()).await;
    let proxy = Proxy::start(Setup {
        seed: 1,
        tables: server.endpoint(),
        services: None,
        key_names: vec!["id".to_owned()],
        rates: Rates::always(fault),
        budget,
        outages: Vec::new(),
        latency: Duration::ZERO,
    });
    Stage { server, proxy }
}

fn sdk(endpoint: String) -> Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .credentials_provider(credentials())
        .retry_config(RetryConfig::disabled())
        .endpoint_url(endpoint)
        .build();
    Client::from_conf(config)
}

impl Stage {
    fn sdk(&self, weather: Weather) -> Client {
        sdk(self.proxy.client("test", weather).endpoint())
    }
}

#[tokio::test]
async fn a_write_takes_effect_where_only_its_answer_is_lost() {
    for (fault, written) in [
        (Fault::LoseAnswer, 1),
        (Fault::FailAfterwards, 1),
        (Fault::Truncate, 1),
        (Fault::Refuse, 0),
        (Fault::Fail, 0),
        (Fault::Throttle, 0),
    ] {
        let stage = stage(fault, 100).await;
        let item = to_sdk(&orders(1, &[])[0]);
        let put = stage.sdk(Weather::Foul).put_item().table_name("orders").set_item(Some(item));

        // An answer of DynamoDB with nothing in it cannot be cut off to anything else than an error.
        put.send().await.expect_err("the client is not told of any success");

        assert_eq!(stage.server.read_all("orders").await.len(), written, "{fault:?}");
        let record = stage.proxy.record();
        assert_eq!(record.written.iter().filter(|written| written.effect == Effect::Put).count(), written, "{fault:?}");
        assert_eq!(record.asked.iter().filter(|asked| asked.what == Question::Write).count(), 1, "{fault:?}");
        assert_eq!(stage.proxy.injected().values().sum::<u64>(), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn keys_left_unprocessed_and_keys_read_are_all_that_were_asked_for() {
    let stage = stage(Fault::Unprocessed, 100).await;
    let items = orders(20, &[]);
    stage.server.put_all("orders", &items).await;
    let keys = items.iter().map(to_sdk).collect();
    let keys = KeysAndAttributes::builder().set_keys(Some(keys)).build().expect("there are keys");

    let answer =
        stage.sdk(Weather::Foul).batch_get_item().request_items("orders", keys).send().await.expect("it answers");

    let read = answer.responses.expect("there are some")["orders"].len();
    let left = answer.unprocessed_keys.expect("some are left")["orders"].keys.len();
    assert!(read > 0 && left > 0, "{read} and {left}");
    assert_eq!(read + left, 20);
}

#[tokio::test]
async fn a_throttled_request_says_why() {
    let stage = stage(Fault::Throttle, 100).await;
    let client = stage.sdk(Weather::Foul);
    for _ in 0..20 {
        let error = client.scan().table_name("orders").send().await.expect_err("it is throttled");

        let code = error.code().unwrap_or_default();
        assert!(matches!(code, "ThrottlingException" | "ProvisionedThroughputExceededException"), "{code}");
        let body = error.raw_response().and_then(|answer| answer.body().bytes()).expect("there is a body");
        let body = String::from_utf8_lossy(body).into_owned();
        let names_reasons = ["\"ThrottlingReasons\":", "\"throttlingReasons\":"].iter().any(|name| body.contains(name));
        assert!(names_reasons && body.contains("Read") && body.contains("Exceeded\""), "{body}");
    }
}

#[tokio::test]
async fn faults_end_with_their_budget_and_spare_some() {
    let stage = stage(Fault::Fail, 3).await;
    let spared = stage.sdk(Weather::Fair);
    let client = stage.sdk(Weather::Foul);

    spared.scan().table_name("orders").send().await.expect("this client is spared");
    for _ in 0..3 {
        client.scan().table_name("orders").send().await.expect_err("there is budget left");
    }
    client.scan().table_name("orders").send().await.expect("the budget is spent");
}

#[tokio::test]
async fn a_request_is_held_until_it_is_let_go() {
    let stage = stage(Fault::Fail, 0).await;
    let process = stage.proxy.client("test", Weather::Foul);
    process.set(Tripwire { on: On::Write, after: 0, when: When::Before });
    let put = sdk(process.endpoint()).put_item().table_name("orders").set_item(Some(to_sdk(&orders(1, &[])[0])));
    let put = tokio::spawn(put.send());

    eventually("the request is held", DEADLINE, async || process.has_tripped().then_some(())).await;
    assert!(stage.server.read_all("orders").await.is_empty());
    process.let_go();

    put.await.expect("it does not panic").expect("it is done at last");
    assert_eq!(stage.server.read_all("orders").await.len(), 1);
}
