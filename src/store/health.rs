//! Whether writes to the file have a chance, for readiness: how the last ones went, and whether the file is still the one
//! that its path names.
//!
//! What a failed write begins only a *trial* ends: a write about as large as a token's, since a smaller one may still find
//! space where a token does not. The thread that writes makes it each second while writes fail.

use super::StoreError;
use crate::clock;
use rusqlite::Connection;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A disk that does not take a commit for so long is stalled.
const STALLED: Duration = Duration::from_secs(5);

/// Shared by the thread that writes and all that ask.
#[derive(Default)]
pub(super) struct Health {
    /// Why writes fail.
    trouble: Mutex<Option<StoreError>>,
    /// When the commit began that is under way, in monotonic nanoseconds; 0 when none is.
    began: AtomicU64,
}

impl Health {
    /// An error when a write would fail or wait.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if let Some(trouble) = &*self.trouble.lock().unwrap_or_else(PoisonError::into_inner) {
            return Err(trouble.clone());
        }
        let waits = match self.began.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            began => clock::since(began),
        };
        if waits > STALLED {
            return Err(StoreError::Stalled { seconds: waits.as_secs() });
        }
        Ok(())
    }

    /// Does what may wait for the disk.
    pub(super) fn watched<T>(&self, commit: impl FnOnce() -> T) -> T {
        self.began.store(clock::monotonic_nanos().max(1), Ordering::Relaxed);
        let done = commit();
        self.began.store(0, Ordering::Relaxed);
        done
    }

    /// Whether a write failed since the last trial that succeeded.
    pub(super) fn is_failing(&self) -> bool {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// A write or a trial failed; logged when that begins.
    pub(super) fn failed(&self, error: StoreError) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.is_none() {
            tracing::error!(%error, "the state of tokens cannot be written; trying each second");
        }
        *trouble = Some(error);
    }

    /// A trial succeeded.
    pub(super) fn recovered(&self) {
        if self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            tracing::info!("the state of tokens is written again");
        }
    }
}

/// The file that is open, by device and inode.
pub(super) struct Identity {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Identity {
    /// Of an open file.
    pub(super) fn of(path: &Path, file: &File) -> std::io::Result<Self> {
        let found = file.metadata()?;
        Ok(Self { path: path.to_owned(), device: found.dev(), inode: found.ino() })
    }

    /// Refuses when the path leads to another file or none: what is written then is gone with the process.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let same = |found: &Metadata| (found.dev(), found.ino()) == (self.device, self.inode);
        let found = match std::fs::metadata(&self.path) {
            Ok(found) if same(&found) => return Ok(()),
            Ok(_) => "another file".to_owned(),
            Err(error) => error.to_string(),
        };
        let reason = format!(
            "expected the file that was opened at the start, found {found}: put it back, or stop the gateway, put back \
             the newest copy and start"
        );
        Err(StoreError::unusable(&self.path, reason))
    }
}

/// As much as a token takes, written and taken away again in one transaction, which is durable on return.
pub(super) fn trial(conn: &mut Connection) -> Result<(), StoreError> {
    const WRITE: &str =
        "INSERT OR REPLACE INTO used_assertion (issuer, jti, expires_at) VALUES ('', hex(zeroblob(4096)), 0)";
    const TAKE_AWAY: &str = "DELETE FROM used_assertion WHERE issuer = ''";
    let mut tried = || {
        let transaction = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        transaction.execute(WRITE, [])?;
        transaction.execute(TAKE_AWAY, [])?;
        transaction.commit()
    };
    tried().map_err(|error| StoreError::of("write", &error))
}
