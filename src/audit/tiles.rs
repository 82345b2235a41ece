//! The published log: C2SP `tlog-tiles` below one directory, for any client of that format.
//!
//! `checkpoint`, `tile/<L>/<N>[.p/<W>]` with hashes, `tile/entries/<N>[.p/<W>]` with the records themselves. Files other
//! than `checkpoint` never change their bytes. The order that keeps the promise: tiles and bundles are durable before
//! the checkpoint that covers them is published; a partial tile goes away only once its full tile is durable.

mod files;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use reader::{Bundle, Records, TileReader};
pub use writer::TileWriter;

use std::path::{Path, PathBuf};
use std::{fmt, io};

/// The name of the signed tree head.
pub const CHECKPOINT: &str = "checkpoint";

/// Records in one full bundle, hashes in one full tile.
pub const WIDTH: u64 = 256;

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The records, each after its length in two bytes, big-endian.
    Entries,
    /// Hashes of 32 bytes: of records at level 0, of full tiles of the level below above it.
    Hashes(usize),
}

/// One tile of a tree: its kind, its number within the level, and how many of its places are filled (1 to 256).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tile {
    /// What it holds.
    pub kind: Kind,
    /// Its number from the left, from 0.
    pub index: u64,
    /// Filled places; below [`WIDTH`] the tile is partial.
    pub width: u64,
}

impl Tile {
    /// Its path below the log's directory.
    pub fn path(&self) -> PathBuf {
        let full = self.full_path();
        if self.width == WIDTH { full } else { partials(&full).join(self.width.to_string()) }
    }

    /// Its path once it is full.
    fn full_path(&self) -> PathBuf {
        let mut path = Path::new("tile").join(self.kind.to_string());
        let digits = format!("{:03}", self.index);
        let digits = format!("{digits:0>width$}", width = digits.len().next_multiple_of(3));
        let groups = digits.len() / 3;
        for group in 0..groups {
            let three = digits.get(3 * group..3 * group + 3).unwrap_or_default();
            path.push(if group + 1 < groups { format!("x{three}") } else { three.to_owned() });
        }
        path
    }

    /// Every tile of a tree of `size` records: bundles, then hash tiles from the lowest level up.
    pub fn all(size: u64) -> impl Iterator<Item = Self> {
        let levels = (0..super::tree::level_count(size)).map(Kind::Hashes);
        std::iter::once(Kind::Entries).chain(levels).flat_map(move |kind| {
            let places = kind.places(size);
            (0..places.div_ceil(WIDTH)).map(move |index| Self {
                kind,
                index,
                width: (places - index * WIDTH).min(WIDTH),
            })
        })
    }
}

impl Kind {
    /// Places that a tree of `size` records fills at this level.
    const fn places(self, size: u64) -> u64 {
        match self {
            Self::Entries => size,
            Self::Hashes(level) if level < 8 => size >> (8 * level),
            Self::Hashes(_) => 0,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entries => f.write_str("entries"),
            Self::Hashes(level) => write!(f, "{level}"),
        }
    }
}

/// The directory that holds the partial tiles of the tile at `full`.
fn partials(full: &Path) -> PathBuf {
    let mut name = full.as_os_str().to_owned();
    name.push(".p");
    PathBuf::from(name)
}

/// Why tiles could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum TileError {
    /// The file system refused.
    #[error("could not {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Neither the tile nor a wider form of it is there.
    #[error("expected a tile with at least {width} places at {path} or a wider form of it, found none")]
    Missing {
        /// Where it should be.
        path: PathBuf,
        /// Places that are needed.
        width: u64,
    },
    /// A file that is not what its name says.
    #[error("{path}: expected {expected}, found {found}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A record that no bundle can hold.
    #[error("record {sequence} has {length} bytes, but a bundle's entries have at most 65535")]
    TooLarge {
        /// Its number.
        sequence: u64,
        /// Its length in bytes.
        length: usize,
    },
    /// The records given to go on with are not those of the edge.
    #[error("cannot go on at {size} records: {what}")]
    Resume {
        /// The size of the edge.
        size: u64,
        /// What does not fit.
        what: &'static str,
    },
    /// A record or a size that the tree does not have.
    #[error("record or size {asked} is not within a tree of {size} records")]
    Beyond {
        /// What was asked for.
        asked: u64,
        /// The tree's size.
        size: u64,
    },
    /// A checkpoint that covers what is not durable, or another tree.
    #[error("will not publish a checkpoint of {asked} records: {what}")]
    NotCovered {
        /// The size in the checkpoint.
        asked: u64,
        /// Why.
        what: &'static str,
    },
}
