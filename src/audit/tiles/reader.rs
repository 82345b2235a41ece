//! Reading a published directory, also while its writer goes on.

use super::{CHECKPOINT, Kind, Tile, TileError, WIDTH, partials};
use crate::audit::note::MAX_NOTE;
use crate::audit::tree::{
    Edge, Hash, ProofError, consistency_proof, hashes_of, inclusion_proof, perfect_root,
};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Reads tiles, records and proofs. It believes the files: a caller that needs more compares roots with a checkpoint.
#[derive(Clone, Debug)]
pub struct TileReader {
    directory: PathBuf,
}

/// The records of one bundle.
#[derive(Clone, Debug)]
pub struct Bundle {
    bytes: Vec<u8>,
    count: u64,
}

impl TileReader {
    /// A reader of the log below `directory`; looks at nothing yet.
    pub fn open(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// The directory that it reads.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The published checkpoint as it is, not verified; `None` when there is none.
    pub fn checkpoint(&self) -> Result<Option<Vec<u8>>, TileError> {
        read_file(&self.directory.join(CHECKPOINT), MAX_NOTE)
    }

    /// The first `tile.width` hashes of a tile.
    pub fn hashes(&self, tile: Tile) -> Result<Vec<Hash>, TileError> {
        let (path, bytes, found) = self.read(tile)?;
        let mut hashes = hashes_of(&bytes)
            .filter(|hashes| hashes.len() as u64 == found)
            .ok_or_else(|| malformed(&path, format!("{found} hashes of 32 bytes"), bytes.len()))?;
        hashes.truncate(usize::try_from(tile.width).unwrap_or(usize::MAX));
        Ok(hashes)
    }

    /// The first `width` records of a bundle.
    pub fn bundle(&self, index: u64, width: u64) -> Result<Bundle, TileError> {
        let (path, bytes, found) = self.read(Tile { kind: Kind::Entries, index, width })?;
        let length = bytes.len();
        Bundle::parse(bytes, found)
            .map(|bundle| bundle.cut(width))
            .ok_or_else(|| malformed(&path, format!("exactly {found} length-prefixed records"), length))
    }

    /// The right edge of the tree over the first `size` records.
    pub fn edge_at(&self, size: u64) -> Result<Edge, TileError> {
        Edge::from_tiles(size, |level, width| {
            let kind = Kind::Hashes(level);
            self.hashes(Tile { kind, index: kind.places(size) / WIDTH, width: width as u64 })
        })
    }

    /// The root over the first `size` records.
    pub fn root_at(&self, size: u64) -> Result<Hash, TileError> {
        Ok(self.edge_at(size)?.root())
    }

    /// Whether every full tile and bundle of the tree over the first `size` records is there, by name and, where it is
    /// fixed, by length; what is in them is not looked at.
    pub fn is_complete(&self, size: u64) -> bool {
        Tile::all(size).filter(|tile| tile.width == WIDTH).all(|tile| {
            fs::metadata(self.directory.join(tile.path())).is_ok_and(|m| match tile.kind {
                Kind::Entries => m.is_file(),
                Kind::Hashes(_) => m.is_file() && m.len() == 32 * WIDTH,
            })
        })
    }

    /// One record.
    pub fn record(&self, sequence: u64) -> Result<Vec<u8>, TileError> {
        let bundle = self.bundle(sequence / WIDTH, sequence % WIDTH + 1)?;
        let record = bundle.records().last().map(<[u8]>::to_vec);
        record.ok_or(TileError::Beyond { asked: sequence, size: sequence })
    }

    /// The records from `first` up to and without `end`, in order, one bundle in memory at a time.
    pub fn records(&self, first: u64, end: u64) -> Records<'_> {
        Records { reader: self, next: first, end, bundle: Vec::new().into_iter() }
    }

    /// The records of the incomplete bundle of a tree of `size` records, for [`super::TileWriter::resume`].
    pub fn partial_entries(&self, size: u64) -> Result<Vec<Vec<u8>>, TileError> {
        self.records(size - size % WIDTH, size).collect()
    }

    /// The inclusion proof of record `sequence` in the tree of `size` records, lowest hash first.
    pub fn inclusion_proof(&self, sequence: u64, size: u64) -> Result<Vec<Hash>, TileError> {
        let mut nodes = Nodes { reader: self, size, tiles: HashMap::new() };
        inclusion_proof(sequence, size, |height, n| nodes.get(height, n)).map_err(flatten)
    }

    /// The proof that the tree of `size` records extends its own first `old` records.
    pub fn consistency_proof(&self, old: u64, size: u64) -> Result<Vec<Hash>, TileError> {
        let mut nodes = Nodes { reader: self, size, tiles: HashMap::new() };
        consistency_proof(old, size, |height, n| nodes.get(height, n)).map_err(flatten)
    }

    /// A file with at least the places that `tile` asks for: its path, its bytes and the width that its name says.
    fn read(&self, tile: Tile) -> Result<(PathBuf, Vec<u8>, u64), TileError> {
        let limit = match tile.kind {
            Kind::Entries => 256 * (2 + 65_535),
            Kind::Hashes(_) => 256 * 32,
        };
        let try_width = |width| {
            let path = self.directory.join(Tile { width, ..tile }.path());
            Ok(read_file(&path, limit)?.map(|bytes| (path, bytes, width)))
        };
        let missing = || TileError::Missing { path: tile.path(), width: tile.width };
        if let Some(found) = try_width(tile.width)? {
            return Ok(found);
        }
        if tile.width >= WIDTH {
            return Err(missing());
        }
        if let Some(found) = try_width(WIDTH)? {
            return Ok(found);
        }
        let wider = widths(&self.directory.join(partials(&tile.full_path())))?;
        if let Some(width) = wider.into_iter().filter(|&width| width > tile.width).min()
            && let Some(found) = try_width(width)?
        {
            return Ok(found);
        }
        // The writer may have completed the tile and removed its partial forms between the looks above.
        try_width(WIDTH)?.ok_or_else(missing)
    }
}

