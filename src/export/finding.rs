//! Defects of a bundle, and their places.

use crate::audit::tiles::TileError;
use serde::{Serialize, Serializer};
use std::fmt;
use std::path::{Path, PathBuf};

/// The first defect. A bundle with a finding proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct Finding {
    /// Kind of the defect.
    pub kind: Kind,
    /// The file; relative if it is below the bundle's directory.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "in_text")]
    pub file: Option<PathBuf>,
    /// The record's sequence number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<u64>,
    /// Expected and found.
    pub message: String,
}

/// A file name in a foreign bundle may not be UTF-8, which JSON cannot hold.
#[expect(clippy::ref_option, reason = "serde calls it with the field")]
fn in_text<S: Serializer>(file: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    file.as_ref().map(|file| file.to_string_lossy()).serialize(serializer)
}

/// Kinds of findings; the names in kebab-case are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// The directory or file to verify does not exist.
    NoInput,
    /// The system refused to read.
    Unreadable,
    /// The manifest is malformed.
    ManifestMalformed,
    /// The manifest contradicts the checkpoint, or lists other files than the checkpoint covers.
    ManifestMismatch,
    /// A required file is missing.
    FileMissing,
    /// A file that is not part of the bundle.
    FileExtra,
    /// A file whose bytes differ from the manifest or have the wrong form.
    FileChanged,
    /// A verifier key or `keys.json` is malformed.
    KeysMalformed,
    /// A key in `keys.json` and the key records of the log differ.
    KeyMismatch,
    /// A record names a key without a key record before it.
    KeyUnknown,
    /// The checkpoint's signature or form is wrong.
    CheckpointInvalid,
    /// The tree of the records has another root than the signed checkpoint.
    RootMismatch,
    /// An earlier checkpoint is not of this log.
    EarlierInvalid,
    /// The log is shorter than an earlier checkpoint.
    Shortened,
    /// The log does not extend an earlier checkpoint.
    Forked,
    /// A hash tile differs from the records.
    TileMismatch,
    /// A record differs from the hash that the tiles have for it.
    RecordChanged,
    /// A record is not strict JSON of the known format, or lacks what its event needs.
    RecordMalformed,
    /// A record of another log.
    OriginMismatch,
    /// A sequence number that is not the record's position.
    SequenceGap,
    /// `prev` is not the hash of the record before.
    LinkBroken,
    /// The time goes back.
    TimeBack,
    /// A checkpoint in a record does not match this tree, or gets smaller.
    RecordedCheckpoint,
    /// A requested JWT has no record.
    JwtNotFound,
}

impl Finding {
    /// A finding without a place.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, file: None, record: None, message: message.into() }
    }

    /// Adds the file.
    #[must_use]
    pub fn at(mut self, file: impl AsRef<Path>) -> Self {
        self.file = Some(file.as_ref().to_owned());
        self
    }

    /// Adds the record.
    #[must_use]
    pub const fn of(mut self, record: u64) -> Self {
        self.record = Some(record);
        self
    }

    /// The finding for a tile of the bundle in `directory` that could not be read.
    pub(super) fn tile(error: &TileError, directory: &Path) -> Self {
        let below = |path: &Path| path.strip_prefix(directory).unwrap_or(path).to_owned();
        match error {
            TileError::Missing { path, .. } => {
                Self::new(Kind::FileMissing, "the checkpoint covers this file, but it is not there").at(path)
            }
            TileError::Malformed { path, expected, found } => {
                Self::new(Kind::FileChanged, format!("expected {expected}, found {found}")).at(below(path))
            }
            TileError::Io { path, .. } => Self::new(Kind::Unreadable, error.to_string()).at(below(path)),
            _ => Self::new(Kind::FileChanged, error.to_string()),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.record) {
            (Some(file), Some(record)) => write!(f, "{}, record {record}: {}", file.display(), self.message),
            (Some(file), None) => write!(f, "{}: {}", file.display(), self.message),
            (None, Some(record)) => write!(f, "record {record}: {}", self.message),
            (None, None) => f.write_str(&self.message),
        }
    }
}
