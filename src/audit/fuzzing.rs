//! What `tests/fuzz` tries of this room: each reader gives back what it read as the writer would write it.

use super::disk::frame::{BATCH_HEADER, BatchHeader, read, write_header};
use super::disk::header::{BLOCK_MIN, Header};

/// The first frame of `bytes`, written again.
pub fn frame(bytes: &[u8]) -> Option<Vec<u8>> {
    let (frame, length) = read(bytes).ok()?;
    let mut again = write_header(frame.seq, frame.record, frame.payload)?.to_vec();
    again.extend_from_slice(frame.record);
    again.extend_from_slice(frame.payload);
    (length == again.len()).then_some(again)
}

/// The header of a batch, written again.
pub fn batch(bytes: &[u8]) -> Option<[u8; BATCH_HEADER]> {
    let header = BatchHeader::decode(bytes)?;
    assert!(header.extent(BLOCK_MIN) >= u64::from(header.length));
    Some(header.encode())
}

/// The header of a segment under a right checksum, which the fuzzer would rarely guess: whether it is one.
///
/// # Panics
/// When it is one and would be written in another way.
pub fn segment(covered: &[u8]) -> bool {
    let mut bytes = b"CHSEGMT\n\x02\0\0\0".to_vec();
    bytes.extend_from_slice(&u32::try_from(20 + covered.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(covered).to_le_bytes());
    bytes.extend_from_slice(covered);
    let Ok((header, length)) = Header::decode(&bytes) else { return false };
    assert_eq!(length, bytes.len() as u64);
    let (again, _) =
        Header::decode(&header.encode()).unwrap_or_else(|why| panic!("written and not read: {why}"));
    assert_eq!(again.encode(), header.encode());
    true
}

/// The records of an entry bundle, each with its length before it.
pub fn bundle(bytes: &[u8], count: u64) -> Option<Vec<u8>> {
    let bundle = super::tiles::Bundle::parse(bytes.to_vec(), count)?;
    let mut again = Vec::new();
    for record in bundle.records() {
        again.extend_from_slice(&u16::try_from(record.len()).ok()?.to_be_bytes());
        again.extend_from_slice(record);
    }
    Some(again)
}
