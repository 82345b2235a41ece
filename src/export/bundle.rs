//! Makes a bundle from a published log, which may grow meanwhile.

use super::facts::Facts;
use super::keys::{KeyBook, KeyFile};
use super::manifest::{Manifest, ManifestFile};
use super::{KEYS, MANIFEST, Progress};
use crate::audit::note::{NoteError, VerifierKey};
use crate::audit::tiles::{Bundle, CHECKPOINT, Kind as TileKind, Tile, TileError, TileReader, WIDTH};
use crate::audit::tree::{Edge, Hash, leaf_hash};
use crate::clock::Timestamp;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Result of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The log.
    pub origin: String,
    /// Records.
    pub size: u64,
    /// Root of the tree over the records.
    pub root: Hash,
    /// Files, the manifest included.
    pub files: usize,
    /// Their bytes together.
    pub bytes: u64,
    /// The signed checkpoint.
    pub note: Vec<u8>,
}

/// Why no bundle was made. An incomplete bundle has no manifest and does not verify.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The log was never published.
    #[error("{0} has no checkpoint: the log was never published there")]
    Unpublished(PathBuf),
    /// The published checkpoint is not of this log.
    #[error("{path}: {why}")]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// The defect.
        why: NoteError,
    },
    /// The published tiles could not be read.
    #[error("the published log could not be read: {0}")]
    Tiles(#[from] TileError),
    /// A key record that verifiers refuse.
    #[error("record {sequence} of the published log: {why}")]
    Record {
        /// Its number.
        sequence: u64,
        /// The defect.
        why: String,
    },
    /// The published records do not match the checkpoint.
    #[error(
        "the published records do not have the root of their checkpoint of {0} records: do not export, investigate"
    )]
    Inconsistent(u64),
    /// The key of the checkpoint is not in the log.
    #[error("no key that signed the checkpoint has a key record in the log")]
    KeyNotRecorded,
    /// The bundle could not be written.
    #[error("could not write {path}: {source}")]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// A log to export.
pub struct LogSource<'a> {
    /// Path or name of the checkpoint's source, for errors.
    pub place: PathBuf,
    /// The newest checkpoint, a signed note.
    pub note: Vec<u8>,
    /// Returns a bundle of records by its number and its count of records.
    pub bundle: Box<dyn FnMut(u64, u64) -> Result<Bundle, TileError> + 'a>,
}

impl LogSource<'_> {
    /// The log that is published in a directory. The checkpoint is read first: records that the daemon appends
    /// meanwhile lie beyond it.
    pub fn published(directory: &Path) -> Result<Self, ExportError> {
        let reader = TileReader::open(directory);
        let note = reader.checkpoint()?.ok_or_else(|| ExportError::Unpublished(directory.to_owned()))?;
        let bundle = Box::new(move |index, width| reader.bundle(index, width));
        Ok(Self { place: directory.join(CHECKPOINT), note, bundle })
    }
}

/// A new, empty directory for a bundle. Made before the export is recorded, so that a path where it cannot be made
/// causes no record of an export. Removed on drop if it is still empty.
#[derive(Debug)]
pub struct NewDirectory(PathBuf);

