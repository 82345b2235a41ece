//! The gateway's memory of the signer's log: its newest checkpoint, and the rules for replacing it.
//!
//! An attacker in the signer can sign any checkpoint, but must not make the gateway forget the one that it holds. So a
//! new one replaces it only with the signature of a pinned key and a consistency proof from the old tree. The only
//! other way is the operator's recorded decision (`audit adopt`), which names the memory that it overrides; the gateway
//! keeps the overridden one.

mod lag;
mod shown;
#[cfg(test)]
mod tests;

pub use lag::Lag;
pub use shown::{Adopted, ShownCheckpoint};

use crate::audit::note::{Checkpoint, NoteError, VerifierKey};
use crate::audit::tree::{leaf_hash, verify_consistency, verify_inclusion};
use crate::audit::{Digest, Event, Outcome, RecordView};
use crate::sha256::sha256;
use tokio::sync::watch;

/// Limit of keys of one log.
const KEYS_MAX: usize = 100;

/// The gateway's memory of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogMemory {
    origin: String,
    /// The newest accepted checkpoint, a signed note; empty before the first.
    note: String,
    /// The pinned keys: those of the first contact, and those that signed a checkpoint together with a pinned one.
    keys: Vec<VerifierKey>,
    /// Checkpoints that an operator's decision overrode since the start, each with the record of the decision.
    replaced: Vec<(String, String)>,
}

/// Why a checkpoint is refused. The memory stays unchanged.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Distrust {
    /// The memory itself cannot be read.
    #[error(
        "what this gateway keeps of the log {origin} is not readable: {what}; restore its state from a copy"
    )]
    Memory {
        /// The log.
        origin: String,
        /// The defect.
        what: String,
    },
    /// A malformed verifier key.
    #[error("a key of the log cannot be read: {0}")]
    Key(String),
    /// No pinned key signed it.
    #[error(
        "the signer's checkpoint is not believed: {0}. A new checkpoint key is believed once it signs together with \
         the one before it: keep the generation before in the token until the gateway has seen both"
    )]
    Note(#[from] NoteError),
    /// It is of another log.
    #[error("the signer's checkpoint is of the log {0:?}")]
    Origin(String),
    /// No proof shows that it extends the stored one.
    #[error(
        "the signer's checkpoint over {found} records does not extend the one over {kept} that this gateway keeps: the \
         log was rolled back or changed, or the signer is not itself; the gateway keeps its own"
    )]
    NotExtended {
        /// Size of the stored checkpoint.
        kept: u64,
        /// Size of the refused checkpoint.
        found: u64,
    },
}

impl LogMemory {
    /// From the database: the newest note and the keys, one on each line; both empty at first.
    pub fn new(origin: &str, note: String, keys: &str) -> Result<Self, Distrust> {
        let wrong = |what: String| Distrust::Memory { origin: origin.to_owned(), what };
        let keys = keys.lines().map(VerifierKey::parse).collect::<Result<_, _>>();
        let keys = keys.map_err(|e| wrong(e.to_string()))?;
        Ok(Self { origin: origin.to_owned(), note, keys, replaced: Vec::new() })
    }

    /// The newest checkpoint.
    pub fn note(&self) -> &str {
        &self.note
    }

