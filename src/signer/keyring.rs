//! The keys of today, by purpose and algorithm. Which generation signs: the newest of its series in the token.

use super::calls::Caller;
use super::content::{Typ, encoded_header};
use super::pace::Pace;
use crate::claims::Purpose;
use crate::config::{Config, KeySeries};
use crate::hsm::{FindError, Hsm, HsmError, Key, KeyLabel};
use crate::jose::Algorithm;

/// Why the keys of the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// A series without a key.
    #[error("the token has no key {label}; make it with `chancery key generate`")]
    Missing {
        /// Label of the first generation.
        label: String,
    },
    /// A key that is not as it must be.
    #[error(transparent)]
    Find(#[from] FindError),
    /// The token.
    #[error(transparent)]
    Token(#[from] HsmError),
}

/// One key with its one purpose.
pub(super) struct SigningKey {
    purpose: Purpose,
    key: Key,
    header: String,
    pace: Pace,
}

impl SigningKey {
    fn new(purpose: Purpose, key: Key) -> Self {
        let header = match purpose {
            Purpose::Introspection => encoded_header(Typ::Introspection, key.public()),
            Purpose::AccessToken => encoded_header(Typ::AccessToken, key.public()),
            Purpose::Metadata => encoded_header(Typ::Metadata, key.public()),
            // Signs notes, never a JWS: it has no header.
            Purpose::AuditCheckpoint => String::new(),
        };
        Self { purpose, key, header, pace: Pace::default() }
    }

    /// What it signs.
    pub(super) const fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// The key in the token.
    pub(super) const fn key(&self) -> &Key {
        &self.key
    }

    /// How long the token takes for it.
    pub(super) const fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Its encoded JOSE header with the dot.
    pub(super) fn header(&self) -> &str {
        &self.header
    }
}

/// All keys of the configuration, proved.
pub(super) struct Keyring(Vec<SigningKey>);

impl Keyring {
    /// Finds the newest generation of each series and proves it (invariant 3).
    pub(super) fn load(config: &Config, hsm: &Hsm, caller: &Caller) -> Result<Self, KeyringError> {
        let labels = caller.run(1, || hsm.labels())?;
        let mut keys = Vec::with_capacity(config.keys.len());
        for series in &config.keys {
            let newest = find_series(&labels, series)
                .pop()
                .ok_or_else(|| KeyringError::Missing { label: series.label(1) })?;
            // The search for both halves, their attributes and a signature.
            let key = caller.run(2, || hsm.find(&newest.to_string(), series.algorithm))?;
            keys.push(SigningKey::new(series.purpose, key));
        }
        Ok(Self(keys))
    }

    /// The key for exactly this purpose and algorithm (invariant 4).
    pub(super) fn get(&self, purpose: Purpose, algorithm: Algorithm) -> Option<&SigningKey> {
        self.0.iter().find(|k| k.purpose == purpose && k.key.public().algorithm() == algorithm)
    }

    /// The first key of a purpose that has only one series.
    pub(super) fn only(&self, purpose: Purpose) -> Option<&SigningKey> {
        self.0.iter().find(|k| k.purpose == purpose)
    }

    /// All of them in the order of the configuration.
    pub(super) fn iter(&self) -> std::slice::Iter<'_, SigningKey> {
        self.0.iter()
    }
}

/// The generations of one series among a token's labels, oldest first.
pub(super) fn find_series(labels: &[String], series: &KeySeries) -> Vec<KeyLabel> {
    KeyLabel::series(labels.iter().map(String::as_str), series.purpose.name(), series.algorithm)
}
