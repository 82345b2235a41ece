//! Inclusion and consistency proofs: made from any source of perfect subtrees, verified from hashes alone.

use super::{Hash, empty_root, node_hash};

/// Why a proof could not be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProofError<E> {
    /// The record or the older tree is not within the tree.
    #[error("record or size {asked} is not within a tree of {size} records")]
    Beyond {
        /// The record or the size that was asked for.
        asked: u64,
        /// The size of the tree.
        size: u64,
    },
    /// A subtree could not be read.
    #[error(transparent)]
    Read(E),
}

/// The inclusion proof of record `index` in the tree of `size` records (RFC 9162 §2.1.3.1), lowest hash first.
///
/// `read(height, n)` gives the root of the n-th perfect subtree of 2^height records.
pub fn inclusion_proof<E>(
    index: u64,
    size: u64,
    mut read: impl FnMut(u32, u64) -> Result<Hash, E>,
) -> Result<Vec<Hash>, ProofError<E>> {
    if index >= size {
        return Err(ProofError::Beyond { asked: index, size });
    }
    let (mut low, mut high) = (0, size);
    let mut proof = Vec::new();
    while high - low > 1 {
        let middle = split(low, high);
        let sibling = if index < middle {
            let sibling = subtree(middle, high, &mut read);
            high = middle;
            sibling
        } else {
            let sibling = subtree(low, middle, &mut read);
            low = middle;
            sibling
        };
        proof.push(sibling.map_err(ProofError::Read)?);
    }
    proof.reverse();
    Ok(proof)
}

/// The proof that the tree of `size` records extends its own first `old` records (RFC 9162 §2.1.4.1).
///
/// Nothing needs a proof when `old` is 0 or `size`: then it is empty. `read` as for [`inclusion_proof`].
pub fn consistency_proof<E>(
    old: u64,
    size: u64,
    mut read: impl FnMut(u32, u64) -> Result<Hash, E>,
) -> Result<Vec<Hash>, ProofError<E>> {
    if old > size {
        return Err(ProofError::Beyond { asked: old, size });
    }
    let mut proof = Vec::new();
    if old == 0 || old == size {
        return Ok(proof);
    }
    let (mut low, mut high) = (0, size);
    // The verifier knows the older root; it needs the subtree in which the old tree ends unless that is all of it.
    while old != high {
        let middle = split(low, high);
        let sibling = if old <= middle {
            let sibling = subtree(middle, high, &mut read);
            high = middle;
            sibling
        } else {
            let sibling = subtree(low, middle, &mut read);
            low = middle;
            sibling
        };
        proof.push(sibling.map_err(ProofError::Read)?);
    }
    if low != 0 {
        proof.push(subtree(low, high, &mut read).map_err(ProofError::Read)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Whether `proof` shows that the record with hash `leaf` is number `index` of the tree (RFC 9162 §2.1.3.2).
pub fn verify_inclusion(index: u64, size: u64, leaf: &Hash, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut number, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if number & 1 == 1 || number == last {
            hash = node_hash(sibling, &hash);
            while number & 1 == 0 && number != 0 {
                number >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        number >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether `proof` shows that the tree `(size, root)` extends the tree `(old, old_root)` (RFC 9162 §2.1.4.2).
pub fn verify_consistency(old: u64, old_root: &Hash, size: u64, root: &Hash, proof: &[Hash]) -> bool {
    if old > size {
        return false;
    }
    if old == size {
        return proof.is_empty() && old_root == root;
    }
    if old == 0 {
        return proof.is_empty() && *old_root == empty_root();
    }
    let (mut number, mut last) = (old - 1, size - 1);
    while number & 1 == 1 {
        number >>= 1;
        last >>= 1;
    }
    // A perfect older tree is its own first subtree: the proof does not repeat its root.
    let (mut hash, rest) = if old.is_power_of_two() {
        (*old_root, proof)
    } else if let Some((first, rest)) = proof.split_first() {
        (*first, rest)
    } else {
        return false;
    };
    let mut old_hash = hash;
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if number & 1 == 1 || number == last {
            old_hash = node_hash(sibling, &old_hash);
            hash = node_hash(sibling, &hash);
            while number & 1 == 0 && number != 0 {
                number >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        number >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == *old_root && hash == *root
}

/// The root over the records `low..high`; `low` is a multiple of the largest power of two within.
fn subtree<E>(low: u64, high: u64, read: &mut impl FnMut(u32, u64) -> Result<Hash, E>) -> Result<Hash, E> {
    let count = high - low;
    if count.is_power_of_two() {
        let height = count.trailing_zeros();
        return read(height, low >> height);
    }
    let middle = split(low, high);
    let left = subtree(low, middle, read)?;
    let right = subtree(middle, high, read)?;
    Ok(node_hash(&left, &right))
}

/// Where a tree over more than one record divides: after the largest power of two below its size (RFC 9162 §2.1.1).
const fn split(low: u64, high: u64) -> u64 {
    low + (1 << (u64::BITS - 1 - (high - low - 1).leading_zeros()))
}
