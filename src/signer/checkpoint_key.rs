//! The key that signs checkpoints, and the list of those that ever did (invariant 7).

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

/// Verifier keys of the log, one on each line, beside the published log: every key that ever signed a checkpoint.
/// Auditors pin it; a copy is no secret.
pub fn log_keys_path(config: &Config) -> PathBuf {
    config.audit.directory.join("published").join("log-keys")
}

/// Reads [`log_keys_path`]; none when there is no file.
pub fn read_log_keys(path: &Path) -> Result<Vec<VerifierKey>, StartError> {
    let wrong = |reason: String| StartError::Register { path: path.to_owned(), reason };
    match std::fs::read_to_string(path) {
        Ok(text) => text.lines().map(|l| VerifierKey::parse(l).map_err(|e| wrong(e.to_string()))).collect(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(wrong(e.to_string())),
    }
}

pub(super) fn note_key(config: &Config, key: &Key) -> Result<VerifierKey, StartError> {
    VerifierKey::p256(&config.audit.origin, key.public().spki())
        .map_err(|e| StartError::NoteKey(e.to_string()))
}

/// Signs checkpoints in the token with a session of its own. `lost` hears of every signature that was not made.
pub(super) fn checkpoint_signer(
    hsm: &Hsm,
    key: &Key,
    verifier: &VerifierKey,
    caller: Caller,
    lost: impl Fn(&SignError) + Send + 'static,
) -> Result<SignCheckpoint, StartError> {
    let (mut session, key, verifier) = (hsm.session()?, key.clone(), verifier.clone());
    Ok(Box::new(move |text: &str| {
        let signed = caller.run(1, Doing::sign(key.shared_label()), || session.sign(&key, text.as_bytes()));
        let raw = signed.inspect_err(&lost).map_err(|e| e.to_string())?;
        let der = ecdsa_der(&raw).ok_or("the token's ECDSA signature has no even length")?;
        Ok(verifier.signature_line(&der))
    }))
}

/// The keys that the log may have been signed with: those in the register, and the one of today. The register is a
/// projection; the log itself has the record of each key.
pub(super) fn likely_log_keys(path: &Path, verifier: &VerifierKey) -> Vec<VerifierKey> {
    let mut keys = known_log_keys(path);
    if !keys.contains(verifier) {
        keys.push(verifier.clone());
    }
    keys
}

/// Those in the register; none where it cannot be read.
pub(super) fn known_log_keys(path: &Path) -> Vec<VerifierKey> {
    read_log_keys(path).unwrap_or_else(|error| {
        tracing::warn!(%error, "the register of checkpoint keys cannot be read; it is made anew from the log");
        Vec::new()
    })
}

/// Writes the register of all keys that ever signed a checkpoint (invariant 7), unless it is as it must be.
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

pub(super) fn checkpoint_key(config: &Config, keys: &Keyring) -> Result<Key, StartError> {
    let key = keys.only(Purpose::AuditCheckpoint).ok_or_else(|| KeyringError::Missing {
        label: config
            .keys
            .iter()
            .find(|k| k.purpose == Purpose::AuditCheckpoint)
            .map_or_else(|| "audit-checkpoint-es256-1".to_owned(), |k| k.label(1)),
    })?;
    Ok(key.key().clone())
}
