//! The keys by purpose and algorithm. The newest generation of a series signs. Earlier ones are published and verified
//! with, even if the token has lost them, since their tokens and answers stay in use.

use super::calls::{Caller, Doing};
use super::content::{Typ, encoded_header};
use super::known::{KnownKey, KnownKeys};
use super::pace::Pace;
use super::trouble::Trouble;
use super::unproved::Unproved;
use crate::claims::Purpose;
use crate::config::{Config, KeySeries};
use crate::hsm::{ErrorClass, FindError, Hsm, HsmError, Key, KeyLabel, SignError};
use crate::jose::{Algorithm, PublicKey};
use std::path::PathBuf;

/// Why the configured keys cannot be used.
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
    /// The token lacks the generation that signed last.
    #[error(
        "the token has no key {label}, which has signed since {since}, and no earlier key signs in its place: look at the token (a replica may be behind), or put the key back from its backup; if it is lost for good, run: chancery key generate --after {label} (it makes {next}; what {label} signed stays verified by its public half)"
    )]
    Lost {
        /// Its label.
        label: String,
        /// When it was first activated.
        since: String,
        /// Label of the next generation.
        next: String,
    },
    /// The label of a used key names another key.
    #[error(
        "the key {label} was replaced: the token holds one with kid {found}, expected {expected}; it must not sign: delete both its halves with the token's own tool and put the key back from its backup, or give the new key the label of the next generation"
    )]
    Replaced {
        /// The label.
        label: String,
        /// `kid` that the log's records name.
        expected: String,
        /// `kid` of the key in the token.
        found: String,
    },
    /// A key that an earlier run made or refused, and that no run has proved.
    #[error(
        "the key {label} has not passed its proof ({why}); delete both its halves with the token's own tool and run chancery key generate, or, if you know that it is sound, take it out of {}",
        file.display()
    )]
    Unproved {
        /// Its label.
        label: String,
        /// The reason of the earlier run.
        why: String,
        /// File with that reason.
        file: PathBuf,
    },
    /// A key that must not be used.
    #[error(transparent)]
    Find(#[from] FindError),
    /// The token.
    #[error(transparent)]
    Token(#[from] HsmError),
}

impl KeyringError {
    /// The label of the affected key, if any.
    fn label(&self) -> Option<&str> {
        match self {
            Self::Missing { label }
            | Self::Lost { label, .. }
            | Self::Replaced { label, .. }
            | Self::Unproved { label, .. } => Some(label),
            Self::Find(error) => Some(error.label()),
            Self::Token(_) => None,
        }
    }

    /// Whether the state of the token may change by itself.
    const fn may_pass(&self) -> bool {
        match self {
            Self::Missing { .. } | Self::Lost { .. } | Self::Replaced { .. } | Self::Unproved { .. } => false,
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
            // Signs notes, not JWSs: it has no header.
            Purpose::AuditCheckpoint => String::new(),
        };
        Self { purpose, key, header, pace: Pace::default(), trouble: Trouble::default() }
    }

    pub(super) const fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// The key in the token.
    pub(super) const fn key(&self) -> &Key {
        &self.key
    }

    /// Measured durations of its signatures.
    pub(super) const fn pace(&self) -> &Pace {
        &self.pace
    }

    /// State of its failures.
    pub(super) const fn trouble(&self) -> &Trouble {
        &self.trouble
    }

    /// Notes the result of a signature, and returns it.
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
    named: KeySeries,
    /// The newest generation: the only one that signs.
    signing: SigningKey,
    /// Earlier generations, for publishing and verifying. Newest first.
    earlier: Vec<Key>,
}

/// A generation in the token that did not pass its proof.
pub(super) struct RefusedKey {
    pub purpose: Purpose,
    pub error: KeyringError,
}

/// A used generation that is not held now.
pub(super) struct RememberedKey {
    pub known: KnownKey,
    pub why: &'static str,
}

/// All configured keys, proved; and the public keys of all others that were ever used.
pub(super) struct Keyring {
    series: Vec<Series>,
    refused: Vec<RefusedKey>,
    remembered: Vec<RememberedKey>,
}

impl Keyring {
    /// Finds every generation of each series and proves it (invariant 3).
    ///
    /// The newest one must pass, and `known` must have no later one. Of an earlier one that does not pass only the
    /// known public key is used; a temporary failure is an error here as well.
    pub(super) fn load(
        config: &Config,
        hsm: &Hsm,
        caller: &Caller,
        unproved: &Unproved,
        known: &KnownKeys,
    ) -> Result<Self, KeyringError> {
        let labels = caller.run(1, Doing::call("C_FindObjects"), || hsm.labels())?;
        let series = Vec::with_capacity(config.keys.len());
        let mut keyring = Self { series, refused: Vec::new(), remembered: Vec::new() };
        for series in &config.keys {
            let prove = |label: &KeyLabel| find_key(hsm, caller, unproved, label);
            let mut generations = find_series(&labels, series);
            let newest = generations.pop();
            known.check_newest(series, newest.as_ref())?;
            let newest = newest.ok_or_else(|| KeyringError::Missing { label: series.label(1) })?;
            let signing = SigningKey::new(series.purpose, prove(&newest)?);
            let mut earlier = Vec::with_capacity(generations.len());
            for label in generations.iter().rev() {
                match prove(label) {
                    Ok(key) => earlier.push(key),
                    Err(error) if !error.may_pass() => {
                        tracing::error!(%error, "an earlier generation of a key is refused");
                        keyring.refused.push(RefusedKey { purpose: series.purpose, error });
                    }
                    Err(error) => return Err(error),
                }
            }
            keyring.series.push(Series { named: series.clone(), signing, earlier });
        }
        keyring.compare(known)?;
        Ok(keyring)
    }

    /// Compares the token's keys with the known ones. Repeated when the log has shown further keys.
    pub(super) fn compare(&mut self, known: &KnownKeys) -> Result<(), KeyringError> {
        for series in &mut self.series {
            known.check_newest(&series.named, series.signing.key.label().parse().ok().as_ref())?;
            known.check_same(&series.signing.key)?;
            let purpose = series.signing.purpose;
            series.earlier.retain(|key| match known.check_same(key) {
                Ok(()) => true,
                Err(error) => {
                    tracing::error!(%error, "an earlier generation of a key is refused");
                    self.refused.push(RefusedKey { purpose, error });
                    false
                }
            });
        }
        let held: Vec<&str> = self.all().map(|(_, key)| key.public().kid()).collect();
        let others = known.iter().filter(|known| !held.contains(&known.public.kid()));
        self.remembered =
            others.map(|known| RememberedKey { known: known.clone(), why: self.why_not(known) }).collect();
        Ok(())
    }

    /// Why a used generation is not held.
    fn why_not(&self, known: &KnownKey) -> &'static str {
        let same = |series: &Series| {
            (series.named.purpose, series.named.algorithm) == (known.purpose, known.label.algorithm())
        };
        let label = known.label.to_string();
        if !self.series.iter().any(same) {
            "no [[keys]] entry names its series"
        } else if self.refused.iter().any(|refused| refused.error.label() == Some(&label)) {
            "what the token holds under its label was refused"
        } else if self.all().any(|(_, key)| key.label() == label) {
            "another key took its label before"
        } else {
            "the token does not hold it"
        }
    }

    /// The key that signs for exactly this purpose and algorithm (invariant 4).
    pub(super) fn get(&self, purpose: Purpose, algorithm: Algorithm) -> Option<&SigningKey> {
        self.signing().find(|k| k.purpose == purpose && k.key.public().algorithm() == algorithm)
    }

    /// The key that signs for a purpose that has only one series.
    pub(super) fn only(&self, purpose: Purpose) -> Option<&SigningKey> {
        self.signing().find(|k| k.purpose == purpose)
    }

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

    pub(super) fn refused(&self) -> &[RefusedKey] {
        &self.refused
    }

    /// Generations with only the public key.
    pub(super) fn remembered(&self) -> &[RememberedKey] {
        &self.remembered
    }

    /// The public key of every key that is or was used, with its purpose.
    pub(super) fn public(&self) -> impl Iterator<Item = (Purpose, &PublicKey)> {
        let held = self.all().map(|(purpose, key)| (purpose, &**key.public()));
        held.chain(self.remembered.iter().map(|key| (key.known.purpose, &key.known.public)))
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
    // Search for both objects, their attributes, and a signature.
    let doing = Doing::with("C_FindObjects, C_GetAttributeValue or C_Sign", &text.as_str().into());
    Ok(caller.run(2, doing, || hsm.find(&text, label.algorithm()))?)
}

/// The generations of one series among a token's labels, oldest first.
pub(super) fn find_series(labels: &[String], series: &KeySeries) -> Vec<KeyLabel> {
    KeyLabel::series(labels.iter().map(String::as_str), series.purpose.name(), series.algorithm)
}