impl NewDirectory {
    /// Makes the directory with mode 0700: records tell which user used which service when.
    pub fn make(path: &Path) -> Result<Self, ExportError> {
        let failed = |source| ExportError::Write { path: path.to_owned(), source };
        DirBuilder::new().mode(0o700).create(path).map_err(failed)?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for NewDirectory {
    fn drop(&mut self) {
        // The system does not remove a directory with files.
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// Writes the records that the source's checkpoint covers into the new directory, with the keys of the log's key
/// records and those of `log_keys` among them.
///
/// Computes all hashes from the records, so records that do not match the checkpoint are detected here.
pub fn write(
    out: NewDirectory,
    source: LogSource<'_>,
    log_keys: &[VerifierKey],
    made_at: Timestamp,
    progress: Progress<'_>,
) -> Result<Summary, ExportError> {
    let LogSource { place: path, note, bundle: mut next } = source;
    let checkpoint =
        VerifierKey::open(log_keys, &note).map_err(|why| ExportError::Checkpoint { path, why })?;
    let mut copy = Copy { out, files: Vec::new(), bytes: 0 };
    let mut edge = Edge::new();
    let mut book = KeyBook::default();
    while edge.size() < checkpoint.size {
        let index = edge.size() / WIDTH;
        let bundle = next(index, (checkpoint.size - edge.size()).min(WIDTH))?;
        copy.tile(Tile { kind: TileKind::Entries, index, width: bundle.len() }, bundle.as_bytes())?;
        for record in bundle.records() {
            let sequence = edge.size();
            key_record(record, &checkpoint.origin, &mut book)
                .map_err(|why| ExportError::Record { sequence, why })?;
            let mut full = Vec::new();
            edge.push_and_take(leaf_hash(record), |level, hashes| {
                let index = sequence >> (8 * level) >> 8;
                full.push((Tile { kind: TileKind::Hashes(level), index, width: WIDTH }, hashes.to_vec()));
            });
            for (tile, hashes) in full {
                copy.tile(tile, hashes.as_flattened())?;
            }
        }
        progress(edge.size(), checkpoint.size);
    }
    if edge.root() != checkpoint.root {
        return Err(ExportError::Inconsistent(checkpoint.size));
    }
    for level in 0..edge.levels() {
        let hashes = edge.tile(level);
        if !hashes.is_empty() {
            let index = edge.size() >> (8 * level) >> 8;
            let tile = Tile { kind: TileKind::Hashes(level), index, width: hashes.len() as u64 };
            copy.tile(tile, hashes.as_flattened())?;
        }
    }
    let recorded = book.log_keys(&checkpoint.origin);
    VerifierKey::open(&recorded, &note).map_err(|_| ExportError::KeyNotRecorded)?;
    let log_keys = recorded.iter().map(ToString::to_string).collect();
    copy.file(KEYS, &KeyFile { log_keys, signing_keys: book.signing_keys() }.encode())?;
    copy.file(CHECKPOINT, &note)?;
    // The manifest is written last: a bundle without it is incomplete.
    let files = copy.files.len() + 1;
    let manifest = Manifest::new(&checkpoint, made_at, std::mem::take(&mut copy.files)).encode();
    copy.file(MANIFEST, &manifest)?;
    copy.end()?;
    let (origin, size, root) = (checkpoint.origin, checkpoint.size, checkpoint.root);
    Ok(Summary { origin, size, root, files, bytes: copy.bytes, note })
}

/// Enters the key of a key record; skips other records.
fn key_record(record: &[u8], origin: &str, book: &mut KeyBook) -> Result<(), String> {
    if !str::from_utf8(record).is_ok_and(|text| text.contains("\"spki\"")) {
        return Ok(());
    }
    let facts = Facts::read(record, origin).map_err(|why| why.to_string())?;
    if facts.spki.is_none() {
        return Ok(());
    }
    book.see(&facts).map_err(|why| why.to_string())
}

struct Copy {
    out: NewDirectory,
    files: Vec<ManifestFile>,
    bytes: u64,
}

impl Copy {
    fn tile(&mut self, tile: Tile, bytes: &[u8]) -> Result<(), ExportError> {
        self.file(tile.path().to_string_lossy().as_ref(), bytes)
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), ExportError> {
        let path = self.out.0.join(name);
        let parent = path.parent().unwrap_or(&self.out.0);
        let create = || {
            DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?.write_all(bytes)
        };
        create().map_err(|source| ExportError::Write { path: path.clone(), source })?;
        self.files.push(ManifestFile::new(name.to_owned(), bytes));
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// One sync of the whole file system is cheaper than one for each of many files.
    fn end(&self) -> Result<(), ExportError> {
        let failed = |source| ExportError::Write { path: self.out.0.clone(), source };
        let directory = File::open(&self.out.0).map_err(failed)?;
        rustix::fs::syncfs(directory).map_err(|why| failed(why.into()))
    }
}
