//! The keys in the token, by purpose and algorithm. The newest generation of a series signs; the earlier ones are published
//! and verified with, as long as the token holds them: tokens and answers that they signed live on.

use super::calls::Caller;
use super::content::{Typ, encoded_header};
use super::pace::Pace;
use crate::claims::Purpose;
use crate::config::{Config, KeySeries};
use crate::hsm::{ErrorClass, FindError, Hsm, HsmError, Key, KeyLabel};
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

/// One key series of the configuration: all its generations that the token holds.
struct Series {
    /// The newest generation: the only one that signs.
    signing: SigningKey,
    /// What earlier generations signed is still about: they are published and verified with. Newest first.
    earlier: Vec<Key>,
}

/// A generation in the token that is not used, because it did not pass its proof.
pub(super) struct RefusedKey {
    pub purpose: Purpose,
    pub error: FindError,
}

/// All keys of the configuration, proved.
pub(super) struct Keyring {
    series: Vec<Series>,
    refused: Vec<RefusedKey>,
}

impl Keyring {
    /// Finds every generation of each series and proves it (invariant 3).
    ///
    /// The newest one has to pass. An earlier one that the token refuses to prove is left out, since nothing else says
    /// that its public half was ever ours; what passes by itself is an error here as well.
    pub(super) fn load(config: &Config, hsm: &Hsm, caller: &Caller) -> Result<Self, KeyringError> {
        let labels = caller.run(1, || hsm.labels())?;
        let mut keyring = Self { series: Vec::with_capacity(config.keys.len()), refused: Vec::new() };
        for series in &config.keys {
            // The search for both halves, their attributes and a signature.
            let prove = |label: &KeyLabel| caller.run(2, || hsm.find(&label.to_string(), series.algorithm));
            let mut generations = find_series(&labels, series);
            let newest = generations.pop().ok_or_else(|| KeyringError::Missing { label: series.label(1) })?;
            let signing = SigningKey::new(series.purpose, prove(&newest)?);
            let mut earlier = Vec::with_capacity(generations.len());
            for label in generations.iter().rev() {
                match prove(label) {
                    Ok(key) => earlier.push(key),
                    Err(error) if error.class() == ErrorClass::Request => {
                        tracing::error!(%error, "an earlier generation of a key is not published");
                        keyring.refused.push(RefusedKey { purpose: series.purpose, error });
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            keyring.series.push(Series { signing, earlier });
        }
        Ok(keyring)
    }

    /// The key that signs for exactly this purpose and algorithm (invariant 4).
    pub(super) fn get(&self, purpose: Purpose, algorithm: Algorithm) -> Option<&SigningKey> {
        self.signing().find(|k| k.purpose == purpose && k.key.public().algorithm() == algorithm)
    }

    /// The key that signs for a purpose that has only one series.
    pub(super) fn only(&self, purpose: Purpose) -> Option<&SigningKey> {
        self.signing().find(|k| k.purpose == purpose)
    }

    /// Those that sign, in the order of the configuration.
    pub(super) fn signing(&self) -> impl Iterator<Item = &SigningKey> {
        self.series.iter().map(|series| &series.signing)
    }

    /// Earlier generations, with their purposes.
    pub(super) fn earlier(&self) -> impl Iterator<Item = (Purpose, &Key)> {
        self.series.iter().flat_map(|series| series.earlier.iter().map(|key| (series.signing.purpose, key)))
    }

    /// Every generation with its purpose, the newest of each series first.
    pub(super) fn all(&self) -> impl Iterator<Item = (Purpose, &Key)> {
        self.series.iter().flat_map(|series| {
            std::iter::once(&series.signing.key)
                .chain(&series.earlier)
                .map(|key| (series.signing.purpose, key))
        })
    }

    /// Generations that are left out.
    pub(super) fn refused(&self) -> &[RefusedKey] {
        &self.refused
    }
}

/// The generations of one series among a token's labels, oldest first.
pub(super) fn find_series(labels: &[String], series: &KeySeries) -> Vec<KeyLabel> {
    KeyLabel::series(labels.iter().map(String::as_str), series.purpose.name(), series.algorithm)
}
