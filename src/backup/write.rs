//! Makes a backup while the service runs.

use super::copy::{copy, digest};
use super::manifest::FORMAT;
use super::{BackupError, File, LOG, LOG_KEYS, MANIFEST, Manifest, Progress, STATE};
use crate::audit::Extent;
use crate::audit::note::Checkpoint;
use crate::clock::Timestamp;
use crate::durable;
use crate::store::Store;
use rustix::fs::statvfs;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Sources and target of a backup.
#[derive(Clone, Copy, Debug)]
pub struct Paths<'a> {
    /// The gateway's state of tokens.
    pub state: &'a Path,
    /// The log's directory.
    pub log: &'a Path,
    /// Its verifier keys.
    pub log_keys: &'a Path,
    /// The directory to make.
    pub out: &'a Path,
}

/// Values for the manifest.
#[derive(Clone, Debug)]
pub struct About {
    /// Digest of the configuration as used.
    pub configuration: String,
    /// The current time.
    pub time: Timestamp,
}

/// The end of the log's copy, from the `backup` record.
#[derive(Clone, Debug)]
pub struct LogEnd {
    /// Number of the durable record of this backup.
    pub sequence: u64,
    /// The newest checkpoint before that record, a signed note whose record is durable too.
    pub checkpoint: String,
}

/// Result of a backup.
#[derive(Clone, Debug)]
pub struct Summary {
    /// As it was written.
    pub manifest: Manifest,
    /// Bytes of all files but the manifest.
    pub bytes: u64,
}

/// Makes a backup in a new directory, which gets its name when it is complete and durable.
///
/// `record` is called after the state has been copied, and records the backup in the log. So the log's copy holds every
/// record that the copied state's checkpoint covers.
pub fn write<E: From<BackupError>>(
    paths: Paths<'_>,
    about: &About,
    record: impl FnOnce() -> Result<LogEnd, E>,
    progress: Progress<'_>,
) -> Result<Summary, E> {
    // A bare name is relative to the working directory.
    let out = std::path::absolute(paths.out).map_err(BackupError::io(paths.out, "finding its place"))?;
    if out.exists() {
        return Err(BackupError::Exists(out).into());
    }
    let mut making = Making::begin(Paths { out: &out, ..paths }, progress)?;
    let made = making.all(about, record);
    if made.is_err() {
        // If this fails too, the directory has no manifest and its name ends in `.unfinished`.
        let _ = fs::remove_dir_all(&making.directory);
    }
    made
}

struct Making<'a> {
    paths: Paths<'a>,
    /// A directory beside the output; renamed at the end.
    directory: PathBuf,
    files: Vec<File>,
    done: u64,
    total: u64,
    progress: Progress<'a>,
}

