//! Hostile bytes from disks and exports: frames, notes, tiles, the files of a bundle.

use chancery::audit::note::{Checkpoint, VerifierKey};
use chancery::{audit, export};

const ORIGIN: &str = "as.bank.example/audit/node-a";

pub fn frame(bytes: &[u8]) {
    if let Some(again) = audit::fuzzing::frame(bytes) {
        // Bytes 21 to 24 of the header are zeros that nothing reads yet; they are under its checksum.
        let given = bytes.get(..again.len()).expect("no longer than it was");
        assert!(given == again || given.get(21..24) != Some(&[0; 3]));
    }
    if let Some(again) = audit::fuzzing::batch(bytes) {
        let given = bytes.get(..again.len()).expect("a whole header");
        assert!(given == again || given.get(40..48) != Some(&[0; 8]));
    }
}

pub fn segment(bytes: &[u8]) {
    audit::fuzzing::segment(bytes);
}

pub fn note(bytes: &[u8]) {
    if let Ok(checkpoint) = Checkpoint::from_note_unverified(bytes) {
        let text = checkpoint.text();
        assert!(bytes.starts_with(text.as_bytes()), "one way to write a checkpoint");
        assert_eq!(Checkpoint::from_text(&text), Ok(checkpoint));
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    if let Ok(key) = VerifierKey::parse(first) {
        assert_eq!(
            VerifierKey::parse(&key.to_string()).map(|key| key.to_string()).ok(),
            Some(key.to_string())
        );
        drop(VerifierKey::open(&[key], rest.as_bytes()));
    }
}

pub fn tile(bytes: &[u8]) {
    let Some((count, bytes)) = bytes.split_first() else { return };
    if let Some(again) = audit::fuzzing::bundle(bytes, u64::from(*count)) {
        assert_eq!(again, bytes);
    }
    if let Some(edge) = audit::tree::Edge::decode(bytes) {
        assert_eq!(edge.encode(), bytes);
        let _ = edge.root();
    }
}

pub fn bundle(bytes: &[u8]) {
    for read in [export::fuzzing::manifest, export::fuzzing::key_file] {
        if let Some(again) = read(bytes) {
            assert_eq!(again, bytes, "there is one form alone");
        }
    }
    export::fuzzing::record(bytes, ORIGIN);
}
