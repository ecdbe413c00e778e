//! What a container asks whether its worker is well.

use std::fs::File;
use std::time::{Duration, SystemTime};

use tests::wait::{DEADLINE, until};

use crate::protection::{assert_in_good_order, worker};
use crate::stage::{Fleet, Stage, order_schema, programs};

#[tokio::test]
async fn a_running_worker_is_well_and_one_that_hangs_or_has_ended_is_not() {
    let fleet = Fleet::around(Stage::of(&order_schema(), &[], &[]).await, 3).await;
    let path = fleet.stage.programs.home().join("health");
    let variable = [("DYNAMEND_HEALTH_FILE".to_owned(), path.to_string_lossy().into_owned())];
    // As a container would ask: without a queue, by the variable alone.
    let check = || fleet.stage.programs.spawn_worker_in(&variable, &["--check-health"]).wait(DEADLINE);
    let before = check();
    assert_eq!(before.code, Some(1));
    assert!(before.stderr.contains("unhealthy: ") && before.stderr.contains("No such file"), "{}", before.stderr);
    let worker = worker(&fleet, &variable, &[]);
    until("the worker is well", DEADLINE, || (check().code == Some(0)).then_some(()));

    worker.pause();
    let file = File::options().write(true).open(&path).expect("the file is there");
    let long_ago = SystemTime::now() - Duration::from_secs(9000);
    // A touch may be under way while the worker is brought to a stand.
    let hanging = until("the worker is not well", DEADLINE, || {
        file.set_modified(long_ago).expect("a file's time can be set");
        Some(check()).filter(|hanging| hanging.code != Some(0))
    });
    assert_eq!((hanging.code, hanging.stdout.as_str()), (Some(1), ""));
    assert!(hanging.stderr.contains("was touched 9"), "{}", hanging.stderr);
    worker.resume();
    until("the worker is well again", DEADLINE, || (check().code == Some(0)).then_some(()));

    worker.terminate();
    assert_in_good_order(&worker.wait(DEADLINE));
    assert!(!path.exists());
    assert_eq!(check().code, Some(1));
}

#[test]
fn only_a_look_at_the_health_needs_no_queue_and_it_needs_the_file() {
    let nothing = programs().worker(&[]);
    assert_eq!(nothing.code, Some(2));
    assert!(nothing.stderr.contains("--queue <URL>"), "{}", nothing.stderr);

    let no_file = programs().worker(&["--check-health"]);
    assert_eq!(no_file.code, Some(2));
    assert!(no_file.stderr.contains("--health-file <PATH>"), "{}", no_file.stderr);
}
