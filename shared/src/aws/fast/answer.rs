//! The fields of an answer around its items.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use std::collections::BTreeMap;

use super::cursor::Refused;
use super::items::Items;
use super::{GotPage, Unreadable};
use crate::domain::digest::Digester;
use crate::domain::json::item_from_json;
use crate::domain::key::Key;
use crate::domain::value::Item;
use crate::ports::table::EntryPage;

#[derive(Deserialize)]
struct Capacity {
    #[serde(rename = "CapacityUnits")]
    units: Option<f64>,
}

#[derive(Deserialize)]
struct Unprocessed {
    #[serde(rename = "Keys")]
    keys: Vec<Json>,
}

pub(super) fn page(body: &[u8], digester: &Digester) -> Result<EntryPage, Unreadable> {
    let mut items = Items::new(body, digester)?;
    let page = read_page(&mut items, digester);
    page.map_err(|Refused| items.cursor.unreadable())
}

pub(super) fn got(body: &[u8], digester: &Digester) -> Result<GotPage, Unreadable> {
    let mut items = Items::new(body, digester)?;
    let got = read_got(&mut items);
    got.map_err(|Refused| items.cursor.unreadable())
}

fn read_page(items: &mut Items<'_>, digester: &Digester) -> Result<EntryPage, Refused> {
    let mut page = EntryPage::default();
    let mut count: Option<usize> = None;
    object(items, |items, field| {
        match field {
            "Items" => items.array()?,
            "Count" => count = Some(small(items)?),
            "LastEvaluatedKey" => page.next = next(items, digester)?,
            "ConsumedCapacity" => page.read_units = small::<Option<Capacity>>(items)?.map_or(0.0, Capacity::units),
            _ => drop(items.cursor.value()?),
        }
        Ok(())
    })?;
    items.cursor.end()?;
    if count.is_some_and(|count| count != items.entries.len()) {
        return items.cursor.refuse("another count than there are items");
    }
    page.entries = std::mem::take(&mut items.entries);
    Ok(page)
}

fn read_got(items: &mut Items<'_>) -> Result<GotPage, Refused> {
    let mut got = GotPage::default();
    object(items, |items, field| {
        match field {
            "Responses" => object(items, |items, _table| items.array())?,
            "UnprocessedKeys" => got.unprocessed = unprocessed(items)?,
            "ConsumedCapacity" => {
                let capacities = small::<Option<Vec<Capacity>>>(items)?;
                got.read_units = capacities.into_iter().flatten().map(Capacity::units).sum();
            }
            _ => drop(items.cursor.value()?),
        }
        Ok(())
    })?;
    items.cursor.end()?;
    got.entries = std::mem::take(&mut items.entries);
    Ok(got)
}

/// An object, field by field, none of them twice.
fn object<'a>(
    items: &mut Items<'a>,
    mut read: impl FnMut(&mut Items<'a>, &str) -> Result<(), Refused>,
) -> Result<(), Refused> {
    items.cursor.expect(b'{', "what is no object")?;
    let (mut seen, mut first) = (Vec::new(), true);
    while let Some(name) = items.cursor.member(&mut first)? {
        let name = items.cursor.meaning(name)?;
        items.cursor.expect(b':', "a name without a value")?;
        if seen.contains(&name) {
            return items.cursor.refuse("a field that comes twice");
        }
        read(items, &name)?;
        seen.push(name);
    }
    Ok(())
}

/// A value that is small enough to be read at leisure.
fn small<T: DeserializeOwned>(items: &mut Items<'_>) -> Result<T, Refused> {
    let json = items.cursor.value()?;
    serde_json::from_str(json).or_else(|_| items.cursor.refuse("a field of another type"))
}

fn next(items: &mut Items<'_>, digester: &Digester) -> Result<Option<Key>, Refused> {
    let key = match small::<Option<Json>>(items)? {
        None => return Ok(None),
        Some(Json::Object(key)) if key.is_empty() => return Ok(None),
        Some(key) => item(items, &key)?,
    };
    Key::of(digester.schema(), &key).map(Some).or_else(|_| items.cursor.refuse("what is no key"))
}

fn unprocessed(items: &mut Items<'_>) -> Result<Vec<Item>, Refused> {
    let tables = small::<Option<BTreeMap<String, Unprocessed>>>(items)?.unwrap_or_default();
    tables.values().flat_map(|table| &table.keys).map(|key| item(items, key)).collect()
}

fn item(items: &mut Items<'_>, json: &Json) -> Result<Item, Refused> {
    item_from_json(json).or_else(|_| items.cursor.refuse("what is no key"))
}

impl Capacity {
    fn units(self) -> f64 {
        self.units.unwrap_or(0.0)
    }
}
