//! The header of a segment: what it says of itself, and how the segment before it ends.
//!
//! ```text
//!  0  "CHSEGMT\n"           what the checksum covers, from 20 to the header's end, where a block ends:
//!  8  version, 2             bytes of the segment, its index, number of its first batch, bytes of a block  (8 each)
//! 12  bytes of the header    id (8), leaf hash of the record before (32)
//! 16  CRC-32                 what a crash left behind the segment before: offset, bytes, records (8 each), SHA-256
//!                            origin and edge of the tree, each with its length in 8 bytes; zeros
//! ```
//!
//! Version 1 had neither the bytes of a block, which were 512, nor what a crash left: it was overwritten with zeros.

use super::frame::{SECTOR, take};
use crate::audit::tree::{Edge, Hash};

/// Smallest segment.
pub const SEGMENT_MIN: u64 = 1024 * 1024;
/// Segment size unless configured.
pub const SEGMENT_DEFAULT: u64 = 64 * 1024 * 1024;
/// Largest segment.
pub const SEGMENT_MAX: u64 = 16 * 1024 * 1024 * 1024;
/// Longest header: an edge has at most eight levels of 255 hashes.
pub(in crate::audit) const HEADER_MAX: u64 = 2 * BLOCK_MAX;
/// Smallest block of a segment: that of the disks that tell a smaller sector for the sake of old programs.
pub(in crate::audit) const BLOCK_MIN: u64 = 4096;
/// Largest block: file systems that name a larger one copy what is written again.
pub(in crate::audit) const BLOCK_MAX: u64 = 64 * 1024;

const MAGIC: [u8; 8] = *b"CHSEGMT\n";
const VERSION: u32 = 2;
/// Magic, version, length and checksum stand before what the checksum covers.
const UNCOVERED: usize = 20;

/// What a segment says of itself and of all before it.
pub(in crate::audit) struct Header {
    pub(in crate::audit) origin: String,
    /// Size of the file.
    pub(in crate::audit) bytes: u64,
    /// Place among the segments, from 0.
    pub(in crate::audit) index: u64,
    /// Number of its first batch.
    pub(in crate::audit) batch: u64,
    /// Batches begin at multiples of it: no write of one touches a block that holds records of another.
    pub(in crate::audit) block: u64,
    /// Random; stands in each of its batches.
    pub(in crate::audit) id: [u8; 8],
    /// Leaf hash of the record before its first.
    pub(in crate::audit) prev: Hash,
    /// What a crash left at the end of the segment before, where it stays.
    pub(in crate::audit) remains: Option<Remains>,
    /// The tree before its first record.
    pub(in crate::audit) edge: Edge,
}

/// What a crash left of a batch: not part of the log, and never overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::audit) struct Remains {
    /// Where they begin, in bytes: behind the last whole record.
    pub(in crate::audit) offset: u64,
    /// Up to the end of the last sector that is not all zeros.
    pub(in crate::audit) bytes: u64,
    /// Whole records of the batch that stand before, and are part of the log.
    pub(in crate::audit) kept: u64,
    pub(in crate::audit) sha256: [u8; 32],
}

impl Header {
    /// Sequence of its first record.
    pub(in crate::audit) const fn first(&self) -> u64 {
        self.edge.size()
    }

