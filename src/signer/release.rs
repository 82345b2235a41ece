//! Nothing signed leaves without its receipt: [`Sealed`] cannot be read, and only the receipt of the record that
//! covers exactly its bytes turns it into [`Released`]. Neither can be copied (invariant 1).

use super::connection::Connection;
use super::content::SigningInput;
use crate::audit::{Commitment, Covered, Disclosure, JwsDigest, Payload, Receipt, Salt, TooLong};
use crate::door::frame;
use crate::door::message::{Outcome, Response};
use crate::hsm::VerifiedSignature;
use crate::random;
use std::sync::Arc;

/// The name under which a record commits to an unsigned answer.
const BODY: &str = "body";

/// Bytes that were made for a caller and whose record is not yet durable. Only what the record holds of them can be
/// seen.
pub struct Sealed {
    bytes: String,
    covered: Covered,
    salt: Salt,
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
    /// A signed answer, of which the record shows the SHA-256. The one place where such a digest is made: it takes a
    /// signature of the token's, which a reader that guesses the claims cannot make.
    pub(super) fn jws(input: SigningInput, signature: &VerifiedSignature) -> Self {
        let bytes = input.with_signature(signature);
        Self { covered: Covered::Jws(JwsDigest::of_verified(&bytes)), bytes, salt: Salt::default() }
    }

    /// An unsigned answer, which a reader of the record must not be able to guess: the record commits to it, with a salt
    /// that lies in the payload.
    pub fn body(bytes: String) -> Result<Self, TooLong> {
        let salt = random::bytes();
        let covered = Covered::Body(Commitment::to(BODY, bytes.as_bytes(), &salt)?);
        Ok(Self { bytes, covered, salt })
    }

    /// What the record must hold.
    pub const fn covered(&self) -> Covered {
        self.covered
    }

    /// The payload of the record: `disclosed`, and the bytes with it. Only the log opens a payload.
    pub(super) fn payload<'a>(&'a self, mut disclosed: Disclosure<'a>) -> Result<Payload, serde_json::Error> {
        Ok(Payload::clear(match self.covered {
            Covered::Jws(_) => disclosed.encode_with_jws(&self.bytes)?,
            Covered::Body(_) => {
                disclosed.keep(BODY, &self.bytes, self.salt);
                serde_json::to_vec(&disclosed)?
            }
        }))
    }

    /// The point of no return. The record is durable: a crash from here on leaves a record of an answer that may not
    /// have arrived; a crash before leaves no answer.
    #[expect(clippy::needless_pass_by_value, reason = "a receipt is used up: no record releases two things")]
    pub fn release(self, receipt: Receipt) -> Result<Released, NotCovered> {
        let sequence = receipt.sequence();
        if receipt.covers(&self.covered) {
            Ok(Released { bytes: self.bytes, sequence })
        } else {
            Err(NotCovered { sequence })
        }
    }
}

impl Released {
    /// The bytes, exactly as the record has them.
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

/// What happens once the record is durable.
pub struct Ticket {
    pub(super) connection: Arc<Connection>,
    pub(super) number: u64,
    pub(super) reply: Reply,
}

/// What is said then.
pub(super) enum Reply {
    /// Bytes that stay here until then.
    Release(Sealed),
    /// A word that releases nothing.
    Say(Outcome),
}

/// Called with every durable batch, on the thread that wrote it: releases, and sends all answers of a connection at
/// once.
pub(super) fn release_all(batch: &mut Vec<(Ticket, Receipt)>) {
    let mut frames = Vec::with_capacity(batch.len() * 1024);
    let mut current: Option<Arc<Connection>> = None;
    for (ticket, receipt) in batch.drain(..) {
        if let Some(connection) = current.take_if(|c| !Arc::ptr_eq(c, &ticket.connection)) {
            connection.send(&frames);
            frames.clear();
        }
        let outcome = match ticket.reply {
            Reply::Say(outcome) => outcome,
            Reply::Release(sealed) => match sealed.release(receipt) {
                Ok(released) => Outcome::Done { body: released.into_string() },
                Err(error) => {
                    tracing::error!(%error, "an answer was withheld");
                    Outcome::Unavailable { reason: "withheld".to_owned() }
                }
            },
        };
        let number = ticket.number;
        if let Err(error) = frame::append_answer(&mut frames, &Response { number, outcome }) {
            tracing::error!(%error, "an answer cannot be written");
            // The gateway hears at once that there is no answer.
            let outcome = Outcome::Unavailable { reason: error.to_string() };
            let _ = frame::append_answer(&mut frames, &Response { number, outcome });
        }
        current = Some(ticket.connection);
    }
    if let Some(connection) = current {
        connection.send(&frames);
    }
}
