//! What goes into the log, and the proof that it is there.

use super::frame::Form;
use super::record::{HEAD_MAX, Members};
use super::{draft::Draft, record::TooLong};

/// One thing to be recorded.
#[derive(Debug)]
pub struct Entry {
    /// The record's members after its head: [`Draft::encode`].
    pub draft: Members,
    /// SHA-256 of the exact bytes that the receipt will release, recorded as `sha256`; `None` when there are none.
    pub digest: Option<[u8; 32]>,
    /// What lies beside the record and can be erased.
    pub payload: Payload,
}

impl Entry {
    /// A record without payload that releases nothing.
    ///
    /// # Errors
    /// [`TooLong`] when the draft does not fit a record.
    pub fn plain(draft: &Draft<'_>) -> Result<Self, TooLong> {
        Ok(Self { draft: draft.encode()?, digest: None, payload: Payload::none() })
    }

    /// Bytes to reserve for it: [`super::Log::reserve`].
    pub fn size(&self) -> u64 {
        Self::size_of(self.draft.as_bytes().len(), self.payload.bytes.len())
    }

    /// Bytes to reserve for members and a payload of these lengths, which may be upper bounds.
    pub fn size_of(members: usize, payload: usize) -> u64 {
        (HEAD_MAX + members + payload) as u64
    }
}

/// The erasable part of an entry.
#[derive(Debug)]
pub struct Payload {
    pub(super) form: Form,
    pub(super) bytes: Vec<u8>,
}

impl Payload {
    /// No payload.
    pub const fn none() -> Self {
        Self::clear(Vec::new())
    }

    /// Bytes that lie in the segment as they are: the JSON of a [`super::commit::Disclosure`].
    pub const fn clear(bytes: Vec<u8>) -> Self {
        Self { form: Form::Clear, bytes }
    }

    /// Bytes that the caller has encrypted.
    pub const fn encrypted(bytes: Vec<u8>) -> Self {
        Self { form: Form::Encrypted, bytes }
    }
}

/// The record is durable.
///
/// Only the log makes one, after the sync that covers the record has returned, and nothing copies it: what needs a
/// receipt cannot be had without a record, and no record releases two things.
#[derive(Debug)]
#[must_use = "a receipt is what releases the answer"]
pub struct Receipt {
    sequence: u64,
    digest: Option<[u8; 32]>,
}

impl Receipt {
    /// For the log alone, behind the sync.
    pub(super) const fn new(sequence: u64, digest: Option<[u8; 32]>) -> Self {
        Self { sequence, digest }
    }

    /// The record's place in the log.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// What the record says was released.
    pub const fn digest(&self) -> Option<&[u8; 32]> {
        self.digest.as_ref()
    }

    /// Whether the record covers the bytes of this SHA-256. Both are public, so time tells nothing.
    pub fn covers(&self, digest: &[u8; 32]) -> bool {
        self.digest.as_ref() == Some(digest)
    }
}
