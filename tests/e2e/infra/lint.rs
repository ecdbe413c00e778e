//! cfn-lint and checkov have nothing to say of the templates and the Dockerfile, and each exception has its reason.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value as Json;
use tests::python::{self, Environment};
use tests::template;

/// The package has no module to run.
const CFN_LINT: &str = "import sys; from cfnlint.runner import main; sys.exit(main())";

/// Without a name of a region or credentials, and with nothing asked of the network.
fn run(arguments: &[&str], home: &Path) -> Output {
    let mut command = Command::new(python::interpreter(Environment::Linters));
    command.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    // Names in templates have letters beyond ASCII; a home of its own keeps what the programs remember away.
    command.env("LANG", "C.UTF-8").env("HOME", home).current_dir(home);
    command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn every_template_passes_cfn_lint_and_a_bad_one_does_not() {
    let home = tempfile::tempdir().expect("a temporary directory can be created");
    let templates = template::paths();
    assert!(templates.len() >= 4, "the templates are elsewhere: {templates:?}");
    let mut arguments = vec!["-c", CFN_LINT, "--non-zero-exit-code", "informational", "--"];
    arguments.extend(templates.iter().map(|path| path.to_str().expect("a plain name")));

    let good = run(&arguments, home.path());

    assert!(good.status.success(), "{}{}", text(&good.stdout), text(&good.stderr));
    let bad = home.path().join("bad.yaml");
    std::fs::write(&bad, "Resources: { Queue: { Type: AWS::SQS::Queue, Properties: { Nmae: dynamend } } }\n").unwrap();
    let bad = run(&["-c", CFN_LINT, "--", bad.to_str().unwrap()], home.path());
    assert!(!bad.status.success() && text(&bad.stdout).contains("'Nmae' was unexpected"), "{}", text(&bad.stdout));
}

#[test]
fn checkov_finds_nothing_but_what_is_excepted_with_a_reason() {
    let home = tempfile::tempdir().expect("a temporary directory can be created");
    let infra = template::folder();
    let infra = infra.to_str().expect("a plain name");
    let scan =
        ["-m", "checkov.main", "--skip-download", "--output", "json", "--framework", "cloudformation", "dockerfile"];

    let output = run(&[&scan[..], &["--directory", infra]].concat(), home.path());

    let answer: Json = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", text(&output.stdout), text(&output.stderr)));
    let reports = answer.as_array().cloned().unwrap_or_else(|| vec![answer.clone()]);
    let checks = |kind: &str| -> Vec<Json> {
        reports.iter().flat_map(|report| report["results"][kind].as_array().cloned().unwrap_or_default()).collect()
    };
    let say = |check: &Json| format!("{} {}: {}", check["file_path"], check["check_id"], check["check_name"]);
    let failed: Vec<String> = checks("failed_checks").iter().map(say).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(checks("parsing_errors"), Vec::<Json>::new());
    for check in checks("skipped_checks") {
        let reason = check["check_result"]["suppress_comment"].as_str().unwrap_or_default();
        assert!(reason.len() > 20 && reason != "No comment provided", "{}: no reason", say(&check));
    }
    let seen: BTreeSet<String> =
        checks("passed_checks").iter().map(|check| check["file_path"].as_str().unwrap_or_default().into()).collect();
    for path in ["/Dockerfile", "/core.yaml", "/workers.yaml", "/scaling.yaml"] {
        assert!(seen.contains(path), "{path} was not looked at: {seen:?}");
    }
}
