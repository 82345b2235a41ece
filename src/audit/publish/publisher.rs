//! The publisher thread: tiles, and once a second while the log grows a signed checkpoint.
//!
//! The order of one round: tiles durable → note signed → record of the checkpoint, with the note as its payload,
//! durable → note published. A crash before the record leaves a note that was never published; after it the next start
//! publishes the recorded note. So each published checkpoint has its record in the log.

use super::continuity::Continuity;
use crate::audit::error::LogError;
use crate::audit::note::{Checkpoint, Published, VerifierKey};
use crate::audit::record::commit::Digest;
use crate::audit::record::draft::{CheckpointRef, Draft};
use crate::audit::record::encoding::MEMBERS_MAX;
use crate::audit::record::entry::{Entry, Payload};
use crate::audit::record::event::{Event, Outcome};
use crate::audit::settings::SignCheckpoint;
use crate::audit::tiles::TileWriter;
use crate::audit::tree::Hash;
use crate::audit::write::shared::{Asked, Shared, UNPUBLISHED_WAKE};
use crate::audit::write::space::For;
use crate::audit::write::sync::lock;
use crate::sha256::sha256;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
/// Bytes to reserve for a note: text and a few signature lines.
const NOTE_MAX: usize = 8 * 1024;

/// Signs the checkpoint of a tree and returns the note with its record.
pub(in crate::audit) fn sign(
    _shown: &Continuity,
    origin: &str,
    size: u64,
    root: Hash,
    signer: &mut SignCheckpoint,
) -> Result<(Published, Entry), LogError> {
    let text = Checkpoint { origin: origin.to_owned(), size, root }.text();
    let lines = signer(&text).map_err(|why| LogError::Sign(why.into()))?;
    let note = format!("{text}\n{lines}");
    if note.len() > NOTE_MAX {
        return Err(LogError::Sign(
            format!("a note has at most {NOTE_MAX} bytes, found {}", note.len()).into(),
        ));
    }
    let checkpoint = CheckpointRef { size, root: Digest(root), sha256: Digest(sha256(note.as_bytes())) };
    let draft =
        Draft { checkpoint: Some(checkpoint), ..Draft::new(Event::CheckpointSigned, Outcome::Success) }
            .encode()?;
    let entry = Entry::new(draft, Payload::clear(note.clone().into_bytes()));
    Ok((Published { size, root, note }, entry))
}

pub(in crate::audit) struct Publisher<T> {
    pub(in crate::audit) shared: Arc<Shared<T>>,
    pub(in crate::audit) tiles: TileWriter,
    pub(in crate::audit) origin: String,
    pub(in crate::audit) keys: Vec<VerifierKey>,
    pub(in crate::audit) sign: SignCheckpoint,
    pub(in crate::audit) newest: Arc<Mutex<Option<Arc<Published>>>>,
    /// Records in the tiles, not of checkpoints, that no signed checkpoint covers.
    pub(in crate::audit) others: u64,
    /// Records below the last checkpoint that was signed, published or not.
    pub(in crate::audit) signed: u64,
    /// Recorded, not yet published.
    pub(in crate::audit) recorded: Option<Published>,
    /// The last attempt failed, and was told.
    pub(in crate::audit) failing: bool,
    /// Bytes pushed since the last successful write: they are in memory.
    pub(in crate::audit) unwritten: usize,
    /// Emptied buffers, swapped with the shared ones.
    pub(in crate::audit) bytes: Vec<u8>,
    pub(in crate::audit) ends: Vec<usize>,
}

impl<T> Publisher<T> {
    /// Runs until the log is closed, and then makes a last checkpoint unless the log failed.
    pub(in crate::audit) fn run(mut self) {
        let mut due = Instant::now();
        loop {
            let (asked, stop) = self.wait(due);
            let on_time = Instant::now() >= due;
            if on_time {
                due = Instant::now() + SECOND;
            }
            let round = on_time || stop || !asked.is_empty();
            let made = self.drain().and_then(|()| if round { self.round() } else { self.write() });
            if round {
                self.tell(&made);
            }
            let answer = made.and_then(|()| lock(&self.newest).clone().ok_or(LogError::Closed));
            for tell in asked {
                let _ = tell.try_send(answer.clone());
            }
            if stop {
                return;
            }
        }
    }

