//! Reading on the caller's own thread: a few connections, each behind a lock that is nearly always free.

use super::{StoreError, schema};
use rusqlite::Connection;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// Connections at most; each may take a few MiB of cache.
const MOST: usize = 8;

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Which connection this thread tries first: its own, as long as there are no more threads than connections.
    static HOME: usize = THREADS.fetch_add(1, Ordering::Relaxed);
}

/// The connections.
pub(super) struct Readers {
    first: Mutex<Connection>,
    others: Vec<Mutex<Connection>>,
}

impl Readers {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let count = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).clamp(2, MOST);
        let open = || schema::reader(path).map(Mutex::new);
        Ok(Self { first: open()?, others: (1..count).map(|_| open()).collect::<Result<_, _>>()? })
    }

    /// Runs `read` on a connection. `read` must not leave a statement open, or later reads would miss later writes;
    /// rusqlite's `query_row` closes its own.
    pub(super) fn with<T>(&self, read: impl FnOnce(&Connection) -> T) -> T {
        read(&self.free())
    }

    fn free(&self) -> MutexGuard<'_, Connection> {
        let home = HOME.with(|home| *home) % (1 + self.others.len());
        let all = || std::iter::once(&self.first).chain(&self.others);
        let mut from_home = all().skip(home).chain(all().take(home));
        from_home
            .find_map(|connection| match connection.try_lock() {
                Ok(guard) => Some(guard),
                // A statement that was left by a panic was closed while the stack unwound.
                Err(TryLockError::Poisoned(e)) => Some(e.into_inner()),
                Err(TryLockError::WouldBlock) => None,
            })
            .unwrap_or_else(|| self.first.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
