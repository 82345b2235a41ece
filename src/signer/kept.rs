//! The checkpoints outside the log: the gateway's, and the signer's in its state directory. If the log extends either,
//! it is complete; if it does not, it was rolled back with all its files.

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

/// File of the signer's memory in its state directory: a signed note.
const CHECKPOINT: &str = "checkpoint";
/// File of the last checkpoint of a refused gateway.
const REFUSED: &str = "gateway-checkpoint";
/// File with the number of the record of the operator's last decision.
const ADOPTED: &str = "adopted";
/// Limit of bytes of a gateway's note; the signer's have some hundred.
const NOTE_MAX: usize = 16 << 10;

/// Why a gateway is not served, or nothing is signed.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Refused {
    /// For the operator.
    pub(super) reason: String,
    /// Kind of the refusal.
    pub(super) why: Why,
}

/// Kinds of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Gateway and signer do not match.
    Mismatch,
    /// The log does not extend the known checkpoint: signing it would fork it.
    RolledBack,
    /// No checkpoint is known: the operator has to decide.
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
    /// Size of the stored checkpoint.
    size: u64,
    failing: bool,
    lag: Lag,
}

impl Memory {
    /// Reads and writes nothing yet.
    pub(super) fn of(state: StateDirectory) -> Self {
        Self { state, size: 0, failing: false, lag: Lag::default() }
    }

    /// The time for which it has not followed the log.
    pub(super) fn lag(&self) -> Lag {
        self.lag.clone()
    }

    pub(super) fn path(&self) -> PathBuf {
        self.state.path(CHECKPOINT)
    }

    /// The note, if there is one.
    pub(super) fn read(&self) -> Result<Option<Vec<u8>>, StartError> {
        let failed = |source| StartError::Memory { path: self.path(), source };
        self.state.read(CHECKPOINT).map_err(failed)
    }

    /// Size of the note's checkpoint; `None` without a note or with a malformed one.
    pub(super) fn records(&self) -> Result<Option<u64>, StartError> {
        let read = |note: Vec<u8>| Checkpoint::from_note_unverified(&note).ok();
        Ok(self.read()?.and_then(read).map(|kept| kept.size))
    }

    /// Compares it with a log that was just opened; `None` without a memory.
    pub(super) fn compare(&self, log: &Log<Ticket>) -> Result<Option<Continuity>, StartError> {
        let Some(note) = self.read()? else { return Ok(None) };
        log.compare(&note).map(Some).map_err(|why| StartError::NotExtended { path: self.path(), why })
    }

    /// Stores this checkpoint of a log that extends the known one.
    pub(super) fn keep(&mut self, newest: &Published, _shown: &Continuity) -> Result<(), StartError> {
        let kept = self.state.write(CHECKPOINT, newest.note.as_bytes());
        kept.map_err(|source| StartError::Memory { path: self.path(), source })?;
        self.size = newest.size;
        self.lag.ends();
        Ok(())
    }

    /// Stores the number of the record of the operator's newest decision; the record names what it overrides.
    pub(super) fn keep_decision(&self, sequence: u64) -> Result<(), StartError> {
        let failed = |source| StartError::Memory { path: self.state.path(ADOPTED), source };
        self.state.write(ADOPTED, sequence.to_string().as_bytes()).map_err(failed)?;
        self.state.remove(REFUSED).map_err(failed)
    }

    /// The last checkpoint of a refused gateway, if any.
    pub(super) fn refused(&self) -> Result<Option<Vec<u8>>, StartError> {
        let failed = |source| StartError::Memory { path: self.state.path(REFUSED), source };
        self.state.read(REFUSED).map_err(failed)
    }

    /// Stores a gateway's checkpoint that a key of this log has signed and the log does not extend: `audit adopt` must
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

    /// The number of the record with the operator's decision that the log goes on although it does not extend this
    /// checkpoint.
    fn adopted(&self, log: &Log<Ticket>, note: &str) -> Option<u64> {
        let sequence: u64 = String::from_utf8(self.state.read(ADOPTED).ok()??).ok()?.parse().ok()?;
        let record = log.published().record(sequence).ok()?;
        let view = RecordView::parse(&record).ok()?;
        let sha256 = Digest(crate::sha256::sha256(note.as_bytes()));
        let named = view.known.iter().any(|known| known.checkpoint.sha256 == sha256);
        (Event::LogAdopted.is(&view.event) && view.seq == sequence && named).then_some(sequence)
    }

    /// Stores the newest checkpoint if it is newer; called repeatedly. Logs a failure once, and shows it as
    /// [`Self::lag`]: an older memory still matches, but covers fewer records.
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

/// The proof for a gateway beside the newest checkpoint.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Basis {
    /// The gateway has no checkpoint yet.
    Nothing,
    /// The log extends the checkpoint over so many records that it keeps.
    Extended(u64),
    /// The record with this number overrides the gateway's checkpoint.
    Adopted(u64),
}

/// Allows signing checkpoints if the log extends the gateway's checkpoint, or without one the signer's own (`own`). If
/// the log does not extend the gateway's, nothing is signed, unless the operator has decided so in a record that names
/// exactly this checkpoint.
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

/// The newest checkpoint, with the proof for the gateway.
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