impl<'a> Making<'a> {
    fn begin(paths: Paths<'a>, progress: Progress<'a>) -> Result<Self, BackupError> {
        let mut name = paths.out.file_name().unwrap_or_default().to_os_string();
        name.push(".unfinished");
        let directory = paths.out.with_file_name(name);
        let mut making = Self { paths, directory, files: Vec::new(), done: 0, total: 0, progress };
        making.total = size_of(paths.state)? + segments(paths.log)?.iter().sum::<u64>();
        making.find_space(paths.out.parent().unwrap_or(paths.out))?;
        match DirBuilder::new().mode(0o700).create(&making.directory) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(BackupError::Unfinished(making.directory))
            }
            made => made.map_err(BackupError::io(&making.directory, "creating")).map(|()| making),
        }
    }

    fn all<E: From<BackupError>>(
        &mut self,
        about: &About,
        record: impl FnOnce() -> Result<LogEnd, E>,
    ) -> Result<Summary, E> {
        self.state()?;
        let end = record()?;
        Ok(self.log(&end).and_then(|records| self.end(about, end, records))?)
    }

    /// Copies the state as SQLite's snapshot of one moment.
    fn state(&mut self) -> Result<(), BackupError> {
        let to = self.directory.join(STATE);
        Store::copy(self.paths.state, &to)?;
        let synced = fs::File::open(&to).and_then(|file| file.sync_all());
        synced.map_err(BackupError::io(&to, "fsync"))?;
        let (bytes, sha256) = digest(&to, &mut self.count())?;
        self.files.push(File { path: STATE.to_owned(), bytes, sha256 });
        Ok(())
    }

    /// Copies the log up to the record of this backup; returns the count of records.
    fn log(&mut self, end: &LogEnd) -> Result<u64, BackupError> {
        let extent = Extent::of(self.paths.log, end.sequence + 1)?;
        self.total = self.done + extent.segments.iter().map(|part| part.bytes).sum::<u64>();
        for part in &extent.segments {
            let name = part.path.strip_prefix(self.paths.log).unwrap_or(&part.path);
            self.find_space(&self.directory)?;
            self.copy(&part.path, format!("{LOG}/{}", name.display()), part.end, part.bytes)?;
        }
        let bytes = size_of(self.paths.log_keys)?;
        self.copy(self.paths.log_keys, LOG_KEYS.to_owned(), bytes, bytes)?;
        Ok(extent.records)
    }

    fn copy(&mut self, from: &Path, path: String, end: u64, bytes: u64) -> Result<(), BackupError> {
        let to = self.directory.join(&path);
        let parent = to.parent().unwrap_or(&to);
        durable::create_dir(parent, 0o700).map_err(BackupError::io(parent, "creating"))?;
        let sha256 = copy(from, &to, end, bytes, &mut self.count())?;
        durable::sync_dir(parent).map_err(BackupError::io(parent, "fsync"))?;
        self.files.push(File { path, bytes, sha256 });
        Ok(())
    }

    fn end(&mut self, about: &About, log: LogEnd, records: u64) -> Result<Summary, BackupError> {
        let path = self.directory.join(MANIFEST);
        let newest = Checkpoint::from_note_unverified(log.checkpoint.as_bytes());
        let newest = newest.map_err(|e| BackupError::NotWhole { path: path.clone(), what: e.to_string() })?;
        let mut files = std::mem::take(&mut self.files);
        files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let bytes = files.iter().map(|file| file.bytes).sum();
        let manifest = Manifest {
            format: FORMAT,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            configuration: about.configuration.clone(),
            time: about.time.to_string(),
            origin: newest.origin,
            records,
            sequence: log.sequence,
            size: newest.size,
            root: hex::encode(newest.root),
            checkpoint: log.checkpoint,
            files,
            sha256: String::new(),
        };
        let manifest = manifest.sealed();
        durable::write(&path, &manifest.encode(), 0o600).map_err(BackupError::io(&path, "writing"))?;
        // The point of no return: before it no backup has this name, after it a complete one has.
        let named = durable::rename(&self.directory, self.paths.out);
        named.map_err(BackupError::io(self.paths.out, "giving the backup its name"))?;
        Ok(Summary { manifest, bytes })
    }

    /// Counts bytes and reports the progress.
    fn count(&mut self) -> impl FnMut(u64) {
        |bytes| {
            self.done += bytes;
            (self.progress)(self.done, self.total.max(self.done));
        }
    }

    /// Refuses if the remaining files do not fit; on the log's own file system the log keeps its next segments.
    fn find_space(&self, place: &Path) -> Result<(), BackupError> {
        let device = |path: &Path| {
            fs::metadata(path).map(|about| about.dev()).map_err(BackupError::io(path, "looking at"))
        };
        let same = device(place)? == device(self.paths.log)?;
        let kept = if same { 2 * segments(self.paths.log)?.into_iter().max().unwrap_or(0) } else { 0 };
        let disk = statvfs(place).map_err(|e| BackupError::io(place, "asking for free space")(e.into()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let needed = self.total.saturating_sub(self.done).saturating_add(kept);
        if free < needed {
            return Err(BackupError::Space { path: place.to_owned(), needed, kept, free });
        }
        Ok(())
    }
}

fn size_of(path: &Path) -> Result<u64, BackupError> {
    fs::metadata(path).map(|about| about.len()).map_err(BackupError::io(path, "asking for its size"))
}

/// Sizes of the segment files, including the prepared one: the log may grow by that much meanwhile.
fn segments(log: &Path) -> Result<Vec<u64>, BackupError> {
    let directory = log.join("segments");
    let failed = |e| BackupError::io(&directory, "listing")(e);
    let mut sizes = Vec::new();
    for entry in fs::read_dir(&directory).map_err(failed)? {
        // A file may have been renamed meanwhile.
        sizes.extend(entry.map_err(failed)?.metadata().map(|about| about.len()).ok());
    }
    Ok(sizes)
}
