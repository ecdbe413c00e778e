//! `demo`: an embedded DynamoDB with two tables that disagree in every way; compare, repair, compare again.
//!
//! The server is an emulator inside this process. It shows what dynamend does, not what DynamoDB does under load: it
//! never throttles, has no latency worth the name, and hands out scans sorted by key.

use std::pin::pin;
use std::sync::Arc;

use dynoxide::Database;
use futures::stream::TryStreamExt as _;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};
use shared::aws::clients::{ClientSettings, Clients};
use shared::domain::decide::{ExtraHandling, Handling, Policy};
use shared::domain::discrepancy::Discrepancy;
use shared::domain::job::{Access, Confirm, Side, SyncSettings};
use shared::domain::summary::Summary;
use shared::journal::{Journal, StoreUrl};
use tokio_util::sync::CancellationToken;
use worker::embedded::Embedded;
use worker::environment::Environment;
use worker::plan::{GlobalTables, LimitsAsked, Segments, SyncRequest, plan};

use crate::cli::OutputFormat;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::settings::Settings;
use crate::view;

const MASTER: &str = "us-east-1:orders";
const SLAVE: &str = "eu-west-1:orders-replica";
const SEGMENTS: u32 = 4;
const ITEMS: u32 = 1000;

/// Nothing else writes to the demo's tables, so there is no replication to wait for.
const CONFIRM_MILLIS: u64 = 100;

pub(super) async fn run(settings: &Settings, stop: CancellationToken) -> Result<Exit, Failure> {
    let database = Database::memory().map_err(|error| broken(&error))?;
    fill(&database)?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let serve_until = CancellationToken::new();
    let serving =
        tokio::spawn(dynoxide::server::serve_with_shutdown(listener, database, serve_until.clone().cancelled_owned()));
    let folder = tempfile::tempdir()?;
    let demo = Demo {
        clients: Arc::new(Clients::for_emulator(ClientSettings::default())),
        endpoint,
        store: StoreUrl::Directory(folder.path().to_owned()),
        stop,
    };
    let shown = demo.show(settings.output).await;
    // Connections are kept alive by the clients, and the server waits for the last of them.
    drop(demo);
    serve_until.cancel();
    let _ = serving.await;
    shown
}

struct Demo {
    clients: Arc<Clients>,
    endpoint: String,
    store: StoreUrl,
    stop: CancellationToken,
}

impl Demo {
    async fn show(&self, format: OutputFormat) -> Result<Exit, Failure> {
        let report_only = Policy { extra: ExtraHandling::Report, ..Policy::default() };
        let repair = Policy { missing: Handling::Repair, differing: Handling::Repair, extra: ExtraHandling::Delete };
        let mut output = Output::new();
        let text = format == OutputFormat::Text;
        if text {
            output.line(&format!(
                "An embedded DynamoDB with two tables of {ITEMS} items is up; {SLAVE} has drifted from {MASTER}."
            ))?;
            output.line("\n1. Compare: dynamend sync -m MASTER -s SLAVE --scan-for-extra\n")?;
        }
        let (compared, report) = self.sync("demo-1-compare", report_only).await?;
        if text {
            output.line(&view::summary(&compared))?;
            output.line("")?;
            for line in &report {
                output.line(&view::discrepancy(line))?;
            }
            output.line("\n2. Repair: dynamend sync -m MASTER -s SLAVE --repair\n")?;
        }
        let (repaired, _) = self.sync("demo-2-repair", repair).await?;
        if text {
            output.line(&view::summary(&repaired))?;
            output.line("\n3. Compare again: dynamend sync -m MASTER -s SLAVE --scan-for-extra\n")?;
        }
        let (again, _) = self.sync("demo-3-compare-again", report_only).await?;
        if text {
            output.line(&view::summary(&again))?;
            let verdict = if again.remaining() == 0 { "The tables agree." } else { "The tables still differ." };
            output.line(&format!("\n{verdict}"))?;
        } else {
            output
                .json(&json!({ "compare": compared, "report": report, "repair": repaired, "compare_again": again }))?;
        }
        output.finish()?;
        Ok(Exit::of(&again))
    }

