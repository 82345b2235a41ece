//! What has to be shown before a checkpoint is signed: that the log extends what was known of it.
//!
//! A log that was rolled back with all its files looks whole from inside, and a checkpoint over it would be a fork. So
//! the function that signs one wants a [`Continuity`], and only this file makes it.

use crate::audit::error::{LogError, TooLong};
use crate::audit::note::{NoteError, Published, VerifierKey};
use crate::audit::record::draft::{Draft, Known};
use crate::audit::record::entry::Entry;
use crate::audit::record::event::{Event, Outcome};
use crate::audit::settings::LogSettings;
use crate::audit::tiles::TileReader;
use crate::audit::tree::verify_consistency;
use crate::audit::write::receipt::Receipt;

/// The log extends what was known of it: by a remembered checkpoint ([`crate::audit::Log::compare`]), by a recorded decision of the
/// operator ([`crate::audit::Log::adopt`]), or because it was made just now. Used up by [`crate::audit::Log::sign_checkpoints`].
#[derive(Debug)]
#[must_use]
pub struct Continuity(());

impl Continuity {
    /// For [`crate::audit::create()`] alone, which has made sure that there was no log.
    pub(in crate::audit) const fn created() -> Self {
        Self(())
    }

    /// The record of an [`Adoption`] is durable.
    pub(in crate::audit) const fn adopted(_: &Receipt) -> Self {
        Self(())
    }

    /// The log of `settings`, whose `newest` checkpoint stands over the records in its segments, extends the checkpoint
    /// in `note`: one of `keys` signed it, and the log begins with exactly the records that it covers.
    ///
    /// The published tiles are not believed: what they say must lead to the root of `newest`.
    pub(in crate::audit) fn compare(
        settings: &LogSettings,
        keys: &[VerifierKey],
        newest: &Published,
        note: &[u8],
    ) -> Result<Self, NotExtended> {
        let known = VerifierKey::open(keys, note)?;
        if known.origin != settings.origin {
            return Err(NotExtended::Origin(known.origin));
        }
        let Published { size, root, .. } = newest;
        if known.size > *size {
            return Err(NotExtended::Shorter { known: known.size, size: *size });
        }
        let failed = |error| NotExtended::Unreadable(LogError::from(error));
        let tiles = TileReader::open(settings.published());
        let proof = tiles.consistency_proof(known.size, *size).map_err(failed)?;
        if verify_consistency(known.size, &known.root, *size, root, &proof) {
            return Ok(Self(()));
        }
        if tiles.root_at(known.size).map_err(failed)? == known.root {
            let what = "its tiles do not lead to the newest checkpoint; stop the signer, move the published directory \
                away and start again: it is made anew from the segments";
            return Err(NotExtended::Unreadable(LogError::Publish(what.into())));
        }
        Err(NotExtended::Forked { known: known.size })
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

impl Adoption<'_> {
    /// Its record.
    pub(in crate::audit) fn entry(&self) -> Result<Entry, TooLong> {
        Entry::plain(&Draft {
            reason: Some(self.reason),
            operator: Some(self.operator),
            known: self.known,
            ..Draft::new(Event::LogAdopted, Outcome::Success)
        })
    }
}
