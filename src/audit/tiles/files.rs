//! Writing many files so that all are durable together: every file is synced, every directory once.

use super::TileError;
use crate::durable;
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Published files may be read by the gateway and by auditors, as far as the umask lets them.
pub(super) const MODE: u32 = 0o644;
const DIRECTORY_MODE: u32 = 0o755;

/// Files that have been written and synced under their names; the names are durable after [`Batch::finish`].
#[derive(Default)]
pub(super) struct Batch {
    directories: BTreeSet<PathBuf>,
}

impl Batch {
    /// Replaces the file at `path` as a whole; a crash leaves the old or the new bytes, never a mixture.
    ///
    /// Unlike [`durable::write`] it leaves the sync of the directory to the end: a second under load completes hundreds
    /// of tiles in few directories.
    pub(super) fn put(&mut self, path: &Path, bytes: &[u8]) -> Result<(), TileError> {
        let failed = |action| move |source| TileError::Io { action, path: path.to_owned(), source };
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(failed("write")(std::io::ErrorKind::InvalidInput.into()));
        };
        durable::create_dir(parent, DIRECTORY_MODE).map_err(failed("create the directories of"))?;
        let mut gathering = std::ffi::OsString::from(".");
        gathering.push(name);
        gathering.push(".new");
        let gathering = parent.join(gathering);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(MODE)
            .open(&gathering)
            .map_err(failed("create a new file for"))?;
        file.write_all(bytes).map_err(failed("write"))?;
        file.sync_data().map_err(failed("sync"))?;
        fs::rename(&gathering, path).map_err(failed("rename a new file to"))?;
        self.directories.insert(parent.to_owned());
        Ok(())
    }

    /// Makes the names durable.
    pub(super) fn finish(self) -> Result<(), TileError> {
        for path in self.directories {
            durable::sync_dir(&path).map_err(|source| TileError::Io {
                action: "sync the directory",
                path: path.clone(),
                source,
            })?;
        }
        Ok(())
    }
}
