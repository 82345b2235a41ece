//! Writing many files so that all are durable together: many are written before the first is synced, so that what they
//! share in the file system goes to the disk once, and every directory is synced once.

use super::TileError;
use crate::durable;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Published files may be read by the gateway and by auditors, as far as the umask lets them.
pub(super) const MODE: u32 = 0o644;
const DIRECTORY_MODE: u32 = 0o755;

/// Files that are written before they are synced: so many are open at most.
const OPEN_MAX: usize = 64;

/// Files that have been written; they have their names, durably, after [`Batch::finish`].
#[derive(Default)]
pub(super) struct Batch {
    written: Vec<Written>,
    directories: BTreeSet<PathBuf>,
}

/// A file that is not synced yet, under another name than it will have.
struct Written {
    file: File,
    gathering: PathBuf,
    path: PathBuf,
}

impl Batch {
    /// Replaces the file at `path` as a whole; a crash leaves the old or the new bytes, never a mixture.
    ///
    /// Unlike [`durable::write`] it leaves the sync of the directory to the end: a second under load completes hundreds
    /// of tiles in few directories.
    pub(super) fn put(&mut self, path: &Path, bytes: &[u8]) -> Result<(), TileError> {
        let failed = |action| move |source| TileError::Io { action, path: path.to_owned(), source };
        let Some(parent) = path.parent() else {
            return Err(failed("write")(std::io::ErrorKind::InvalidInput.into()));
        };
        durable::create_dir(parent, DIRECTORY_MODE).map_err(failed("create the directories of"))?;
        let (mut file, gathering) = durable::gather(path, MODE).map_err(failed("create a new file for"))?;
        file.write_all(bytes).map_err(failed("write"))?;
        self.directories.insert(parent.to_owned());
        self.written.push(Written { file, gathering, path: path.to_owned() });
        if self.written.len() < OPEN_MAX { Ok(()) } else { self.put_in_place() }
    }

    /// Syncs what was written and gives it its names.
    fn put_in_place(&mut self) -> Result<(), TileError> {
        for Written { file, gathering, path } in self.written.drain(..) {
            let path = path.as_path();
            let failed = |action| move |source| TileError::Io { action, path: path.to_owned(), source };
            file.sync_data().map_err(failed("sync"))?;
            fs::rename(&gathering, path).map_err(failed("rename a new file to"))?;
        }
        Ok(())
    }

    /// Makes files and names durable.
    pub(super) fn finish(mut self) -> Result<(), TileError> {
        self.put_in_place()?;
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
