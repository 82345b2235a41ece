//! Bytes of the segment files: frames, and the batches that group them.
//!
//! ```text
//! batch  (48 bytes, where a block begins)        frame  (32 bytes, then record, then payload)
//!  0  "CHBT"                                      0  CRC-32 of bytes 4 to 32
//!  4  CRC-32 of bytes 8 to 48                     4  bytes of the record
//!  8  number of the batch in the log, from 0      8  bytes of the payload
//! 16  sequence of its first record               12  CRC-32 of the record
//! 24  frames                                     16  CRC-32 of the payload
//! 28  bytes of all frames                        20  form of the payload: 1, as it is
//! 32  id of the segment                          21  zeros
//! 40  zeros                                      24  sequence of the record
//! ```
//!
//! Numbers are little-endian. A batch has no checksum over its frames: erasing a payload in place must leave all
//! other bytes as they are. The id of the segment is random, so that no payload and no older file looks like a batch.

/// What every disk writes whole or not at all. What a crash cut off lacks whole sectors: they are still the zeros that
/// the segment was prepared with.
pub(in crate::audit) const SECTOR: usize = 512;
/// Bytes of a batch's header.
pub(in crate::audit) const BATCH_HEADER: usize = 48;
/// Bytes of a frame's header.
pub(in crate::audit) const FRAME_HEADER: usize = 32;
/// Most bytes of the frames of one batch; a reader's buffer is no larger.
pub(in crate::audit) const BATCH_MAX: usize = 4 * 1024 * 1024;

const BATCH_MAGIC: [u8; 4] = *b"CHBT";

/// The one form of a payload: as it is.
const CLEAR: u8 = 1;

/// A frame as it was read.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::audit) struct Frame<'a> {
    pub(in crate::audit) seq: u64,
    pub(in crate::audit) record: &'a [u8],
    pub(in crate::audit) payload: &'a [u8],
}

/// A batch's header as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::audit) struct BatchHeader {
    pub(in crate::audit) number: u64,
    pub(in crate::audit) first: u64,
    pub(in crate::audit) frames: u32,
    /// Bytes of all frames, without the zeros up to the next block.
    pub(in crate::audit) length: u32,
    pub(in crate::audit) segment: [u8; 8],
}

impl BatchHeader {
    pub(in crate::audit) fn encode(&self) -> [u8; BATCH_HEADER] {
        let mut covered = Vec::with_capacity(BATCH_HEADER);
        covered.extend_from_slice(&self.number.to_le_bytes());
        covered.extend_from_slice(&self.first.to_le_bytes());
        covered.extend_from_slice(&self.frames.to_le_bytes());
        covered.extend_from_slice(&self.length.to_le_bytes());
        covered.extend_from_slice(&self.segment);
        covered.extend_from_slice(&[0; 8]);
        let mut out = [0; BATCH_HEADER];
        let crc = crc32fast::hash(&covered).to_le_bytes();
        for (to, from) in out.iter_mut().zip(BATCH_MAGIC.iter().chain(&crc).chain(&covered)) {
            *to = *from;
        }
        out
    }

    /// The header, or `None` when these bytes are none.
    pub(in crate::audit) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.get(..BATCH_HEADER)?;
        let (magic, crc) = (take(&mut rest)?, u32::from_le_bytes(take(&mut rest)?));
        if magic != BATCH_MAGIC || crc != crc32fast::hash(rest) {
            return None;
        }
        Some(Self {
            number: u64::from_le_bytes(take(&mut rest)?),
            first: u64::from_le_bytes(take(&mut rest)?),
            frames: u32::from_le_bytes(take(&mut rest)?),
            length: u32::from_le_bytes(take(&mut rest)?),
            segment: take(&mut rest)?,
        })
    }

    /// Bytes on a disk with blocks of `block` bytes, with the zeros up to the next one.
    pub(in crate::audit) fn extent(&self, block: u64) -> u64 {
        (BATCH_HEADER as u64 + u64::from(self.length)).next_multiple_of(block)
    }
}

/// Appends the header of a frame whose record and payload follow it.
pub(in crate::audit) fn write_header(seq: u64, record: &[u8], payload: &[u8]) -> Option<[u8; FRAME_HEADER]> {
    let mut covered = [0; FRAME_HEADER - 4];
    let fields = [
        u32::try_from(record.len()).ok()?.to_le_bytes(),
        u32::try_from(payload.len()).ok()?.to_le_bytes(),
        crc32fast::hash(record).to_le_bytes(),
        crc32fast::hash(payload).to_le_bytes(),
        [CLEAR, 0, 0, 0],
    ];
    let seq = seq.to_le_bytes();
    for (to, from) in covered.iter_mut().zip(fields.iter().flatten().chain(&seq)) {
        *to = *from;
    }
    let mut out = [0; FRAME_HEADER];
    let crc = crc32fast::hash(&covered).to_le_bytes();
    for (to, from) in out.iter_mut().zip(crc.iter().chain(&covered)) {
        *to = *from;
    }
    Some(out)
}

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::audit) enum FrameDefect {
    Header,
    Length,
    Record,
    Payload,
}

