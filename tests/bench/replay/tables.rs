//! Tables that are functions of a position: what they hold, and DynamoDB's answers about it.
//!
//! A segment is a row of positions. All tables have the same item at the same position, but for what a name says:
//! `differing-1000` has a different one at every thousandth, `lacking-50000` has no items at 50,000 neighbouring ones,
//! as a table does that lacks an item collection, and `apart` has keys of its own. What follows these in a name is for
//! telling tables apart.

use std::io::Write as _;

use serde_json::{Value, json};

/// DynamoDB's size of every item.
pub(crate) const ITEM_BYTES: u64 = 200;

/// Items of a full page, which has 1 MB.
pub(crate) const ITEMS_PER_PAGE: u64 = 1024 * 1024 / ITEM_BYTES;

/// Bytes that one unit of a strongly consistent read pays for; an eventually consistent one pays for twice as many.
const BYTES_PER_UNIT: u64 = 4096;

/// Letters that make an item as large as it is to be.
const NOTE: &str = "as it was ordered, on time, and left with the neighbour on the second floor because nobody was at \
                    home in the afternoon";

/// All tables there are.
pub(super) struct Tables {
    pub(super) items_per_segment: u64,
}

/// What one of them holds.
struct Table<'a> {
    name: &'a str,
    /// What its keys begin with.
    series: &'static str,
    /// Every position that this divides has another item than other tables'.
    differing: u64,
    /// The positions without item.
    lacking: std::ops::Range<u64>,
}

/// Where an item is.
#[derive(Clone, Copy)]
struct Place {
    segment: u64,
    position: u64,
}

impl Tables {
    fn table<'a>(&self, name: &'a str) -> Table<'a> {
        let number = |kind: &str| -> Option<u64> {
            let digits = name.strip_prefix(kind)?.split('-').next().unwrap_or_default();
            Some(digits.parse().unwrap_or_else(|_| panic!("`{name}` needs a number after `{kind}`")))
        };
        let middle = self.items_per_segment / 2;
        Table {
            name,
            series: if name.starts_with("apart") { "x" } else { "k" },
            differing: number("differing-").unwrap_or(u64::MAX),
            lacking: middle..middle + number("lacking-").unwrap_or(0),
        }
    }

    pub(super) fn describe(&self, request: &Value, answer: &mut Vec<u8>) {
        let name = request["TableName"].as_str().expect("a table is named");
        let description = json!({ "Table": {
            "TableName": name,
            "TableId": name,
            "TableArn": format!("arn:aws:dynamodb:us-east-1:000000000000:table/{name}"),
            "TableStatus": "ACTIVE",
            "KeySchema": [{ "AttributeName": "id", "KeyType": "HASH" }],
            "AttributeDefinitions": [{ "AttributeName": "id", "AttributeType": "S" }],
            "ItemCount": self.items_per_segment,
            "TableSizeBytes": self.items_per_segment * ITEM_BYTES,
        }});
        answer.extend(description.to_string().bytes());
    }

    /// One page; returns the units it takes.
    pub(super) fn scan(&self, request: &Value, answer: &mut Vec<u8>) -> f64 {
        let table = self.table(request["TableName"].as_str().expect("a table is named"));
        let segment = request["Segment"].as_u64().unwrap_or(0);
        let after = request["ExclusiveStartKey"]["id"]["S"].as_str().map(|key| place(key).1.position + 1);
        let limit = request["Limit"].as_u64().unwrap_or(ITEMS_PER_PAGE).min(ITEMS_PER_PAGE);
        let rest = (after.unwrap_or(0)..self.items_per_segment).filter(|position| !table.lacking.contains(position));
        let positions: Vec<u64> = rest.take(usize::try_from(limit).expect("a page is small")).collect();
        let count = positions.len() as u64;
        write(answer, format_args!("{{\"Count\":{count},\"Items\":["));
        for (n, &position) in positions.iter().enumerate() {
            separate(answer, n > 0);
            table.write(Place { segment, position }, !request["ProjectionExpression"].is_null(), answer);
        }
        answer.push(b']');
        if let Some(&position) = positions.last().filter(|&&last| last + 1 < self.items_per_segment) {
            let key = table.key(Place { segment, position });
            write(answer, format_args!(",\"LastEvaluatedKey\":{{\"id\":{{\"S\":\"{key}\"}}}}"));
        }
        let units = units(count * ITEM_BYTES, request["ConsistentRead"] == true);
        write(answer, format_args!(",\"ScannedCount\":{count},\"ConsumedCapacity\":"));
        write(answer, format_args!("{{\"CapacityUnits\":{units:?},\"TableName\":\"{}\"}}}}", table.name));
        units
    }

    /// Items by their keys; returns the units they take.
    pub(super) fn get(&self, request: &Value, answer: &mut Vec<u8>) -> f64 {
        let asked = request["RequestItems"].as_object().and_then(|tables| tables.iter().next());
        let (name, asked) = asked.expect("one table is asked for");
        let table = self.table(name);
        let is_strong = asked["ConsistentRead"] == true;
        let (mut total, mut count) = (0.0, 0);
        write(answer, format_args!("{{\"Responses\":{{\"{name}\":["));
        for key in asked["Keys"].as_array().expect("keys are asked for") {
            let (series, place) = place(key["id"]["S"].as_str().expect("the key is a string"));
            let is_here = series == table.series && place.position < self.items_per_segment;
            total += units(ITEM_BYTES, is_strong);
            if is_here && !table.lacking.contains(&place.position) {
                separate(answer, count > 0);
                table.write(place, !asked["ProjectionExpression"].is_null(), answer);
                count += 1;
            }
        }
        write(answer, format_args!("]}},\"UnprocessedKeys\":{{}},\"ConsumedCapacity\":"));
        write(answer, format_args!("[{{\"CapacityUnits\":{total:?},\"TableName\":\"{name}\"}}]}}"));
        total
    }
}

