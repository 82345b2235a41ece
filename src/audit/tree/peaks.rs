//! The perfect subtrees of a tree, for callers that need the root often and no tiles.

use super::{Hash, empty_root, node_hash};

/// A tree by its perfect subtrees, at most 64 hashes: appending costs one hash on average, the root at most 63.
#[derive(Clone, Debug, Default)]
pub struct Peaks {
    size: u64,
    /// One for each bit of the size that is set, the largest first.
    roots: Vec<Hash>,
}

impl Peaks {
    /// The tree without records.
    pub const fn new() -> Self {
        Self { size: 0, roots: Vec::new() }
    }

    /// The number of records.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Appends the leaf hash of the next record.
    pub fn push(&mut self, leaf: Hash) {
        let mut carried = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.roots.pop() {
                carried = node_hash(&left, &carried);
            }
        }
        self.roots.push(carried);
        self.size += 1;
    }

    /// The root (RFC 9162 §2.1.1).
    pub fn root(&self) -> Hash {
        let mut from_right = self.roots.iter().rev();
        let Some(&smallest) = from_right.next() else { return empty_root() };
        from_right.fold(smallest, |right, left| node_hash(left, &right))
    }
}
