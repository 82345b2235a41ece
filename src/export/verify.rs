//! Verifies a bundle offline, in one pass, with memory that does not grow with the records.

use super::chain::{Chain, Configurations};
use super::keys::KeyFile;
use super::manifest::{Manifest, ManifestFile, expected};
use super::sheets::{self, Sheet};
use super::{Finding, KEYS, Kind, MANIFEST, Progress};
use crate::audit::note::{Checkpoint, MAX_NOTE, VerifierKey};
use crate::audit::tiles::{CHECKPOINT, Kind as TileKind, Tile, TileReader, WIDTH};
use crate::audit::tree::{Edge, Hash, empty_root};
use crate::clock::Timestamp;
use crate::sha256::sha256;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// The longest manifest and key file that are read: enough for a thousand million records.
const MAX_LIST: usize = 1 << 30;

/// Input of the verification besides the bundle.
#[derive(Default)]
pub struct Inputs {
    /// Keys of the log's checkpoints from another source. Without any, those of the bundle are trusted.
    pub keys: Vec<VerifierKey>,
    /// Earlier checkpoints of this log: the signed notes, each with a name for messages.
    pub earlier: Vec<(PathBuf, Vec<u8>)>,
    /// SHA-256 of answers whose records are searched.
    pub answers: Vec<Hash>,
}

/// Content of a bundle without findings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The log.
    pub origin: String,
    /// Records.
    pub size: u64,
    /// Root of the tree over the records, as signed.
    pub root: Hash,
    /// Times of the first and of the last record.
    pub times: Option<(Timestamp, Timestamp)>,
    /// Records of each event.
    pub events: BTreeMap<String, u64>,
    /// The configurations in force after the last record; `None` in a log of a program that recorded none.
    pub configurations: Option<Configurations>,
    /// Records of signed answers.
    pub signed_answers: u64,
    /// Keys with key records.
    pub signing_keys: usize,
    /// Earlier checkpoints that the log extends.
    pub earlier: usize,
    /// The keys that verified the checkpoint.
    pub log_keys: Vec<VerifierKey>,
    /// Whether these keys came from the bundle itself.
    pub key_from_bundle: bool,
    /// The record of each requested answer, in the order of the request.
    pub answers: Vec<Option<u64>>,
}

/// Verifies the bundle in `directory`; the first defect is the [`Finding`].
///
/// Memory: the manifest, a few bundles, and 32 bytes for each record since the last checkpoint in a record.
pub fn verify(directory: &Path, inputs: &Inputs, progress: Progress<'_>) -> Result<Report, Finding> {
    if !directory.is_dir() {
        return Err(Finding::new(Kind::NoInput, "expected the directory of an export").at(directory));
    }
    let manifest = Manifest::decode(&required(directory, MANIFEST, MAX_LIST)?)?;
    let note = required(directory, CHECKPOINT, MAX_NOTE)?;
    let key_bytes = required(directory, KEYS, MAX_LIST)?;
    let key_file = KeyFile::decode(&key_bytes)?;
    let bundled = key_file.verifier_keys()?;
    let key_from_bundle = inputs.keys.is_empty();
    let log_keys = if key_from_bundle { bundled.clone() } else { inputs.keys.clone() };
    let checkpoint = VerifierKey::open(&log_keys, &note)
        .map_err(|why| Finding::new(Kind::CheckpointInvalid, why.to_string()).at(CHECKPOINT))?;
    if checkpoint.size == 0 {
        let message = "a log has records from its creation on, but this checkpoint covers none";
        return Err(Finding::new(Kind::CheckpointInvalid, message).at(CHECKPOINT));
    }
    let earlier = earlier(&inputs.earlier, &log_keys, &checkpoint)?;
    manifest.compare(&checkpoint)?;
    nothing_else(directory, &checkpoint)?;

    let reader = TileReader::open(directory);
    let files = manifest.files.iter().map(|file| (file.path.as_str(), file)).collect();
    let mut pass = Pass {
        reader: &reader,
        files,
        edge: Edge::new(),
        chain: Chain::new(&reader, inputs.answers.iter().copied()),
        earlier: &earlier,
    };
    pass.listed(CHECKPOINT, note.len() as u64, &sha256(&note))?;
    pass.listed(KEYS, key_bytes.len() as u64, &sha256(&key_bytes))?;
    sheets::read(&reader, checkpoint.size, &checkpoint.origin, |sheet| {
        pass.sheet(sheet)?;
        progress(pass.edge.size(), checkpoint.size);
        Ok(())
    })?;
    pass.end(&checkpoint)?;
    pass.chain.keys.compare(&key_file, &bundled, &checkpoint.origin)?;

    let chain = pass.chain;
    Ok(Report {
        origin: checkpoint.origin,
        size: checkpoint.size,
        root: checkpoint.root,
        times: chain.first_time.zip(chain.last_time),
        signed_answers: chain.events.get("signed").copied().unwrap_or(0),
        events: chain.events,
        configurations: chain.configurations,
        signing_keys: key_file.signing_keys.len(),
        earlier: earlier.len(),
        log_keys: log_keys
            .into_iter()
            .filter(|key| VerifierKey::open(std::slice::from_ref(key), &note).is_ok())
            .collect(),
        key_from_bundle,
        answers: inputs.answers.iter().map(|digest| chain.wanted.get(digest).copied().flatten()).collect(),
    })
}

