//! The virtual environments for what is a Python program: each made once, below Cargo's target directory.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is installed together; programs that need different versions of one package are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// MiniStack, and boto3 for a benchmark.
    Emulators,
    /// cfn-lint and checkov.
    Linters,
    /// The AWS CLI and moto's server.
    Aws,
}

impl Environment {
    /// Every version is pinned.
    fn requirements(self) -> &'static str {
        match self {
            Self::Emulators => include_str!("../requirements.txt"),
            Self::Linters => include_str!("../requirements-infra.txt"),
            Self::Aws => include_str!("../requirements-aws.txt"),
        }
    }

    /// A name for what is there while it is made.
    fn name(self) -> &'static str {
        match self {
            Self::Emulators => "emulators",
            Self::Linters => "linters",
            Self::Aws => "aws",
        }
    }
}

const HELP: &str = "The end-to-end tests need Python 3.10 or later with its `venv` and `pip` modules, and on the \
    first run a package index (or a directory of wheels named by PIP_FIND_LINKS). On Debian and Ubuntu: \
    `apt-get install python3 python3-venv python3-pip`";

/// The interpreter of the environment, which is made on first use.
///
/// Test processes may race: a lock lets one of them build, and the name appears only when everything is installed.
///
/// # Panics
/// When Python, `venv` or `pip` are missing or fail; a test that needs an emulator is never skipped.
#[must_use]
pub fn interpreter(environment: Environment) -> PathBuf {
    let folder = target_folder().join("emulators");
    fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("cannot create {}: {error}", folder.display()));
    let name = environment.name();
    let lock = File::create(folder.join(format!("lock-{name}"))).expect("the lock file can be created");
    lock.lock().expect("the lock file can be locked");
    let done = folder.join(format!("python-{:016x}", fingerprint(environment)));
    if !done.exists() {
        let building = folder.join(format!("building-{name}"));
        if building.exists() {
            fs::remove_dir_all(&building).expect("what an earlier run left can be removed");
        }
        build(&building, environment);
        fs::rename(&building, &done).expect("the environment can be renamed");
    }
    // Scripts in the environment name its first path; the interpreter finds itself wherever it is.
    done.join("bin/python")
}

fn build(folder: &Path, environment: Environment) {
    run(Command::new("python3").args(["-m", "venv"]).arg(folder));
    let requirements = folder.join("requirements.txt");
    fs::write(&requirements, environment.requirements()).expect("the requirements can be written");
    let mut pip = Command::new(folder.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-deps"]);
    run(pip.arg("--requirement").arg(requirements));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}.\n{HELP}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?} failed ({}):\n{}{}\n{HELP}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
}

fn fingerprint(environment: Environment) -> u64 {
    let mut hasher = DefaultHasher::new();
    environment.requirements().hash(&mut hasher);
    hasher.finish()
}

/// Cargo's target directory, found from this program's own place in it (`target/debug/deps/e2e-…`).
pub(crate) fn target_folder() -> PathBuf {
    let program = std::env::current_exe().expect("a program knows its path");
    let target = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
    target.unwrap_or_else(|| panic!("{} is not below a Cargo target directory", program.display())).to_owned()
}
