//! A few runs of the chaos suite, one for each way of working; `cargo run -p tests --bin chaos` makes any number.

use tests::chaos::many::run_all;
use tests::chaos::{Paths, Plan};

/// Short ones that together have what [`MODES`] lists.
const SEEDS: [u64; 8] = [8, 10, 13, 18, 1010, 1035, 1036, 1051];

/// What the runs are about, in the words of their titles.
const MODES: [&str; 9] =
    ["Fleet", "Embedded", "Bucket", "Directory", "Repair", "DryRun", "paired", "lookup", "2 slaves"];

#[test]
fn the_chosen_runs_are_of_every_mode() {
    let titles: String = SEEDS.map(|seed| Plan::of(seed).title()).concat();

    for mode in MODES {
        assert!(titles.contains(mode), "{mode} is in none of {titles}");
    }
}

#[test]
fn jobs_amid_faults_come_to_an_exact_end() {
    let paths = Paths {
        dynamend: env!("CARGO_BIN_EXE_dynamend-under-test").into(),
        worker: env!("CARGO_BIN_EXE_dynamend-worker-under-test").into(),
    };
    let said = std::sync::Mutex::new(Vec::new());

    let total = run_all(&SEEDS, 4, &paths, &|line| said.lock().unwrap().push(line.to_owned()));

    assert!(total.failures.is_empty(), "{}\n{}", said.lock().unwrap().join("\n"), total.text());
    assert!(total.injected.values().sum::<u64>() > 50, "{}", total.text());
}
