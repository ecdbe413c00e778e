//! A table's definition, out of what the service says of a table, and as a request to make one.

use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types as sdk;

use crate::domain::definition::{
    AttributeDefinition, BillingMode, CreateTable, GlobalIndex, KeyElement, KeyRole, LocalIndex, OnDemandThroughput,
    Projection, SseSpecification, StreamSpecification, TableDefinition, Throughput, TimeToLive,
};
use crate::domain::key::KeyType;

/// The definition of a table, as far as a request to create one takes it.
///
/// The service tells the key of AWS's own (`alias/aws/dynamodb`) by its ARN as it does any other, so that it is named
/// as if it were the account's.
///
/// # Errors
/// What cannot be read.
pub(super) fn definition(
    table: &sdk::TableDescription,
    time_to_live: Option<String>,
) -> Result<TableDefinition, &'static str> {
    let billing_mode = billing_mode(table);
    let mut create_table = CreateTable {
        attribute_definitions: attribute_definitions(table)?,
        key_schema: key_elements(table.key_schema())?,
        billing_mode,
        provisioned_throughput: table.provisioned_throughput.as_ref().and_then(|it| throughput(billing_mode, it)),
        on_demand_throughput: table.on_demand_throughput.as_ref().and_then(|it| on_demand(billing_mode, it)),
        global_secondary_indexes: sorted(global_indexes(table, billing_mode)?, |index| &index.index_name),
        local_secondary_indexes: sorted(local_indexes(table)?, |index| &index.index_name),
        stream_specification: stream(table),
        sse_specification: encryption(table),
        table_class: table
            .table_class_summary
            .as_ref()
            .and_then(|summary| summary.table_class.as_ref())
            .map(|class| class.as_str().to_owned()),
        deletion_protection_enabled: table.deletion_protection_enabled.filter(|&is_protected| is_protected),
    };
    let in_use: Vec<String> = create_table.key_names().map(str::to_owned).collect();
    create_table.attribute_definitions.retain(|definition| in_use.contains(&definition.attribute_name));
    let time_to_live_specification = time_to_live.map(|attribute_name| TimeToLive { enabled: true, attribute_name });
    Ok(TableDefinition { create_table, time_to_live_specification })
}

fn attribute_definitions(table: &sdk::TableDescription) -> Result<Vec<AttributeDefinition>, &'static str> {
    let definitions = table.attribute_definitions().iter().map(|definition| {
        let attribute_type = key_type(&definition.attribute_type).ok_or("the type of a key attribute is unknown")?;
        Ok::<_, &str>(AttributeDefinition { attribute_name: definition.attribute_name.clone(), attribute_type })
    });
    Ok(sorted(definitions.collect::<Result<Vec<_>, _>>()?, |definition| &definition.attribute_name))
}

/// The type of a key attribute; none when it is one that is not known.
pub(super) fn key_type(kind: &sdk::ScalarAttributeType) -> Option<KeyType> {
    match kind {
        sdk::ScalarAttributeType::S => Some(KeyType::S),
        sdk::ScalarAttributeType::N => Some(KeyType::N),
        sdk::ScalarAttributeType::B => Some(KeyType::B),
        _ => None,
    }
}

fn key_elements(elements: &[sdk::KeySchemaElement]) -> Result<Vec<KeyElement>, &'static str> {
    let elements = elements.iter().map(|element| {
        let key_type = match element.key_type {
            sdk::KeyType::Hash => KeyRole::Hash,
            sdk::KeyType::Range => KeyRole::Range,
            _ => return Err("its key schema cannot be read"),
        };
        Ok(KeyElement { attribute_name: element.attribute_name.clone(), key_type })
    });
    elements.collect()
}

/// A table that never was on demand has no billing mode; one that is has a capacity of 0, where it has one.
fn billing_mode(table: &sdk::TableDescription) -> BillingMode {
    let mode = table.billing_mode_summary.as_ref().and_then(|summary| summary.billing_mode.as_ref());
    let read = table.provisioned_throughput.as_ref().and_then(|capacity| capacity.read_capacity_units);
    match mode {
        Some(sdk::BillingMode::PayPerRequest) => BillingMode::PayPerRequest,
        _ if read.unwrap_or(0) == 0 => BillingMode::PayPerRequest,
        _ => BillingMode::Provisioned,
    }
}

fn throughput(mode: BillingMode, capacity: &sdk::ProvisionedThroughputDescription) -> Option<Throughput> {
    let units = |units: Option<i64>| units.and_then(|units| u64::try_from(units).ok()).unwrap_or(0);
    (mode == BillingMode::Provisioned).then(|| Throughput {
        read_capacity_units: units(capacity.read_capacity_units),
        write_capacity_units: units(capacity.write_capacity_units),
    })
}

