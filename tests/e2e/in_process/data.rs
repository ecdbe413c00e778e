//! The values that other tools get wrong: binary keys, long numbers, sets, ignored and reserved attributes.

use serde_json::{Value as Json, json};
use shared::domain::decide::Kind;
use shared::domain::job::{ReportContent, SyncSettings};
use shared::domain::json::item_from_json;
use shared::domain::key::{KeySchema, KeyType};
use shared::domain::value::Item;
use tests::generate::schema;
use tests::world::{DRY_RUN, REPAIR, Report, Worker, World};

use super::exact::settings;

fn items(items: &[Json]) -> Vec<Item> {
    items.iter().map(|item| item_from_json(item).expect("it works without faults")).collect()
}

fn world(schema: &KeySchema, master: &[Json], slave: &[Json]) -> World {
    World::new(schema, [items(master).as_slice(), items(slave).as_slice()], 2)
}

async fn found(world: &World, settings: SyncSettings) -> (Report, u64) {
    let worker = Worker::default();
    let report = world.sync(2, settings, &worker).await;
    (report, worker.faults.writes())
}

fn kinds(report: &Report) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = report.lines.iter().map(|line| line.kind).collect();
    kinds.sort();
    kinds
}

#[tokio::test(start_paused = true)]
async fn the_three_records_of_the_first_seed_are_found_and_repaired() {
    let master = [
        json!({"hash": {"S": "h"}, "range": {"S": "id:1"}, "other": {"N": "1"}}),
        json!({"hash": {"S": "h"}, "range": {"S": "id:2"}, "other": {"N": "2"}}),
        json!({"hash": {"S": "h"}, "range": {"S": "id:4"}, "other": {"B": "aGVsbG8="}}),
    ];
    let slave = [
        json!({"hash": {"S": "h"}, "range": {"S": "id:2"}, "other": {"N": "10000"}}),
        json!({"hash": {"S": "h"}, "range": {"S": "id:3"}, "other": {"N": "3"}}),
        json!({"hash": {"S": "h"}, "range": {"S": "id:4"}, "other": {"B": "aGVsbG8="}}),
    ];
    let mut schema = schema(KeyType::S, Some(KeyType::S));
    schema.partition.name = "hash".to_owned();
    schema.sort.as_mut().unwrap().name = "range".to_owned();
    let world = world(&schema, &master, &slave);

    let (report, writes) = found(&world, settings(DRY_RUN)).await;
    assert_eq!((kinds(&report), writes), (vec![Kind::Missing, Kind::Differing, Kind::Extra], 0));
    let differing = report.lines.iter().find(|line| line.kind == Kind::Differing).unwrap();
    assert_eq!((&differing.key["range"]["S"], differing.attributes.join(",")), (&json!("id:2"), "other".to_owned()));

    let job = world.job_named("repair", 2, settings(REPAIR)).await;
    world.work(&Worker::default(), &job.enqueue().await).await.unwrap();
    world.assert_in_step();
    let job = world.job_named("again", 2, settings(REPAIR)).await;
    world.work(&Worker::default(), &job.enqueue().await).await.unwrap();
    assert_eq!(job.report().await.lines, []);
}

#[tokio::test(start_paused = true)]
async fn equal_tables_with_binary_keys_stay_as_they_are() {
    let keys = ["AA==", "AQID", "/////w==", "AAAA", "gIGC"];
    let all: Vec<Json> = keys.iter().map(|key| json!({"id": {"B": key}, "v": {"B": key}})).collect();
    let world = world(&schema(KeyType::B, None), &all, &all);

    let (report, writes) = found(&world, settings(REPAIR)).await;

    assert_eq!((report.lines.len(), writes, world.tables[1].len()), (0, 0, 5));
    assert_eq!(report.summary.slaves[0].identical, 5);
}

#[tokio::test(start_paused = true)]
async fn numbers_beyond_a_float_are_keys_of_their_own() {
    let numbers =
        ["9007199254740992", "9007199254740993", "9007199254740994", "12345678901234567890123456789012345678"];
    let all: Vec<Json> = numbers.iter().map(|number| json!({"id": {"N": number}})).collect();
    let world = world(&schema(KeyType::N, None), &all, &[]);

    let (report, _) = found(&world, settings(REPAIR)).await;

    let mut found: Vec<&str> = report.lines.iter().map(|line| line.key["id"]["N"].as_str().unwrap()).collect();
    found.sort_unstable();
    let mut expected = numbers;
    expected.sort_unstable();
    assert_eq!(found, expected);
    world.assert_in_step();
}