    /// The bytes, with zeros up to a block; its first batch follows.
    pub(in crate::audit) fn encode(&self) -> Vec<u8> {
        let mut covered = Vec::new();
        let mut number = |n: u64| covered.extend_from_slice(&n.to_le_bytes());
        [self.bytes, self.index, self.batch, self.block].into_iter().for_each(&mut number);
        covered.extend_from_slice(&self.id);
        covered.extend_from_slice(&self.prev);
        // No batch begins where the segment does.
        let none = Remains { offset: 0, bytes: 0, kept: 0, sha256: [0; 32] };
        let remains = self.remains.as_ref().unwrap_or(&none);
        for n in [remains.offset, remains.bytes, remains.kept] {
            covered.extend_from_slice(&n.to_le_bytes());
        }
        covered.extend_from_slice(&remains.sha256);
        for part in [self.origin.as_bytes(), &self.edge.encode()] {
            covered.extend_from_slice(&(part.len() as u64).to_le_bytes());
            covered.extend_from_slice(part);
        }
        let block = usize::try_from(self.block).unwrap_or(SECTOR);
        covered.resize((UNCOVERED + covered.len()).next_multiple_of(block) - UNCOVERED, 0);
        let mut out = Vec::with_capacity(UNCOVERED + covered.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&u32::try_from(UNCOVERED + covered.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&crc32fast::hash(&covered).to_le_bytes());
        out.append(&mut covered);
        out
    }

    /// Reads a header and its length in bytes.
    pub(in crate::audit) fn decode(bytes: &[u8]) -> Result<(Self, u64), &'static str> {
        let mut rest = bytes;
        let short = "the segment's header is cut off";
        if take(&mut rest).ok_or(short)? != MAGIC {
            return Err("this is no segment of an audit log");
        }
        let version = u32::from_le_bytes(take(&mut rest).ok_or(short)?);
        if version != VERSION && version != 1 {
            return Err("the segment has a version that this program does not know");
        }
        let length = u32::from_le_bytes(take(&mut rest).ok_or(short)?);
        let crc = u32::from_le_bytes(take(&mut rest).ok_or(short)?);
        let covered = usize::try_from(length).ok().and_then(|l| bytes.get(UNCOVERED..l)).ok_or(short)?;
        if crc != crc32fast::hash(covered) {
            return Err("the checksum of the segment's header is wrong");
        }
        let header =
            Self::decode_covered(covered, version).ok_or("the segment's header contradicts itself")?;
        if !u64::from(length).is_multiple_of(header.block) {
            return Err("the segment's header contradicts itself");
        }
        Ok((header, u64::from(length)))
    }

    fn decode_covered(mut rest: &[u8], version: u32) -> Option<Self> {
        let bytes = u64::from_le_bytes(take(&mut rest)?);
        let index = u64::from_le_bytes(take(&mut rest)?);
        let batch = u64::from_le_bytes(take(&mut rest)?);
        let block = if version == 1 { SECTOR as u64 } else { u64::from_le_bytes(take(&mut rest)?) };
        let id = take(&mut rest)?;
        let prev = take(&mut rest)?;
        let remains = if version == 1 { None } else { Remains::decode(&mut rest)? };
        let mut part = || {
            let length = usize::try_from(u64::from_le_bytes(take(&mut rest)?)).ok()?;
            let (part, after) = rest.split_at_checked(length)?;
            rest = after;
            Some(part)
        };
        let origin = String::from_utf8(part()?.to_vec()).ok()?;
        let edge = Edge::decode(part()?)?;
        let blocks = block.is_power_of_two() && (SECTOR as u64..=BLOCK_MAX).contains(&block);
        let sane = blocks && (SEGMENT_MIN..=SEGMENT_MAX).contains(&bytes) && bytes % block == 0;
        sane.then_some(Self { origin, bytes, index, batch, block, id, prev, remains, edge })
    }
}

impl Remains {
    #[expect(clippy::option_option, reason = "none are left, or the bytes say nothing")]
    fn decode(rest: &mut &[u8]) -> Option<Option<Self>> {
        let offset = u64::from_le_bytes(take(rest)?);
        let bytes = u64::from_le_bytes(take(rest)?);
        let kept = u64::from_le_bytes(take(rest)?);
        let sha256 = take(rest)?;
        Some((offset > 0).then_some(Self { offset, bytes, kept, sha256 }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(remains: Option<Remains>) -> Header {
        let (origin, edge) = ("as.example/audit".to_owned(), Edge::new());
        Header {
            origin,
            bytes: SEGMENT_MIN,
            index: 3,
            batch: 9,
            block: 4096,
            id: [1; 8],
            prev: [2; 32],
            remains,
            edge,
        }
    }

    #[test]
    fn a_header_is_read_back_with_what_a_crash_left_before_it() {
        for remains in [None, Some(Remains { offset: 4128, bytes: 512, kept: 2, sha256: [7; 32] })] {
            let encoded = header(remains).encode();
            let (read, length) = Header::decode(&encoded).unwrap();
            assert_eq!(length, encoded.len() as u64);
            assert_eq!(length, 4096);
            assert_eq!((read.index, read.batch, read.block, read.remains), (3, 9, 4096, remains));
        }
    }

    #[test]
    fn a_changed_bit_anywhere_in_a_header_is_noticed() {
        let whole = header(None).encode();
        for bit in 0..whole.len() * 8 {
            let mut changed = whole.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&changed).is_err(), "bit {bit}");
        }
    }
}
