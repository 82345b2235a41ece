//! The Merkle tree over the records (RFC 6962 §2.1, RFC 9162 §2.1, SHA-256), eight levels to a tile (C2SP `tlog-tiles`).

mod peaks;
mod proof;
#[cfg(test)]
mod tests;

pub use peaks::Peaks;
pub use proof::{ProofError, consistency_proof, inclusion_proof, verify_consistency, verify_inclusion};

use crate::sha256::sha256_of;

/// SHA-256 of a leaf, a node or a whole tree.
pub type Hash = [u8; 32];

/// Hashes in one full tile: 2⁸.
pub const TILE_WIDTH: usize = 256;

/// Tile levels that a tree of 2⁶⁴ − 1 records has.
const TILE_LEVELS: usize = 8;

/// The hash of a record: `SHA-256(0x00 ‖ record)` (RFC 9162 §2.1.1).
pub fn leaf_hash(record: &[u8]) -> Hash {
    sha256_of(&[&[0], record])
}

/// The hash of an inner node: `SHA-256(0x01 ‖ left ‖ right)` (RFC 9162 §2.1.1).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256_of(&[&[1], left, right])
}

/// The root of the tree without records: SHA-256 of nothing (RFC 9162 §2.1.1).
pub fn empty_root() -> Hash {
    sha256_of(&[])
}

/// The right edge of the tree: of each tile level the hashes of its last incomplete tile.
///
/// It is all that is needed to go on appending: at most 255 hashes a level.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edge {
    size: u64,
    /// Never holds 256 hashes in one level; no empty level stands last.
    levels: Vec<Vec<Hash>>,
}

impl Edge {
    /// The edge of the tree without records.
    pub const fn new() -> Self {
        Self { size: 0, levels: Vec::new() }
    }

    /// The number of records in the tree.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The hashes of the last incomplete tile of `level`, from left to right; empty when there is none.
    pub fn tile(&self, level: usize) -> &[Hash] {
        self.levels.get(level).map_or(&[], Vec::as_slice)
    }

    /// The number of tile levels that have a complete or incomplete tile above their right end.
    pub const fn levels(&self) -> usize {
        self.levels.len()
    }

    /// Appends the leaf hash of the next record.
    pub fn push(&mut self, leaf: Hash) {
        self.push_and_take(leaf, |_, _| ());
    }

    /// Appends a leaf hash and shows every tile that this completes: its level and its 256 hashes.
    pub fn push_and_take(&mut self, leaf: Hash, mut full: impl FnMut(usize, &[Hash])) {
        self.size += 1;
        let mut carried = leaf;
        for level in 0..TILE_LEVELS {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let Some(tile) = self.levels.get_mut(level) else { return };
            tile.push(carried);
            if tile.len() < TILE_WIDTH {
                return;
            }
            full(level, tile);
            // A full tile is a perfect subtree: it goes on as one hash of the level above.
            carried = perfect_root(tile);
            tile.clear();
        }
    }

    /// The root of the tree (RFC 9162 §2.1.1).
    pub fn root(&self) -> Hash {
        let mut root = None;
        for tile in &self.levels {
            // The bits of the width are perfect subtrees, the largest on the left.
            let mut end = tile.len();
            while end > 0 {
                let (left, subtree) = tile.split_at(end - (1 << end.trailing_zeros()));
                let hash = perfect_root(subtree);
                root = Some(root.map_or(hash, |right| node_hash(&hash, &right)));
                end = left.len();
            }
        }
        root.unwrap_or_else(empty_root)
    }

    /// The edge as bytes: the size in eight bytes, big-endian, then the hashes, lowest level first.
    pub fn encode(&self) -> Vec<u8> {
        let hashes: usize = self.levels.iter().map(Vec::len).sum();
        let mut out = Vec::with_capacity(8 + 32 * hashes);
        out.extend_from_slice(&self.size.to_be_bytes());
        for hash in self.levels.iter().flatten() {
            out.extend_from_slice(hash);
        }
        out
    }

    /// Reads what [`Edge::encode`] wrote; anything longer or shorter is `None`.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (size, mut rest) = bytes.split_first_chunk::<8>()?;
        let size = u64::from_be_bytes(*size);
        let mut tiles = Vec::new();
        for level in 0..level_count(size) {
            let (tile, after) = rest.split_at_checked(32 * edge_width(size, level))?;
            tiles.push(hashes_of(tile)?);
            rest = after;
        }
        if !rest.is_empty() {
            return None;
        }
        Some(Self { size, levels: tiles })
    }

    /// Builds the edge of a tree of `size` records from the last incomplete tile of each level, which `read` gives
    /// for a level and a width; it must give exactly that many hashes.
    pub(super) fn from_tiles<E>(
        size: u64,
        mut read: impl FnMut(usize, usize) -> Result<Vec<Hash>, E>,
    ) -> Result<Self, E> {
        let mut levels = Vec::new();
        for level in 0..level_count(size) {
            let width = edge_width(size, level);
            levels.push(if width == 0 { Vec::new() } else { read(level, width)? });
        }
        Ok(Self { size, levels })
    }
}

/// Tile levels of a tree of `size` records: its digits to base 256.
pub(super) const fn level_count(size: u64) -> usize {
    (u64::BITS - size.leading_zeros()).div_ceil(8) as usize
}

/// Width of the last incomplete tile of `level` in a tree of `size` records: one digit of `size` to base 256.
pub(super) fn edge_width(size: u64, level: usize) -> usize {
    size.to_le_bytes().get(level).copied().map_or(0, usize::from)
}

/// Concatenated hashes; `None` when the last one is cut.
pub(super) fn hashes_of(bytes: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    rest.is_empty().then(|| hashes.to_vec())
}

/// The root over a power of two of neighbouring hashes.
pub(super) fn perfect_root(hashes: &[Hash]) -> Hash {
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        row = row.as_chunks::<2>().0.iter().map(|[left, right]| node_hash(left, right)).collect();
    }
    row.first().copied().unwrap_or_else(empty_root)
}
