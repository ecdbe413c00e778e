//! One change of an item, as a stream tells of it.

use serde_json::Value as Json;

use super::json::item_from_json;
use super::key::{Key, KeySchema};
use super::value::Item;

/// What a stream says that happened to one item.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The item's key.
    pub key: Key,
    /// What happened.
    pub event: Event,
    /// What the item is after it.
    pub image: Image,
    /// What the item was before it, where the stream carries that.
    pub old: Option<Item>,
    /// When it happened.
    pub created: Created,
    /// Who did it.
    pub actor: Actor,
}

/// What happened to an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was not there before.
    Insert,
    /// It was there before, and is another now.
    Modify,
    /// It is gone.
    Remove,
}

/// What an item is after a change.
#[derive(Clone, Debug, PartialEq)]
pub enum Image {
    /// This.
    Item(Item),
    /// Not there.
    Gone,
    /// The stream does not say: the master does.
    Unread,
}

/// Who made a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A client of the table.
    Client,
    /// The table itself, because the item's time to live had passed.
    TimeToLive,
}

/// When a change happened, as exactly as its stream says: not before `from_ms`, and before `until_ms`, both in
/// milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Created {
    /// The earliest moment that it can be.
    pub from_ms: i64,
    /// The moment before which it was.
    pub until_ms: i64,
}

impl Created {
    /// A time that was rounded down to whole seconds, as DynamoDB Streams does.
    #[must_use]
    pub fn in_second(second: i64) -> Self {
        Self { from_ms: second.saturating_mul(1000), until_ms: second.saturating_add(1).saturating_mul(1000) }
    }

    /// A time that was rounded down to whole milliseconds.
    #[must_use]
    pub fn in_millisecond(ms: i64) -> Self {
        Self { from_ms: ms, until_ms: ms.saturating_add(1) }
    }
}

/// One record of a stream: a change, or what cannot be understood as one.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its place in the shard.
    pub sequence: String,
    /// What it says.
    pub change: Result<Change, BadRecord>,
}

/// A record that is no change of an item of this table; carries no item values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record is no change of an item: {0}")]
pub struct BadRecord(pub String);

/// How a record came, which decides what its times mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// DynamoDB Streams: times are in seconds.
    DynamoDbStreams,
    /// Kinesis: times are in milliseconds, in microseconds where the record says so, or in seconds where it was relayed
    /// from DynamoDB Streams; a record without one is as old
    /// as its arrival in the stream.
    Kinesis {
        /// Milliseconds since 1970.
        arrived_ms: i64,
    },
}

impl Change {
    /// Reads a record in the JSON form that Lambda and Kinesis carry it in, keys-only records included.
    ///
    /// # Errors
    /// `BadRecord` when it lacks its event or key, or an attribute is none.
    pub fn from_json(schema: &KeySchema, record: &Json, carrier: Carrier) -> Result<Self, BadRecord> {
        let bad = |what: &str| BadRecord(what.to_owned());
        let body =
            record.get("dynamodb").filter(|body| body.is_object()).ok_or_else(|| bad("`dynamodb` is missing"))?;
        let event = match record.get("eventName").and_then(Json::as_str) {
            Some("INSERT") => Event::Insert,
            Some("MODIFY") => Event::Modify,
            Some("REMOVE") => Event::Remove,
            Some(_) => return Err(bad("`eventName` is none that is known")),
            None => return Err(bad("`eventName` is missing")),
        };
        let keys = body.get("Keys").ok_or_else(|| bad("`Keys` is missing"))?;
        let key = Key::from_json(schema, keys).map_err(|error| BadRecord(format!("`Keys`: {error}")))?;
        let image = |name: &str| {
            let json = body.get(name).filter(|image| !image.is_null());
            let item = json.map(|json| item_from_json(json).map_err(|error| BadRecord(format!("`{name}`: {error}"))));
            match item.transpose()? {
                Some(item) if !Key::of(schema, &item).is_ok_and(|of_image| of_image == key) => {
                    Err(BadRecord(format!("`{name}` has another key than `Keys`")))
                }
                item => Ok(item),
            }
        };
        let shows_items = match body.get("StreamViewType").and_then(Json::as_str) {
            Some("KEYS_ONLY" | "OLD_IMAGE") => false,
            Some(_) | None => true,
        };
        Ok(Self {
            image: Image::told(event, image("NewImage")?.filter(|_| shows_items), shows_items),
            old: image("OldImage")?,
            key,
            event,
            created: created(body, carrier).ok_or_else(|| bad("`ApproximateCreationDateTime` is no time"))?,
            actor: actor(record),
        })
    }
}

impl Image {
    /// What a record tells of the item: `shows_items` says whether one that lacks the new item tells that it is gone.
    #[must_use]
    pub fn told(event: Event, new: Option<Item>, shows_items: bool) -> Self {
        match (event, new) {
            (Event::Insert | Event::Modify, Some(item)) => Self::Item(item),
            (Event::Remove, _) if shows_items => Self::Gone,
            _ => Self::Unread,
        }
    }
}

/// Times of records on Kinesis below this are in seconds: somebody relays what the table's own stream told. In
/// milliseconds it is a day of 1973.
const IN_SECONDS_BELOW: f64 = 1e11;

fn created(body: &Json, carrier: Carrier) -> Option<Created> {
    let time = body.get("ApproximateCreationDateTime").filter(|time| !time.is_null());
    match (carrier, time) {
        #[expect(clippy::cast_possible_truncation, reason = "a time in seconds, far from the end of i64")]
        (Carrier::DynamoDbStreams, Some(time)) => Some(Created::in_second(time.as_f64()?.floor() as i64)),
        // No time at all: as old as can be, so that nothing is taken for newer than it is.
        (Carrier::DynamoDbStreams, None) => Some(Created { from_ms: 0, until_ms: i64::MAX }),
        (Carrier::Kinesis { arrived_ms }, None) => Some(Created { from_ms: 0, until_ms: arrived_ms.saturating_add(1) }),
        (Carrier::Kinesis { .. }, Some(time)) => {
            let number = time.as_f64()?;
            if number < IN_SECONDS_BELOW {
                #[expect(clippy::cast_possible_truncation, reason = "it is below 10^11")]
                return Some(Created::in_second(number.floor() as i64));
            }
            let precise = body.get("ApproximateCreationDateTimePrecision").and_then(Json::as_str);
            let time = time.as_i64()?;
            Some(Created::in_millisecond(if precise == Some("MICROSECOND") { time.div_euclid(1000) } else { time }))
        }
    }
}

/// Who deletes by time to live signs as the service.
///
/// Source: Amazon DynamoDB Developer Guide, "DynamoDB Streams and Time to Live".
fn actor(record: &Json) -> Actor {
    let identity = |field: &str| record.pointer(&format!("/userIdentity/{field}")).and_then(Json::as_str);
    let is_service = |name: &str, capital: &str| identity(name).or_else(|| identity(capital));
    match (is_service("type", "Type"), is_service("principalId", "PrincipalId")) {
        (Some("Service"), Some("dynamodb.amazonaws.com")) => Actor::TimeToLive,
        _ => Actor::Client,
    }
}

#[cfg(test)]
mod tests;