/// Searches the records of answers, by SHA-256 of their exact bytes, in a bundle or a published log without verifying
/// the checkpoint. The result proves nothing before [`verify`] has passed.
pub fn find(directory: &Path, answers: &[Hash], progress: Progress<'_>) -> Result<Vec<Option<u64>>, Finding> {
    let note = required(directory, CHECKPOINT, MAX_NOTE)?;
    let checkpoint = Checkpoint::from_note_unverified(&note)
        .map_err(|why| Finding::new(Kind::CheckpointInvalid, why.to_string()).at(CHECKPOINT))?;
    let mut found: HashMap<Hash, Option<u64>> = answers.iter().map(|digest| (*digest, None)).collect();
    let mut sequence = 0;
    sheets::read(&TileReader::open(directory), checkpoint.size, &checkpoint.origin, |sheet| {
        for (_, facts) in &sheet.records {
            let digest = facts.as_ref().ok().and_then(|facts| facts.released());
            if let Some(place) = digest.and_then(|digest| found.get_mut(digest)) {
                place.get_or_insert(sequence);
            }
            sequence += 1;
        }
        progress(sequence, checkpoint.size);
        Ok(())
    })?;
    Ok(answers.iter().map(|digest| found.get(digest).copied().flatten()).collect())
}

/// One pass over all records and tiles.
struct Pass<'a> {
    reader: &'a TileReader,
    files: HashMap<&'a str, &'a ManifestFile>,
    /// The tree computed from the records.
    edge: Edge,
    chain: Chain<'a>,
    earlier: &'a BTreeMap<u64, Vec<(PathBuf, Hash)>>,
}

impl Pass<'_> {
    fn sheet(&mut self, sheet: Sheet) -> Result<(), Finding> {
        let path = sheet.tile.path();
        let tile = Tile { kind: TileKind::Hashes(0), ..sheet.tile };
        let hashes = self.hashes(tile)?;
        let listed = self.listed(path.to_string_lossy().as_ref(), sheet.file.0, &sheet.file.1);
        let tile_listed = self.listed_tile(tile, &hashes);
        let mut full = Vec::new();
        for ((leaf, facts), hash) in sheet.records.into_iter().zip(&hashes) {
            let sequence = self.edge.size();
            if leaf != *hash {
                // The manifest tells which of the two was changed, unless it was changed too.
                if let (Ok(()), Err(tile_changed)) = (&listed, tile_listed) {
                    return Err(tile_changed.of(sequence));
                }
                let message = format!("the record's hash is not the one in {}", tile.path().display());
                return Err(Finding::new(Kind::RecordChanged, message).at(path).of(sequence));
            }
            facts.and_then(|facts| self.chain.see(facts, leaf)).map_err(|found| {
                Finding { file: found.file.or_else(|| Some(path.clone())), ..found }.of(sequence)
            })?;
            self.edge.push_and_take(leaf, |level, hashes| {
                if level > 0 {
                    full.push((level, hashes.to_vec()));
                }
            });
            self.see_earlier()?;
        }
        listed?;
        tile_listed?;
        for (level, hashes) in full {
            let index = (self.edge.size() >> (8 * level) >> 8) - 1;
            self.same(Tile { kind: TileKind::Hashes(level), index, width: WIDTH }, &hashes)?;
        }
        Ok(())
    }

    /// After the last record: checks incomplete tiles above the records, and the root.
    fn end(&self, checkpoint: &Checkpoint) -> Result<(), Finding> {
        for level in 1..self.edge.levels() {
            let hashes = self.edge.tile(level);
            let index = self.edge.size() >> (8 * level) >> 8;
            if !hashes.is_empty() {
                self.same(Tile { kind: TileKind::Hashes(level), index, width: hashes.len() as u64 }, hashes)?;
            }
        }
        let root = self.edge.root();
        if self.edge.size() == checkpoint.size && root == checkpoint.root {
            return Ok(());
        }
        let message = format!(
            "it signs {} records with the root {}, but the bundle has {} with the root {}",
            checkpoint.size,
            hex::encode(checkpoint.root),
            self.edge.size(),
            hex::encode(root)
        );
        Err(Finding::new(Kind::RootMismatch, message).at(CHECKPOINT))
    }

    /// Compares a tile above the records with the computed hashes.
    fn same(&self, tile: Tile, computed: &[Hash]) -> Result<(), Finding> {
        let hashes = self.hashes(tile)?;
        self.listed_tile(tile, &hashes)?;
        if hashes == computed {
            return Ok(());
        }
        let place = hashes.iter().zip(computed).take_while(|(a, b)| a == b).count();
        let message = format!("its hash number {place} is not the one that the records give");
        Err(Finding::new(Kind::TileMismatch, message).at(tile.path()))
    }

    fn hashes(&self, tile: Tile) -> Result<Vec<Hash>, Finding> {
        self.reader.hashes(tile).map_err(|why| Finding::tile(&why, self.reader.directory()))
    }

    fn listed_tile(&self, tile: Tile, hashes: &[Hash]) -> Result<(), Finding> {
        let bytes = hashes.as_flattened();
        self.listed(tile.path().to_string_lossy().as_ref(), bytes.len() as u64, &sha256(bytes))
    }

    /// Compares a file with its entry in the manifest.
    fn listed(&self, path: &str, bytes: u64, digest: &Hash) -> Result<(), Finding> {
        match self.files.get(path) {
            Some(file) if file.bytes == bytes && file.sha256 == hex::encode(digest) => Ok(()),
            _ => {
                Err(Finding::new(Kind::FileChanged, "length or SHA-256 are not those in the manifest")
                    .at(path))
            }
        }
    }

    fn see_earlier(&self) -> Result<(), Finding> {
        let size = self.edge.size();
        for (file, root) in self.earlier.get(&size).into_iter().flatten() {
            if *root != self.edge.root() {
                let message =
                    format!("the log does not extend this checkpoint: its first {size} records are others");
                return Err(Finding::new(Kind::Forked, message).at(file));
            }
        }
        Ok(())
    }
}

