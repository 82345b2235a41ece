//! What `tests/fuzz` tries of this room: each reader gives back what it read as the writer would write it.

use super::chain::Facts;
use super::{KeyFile, Manifest};

/// A manifest, written again.
pub fn manifest(bytes: &[u8]) -> Option<Vec<u8>> {
    Manifest::decode(bytes).ok().map(|manifest| manifest.encode())
}

/// A key file, written again.
pub fn key_file(bytes: &[u8]) -> Option<Vec<u8>> {
    let file = KeyFile::decode(bytes).ok()?;
    drop(file.verifier_keys());
    Some(file.encode())
}

/// Whether these bytes are a record of the log `origin`.
pub fn record(bytes: &[u8], origin: &str) -> bool {
    Facts::read(bytes, origin).is_ok()
}
