//! Every guarantee that README gives names tests, and these exist.

use std::fs;
use std::path::Path;

#[test]
fn each_guarantee_in_the_readme_names_a_test_that_there_is() {
    let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(crate_root.join("../README.md")).expect("README can be read");
    let section = readme.split_once("\n## Guarantees, and what holds them\n").expect("there is the section").1;
    let section = section.split_once("\n## ").expect("another follows").0;
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with('|')).skip(2).collect();
    assert!(rows.len() > 10, "{rows:?}");
    for row in rows {
        let named = row.trim_end_matches('|').rsplit_once('|').expect("a row has cells").1;
        let words: Vec<&str> = named.split('`').skip(1).step_by(2).collect();
        assert!(!words.is_empty() && words.len().is_multiple_of(2), "{row}");
        for pair in words.chunks(2) {
            let source = fs::read_to_string(crate_root.join("e2e").join(pair[0]));
            let source = source.unwrap_or_else(|error| panic!("{}: {error}", pair[0]));
            assert!(source.contains(&format!("fn {}()", pair[1])), "{} has no test {}", pair[0], pair[1]);
        }
    }
}
