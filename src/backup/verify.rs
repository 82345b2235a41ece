//! Verifies a backup on any machine, without configuration, token and network.

use super::copy::digest;
use super::{BackupError, LOG, LOG_KEYS, MANIFEST, Manifest, Progress, STATE};
use crate::audit::note::VerifierKey;
use crate::audit::{LogSettings, SEGMENT_DEFAULT, Verified, verify_copy};
use crate::clock::TimeSource;
use crate::store::Store;
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A valid backup.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its manifest.
    pub manifest: Manifest,
    /// Result of reading the log.
    pub log: Verified,
}

/// Compares each file with the manifest, and reads the whole log like the first start after a restore, checking that it
/// extends the checkpoint in the state.
///
/// Trusts the keys in the backup: verify an export to compare the log with an auditor's checkpoint.
pub fn verify(directory: &Path, progress: Progress<'_>) -> Result<Report, BackupError> {
    let manifest = Manifest::read(directory)?;
    let total = manifest.files.iter().map(|file| file.bytes).sum();
    let (mut done, mut listed) = (0, HashSet::from([directory.join(MANIFEST)]));
    for file in &manifest.files {
        let path = directory.join(&file.path);
        let mut tell = |bytes: u64| {
            done += bytes;
            progress(done, total);
        };
        let (bytes, sha256) = digest(&path, &mut tell)?;
        if (bytes, &sha256) != (file.bytes, &file.sha256) {
            let what = format!(
                "expected {} bytes of SHA-256 {}, found {bytes} of {sha256}: it changed since the backup was made",
                file.bytes, file.sha256
            );
            return Err(BackupError::NotWhole { path, what });
        }
        listed.insert(path);
    }
    if let Some(path) = files(directory)?.into_iter().find(|path| !listed.contains(path)) {
        return Err(BackupError::NotWhole { path, what: "the manifest does not list it".to_owned() });
    }
    let log = log(directory, &manifest)?;
    Ok(Report { manifest, log })
}

fn log(directory: &Path, manifest: &Manifest) -> Result<Verified, BackupError> {
    let path = directory.join(LOG_KEYS);
    let text = fs::read_to_string(&path).map_err(BackupError::io(&path, "reading"))?;
    let keys = text.lines().map(VerifierKey::parse).collect::<Result<Vec<_>, _>>();
    let keys = keys.map_err(|e| BackupError::NotWhole { path, what: e.to_string() })?;
    let settings = LogSettings {
        directory: directory.join(LOG),
        origin: manifest.origin.clone(),
        // Nothing is opened or written.
        node: String::new(),
        segment_bytes: SEGMENT_DEFAULT,
        sources: TimeSource::system(),
    };
    let known = Store::checkpoint_in(&directory.join(STATE), &manifest.origin)?;
    let found = verify_copy(&settings, &keys, known.as_deref().map(str::as_bytes))?;
    // A checkpoint that was signed during the backup may be included too.
    if found.records != manifest.records || found.covered < manifest.size {
        let what = format!(
            "expected {} records, at least {} of them under a checkpoint, found {} and {}",
            manifest.records, manifest.size, found.records, found.covered
        );
        return Err(BackupError::NotWhole { path: settings.directory, what });
    }
    Ok(found)
}

fn files(directory: &Path) -> Result<Vec<PathBuf>, BackupError> {
    let failed = |e| BackupError::io(directory, "listing")(e);
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            found.extend(files(&entry.path())?);
        } else {
            found.push(entry.path());
        }
    }
    Ok(found)
}
