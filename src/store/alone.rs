//! One process of ours at a time: what this one keeps in memory, no other may change in the file.

use super::StoreError;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::path::Path;
use std::time::Duration;

/// How long a daemon that is just ending is waited for.
const WAIT: Duration = Duration::from_secs(5);

/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(50);

/// Held as long as the file is open; dropped after every connection, since closing any descriptor of the file drops
/// the locks that SQLite holds on it.
pub(super) struct Alone {
    held: Flock<File>,
}

impl Alone {
    /// The file.
    pub(super) fn file(&self) -> &File {
        &self.held
    }

    /// On the file itself: a lock file beside it could be deleted. SQLite's own locks are of another kind and are not
    /// disturbed.
    pub(super) fn with(path: &Path) -> Result<Self, StoreError> {
        let wrong = |e: std::io::Error| StoreError::unusable(path, format!("cannot lock it: {e}"));
        let mut file = File::open(path).map_err(wrong)?;
        let mut waited = Duration::ZERO;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(held) => return Ok(Self { held }),
                Err((again, Errno::EWOULDBLOCK)) if waited < WAIT => file = again,
                Err((_, Errno::EWOULDBLOCK)) => {
                    let reason = "expected to be its only user, found that another process holds it; stop that one, \
                                  or give each daemon a file of its own";
                    return Err(StoreError::unusable(path, reason));
                }
                Err((_, errno)) => return Err(wrong(errno.into())),
            }
            std::thread::sleep(LOOK);
            waited += LOOK;
        }
    }
}
