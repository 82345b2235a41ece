//! What is remembered of the log outside its directory: the checkpoint that the gateway keeps, and the signer's own in
//! its state directory. Either shows that nothing of the log is missing; one that the log does not extend shows that it
//! was rolled back with all its files.

use crate::memory::{Adopted, Lag, ShownCheckpoint};

use super::release::Ticket;
use super::start::StartError;
use super::state::StateDirectory;
use crate::audit::note::Checkpoint;
use crate::audit::tiles::TileError;
use crate::audit::tree::Hash;
use crate::audit::{Continuity, Digest, Event, Log, NotExtended, Published, RecordView};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Name of the signer's memory in its state directory: a signed note.
const CHECKPOINT: &str = "checkpoint";
/// Name of the checkpoint that a gateway showed which was refused.
const REFUSED: &str = "gateway-checkpoint";
/// Name of the number of the record of the operator's last decision.
const ADOPTED: &str = "adopted";
/// Bytes of the longest note that is kept from a gateway; ours have some hundred.
const NOTE_MAX: usize = 16 << 10;

/// Why a gateway is not served, or nothing is signed over the log.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Refused {
    /// For the operator.
    pub(super) reason: String,
    /// What follows from it.
    pub(super) why: Why,
}

/// What follows from a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Gateway and signer do not fit together.
    Mismatch,
    /// The log is not the one that was known: what is signed over it from now on would be a fork.
    RolledBack,
    /// Nothing is known of the log: the operator has to decide.
    Unknown,
}

impl From<String> for Refused {
    fn from(reason: String) -> Self {
        Self { reason, why: Why::Mismatch }
    }
}

/// The signer's own memory of its log.
pub(super) struct Memory {
    state: StateDirectory,
    /// Records under the checkpoint that is kept.
    size: u64,
    failing: bool,
    lag: Lag,
}

impl Memory {
    /// Nothing is read or written yet.
    pub(super) fn of(state: StateDirectory) -> Self {
        Self { state, size: 0, failing: false, lag: Lag::default() }
    }

    /// For how long it has not followed the log.
    pub(super) fn lag(&self) -> Lag {
        self.lag.clone()
    }

    /// Where it lies.
    pub(super) fn path(&self) -> PathBuf {
        self.state.path(CHECKPOINT)
    }

    /// The note, if there is one.
    pub(super) fn read(&self) -> Result<Option<Vec<u8>>, StartError> {
        let failed = |source| StartError::Memory { path: self.path(), source };
        self.state.read(CHECKPOINT).map_err(failed)
    }

    /// Over how many records the note is; `None` when there is none, or no checkpoint.
    pub(super) fn records(&self) -> Result<Option<u64>, StartError> {
        let read = |note: Vec<u8>| Checkpoint::from_note_unverified(&note).ok();
        Ok(self.read()?.and_then(read).map(|kept| kept.size))
    }

    /// What it says of the log that was opened just now; `None` when there is no memory.
    pub(super) fn compare(&self, log: &Log<Ticket>) -> Result<Option<Continuity>, StartError> {
        let Some(note) = self.read()? else { return Ok(None) };
        log.compare(&note).map(Some).map_err(|why| StartError::NotExtended { path: self.path(), why })
    }

    /// Keeps this checkpoint of a log that extends what was known.
    pub(super) fn keep(&mut self, newest: &Published, _shown: &Continuity) -> Result<(), StartError> {
        let kept = self.state.write(CHECKPOINT, newest.note.as_bytes());
        kept.map_err(|source| StartError::Memory { path: self.path(), source })?;
        self.size = newest.size;
        self.lag.ends();
        Ok(())
    }

    /// Keeps which record is the operator's newest decision; the record itself says what it overrides.
    pub(super) fn keep_decision(&self, sequence: u64) -> Result<(), StartError> {
        let failed = |source| StartError::Memory { path: self.state.path(ADOPTED), source };
        self.state.write(ADOPTED, sequence.to_string().as_bytes()).map_err(failed)?;
        self.state.remove(REFUSED).map_err(failed)
    }

    /// The memory of a gateway that was refused last, if any was.
    pub(super) fn refused(&self) -> Result<Option<Vec<u8>>, StartError> {
        let failed = |source| StartError::Memory { path: self.state.path(REFUSED), source };
        self.state.read(REFUSED).map_err(failed)
    }

    /// Keeps what a gateway showed that a key of this log has signed and the log does not extend: `audit adopt` has to
    /// name it, and may not read the gateway's state.
    fn keep_refused(&self, why: &NotExtended, note: &str) {
        let verified = matches!(why, NotExtended::Shorter { .. } | NotExtended::Forked { .. });
        if verified
            && note.len() <= NOTE_MAX
            && let Err(error) = self.state.write(REFUSED, note.as_bytes())
        {
            tracing::warn!(%error, "the checkpoint of the gateway that was refused was not kept");
        }
    }

