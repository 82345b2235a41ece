//! The checkpoint that the gateway kept, compared with the log: what finds a log that was rolled back with all its files.

use super::worker::Ticket;
use crate::audit::note::VerifierKey;
use crate::audit::{Log, Standing};

/// Why a gateway is not served, or nothing is signed over the log.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Refused {
    /// For the operator.
    pub(super) reason: String,
    /// The log is not the one that was known: what is signed over it from now on would be a fork.
    pub(super) rolled_back: bool,
}

impl From<String> for Refused {
    fn from(reason: String) -> Self {
        Self { reason, rolled_back: false }
    }
}

/// Whether the log extends the checkpoint in the note, one of whose signers is among `keys`.
pub(super) fn compare(log: &Log<Ticket>, keys: &[VerifierKey], note: &str) -> Result<(), Refused> {
    let kept = VerifierKey::open(keys, note.as_bytes())
        .map_err(|e| format!("the checkpoint that the gateway kept does not verify: {e}"))?;
    let why = match log.standing(&kept) {
        Ok(Standing::Extends) => return Ok(()),
        Ok(Standing::Shorter { size }) => {
            format!("its own newest checkpoint covers {size}: it was rolled back")
        }
        Ok(Standing::Forked) => "it has other records there: it was changed or rolled back".to_owned(),
        Err(e) => return Err(format!("the log cannot be compared with what the gateway kept: {e}").into()),
    };
    let size = kept.size;
    let reason =
        format!("the log does not extend the checkpoint of {size} records that the gateway kept: {why}");
    Err(Refused { reason, rolled_back: true })
}
