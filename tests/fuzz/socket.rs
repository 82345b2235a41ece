//! Hostile messages of each process to the other.

use crate::edge::{CONFIG, NOW};
use chancery::signer;
use serde_json::Value;

pub fn frames(bytes: &[u8]) {
    let Some((piece, wire)) = bytes.split_first() else { return };
    if let Some(frames) = signer::fuzzing::frames(wire, usize::from(*piece)) {
        let whole: usize = frames.iter().map(|frame| 4 + frame.len()).sum();
        assert!(whole <= wire.len());
    }
}

pub fn ask(bytes: &[u8]) {
    signer::fuzzing::messages(bytes);
    if let Some(signed) = signer::fuzzing::judge(&CONFIG, bytes, NOW) {
        // A member twice would be read in two ways by two readers.
        chancery::jose::strict_json(signed.as_bytes(), 128).expect("what is signed is strict JSON");
        let signed: Value = serde_json::from_str(&signed).expect("JSON");
        assert_eq!(signed.get("cnf"), None);
    }
}

pub fn answer(bytes: &[u8]) {
    signer::fuzzing::answer(bytes);
}