    /// The number of the record in which the operator has decided that the log goes on although it does not extend this
    /// checkpoint.
    fn adopted(&self, log: &Log<Ticket>, note: &str) -> Option<u64> {
        let sequence: u64 = String::from_utf8(self.state.read(ADOPTED).ok()??).ok()?.parse().ok()?;
        let record = log.published().record(sequence).ok()?;
        let view = RecordView::parse(&record).ok()?;
        let sha256 = Digest(crate::jose::sha256(note.as_bytes()));
        let named = view.known.iter().any(|known| known.checkpoint.sha256 == sha256);
        (Event::LogAdopted.is(&view.event) && view.seq == sequence && named).then_some(sequence)
    }

    /// Keeps the newest checkpoint, if it is newer; to be called again and again. A failure is logged once, and shows as
    /// [`Self::lag`]: an older memory is still extended, but shows less and less.
    pub(super) fn follow(&mut self, log: &Log<Ticket>) {
        let (Some(newest), Some(shown)) = (log.newest(), log.continuity()) else { return };
        if newest.size <= self.size {
            return;
        }
        self.lag.begins();
        match self.keep(&newest, shown) {
            Ok(()) if std::mem::take(&mut self.failing) => {
                tracing::info!("the signer's memory of the log is written again");
            }
            Err(error) if !std::mem::replace(&mut self.failing, true) => {
                tracing::error!(%error, "the newest checkpoint was not kept; trying every second");
            }
            _ => {}
        }
    }
}

/// What a gateway is shown beside the newest checkpoint.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Basis {
    /// It keeps nothing yet.
    Nothing,
    /// The log extends the checkpoint over so many records that it keeps.
    Extended(u64),
    /// The record with this number overrides what it keeps.
    Adopted(u64),
}

/// Lets checkpoints be signed if the log extends what is known of it: what the gateway kept, else what the signer's own
/// memory has shown (`own`). A log that does not extend what the gateway kept signs nothing, whatever else is known,
/// unless the operator has decided so in a record that names exactly this memory.
pub(super) fn confirm(
    log: &Log<Ticket>,
    own: &Mutex<Option<Continuity>>,
    memory: &Memory,
    kept: Option<&str>,
) -> Result<Basis, Refused> {
    let own = || own.lock().unwrap_or_else(PoisonError::into_inner).take();
    let (shown, basis) = match kept.map(|note| (note, log.compare(note.as_bytes()))) {
        None => (own(), Basis::Nothing),
        Some((note, Ok(shown))) => {
            let size = Checkpoint::from_note_unverified(note.as_bytes()).map_or(0, |kept| kept.size);
            (Some(shown), Basis::Extended(size))
        }
        Some((note, Err(why))) => match memory.adopted(log, note) {
            Some(record) if why.is_rollback() => (own(), Basis::Adopted(record)),
            _ => {
                memory.keep_refused(&why, note);
                return Err(not_extended(&why));
            }
        },
    };
    if let Some(shown) = shown {
        log.sign_checkpoints(shown);
    }
    if log.continuity().is_some() { Ok(basis) } else { Err(unknown(memory)) }
}

/// The newest checkpoint, with what shows a gateway that it goes on from there.
pub(super) fn shown(
    log: &Log<Ticket>,
    newest: &Published,
    basis: &Basis,
) -> Result<ShownCheckpoint, TileError> {
    let tiles = log.published();
    let digests = |hashes: Vec<Hash>| hashes.into_iter().map(Digest).collect();
    let proof = match basis {
        Basis::Extended(kept) => digests(tiles.consistency_proof(*kept, newest.size)?),
        Basis::Nothing | Basis::Adopted(_) => Vec::new(),
    };
    let adopted = match basis {
        Basis::Adopted(sequence) => Some(Adopted {
            record: String::from_utf8_lossy(&tiles.record(*sequence)?).into_owned(),
            proof: digests(tiles.inclusion_proof(*sequence, newest.size)?),
        }),
        _ => None,
    };
    Ok(ShownCheckpoint { note: newest.note.clone(), proof, keys: Vec::new(), adopted })
}

fn not_extended(why: &NotExtended) -> Refused {
    let reason = format!(
        "the checkpoint that the gateway kept: {why}; restore the newest copy of the log, or stop the service and decide \
         with `chancery audit adopt --config FILE --reason TEXT` that this log goes on"
    );
    Refused { reason, why: if why.is_rollback() { Why::RolledBack } else { Why::Mismatch } }
}

fn unknown(memory: &Memory) -> Refused {
    let reason = format!(
        "neither the gateway's state nor {} remembers a checkpoint of this log, so nothing shows that none of it is \
         missing: restore one of them, or stop the service and decide with \
         `chancery audit adopt --config FILE --reason TEXT` that this log goes on",
        memory.path().display()
    );
    Refused { reason, why: Why::Unknown }
}
