//! What can go wrong with the state of tokens. All of it is the operator's; a caller of the daemon is told 503.

use std::path::{Path, PathBuf};

/// Why the state could not be read or written. Where a write failed its caller has been promised nothing; whether a
/// crash leaves its effect is open, as with every database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The queue of writes is full: nothing was done.
    #[error("state store: {} writes wait already; the disk does not keep up with the requests", super::QUEUE)]
    Busy,
    /// The thread that writes has ended; whether the write was done is not known.
    #[error("state store: the thread that writes has ended; restart the daemon")]
    Closed,
    /// The file cannot be used as it is.
    #[error("state store {}: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What was expected, what was found, what to do.
        reason: String,
    },
    /// The file was written by a later version of this program.
    #[error(
        "state store {}: expected schema version {known} or lower, found {found}; start the version of chancery \
         that wrote it, or a later one",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Version in the file.
        found: i64,
        /// Newest version that this program knows.
        known: i64,
    },
    /// No space left. Later writes work again once there is some.
    #[error("state store: cannot {doing}: the disk is full; free some space, no restart is needed")]
    Full {
        /// What was tried.
        doing: &'static str,
    },
    /// A commit waits for the disk.
    #[error("state store: its disk has not taken a commit for {seconds} s")]
    Stalled {
        /// For how long.
        seconds: u64,
    },
    /// SQLite refused for another reason.
    #[error("state store: cannot {doing}: {reason}")]
    Database {
        /// What was tried.
        doing: &'static str,
        /// SQLite's own words.
        reason: String,
    },
    /// A row holds what this program never writes.
    #[error("state store: cannot {doing}: {reason}; something else changed the file: put back a copy")]
    Damaged {
        /// What was tried.
        doing: &'static str,
        /// The column and what is wrong with it.
        reason: String,
    },
    /// Key and facts contradict each other: a mistake of the caller inside this program.
    #[error("state store: cannot insert a token: {0}")]
    Inconsistent(&'static str),
}

impl StoreError {
    pub(super) fn unusable(path: &Path, reason: impl Into<String>) -> Self {
        Self::Unusable { path: path.to_owned(), reason: reason.into() }
    }

    pub(super) fn of(doing: &'static str, error: &rusqlite::Error) -> Self {
        use rusqlite::Error as E;
        match error {
            E::SqliteFailure(e, _) if e.code == rusqlite::ErrorCode::DiskFull => Self::Full { doing },
            E::FromSqlConversionFailure(..) | E::InvalidColumnType(..) | E::IntegralValueOutOfRange(..) => {
                Self::Damaged { doing, reason: error.to_string() }
            }
            E::SqliteFailure(e, _) if e.code == rusqlite::ErrorCode::DatabaseCorrupt => {
                Self::Damaged { doing, reason: error.to_string() }
            }
            _ => Self::Database { doing, reason: error.to_string() },
        }
    }
}

/// Why a token was not inserted. Nothing was written then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InsertError {
    /// The assertion's `jti` was used before (RFC 7523 §3, point 7).
    #[error("the assertion was used before")]
    Replayed,
    /// A token of this hash or `jti` is there already: randomness failed, or the caller repeats itself.
    #[error("state store: a token of the same hash or jti is there already")]
    Duplicate,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
