use super::*;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use proptest::prelude::*;
use signed_note::Verifier;

const ORIGIN: &str = "as.bank.example/audit/node-a";

fn checkpoint() -> Checkpoint {
    Checkpoint { origin: ORIGIN.to_owned(), size: 70_000, root: [7; 32] }
}

fn p256() -> (EcdsaKeyPair, VerifierKey) {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let key = VerifierKey::p256(ORIGIN, &spki_of(pair.public_key().as_ref())).unwrap();
    (pair, key)
}

fn spki_of(point: &[u8]) -> Vec<u8> {
    let head = hex::decode("3059301306072a8648ce3d020106082a8648ce3d030107034200").unwrap();
    [head.as_slice(), point].concat()
}

fn sign(pair: &EcdsaKeyPair, text: &str) -> Vec<u8> {
    pair.sign(&SystemRandom::new(), text.as_bytes()).unwrap().as_ref().to_vec()
}

fn note(text: &str, lines: &[String]) -> Vec<u8> {
    format!("{text}\n{}", lines.concat()).into_bytes()
}

fn signed(pair: &EcdsaKeyPair, key: &VerifierKey) -> Vec<u8> {
    let text = checkpoint().text();
    note(&text, &[key.signature_line(&sign(pair, &text))])
}

/// Our P-256 verifier behind the oracle's trait.
struct Oracle(VerifierKey);

impl Verifier for Oracle {
    fn name(&self) -> &str {
        self.0.name()
    }
    fn key_id(&self) -> u32 {
        u32::from_be_bytes(self.0.id())
    }
    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.verify(message, signature)
    }
}

#[test]
fn a_checkpoint_signed_by_p256_opens_and_signed_note_agrees() {
    let (pair, key) = p256();
    let bytes = signed(&pair, &key);
    assert_eq!(VerifierKey::open(std::slice::from_ref(&key), &bytes), Ok(checkpoint()));
    let known = signed_note::VerifierList::new(vec![Box::new(Oracle(key))]);
    let theirs = signed_note::Note::from_bytes(&bytes).unwrap();
    assert_eq!(theirs.verify(&known).unwrap().0.len(), 1);
    let theirs = tlog_tiles::Checkpoint::from_bytes(theirs.text()).unwrap();
    assert_eq!((theirs.origin(), theirs.size(), theirs.hash().0), (ORIGIN, 70_000, [7; 32]));
}

#[test]
fn an_ed25519_key_and_its_signature_are_those_of_signed_note() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let key = VerifierKey::ed25519(ORIGIN, pair.public_key().as_ref().try_into().unwrap()).unwrap();
    let text = checkpoint().text();
    let bytes = note(&text, &[key.signature_line(pair.sign(text.as_bytes()).as_ref())]);
    let known = signed_note::VerifierList::new(vec![Box::new(
        signed_note::StandardVerifier::new(&key.to_string()).unwrap(),
    )]);
    assert!(signed_note::Note::from_bytes(&bytes).unwrap().verify(&known).is_ok());
    assert_eq!(VerifierKey::open(&[key], &bytes), Ok(checkpoint()));
}

#[test]
fn the_example_of_the_checksum_database_opens() {
    // golang.org/x/mod/sumdb/note, Example (its text is no checkpoint, its key and line are real).
    let key =
        VerifierKey::parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW").unwrap();
    let note = "If you think cryptography is the answer to your problem,\n\
                then you don't know what your problem is.\n\n\
                \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    assert!(matches!(
        VerifierKey::open(std::slice::from_ref(&key), note.as_bytes()),
        Err(NoteError::Text(_))
    ));
    let broken = note.replace("know what", "know how!");
    assert_eq!(
        VerifierKey::open(&[key], broken.as_bytes()),
        Err(NoteError::Signature("PeterNeumann+c74f20a3".into()))
    );
}

#[test]
fn a_key_survives_its_text_and_its_id_is_of_its_spki() {
    let (_, key) = p256();
    assert_eq!(VerifierKey::parse(&key.to_string()).unwrap(), key);
    assert_eq!(key.id(), crate::sha256::sha256(&key.spki())[..4]);
}

#[test]
fn keys_with_another_id_name_or_kind_are_refused() {
    let (_, key) = p256();
    let text = key.to_string();
    let (name, rest) = text.split_once('+').unwrap();
    let (id, base64) = rest.split_once('+').unwrap();
    assert!(matches!(VerifierKey::parse(&format!("{name}+00000000+{base64}")), Err(KeyError::Id { .. })));
    assert!(matches!(
        VerifierKey::parse(&format!("{name}+{}+{base64}", id.to_uppercase() + " ")),
        Err(KeyError::Id { .. })
    ));
    assert!(matches!(VerifierKey::parse(&format!("a b+{id}+{base64}")), Err(KeyError::Name(_))));
    assert!(matches!(VerifierKey::parse("a+00000000+BAAA"), Err(KeyError::Kind(_))));
    assert!(matches!(VerifierKey::parse("nothing"), Err(KeyError::Form(_))));
    let mut off_curve = key.spki();
    *off_curve.last_mut().unwrap() ^= 1;
    assert!(matches!(VerifierKey::p256(ORIGIN, &off_curve), Err(KeyError::Kind(_))));
}

