//! Keys that `key generate` made and did not prove, or that `audit init` refused: the next run must not accept a
//! refused key silently because its proof happens to pass.
//!
//! The file `keys-unproved` in the signer's state directory has their labels and the reasons. A label is entered before
//! its key is made, so that a run that dies or hangs in between leaves it there.

use super::state::StateDirectory;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

/// Name of the file: one JSON object, labels and reasons.
const FILE: &str = "keys-unproved";

/// See the file.
pub(super) struct Unproved {
    state: StateDirectory,
    why: BTreeMap<String, String>,
}

impl Unproved {
    /// Reads the file. An unreadable file is an error: it may name any key.
    pub(super) fn read(state: StateDirectory) -> io::Result<Self> {
        let why = match state.read(FILE)? {
            Some(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other)?,
            None => BTreeMap::new(),
        };
        Ok(Self { state, why })
    }

    pub(super) fn path(&self) -> PathBuf {
        self.state.path(FILE)
    }

    /// Why this key must not be used, if so.
    pub(super) fn why(&self, label: &str) -> Option<&str> {
        self.why.get(label).map(String::as_str)
    }

    /// Adds a label, durably.
    pub(super) fn add(&mut self, label: &str, why: &str) -> io::Result<()> {
        self.why.insert(label.to_owned(), why.to_owned());
        self.keep()
    }

    /// Removes the label of a key that was proved or never made.
    pub(super) fn remove(&mut self, label: &str) -> io::Result<()> {
        self.why.remove(label);
        if self.why.is_empty() { self.state.remove(FILE) } else { self.keep() }
    }

    fn keep(&self) -> io::Result<()> {
        self.state.write(FILE, &serde_json::to_vec(&self.why)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_stays_until_its_key_is_proved() {
        let dir = tempfile::tempdir().unwrap();
        let state = || StateDirectory::at(dir.path().join("signer"));
        let mut unproved = Unproved::read(state()).unwrap();
        unproved.add("a-es256-1", "being made").unwrap();
        unproved.add("b-es256-1", "being made").unwrap();
        unproved.remove("a-es256-1").unwrap();
        let mut unproved = Unproved::read(state()).unwrap();
        assert_eq!((unproved.why("a-es256-1"), unproved.why("b-es256-1")), (None, Some("being made")));
        unproved.remove("b-es256-1").unwrap();
        assert!(!unproved.path().exists());
    }
}
