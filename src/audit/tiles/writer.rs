//! The one writer of the published directory.

use super::files::{Batch, MODE};
use super::{CHECKPOINT, Kind, Tile, TileError, WIDTH, partials};
use crate::audit::note::Checkpoint;
use crate::audit::tree::{Edge, Hash, leaf_hash};
use crate::durable;
use std::path::PathBuf;
use std::{fs, io};

/// Collects records in memory, writes their tiles, and then publishes the checkpoint over them.
///
/// Tiles that are complete wait in memory until [`TileWriter::write`] has made them durable.
pub struct TileWriter {
    directory: PathBuf,
    edge: Edge,
    /// The last incomplete bundle, encoded.
    bundle: Vec<u8>,
    /// Complete tiles that are not durable yet.
    full: Vec<(Tile, Vec<u8>)>,
    /// Partial tiles that are durable: the last of each kind.
    partial: Vec<Tile>,
    /// Records whose tiles are durable.
    durable: u64,
    /// A record that cannot be published; from then on nothing is.
    refused: Option<(u64, usize)>,
}

impl TileWriter {
    /// Continues after `edge.size()` records. `edge` must be the true edge there; `partial_entries` are the records of
    /// its incomplete bundle ([`super::TileReader::partial_entries`]), checked against the edge.
    pub fn resume(directory: PathBuf, edge: Edge, partial_entries: Vec<Vec<u8>>) -> Result<Self, TileError> {
        let refuse = |what| TileError::Resume { size: edge.size(), what };
        if partial_entries.len() != edge.tile(0).len() {
            return Err(refuse("the number of records is not that of the incomplete bundle"));
        }
        let mut bundle = Vec::new();
        for (record, leaf) in partial_entries.into_iter().zip(edge.tile(0)) {
            if leaf_hash(&record) != *leaf {
                return Err(refuse("a record of the incomplete bundle has another hash than the tree"));
            }
            encode(&record, &mut bundle)
                .ok_or_else(|| refuse("a record is longer than a bundle can hold"))?;
        }
        Ok(Self { directory, edge, bundle, full: Vec::new(), partial: Vec::new(), durable: 0, refused: None })
    }

    /// Takes the next record into memory; writes nothing.
    pub fn push(&mut self, record: &[u8]) {
        let sequence = self.edge.size();
        if encode(record, &mut self.bundle).is_none() {
            self.refused.get_or_insert((sequence, record.len()));
        }
        let full = &mut self.full;
        self.edge.push_and_take(leaf_hash(record), |level, hashes| {
            // The tile that this record completes is the one that it stands in.
            let index = Kind::Hashes(level + 1).places(sequence);
            full.push((
                Tile { kind: Kind::Hashes(level), index, width: WIDTH },
                hashes.as_flattened().to_vec(),
            ));
        });
        if self.edge.tile(0).is_empty() {
            let tile = Tile { kind: Kind::Entries, index: sequence / WIDTH, width: WIDTH };
            self.full.push((tile, std::mem::take(&mut self.bundle)));
        }
    }

    /// Records taken so far.
    pub const fn size(&self) -> u64 {
        self.edge.size()
    }

    /// The root of the tree over them.
    pub fn root(&self) -> Hash {
        self.edge.root()
    }

    /// Makes every tile and bundle for [`TileWriter::size`] durable. It may be repeated, after an error too: what is
    /// written is replaced by the same bytes.
    pub fn write(&mut self) -> Result<(), TileError> {
        if let Some((sequence, length)) = self.refused {
            return Err(TileError::TooLarge { sequence, length });
        }
        let mut batch = Batch::default();
        for (tile, bytes) in &self.full {
            batch.put(&self.directory.join(tile.path()), bytes)?;
        }
        let partial = self.partial_tiles();
        for tile in partial.iter().filter(|tile| !self.partial.contains(tile)) {
            let bytes = match tile.kind {
                Kind::Entries => self.bundle.as_slice(),
                Kind::Hashes(level) => self.edge.tile(level).as_flattened(),
            };
            batch.put(&self.directory.join(tile.path()), bytes)?;
        }
        batch.finish()?;
        // All tiles for this size are durable now. A crash before this line leaves files that no checkpoint covers and
        // that the next start writes again; a crash after it leaves at most partial tiles that are not needed.
        self.partial = partial;
        self.durable = self.edge.size();
        for (tile, _) in std::mem::take(&mut self.full) {
            let path = self.directory.join(partials(&tile.full_path()));
            match fs::remove_dir_all(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(TileError::Io { action: "remove the partial tiles in", path, source });
                }
                _ => (),
            }
        }
        Ok(())
    }

    /// Replaces `checkpoint` by `note`, durably. It must cover exactly what the last [`TileWriter::write`] made durable
    /// or less, and if it covers all, must have its root; the caller has verified its signature.
    pub fn publish(&self, note: &[u8]) -> Result<(), TileError> {
        let path = self.directory.join(CHECKPOINT);
        let checkpoint = Checkpoint::from_note_unverified(note).map_err(|why| TileError::Malformed {
            path: path.clone(),
            expected: "a checkpoint to publish".to_owned(),
            found: why.to_string(),
        })?;
        let refuse = |what| Err(TileError::NotCovered { asked: checkpoint.size, what });
        if checkpoint.size > self.durable {
            return refuse("its tiles are not durable");
        }
        if checkpoint.size == self.edge.size() && checkpoint.root != self.edge.root() {
            return refuse("the tree has another root");
        }
        durable::write(&path, note, MODE).map_err(|source| TileError::Io { action: "publish", path, source })
    }

    /// The incomplete tiles at the right end.
    fn partial_tiles(&self) -> Vec<Tile> {
        let size = self.edge.size();
        let levels = (0..self.edge.levels()).map(Kind::Hashes);
        std::iter::once(Kind::Entries)
            .chain(levels)
            .map(|kind| (kind, kind.places(size)))
            .map(|(kind, places)| Tile { kind, index: places / WIDTH, width: places % WIDTH })
            .filter(|tile| tile.width > 0)
            .collect()
    }
}

/// Appends a record to a bundle; `None` when its length does not fit two bytes.
fn encode(record: &[u8], bundle: &mut Vec<u8>) -> Option<()> {
    let length = u16::try_from(record.len()).ok()?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(record);
    Some(())
}