impl Bundle {
    /// Takes `count` records apart from `bytes`; `None` when they are not exactly that.
    pub(in crate::audit) fn parse(bytes: Vec<u8>, count: u64) -> Option<Self> {
        let bundle = Self { bytes, count };
        let mut parts = Parts(&bundle.bytes);
        for _ in 0..count {
            parts.next()?;
        }
        parts.0.is_empty().then_some(bundle)
    }

    /// The next `count` records of a stream that holds one bundle after the other.
    pub fn read_from(mut stream: impl Read, count: u64) -> io::Result<Self> {
        let mut bytes = Vec::new();
        for _ in 0..count {
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            bytes.extend_from_slice(&length);
            let length = u64::from(u16::from_be_bytes(length));
            if (&mut stream).take(length).read_to_end(&mut bytes)? as u64 != length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Self { bytes, count })
    }

    /// The bundle of the first `width` records.
    fn cut(mut self, width: u64) -> Self {
        if width < self.count {
            let mut parts = Parts(&self.bytes);
            for _ in 0..width {
                parts.next();
            }
            let kept = self.bytes.len() - parts.0.len();
            self.bytes.truncate(kept);
            self.count = width;
        }
        self
    }

    /// The records in order.
    pub fn records(&self) -> impl Iterator<Item = &[u8]> {
        Parts(&self.bytes)
    }

    /// The number of records.
    pub const fn len(&self) -> u64 {
        self.count
    }

    /// Whether it has no records.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The bundle as it stands in its file.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Walks over length-prefixed records; ends at the first that is cut.
struct Parts<'a>(&'a [u8]);

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<2>()?;
        let (record, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        self.0 = rest;
        Some(record)
    }
}

/// The records of a range; ends after the first error.
pub struct Records<'a> {
    reader: &'a TileReader,
    next: u64,
    end: u64,
    bundle: std::vec::IntoIter<Vec<u8>>,
}

impl Iterator for Records<'_> {
    type Item = Result<Vec<u8>, TileError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.end {
            return None;
        }
        if self.bundle.as_slice().is_empty() {
            let (index, skip) = (self.next / WIDTH, self.next % WIDTH);
            match self.reader.bundle(index, (self.end - index * WIDTH).min(WIDTH)) {
                Ok(bundle) => {
                    let skip = usize::try_from(skip).unwrap_or(usize::MAX);
                    let records: Vec<_> = bundle.records().skip(skip).map(<[u8]>::to_vec).collect();
                    self.bundle = records.into_iter();
                }
                Err(error) => {
                    self.next = self.end;
                    return Some(Err(error));
                }
            }
        }
        self.next += 1;
        self.bundle.next().map(Ok)
    }
}

/// Perfect subtrees of the tree of `size` records; each tile is read once.
struct Nodes<'a> {
    reader: &'a TileReader,
    size: u64,
    tiles: HashMap<(usize, u64), Vec<Hash>>,
}

impl Nodes<'_> {
    fn get(&mut self, height: u32, n: u64) -> Result<Hash, TileError> {
        let (level, inner) = ((height / 8) as usize, height % 8);
        let kind = Kind::Hashes(level);
        let first = n << inner;
        let index = first / WIDTH;
        let places = kind.places(self.size);
        let beyond = TileError::Beyond { asked: n, size: self.size };
        let hashes = match self.tiles.entry((level, index)) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let width = places.saturating_sub(index * WIDTH).min(WIDTH);
                entry.insert(self.reader.hashes(Tile { kind, index, width })?)
            }
        };
        let first = usize::try_from(first % WIDTH).unwrap_or(usize::MAX);
        hashes.get(first..first.saturating_add(1 << inner)).map(perfect_root).ok_or(beyond)
    }
}

fn flatten(error: ProofError<TileError>) -> TileError {
    match error {
        ProofError::Beyond { asked, size } => TileError::Beyond { asked, size },
        ProofError::Read(error) => error,
    }
}

fn malformed(path: &Path, expected: String, length: usize) -> TileError {
    TileError::Malformed {
        path: path.to_owned(),
        expected,
        found: format!("{length} bytes that are not that"),
    }
}

/// The bytes of a file of at most `limit` bytes; `None` when it is not there.
fn read_file(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, TileError> {
    let failed = |source| TileError::Io { action: "read", path: path.to_owned(), source };
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > limit {
        return Err(malformed(path, format!("at most {limit} bytes"), bytes.len()));
    }
    Ok(Some(bytes))
}

/// The widths of the partial tiles in a directory.
fn widths(directory: &Path) -> Result<Vec<u64>, TileError> {
    let failed = |source| TileError::Io { action: "list", path: directory.to_owned(), source };
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let mut widths = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        // Anything else is a file that the writer is about to rename.
        widths.extend(name.to_str().and_then(|name| name.parse::<u64>().ok()).filter(|&width| width < WIDTH));
    }
    Ok(widths)
}
