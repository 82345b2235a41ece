//! What a gateway accepts from a dishonest signer.

use super::*;
use crate::audit::tree::{Edge, Hash, consistency_proof, inclusion_proof, node_hash};
use crate::audit::{CheckpointRef, Known};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};

const ORIGIN: &str = "as.example/audit/a";

struct Signer(EcdsaKeyPair);

impl Signer {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
    }

    fn key(&self) -> VerifierKey {
        VerifierKey::p256(ORIGIN, self.0.public_key().as_der().unwrap().as_ref()).unwrap()
    }

    fn line(&self, text: &str) -> String {
        let signature = self.0.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        self.key().signature_line(signature.as_ref())
    }
}

/// A log of plain texts.
#[derive(Clone)]
struct Tree(Vec<String>);

impl Tree {
    fn of(count: usize) -> Self {
        Self((0..count).map(|n| format!("record {n}")).collect())
    }

    fn root(&self, size: usize) -> Hash {
        let mut edge = Edge::new();
        self.0[..size].iter().for_each(|record| edge.push(leaf_hash(record.as_bytes())));
        edge.root()
    }

    fn node(&self, height: u32, n: u64) -> Hash {
        let at = usize::try_from(n << height).unwrap();
        match height {
            0 => leaf_hash(self.0[at].as_bytes()),
            _ => node_hash(&self.node(height - 1, 2 * n), &self.node(height - 1, 2 * n + 1)),
        }
    }

    /// The checkpoint over the first `size` records, with the proof for a gateway that has `old`.
    fn shown(&self, signers: &[&Signer], old: usize, size: usize) -> ShownCheckpoint {
        let text = Checkpoint { origin: ORIGIN.to_owned(), size: size as u64, root: self.root(size) }.text();
        let lines: String = signers.iter().map(|signer| signer.line(&text)).collect();
        let read = |height, n| Ok::<_, ()>(self.node(height, n));
        let proof =
            if old <= size { consistency_proof(old as u64, size as u64, read).unwrap() } else { Vec::new() };
        ShownCheckpoint {
            note: format!("{text}\n{lines}"),
            proof: proof.into_iter().map(Digest).collect(),
            keys: signers.iter().map(|signer| signer.key().to_string()).collect(),
            adopted: None,
        }
    }
}

fn empty() -> LogMemory {
    LogMemory::new(ORIGIN, String::new(), "").unwrap()
}

/// Asserts that the checkpoint is refused and the memory unchanged.
fn refuses(memory: &LogMemory, shown: &ShownCheckpoint) -> Distrust {
    let mut after = memory.clone();
    let distrust = after.follow(shown).unwrap_err();
    assert_eq!(&after, memory);
    distrust
}

#[test]
fn a_log_that_grows_is_followed_from_the_first_contact_on() {
    let (signer, tree) = (Signer::new(), Tree::of(300));
    let mut memory = empty();
    let mut old = 0;
    for size in [1, 2, 3, 255, 256, 256, 300] {
        let shown = tree.shown(&[&signer], old, size);
        memory.follow(&shown).unwrap();
        assert_eq!(memory.note(), shown.note);
        old = size;
    }
    assert_eq!(memory.keys(), signer.key().to_string());
    let again = LogMemory::new(ORIGIN, memory.note().to_owned(), &memory.keys()).unwrap();
    assert_eq!(again, memory);
}

#[test]
fn a_smaller_a_forked_and_an_unproved_checkpoint_leave_the_memory_as_it_is() {
    let (signer, tree) = (Signer::new(), Tree::of(40));
    let mut memory = empty();
    memory.follow(&tree.shown(&[&signer], 0, 20)).unwrap();
    let mut fork = tree.clone();
    fork.0[7] = "another record".to_owned();
    for shown in [
        tree.shown(&[&signer], 20, 19),
        fork.shown(&[&signer], 20, 20),
        fork.shown(&[&signer], 20, 40),
        ShownCheckpoint { proof: Vec::new(), ..tree.shown(&[&signer], 20, 40) },
        ShownCheckpoint { proof: vec![Digest([0; 32]); 5_000], ..tree.shown(&[&signer], 20, 40) },
    ] {
        assert!(matches!(refuses(&memory, &shown), Distrust::NotExtended { kept: 20, .. }));
    }
    memory.follow(&tree.shown(&[&signer], 20, 40)).unwrap();
}

