//! A token whose functions fail on request: `faults.c` in front of the real module.

use super::Appliance;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use tempfile::TempDir;

/// The module, compiled once a run.
pub(super) fn module() -> PathBuf {
    static BUILT: OnceLock<TempDir> = OnceLock::new();
    compiled(&BUILT, "tests/appliance/harness/faults.c")
}

/// `tests/faults.c`, to be preloaded, compiled once a run.
pub(crate) fn disk_faults() -> PathBuf {
    static BUILT: OnceLock<TempDir> = OnceLock::new();
    compiled(&BUILT, "tests/faults.c")
}

fn compiled(once: &OnceLock<TempDir>, source: &str) -> PathBuf {
    let dir = once.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .arg(dir.path().join("faults.so"))
            .args([source.as_os_str(), "-ldl".as_ref()])
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        dir
    });
    dir.path().join("faults.so")
}

impl Appliance {
    /// Makes this function fail from now on: `fail 30`, `hang`, `lie`, each optionally with `once`.
    pub(crate) fn fault(&self, function: &str, what: &str) {
        let file = self.path("faults").join(function);
        // Renamed, so that it is complete when it appears.
        let new = self.path("faults").join("new");
        std::fs::write(&new, what).unwrap();
        std::fs::rename(new, file).unwrap();
    }

    /// Ends the fault.
    pub(crate) fn mend(&self, function: &str) {
        std::fs::remove_file(self.path("faults").join(function)).unwrap();
    }

    /// Whether a fault with `once` has occurred.
    pub(crate) fn has_come(&self, function: &str) -> bool {
        !self.path("faults").join(function).exists()
    }

    /// How often a function was called.
    pub(crate) fn calls_of(&self, function: &str) -> usize {
        std::fs::read(self.path("faults").join(format!("calls.{function}"))).map_or(0, |calls| calls.len())
    }
}
