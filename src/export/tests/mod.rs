//! Builds logs, honest or not, and their bundles.

mod flips;
mod honest;
mod real;
mod records;
mod tampered;

use super::manifest::{Manifest, ManifestFile, expected};
use super::{
    ExportError, Finding, Inputs, KEYS, KeyFile, Kind, LogSource, MANIFEST, NewDirectory, Progress, Report,
    SigningKey, Summary, verify,
};
use crate::audit::note::{Checkpoint, VerifierKey};
use crate::audit::tiles::{CHECKPOINT, TileWriter};
use crate::audit::tree::{Edge, Hash, Peaks, leaf_hash};
use crate::clock::Timestamp;
use crate::jose::{Algorithm, PublicKey, base64url};
use crate::sha256::sha256;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

pub(crate) const ORIGIN: &str = "as.bank.example/audit/node-a";

fn write(
    out: &Path,
    source: LogSource<'_>,
    log_keys: &[VerifierKey],
    made_at: Timestamp,
    progress: Progress<'_>,
) -> Result<Summary, ExportError> {
    super::write(NewDirectory::make(out)?, source, log_keys, made_at, progress)
}

/// A key pair with its name in the log.
pub(crate) struct Signer {
    pair: EcdsaKeyPair,
    pub(crate) public: PublicKey,
    purpose: &'static str,
}

impl Signer {
    pub(crate) fn new(purpose: &'static str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let public = PublicKey::from_ec_point(Algorithm::ES256, pair.public_key().as_ref()).unwrap();
        Self { pair, public, purpose }
    }

    pub(crate) fn vkey(&self) -> VerifierKey {
        VerifierKey::p256(ORIGIN, self.public.spki()).unwrap()
    }

    pub(crate) fn note(&self, records: &[Vec<u8>]) -> Vec<u8> {
        let mut edge = Edge::new();
        for record in records {
            edge.push(leaf_hash(record));
        }
        let text = Checkpoint { origin: ORIGIN.to_owned(), size: edge.size(), root: edge.root() }.text();
        let signature = self.pair.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        format!("{text}\n{}", self.vkey().signature_line(signature.as_ref())).into_bytes()
    }

    fn key(&self) -> SigningKey {
        SigningKey { jwk: self.public.jwk().clone(), purpose: self.purpose.to_owned() }
    }

    fn record(&self, event: &str) -> Value {
        json!({
            "event": event, "outcome": "success", "purpose": self.purpose, "kid": self.public.kid(),
            "key_id": "01", "key_label": format!("{}-es256-1", self.purpose), "alg": "ES256",
            "spki": STANDARD.encode(self.public.spki()), "attributes": { "sensitive": true, "extractable": false },
        })
    }
}

/// A whole log with its keys.
pub(crate) struct Log {
    pub(crate) checkpoints: Signer,
    pub(crate) answers: Signer,
    pub(crate) records: Vec<Vec<u8>>,
}

pub(crate) fn answer(sequence: u64) -> String {
    let part = |text: String| base64url(text.as_bytes());
    format!("{}.{}.{}", part("{}".to_owned()), part(format!("{{\"n\":{sequence}}}")), part("s".to_owned()))
}

impl Log {
    /// An honest log: creation, keys, then answers with a checkpoint after every 50.
    pub(crate) fn new(size: u64) -> Self {
        Self::with(size, |_, _| ())
    }

    /// As [`Log::new`], but `change` may alter each record's members before the next one is chained to it.
    pub(crate) fn with(size: u64, mut change: impl FnMut(u64, &mut Value)) -> Self {
        let mut log = Self {
            checkpoints: Signer::new("audit-checkpoint"),
            answers: Signer::new("introspection"),
            records: Vec::new(),
        };
        let mut tree = Peaks::new();
        let mut prev = [0; 32];
        for sequence in 0..size {
            let time =
                Timestamp::from_unix_nanos(1_790_000_000_000_000_000 + i128::from(sequence) * 1_000_003);
            let mut record = json!({
                "v": 1, "origin": ORIGIN, "seq": sequence, "prev": hex::encode(prev), "time": time.to_string(),
                "mono": 1_000 + sequence, "node": "node-a", "boot": "5a0f6c1e-3f51-4a3e-9d10-5d4f4c8f2a11",
            });
            merge(&mut record, log.event(sequence, &tree));
            change(sequence, &mut record);
            let record = record.to_string().into_bytes();
            prev = leaf_hash(&record);
            tree.push(prev);
            log.records.push(record);
        }
        log
    }