    /// The keys, one on each line.
    pub fn keys(&self) -> String {
        self.keys.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    /// Notes that an operator's decision overrode since the start, each with the record of the decision.
    pub fn replaced(&self) -> &[(String, String)] {
        &self.replaced
    }

    /// Replaces the stored checkpoint with a newer one, if it is acceptable.
    pub(crate) fn follow(&mut self, shown: &ShownCheckpoint) -> Result<(), Distrust> {
        let announced = self.announced(&shown.keys)?;
        let known = self.known(&announced, shown);
        let new = VerifierKey::open(&known, shown.note.as_bytes())?;
        if new.origin != self.origin {
            return Err(Distrust::Origin(new.origin));
        }
        if let Some(kept) = self.kept()? {
            let proof: Vec<_> = shown.proof.iter().map(|digest| digest.0).collect();
            if !verify_consistency(kept.size, &kept.root, new.size, &new.root, &proof) {
                let decision = shown.adopted.as_ref().filter(|adopted| self.is_decided(adopted, &new));
                let Some(adopted) = decision else {
                    return Err(Distrust::NotExtended { kept: kept.size, found: new.size });
                };
                self.replace(&kept, &new, &adopted.record);
            }
        }
        self.keys = known;
        for key in announced {
            if !self.keys.contains(&key) && signed(&key, &shown.note) {
                tracing::info!(key = %key.label(), "a checkpoint key that a known one vouches for is believed from now on");
                self.keys.push(key);
            }
        }
        self.note.clone_from(&shown.note);
        Ok(())
    }

    fn kept(&self) -> Result<Option<Checkpoint>, Distrust> {
        if self.note.is_empty() {
            return Ok(None);
        }
        let read = Checkpoint::from_note_unverified(self.note.as_bytes());
        read.map(Some).map_err(|e| Distrust::Memory { origin: self.origin.clone(), what: e.to_string() })
    }

    fn announced(&self, keys: &[String]) -> Result<Vec<VerifierKey>, Distrust> {
        let keys = keys.iter().take(KEYS_MAX).map(|key| VerifierKey::parse(key));
        let keys = keys.collect::<Result<Vec<_>, _>>().map_err(|e| Distrust::Key(e.to_string()))?;
        Ok(keys.into_iter().filter(|key| key.name() == self.origin).collect())
    }

    /// The keys to verify with: the pinned ones; at the first contact those that signed the shown checkpoint; with a
    /// memory of an earlier version, which has no keys, those that signed its checkpoint.
    fn known(&self, announced: &[VerifierKey], shown: &ShownCheckpoint) -> Vec<VerifierKey> {
        if !self.keys.is_empty() {
            return self.keys.clone();
        }
        let basis = if self.note.is_empty() { &shown.note } else { &self.note };
        announced.iter().filter(|key| signed(key, basis)).cloned().collect()
    }

    /// Whether the record is the operator's decision, lies under the checkpoint, and names the stored memory.
    fn is_decided(&self, adopted: &Adopted, new: &Checkpoint) -> bool {
        let Ok(view) = RecordView::parse(adopted.record.as_bytes()) else { return false };
        let proof: Vec<_> = adopted.proof.iter().map(|digest| digest.0).collect();
        let mine = Digest(sha256(self.note.as_bytes()));
        view.origin == self.origin
            && Event::LogAdopted.is(&view.event)
            && Outcome::Success.is(&view.outcome)
            && view.known.iter().any(|known| known.checkpoint.sha256 == mine)
            && verify_inclusion(view.seq, new.size, &leaf_hash(adopted.record.as_bytes()), &proof, &new.root)
    }

    fn replace(&mut self, kept: &Checkpoint, new: &Checkpoint, record: &str) {
        let (reason, operator) = match RecordView::parse(record.as_bytes()) {
            Ok(view) => {
                (view.reason.unwrap_or_default().into_owned(), view.operator.unwrap_or_default().into_owned())
            }
            Err(_) => (String::new(), String::new()),
        };
        tracing::warn!(
            kept = kept.size,
            new = new.size,
            reason,
            operator,
            "the gateway's memory of the log is replaced on the operator's decision; the one before stays in the state"
        );
        self.replaced.push((self.note.clone(), record.to_owned()));
    }
}

/// As [`LogMemory::follow`], for the memory that the gateway's tasks share.
pub(crate) fn follow(memory: &watch::Sender<LogMemory>, shown: &ShownCheckpoint) -> Result<(), Distrust> {
    let mut outcome = Ok(());
    memory.send_if_modified(|memory| {
        outcome = memory.follow(shown);
        outcome.is_ok()
    });
    outcome.inspect_err(|why| tracing::error!(%why, "a checkpoint of the signer is not believed"))
}

fn signed(key: &VerifierKey, note: &str) -> bool {
    VerifierKey::open(std::slice::from_ref(key), note.as_bytes()).is_ok()
}