/// Earlier checkpoints by their size; each must be signed, of this log, and not larger than it.
fn earlier(
    notes: &[(PathBuf, Vec<u8>)],
    keys: &[VerifierKey],
    checkpoint: &Checkpoint,
) -> Result<BTreeMap<u64, Vec<(PathBuf, Hash)>>, Finding> {
    let mut out: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (file, note) in notes {
        let invalid = |message: String| Finding::new(Kind::EarlierInvalid, message).at(file);
        let earlier = VerifierKey::open(keys, note).map_err(|why| invalid(why.to_string()))?;
        if earlier.origin != checkpoint.origin {
            let (found, expected) = (earlier.origin, &checkpoint.origin);
            return Err(invalid(format!(
                "expected a checkpoint of the log {expected:?}, found one of {found:?}"
            )));
        }
        if earlier.size > checkpoint.size {
            let (was, is) = (earlier.size, checkpoint.size);
            let message = format!("the log had {was} records then, but the bundle covers only {is}");
            return Err(Finding::new(Kind::Shortened, message).at(file));
        }
        if earlier.size == 0 && earlier.root != empty_root() {
            return Err(invalid("it covers no records but has the root of some".to_owned()));
        }
        out.entry(earlier.size).or_default().push((file.clone(), earlier.root));
    }
    Ok(out)
}

/// Refuses files that are not part of the bundle.
fn nothing_else(directory: &Path, checkpoint: &Checkpoint) -> Result<(), Finding> {
    let mut expected: HashSet<PathBuf> = expected(checkpoint.size).collect();
    expected.insert(PathBuf::from(MANIFEST));
    let mut open = vec![PathBuf::new()];
    while let Some(below) = open.pop() {
        let failed = |why: std::io::Error| Finding::new(Kind::Unreadable, why.to_string()).at(&below);
        for entry in fs::read_dir(directory.join(&below)).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = below.join(entry.file_name());
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() {
                open.push(path);
            } else if !kind.is_file() || !expected.contains(&path) {
                return Err(Finding::new(Kind::FileExtra, "nothing in the bundle covers this file").at(path));
            }
        }
    }
    Ok(())
}

/// A file that every bundle has.
fn required(directory: &Path, name: &str, limit: usize) -> Result<Vec<u8>, Finding> {
    let path = directory.join(name);
    // Checked first: opening a pipe would block.
    let found =
        fs::symlink_metadata(&path).and_then(|found| found.is_file().then(|| File::open(&path)).transpose());
    let file = match found {
        Err(why) if why.kind() == ErrorKind::NotFound => {
            return Err(
                Finding::new(Kind::FileMissing, "every export has this file, but it is not there").at(name)
            );
        }
        Err(why) => return Err(Finding::new(Kind::Unreadable, why.to_string()).at(name)),
        Ok(None) => return Err(Finding::new(Kind::FileExtra, "expected a regular file").at(name)),
        Ok(Some(file)) => file,
    };
    let mut bytes = Vec::new();
    let read = file.take(limit as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|why| Finding::new(Kind::Unreadable, why.to_string()).at(name))?;
    if bytes.len() > limit {
        return Err(Finding::new(Kind::FileChanged, format!("expected at most {limit} bytes")).at(name));
    }
    Ok(bytes)
}
