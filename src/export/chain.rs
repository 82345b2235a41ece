//! Checks that records are consistent with the records before them.

use super::facts::Facts;
use super::keys::KeyBook;
use super::{Finding, Kind};
use crate::audit::tiles::TileReader;
use crate::audit::tree::{Hash, Peaks};
use crate::clock::Timestamp;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// The configurations in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Configurations {
    /// The record since which they are in force.
    pub record: u64,
    /// SHA-256 of the gateway's configuration as used.
    pub gateway: Hash,
    /// SHA-256 of the signer's.
    pub signer: Hash,
}

/// State after the records so far.
pub(super) struct Chain<'a> {
    /// Tiles of the same bundle, for records that name an older checkpoint.
    reader: &'a TileReader,
    next: u64,
    last_hash: Hash,
    pub(super) keys: KeyBook,
    pub(super) first_time: Option<Timestamp>,
    pub(super) last_time: Option<Timestamp>,
    pub(super) events: BTreeMap<String, u64>,
    pub(super) configurations: Option<Configurations>,
    /// The tree of the newest checkpoint in a record, and the leaves after it.
    checkpoint: Peaks,
    after: VecDeque<Hash>,
    /// Requested digests, each with its record.
    pub(super) wanted: HashMap<Hash, Option<u64>>,
}

impl<'a> Chain<'a> {
    pub(super) fn new(reader: &'a TileReader, wanted: impl Iterator<Item = Hash>) -> Self {
        Self {
            reader,
            next: 0,
            last_hash: [0; 32],
            keys: KeyBook::default(),
            first_time: None,
            last_time: None,
            events: BTreeMap::new(),
            configurations: None,
            checkpoint: Peaks::new(),
            after: VecDeque::new(),
            wanted: wanted.map(|digest| (digest, None)).collect(),
        }
    }

    /// Checks the next record; `leaf` is its hash. The caller adds the place to a finding.
    pub(super) fn see(&mut self, facts: Facts, leaf: Hash) -> Result<(), Finding> {
        let place = self.next;
        if facts.sequence != place {
            let message = format!("expected the sequence number {place}, found {}", facts.sequence);
            return Err(Finding::new(Kind::SequenceGap, message));
        }
        if facts.prev != self.last_hash {
            let message = if place == 0 {
                "the first record has a record before it: the beginning of the log is missing".to_owned()
            } else {
                format!(
                    "prev is not the hash of record {}: that one was changed, added or removed",
                    place - 1
                )
            };
            return Err(Finding::new(Kind::LinkBroken, message));
        }
        if let Some(last) = self.last_time.filter(|&last| facts.time < last) {
            let message = format!("the time goes back from {last} to {}", facts.time);
            return Err(Finding::new(Kind::TimeBack, message));
        }
        self.keys.see(&facts)?;
        self.see_checkpoint(&facts)?;
        if facts.event == "signed" && facts.released.is_none() {
            let message = "a record of an answer that was signed has no digest of it";
            return Err(Finding::new(Kind::RecordMalformed, message));
        }
        if facts.event == "configuration-loaded" {
            let Some((gateway, signer)) = facts.configurations else {
                let message = "a record of a configuration lacks config_sha256 or signer_config_sha256";
                return Err(Finding::new(Kind::RecordMalformed, message));
            };
            self.configurations = Some(Configurations { record: place, gateway, signer });
        }
        if let Some(found) = facts.released.and_then(|digest| self.wanted.get_mut(&digest)) {
            found.get_or_insert(place);
        }
        self.first_time.get_or_insert(facts.time);
        self.last_time = Some(facts.time);
        match self.events.get_mut(&facts.event) {
            Some(count) => *count += 1,
            None => drop(self.events.insert(facts.event, 1)),
        }
        self.after.push_back(leaf);
        self.last_hash = leaf;
        self.next += 1;
        Ok(())
    }

    /// A checkpoint in a record must match this tree; signed checkpoints never get smaller.
    fn see_checkpoint(&mut self, facts: &Facts) -> Result<(), Finding> {
        let wrong = |message| Err(Finding::new(Kind::RecordedCheckpoint, message));
        let signed = facts.event == "checkpoint-signed";
        let Some((size, root)) = facts.checkpoint else {
            return if signed { wrong("it tells of a checkpoint but has none".to_owned()) } else { Ok(()) };
        };
        if size > self.next {
            return wrong(format!(
                "it names a checkpoint of {size} records, but only {} were before it",
                self.next
            ));
        }
        let computed = if signed {
            if size < self.checkpoint.size() {
                let before = self.checkpoint.size();
                return wrong(format!("a checkpoint of {size} records was signed after one of {before}"));
            }
            while self.checkpoint.size() < size
                && let Some(leaf) = self.after.pop_front()
            {
                self.checkpoint.push(leaf);
            }
            self.checkpoint.root()
        } else {
            // The tiles are compared with the records too, so a bundle passes only if this root is right.
            self.reader.root_at(size).map_err(|why| Finding::tile(&why, self.reader.directory()))?
        };
        if computed == root {
            return Ok(());
        }
        wrong(format!(
            "it names a checkpoint of {size} records with the root {}, but their root is {}",
            hex::encode(root),
            hex::encode(computed)
        ))
    }
}
