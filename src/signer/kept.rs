//! What is remembered of the log outside its directory: the checkpoint that the gateway keeps, and the signer's own in
//! its state directory. Either shows that nothing of the log is missing; one that the log does not extend shows that it
//! was rolled back with all its files.

use super::start::StartError;
use super::state::StateDirectory;
use super::worker::Ticket;
use crate::audit::{Continuity, Log, NotExtended, Published};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Name of the signer's memory in its state directory: a signed note.
const CHECKPOINT: &str = "checkpoint";

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
}

impl Memory {
    /// Nothing is read or written yet.
    pub(super) const fn of(state: StateDirectory) -> Self {
        Self { state, size: 0, failing: false }
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
        Ok(())
    }

    /// Keeps the newest checkpoint, if it is newer. A failure is told once: an older memory is still extended.
    pub(super) fn follow(&mut self, log: &Log<Ticket>) {
        let (Some(newest), Some(shown)) = (log.newest(), log.continuity()) else { return };
        if newest.size <= self.size {
            return;
        }
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

/// Lets checkpoints be signed if the log extends what is known of it: what the gateway kept, else what the signer's own
/// memory has shown (`own`). A log that does not extend what the gateway kept signs nothing, whatever else is known.
pub(super) fn confirm(
    log: &Log<Ticket>,
    own: &Mutex<Option<Continuity>>,
    memory: &Memory,
    kept: Option<&str>,
) -> Result<(), Refused> {
    let shown = match kept {
        Some(note) => Some(log.compare(note.as_bytes()).map_err(|why| not_extended(&why))?),
        None => own.lock().unwrap_or_else(PoisonError::into_inner).take(),
    };
    if let Some(shown) = shown {
        log.sign_checkpoints(shown);
    }
    if log.continuity().is_some() { Ok(()) } else { Err(unknown(memory)) }
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
