//! The contract of making tables: [`Table::create`], [`Table::definition`] and [`Table::set_time_to_live`].
#![expect(clippy::unwrap_used, reason = "a clause fails by panicking, as a test does")]

use super::table::schema;
use crate::domain::condition::{Condition, Write};
use crate::domain::definition::{
    AttributeDefinition, BillingMode, GlobalIndex, KeyElement, KeyRole, LocalIndex, Projection, StreamSpecification,
    TableDefinition, Throughput, TimeToLive,
};
use crate::domain::key::KeyType;
use crate::domain::number::Number;
use crate::domain::value::{Item, Value};
use crate::ports::failure::{Failure, FailureKind};
use crate::ports::table::{Applied, Readiness, Table};

/// Looks after which a table that still is not ready never will be.
const LOOKS: usize = 600;

/// Holds an adapter to all clauses; `missing` gives a table that is not there, `pause` lets a little time pass.
pub async fn definition<T: Table>(missing: impl AsyncFn() -> T, pause: impl AsyncFn()) {
    what_is_not_there_has_no_definition(&missing().await).await;
    a_table_is_made_as_it_was_defined(&missing().await, &pause).await;
    a_table_with_capacity_is_made_as_it_was_defined(&missing().await, &pause).await;
    a_table_is_made_once(&missing().await, &pause).await;
    time_to_live_is_set_once_and_may_be_said_again(&missing().await, &pause).await;
}

/// Neither reading its definition nor setting its time to live makes a table.
pub async fn what_is_not_there_has_no_definition(table: &dyn Table) {
    assert_kind(FailureKind::NotFound, &table.definition().await);
    assert_kind(FailureKind::NotFound, &table.set_time_to_live("ttl").await);
    assert_kind(FailureKind::NotFound, &table.describe().await);
}

/// Key, indexes and stream come back as they were given, and the table can be written.
pub async fn a_table_is_made_as_it_was_defined(table: &dyn Table, pause: &impl AsyncFn()) {
    let mut definition = TableDefinition::on_demand(&schema());
    let create = &mut definition.create_table;
    create.attribute_definitions.insert(0, attribute("about", KeyType::B));
    create.local_secondary_indexes = vec![LocalIndex {
        index_name: "by-about".into(),
        key_schema: vec![element("id", KeyRole::Hash), element("about", KeyRole::Range)],
        projection: projection("KEYS_ONLY", &[]),
    }];
    create.global_secondary_indexes = ["first", "second"]
        .map(|name| GlobalIndex {
            index_name: name.into(),
            key_schema: vec![element("about", KeyRole::Hash)],
            projection: projection("INCLUDE", &["a", "b"]),
            provisioned_throughput: None,
            on_demand_throughput: None,
        })
        .into();
    create.stream_specification =
        Some(StreamSpecification { stream_enabled: true, stream_view_type: Some("NEW_AND_OLD_IMAGES".into()) });

    table.create(&definition).await.unwrap();
    until_ready(table, pause).await;

    assert_made_of(table, &definition).await;
    assert_eq!(table.describe().await.unwrap().key_schema, schema());
    let item: Item =
        [("id".to_owned(), Value::S("a".into())), ("at".to_owned(), Value::N(Number::parse("1").unwrap()))].into();
    let written = table.write_if(&Write::Put(item), &Condition::absent(&schema())).await.unwrap();
    assert_eq!(written.applied, Applied::Written);
}

/// Capacity comes back as it was given, of the table and of an index.
pub async fn a_table_with_capacity_is_made_as_it_was_defined(table: &dyn Table, pause: &impl AsyncFn()) {
    let mut definition = TableDefinition::on_demand(&schema());
    let create = &mut definition.create_table;
    create.billing_mode = BillingMode::Provisioned;
    create.provisioned_throughput = Some(Throughput { read_capacity_units: 7, write_capacity_units: 3 });
    create.global_secondary_indexes = vec![GlobalIndex {
        index_name: "by-time".into(),
        key_schema: vec![element("at", KeyRole::Hash), element("id", KeyRole::Range)],
        projection: projection("ALL", &[]),
        provisioned_throughput: Some(Throughput { read_capacity_units: 2, write_capacity_units: 1 }),
        on_demand_throughput: None,
    }];

    table.create(&definition).await.unwrap();
    until_ready(table, pause).await;

    assert_made_of(table, &definition).await;
}

/// A second table of that name is a conflict, whatever it would be made of, and the first one stays as it is.
pub async fn a_table_is_made_once(table: &dyn Table, pause: &impl AsyncFn()) {
    let definition = TableDefinition::on_demand(&schema());
    let mut other = definition.clone();
    other.create_table.key_schema.truncate(1);
    other.create_table.attribute_definitions.retain(|definition| definition.attribute_name == "id");

    table.create(&definition).await.unwrap();
    until_ready(table, pause).await;

    assert_kind(FailureKind::Conflict, &table.create(&definition).await);
    assert_kind(FailureKind::Conflict, &table.create(&other).await);
    assert_eq!(table.describe().await.unwrap().key_schema, schema());
}

/// The same attribute again is a success, another one a conflict; making the table does not set it.
pub async fn time_to_live_is_set_once_and_may_be_said_again(table: &dyn Table, pause: &impl AsyncFn()) {
    let mut definition = TableDefinition::on_demand(&schema());
    definition.time_to_live_specification = Some(TimeToLive { enabled: true, attribute_name: "ttl".into() });

    table.create(&definition).await.unwrap();
    until_ready(table, pause).await;
    assert_eq!(table.time_to_live().await.unwrap(), None);
    table.set_time_to_live("ttl").await.unwrap();

    assert_eq!(table.time_to_live().await.unwrap().as_deref(), Some("ttl"));
    assert_made_of(table, &definition).await;
    table.set_time_to_live("ttl").await.unwrap();
    assert_kind(FailureKind::Conflict, &table.set_time_to_live("other").await);
    assert_made_of(table, &definition).await;
}

/// The service may name the class and say that the table is not protected, where nothing was said of either.
async fn assert_made_of(table: &dyn Table, expected: &TableDefinition) {
    let mut found = table.definition().await.unwrap();
    assert!(!found.create_table.deletion_protection_enabled.unwrap_or(false), "nobody asked for it");
    found.create_table.deletion_protection_enabled = None;
    if found.create_table.table_class.as_deref() == Some("STANDARD") {
        found.create_table.table_class = None;
    }
    assert_eq!(&found, expected);
}

async fn until_ready(table: &dyn Table, pause: &impl AsyncFn()) {
    for _ in 0..LOOKS {
        match table.describe().await.unwrap().readiness {
            Readiness::Ready => return,
            Readiness::NotReady(_) => pause().await,
        }
    }
    panic!("the table is not ready after {LOOKS} looks");
}

fn attribute(name: &str, attribute_type: KeyType) -> AttributeDefinition {
    AttributeDefinition { attribute_name: name.to_owned(), attribute_type }
}

fn element(name: &str, key_type: KeyRole) -> KeyElement {
    KeyElement { attribute_name: name.to_owned(), key_type }
}

fn projection(kind: &str, names: &[&str]) -> Projection {
    Projection {
        projection_type: kind.to_owned(),
        non_key_attributes: names.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn assert_kind<T: std::fmt::Debug>(kind: FailureKind, result: &Result<T, Failure>) {
    assert!(matches!(result, Err(failure) if failure.kind == kind), "{kind:?} is expected, and not {result:?}");
}
