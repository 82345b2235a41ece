//! Copies of the state of tokens and of the audit log that belong together, and whether a copy is whole.
//!
//! The state is copied first and the log second: the log only grows, so that of a backup extends what its state knows of
//! it, and a start on both needs no decision of the operator. The log's own end is a `backup` record.
//!
//! ```text
//! manifest.json                every other file with its size and SHA-256; the checkpoint; what made it, when
//! state.db                     the state as it was at one moment, without the log of changes
//! audit/segments/…             the segments up to the backup's record; zeros behind it
//! log-keys                     the log's verifier keys
//! ```
//!
//! Not copied: `published/`, which a start makes again from the segments, reading all of them; PIN, keys and secrets, because a
//! thief of the backup could sign; the signer's state directory, because a memory that came back with the log could not
//! tell that the log is an older one.

mod copy;
mod manifest;
mod verify;
mod write;

pub use manifest::{File, Manifest};
pub use verify::{Report, verify};
pub use write::{About, Paths, Seal, Summary, write};

use crate::audit::OpenError;
use crate::store::StoreError;
use std::io;
use std::path::PathBuf;

/// Told now and then: bytes that are done, and how many there are.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// The file that lists all others.
const MANIFEST: &str = "manifest.json";
/// The state of tokens.
const STATE: &str = "state.db";
/// What takes the place of the log's directory.
const LOG: &str = "audit";
/// The log's verifier keys.
const LOG_KEYS: &str = "log-keys";

/// Why there is no backup, or why one is not whole.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The output is there.
    #[error("{} exists already; a backup makes its own directory", .0.display())]
    Exists(PathBuf),
    /// An earlier run was broken off.
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
        /// Bytes that the rest of the backup takes, with those that must stay free.
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
        /// What was tried.
        did: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The backup is not as it was made.
    #[error("{}: {what}", path.display())]
    NotWhole {
        /// The file.
        path: PathBuf,
        /// What was expected and found.
        what: String,
    },
}

impl BackupError {
    fn io(path: impl Into<PathBuf>, did: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, did, source }
    }

    /// The exit status by sysexits: 65 what is damaged, 66 what is not there, 73 an output that exists, 74 the disk.
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
