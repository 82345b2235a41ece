//! Every generation of a key that was ever used (invariant 7). The token alone is no proof of completeness: a replica
//! may be behind, an older copy may have been restored, a search may briefly find nothing.
//!
//! The log's key records are the source. The file `keys-known` in the signer's state directory has them too, so that a
//! start need not read the whole log: a key is entered before its first record, and so before its first use. A start
//! reads the log from the signer's checkpoint on (the file `checkpoint` beside this one, which is no newer), and from
//! its beginning if either file is missing.

use super::keyring::{Keyring, KeyringError};
use super::start::StartError;
use super::state::StateDirectory;
use crate::audit::RecordedKey;
use crate::claims::Purpose;
use crate::config::KeySeries;
use crate::hsm::{Key, KeyLabel};
use crate::jose::PublicKey;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::io;

/// Name of the file: one JSON object.
const FILE: &str = "keys-known";

/// A generation by its public key.
#[derive(Clone)]
pub(super) struct KnownKey {
    pub(super) purpose: Purpose,
    pub(super) label: KeyLabel,
    pub(super) public: PublicKey,
    /// When it was first used (RFC 3339); `None` if it never signed for callers.
    activated: Option<String>,
}

/// See the file.
pub(super) struct KnownKeys {
    state: StateDirectory,
    /// Whether the file has everything in the log up to the signer's checkpoint.
    complete: bool,
    /// If two keys had one label, the last one has it.
    keys: Vec<KnownKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    complete: bool,
    keys: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    label: String,
    spki: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    activated: Option<String>,
}

impl KnownKeys {
    pub(super) fn read(state: StateDirectory) -> Result<Self, StartError> {
        let path = state.path(FILE);
        let mut known = Self { state, complete: false, keys: Vec::new() };
        let wrong = |error: io::Error| {
            let what = format!("{error}; remove it: the next start makes it again from the whole log");
            StartError::State { path: path.clone(), error: io::Error::new(error.kind(), what) }
        };
        let Some(bytes) = known.state.read(FILE).map_err(wrong)? else { return Ok(known) };
        let file: File = serde_json::from_slice(&bytes).map_err(|error| wrong(error.into()))?;
        known.complete = file.complete;
        for Entry { label, spki, activated } in file.keys {
            let spki = STANDARD.decode(spki).map_err(|error| wrong(io::Error::other(error)))?;
            known.learn(RecordedKey { label, spki, activated });
        }
        Ok(known)
    }

    /// The record from which the log must be read, given the size of the signer's checkpoint.
    pub(super) fn missing_from(&self, remembered: Option<u64>) -> u64 {
        if self.complete { remembered.unwrap_or(0) } else { 0 }
    }

    /// Enters a key record of the log. Skips a label or public key that this program cannot read and so does not use.
    pub(super) fn learn(&mut self, RecordedKey { label, spki, activated }: RecordedKey) {
        let Ok(label) = label.parse::<KeyLabel>() else { return };
        let Some(purpose) = Purpose::ALL.into_iter().find(|purpose| purpose.name() == label.purpose()) else {
            return;
        };
        if let Ok(public) = PublicKey::from_spki(label.algorithm(), &spki) {
            self.add(KnownKey { purpose, label, public, activated });
        }
    }

    fn add(&mut self, new: KnownKey) {
        let same = |known: &&mut KnownKey| known.label == new.label && known.public.kid() == new.public.kid();
        match self.keys.iter_mut().find(same) {
            Some(known) => known.activated = known.activated.take().or(new.activated),
            None => self.keys.push(new),
        }
    }

    /// Enters a key of the token; `activated` is the current time if it will sign.
    pub(super) fn enter(&mut self, key: &Key, activated: Option<&str>) {
        let (label, spki) = (key.label().to_owned(), key.public().spki().to_vec());
        self.learn(RecordedKey { label, spki, activated: activated.map(str::to_owned) });
    }

    /// Stores them durably if they changed.
    pub(super) fn keep(&mut self) -> Result<(), StartError> {
        self.complete = true;
        self.write()
    }

    /// Marks the file as incomplete before another history of the log, as after `audit adopt`, is read.
    pub(super) fn doubt(state: StateDirectory) -> Result<(), StartError> {
        Self { complete: false, ..Self::read(state)? }.write()
    }

