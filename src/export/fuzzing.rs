//! Entry points of `tests/fuzz`: each reads hostile bytes and writes the result again.

use super::facts::Facts;
use super::{KeyFile, Manifest};

/// Reads a manifest and writes it again.
pub fn manifest(bytes: &[u8]) -> Option<Vec<u8>> {
    Manifest::decode(bytes).ok().map(|manifest| manifest.encode())
}

/// Reads a key file and writes it again.
pub fn key_file(bytes: &[u8]) -> Option<Vec<u8>> {
    let file = KeyFile::decode(bytes).ok()?;
    drop(file.verifier_keys());
    Some(file.encode())
}

/// Whether these bytes are a record of the log `origin`.
pub fn record(bytes: &[u8], origin: &str) -> bool {
    Facts::read(bytes, origin).is_ok()
}
