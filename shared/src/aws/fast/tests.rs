//! The fast reader against the domain's own digests of typed items.

use serde_json::Value as Json;

use super::{GotPage, got_from_bytes, page_from_bytes};
use crate::domain::compare::Ignore;
use crate::domain::digest::Digester;
use crate::domain::entries::Entries;
use crate::domain::json::item_from_json;
use crate::domain::key::{Key, KeyAttribute, KeySchema, KeyType};
use crate::ports::table::EntryPage;

/// An item of every type, with names so different that no single byte makes two of them alike.
const ITEM: &str = r#"{"at":{"N":"-1.5"},"bin":{"B":"AP8="},"no":{"BOOL":false},"yes":{"BOOL":true},"nil":{"NULL":true},
    "lists":{"L":[{"S":"a"},{"L":[]},{"N":"2"},{"M":{"x":{"NULL":true}}}]},"maps":{"M":{"deep":{"M":{}},"q\"":{"S":"\\"}}},
    "words":{"SS":["x","é"]},"figures":{"NS":["1","2.50"]},"blobs":{"BS":["AQ==","AQID"]},"text":{"S":"a\n\ud83e\udd80"},
    "id":{"S":"k\u0065y"},"number":{"N":"1e2"}}"#;

fn schema(partition: KeyType, sort: Option<KeyType>) -> KeySchema {
    let attribute = |name: &str, kind| KeyAttribute { name: name.to_owned(), kind };
    KeySchema { partition: attribute("id", partition), sort: sort.map(|kind| attribute("at", kind)) }
}

fn digester(rules: &[&str]) -> Digester {
    let rules: Vec<String> = rules.iter().map(|&rule| rule.to_owned()).collect();
    Digester::new(&schema(KeyType::S, Some(KeyType::N)), &Ignore::new(&rules), 42)
}

/// A page whose items have only a partition key.
fn simple() -> Digester {
    Digester::new(&schema(KeyType::S, None), &Ignore::default(), 42)
}

/// The slow way; nothing, if the items cannot be had.
fn typed(items: &Json, digester: &Digester) -> Option<Entries> {
    let mut entries = Entries::default();
    for item in items.as_array()? {
        let (digest, key) = digester.digest(&item_from_json(item).ok()?).ok()?;
        entries.push_key(digest, &key).ok()?;
    }
    Some(entries)
}

