//! The keys that sign checkpoints, and the register of all that ever did (invariant 7).

use super::calls::{Caller, Doing};
use super::keyring::{Keyring, KeyringError};
use super::start::StartError;
use crate::audit::SignCheckpoint;
use crate::audit::note::{VerifierKey, ecdsa_der};
use crate::claims::Purpose;
use crate::config::Config;
use crate::durable;
use crate::hsm::{Hsm, Key, SignError};
use std::path::{Path, PathBuf};

/// Path of the register: verifier keys of the log, one on each line, beside the published log. Auditors pin it; it is
/// no secret.
pub fn log_keys_path(config: &Config) -> PathBuf {
    config.audit.directory.join("published").join("log-keys")
}

/// Reads [`log_keys_path`]; empty without a file.
pub fn read_log_keys(path: &Path) -> Result<Vec<VerifierKey>, StartError> {
    let wrong = |reason: String| StartError::Register { path: path.to_owned(), reason };
    match std::fs::read_to_string(path) {
        Ok(text) => text.lines().map(|l| VerifierKey::parse(l).map_err(|e| wrong(e.to_string()))).collect(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(wrong(e.to_string())),
    }
}

/// The generations of the checkpoint key in the token, newest first. Each signs every checkpoint, so gateways and
/// auditors that pin an earlier one learn the newest from a checkpoint signed by both.
pub(super) struct CheckpointKeys(Vec<(Key, VerifierKey)>);

impl CheckpointKeys {
    pub(super) fn of(config: &Config, keys: &Keyring) -> Result<Self, StartError> {
        let own = keys.all().filter(|(purpose, _)| *purpose == Purpose::AuditCheckpoint);
        let named = own.map(|(_, key)| {
            let verifier = VerifierKey::p256(&config.audit.origin, key.public().spki());
            Ok((key.clone(), verifier.map_err(|e| StartError::NoteKey(e.to_string()))?))
        });
        let named: Vec<_> = named.collect::<Result<_, StartError>>()?;
        if named.is_empty() {
            let label = "audit-checkpoint-es256-1".to_owned();
            return Err(KeyringError::Missing { label }.into());
        }
        Ok(Self(named))
    }

    pub(super) fn verifiers(&self) -> Vec<VerifierKey> {
        self.0.iter().map(|(_, verifier)| verifier.clone()).collect()
    }

    /// Signs checkpoints in the token with its own session. `lost` is called for every failed signature.
    pub(super) fn signer(
        self,
        hsm: &Hsm,
        caller: Caller,
        lost: impl Fn(&SignError) + Send + 'static,
    ) -> Result<SignCheckpoint, StartError> {
        let mut session = hsm.session()?;
        Ok(Box::new(move |text: &str| {
            let mut lines = String::new();
            for (key, verifier) in &self.0 {
                let doing = Doing::sign(key.shared_label());
                let signed = caller.run(1, doing, || session.sign(key, text.as_bytes()));
                let raw = signed.inspect_err(&lost).map_err(|e| e.to_string())?;
                let der = ecdsa_der(&raw).ok_or("the token's ECDSA signature has no even length")?;
                lines.push_str(&verifier.signature_line(&der));
            }
            Ok(lines)
        }))
    }
}

/// The keys that may have signed the log: those in the register, and those in the token. The register is derived; the
/// log has the record of each key.
pub(super) fn likely_log_keys(path: &Path, verifiers: &[VerifierKey]) -> Vec<VerifierKey> {
    let mut keys = known_log_keys(path);
    for verifier in verifiers {
        if !keys.contains(verifier) {
            keys.push(verifier.clone());
        }
    }
    keys
}

/// The keys in the register; empty if it cannot be read.
pub(super) fn known_log_keys(path: &Path) -> Vec<VerifierKey> {
    read_log_keys(path).unwrap_or_else(|error| {
        tracing::warn!(%error, "the register of checkpoint keys cannot be read; it is made anew from the log");
        Vec::new()
    })
}

/// Writes the register of all keys that ever signed a checkpoint (invariant 7), if it differs.
pub(super) fn keep_log_keys(path: &Path, keys: &[VerifierKey]) -> Result<(), StartError> {
    let mut text = String::new();
    for key in keys {
        text.push_str(&key.to_string());
        text.push('\n');
    }
    if std::fs::read(path).is_ok_and(|found| found == text.as_bytes()) {
        return Ok(());
    }
    durable::write(path, text.as_bytes(), 0o644)
        .map_err(|e| StartError::Register { path: path.to_owned(), reason: e.to_string() })
}
