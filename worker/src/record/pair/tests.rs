use serde_json::{Value as Json, json};
use shared::domain::decide::Kind;
use shared::domain::discrepancy::Outcome;
use shared::domain::job::Access;
use shared::domain::json::item_from_json;
use shared::domain::key::{KeyAttribute, KeyType};
use shared::domain::mend::{EXPIRED, Ending, SLAVE_IS_NEWER};
use shared::local::memory::MemoryStore;
use shared::local::table::MemoryTable;
use shared::ports::objects::ObjectStore;

use super::*;

fn schema() -> KeySchema {
    KeySchema { partition: KeyAttribute { name: "id".to_owned(), kind: KeyType::S }, sort: None }
}

fn item(json: Json) -> Item {
    item_from_json(&json).unwrap()
}

fn key(id: &str) -> Key {
    Key::of(&schema(), &item(json!({"id": {"S": id}}))).unwrap()
}

/// Two tables in memory.
struct Tables {
    master: Arc<MemoryTable>,
    slave: Arc<MemoryTable>,
}

impl Tables {
    fn new(master: &[Json], slave: &[Json]) -> Self {
        let table = |items: &[Json]| {
            let table = MemoryTable::new(schema()).with_time_to_live("ttl");
            items.iter().for_each(|json| table.put(item(json.clone())).unwrap());
            Arc::new(table)
        };
        Self { master: table(master), slave: table(slave) }
    }

    fn environment(&self) -> Environment {
        let (master, slave) = (Arc::clone(&self.master), Arc::clone(&self.slave));
        Environment::new(
            move |side| {
                let table = if side.table.name() == "orders" { &master } else { &slave };
                Box::pin(std::future::ready(Ok(Arc::clone(table) as Arc<dyn Table>)))
            },
            |_| Box::pin(std::future::ready(Ok(Arc::new(MemoryStore::new("bucket")) as Arc<dyn ObjectStore>))),
        )
    }

    fn request(purpose: Purpose) -> PairRequest {
        let side = |name: &str| Side::new(format!("us-east-1:{name}").parse().unwrap(), Access::default());
        PairRequest {
            master: side("orders"),
            slave: side("copy"),
            ignore: vec!["seen".to_owned()],
            version_attribute: Some("v".to_owned()),
            purpose,
        }
    }

    async fn pair(&self) -> Pair {
        Pair::open(Self::request(Purpose::Mend(GlobalTables::Refuse)), &self.environment()).await.unwrap()
    }

    async fn mend(&self, id: &str) -> Ending {
        let pair = self.pair().await;
        let compared = pair.compare(&[key(id)], None).await.unwrap().pop().unwrap();
        pair.mend(compared).await.unwrap().ending
    }
}

fn kind(compared: &Compared) -> Option<Kind> {
    match compared.verdict {
        Verdict::Identical | Verdict::Gone => None,
        Verdict::Discrepant(kind, _) => Some(kind),
    }
}

#[tokio::test(start_paused = true)]
async fn records_are_compared_in_the_order_of_their_keys() {
    let tables = Tables::new(
        &[
            json!({"id": {"S": "a"}, "x": {"N": "1.0"}, "seen": {"N": "1"}}),
            json!({"id": {"S": "b"}}),
            json!({"id": {"S": "c"}}),
        ],
        &[
            json!({"id": {"S": "a"}, "x": {"N": "1"}}),
            json!({"id": {"S": "c"}, "x": {"BOOL": true}}),
            json!({"id": {"S": "d"}}),
        ],
    );
    let keys = ["d", "c", "b", "a", "none"].map(key);

    let compared = tables.pair().await.compare(&keys, None).await.unwrap();

    let kinds: Vec<_> = compared.iter().map(kind).collect();
    assert_eq!(kinds, [Some(Kind::Extra), Some(Kind::Differing), Some(Kind::Missing), None, None]);
    assert_eq!(compared.iter().map(|compared| compared.key.clone()).collect::<Vec<_>>(), keys);
    assert_eq!(compared[1].verdict, Verdict::Discrepant(Kind::Differing, vec!["x".to_owned()]));
    assert_eq!(compared[4].verdict, Verdict::Gone);
}

#[tokio::test(start_paused = true)]
async fn a_change_in_flight_is_no_difference() {
    let tables = Tables::new(&[json!({"id": {"S": "a"}}), json!({"id": {"S": "b"}})], &[]);
    let pair = tables.pair().await;
    let keys = [key("a"), key("b")];
    let arrives = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        tables.slave.put(item(json!({"id": {"S": "a"}}))).unwrap();
    };

    let (compared, ()) = tokio::join!(pair.compare(&keys, Some(Duration::from_secs(1))), arrives);

    let compared = compared.unwrap();
    assert_eq!(compared.iter().map(kind).collect::<Vec<_>>(), [None, Some(Kind::Missing)]);
    assert!(compared[0].slave.is_some() && compared[1].master.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_record_is_put_deleted_or_left_as_it_is() {
    let tables = Tables::new(
        &[json!({"id": {"S": "a"}, "x": {"N": "1"}}), json!({"id": {"S": "b"}}), json!({"id": {"S": "same"}})],
        &[json!({"id": {"S": "a"}}), json!({"id": {"S": "c"}}), json!({"id": {"S": "same"}, "seen": {"N": "1"}})],
    );

    assert_eq!(tables.mend("a").await, Ending::Settled(Outcome::Written, None));
    assert_eq!(tables.mend("b").await, Ending::Settled(Outcome::Written, None));
    assert_eq!(tables.mend("c").await, Ending::Settled(Outcome::Deleted, None));
    assert_eq!(tables.mend("same").await, Ending::Healed);
    assert_eq!(tables.mend("none").await, Ending::Healed);

    let mut left = tables.slave.items();
    left.sort_by_key(|item| format!("{item:?}"));
    assert_eq!(
        left,
        [
            item(json!({"id": {"S": "a"}, "x": {"N": "1"}})),
            item(json!({"id": {"S": "b"}})),
            item(json!({"id": {"S": "same"}, "seen": {"N": "1"}})),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_newer_or_has_expired_is_left_alone() {
    let past = (Timestamp::now().as_second() - 60).to_string();
    let expired = |id: &str| json!({"id": {"S": id}, "ttl": {"N": past}});
    let version = |version: &str| json!({"id": {"S": "newer"}, "v": {"N": version}});
    let tables = Tables::new(&[version("1"), expired("gone")], &[version("2"), expired("stays")]);
    let before = tables.slave.items();

    assert_eq!(tables.mend("newer").await, Ending::Settled(Outcome::Skipped, Some(SLAVE_IS_NEWER.to_owned())));
    assert_eq!(tables.mend("gone").await, Ending::Settled(Outcome::Skipped, Some(EXPIRED.to_owned())));
    assert_eq!(tables.mend("stays").await, Ending::Settled(Outcome::Skipped, Some(EXPIRED.to_owned())));

    assert_eq!(tables.slave.items(), before);
    let compared = tables.pair().await.compare(&["newer", "gone", "stays"].map(key), None).await.unwrap();
    assert_eq!(compared.iter().map(Compared::counts).collect::<Vec<_>>(), [true, false, false]);
}

#[tokio::test]
async fn a_table_that_was_made_again_is_refused() {
    let tables = Tables::new(&[], &[]);
    let mut request = Tables::request(Purpose::Compare);
    request.slave.table_id = Some("another".to_owned());

    let refused = Pair::open(request, &tables.environment()).await;

    assert!(matches!(refused, Err(CannotPair::OtherTable { table }) if table == "us-east-1:copy"));
}