    fn event(&self, sequence: u64, tree: &Peaks) -> Value {
        match sequence {
            0 => json!({ "event": "log-created", "outcome": "success" }),
            1 => self.checkpoints.record("key-generated"),
            2 => self.answers.record("key-found"),
            _ if sequence % 50 == 49 => json!({
                "event": "checkpoint-signed", "outcome": "success",
                "checkpoint": reference(tree.size(), tree.root()),
            }),
            _ => json!({
                "event": "signed", "outcome": "success", "sha256": hex::encode(sha256(answer(sequence).as_bytes())),
                "client_id": "payments-api", "kid": self.answers.public.kid(), "alg": "ES256",
                "purpose": "introspection", "typ": "token-introspection+jwt", "iat": 1_790_000_000, "active": true,
            }),
        }
    }

    fn key_file(&self) -> KeyFile {
        KeyFile {
            log_keys: vec![self.checkpoints.vkey().to_string()],
            signing_keys: vec![self.checkpoints.key(), self.answers.key()],
        }
    }

    /// The published directory of the first `size` records with a checkpoint over `covered` of them.
    pub(crate) fn publish(&self, directory: &Path, size: usize, covered: usize) {
        let mut writer = TileWriter::resume(directory.to_owned(), Edge::new(), Vec::new()).unwrap();
        self.records[..covered].iter().for_each(|record| writer.push(record));
        writer.write().unwrap();
        writer.publish(&self.checkpoints.note(&self.records[..covered])).unwrap();
        self.records[covered..size].iter().for_each(|record| writer.push(record));
        writer.write().unwrap();
    }

    /// A bundle of all records, unchecked: an attacker with the checkpoint key can make it.
    pub(crate) fn bundle(&self) -> TempDir {
        let directory = TempDir::new().unwrap();
        self.publish(directory.path(), self.records.len(), self.records.len());
        fs::write(directory.path().join(KEYS), self.key_file().encode()).unwrap();
        list_again(directory.path(), self.records.len() as u64);
        directory
    }
}

fn merge(record: &mut Value, more: Value) {
    let (Value::Object(record), Value::Object(more)) = (record, more) else { panic!("objects") };
    record.extend(more);
}

fn reference(size: u64, root: Hash) -> Value {
    json!({ "size": size, "root": hex::encode(root), "sha256": hex::encode([9; 32]) })
}

/// Rebuilds the manifest, as an attacker without the checkpoint key could; skips missing files.
fn list_again(directory: &Path, size: u64) {
    let note = fs::read(directory.join(CHECKPOINT)).unwrap();
    let checkpoint = Checkpoint { size, ..Checkpoint::from_note_unverified(&note).unwrap() };
    let files = expected(size).filter_map(|path| {
        let bytes = fs::read(directory.join(&path)).ok()?;
        Some(ManifestFile::new(path.to_str().unwrap().to_owned(), &bytes))
    });
    let manifest = Manifest::new(&checkpoint, Timestamp::from_unix_seconds(1_790_000_100), files.collect());
    fs::write(directory.join(MANIFEST), manifest.encode()).unwrap();
}

fn check(bundle: &TempDir) -> Result<Report, Finding> {
    verify(bundle.path(), &Inputs::default(), &mut |_, _| ())
}

/// The finding of a defective bundle: its kind, its file and its record.
#[track_caller]
fn finding(bundle: &TempDir) -> (Kind, String, Option<u64>) {
    place(check(bundle).expect_err("it verified"))
}

fn place(finding: Finding) -> (Kind, String, Option<u64>) {
    let file = finding.file.map(|file| file.to_str().unwrap().to_owned());
    (finding.kind, file.unwrap_or_default(), finding.record)
}