#[test]
fn a_key_without_a_checkpoint_beside_a_pinned_key_is_refused() {
    let (old, new, tree) = (Signer::new(), Signer::new(), Tree::of(40));
    let mut memory = empty();
    memory.follow(&tree.shown(&[&old], 0, 10)).unwrap();
    assert!(matches!(refuses(&memory, &tree.shown(&[&new], 10, 20)), Distrust::Note(_)));
    // Announced, and beside a forged signature line of the old key.
    let mut forged = tree.shown(&[&new, &old], 10, 20);
    let other = tree.shown(&[&old], 10, 30).note;
    let stolen = other.lines().last().unwrap();
    let kept_lines: Vec<&str> = forged.note.lines().collect();
    forged.note = format!("{}\n{stolen}\n", kept_lines[..kept_lines.len() - 1].join("\n"));
    assert!(matches!(refuses(&memory, &forged), Distrust::Note(_)));
    // A rotation: both keys sign until the gateway has connected.
    memory.follow(&tree.shown(&[&new, &old], 10, 20)).unwrap();
    memory.follow(&tree.shown(&[&new], 20, 30)).unwrap();
}

#[test]
fn a_memory_without_keys_pins_those_that_signed_it() {
    let (signer, other, tree) = (Signer::new(), Signer::new(), Tree::of(40));
    let kept = tree.shown(&[&signer], 0, 10).note;
    let mut memory = LogMemory::new(ORIGIN, kept, "").unwrap();
    assert!(matches!(refuses(&memory, &tree.shown(&[&other], 10, 20)), Distrust::Note(_)));
    memory.follow(&tree.shown(&[&signer], 10, 20)).unwrap();
    assert_eq!(memory.keys(), signer.key().to_string());
}

/// A record of an adopted log that overrides the note with this digest.
fn decision(seq: usize, event: &str, note: &str) -> String {
    let known = Known {
        by: "gateway".to_owned(),
        checkpoint: CheckpointRef {
            size: 20,
            root: Digest([0; 32]),
            sha256: Digest(sha256(note.as_bytes())),
        },
    };
    serde_json::json!({
        "v": crate::audit::VERSION, "origin": ORIGIN, "seq": seq, "prev": Digest([0; 32]), "node": "a", "boot": "b", "mono": 1,
        "time": "2026-11-27T12:00:00.000000000Z", "event": event, "outcome": "success", "operator": "root",
        "reason": "restored from a copy", "known": [known],
    })
    .to_string()
}

#[test]
fn a_memory_is_replaced_on_a_recorded_decision_that_names_it_and_on_no_other() {
    let (signer, tree) = (Signer::new(), Tree::of(20));
    let mut memory = empty();
    memory.follow(&tree.shown(&[&signer], 0, 20)).unwrap();
    let kept = memory.note().to_owned();
    let adopted = |event: &str, note: &str| {
        let mut back = Tree::of(10);
        let record = decision(10, event, note);
        back.0.push(record.clone());
        back.0.push("behind it".to_owned());
        let read = |height, n| Ok::<_, ()>(back.node(height, n));
        let proof = inclusion_proof(10, 12, read).unwrap().into_iter().map(Digest).collect();
        ShownCheckpoint { adopted: Some(Adopted { record, proof }), ..back.shown(&[&signer], 20, 12) }
    };
    // Another event, another memory, another position, and a record that lies under no checkpoint.
    refuses(&memory, &adopted("export", &kept));
    refuses(&memory, &adopted("log-adopted", "another note"));
    let good = adopted("log-adopted", &kept);
    let mut elsewhere = good.clone();
    let record = decision(9, "log-adopted", &kept);
    elsewhere.adopted.as_mut().unwrap().record = record;
    refuses(&memory, &elsewhere);
    let mut unproved = good.clone();
    unproved.adopted.as_mut().unwrap().proof.clear();
    refuses(&memory, &unproved);

    memory.follow(&good).unwrap();
    assert_eq!(memory.note(), good.note);
    let record = good.adopted.unwrap().record;
    assert_eq!(memory.replaced(), [(kept, record)], "what was overridden is kept");
}
