//! A token whose functions fail as a test says: `faults.c` in front of the real module.

use super::Appliance;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use tempfile::TempDir;

/// The module, compiled once a run.
pub(super) fn module() -> PathBuf {
    static BUILT: OnceLock<TempDir> = OnceLock::new();
    let dir = BUILT.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/appliance/harness/faults.c");
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .arg(dir.path().join("faults.so"))
            .arg(source)
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        dir
    });
    dir.path().join("faults.so")
}

impl Appliance {
    /// From now on this function does so: `fail 30`, `hang`, `lie`, each perhaps with `once`.
    pub(crate) fn fault(&self, function: &str, what: &str) {
        let file = self.path("faults").join(function);
        // Whole when it appears.
        let new = self.path("faults").join("new");
        std::fs::write(&new, what).unwrap();
        std::fs::rename(new, file).unwrap();
    }

    /// It works again.
    pub(crate) fn mend(&self, function: &str) {
        std::fs::remove_file(self.path("faults").join(function)).unwrap();
    }

    /// Whether a fault that comes once has come.
    pub(crate) fn has_come(&self, function: &str) -> bool {
        !self.path("faults").join(function).exists()
    }

    /// How often a function was called.
    pub(crate) fn calls_of(&self, function: &str) -> usize {
        std::fs::read(self.path("faults").join(format!("calls.{function}"))).map_or(0, |calls| calls.len())
    }
}