    /// Waits until the next round is due, a thread asks, or much waits.
    fn wait(&self, due: Instant) -> (Vec<Asked>, bool) {
        let mut waiting = lock(&self.shared.unpublished);
        loop {
            let left = due.saturating_duration_since(Instant::now());
            let much = waiting.bytes.len() > UNPUBLISHED_WAKE && self.unwritten == 0;
            if waiting.stop || !waiting.asked.is_empty() || much || left.is_zero() {
                return (std::mem::take(&mut waiting.asked), waiting.stop);
            }
            waiting =
                self.shared.publish.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Moves durable records into the tiles. When many lie there that cannot be written, the rest stays where it is, so
    /// that memory does not grow, and new requests are refused when too much does.
    fn drain(&mut self) -> Result<(), LogError> {
        if self.unwritten > UNPUBLISHED_WAKE {
            self.write()?;
        }
        let mut waiting = lock(&self.shared.unpublished);
        std::mem::swap(&mut waiting.bytes, &mut self.bytes);
        std::mem::swap(&mut waiting.ends, &mut self.ends);
        self.others += std::mem::take(&mut waiting.others);
        self.shared.waiting.store(0, Ordering::Relaxed);
        drop(waiting);
        let mut begin = 0;
        for end in self.ends.drain(..) {
            self.tiles.push(self.bytes.get(begin..end).unwrap_or_default());
            begin = end;
        }
        self.unwritten += self.bytes.len();
        self.bytes.clear();
        // One burst must not keep its memory for good.
        self.bytes.shrink_to(2 * UNPUBLISHED_WAKE);
        Ok(())
    }

    fn write(&mut self) -> Result<(), LogError> {
        if self.unwritten > 0 {
            self.tiles.write()?;
            self.unwritten = 0;
        }
        Ok(())
    }

    /// Makes and publishes a checkpoint if the log grew by more than records of checkpoints.
    fn round(&mut self) -> Result<(), LogError> {
        self.publish_recorded()?;
        let none = lock(&self.newest).is_none();
        if self.others == 0 && !none {
            return Ok(());
        }
        self.write()?;
        let (size, root) = (self.tiles.size(), self.tiles.root());
        let shared = Arc::clone(&self.shared);
        let Some(continuity) = shared.continuity.get().filter(|_| size > self.signed) else { return Ok(()) };
        // Space first: a note that cannot be recorded must not be signed.
        let space = self.shared.reserve(Entry::size_of(MEMBERS_MAX, NOTE_MAX), For::System);
        let space = space.map_err(|full| self.shared.full(full))?;
        let (published, entry) = sign(continuity, &self.origin, size, root, &mut self.sign)?;
        let expected = Checkpoint { origin: self.origin.clone(), size, root };
        match VerifierKey::open(&self.keys, published.note.as_bytes()) {
            Ok(found) if found == expected => {}
            Ok(_) => return Err(LogError::Sign("the signed note holds another text".into())),
            Err(e) => return Err(LogError::Sign(format!("the signed note does not verify: {e}").into())),
        }
        self.signed = size;
        let _receipt = self.shared.record(entry, true, Some(space))?;
        // The record is durable: from here on this checkpoint is part of the log and may be seen.
        self.others = 0;
        self.recorded = Some(published);
        self.publish_recorded()
    }

    fn publish_recorded(&mut self) -> Result<(), LogError> {
        if let Some(published) = &self.recorded {
            self.tiles.publish(published.note.as_bytes())?;
        }
        if let Some(published) = self.recorded.take() {
            *lock(&self.newest) = Some(Arc::new(published));
        }
        Ok(())
    }

    /// Tells the operator once that it fails, and once that it works again.
    fn tell(&mut self, made: &Result<(), LogError>) {
        match made {
            Ok(()) if std::mem::take(&mut self.failing) => {
                tracing::info!("audit checkpoints are published again");
            }
            Err(error) if !std::mem::replace(&mut self.failing, true) => {
                tracing::error!(%error, "no audit checkpoint was published; trying every second");
            }
            _ => {}
        }
    }
}
