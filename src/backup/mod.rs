//! Copies the state of tokens and the audit log consistently, and verifies such copies.
//!
//! The state is copied first and the log second: the log only grows, so its copy extends the checkpoint in the copied
//! state, and a start needs no decision of the operator. The last record of the copy is the `backup` record.
//!
//! ```text
//! manifest.json                every other file with its size and SHA-256; the checkpoint; what made it, when
//! state.db                     the state as it was at one moment, without the log of changes
//! audit/segments/…             the segments up to the backup's record; zeros behind it
//! log-keys                     the log's verifier keys
//! ```
//!
//! Not copied: `published/`, which a start makes again from the segments, reading all of them; PIN, keys and secrets,
//! since a thief of the backup could sign; the signer's state directory, since a checkpoint restored with an older log
//! cannot show that the log is older.

mod copy;
mod manifest;
mod verify;
mod write;

pub use manifest::{File, Manifest};
pub use verify::{Report, verify};
pub use write::{About, LogEnd, Paths, Summary, write};

use crate::audit::OpenError;
use crate::store::StoreError;
use std::io;
use std::path::PathBuf;

/// Called repeatedly with the count of processed bytes and the total.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// The list of all other files.
const MANIFEST: &str = "manifest.json";
const STATE: &str = "state.db";
/// Directory of the log's copy.
const LOG: &str = "audit";
const LOG_KEYS: &str = "log-keys";

/// Why a backup was not made, or is not valid.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The output exists.
    #[error("{} exists already; a backup makes its own directory", .0.display())]
    Exists(PathBuf),
    /// The output of an unfinished or running backup exists.
    #[error("{} is what a backup left that was broken off, or is being made: remove it if none is", .0.display())]
    Unfinished(PathBuf),
    /// Not enough space.
    #[error(
        "{}: expected {needed} bytes of free space, found {free}; of them {kept} are for the log on the same file system",
        path.display()
    )]
    Space {
        /// Where.
        path: PathBuf,
        /// Bytes needed for the rest of the backup, including those that must stay free.
        needed: u64,
        /// Bytes that must stay free.
        kept: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The state of tokens.
    #[error(transparent)]
    State(#[from] StoreError),
    /// The log.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// A file.
    #[error("{}: {did}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The failed action.
        did: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// A difference from the manifest.
    #[error("{}: {what}", path.display())]
    NotWhole {
        /// The file.
        path: PathBuf,
        /// Expected and found.
        what: String,
    },
}

impl BackupError {
    fn io(path: impl Into<PathBuf>, did: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, did, source }
    }

    /// The exit status (sysexits): 65 damaged, 66 missing, 73 output exists, 74 disk.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Exists(_) | Self::Unfinished(_) => 73,
            Self::NotWhole { .. } | Self::Log(OpenError::Damage { .. }) => 65,
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => 66,
            Self::State(StoreError::Unusable { .. } | StoreError::Newer { .. })
            | Self::Log(OpenError::Missing(_)) => 66,
            _ => 74,
        }
    }
}
