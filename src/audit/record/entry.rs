//! What goes into the log.

use super::commit::Commitment;
use super::draft::Draft;
use super::encoding::{HEAD_MAX, Members};
use crate::audit::error::TooLong;
use crate::sha256::sha256;

/// What a record holds of the bytes that its receipt releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covered {
    /// A JWS: its SHA-256, in the record's `sha256` for all to see.
    Jws(JwsDigest),
    /// Any other text: a commitment, in the record's `committed.body`; its salt lies in the payload.
    Body(Commitment),
}

/// SHA-256 of a compact JWS.
///
/// It may be public because it covers a signature that only the token can make: a reader that guesses the claims has still nothing
/// to compare. The digest of an unsigned text is as good as the text: a subject was found from one in 17 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JwsDigest([u8; 32]);

impl JwsDigest {
    /// Of a JWS whose signature was verified: for the sealing of signed answers alone (`tests/architecture.rs` looks).
    pub(crate) fn of_verified(jws: &str) -> Self {
        Self(sha256(jws.as_bytes()))
    }

    pub(in crate::audit) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// One thing to be recorded.
#[derive(Debug)]
pub struct Entry {
    /// The record's members after its head: [`Draft::encode`].
    pub(in crate::audit) draft: Members,
    /// What its receipt will release; `None` when there is nothing.
    pub(in crate::audit) covers: Option<Covered>,
    /// What lies beside the record and can be erased.
    pub(in crate::audit) payload: Payload,
}

impl Entry {
    /// A record without payload that releases nothing.
    ///
    /// # Errors
    /// [`TooLong`] when the draft does not fit a record.
    pub fn plain(draft: &Draft<'_>) -> Result<Self, TooLong> {
        Ok(Self::new(draft.encode()?, Payload::none()))
    }

    /// A record whose receipt releases the unsigned text that its members commit to, if they do.
    pub fn new(members: Members, payload: Payload) -> Self {
        Self { covers: members.body().map(Covered::Body), draft: members, payload }
    }

    /// A record whose receipt releases a JWS.
    pub const fn of_jws(members: Members, digest: JwsDigest, payload: Payload) -> Self {
        Self { draft: members, covers: Some(Covered::Jws(digest)), payload }
    }

    /// Bytes to reserve for it: [`crate::audit::Log::reserve`].
    pub fn size(&self) -> u64 {
        Self::size_of(self.draft.as_bytes().len(), self.payload.0.len())
    }

    /// Bytes to reserve for members and a payload of these lengths, which may be upper bounds.
    pub fn size_of(members: usize, payload: usize) -> u64 {
        (HEAD_MAX + members + payload) as u64
    }
}

/// The erasable part of an entry: the JSON of a [`super::commit::Disclosure`], a note, or nothing.
#[derive(Debug)]
pub struct Payload(pub(in crate::audit) Vec<u8>);

impl Payload {
    /// No payload.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Bytes that lie in the segment as they are.
    pub const fn clear(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}