/// Limits that are set; the service says -1 for those that are not.
fn on_demand(mode: BillingMode, limits: &sdk::OnDemandThroughput) -> Option<OnDemandThroughput> {
    let limit = |limit: Option<i64>| limit.and_then(|limit| u64::try_from(limit).ok()).filter(|&limit| limit > 0);
    let limits = OnDemandThroughput {
        max_read_request_units: limit(limits.max_read_request_units),
        max_write_request_units: limit(limits.max_write_request_units),
    };
    let is_set = limits.max_read_request_units.is_some() || limits.max_write_request_units.is_some();
    (mode == BillingMode::PayPerRequest && is_set).then_some(limits)
}

fn global_indexes(table: &sdk::TableDescription, mode: BillingMode) -> Result<Vec<GlobalIndex>, &'static str> {
    let staying =
        |index: &&sdk::GlobalSecondaryIndexDescription| index.index_status != Some(sdk::IndexStatus::Deleting);
    let indexes = table.global_secondary_indexes().iter().filter(staying).map(|index| {
        Ok(GlobalIndex {
            index_name: index.index_name.clone().ok_or(NAMELESS)?,
            key_schema: key_elements(index.key_schema())?,
            projection: projection(index.projection.as_ref())?,
            provisioned_throughput: index.provisioned_throughput.as_ref().and_then(|it| throughput(mode, it)),
            on_demand_throughput: index.on_demand_throughput.as_ref().and_then(|it| on_demand(mode, it)),
        })
    });
    indexes.collect()
}

fn local_indexes(table: &sdk::TableDescription) -> Result<Vec<LocalIndex>, &'static str> {
    let indexes = table.local_secondary_indexes().iter().map(|index| {
        Ok(LocalIndex {
            index_name: index.index_name.clone().ok_or(NAMELESS)?,
            key_schema: key_elements(index.key_schema())?,
            projection: projection(index.projection.as_ref())?,
        })
    });
    indexes.collect()
}

const NAMELESS: &str = "an index has no name";

fn projection(projection: Option<&sdk::Projection>) -> Result<Projection, &'static str> {
    let projection = projection.ok_or("an index does not say what it carries")?;
    let kind = projection.projection_type.as_ref().ok_or("an index does not say what it carries")?;
    Ok(Projection {
        projection_type: kind.as_str().to_owned(),
        non_key_attributes: sorted(projection.non_key_attributes().to_vec(), |name| name),
    })
}

fn stream(table: &sdk::TableDescription) -> Option<StreamSpecification> {
    let stream = table.stream_specification.as_ref().filter(|stream| stream.stream_enabled)?;
    let stream_view_type = stream.stream_view_type.as_ref().map(|view| view.as_str().to_owned());
    Some(StreamSpecification { stream_enabled: true, stream_view_type })
}

/// There is no description of encryption with a key that DynamoDB owns.
fn encryption(table: &sdk::TableDescription) -> Option<SseSpecification> {
    let encryption = table.sse_description.as_ref()?;
    let is_on = matches!(
        encryption.status,
        Some(sdk::SseStatus::Enabled | sdk::SseStatus::Enabling | sdk::SseStatus::Updating)
    );
    let of_aws = |key: &&String| key.ends_with("alias/aws/dynamodb");
    is_on.then(|| SseSpecification {
        enabled: true,
        sse_type: encryption.sse_type.as_ref().map(|kind| kind.as_str().to_owned()),
        kms_master_key_id: encryption.kms_master_key_arn.as_ref().filter(|key| !of_aws(key)).cloned(),
    })
}

/// A request's parts in the SDK's types.
pub(super) struct Parts {
    pub(super) attributes: Vec<sdk::AttributeDefinition>,
    pub(super) key: Vec<sdk::KeySchemaElement>,
    pub(super) billing: sdk::BillingMode,
    pub(super) provisioned: Option<sdk::ProvisionedThroughput>,
    pub(super) on_demand: Option<sdk::OnDemandThroughput>,
    pub(super) global: Option<Vec<sdk::GlobalSecondaryIndex>>,
    pub(super) local: Option<Vec<sdk::LocalSecondaryIndex>>,
    pub(super) stream: Option<sdk::StreamSpecification>,
    pub(super) encryption: Option<sdk::SseSpecification>,
    pub(super) class: Option<sdk::TableClass>,
    pub(super) is_protected: Option<bool>,
}