impl Table<'_> {
    fn key(&self, Place { segment, position }: Place) -> String {
        format!("{}-{segment:06}-{position:012}", self.series)
    }

    /// The item at a place, as DynamoDB writes it.
    fn write(&self, place: Place, only_key: bool, answer: &mut Vec<u8>) {
        let Place { segment, position } = place;
        answer.extend_from_slice(b"{\"id\":{\"S\":\"");
        answer.extend_from_slice(self.series.as_bytes());
        answer.push(b'-');
        digits(segment, 6, answer);
        answer.push(b'-');
        digits(position, 12, answer);
        answer.extend_from_slice(b"\"}");
        if !only_key {
            let differs = position % self.differing == 0 && self.differing != u64::MAX;
            answer.extend_from_slice(b",\"note\":{\"S\":\"");
            answer.extend_from_slice(NOTE.as_bytes());
            answer.extend_from_slice(b"\"},\"customer\":{\"S\":\"customer-");
            digits(position * 7919 % 1_000_000_007, 12, answer);
            answer.extend_from_slice(b"\"},\"total\":{\"N\":\"");
            digits(100_000 + position * 31 % 900_000, 6, answer);
            answer.extend_from_slice(b".25\"},\"paid\":{\"BOOL\":true},\"quantity\":{\"N\":\"");
            digits(10 + position % 80 + u64::from(differs), 2, answer);
            answer.extend_from_slice(b"\"}");
        }
        answer.push(b'}');
    }
}

/// The key of the item at a position, as every table has it.
pub(crate) fn key(segment: u64, position: u64) -> String {
    Tables { items_per_segment: 0 }.table("").key(Place { segment, position })
}

/// The series and the place that a key names.
fn place(key: &str) -> (&str, Place) {
    let mut parts = key.split('-');
    let mut next = || parts.next().expect("a key has three parts");
    let series = next();
    let mut number = || next().parse().expect("a place is two numbers");
    (series, Place { segment: number(), position: number() })
}

fn units(bytes: u64, is_strong: bool) -> f64 {
    let whole = bytes.div_ceil(BYTES_PER_UNIT).max(1) as f64;
    if is_strong { whole } else { whole / 2.0 }
}

fn separate(answer: &mut Vec<u8>, has_one: bool) {
    if has_one {
        answer.push(b',');
    }
}

fn write(answer: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    answer.write_fmt(text).expect("memory takes anything");
}

/// Far faster than formatting, which would make the server the slowest of all.
fn digits(mut number: u64, width: usize, answer: &mut Vec<u8>) {
    let mut text = [b'0'; 12];
    for digit in text[..width].iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).expect("a digit is small");
        number /= 10;
    }
    answer.extend_from_slice(&text[..width]);
}
