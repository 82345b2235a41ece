//! Nothing signed leaves without its receipt: [`Sealed`] cannot be read, and only the receipt of the record that
//! covers exactly its bytes turns it into [`Released`]. Neither can be copied (invariant 1).

use crate::audit::Receipt;

/// Bytes that were made for somebody and whose record is not yet durable. Only their digest can be seen.
pub struct Sealed {
    bytes: String,
    digest: [u8; 32],
}

/// Bytes whose record is durable.
pub struct Released {
    bytes: String,
    sequence: u64,
}

/// A receipt for something else: a defect of ours, never of a caller.
#[derive(Debug, thiserror::Error)]
#[error("the receipt of record {sequence} covers other bytes")]
pub struct NotCovered {
    sequence: u64,
}

impl Sealed {
    /// Seals the exact bytes that are to leave.
    pub fn new(bytes: String) -> Self {
        let digest = crate::jose::sha256(bytes.as_bytes());
        Self { bytes, digest }
    }

    /// SHA-256 of the bytes: what the record must cover.
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The bytes as they go into the record's payload: into the log and nowhere else.
    pub(super) fn for_payload(&self) -> &str {
        &self.bytes
    }

    /// The point of no return. The record is durable: a crash from here on leaves a record of an answer that may not
    /// have arrived; a crash before leaves no answer.
    #[expect(clippy::needless_pass_by_value, reason = "a receipt is used up: no record releases two things")]
    pub fn release(self, receipt: Receipt) -> Result<Released, NotCovered> {
        let sequence = receipt.sequence();
        if receipt.covers(&self.digest) {
            Ok(Released { bytes: self.bytes, sequence })
        } else {
            Err(NotCovered { sequence })
        }
    }
}

impl Released {
    /// The bytes, exactly as the record's digest has them.
    pub fn as_str(&self) -> &str {
        &self.bytes
    }

    /// The bytes, to be sent.
    pub fn into_string(self) -> String {
        self.bytes
    }

    /// The record's number.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }
}
