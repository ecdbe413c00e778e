//! Rules of the design that no type can hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value as Json;

use crate::licences::satisfied;

/// The crates of the AWS SDK.
const SDK: [&str; 4] = ["aws_config", "aws_credential", "aws_sdk", "aws_smithy"];

/// What pure code does not know, besides the SDK.
const IMPURE: [&str; 9] =
    ["tokio", "async", "std::fs", "std::net", "std::env", "std::process", "Instant", "SystemTime", "Timestamp::now"];

/// The programs that users run; `tests` is none of them.
const PRODUCT: [&str; 3] = ["coordinator", "worker", "shared"];

/// Crates that must not be in the product: the SDK's old HTTP and TLS stack, which its default features bring back.
const FORBIDDEN: [(&str, &str); 2] = [("hyper", "0."), ("rustls", "0.21.")];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the workspace").to_owned()
}

/// Every file below the folder, without what Git and Cargo keep there.
fn files(folder: &Path) -> Vec<PathBuf> {
    let skipped = [".git", "target", ".dynamend", "node_modules"];
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        if skipped.iter().any(|name| path.file_name().is_some_and(|file| file == *name)) {
            continue;
        }
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

fn text(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))).into_owned()
}

/// The numbered lines of a source file, without comments.
fn code(path: &Path) -> impl Iterator<Item = (usize, String)> {
    let lines: Vec<String> =
        text(path).lines().map(|line| line.split("//").next().unwrap_or_default().to_owned()).collect();
    (1..).zip(lines)
}

/// Whether the line has a path into a crate whose name begins so; a log filter may name it.
fn uses(line: &str, crate_: &str) -> bool {
    let is_name = |symbol: char| symbol.is_alphanumeric() || symbol == '_';
    line.match_indices(crate_).any(|(at, _)| {
        let begins = !line[..at].ends_with(is_name);
        begins && line[at..].trim_start_matches(is_name).starts_with("::")
    })
}

/// What Cargo knows of the packages that this machine builds with.
fn metadata() -> &'static Json {
    static METADATA: OnceLock<Json> = OnceLock::new();
    METADATA.get_or_init(|| {
        let output = |command: &mut Command| {
            let output = command.current_dir(root()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
            assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).expect("the output is text")
        };
        let version = output(Command::new("rustc").arg("-vV"));
        let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host");
        let arguments = ["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", host];
        serde_json::from_str(&output(Command::new(env!("CARGO")).args(arguments))).expect("the output is JSON")
    })
}

fn field<'a>(json: &'a Json, name: &str) -> &'a str {
    json[name].as_str().unwrap_or_else(|| panic!("`{name}` is no text in {json}"))
}

fn list<'a>(json: &'a Json, name: &str) -> &'a [Json] {
    json[name].as_array().unwrap_or_else(|| panic!("`{name}` is no list in {json}"))
}

/// Name and version of every package that is compiled into the product, build scripts left out.
fn normal_dependencies() -> BTreeSet<(String, String)> {
    let metadata = metadata();
    let packages: BTreeMap<&str, &Json> =
        list(metadata, "packages").iter().map(|one| (field(one, "id"), one)).collect();
    let nodes: BTreeMap<&str, &Json> =
        list(&metadata["resolve"], "nodes").iter().map(|one| (field(one, "id"), one)).collect();
    let members = list(metadata, "workspace_members").iter().filter_map(Json::as_str);
    let mut open: Vec<&str> = members.filter(|id| PRODUCT.contains(&field(packages[id], "name"))).collect();
    let mut seen: BTreeSet<&str> = open.iter().copied().collect();
    while let Some(id) = open.pop() {
        let edges = list(nodes[id], "deps").iter();
        let normal = edges.filter(|edge| list(edge, "dep_kinds").iter().any(|kind| kind["kind"].is_null()));
        open.extend(normal.map(|edge| field(edge, "pkg")).filter(|id| seen.insert(id)));
    }
    let name_and_version = |id| (field(packages[id], "name").to_owned(), field(packages[id], "version").to_owned());
    seen.into_iter().map(name_and_version).collect()
}

#[test]
fn the_domain_is_pure() {
    let sources = files(&root().join("shared/src/domain"));
    assert!(sources.len() > 10, "the domain is elsewhere: {sources:?}");
    for path in sources {
        for (number, line) in code(&path) {
            let found = IMPURE.iter().chain(&SDK).find(|word| line.contains(**word));
            assert!(found.is_none(), "{}:{number}: {line}", path.display());
        }
    }
}

