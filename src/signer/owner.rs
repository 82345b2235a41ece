//! Root at the log: what it makes there must be the signer's.

use nix::unistd::{Gid, Uid, geteuid, setegid, seteuid};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// As long as it lives, a process of root has the user and group of the log's owner: a segment or a directory that belongs
/// to root would stop the signer. Any other process stays what it is.
pub(super) struct AsOwner(bool);

impl AsOwner {
    /// Looks at the log's directory; where there is none, whatever opens the log says so.
    pub(super) fn of(directory: &Path) -> io::Result<Self> {
        let Ok(about) = std::fs::metadata(directory) else { return Ok(Self(false)) };
        if !geteuid().is_root() || about.uid() == 0 {
            return Ok(Self(false));
        }
        // The group first: only root may change it. Dropped, it takes back what was done by then.
        let owner = Self(true);
        setegid(Gid::from_raw(about.gid()))?;
        seteuid(Uid::from_raw(about.uid()))?;
        Ok(owner)
    }
}

impl Drop for AsOwner {
    fn drop(&mut self) {
        if self.0
            && let Err(error) = seteuid(Uid::from_raw(0)).and_then(|()| setegid(Gid::from_raw(0)))
        {
            tracing::error!(%error, "this process does not become root again");
        }
    }
}
