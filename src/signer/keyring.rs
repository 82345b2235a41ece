//! The keys in the token, by purpose and algorithm. The newest generation of a series signs; the earlier ones are published
//! and verified with, as long as the token holds them: tokens and answers that they signed live on.

use super::calls::{Caller, Doing};
use super::content::{Typ, encoded_header};
use super::pace::Pace;
use super::trouble::Trouble;
use super::unproved::Unproved;
use crate::claims::Purpose;
use crate::config::{Config, KeySeries};
use crate::hsm::{ErrorClass, FindError, Hsm, HsmError, Key, KeyLabel, SignError};
use crate::jose::Algorithm;
use std::path::PathBuf;

/// Why the keys of the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// A series without a key.
    #[error(
        "the token has no key {label}; if it was there before, look at the token or restore the key from its backup (a key that is made anew is another key); if the series is new, run: chancery key generate"
    )]
    Missing {
        /// Label of the first generation.
        label: String,
    },
    /// A key that an earlier run made or refused, and that no run has proved.
    #[error(
        "the key {label} has not passed its proof ({why}); delete both its halves with the token's own tool and run chancery key generate, or, if you know that it is sound, take it out of {}",
        file.display()
    )]
    Unproved {
        /// Its label.
        label: String,
        /// What the earlier run said.
        why: String,
        /// Where that stands.
        file: PathBuf,
    },
    /// A key that is not as it must be.
    #[error(transparent)]
    Find(#[from] FindError),
    /// The token.
    #[error(transparent)]
    Token(#[from] HsmError),
}

impl KeyringError {
    /// Whether the token's state may be another one after a while.
    const fn may_pass(&self) -> bool {
        match self {
            Self::Missing { .. } | Self::Unproved { .. } => false,
            Self::Find(error) => !matches!(error.class(), ErrorClass::Request),
            Self::Token(error) => !matches!(error.class(), ErrorClass::Request),
        }
    }
}

/// One key with its one purpose.
pub(super) struct SigningKey {
    purpose: Purpose,
    key: Key,
    header: String,
    pace: Pace,
    trouble: Trouble,
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
        Self { purpose, key, header, pace: Pace::default(), trouble: Trouble::default() }
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

    /// Whether its signatures fail.
    pub(super) const fn trouble(&self) -> &Trouble {
        &self.trouble
    }

    /// Notes how a signature came out, and passes it on.
    pub(super) fn note<T>(&self, signed: Result<T, SignError>) -> Result<T, SignError> {
        match &signed {
            Ok(_) => self.trouble.signed(),
            Err(error) => self.trouble.came(self.key.label(), error),
        }
        signed
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
    pub error: KeyringError,
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
    pub(super) fn load(
        config: &Config,
        hsm: &Hsm,
        caller: &Caller,
        unproved: &Unproved,
    ) -> Result<Self, KeyringError> {
        let labels = caller.run(1, Doing::call("C_FindObjects"), || hsm.labels())?;
        let mut keyring = Self { series: Vec::with_capacity(config.keys.len()), refused: Vec::new() };
        for series in &config.keys {
            let prove = |label: &KeyLabel| find_key(hsm, caller, unproved, label);
            let mut generations = find_series(&labels, series);
            let newest = generations.pop().ok_or_else(|| KeyringError::Missing { label: series.label(1) })?;
            let signing = SigningKey::new(series.purpose, prove(&newest)?);
            let mut earlier = Vec::with_capacity(generations.len());
            for label in generations.iter().rev() {
                match prove(label) {
                    Ok(key) => earlier.push(key),
                    Err(error) if !error.may_pass() => {
                        tracing::error!(%error, "an earlier generation of a key is not published");
                        keyring.refused.push(RefusedKey { purpose: series.purpose, error });
                    }
                    Err(error) => return Err(error),
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

/// The key with this label, proved, unless an earlier run could not prove it.
pub(super) fn find_key(
    hsm: &Hsm,
    caller: &Caller,
    unproved: &Unproved,
    label: &KeyLabel,
) -> Result<Key, KeyringError> {
    let text = label.to_string();
    if let Some(why) = unproved.why(&text) {
        return Err(KeyringError::Unproved { why: why.to_owned(), label: text, file: unproved.path() });
    }
    // The search for both halves, their attributes and a signature.
    let doing = Doing::with("C_FindObjects, C_GetAttributeValue or C_Sign", &text.as_str().into());
    Ok(caller.run(2, doing, || hsm.find(&text, label.algorithm()))?)
}

/// The generations of one series among a token's labels, oldest first.
pub(super) fn find_series(labels: &[String], series: &KeySeries) -> Vec<KeyLabel> {
    KeyLabel::series(labels.iter().map(String::as_str), series.purpose.name(), series.algorithm)
}