impl Parts {
    /// The parts of a request to create this table.
    ///
    /// # Errors
    /// When something that must be there is not.
    pub(super) fn of(create: &CreateTable) -> Result<Self, BuildError> {
        let attributes = create.attribute_definitions.iter().map(|definition| {
            let kind = match definition.attribute_type {
                KeyType::S => sdk::ScalarAttributeType::S,
                KeyType::N => sdk::ScalarAttributeType::N,
                KeyType::B => sdk::ScalarAttributeType::B,
            };
            let builder = sdk::AttributeDefinition::builder().attribute_name(&definition.attribute_name);
            builder.attribute_type(kind).build()
        });
        let global = create.global_secondary_indexes.iter().map(global_to_sdk).collect::<Result<Vec<_>, _>>()?;
        let local = create.local_secondary_indexes.iter().map(local_to_sdk).collect::<Result<Vec<_>, _>>()?;
        let stream = create.stream_specification.as_ref().map(|stream| {
            let view = stream.stream_view_type.as_deref().map(sdk::StreamViewType::from);
            let builder = sdk::StreamSpecification::builder().stream_enabled(stream.stream_enabled);
            builder.set_stream_view_type(view).build()
        });
        let encryption = create.sse_specification.as_ref().map(|encryption| {
            sdk::SseSpecification::builder()
                .enabled(encryption.enabled)
                .set_sse_type(encryption.sse_type.as_deref().map(sdk::SseType::from))
                .set_kms_master_key_id(encryption.kms_master_key_id.clone())
                .build()
        });
        Ok(Self {
            attributes: attributes.collect::<Result<_, _>>()?,
            key: key_to_sdk(&create.key_schema)?,
            billing: match create.billing_mode {
                BillingMode::PayPerRequest => sdk::BillingMode::PayPerRequest,
                BillingMode::Provisioned => sdk::BillingMode::Provisioned,
            },
            provisioned: create.provisioned_throughput.map(throughput_to_sdk).transpose()?,
            on_demand: create.on_demand_throughput.map(on_demand_to_sdk),
            global: Some(global).filter(|indexes| !indexes.is_empty()),
            local: Some(local).filter(|indexes| !indexes.is_empty()),
            stream: stream.transpose()?,
            encryption,
            class: create.table_class.as_deref().map(sdk::TableClass::from),
            is_protected: create.deletion_protection_enabled,
        })
    }
}

fn key_to_sdk(elements: &[KeyElement]) -> Result<Vec<sdk::KeySchemaElement>, BuildError> {
    let elements = elements.iter().map(|element| {
        let role = match element.key_type {
            KeyRole::Hash => sdk::KeyType::Hash,
            KeyRole::Range => sdk::KeyType::Range,
        };
        sdk::KeySchemaElement::builder().attribute_name(&element.attribute_name).key_type(role).build()
    });
    elements.collect()
}

fn global_to_sdk(index: &GlobalIndex) -> Result<sdk::GlobalSecondaryIndex, BuildError> {
    sdk::GlobalSecondaryIndex::builder()
        .index_name(&index.index_name)
        .set_key_schema(Some(key_to_sdk(&index.key_schema)?))
        .projection(projection_to_sdk(&index.projection))
        .set_provisioned_throughput(index.provisioned_throughput.map(throughput_to_sdk).transpose()?)
        .set_on_demand_throughput(index.on_demand_throughput.map(on_demand_to_sdk))
        .build()
}

fn local_to_sdk(index: &LocalIndex) -> Result<sdk::LocalSecondaryIndex, BuildError> {
    sdk::LocalSecondaryIndex::builder()
        .index_name(&index.index_name)
        .set_key_schema(Some(key_to_sdk(&index.key_schema)?))
        .projection(projection_to_sdk(&index.projection))
        .build()
}

fn projection_to_sdk(projection: &Projection) -> sdk::Projection {
    let names = Some(projection.non_key_attributes.clone()).filter(|names| !names.is_empty());
    let kind = sdk::ProjectionType::from(projection.projection_type.as_str());
    sdk::Projection::builder().projection_type(kind).set_non_key_attributes(names).build()
}

fn throughput_to_sdk(capacity: Throughput) -> Result<sdk::ProvisionedThroughput, BuildError> {
    sdk::ProvisionedThroughput::builder()
        .read_capacity_units(clamped(capacity.read_capacity_units))
        .write_capacity_units(clamped(capacity.write_capacity_units))
        .build()
}

fn on_demand_to_sdk(limits: OnDemandThroughput) -> sdk::OnDemandThroughput {
    sdk::OnDemandThroughput::builder()
        .set_max_read_request_units(limits.max_read_request_units.map(clamped))
        .set_max_write_request_units(limits.max_write_request_units.map(clamped))
        .build()
}

fn clamped(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX)
}

fn sorted<T>(mut all: Vec<T>, name: impl Fn(&T) -> &String) -> Vec<T> {
    all.sort_by(|one, other| name(one).cmp(name(other)));
    all
}

#[cfg(test)]
mod tests;
