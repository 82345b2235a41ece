//! What has to be shown before a checkpoint is signed: that the log extends what was known of it.
//!
//! A log that was rolled back with all its files looks whole from inside, and a checkpoint over it would be a fork. So
//! the function that signs one wants a [`Continuity`], and only this file makes it.

use crate::audit::error::LogError;
use crate::audit::log::Log;
use crate::audit::note::{Checkpoint, NoteError, VerifierKey};
use crate::audit::record::draft::{Draft, Known};
use crate::audit::record::entry::Entry;
use crate::audit::record::event::{Event, Outcome};
use crate::audit::tiles::TileReader;
use crate::audit::tree::verify_consistency;

/// The log extends what was known of it: by a remembered checkpoint ([`Log::compare`]), by a recorded decision of the
/// operator ([`Log::adopt`]), or because it was made just now. Used up by [`Log::sign_checkpoints`].
#[derive(Debug)]
#[must_use]
pub struct Continuity(());

impl Continuity {
    /// For [`Log::create`] alone, which has made sure that there was no log.
    pub(in crate::audit) const fn created() -> Self {
        Self(())
    }
}

/// Why a remembered checkpoint does not show that nothing of the log is missing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotExtended {
    /// Nothing that a key of this log signed.
    #[error("it does not verify: {0}")]
    Note(#[from] NoteError),
    /// It is of another log.
    #[error("it is of the log {0:?}")]
    Origin(String),
    /// The log's own newest checkpoint covers fewer records.
    #[error("it covers {known} records, the log's own newest checkpoint {size}: the log was rolled back")]
    Shorter {
        /// Records under the remembered one.
        known: u64,
        /// Records under the log's own newest.
        size: u64,
    },
    /// The log has other records there.
    #[error("the log has other records under the {known} that it covers: it was changed or rolled back")]
    Forked {
        /// Records under the remembered one.
        known: u64,
    },
    /// The log cannot be compared at the moment.
    #[error("the log cannot be compared with it: {0}")]
    Unreadable(LogError),
}

impl NotExtended {
    /// Whether the log is not the one that was known, rather than the comparison not possible.
    pub const fn is_rollback(&self) -> bool {
        !matches!(self, Self::Unreadable(_))
    }
}

/// The operator's decision that a log goes on although nothing shows that it extends what was known.
#[derive(Clone, Copy, Debug)]
pub struct Adoption<'a> {
    /// The account that decided.
    pub operator: &'a str,
    /// Why, in the operator's words.
    pub reason: &'a str,
    /// What was known: the memories that the decision overrides, and no others.
    pub known: &'a [Known],
}

impl<T: Send + 'static> Log<T> {
    /// Shows that the log extends a remembered checkpoint: one of the log's own keys signed it, and the
    /// log begins with exactly the records that it covers.
    ///
    /// The published tiles are not believed: what they say must lead to the root of the newest checkpoint, which stands
    /// over the records in the segments.
    pub fn compare(&self, note: &[u8]) -> Result<Continuity, NotExtended> {
        let known = VerifierKey::open(&self.keys, note)?;
        if known.origin != self.settings.origin {
            return Err(NotExtended::Origin(known.origin));
        }
        let newest = self.newest().ok_or(NotExtended::Unreadable(LogError::Closed))?;
        if known.size > newest.size {
            return Err(NotExtended::Shorter { known: known.size, size: newest.size });
        }
        self.extends(&known, newest.size, &newest.root)
    }

    fn extends(
        &self,
        known: &Checkpoint,
        size: u64,
        root: &crate::audit::tree::Hash,
    ) -> Result<Continuity, NotExtended> {
        let failed = |e| NotExtended::Unreadable(super::publisher::publish_error(e));
        let tiles = self.published();
        let proof = tiles.consistency_proof(known.size, size).map_err(failed)?;
        if verify_consistency(known.size, &known.root, size, root, &proof) {
            return Ok(Continuity(()));
        }
        if tiles.root_at(known.size).map_err(failed)? == known.root {
            let what = "its tiles do not lead to the newest checkpoint; stop the signer, move the published directory \
                away and start again: it is made anew from the segments";
            return Err(NotExtended::Unreadable(LogError::Publish(what.into())));
        }
        Err(NotExtended::Forked { known: known.size })
    }

    /// Its published files, for proofs.
    pub fn published(&self) -> TileReader {
        TileReader::open(self.settings.published())
    }

    /// Records the operator's decision; it counts once the record is durable. The number of the record.
    pub fn adopt(&self, adoption: &Adoption<'_>) -> Result<(u64, Continuity), LogError> {
        let draft = Draft {
            reason: Some(adoption.reason),
            operator: Some(adoption.operator),
            known: adoption.known,
            ..Draft::new(Event::LogAdopted, Outcome::Success)
        };
        let receipt = self.record(Entry::plain(&draft)?)?;
        Ok((receipt.sequence(), Continuity(())))
    }
}
