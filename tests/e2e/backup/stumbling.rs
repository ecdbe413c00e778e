//! A store that stumbles: requests that fail for now are made again, and nothing is done twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use shared::domain::key::KeyType;
use tests::generate::{schema, table};
use tests::ministack::MiniStack;
use tests::relay::{Relay, Reply, Request};

use super::scene::Scene;
use crate::stage::programs;

/// S3's words when it is asked too much.
const SLOW_DOWN: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";

/// Answers the first few requests of a kind with an error that passes.
fn stumbling(times: u32, kind: impl Fn(&Request) -> bool + Send + Sync + 'static) -> (Relay, Arc<AtomicU32>) {
    let stumbled = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&stumbled);
    let relay = Relay::answering(&MiniStack::shared().endpoint(), move |request| {
        let stumbles = kind(request) && counted.fetch_add(1, Ordering::Relaxed) < times;
        stumbles.then(|| Reply { status: 503, content_type: "application/xml", body: SLOW_DOWN.to_owned() })
    });
    (relay, stumbled)
}

async fn scene() -> Scene {
    let schema = schema(KeyType::S, Some(KeyType::N));
    let scene = Scene::on_s3(&schema, &table(&schema, 15, 60)).await;
    scene.create_copy().await;
    scene
}

fn through(scene: &mut Scene, relay: &Relay) {
    scene.programs = programs().with_dynamodb(&scene.server.endpoint()).with_services(&relay.endpoint());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_backup_are_asked_for_again() {
    let mut scene = scene().await;
    scene.full("B", &["--segments", "2"]);
    let (relay, stumbled) = stumbling(6, |request| request.method == "GET" && request.target.contains("/B/data/"));
    through(&mut scene, &relay);

    let done = scene.restore("backups/B", &[]);

    assert_eq!(done["slaves"][0]["written"], 60, "{done}");
    assert!(stumbled.load(Ordering::Relaxed) > 6);
    scene.assert_same("a restore").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_backup_puts_is_put_again() {
    let mut scene = scene().await;
    let (relay, stumbled) = stumbling(8, |request| ["PUT", "POST"].contains(&request.method.as_str()));
    through(&mut scene, &relay);

    scene.full("B", &["--segments", "2"]);
    scene.incremental("I");
    scene.snapshot("S", &[]);

    assert!(stumbled.load(Ordering::Relaxed) > 8);
    scene.restore("backups/S", &["--verify"]);
    scene.assert_same("a backup").await;
}