    async fn sync(&self, job: &str, policy: Policy) -> Result<(Summary, Vec<Discrepancy>), Failure> {
        let side = |table: &str| -> Result<Side, Failure> {
            let table = table.parse().map_err(|error| broken(&error))?;
            let endpoint_url = Some(self.endpoint.clone());
            Ok(Side::new(table, Access { endpoint_url, ..Access::default() }))
        };
        let request = SyncRequest {
            job: job.to_owned(),
            master: side(MASTER)?,
            slaves: vec![side(SLAVE)?],
            segments: Segments::Fixed(SEGMENTS),
            only_segments: None,
            sample: None,
            starting_keys: std::collections::BTreeMap::new(),
            global_tables: GlobalTables::default(),
            encryption: None,
            limits: LimitsAsked::default(),
            settings: SyncSettings {
                policy,
                ignore: vec!["meta.syncedAt".to_owned()],
                confirm: Confirm::AfterMillis(CONFIRM_MILLIS),
                ..SyncSettings::default()
            },
        };
        let environment = || Environment::aws(Arc::clone(&self.clients));
        let manifest = plan(request, &environment()).await?;
        let journal = Journal::new(environment().store(&self.store).await?, job);
        journal.create(&manifest).await?;
        let mut embedded = Embedded::new(environment(), usize::try_from(SEGMENTS).unwrap_or(1));
        embedded.stop = self.stop.clone();
        let summary = embedded.work(&journal, &manifest, manifest.units().collect()).await?;
        let mut report = Vec::new();
        let mut looks = pin!(journal.look(&manifest));
        while let Some((unit, view)) = looks.try_next().await? {
            for name in view.iter().flat_map(|view| &view.checkpoint.parts) {
                report.extend(journal.part(unit, name).await?);
            }
        }
        Ok((summary, report))
    }
}

/// Two tables that disagree in every way there is.
fn fill(database: &Database) -> Result<(), Failure> {
    for name in ["orders", "orders-replica"] {
        database
            .create_table(request(json!({
                "TableName": name,
                "KeySchema": [{"AttributeName": "customer", "KeyType": "HASH"}, {"AttributeName": "order", "KeyType": "RANGE"}],
                "AttributeDefinitions": [
                    {"AttributeName": "customer", "AttributeType": "S"}, {"AttributeName": "order", "AttributeType": "N"},
                ],
                "BillingMode": "PAY_PER_REQUEST",
            }))?)
            .map_err(|error| broken(&error))?;
    }
    for n in 0..ITEMS {
        let item = order(n);
        put(database, "orders", &item)?;
        if let Some(copy) = drifted(n, item) {
            put(database, "orders-replica", &copy)?;
        }
    }
    for n in ITEMS..ITEMS + 2 {
        put(database, "orders-replica", &order(n))?;
    }
    Ok(())
}

fn order(n: u32) -> Json {
    json!({
        "customer": {"S": format!("customer-{:03}", n / 10)},
        "order": {"N": n.to_string()},
        "total": {"N": format!("{}.50", n * 7)},
        "exact": {"N": "1234567890123456789012345678901234567.8"},
        "tags": {"SS": ["new", "paid"]},
        "lines": {"L": [{"M": {"sku": {"S": "A-1"}, "count": {"N": "1"}}}, {"M": {"sku": {"S": "B-2"}, "count": {"N": "2"}}}]},
        "meta": {"M": {"source": {"S": "web"}, "syncedAt": {"N": "1"}}},
        "signature": {"B": "3q2+7w=="},
    })
}

/// What the replica holds instead of an item, if it holds it at all.
fn drifted(n: u32, mut item: Json) -> Option<Json> {
    match n {
        17 | 418 | 730 => return None,
        101 => item["total"] = json!({"N": "0"}),
        202 => item["total"] = json!({"S": "1414.50"}),
        303 => item["lines"]["L"][1]["M"]["count"] = json!({"N": "3"}),
        404 => item["tags"] = json!({"SS": ["new"]}),
        505 => item["exact"] = json!({"N": "1234567890123456789012345678901234567.9"}),
        606 => item["signature"] = json!({"B": "3q2+7g=="}),
        // Spelt otherwise, or ignored: no discrepancy.
        707 => item["total"] = json!({"N": "4.9495E3"}),
        808 => item["tags"] = json!({"SS": ["paid", "new"]}),
        909 => item["meta"]["M"]["syncedAt"] = json!({"N": "2"}),
        _ => {}
    }
    Some(item)
}

fn put(database: &Database, table: &str, item: &Json) -> Result<(), Failure> {
    database.put_item(request(json!({ "TableName": table, "Item": item }))?).map_err(|error| broken(&error))?;
    Ok(())
}

fn request<T: DeserializeOwned>(json: Json) -> Result<T, Failure> {
    serde_json::from_value(json).map_err(|error| broken(&error))
}

fn broken(error: &dyn std::fmt::Display) -> Failure {
    Failure::failed(
        format!("the demo's embedded DynamoDB failed: {error}"),
        "this is a mistake of ours; please report it",
    )
}