#[tokio::test(start_paused = true)]
async fn every_digit_counts_and_no_spelling_does() {
    let long = "1.2345678901234567890123456789012345678";
    let apart = "1.2345678901234567890123456789012345679";
    let decimal = "0.123456789012345678901";
    let master = [
        json!({"id": {"S": "long"}, "v": {"N": long}}),
        json!({"id": {"S": "spelling"}, "v": {"N": "100"}, "s": {"NS": ["1", "20", "0.5"]}, "t": {"SS": ["a", "b"]}}),
        json!({"id": {"S": "decimal"}, "v": {"N": decimal}}),
    ];
    let slave = [
        json!({"id": {"S": "long"}, "v": {"N": apart}}),
        json!({"id": {"S": "spelling"}, "v": {"N": "1E2"}, "s": {"NS": ["5E-1", "2e1", "1.0"]}, "t": {"SS": ["b", "a"]}}),
    ];
    let world = world(&schema(KeyType::S, None), &master, &slave);

    let (report, writes) = found(&world, settings(REPAIR)).await;

    assert_eq!((kinds(&report), writes), (vec![Kind::Missing, Kind::Differing], 2));
    let texts: String = world.tables[1].items().iter().map(|item| format!("{item:?}")).collect();
    assert!(texts.contains(long) && texts.contains(decimal) && !texts.contains(apart), "{texts}");
}

#[tokio::test(start_paused = true)]
async fn ignored_attributes_do_not_count_and_reserved_ones_are_never_written() {
    let master = [
        json!({"id": {"S": "a"}, "seen": {"N": "1"}, "meta": {"M": {"at": {"N": "1"}, "by": {"S": "x"}}}}),
        json!({"id": {"S": "b"}, "aws:rep:updatetime": {"N": "1"}, "v": {"N": "1"}}),
        json!({"id": {"S": "c"}, "aws:rep:updatetime": {"N": "1"}, "v": {"N": "1"}}),
        json!({"id": {"S": "d"}, "aws:rep:updatetime": {"N": "1"}, "v": {"N": "1"}}),
    ];
    let slave = [
        json!({"id": {"S": "a"}, "seen": {"N": "2"}, "meta": {"M": {"at": {"N": "2"}, "by": {"S": "x"}}}}),
        json!({"id": {"S": "b"}, "aws:rep:updatetime": {"N": "2"}, "v": {"N": "1"}}),
        json!({"id": {"S": "c"}, "aws:rep:deleting": {"BOOL": true}, "v": {"N": "2"}}),
    ];
    let world = world(&schema(KeyType::S, None), &master, &slave);
    let ignore = vec!["seen".to_owned(), "meta.at".to_owned()];

    let (report, writes) = found(&world, SyncSettings { ignore, ..settings(REPAIR) }).await;

    assert_eq!((kinds(&report), writes), (vec![Kind::Missing, Kind::Differing], 2));
    for item in world.tables[1].items() {
        let id = format!("{:?}", item["id"]);
        let reserved = item.keys().any(|name| name.starts_with("aws:rep:"));
        assert_eq!(reserved, id.contains("\"b\""), "{item:?}");
    }
    let ids = |report: &Report| report.lines.iter().map(|line| line.attributes.join(",")).collect::<String>();
    assert_eq!(ids(&report), "v");
}

#[tokio::test(start_paused = true)]
async fn a_report_carries_values_only_when_asked() {
    let master = [json!({"id": {"S": "a"}, "secret": {"S": "of the master"}, "same": {"S": "in both"}})];
    let slave = [json!({"id": {"S": "a"}, "secret": {"S": "of the slave"}, "same": {"S": "in both"}})];
    for (report, expected) in [(ReportContent::Keys, [false; 3]), (ReportContent::Values, [true, true, false])] {
        let world = world(&schema(KeyType::S, None), &master, &slave);
        let (found, _) = found(&world, SyncSettings { report, ..settings(REPAIR) }).await;

        let lines = serde_json::to_string(&found.lines).unwrap();
        let has = ["of the master", "of the slave", "in both"].map(|text| lines.contains(text));
        assert_eq!(has, expected);
        if report == ReportContent::Keys {
            for key in world.store.keys().iter().filter(|key| key.ends_with(".json")) {
                let text = String::from_utf8(world.store.read(key).unwrap().to_vec()).unwrap();
                assert!(!text.contains("of the "), "{key} has values");
            }
        }
    }
}
