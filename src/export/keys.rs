//! `keys.json`: the keys that verify a bundle, each bound to its key record in the log.

use super::facts::Facts;
use super::{Finding, KEYS, Kind};
use crate::audit::note::{CHECKPOINT_PURPOSE, VerifierKey};
use crate::jose::{Algorithm, Jwk, PublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The keys of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyFile {
    /// Keys of checkpoints, each as `name+id+base64` (C2SP `signed-note`).
    pub log_keys: Vec<String>,
    /// Every key with a key record in the log, in the order of those records.
    pub signing_keys: Vec<SigningKey>,
}

/// A public key with its purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKey {
    /// The key; its `kid` is the RFC 7638 thumbprint.
    #[serde(flatten)]
    pub jwk: Jwk,
    /// Its purpose, as in the configuration.
    pub purpose: String,
}

impl KeyFile {
    /// The only encoding of the file.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Reads the file; refuses every encoding other than [`KeyFile::encode`]'s.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Finding> {
        let malformed = |why: String| Finding::new(Kind::KeysMalformed, why).at(KEYS);
        let file: Self =
            serde_json::from_slice(bytes).map_err(|why| malformed(format!("no key file: {why}")))?;
        if file.encode() != bytes {
            return Err(malformed("not in the form in which exports write it".to_owned()));
        }
        Ok(file)
    }

    pub(super) fn verifier_keys(&self) -> Result<Vec<VerifierKey>, Finding> {
        let read = |key: &String| {
            VerifierKey::parse(key).map_err(|why| Finding::new(Kind::KeysMalformed, why.to_string()).at(KEYS))
        };
        self.log_keys.iter().map(read).collect()
    }
}

/// The keys from the log's key records.
#[derive(Default)]
pub(super) struct KeyBook {
    keys: Vec<(SigningKey, Vec<u8>)>,
    places: HashMap<String, usize>,
}

impl KeyBook {
    /// Enters the key of a key record; checks that the key of any other record was recorded before, unchanged.
    pub(super) fn see(&mut self, facts: &Facts) -> Result<(), Finding> {
        if let Some(spki) = &facts.spki {
            return self.record(facts, spki);
        }
        if matches!(facts.event.as_str(), "key-found" | "key-generated") {
            return Err(Finding::new(Kind::RecordMalformed, format!("a record {} has no spki", facts.event)));
        }
        let Some(kid) = &facts.kid else {
            if facts.event == "signed" {
                return Err(Finding::new(
                    Kind::RecordMalformed,
                    "a record of an answer that was signed has no kid",
                ));
            }
            return Ok(());
        };
        let Some((key, _)) = self.places.get(kid).and_then(|&place| self.keys.get(place)) else {
            let message = format!("the key {kid} has no key record before this one");
            return Err(Finding::new(Kind::KeyUnknown, message));
        };
        let said = |member: &Option<String>, recorded: &str| member.as_deref().is_none_or(|m| m == recorded);
        let algorithm = key.jwk.alg.as_deref().unwrap_or_default();
        if said(&facts.alg, algorithm) && said(&facts.purpose, &key.purpose) {
            return Ok(());
        }
        Err(Finding::new(
            Kind::KeyMismatch,
            format!(
                "the key {kid} was recorded for {algorithm} and {}, but this record says {} and {}",
                key.purpose,
                facts.alg.as_deref().unwrap_or(algorithm),
                facts.purpose.as_deref().unwrap_or(&key.purpose),
            ),
        ))
    }

    fn record(&mut self, facts: &Facts, spki: &str) -> Result<(), Finding> {
        let malformed = |why: &str| Finding::new(Kind::RecordMalformed, format!("the key record {why}"));
        let (Some(kid), Some(alg), Some(purpose)) = (&facts.kid, &facts.alg, &facts.purpose) else {
            return Err(malformed("lacks kid, alg or purpose"));
        };
        let spki = STANDARD.decode(spki).map_err(|_| malformed("has an spki that is no base64"))?;
        let algorithm: Algorithm =
            alg.parse().map_err(|_| malformed(&format!("has the unknown alg {alg}")))?;
        let key = PublicKey::from_spki(algorithm, &spki)
            .map_err(|why| malformed(&format!("has an spki, but {why}")))?;
        if key.kid() != kid {
            let message =
                format!("the key record says kid {kid}, but the thumbprint of its spki is {}", key.kid());
            return Err(Finding::new(Kind::KeyMismatch, message));
        }
        let key = (SigningKey { jwk: key.jwk().clone(), purpose: purpose.clone() }, spki);
        match self.places.get(kid).and_then(|&place| self.keys.get(place)) {
            Some(before) if *before != key => Err(Finding::new(
                Kind::KeyMismatch,
                format!("the key {kid} was recorded before with another alg or purpose"),
            )),
            Some(_) => Ok(()),
            None => {
                self.places.insert(kid.clone(), self.keys.len());
                self.keys.push(key);
                Ok(())
            }
        }
    }

    /// The keys of checkpoints of the log `origin`, in the order of their records.
    pub(super) fn log_keys(&self, origin: &str) -> Vec<VerifierKey> {
        let keys = self.keys.iter().filter(|(known, _)| known.purpose == CHECKPOINT_PURPOSE);
        // A key of another type cannot sign notes.
        keys.filter_map(|(_, spki)| VerifierKey::from_spki(origin, spki).ok()).collect()
    }

    /// The keys in the order of their records.
    pub(super) fn signing_keys(&self) -> Vec<SigningKey> {
        self.keys.iter().map(|(key, _)| key.clone()).collect()
    }

    /// Compares the key file of a bundle with the log's own key records.
    pub(super) fn compare(
        &self,
        file: &KeyFile,
        log_keys: &[VerifierKey],
        origin: &str,
    ) -> Result<(), Finding> {
        let mismatch = |message: String| Err(Finding::new(Kind::KeyMismatch, message).at(KEYS));
        let recorded = self.log_keys(origin);
        if let Some(key) = log_keys.iter().find(|key| !recorded.contains(key)) {
            return mismatch(format!(
                "the log has no key record with the purpose {CHECKPOINT_PURPOSE} for {key}"
            ));
        }
        if recorded != log_keys {
            return mismatch(format!(
                "expected the {} keys of checkpoints that the log records, in that order, found {}",
                recorded.len(),
                log_keys.len()
            ));
        }
        let name = |key: &SigningKey| key.jwk.kid.clone().unwrap_or_default();
        for (place, key) in file.signing_keys.iter().enumerate() {
            match self.keys.get(place) {
                Some((recorded, _)) if recorded == key => (),
                Some((recorded, _)) if name(recorded) == name(key) => {
                    return mismatch(format!("the key {} is not as its key record says", name(key)));
                }
                _ => {
                    let message =
                        format!("the key {}, number {place}, is not the key of that key record", name(key));
                    return mismatch(message);
                }
            }
        }
        match self.keys.get(file.signing_keys.len()) {
            Some((missing, _)) => {
                mismatch(format!("the key {} has a key record but is missing here", name(missing)))
            }
            None => Ok(()),
        }
    }
}
