//! Checks records one after the other against the chain, the tree and the signed checkpoints among them.

use super::recorded_keys::RecordedKeys;
use crate::audit::disk::frame::Frame;
use crate::audit::note::Published;
use crate::audit::note::{CHECKPOINT_PURPOSE, Checkpoint, VerifierKey};
use crate::audit::record::commit::Digest;
use crate::audit::record::event::Event;
use crate::audit::record::view::RecordView;
use crate::audit::tree::{Edge, Hash, leaf_hash};
use crate::audit::write::pen::Place;
use crate::clock::{Mark, Timestamp};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::collections::VecDeque;

/// The state after the records that were shown so far.
pub(super) struct Replay<'a> {
    origin: &'a str,
    /// Keys of checkpoints: those given, and those whose key records were shown.
    pub(in crate::audit) keys: Vec<VerifierKey>,
    pub(in crate::audit) recorded: RecordedKeys,
    pub(in crate::audit) published: Option<&'a Checkpoint>,
    prev: Hash,
    time: Timestamp,
    mark: Option<Mark>,
    seq: u64,
    /// The tree up to the last checkpoint that was checked, or up to where the replay began.
    behind: Edge,
    /// Leaf hashes after `behind`, each with whether its record is one of a checkpoint.
    leaves: VecDeque<(Hash, bool)>,
    /// The last checkpoint that the log records.
    pub(in crate::audit) checkpoint: Option<Published>,
    /// The tree at the published checkpoint, once its record was seen.
    pub(super) published_edge: Option<Edge>,
}

impl<'a> Replay<'a> {
    /// Begins at the first record.
    pub(in crate::audit) fn begin(
        origin: &'a str,
        keys: &[VerifierKey],
        published: Option<&'a Checkpoint>,
    ) -> Self {
        Self {
            origin,
            keys: keys.to_vec(),
            recorded: RecordedKeys::default(),
            published,
            prev: [0; 32],
            time: Timestamp::from_unix_nanos(0),
            mark: None,
            seq: 0,
            behind: Edge::new(),
            leaves: VecDeque::new(),
            checkpoint: None,
            published_edge: None,
        }
    }

    /// Begins at a segment's header instead: its tree and the leaf hash before it. Until a signed checkpoint confirms
    /// the tree it is only believed.
    pub(in crate::audit) fn after(&mut self, edge: Edge, prev: Hash) {
        (self.seq, self.behind, self.prev) = (edge.size(), edge, prev);
    }

    /// Checks the next record. What it says when something is wrong never quotes the record.
    pub(in crate::audit) fn record(&mut self, frame: &Frame<'_>) -> Result<(), String> {
        let seq = self.seq;
        let view = RecordView::parse_own(frame.record).map_err(|e| format!("record {seq}: {e}"))?;
        if view.seq != seq {
            return Err(format!("record {seq} calls itself {}", view.seq));
        }
        if view.origin != self.origin {
            return Err(format!("record {seq} belongs to the log {:?}", view.origin));
        }
        if view.prev.0 != self.prev {
            return Err(format!("record {seq} does not follow the record before it: another hash"));
        }
        let time = Timestamp::parse(&view.time).ok_or_else(|| format!("record {seq} has no valid time"))?;
        if time < self.time {
            return Err(format!("record {seq} is older than the record before it"));
        }
        self.mark = Some(view.mark(time));
        self.learn(&view);
        let own = is_checkpoint(&view);
        if own {
            self.check_checkpoint(&view, frame).map_err(|what| format!("record {seq}: {what}"))?;
        }
        self.time = time;
        self.prev = leaf_hash(frame.record);
        self.leaves.push_back((self.prev, own));
        self.seq += 1;
        Ok(())
    }

    /// Takes note of a key; of one of checkpoints so that no file beside the segments is needed to verify them. What it signed
    /// is believed no more than the record itself, until a checkpoint of a key that was given covers both.
    fn learn(&mut self, view: &RecordView<'_>) {
        let Some(spki) = view.spki.as_deref().and_then(|spki| STANDARD.decode(spki).ok()) else { return };
        if view.purpose.as_deref() == Some(CHECKPOINT_PURPOSE)
            && let Ok(key) = VerifierKey::from_spki(self.origin, &spki)
            && !self.keys.contains(&key)
        {
            self.keys.push(key);
        }
        self.recorded.see(view, spki);
    }

    fn check_checkpoint(&mut self, view: &RecordView<'_>, frame: &Frame<'_>) -> Result<(), String> {
        let named = view.checkpoint.ok_or("a record of a checkpoint names none")?;
        if crate::sha256::sha256(frame.payload) != named.sha256.0 {
            return Err("the note beside a checkpoint's record is another".to_owned());
        }
        let signed = VerifierKey::open(&self.keys, frame.payload)
            .map_err(|e| format!("the note of a recorded checkpoint does not verify: {e}"))?;
        if (signed.origin.as_str(), signed.size, Digest(signed.root)) != (self.origin, named.size, named.root)
        {
            return Err("the note of a recorded checkpoint says something else than its record".to_owned());
        }
        let last = self.checkpoint.as_ref().map_or(0, |c| c.size);
        if signed.size <= last || signed.size > self.seq {
            let size = signed.size;
            return Err(format!(
                "a checkpoint covers {size} records, expected more than {last}, at most {}",
                self.seq
            ));
        }
        // A checkpoint over fewer records than stand before the replay's begin cannot be compared from here.
        if signed.size >= self.behind.size() {
            self.advance(signed.size);
            if self.behind.root() != signed.root {
                return Err("the records are not those that the signed checkpoint covers".to_owned());
            }
        }
        if let Some(published) = self.published.filter(|p| p.size == signed.size) {
            if published.root != signed.root {
                return Err("the published checkpoint has another root than the recorded one".to_owned());
            }
            if self.behind.size() == signed.size {
                self.published_edge = Some(self.behind.clone());
            }
        }
        let note = String::from_utf8(frame.payload.to_vec()).map_err(|_| "a note is not UTF-8")?;
        self.checkpoint = Some(Published { size: signed.size, root: signed.root, note });
        Ok(())
    }

    fn advance(&mut self, size: u64) {
        while self.behind.size() < size {
            let Some((leaf, _)) = self.leaves.pop_front() else { return };
            self.behind.push(leaf);
        }
    }

    /// The tree over all records so far.
    pub(in crate::audit) fn edge(&self) -> Edge {
        let mut edge = self.behind.clone();
        self.leaves.iter().for_each(|(leaf, _)| edge.push(*leaf));
        edge
    }

    /// Sequence of the next record.
    pub(in crate::audit) const fn seq(&self) -> u64 {
        self.seq
    }

    pub(in crate::audit) const fn prev(&self) -> Hash {
        self.prev
    }

    /// Records, not of checkpoints, that no recorded checkpoint covers.
    pub(in crate::audit) fn uncovered(&self) -> u64 {
        self.leaves.iter().filter(|(_, own)| !own).count() as u64
    }

    /// Where the next record is written.
    pub(in crate::audit) fn place(&self, batch: u64) -> Place {
        Place { edge: self.edge(), prev: self.prev, time: self.time, mark: self.mark.clone(), batch }
    }
}

fn is_checkpoint(view: &RecordView<'_>) -> bool {
    Event::CheckpointSigned.is(&view.event)
}
