//! Whatever is given gets an answer.

use proptest::prelude::*;

use super::*;

/// Parses what may be anything, and holds the answer to what every answer has to be.
fn answer(bytes: &[u8]) {
    match PlanFile::parse(bytes, &Defaults::default()) {
        Ok(plan) => {
            assert!(!plan.entries.is_empty());
            for entry in &plan.entries {
                assert!(!entry.outputs.is_empty() && !entry.steps.is_empty() && !entry.name.is_empty());
            }
        }
        Err(bad) => {
            assert!(!bad.faults.is_empty());
            let lines = bytes.split(|&byte| byte == b'\n' || byte == b'\r').count();
            for fault in &bad.faults {
                let Place { line, column } = fault.place;
                assert!((1..=lines + 1).contains(&line) && column >= 1, "{fault:?} of {lines} lines");
                assert!(!fault.message.is_empty() && !fault.message.contains('\n'), "{fault:?}");
            }
        }
    }
}

/// A change of a good plan: bytes cut out, put in, or lines moved.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<prop::sample::Index>(), 0usize..12, prop::collection::vec(piece(), 0..3));
    (prop::bool::ANY, prop::collection::vec(edit, 1..6)).prop_map(|(ours, edits)| {
        let mut bytes = if ours { OURS } else { DDB_SYNC }.as_bytes().to_vec();
        for (at, cut, put) in edits {
            let at = at.index(bytes.len() + 1);
            let end = (at + cut).min(bytes.len());
            bytes.splice(at..end, put.concat());
        }
        bytes
    })
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known = [
        "\n",
        " ",
        "  ",
        "- ",
        ": ",
        ":",
        "{",
        "}",
        "[",
        "]",
        ",",
        "\"",
        "'",
        "#",
        "&a ",
        "*a",
        "!t ",
        "|\n",
        ">\n",
        "? ",
        "---\n",
        "...\n",
        "\t",
        "\r\n",
        "~",
        "null",
        "%",
        "0",
        "-1",
        "é",
        "\u{feff}",
        "\0",
        "<<: ",
        "plan:",
        "input:",
        "segments: 0",
    ];
    prop_oneof![
        4 => prop::sample::select(known.to_vec()).prop_map(|text| text.as_bytes().to_vec()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ]
}

proptest! {
    #[test]
    fn any_bytes_get_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        answer(&bytes);
    }

    #[test]
    fn any_pieces_of_yaml_get_an_answer(pieces in prop::collection::vec(piece(), 0..60)) {
        answer(&pieces.concat());
    }

    #[test]
    fn a_good_plan_with_changes_is_good_or_its_faults_have_their_lines(bytes in mutated()) {
        answer(&bytes);
    }
}