/// Holds the fast reading of these items against the slow one.
#[track_caller]
fn agree(items: &str, digester: &Digester) -> Entries {
    let page = page_from_bytes(format!(r#"{{"Items":{items}}}"#).as_bytes(), digester);
    let page = page.unwrap_or_else(|error| panic!("{items}: {error}"));
    let json = serde_json::from_str(items).unwrap();
    assert_eq!(Some(&page.entries), typed(&json, digester).as_ref(), "{items}");
    page.entries
}

/// An item with `id` and one attribute more.
fn with(attribute: &str) -> String {
    format!(r#"[{{"id":{{"S":"k"}},{attribute}}}]"#)
}

#[test]
fn items_of_every_type_have_the_digests_of_typed_ones() {
    let compact = serde_json::from_str::<Json>(ITEM).unwrap().to_string();
    let pretty = serde_json::to_string_pretty(&serde_json::from_str::<Json>(ITEM).unwrap()).unwrap();
    let python = compact.replace(",\"", ", \"").replace("\":", "\": ");

    let all: Vec<Entries> =
        [ITEM, &compact, &pretty, &python].map(|item| agree(&format!("[{item}]"), &digester(&[]))).into();

    assert!(all.iter().all(|entries| entries == &all[0]), "{all:?}");
    assert_eq!(agree(&format!("[{ITEM}, {compact}]"), &digester(&[])).len(), 2);
}

#[test]
fn escapes_and_numbers_count_by_what_they_stand_for() {
    for spellings in [
        [r#""a":{"S":"é\"\\/"}"#, r#""\u0061":{"S":"\u00e9\u0022\u005c\/"}"#, r#""a":{"\u0053":"é\"\u005C\u002f"}"#],
        [r#""q\"":{"S":""}"#, r#""q\u0022":{"S":""}"#, r#""\u0071\"" : { "S" : "" }"#],
        [r#""a":{"N":"100"}"#, r#""a":{"N":"1E2"}"#, r#""a":{"N":"1\u00300.0"}"#],
        [r#""a":{"B":"//8="}"#, r#""a":{"B":"\/\/8="}"#, r#""a": {"B":"\u002f/8\u003d"}"#],
        [r#""a":{"NS":["0","1"]}"#, r#""a":{"NS":["1.0","-0"]}"#, r#""a":{"NS": [ "0e5" , "\u0031" ] }"#],
        [r#""a":{"BOOL":true}"#, r#""\u0061":{"BOOL":true}"#, r#""a":{"BOOL": true}"#],
        [r#""a":{"L":[{"S":"\n"}]}"#, r#""a":{"L":[{"S":"\u000a"}]}"#, r#""a":{"L":[ { "S":"\u000A" } ]}"#],
    ] {
        let entries = spellings.map(|spelling| agree(&with(spelling), &simple()));
        assert!(entries.iter().all(|one| one == &entries[0]), "{spellings:?}");
    }
}

#[test]
fn long_texts_and_lists_are_read_to_their_end() {
    for length in [0, 1, 7, 8, 31, 55, 56, 57, 63, 64, 65, 200, 1000] {
        let (plain, quoted) = ("x".repeat(length), r#"\""#.repeat(length));
        agree(
            &with(&format!(r#""a":{{"S":"{plain}"}},"b":{{"S":"{quoted}"}},"{plain}c":{{"S":"{plain}\n"}}"#)),
            &simple(),
        );
        agree(&with(&format!(r#""a":{{"L":[{{"NULL":true}}{}]}}"#, r#",{"S":"x"}"#.repeat(length))), &simple());
    }
}

#[test]
fn keys_are_those_of_the_items_in_any_order() {
    let kinds =
        [(KeyType::S, r#"{"S":"a\u0062\""}"#), (KeyType::N, r#"{"N":"1.50"}"#), (KeyType::B, r#"{"B":"\/w=="}"#)];
    for (partition, id) in kinds {
        for (sort, at) in kinds {
            let schema = schema(partition, Some(sort));
            let digester = Digester::new(&schema, &Ignore::default(), 7);
            let items = format!(r#"[{{"id":{id},"x":{{"S":""}},"at":{at}}},{{"at": {at}, "id" : {id}}}]"#);

            let entries = agree(&items, &digester);

            let key = Key::parse(&schema, &format!(r#"{{"id":{id},"at":{at}}}"#)).unwrap();
            for index in 0..2 {
                let found = entries.key(&schema, index).unwrap();
                assert_eq!((found.to_json(), entries.digests()[index].key), (key.to_json(), digester.key(&key)));
            }
        }
    }
}

#[test]
fn what_is_ignored_does_not_count() {
    let rules = digester(&["text", "maps.deep", "lists[3].x", "words", "nothing.here"]);

    let whole = agree(&format!("[{ITEM}]"), &digester(&[]));
    let ignored = agree(&format!("[{ITEM}]"), &rules);
    let changed =
        ITEM.replace(r#""deep":{"M":{}}"#, r#""deep":{"N":"5"}"#).replace(r#""x":{"NULL":true}"#, r#""x":{"S":"y"}"#);
    let changed = changed.replace(r#""text":{"S":"a\n\ud83e\udd80"}"#, r#""aws:rep:deleting":{"BOOL":true}"#);

    assert_ne!(whole, ignored);
    assert_eq!(agree(&format!("[{changed}]"), &rules), ignored);
    let other = ITEM.replace(r#"{"L":[]}"#, r#"{"L":[{"NULL":true}]}"#);
    assert_ne!(agree(&format!("[{other}]"), &rules), ignored);
}

#[test]
fn the_fields_around_the_items_are_read() {
    let read = |body: &str| page_from_bytes(body.as_bytes(), &digester(&[])).unwrap();
    let key = Key::parse(&schema(KeyType::S, Some(KeyType::N)), r#"{"id":"a","at":"1"}"#).unwrap();

    let page = read(
        r#" {"ConsumedCapacity":{"TableName":"t","CapacityUnits":2.5,"Table":{"CapacityUnits":9}},"Count":0,"Items":[],
            "LastEvaluatedKey":{"at":{"N":"1.0"},"id":{"S":"a"}},"ScannedCount":0,"More":[{"x":[1,-2.5e+3,null]},"\t",true]} "#,
    );
    assert_eq!(page, EntryPage { entries: Entries::default(), next: Some(key), read_units: 2.5 });
    for last in ["{}", "null"] {
        let body = format!(r#"{{"Items":[ ],"LastEvaluatedKey":{last},"ConsumedCapacity":null}}"#);
        assert_eq!(read(&body), EntryPage::default());
    }
    assert_eq!(read("{}"), EntryPage::default());
}

#[test]
fn a_batch_of_gets_is_read() {
    let read = |body: &str| got_from_bytes(body.as_bytes(), &simple());
    let got = read(
        r#"{"Responses":{"t":[{"id":{"S":"a"}},{"id":{"S":"b"}}]},"UnprocessedKeys":{"t":{"Keys":[{"id":{"S":"c"}}],
            "ConsistentRead":true}},"ConsumedCapacity":[{"TableName":"t","CapacityUnits":1.0},{"CapacityUnits":0.5}]}"#,
    );

    let GotPage { entries, unprocessed, read_units } = got.unwrap();
    assert_eq!(entries, agree(r#"[{"id":{"S":"a"}},{"id":{"S":"b"}}]"#, &simple()));
    assert_eq!((unprocessed.len(), read_units), (1, 1.5));
    assert_eq!(unprocessed[0]["id"], crate::domain::value::Value::S("c".into()));
    for nothing in
        [r#"{"Responses":{},"UnprocessedKeys":{}}"#, r#"{"Responses":{"t":[]},"UnprocessedKeys":null}"#, "{}"]
    {
        assert_eq!(read(nothing), Ok(GotPage::default()));
    }
    for broken in [
        r#"{"Responses":[]}"#,
        r#"{"Responses":{"t":{}}}"#,
        r#"{"Responses":{"t":[],"t":[]}}"#,
        r#"{"UnprocessedKeys":{"t":{}}}"#,
        r#"{"UnprocessedKeys":{"t":{"Keys":[{"id":"c"}]}}}"#,
        r#"{"ConsumedCapacity":{}}"#,
    ] {
        assert!(read(broken).is_err(), "{broken}");
    }
}

#[test]
fn broken_items_are_refused() {
    let depth = |levels: usize| format!(r#""a":{}{{"NULL":true}}{}"#, r#"{"L":["#.repeat(levels), "]}".repeat(levels));
    agree(&with(&depth(40)), &simple());
    for attribute in [
        r#""a":{"S":"\x"}"#,
        r#""a":{"S":"\ud83e"}"#,
        r#""a":{"S":"\udd80\ud83e"}"#,
        r#""\ud83e":{"S":""}"#,
        r#""a":{"S":"\u12"}"#,
        "\"a\":{\"S\":\"\n\"}",
        "\"a\u{1}\":{\"S\":\"\"}",
        "\"a\":{\"S\":\"\t\"}",
        r#""a":{"S":"x}"#,
        r#""a":{"S":x"}"#,
        r#""a":{"N":""}"#,
        r#""a":{"N":"-"}"#,
        r#""a":{"N":"1e"}"#,
        r#""a":{"N":"0x1"}"#,
        r#""a":{"N":" 1"}"#,
        r#""a":{"N":"NaN"}"#,
        r#""a":{"N":1}"#,
        r#""a":{"NS":[1]}"#,
        r#""a":{"NS":["1","x"]}"#,
        r#""a":{"N":"١"}"#,
        r#""a":{"N":"1\n"}"#,
        r#""a":{"B":"A"}"#,
        r#""a":{"B":"AA"}"#,
        r#""a":{"B":"AAA"}"#,
        r#""a":{"B":"AB=="}"#,
        r#""a":{"B":"AAB="}"#,
        r#""a":{"B":"===="}"#,
        r#""a":{"B":"A==="}"#,
        r#""a":{"B":"AA=A"}"#,
        r#""a":{"B":"AA==AAAA"}"#,
        r#""a":{"B":"AA-_"}"#,
        r#""a":{"B":"AA\n="}"#,
        r#""a":{"B":"AAAAé=="}"#,
        r#""a":{"BS":["AA"]}"#,
        r#""a":{"BOOL":"true"}"#,
        r#""a":{"BOOL":1}"#,
        r#""a":{"BOOL":tru}"#,
        r#""a":{"NULL":false}"#,
        r#""a":{"NULL":null}"#,
        r#""a":{}"#,
        r#""a":{"X":"1"}"#,
        r#""a":{"S":"1","N":"1"}"#,
        r#""a":"x""#,
        r#""a":null"#,
        r#""a":{"S":null}"#,
        r#""a":{"S":["x"]}"#,
        r#""a":{"SS":"x"}"#,
        r#""a":{"SS":["x",]}"#,
        r#""a":{"SS":["x" "y"]}"#,
        r#""a":{"SS":[,"x"]}"#,
        r#""a":{"SS":[null]}"#,
        r#""a":{"L":{}}"#,
        r#""a":{"L":["x"]}"#,
        r#""a":{"L":[{"S":"x"},]}"#,
        r#""a":{"M":[]}"#,
        r#""a":{"M":{"b":{"S":"x"},}}"#,
        r#""a":{"M":{"b"}}"#,
        r#""a":{"M":{b:{"S":"x"}}}"#,
        r#""a" {"S":"x"}"#,
        r#""a":{"S""x"}"#,
        r#""a":{"S":"x"},"#,
        r#","a":{"S":"x"}"#,
        r#""id":{"S":"k"}"#,
        &depth(101),
    ] {
        let body = format!(r#"{{"Items":{}}}"#, with(attribute));
        assert!(page_from_bytes(body.as_bytes(), &simple()).is_err(), "{body}");
    }
    for item in
        [r#"{"x":{"S":"a"}}"#, r#"{"id":{"N":"1"}}"#, r#"{"id":{"BOOL":true}}"#, "{}", "[]", "1", "null", "\"\""]
    {
        let body = format!(r#"{{"Items":[{item}]}}"#);
        assert!(page_from_bytes(body.as_bytes(), &simple()).is_err(), "{body}");
    }
    let long = format!(r#"{{"Items":[{{"id":{{"S":"{}"}}}}]}}"#, "x".repeat(70_000));
    assert!(page_from_bytes(long.as_bytes(), &simple()).is_err());
}

#[test]
fn broken_answers_are_refused() {
    for body in [
        "",
        " ",
        "[]",
        "null",
        "{",
        "{}}",
        "{} x",
        "<html>",
        r#"{"Items":[],}"#,
        r#"{,"Items":[]}"#,
        r#"{"Items":[] "Count":0}"#,
        r#"{"Items":null}"#,
        r#"{"Items":{}}"#,
        r#"{"Items":[],"Items":[]}"#,
        r#"{"x":1,"\u0078":1}"#,
        r#"{"Items":[],"Count":1}"#,
        r#"{"Count":"0"}"#,
        r#"{"Count":-1}"#,
        r#"{"LastEvaluatedKey":{"id":"a"}}"#,
        r#"{"LastEvaluatedKey":{"x":{"S":"a"}}}"#,
        r#"{"LastEvaluatedKey":[]}"#,
        r#"{"ConsumedCapacity":[]}"#,
        r#"{"ConsumedCapacity":{"CapacityUnits":"1"}}"#,
        r#"{"x":01}"#,
        r#"{"x":-}"#,
        r#"{"x":1.}"#,
        r#"{"x":.5}"#,
        r#"{"x":1e}"#,
        r#"{"x":+1}"#,
        r#"{"x":truex}"#,
        r#"{"x":nul}"#,
        r#"{"x":"\x"}"#,
        r#"{"x":{"\x":1}}"#,
        r#"{"x":[1,]}"#,
        r#"{"x":[1 2]}"#,
        r#"{"x":{"a":1 "b":2}}"#,
        r#"{"x":{"a" 1}}"#,
        "{\"x\":\"\u{7}\"}",
    ] {
        assert!(page_from_bytes(body.as_bytes(), &simple()).is_err(), "{body}");
    }
    assert!(page_from_bytes(b"{\"x\":\"\xff\"}", &simple()).is_err());
    assert!(page_from_bytes(b"{\"x\":\"\xed\xa0\xbe\"}", &simple()).is_err());
    let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert!(page_from_bytes(deep.as_bytes(), &simple()).is_err());
}

#[test]
fn an_answer_that_ends_too_early_is_refused() {
    let body = format!(r#"{{"Items":[{ITEM}],"Count":1,"LastEvaluatedKey":{{"id":{{"S":"a"}},"at":{{"N":"1"}}}}}}"#);
    for digester in [digester(&[]), digester(&["text", "maps.deep"])] {
        assert!(page_from_bytes(body.as_bytes(), &digester).is_ok());
        for end in 0..body.len() {
            assert!(page_from_bytes(&body.as_bytes()[..end], &digester).is_err(), "{:?}", body.get(..end));
        }
    }
}

#[test]
fn no_single_wrong_byte_makes_a_result_wrong() {
    let compact = serde_json::from_str::<Json>(ITEM).unwrap().to_string();
    let mut read = 0;
    for (item, rules) in [(compact.as_str(), &[][..]), (ITEM, &["lists[0]", "maps.deep"][..])] {
        let (digester, prefix) = (digester(rules), r#"{"Items":["#);
        let mut body = format!("{prefix}{item}]}}").into_bytes();
        for at in prefix.len()..body.len() {
            let right = body[at];
            for &wrong in b"\0\n \"+,-./019:=ESNBLMabetu[\\]{}\x80\xff" {
                body[at] = wrong;
                if let Ok(page) = page_from_bytes(&body, &digester) {
                    let json: Json = serde_json::from_slice(&body).unwrap();
                    let entries = typed(&json["Items"], &digester);
                    assert_eq!(Some(page.entries), entries, "{}", String::from_utf8_lossy(&body));
                    read += 1;
                }
            }
            body[at] = right;
        }
    }
    assert!(read > 1000, "only {read} bodies could be read at all");
}
