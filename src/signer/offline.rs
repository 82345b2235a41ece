//! The log while no signer runs, without the token: what a command appends then is covered by no checkpoint before the
//! next start, and nothing is signed.

use super::checkpoint_key::{known_log_keys, log_keys_path};
use super::record::{self, Identity};
use super::start::{StartError, identity, log_settings};
use super::watch;
use super::worker::{Ticket, release_all};
use crate::audit::{Event, Handlers, Log, LogLock, Outcome};
use crate::config::Config;

/// An open log that signs nothing.
pub struct Offline {
    pub(super) log: Log<Ticket>,
    identity: Identity,
}

impl Offline {
    /// Opens the log, which no other process may have open.
    pub fn open(config: &Config) -> Result<Self, StartError> {
        let lock = LogLock::take(log_settings(config))?;
        let handlers = Handlers { on_durable: Box::new(release_all), on_failure: Box::new(|_| ()) };
        let sign = Box::new(|_: &str| Err("the token is not open".to_owned()));
        let (log, _) = Log::open(lock, &known_log_keys(&log_keys_path(config)), sign, handlers)?;
        Ok(Self { log, identity: identity(config)? })
    }

    /// Records an export; the number of the record.
    pub fn record_export(&self, directory: &str, operator: &str) -> Result<u64, StartError> {
        let entry = record::system(
            Event::Export,
            Outcome::Success,
            Some(directory),
            Some(operator),
            &self.identity,
            None,
        )?;
        Ok(self.log.record(entry)?.sequence())
    }

    /// Trusts the time to which the clock was set.
    pub fn accept_clock(&self, reason: &str, operator: &str) -> Result<(), String> {
        watch::accept(&self.log, reason, operator)
    }

    /// Closes the log.
    pub fn close(self) -> Result<(), StartError> {
        Ok(self.log.close()?)
    }
}
