//! A client that fetches the pages of tables and throws them away: the least that any comparison takes.
//!
//! It is a process of its own, this program again. The SDK signs, sends and receives through the HTTP client that the
//! programs use; the pages' bytes arrive in memory, and nobody reads them. So it knows by itself how many there are.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::scan::ScanOutput;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeSerializationInterceptorContextRef, Output, OutputOrError,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::ser_de::{DeserializeResponse, SharedResponseDeserializer};
use aws_smithy_types::config_bag::ConfigBag;
use futures::future::join_all;
use shared::aws::clients::{ClientSettings, Clients};
use shared::domain::job::{Access, Side};
use tests::process::Programs;

use crate::replay::tables::{ITEMS_PER_PAGE, key};
use crate::usage::{Usage, watch};

/// The argument that makes this program the client.
pub(crate) const CHILD: &str = "fetch";

/// Scans every table once, as many segments at once as it is told, and returns what that took.
pub(crate) fn all(programs: &Programs, tables: &[&str], segments: u64, items_per_segment: u64, at_once: u64) -> Usage {
    let program = std::env::current_exe().expect("a program knows its path");
    let numbers = [segments, items_per_segment, at_once].map(|number| number.to_string());
    let numbers = numbers.iter().map(String::as_str);
    let arguments: Vec<&str> = [CHILD].into_iter().chain(numbers).chain(tables.iter().copied()).collect();
    let (finished, usage) = watch(programs.spawn(&program, &arguments));
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    usage
}

/// The client itself.
pub(crate) async fn run(settings: &[&str]) {
    let [segments, items, at_once, tables @ ..] = settings else { panic!("numbers and tables are expected") };
    let number = |text: &str| -> u64 { text.parse().expect("a setting is a number") };
    let (segments, items, at_once) = (number(segments), number(items), number(at_once));
    let clients = Clients::new(ClientSettings::default());
    let mut streams = Vec::new();
    for table in tables {
        let table: &str = table;
        let name = format!("us-east-1:{table}").parse().expect("it names a table");
        let side = Side::new(name, Access::default());
        let client = clients.dynamodb(&side).await.expect("a client can be built");
        for first in 0..at_once {
            let (client, table) = (client.clone(), table.to_owned());
            streams.push(tokio::spawn(async move {
                for segment in (first..segments).step_by(usize::try_from(at_once).expect("it is small")) {
                    fetch(&client, &table, segment, segments, items).await;
                }
            }));
        }
    }
    for ended in join_all(streams).await {
        ended.expect("nothing panics");
    }
}

async fn fetch(client: &Client, table: &str, segment: u64, segments: u64, items: u64) {
    let small = |number: u64| i32::try_from(number).expect("there are not many segments");
    for first in (0..items).step_by(usize::try_from(ITEMS_PER_PAGE).expect("a page is small")) {
        let mut request = client.scan().table_name(table).segment(small(segment)).total_segments(small(segments));
        if let Some(last) = first.checked_sub(1) {
            request = request.exclusive_start_key("id", AttributeValue::S(key(segment, last)));
        }
        let request = request.return_consumed_capacity(ReturnConsumedCapacity::Total);
        request.customize().interceptor(Discard).send().await.expect("the page is fetched");
    }
}

/// Has the SDK take an answer for read.
#[derive(Debug)]
struct Discard;

impl Intercept for Discard {
    fn name(&self) -> &'static str {
        "Discard"
    }

    fn read_before_execution(
        &self,
        _context: &BeforeSerializationInterceptorContextRef<'_>,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        config.interceptor_state().store_put(SharedResponseDeserializer::new(Self));
        Ok(())
    }
}

impl DeserializeResponse for Discard {
    fn deserialize_nonstreaming_with_config(&self, response: &HttpResponse, _config: &ConfigBag) -> OutputOrError {
        assert!(response.status().is_success(), "the server answered {}", response.status());
        Ok(Output::erase(ScanOutput::builder().build()))
    }
}
