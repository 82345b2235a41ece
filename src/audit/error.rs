//! What can go wrong with the log, split by what the caller does about it.

use super::tiles::TileError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why something was not recorded, signed or published.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// The log failed for good: the process must end, and the next start reads the log from the disk.
    #[error("the audit log has failed and takes no record until a restart: {0}")]
    Poisoned(Arc<str>),
    /// No space; try again later.
    #[error(transparent)]
    Full(#[from] Full),
    /// An entry that no segment could hold.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// A record of the log's own that does not fit.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// The checkpoint key did not sign, or what it signed does not verify. Recorded data is kept; it is tried again.
    #[error("the checkpoint was not signed: {0}")]
    Sign(Arc<str>),
    /// The published files could not be read or written. Recorded data is kept; it is tried again.
    #[error("the published log could not be read or written: {0}")]
    Publish(Arc<str>),
    /// [`super::Log::sign_checkpoints`] was not called yet.
    #[error(
        "no checkpoint is signed before it is shown that the log extends what was known of it, since it may have been rolled back; let the gateway connect"
    )]
    Unconfirmed,
    /// The log's threads have ended.
    #[error("the audit log is closed")]
    Closed,
}

/// Something that is longer than the format allows.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{what} may have {most} bytes, found {found}; put what is large into the payload")]
pub struct TooLong {
    /// What is too long.
    pub what: &'static str,
    /// Its bytes.
    pub found: usize,
    /// The bytes that it may have.
    pub most: usize,
}

/// An entry is larger than what was reserved for it: a mistake of the caller.
#[derive(Debug, thiserror::Error)]
#[error(
    "an audit entry needs {needed} bytes and has {reserved} reserved; reserve its full size before signing"
)]
pub struct BeyondReservation {
    /// Bytes reserved.
    pub reserved: u64,
    /// Bytes needed.
    pub needed: u64,
}

/// The log failed for good.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the audit log has failed and takes no record until a restart")]
pub struct Poisoned;

/// Nothing was reserved: refuse the request before anything is signed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Full {
    /// The active segment and the next one cannot take it.
    #[error(
        "no space for the audit log: {wanted} bytes asked, {left} left; requests resume when its disk has space"
    )]
    Disk {
        /// Bytes asked for, with what surrounds them.
        wanted: u64,
        /// Bytes left beside what is reserved.
        left: u64,
    },
    /// Too many records wait to be published.
    #[error("{waiting} bytes of audit records wait to be published; requests resume when that succeeds")]
    Unpublished {
        /// Bytes waiting.
        waiting: u64,
    },
    /// Larger than any segment takes.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// The log failed for good.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
}

/// An entry that is larger than a segment takes.
#[derive(Clone, Debug, thiserror::Error)]
#[error("an audit entry of {found} bytes is too large: at most {most}; raise the segment size or send less")]
pub struct TooLarge {
    /// Its bytes.
    pub found: u64,
    /// The most that one entry may have.
    pub most: u64,
}

/// Why a log was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// There is a log already, or what is left of one.
    #[error("{} exists already: a log is created once; choose another directory or open this one", .0.display())]
    Exists(PathBuf),
    /// Settings that no log can have.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Another process holds the directory.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The disk.
    #[error(transparent)]
    Io(#[from] FileError),
    /// The first records do not fit, the first checkpoint was not signed or not published.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Why a log was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is none.
    #[error("there is no audit log in {}: restore its newest copy, or for a new installation create it once with `chancery audit init`", .0.display())]
    Missing(PathBuf),
    /// Settings that no log can have.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Another process holds the directory.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The disk.
    #[error(transparent)]
    Io(#[from] FileError),
    /// The log is not what was written. Nothing was changed.
    #[error(
        "the audit log is damaged: {what} ({} at byte {offset}); nothing was changed; restore it from a copy",
        segment.display()
    )]
    Damage {
        /// The file.
        segment: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// The threads of the log did not start or what recovery found was not recorded.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Settings that no log can have.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// An origin or node name with characters or of a length that notes and records do not allow.
    #[error(
        "{what} must be 1 to 256 printable ASCII characters without space, quotation mark, backslash and plus, found {found:?}"
    )]
    Name {
        /// Which name.
        what: &'static str,
        /// The name.
        found: String,
    },
    /// Segments that are too small or too large.
    #[error("a segment must have {least} to {most} bytes, found {found}")]
    SegmentBytes {
        /// The least.
        least: u64,
        /// The most.
        most: u64,
        /// As given.
        found: u64,
    },
    /// A log of another origin lies in the directory.
    #[error(
        "the log in the directory has the origin {found:?}, expected {expected:?}; check [audit] origin and directory"
    )]
    Origin {
        /// As configured.
        expected: String,
        /// In the segment.
        found: String,
    },
}

/// Another process holds the log, or the lock cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Held.
    #[error("another process has {} locked: one log has one writer; stop it first", .0.display())]
    Held(PathBuf),
    /// The file.
    #[error(transparent)]
    Io(#[from] FileError),
}

/// An operation on a file that failed.
#[derive(Debug, thiserror::Error)]
#[error("{}: {did} failed: {source}", path.display())]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// What was tried.
    pub did: &'static str,
    /// The system's answer.
    pub source: io::Error,
}

/// Adds file and act to an error of the system.
pub(super) fn at<'a>(path: &'a Path, did: &'static str) -> impl FnOnce(io::Error) -> FileError + 'a {
    move |source| FileError { path: path.to_path_buf(), did, source }
}

impl From<TileError> for LogError {
    fn from(error: TileError) -> Self {
        Self::Publish(error.to_string().into())
    }
}