    fn write(&self) -> Result<(), StartError> {
        let entry = |known: &KnownKey| Entry {
            label: known.label.to_string(),
            spki: STANDARD.encode(known.public.spki()),
            activated: known.activated.clone(),
        };
        let file = File { complete: self.complete, keys: self.keys.iter().map(entry).collect() };
        let failed = |error| StartError::State { path: self.state.path(FILE), error };
        let bytes = serde_json::to_vec_pretty(&file).map_err(|error| failed(error.into()))?;
        if self.state.read(FILE).is_ok_and(|before| before.as_deref() == Some(&bytes)) {
            return Ok(());
        }
        self.state.write(FILE, &bytes).map_err(failed)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &KnownKey> {
        self.keys.iter()
    }

    /// Those of one series.
    pub(super) fn of(&self, series: &KeySeries) -> impl Iterator<Item = &KnownKey> {
        let (purpose, algorithm) = (series.purpose, series.algorithm);
        self.iter().filter(move |known| known.purpose == purpose && known.label.algorithm() == algorithm)
    }

    /// The generation that signed last must exist: an earlier one never signs in its place. `newest` is the newest one
    /// of the series in the token.
    pub(super) fn check_newest(
        &self,
        series: &KeySeries,
        newest: Option<&KeyLabel>,
    ) -> Result<(), KeyringError> {
        let activated = self.of(series).filter_map(|known| Some((&known.label, known.activated.as_ref()?)));
        match activated.max_by_key(|(label, _)| *label) {
            Some((label, since)) if newest.is_none_or(|newest| newest < label) => Err(KeyringError::Lost {
                label: label.to_string(),
                since: since.clone(),
                next: label.next().to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// A key under a known label must be the known one.
    pub(super) fn check_same(&self, key: &Key) -> Result<(), KeyringError> {
        let known = self.iter().filter(|known| known.label.to_string() == key.label()).last();
        match known.filter(|known| known.public.kid() != key.public().kid()) {
            Some(known) => Err(KeyringError::Replaced {
                label: key.label().to_owned(),
                expected: known.public.kid().to_owned(),
                found: key.public().kid().to_owned(),
            }),
            None => Ok(()),
        }
    }

    pub(super) fn enter_all(&mut self, keys: &Keyring, now: &str) {
        for key in keys.signing() {
            self.enter(key.key(), Some(now));
        }
        for (_, key) in keys.earlier() {
            self.enter(key, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::Algorithm;
    use crate::jose::testing::TestKey;

    fn recorded(label: &str, activated: Option<&str>) -> RecordedKey {
        let spki = TestKey::new(Algorithm::ES256).public().spki().to_vec();
        RecordedKey { label: label.to_owned(), spki, activated: activated.map(str::to_owned) }
    }

    #[test]
    fn keys_come_back_as_they_were_kept_and_are_completed_after_a_decision_about_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let state = || StateDirectory::at(dir.path().join("signer"));
        let mut known = KnownKeys::read(state()).unwrap();
        assert_eq!(known.missing_from(Some(7)), 0, "without the file the whole log is read");
        let (first, second) = (recorded("metadata-es256-1", None), recorded("metadata-es256-2", Some("t1")));
        for key in [&first, &second, &RecordedKey { activated: Some("t2".to_owned()), ..second.clone() }] {
            known.learn(key.clone());
        }
        known.learn(recorded("something else", Some("t3")));
        known.keep().unwrap();
        let known = KnownKeys::read(state()).unwrap();
        let kept: Vec<_> = known.iter().map(|key| (key.public.spki(), key.activated.as_deref())).collect();
        assert_eq!(kept, [(&*first.spki, None), (&*second.spki, Some("t1"))]);
        assert_eq!((known.missing_from(Some(7)), known.missing_from(None)), (7, 0));
        KnownKeys::doubt(state()).unwrap();
        let known = KnownKeys::read(state()).unwrap();
        assert_eq!((known.missing_from(Some(7)), known.iter().count()), (0, 2));
    }

    #[test]
    fn the_generation_that_signed_last_must_be_there_and_one_that_never_signed_need_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut known = KnownKeys::read(StateDirectory::at(dir.path().to_owned())).unwrap();
        let label = |text: &str| text.parse::<KeyLabel>().unwrap();
        let series = KeySeries { purpose: Purpose::AccessToken, algorithm: Algorithm::ES256, rsa_bits: 0 };
        assert!(known.check_newest(&series, None).is_ok(), "a new series");
        for (text, activated) in [
            ("access-token-es256-9", Some("t1")),
            ("access-token-es256-10", Some("t2")),
            ("access-token-es256-11", None),
            ("access-token-es384-12", Some("t3")),
            ("introspection-es256-13", Some("t4")),
        ] {
            known.learn(recorded(text, activated));
        }
        for missing in [None, Some("access-token-es256-1"), Some("access-token-es256-9")] {
            match known.check_newest(&series, missing.map(label).as_ref()) {
                Err(KeyringError::Lost { label, since, next }) => assert_eq!(
                    (&*label, &*since, &*next),
                    ("access-token-es256-10", "t2", "access-token-es256-11")
                ),
                other => panic!("{missing:?}: {other:?}"),
            }
        }
        for there in ["access-token-es256-10", "access-token-es256-12"] {
            assert!(known.check_newest(&series, Some(&label(there))).is_ok(), "{there}");
        }
    }
}
