//! The virtual environment for the emulators that are Python programs: made once, below Cargo's target directory.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is installed, every version pinned.
const REQUIREMENTS: &str = include_str!("../requirements.txt");

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
pub fn interpreter() -> PathBuf {
    let folder = target_folder().join("emulators");
    fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("cannot create {}: {error}", folder.display()));
    let lock = File::create(folder.join("lock")).expect("the lock file can be created");
    lock.lock().expect("the lock file can be locked");
    let done = folder.join(format!("python-{:016x}", fingerprint()));
    if !done.exists() {
        let building = folder.join("building");
        if building.exists() {
            fs::remove_dir_all(&building).expect("what an earlier run left can be removed");
        }
        build(&building);
        fs::rename(&building, &done).expect("the environment can be renamed");
    }
    // Scripts in the environment name its first path; the interpreter finds itself wherever it is.
    done.join("bin/python")
}

fn build(folder: &Path) {
    run(Command::new("python3").args(["-m", "venv"]).arg(folder));
    let requirements = folder.join("requirements.txt");
    fs::write(&requirements, REQUIREMENTS).expect("the requirements can be written");
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

fn fingerprint() -> u64 {
    let mut hasher = DefaultHasher::new();
    REQUIREMENTS.hash(&mut hasher);
    hasher.finish()
}

/// Cargo's target directory, found from this program's own place in it (`target/debug/deps/e2e-…`).
pub(crate) fn target_folder() -> PathBuf {
    let program = std::env::current_exe().expect("a program knows its path");
    let target = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
    target.unwrap_or_else(|| panic!("{} is not below a Cargo target directory", program.display())).to_owned()
}
