//! The log while no signer runs, opened without the token: a command appends records that no checkpoint covers before
//! the next start, and signs nothing.

use super::checkpoint_key::{known_log_keys, log_keys_path};
use super::kept::Memory;
use super::known::KnownKeys;
use super::owner::AsOwner;
use super::record::{self, Identity};
use super::release::{Ticket, release_all};
use super::start::{StartError, identity, log_settings};
use super::state::StateDirectory;
use super::watch;
use crate::audit::note::Checkpoint;
use crate::audit::{
    Adoption, CheckpointRef, Digest, Event, Handlers, Known, Log, LogError, LogLock, Published, Recovery,
};
use crate::config::Config;
use std::sync::Arc;

/// An open log that signs nothing.
pub struct Offline {
    pub(super) log: Log<Ticket>,
    identity: Identity,
    memory: Memory,
    state: StateDirectory,
    // Dropped last: the log's threads still write.
    _owner: AsOwner,
}

/// A checkpoint outside the log, compared with the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Its owner and the checkpoint.
    pub known: Known,
    /// Why the log does not extend it, if so.
    pub standing: Result<(), String>,
}

/// Opens a log that signs nothing. The next start compares it with the gateway's checkpoint.
pub(super) fn open_without_token(
    config: &Config,
    lock: LogLock,
) -> Result<(Log<Ticket>, Recovery), StartError> {
    let handlers = Handlers { on_durable: Box::new(release_all), on_failure: Box::new(|_| ()) };
    let sign = Box::new(|_: &str| Err("the token is not open".to_owned()));
    Ok(Log::open(lock, &known_log_keys(&log_keys_path(config)), sign, handlers)?)
}

impl Offline {
    /// Opens the log, which no other process may have open.
    pub fn open(config: &Config) -> Result<Self, StartError> {
        let identity = identity(config)?;
        let directory = &config.audit.directory;
        let owner =
            AsOwner::of(directory).map_err(|error| StartError::State { path: directory.clone(), error })?;
        let lock = LogLock::take(log_settings(config))?;
        let (log, _) = open_without_token(config, lock)?;
        let state = StateDirectory::of(config);
        Ok(Self { log, identity, memory: Memory::of(state.clone()), state, _owner: owner })
    }

    /// Records an export; returns the number of the record.
    pub fn record_export(&self, directory: &str, operator: &str) -> Result<u64, StartError> {
        self.record_copy(Event::Export, directory, operator)
    }

    /// Records a backup; returns the number of the record.
    pub fn record_backup(&self, directory: &str, operator: &str) -> Result<u64, StartError> {
        self.record_copy(Event::Backup, directory, operator)
    }

    fn record_copy(&self, event: Event, directory: &str, operator: &str) -> Result<u64, StartError> {
        let entry = record::copied(event, directory, operator, &self.identity)?;
        Ok(self.log.record(entry)?.sequence())
    }

    /// Trusts the time to which the clock was set.
    pub fn accept_clock(&self, reason: &str, operator: &str) -> Result<(), String> {
        watch::accept(&self.log, reason, operator)
    }

    /// The checkpoints outside the log: the signer's, and the gateway's, from its last refusal or from the caller, which
    /// read the state.
    pub fn memories(&self, of_gateway: Option<String>) -> Result<Vec<Remembered>, StartError> {
        let mut found = Vec::new();
        if let Some(note) = self.memory.read()? {
            found.push(self.look("signer", &note));
        }
        let notes = self.memory.refused()?.into_iter().chain(of_gateway.map(String::into_bytes));
        for note in notes {
            let known = self.look("gateway", &note);
            if !found.contains(&known) {
                found.push(known);
            }
        }
        Ok(found)
    }

    fn look(&self, by: &str, note: &[u8]) -> Remembered {
        // A malformed note has no size, but a digest.
        let read = Checkpoint::from_note_unverified(note).ok();
        let (size, root) = read.map_or((0, [0; 32]), |read| (read.size, read.root));
        let sha256 = Digest(crate::sha256::sha256(note));
        let checkpoint = CheckpointRef { size, root: Digest(root), sha256 };
        let standing = self.log.compare(note).map(drop).map_err(|why| why.to_string());
        Remembered { known: Known { by: by.to_owned(), checkpoint }, standing }
    }

    /// The newest checkpoint of the log itself.
    pub fn newest(&self) -> Option<Arc<Published>> {
        self.log.newest()
    }

    /// Records the operator's decision that the log goes on although it does not extend these checkpoints; then stores
    /// the log's checkpoint as the signer's. Returns the number of the record.
    pub fn adopt(mut self, operator: &str, reason: &str, known: &[Known]) -> Result<u64, StartError> {
        let newest = self.log.newest().ok_or(LogError::Closed)?;
        let (sequence, shown) = self.log.adopt(&Adoption { operator, reason, known })?;
        // The point of no return: the decision is durable. Before it nothing has changed; after a crash behind it the
        // signer's checkpoint is unchanged, and the command can be repeated.
        self.memory.keep_decision(sequence)?;
        KnownKeys::doubt(self.state)?;
        self.memory.keep(&newest, &shown)?;
        self.log.close()?;
        Ok(sequence)
    }

    /// Closes the log.
    pub fn close(self) -> Result<(), StartError> {
        Ok(self.log.close()?)
    }
}
