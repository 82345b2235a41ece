//! `manifest.json`: every other file of a bundle with its length and digest.

use super::{Finding, KEYS, Kind, MANIFEST};
use crate::audit::note::Checkpoint;
use crate::audit::tiles::{CHECKPOINT, Tile};
use crate::clock::Timestamp;
use crate::sha256::sha256;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The format that this program writes and reads.
const FORMAT: u32 = 1;

/// The list of a bundle's files. It detects accidental changes; the checkpoint's signature proves the files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the bundle's format.
    pub format: u32,
    /// The log.
    pub origin: String,
    /// Records in the bundle.
    pub size: u64,
    /// Root of the tree over the records, in hexadecimal digits.
    pub root: String,
    /// When the bundle was made (RFC 3339); not proved.
    pub time: String,
    /// Every file but this one, in a fixed order.
    pub files: Vec<ManifestFile>,
    /// SHA-256, in hexadecimal digits, of this file with this member empty.
    pub sha256: String,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestFile {
    /// Path below the bundle, with `/` between names.
    pub path: String,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 in hexadecimal digits.
    pub sha256: String,
}

impl ManifestFile {
    pub(super) fn new(path: String, bytes: &[u8]) -> Self {
        Self { path, bytes: bytes.len() as u64, sha256: hex::encode(sha256(bytes)) }
    }
}

/// The files of a bundle of `size` records other than the manifest, in the order of the manifest.
pub(super) fn expected(size: u64) -> impl Iterator<Item = PathBuf> {
    [PathBuf::from(CHECKPOINT), PathBuf::from(KEYS)]
        .into_iter()
        .chain(Tile::all(size).map(|tile| tile.path()))
}

impl Manifest {
    /// The manifest of `files`, which are sorted here.
    pub(super) fn new(checkpoint: &Checkpoint, time: Timestamp, files: Vec<ManifestFile>) -> Self {
        let mut files: std::collections::HashMap<String, ManifestFile> =
            files.into_iter().map(|file| (file.path.clone(), file)).collect();
        let files =
            expected(checkpoint.size).filter_map(|path| files.remove(path.to_string_lossy().as_ref()));
        let mut manifest = Self {
            format: FORMAT,
            origin: checkpoint.origin.clone(),
            size: checkpoint.size,
            root: hex::encode(checkpoint.root),
            time: time.to_string(),
            files: files.collect(),
            sha256: String::new(),
        };
        manifest.sha256 = manifest.digest();
        manifest
    }

    fn digest(&self) -> String {
        let without = Self { sha256: String::new(), ..self.clone() };
        hex::encode(sha256(&without.encode()))
    }

    /// The only encoding of the file.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Reads the file; refuses every encoding other than [`Manifest::encode`]'s.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Finding> {
        let malformed = |why: String| Finding::new(Kind::ManifestMalformed, why).at(MANIFEST);
        let manifest: Self =
            serde_json::from_slice(bytes).map_err(|why| malformed(format!("no manifest: {why}")))?;
        if manifest.format != FORMAT {
            let found = manifest.format;
            return Err(malformed(format!(
                "expected format {FORMAT}, found {found}; verify with a newer program"
            )));
        }
        if manifest.encode() != bytes || manifest.digest() != manifest.sha256 {
            return Err(malformed("not as the export wrote it: its own digest does not fit".to_owned()));
        }
        Ok(manifest)
    }

    /// Compares the manifest with the checkpoint and the files that it covers.
    pub(super) fn compare(&self, checkpoint: &Checkpoint) -> Result<(), Finding> {
        let mismatch = |message: String| Err(Finding::new(Kind::ManifestMismatch, message).at(MANIFEST));
        let said = (self.origin.as_str(), self.size, self.root.as_str());
        let root = hex::encode(checkpoint.root);
        let signed = (checkpoint.origin.as_str(), checkpoint.size, root.as_str());
        if said != signed {
            return mismatch(format!("it says {said:?}, but the checkpoint is of {signed:?}"));
        }
        let mut listed = self.files.iter();
        for path in expected(self.size) {
            match listed.next() {
                Some(file) if *file.path == *path.to_string_lossy() => (),
                other => {
                    let found = other.map_or("nothing", |file| file.path.as_str());
                    return mismatch(format!("expected {} in its list, found {found}", path.display()));
                }
            }
        }
        match listed.next() {
            Some(file) => mismatch(format!("it lists {}, which the checkpoint does not cover", file.path)),
            None => Ok(()),
        }
    }
}
