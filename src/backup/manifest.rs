//! `manifest.json`: every other file of a backup with its size and digest.

use super::{BackupError, MANIFEST};
use crate::sha256::sha256;
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::path::{Component, Path};

/// The format that this program writes and reads.
pub(super) const FORMAT: u32 = 1;
/// Bytes of the longest manifest that is read, enough for a million files.
const MOST: u64 = 256 << 20;

/// The list of a backup's files, written last. It detects accidental changes; signed checkpoints prove the log, and
/// nothing proves the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the format.
    pub format: u32,
    /// Version of the program that made the backup.
    pub program: String,
    /// Digest of the configuration as used; the configuration itself is not in the backup.
    pub configuration: String,
    /// Start of the backup (RFC 3339): later changes may be missing.
    pub time: String,
    /// The log.
    pub origin: String,
    /// Records in the log's copy; the last ones are not covered by a checkpoint yet.
    pub records: u64,
    /// Number of the record of this backup.
    pub sequence: u64,
    /// Records under the newest checkpoint.
    pub size: u64,
    /// Root of the tree over these records, in hexadecimal digits.
    pub root: String,
    /// That checkpoint, a signed note.
    pub checkpoint: String,
    /// Every file but this one, sorted by path.
    pub files: Vec<File>,
    /// SHA-256, in hexadecimal digits, of this file with this member empty.
    pub sha256: String,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Path below the backup, with `/` between names.
    pub path: String,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 in hexadecimal digits.
    pub sha256: String,
}

impl Manifest {
    pub(super) fn sealed(self) -> Self {
        Self { sha256: self.digest(), ..self }
    }

    fn digest(&self) -> String {
        hex::encode(sha256(&Self { sha256: String::new(), ..self.clone() }.encode()))
    }

    /// The only encoding of the file.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Reads the manifest of the backup in `directory`.
    pub(super) fn read(directory: &Path) -> Result<Self, BackupError> {
        let path = directory.join(MANIFEST);
        let mut bytes = Vec::new();
        let file = std::fs::File::open(&path).map_err(BackupError::io(&path, "opening"))?;
        file.take(MOST).read_to_end(&mut bytes).map_err(BackupError::io(&path, "reading"))?;
        let wrong = |what: String| BackupError::NotWhole { path: path.clone(), what };
        let manifest: Self =
            serde_json::from_slice(&bytes).map_err(|e| wrong(format!("no manifest: {e}")))?;
        if manifest.format != FORMAT {
            return Err(wrong(format!("expected format {FORMAT}, found {}", manifest.format)));
        }
        if manifest.encode() != bytes || manifest.digest() != manifest.sha256 {
            return Err(wrong("it is not as the backup wrote it: its own digest does not fit".to_owned()));
        }
        let inside =
            |file: &File| Path::new(&file.path).components().all(|part| matches!(part, Component::Normal(_)));
        match manifest.files.iter().find(|file| !inside(file)) {
            Some(file) => Err(wrong(format!("it lists {:?}, which is outside of the backup", file.path))),
            None => Ok(manifest),
        }
    }
}
