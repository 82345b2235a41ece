//! Where a log lies and what it is called.

use super::disk::header::{SEGMENT_MAX, SEGMENT_MIN};
use super::disk::segment;
use super::error::{FileError, LockError, OpenError, SettingsError, at};
use super::record::encoding::{NAME_MAX, valid_name};
use crate::clock::TimeSource;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// What a log needs to know.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Holds `lock`, `segments/` (the signer's alone) and `published/` (for the gateway and auditors).
    pub directory: PathBuf,
    /// Name of the log: first line of its checkpoints and name of its key. 1 to 256 printable ASCII characters without
    /// space, quotation mark, backslash and plus.
    pub origin: String,
    /// Name of this machine in records; characters as in `origin`.
    pub node: String,
    /// Size of one segment file, [`super::SEGMENT_DEFAULT`] unless configured; rounded down to a multiple of 64 KiB.
    pub segment_bytes: u64,
    /// Where time comes from. The log starts the guarded clock from it, since its last record is what the clocks are
    /// compared with: [`super::Log::clock`].
    pub sources: TimeSource,
}

/// Signs the text of a checkpoint and returns complete signature lines of a signed note (C2SP `signed-note`), each
/// `— <name> <base64>` and ended by a newline; or says why it could not.
pub type SignCheckpoint = Box<dyn FnMut(&str) -> Result<String, String> + Send>;

impl LogSettings {
    /// Checks names and sizes and rounds the segment's size.
    pub(super) fn check(&mut self) -> Result<(), SettingsError> {
        for (what, name) in [("the log's origin", &self.origin), ("the node's name", &self.node)] {
            if !valid_name(name) {
                return Err(SettingsError::Name { what, found: name.chars().take(NAME_MAX).collect() });
            }
        }
        if !(SEGMENT_MIN..=SEGMENT_MAX).contains(&self.segment_bytes) {
            let found = self.segment_bytes;
            return Err(SettingsError::SegmentBytes { least: SEGMENT_MIN, most: SEGMENT_MAX, found });
        }
        self.segment_bytes -= self.segment_bytes % super::disk::header::BLOCK_MAX;
        Ok(())
    }

    pub(super) fn published(&self) -> PathBuf {
        self.directory.join("published")
    }
}

/// A log that every other writer is kept out of until it is dropped. Taken before anything else, the token included.
pub struct LogLock {
    pub(super) settings: LogSettings,
    /// See [`Self::reading_from`].
    pub(super) from: u64,
    pub(super) _held: [Flock<File>; 2],
}

impl LogLock {
    /// Locks the log that is there.
    pub fn take(mut settings: LogSettings) -> Result<Self, OpenError> {
        settings.check()?;
        let segments = segment::directory(&settings.directory);
        match std::fs::read_dir(&segments) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(OpenError::Missing(settings.directory));
            }
            Err(error) => return Err(LockError::Io(at(&segments, "opening")(error)).into()),
        }
        Ok(Self::of(settings)?)
    }

    pub(super) fn of(settings: LogSettings) -> Result<Self, LockError> {
        crate::durable::own(&settings.directory).map_err(at(&settings.directory, "writing"))?;
        let path = settings.directory.join("lock");
        let mut open = OpenOptions::new();
        let file = open.write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(at(&path, "opening"))?;
        // A lock file that was deleted keeps no writer out, and two writers would write over each other's records.
        // The directory cannot be deleted as long as it holds the log.
        let directory = &settings.directory;
        let itself = File::open(directory).map_err(at(directory, "opening"))?;
        let held = [flock(itself, directory.clone())?, flock(file, path)?];
        Ok(Self { settings, from: u64::MAX, _held: held })
    }

    /// Opening the log reads at least from the record with this number on, for [`super::Recovery::recorded_keys`]. Records
    /// before it are read as far as the log itself needs them.
    #[must_use]
    pub fn reading_from(self, record: u64) -> Self {
        Self { from: record, ..self }
    }
}

fn flock(file: File, path: PathBuf) -> Result<Flock<File>, LockError> {
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(held) => Ok(held),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(LockError::Held(path)),
        Err((_, errno)) => Err(FileError { path, did: "flock", source: errno.into() }.into()),
    }
}