#[test]
fn one_place_knows_the_sdk_and_one_the_backoff_crate() {
    let rules = [(SDK.as_slice(), "shared/src/aws"), (["backoff"].as_slice(), "shared/src/retry")];
    for path in PRODUCT.iter().flat_map(|name| files(&root().join(name).join("src"))) {
        let place = path.strip_prefix(root()).expect("it is below the root").to_string_lossy().into_owned();
        for (words, home) in rules {
            let found = code(&path).find(|(_, line)| words.iter().any(|word| uses(line, word)));
            assert!(found.is_none() || place.starts_with(home), "{place} is not {home}: {found:?}");
        }
    }
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    // Written in two parts, so that this file passes.
    let work = concat!("/wo", "rk/");
    for path in files(&root()) {
        let text = text(&path);
        let is_absolute = |at: usize| {
            let before = text[..at].chars().next_back();
            before.is_none_or(|symbol| !(symbol.is_alphanumeric() || "._-}~".contains(symbol)))
        };
        let found = text.match_indices(work).any(|(at, _)| is_absolute(at));
        assert!(!found, "{} names {work}", path.display());
    }
}

#[test]
fn dependencies_come_from_the_public_registries_only() {
    for line in text(&root().join("Cargo.lock")).lines().filter(|line| line.starts_with("source = ")) {
        assert_eq!(line, r#"source = "registry+https://github.com/rust-lang/crates.io-index""#);
    }
    let of_tests = fs::read_dir(root().join("tests")).expect("the folder can be read");
    let of_tests = of_tests.map(|entry| entry.expect("the folder can be read").path());
    let requirements: Vec<PathBuf> =
        of_tests.filter(|path| path.extension().is_some_and(|extension| extension == "txt")).collect();
    assert!(requirements.len() >= 3, "the requirements are elsewhere: {requirements:?}");
    let lines = requirements.iter().flat_map(|path| text(path).lines().map(str::to_owned).collect::<Vec<_>>());
    for line in lines.filter(|line| !line.starts_with('#')) {
        let (name, version) = line.split_once("==").unwrap_or_else(|| panic!("`{line}` is not pinned"));
        let plain = |part: &str| part.chars().all(|symbol| symbol.is_ascii_alphanumeric() || "._-".contains(symbol));
        assert!(plain(name) && plain(version), "{line}");
    }
    assert!(!root().join(".cargo/config.toml").exists(), "a registry would be replaced for everyone");
}

#[test]
fn the_product_has_one_http_and_one_tls_stack() {
    let dependencies = normal_dependencies();

    assert!(dependencies.iter().any(|(name, _)| name == "aws-sdk-dynamodb"), "the graph was not followed");
    for (name, version) in dependencies {
        let forbidden = FORBIDDEN.iter().any(|(crate_, prefix)| name == *crate_ && version.starts_with(prefix));
        assert!(!forbidden, "{name} {version} is back; `cargo tree -e normal -i {name}@{version}` says by whom");
    }
}

#[test]
fn every_dependency_has_an_allowed_licence() {
    let allowed = listed_licences(&text(&root().join("deny.toml")));
    for package in list(metadata(), "packages") {
        let licence = package["license"].as_str().unwrap_or_else(|| panic!("{} has none", field(package, "name")));
        assert!(satisfied(licence, &allowed), "{} has the licence {licence}", field(package, "name"));
    }
}

/// The list `allow` of the section `[licenses]`.
fn listed_licences(deny: &str) -> Vec<String> {
    let section = deny.split_once("[licenses]").expect("there is `[licenses]`").1;
    let list = section.split_once("allow = [").expect("`[licenses]` has `allow`").1;
    let entries = list.split_once(']').expect("the list ends").0.lines();
    let code = entries.map(|line| line.split('#').next().unwrap_or_default()).collect::<String>();
    code.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_allowed_licences_are_read() {
    let deny =
        "[bans]\nallow = [\"other\"]\n\n[licenses]\nversion = 2\nallow = [\n  \"MIT\", # \"why\"\n  \"ISC\",\n]\n";

    assert_eq!(listed_licences(deny), ["MIT", "ISC"]);
}