#[test]
fn a_raw_signature_of_a_token_becomes_one_that_notes_take() {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let key = VerifierKey::p256(ORIGIN, &spki_of(pair.public_key().as_ref())).unwrap();
    // Enough for leading zeros and set high bits in both halves.
    for i in 0..300 {
        let text = format!("text {i}");
        let raw = sign(&pair, &text);
        assert!(key.verify(text.as_bytes(), &ecdsa_der(&raw).unwrap()));
    }
    assert_eq!(ecdsa_der(&[0; 63]), None);
}

#[test]
fn lines_of_unknown_keys_are_ignored_and_never_enough() {
    let ((pair, key), (stranger, other)) = (p256(), p256());
    let text = checkpoint().text();
    let theirs = other.signature_line(&sign(&stranger, &text));
    let ours = key.signature_line(&sign(&pair, &text));
    let known = std::slice::from_ref(&key);
    assert!(VerifierKey::open(known, &note(&text, &[theirs.clone(), ours])).is_ok());
    assert!(matches!(VerifierKey::open(known, &note(&text, &[theirs])), Err(NoteError::Unsigned(_))));
}

#[test]
fn one_bad_line_of_a_known_key_spoils_the_note() {
    let ((pair, key), (second, other)) = (p256(), p256());
    let text = checkpoint().text();
    let good = key.signature_line(&sign(&pair, &text));
    let bad = other.signature_line(&sign(&second, "another text"));
    let opened = VerifierKey::open(&[key, other.clone()], &note(&text, &[good, bad]));
    assert_eq!(opened, Err(NoteError::Signature(other.label())));
}

#[test]
fn a_checkpoint_of_another_log_is_refused_although_a_known_key_signed_it() {
    let (pair, key) = p256();
    let text = Checkpoint { origin: "elsewhere.example".to_owned(), ..checkpoint() }.text();
    let opened = VerifierKey::open(
        std::slice::from_ref(&key),
        &note(&text, &[key.signature_line(&sign(&pair, &text))]),
    );
    assert!(matches!(opened, Err(NoteError::Origin { .. })));
}

#[test]
fn every_changed_byte_of_a_signed_checkpoint_is_noticed() {
    let (pair, key) = p256();
    let bytes = signed(&pair, &key);
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            assert!(VerifierKey::open(std::slice::from_ref(&key), &changed).is_err(), "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn texts_that_are_almost_checkpoints_are_refused() {
    let root = STANDARD.encode([7; 32]);
    for text in [
        String::new(),
        format!("o\n1\n{root}"),
        format!("\n1\n{root}\n"),
        format!("o\n01\n{root}\n"),
        format!("o\n+1\n{root}\n"),
        format!("o\n-1\n{root}\n"),
        format!("o\n18446744073709551616\n{root}\n"),
        format!("o\n1\n{}\n", STANDARD.encode([7; 31])),
        format!("o\n1\n{root}\nextension\n"),
        format!("o\n1\n{root}\n\n"),
    ] {
        assert!(Checkpoint::from_text(&text).is_err(), "{text:?}");
    }
    assert!(Checkpoint::from_text(&format!("o\n0\n{root}\n")).is_ok());
}

#[test]
fn envelopes_beyond_the_limits_are_refused() {
    let (pair, key) = p256();
    let text = checkpoint().text();
    let line = key.signature_line(&sign(&pair, &text));
    let known = std::slice::from_ref(&key);
    assert!(VerifierKey::open(known, &note(&text, &vec![line.clone(); MAX_SIGNATURES])).is_ok());
    assert!(VerifierKey::open(known, &note(&text, &vec![line.clone(); MAX_SIGNATURES + 1])).is_err());
    assert!(VerifierKey::open(known, &vec![b'a'; MAX_NOTE + 1]).is_err());
    let without_newline = note(&text, &[line.trim_end().to_owned()]);
    assert!(VerifierKey::open(known, &without_newline).is_err());
    let with_return = note(&text, &[line.replace('\n', "\r\n")]);
    assert!(VerifierKey::open(known, &with_return).is_err());
}

proptest! {
    #[test]
    fn arbitrary_text_never_opens(text in "(?s).{0,200}") {
        let key = VerifierKey::parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW").unwrap();
        prop_assert!(VerifierKey::open(&[key], text.as_bytes()).is_err());
        let _ = VerifierKey::parse(&text);
        let _ = Checkpoint::from_text(&text);
    }
}