impl FrameDefect {
    pub(in crate::audit) const fn text(self) -> &'static str {
        match self {
            Self::Header => "the checksum of a frame's header is wrong",
            Self::Length => "a frame is longer than its batch",
            Self::Record => "the checksum of a record is wrong",
            Self::Payload => "the checksum of a payload is wrong",
        }
    }
}

/// Reads the first frame of `bytes` and says how many bytes it has; or what is wrong, and in how many bytes.
pub(in crate::audit) fn read(bytes: &[u8]) -> Result<(Frame<'_>, usize), (FrameDefect, usize)> {
    let head = Head::decode(bytes).ok_or((FrameDefect::Header, FRAME_HEADER))?;
    let body = bytes.get(FRAME_HEADER..).unwrap_or_default();
    let (record, rest) = body.split_at_checked(head.record).ok_or((FrameDefect::Length, FRAME_HEADER))?;
    let (payload, _) = rest.split_at_checked(head.payload).ok_or((FrameDefect::Length, FRAME_HEADER))?;
    let length = FRAME_HEADER + record.len() + payload.len();
    if crc32fast::hash(record) != head.record_crc {
        return Err((FrameDefect::Record, length));
    }
    if crc32fast::hash(payload) != head.payload_crc {
        return Err((FrameDefect::Payload, length));
    }
    Ok((Frame { seq: head.seq, record, payload }, length))
}

struct Head {
    record: usize,
    payload: usize,
    record_crc: u32,
    payload_crc: u32,
    seq: u64,
}

impl Head {
    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.get(..FRAME_HEADER)?;
        let crc = u32::from_le_bytes(take(&mut rest)?);
        if crc != crc32fast::hash(rest) {
            return None;
        }
        let record = u32::from_le_bytes(take(&mut rest)?);
        let payload = u32::from_le_bytes(take(&mut rest)?);
        let record_crc = u32::from_le_bytes(take(&mut rest)?);
        let payload_crc = u32::from_le_bytes(take(&mut rest)?);
        let [form, _, _, _] = take(&mut rest)?;
        if form != CLEAR {
            return None;
        }
        let seq = u64::from_le_bytes(take(&mut rest)?);
        Some(Self {
            record: usize::try_from(record).ok()?,
            payload: usize::try_from(payload).ok()?,
            record_crc,
            payload_crc,
            seq,
        })
    }
}

/// Takes the first `N` bytes off.
pub(in crate::audit) fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(seq: u64, record: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut out = write_header(seq, record, payload).unwrap().to_vec();
        out.extend_from_slice(record);
        out.extend_from_slice(payload);
        out
    }

    #[test]
    fn a_changed_bit_anywhere_in_a_frame_is_noticed() {
        let whole = frame(5, b"{\"record\":1}", b"payload");
        for bit in 0..whole.len() * 8 {
            let mut changed = whole.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&changed).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_changed_bit_anywhere_in_a_batch_header_is_noticed() {
        let header = BatchHeader { number: 1, first: 2, frames: 3, length: 4, segment: [5; 8] };
        let whole = header.encode();
        assert_eq!(BatchHeader::decode(&whole), Some(header));
        for bit in 0..whole.len() * 8 {
            let mut changed = whole;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(BatchHeader::decode(&changed), None, "bit {bit}");
        }
    }

    #[test]
    fn zeros_are_neither_frame_nor_batch() {
        assert!(read(&[0; 512]).is_err());
        assert!(BatchHeader::decode(&[0; 512]).is_none());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
            let _ = BatchHeader::decode(&bytes);
        }

        #[test]
        fn arbitrary_bytes_behind_a_true_header_never_panic(
            record in any::<u32>(), payload in any::<u32>(), rest in proptest::collection::vec(any::<u8>(), 0..100)
        ) {
            let mut covered = Vec::new();
            for n in [record, payload, 0, 0, 1] {
                covered.extend_from_slice(&n.to_le_bytes());
            }
            covered.extend_from_slice(&7u64.to_le_bytes());
            let mut bytes = crc32fast::hash(&covered).to_le_bytes().to_vec();
            bytes.extend_from_slice(&covered);
            bytes.extend_from_slice(&rest);
            let _ = read(&bytes);
        }

        #[test]
        fn a_frame_is_read_back(
            seq in any::<u64>(),
            record in proptest::collection::vec(any::<u8>(), 0..200),
            payload in proptest::collection::vec(any::<u8>(), 0..200),
            behind in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let mut bytes = frame(seq, &record, &payload);
            let length = bytes.len();
            bytes.extend_from_slice(&behind);
            let (read, found) = read(&bytes).unwrap();
            prop_assert_eq!(found, length);
            prop_assert_eq!(read, Frame { seq, record: &record, payload: &payload });
        }
    }
}
