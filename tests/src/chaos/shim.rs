//! Clocks that jump and disks that are full: a small library in C, built once and preloaded into a program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::python::target_folder;

const SOURCE: &str = include_str!("shim.c");

/// What one run's programs believe of clock and disk.
#[derive(Debug)]
pub(super) struct Shim {
    clock: PathBuf,
    full: PathBuf,
    folder: PathBuf,
}

impl Shim {
    /// For programs that keep their files below `folder`; the rest of it lies in `home`.
    pub(super) fn new(home: &Path, folder: &Path) -> Self {
        Self { clock: home.join("clock"), full: home.join("full"), folder: folder.to_owned() }
    }

    pub(super) fn environment(&self) -> Vec<(String, String)> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let variables = [
            ("LD_PRELOAD", text(library())),
            ("CHAOS_CLOCK", text(&self.clock)),
            ("CHAOS_FULL", text(&self.full)),
            ("CHAOS_FOLDER", text(&self.folder)),
        ];
        variables.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// Puts the wall clock off by so many seconds.
    pub(super) fn jump(&self, seconds: i64) {
        fs::write(&self.clock, seconds.to_string()).expect("the home can be written to");
    }

    pub(super) fn fill_disk(&self) {
        fs::write(&self.full, "").expect("the home can be written to");
    }

    pub(super) fn free_disk(&self) {
        // It may never have been full.
        drop(fs::remove_file(&self.full));
    }
}

/// The built library.
///
/// # Panics
/// When there is no C compiler, which the workspace needs anyway.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let folder = target_folder().join("tmp");
        fs::create_dir_all(&folder).expect("the target directory can be written to");
        // Processes may build it side by side; each has a name of its own.
        let name = folder.join(format!("chaos-shim-{}", std::process::id()));
        let (source, library) = (name.with_extension("c"), name.with_extension("so"));
        fs::write(&source, SOURCE).expect("the target directory can be written to");
        let output = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).output();
        let output = output.unwrap_or_else(|error| panic!("cannot run cc: {error}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        library
    })
}
