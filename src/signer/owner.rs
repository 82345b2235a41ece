//! Root's access to the log with the identity of the log's owner.

use nix::unistd::{Gid, Uid, geteuid, setegid, seteuid};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// While it lives, a process of root has the effective user and group of the log's owner: a segment or directory of
/// root would stop the signer. Other processes are unchanged.
pub(super) struct AsOwner(bool);

impl AsOwner {
    /// Looks at the log's directory; without one the opening of the log reports it.
    pub(super) fn of(directory: &Path) -> io::Result<Self> {
        let Ok(about) = std::fs::metadata(directory) else { return Ok(Self(false)) };
        if !geteuid().is_root() || about.uid() == 0 {
            return Ok(Self(false));
        }
        // The group first: only root may change it. Drop reverts the steps done so far.
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
