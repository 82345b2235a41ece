//! The exported log: verified by the program, and read again without it.

use super::appliance::CHANCERY;
use super::sha256_hex;
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Answers and revocations that callers got.
#[derive(Default)]
pub(crate) struct Keep {
    /// JWTs, exactly as they came.
    pub(crate) signed: Vec<String>,
    /// Bodies of unsigned introspection answers.
    pub(crate) unsigned: Vec<String>,
    /// Opaque tokens.
    pub(crate) opaque: Vec<String>,
    /// Tokens whose revocation was answered with 200.
    pub(crate) revoked: Vec<String>,
}

/// A log that has verified and holds every answer.
pub(crate) struct Evidence {
    /// The export.
    pub(crate) directory: PathBuf,
    /// Every record in order. The record of the final export is not under a checkpoint and so not among them.
    pub(crate) records: Vec<Value>,
    /// Commitments to each unsigned answer, recomputed from the salts in the payloads.
    unsigned: HashMap<String, Vec<String>>,
}

/// `chancery audit verify`.
pub(crate) fn verify(directory: &Path, more: &[&str]) -> Output {
    Command::new(CHANCERY).args(["audit", "verify"]).arg(directory).args(more).output().unwrap()
}

impl Evidence {
    /// Verifies an export with the key that `audit init` printed, and searches every answer in `keep`.
    pub(crate) fn check(
        directory: PathBuf,
        key: &str,
        keep: &Keep,
        earlier: &[PathBuf],
        segments: &Path,
        scratch: &Path,
    ) -> Self {
        let jwts = scratch.join("received.jwts");
        std::fs::write(&jwts, keep.signed.join("\n")).unwrap();
        let mut more = vec!["--json", "--key", key];
        if !keep.signed.is_empty() {
            more.extend(["--jwt", jwts.to_str().unwrap()]);
        }
        for file in earlier {
            more.extend(["--earlier", file.to_str().unwrap()]);
        }
        let output = verify(&directory, &more);
        let (said, wrong) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "the log does not verify:\n{said}\n{wrong}");
        let report: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(
            (&report["verified"], &report["key_from_export"]),
            (&true.into(), &false.into()),
            "{report}"
        );
        let records = read(&directory, report["size"].as_u64().unwrap());
        let evidence = Self { directory, records, unsigned: unsigned_answers(segments) };
        evidence.holds(keep);
        evidence
    }

    /// Every received answer has its record, and no number is used twice.
    fn holds(&self, keep: &Keep) {
        for (place, record) in self.records.iter().enumerate() {
            assert_eq!(record["seq"], place, "{record}");
        }
        let of = |event: &str, digest: &str| -> HashSet<String> {
            self.events(event).filter_map(|record| record[digest].as_str().map(str::to_owned)).collect()
        };
        let all_in = |what: &str, texts: &[String], known: &HashSet<String>| {
            for text in texts {
                assert!(known.contains(&sha256_hex(text.as_bytes())), "no record of this {what}: {text}");
            }
        };
        all_in("signed answer", &keep.signed, &of("signed", "sha256"));
        let answered: HashSet<&str> =
            self.events("answered").filter_map(|record| record["committed"]["body"].as_str()).collect();
        for text in &keep.unsigned {
            let opened = self.unsigned.get(text).into_iter().flatten();
            let found = opened.filter(|commitment| answered.contains(commitment.as_str())).count();
            assert!(found > 0, "no record that a payload opens to this unsigned answer: {text}");
        }
        all_in("opaque token", &keep.opaque, &of("issued", "token_sha256"));
        all_in("revocation", &keep.revoked, &of("revoked", "token_sha256"));
        let (signed, received) =
            (self.events("signed").count(), keep.signed.iter().collect::<HashSet<_>>().len());
        assert!(signed >= received, "{received} different JWTs were received, but {signed} signed");
    }

    /// Records of one event.
    pub(crate) fn events(&self, event: &str) -> impl Iterator<Item = &Value> {
        self.records.iter().filter(move |record| record["event"] == event)
    }

    /// The record of a JWT.
    pub(crate) fn record_of(&self, text: &str) -> &Value {
        let digest = sha256_hex(text.as_bytes());
        self.records.iter().find(|record| record["sha256"] == *digest).expect("a record of it")
    }
}

/// Commitments to the openings `{"disclosed":{…"body":["<salt>","<text>"]…}}` in the segments, by text. Payloads are
/// outside C2SP, so they are found by their first bytes.
fn unsigned_answers(segments: &Path) -> HashMap<String, Vec<String>> {
    const BEGIN: &[u8] = br#"{"disclosed":{"#;
    let mut found: HashMap<String, Vec<String>> = HashMap::new();
    for segment in std::fs::read_dir(segments).unwrap() {
        let bytes = std::fs::read(segment.unwrap().path()).unwrap();
        for (at, _) in bytes.windows(BEGIN.len()).enumerate().filter(|(_, window)| *window == BEGIN) {
            let mut payloads = serde_json::Deserializer::from_slice(&bytes[at..]).into_iter::<Value>();
            let Some(Ok(payload)) = payloads.next() else { continue };
            let [salt, text] = [0, 1].map(|n| payload["disclosed"]["body"][n].as_str().map(str::to_owned));
            if let (Some(salt), Some(text)) = (salt, text) {
                let mut committed = hex::decode(salt).unwrap();
                committed.extend_from_slice(b"\x04body");
                committed.extend_from_slice(text.as_bytes());
                found.entry(text).or_default().push(sha256_hex(&committed));
            }
        }
    }
    found
}

/// Every record of an export, by C2SP `tlog-tiles`: bundles of 256, each entry after its length in two bytes.
fn read(directory: &Path, size: u64) -> Vec<Value> {
    let mut records = Vec::new();
    while (records.len() as u64) < size {
        let (bundle, left) = (records.len() / 256, size - records.len() as u64);
        let partial = if left < 256 { format!(".p/{left}") } else { String::new() };
        let mut name = format!("{:03}{partial}", bundle % 1000);
        let mut rest = bundle / 1000;
        while rest > 0 {
            name = format!("x{:03}/{name}", rest % 1000);
            rest /= 1000;
        }
        let bytes = std::fs::read(directory.join("tile/entries").join(name)).unwrap();
        let mut rest = bytes.as_slice();
        while let Some((length, after)) = rest.split_first_chunk::<2>() {
            let (entry, after) = after.split_at(usize::from(u16::from_be_bytes(*length)));
            records.push(serde_json::from_slice(entry).unwrap());
            rest = after;
        }
    }
    assert_eq!(records.len() as u64, size);
    records
}
