//! Changes to a bundle without the checkpoint key, with and without repairing the manifest.

use super::*;
use crate::audit::tiles::{Kind as TileKind, Tile, WIDTH};
use rustix::fs::{CWD, FileType, Mode};

fn at(tile: Tile) -> String {
    tile.path().to_str().unwrap().to_owned()
}

fn entries(index: u64, width: u64) -> String {
    at(Tile { kind: TileKind::Entries, index, width })
}

fn hashes(level: usize, index: u64, width: u64) -> String {
    at(Tile { kind: TileKind::Hashes(level), index, width })
}

/// Replaces the tiles by those of `records`, keeping checkpoint and keys, and repairs the manifest.
fn retile(bundle: &TempDir, log: &Log, records: &[Vec<u8>]) {
    let note = fs::read(bundle.path().join(CHECKPOINT)).unwrap();
    fs::remove_dir_all(bundle.path().join("tile")).unwrap();
    let mut writer = TileWriter::resume(bundle.path().to_owned(), Edge::new(), Vec::new()).unwrap();
    for record in records {
        writer.push(record);
    }
    writer.write().unwrap();
    fs::write(bundle.path().join(CHECKPOINT), note).unwrap();
    list_again(bundle.path(), log.records.len() as u64);
}

/// Changes one record without changing its length.
fn change(record: &mut [u8]) {
    let place = record.windows(8).position(|w| w == b"\"node-a\"").unwrap();
    record[place + 6] = b'b';
}

#[test]
fn a_changed_record_is_named() {
    let log = Log::new(600);
    for (sequence, repaired) in [(0, true), (300, false), (300, true), (599, true)] {
        let bundle = log.bundle();
        let index = sequence / WIDTH;
        let name = entries(index, (600 - index * WIDTH).min(WIDTH));
        let mut bytes = fs::read(bundle.path().join(&name)).unwrap();
        let mut record = log.records[usize::try_from(sequence).unwrap()].clone();
        let place = bytes.windows(record.len()).position(|w| w == record).unwrap();
        change(&mut record);
        bytes[place..place + record.len()].copy_from_slice(&record);
        fs::write(bundle.path().join(&name), bytes).unwrap();
        if repaired {
            list_again(bundle.path(), 600);
        }
        assert_eq!(finding(&bundle), (Kind::RecordChanged, name, Some(sequence)));
    }
}

#[test]
fn a_changed_record_with_all_tiles_made_anew_breaks_the_link_of_the_next() {
    let log = Log::new(600);
    let bundle = log.bundle();
    let mut records = log.records.clone();
    change(&mut records[300]);
    retile(&bundle, &log, &records);
    assert_eq!(finding(&bundle), (Kind::LinkBroken, entries(1, 256), Some(301)));
}

#[test]
fn a_changed_last_record_with_all_tiles_made_anew_does_not_have_the_signed_root() {
    let log = Log::new(600);
    let bundle = log.bundle();
    let mut records = log.records.clone();
    change(&mut records[599]);
    retile(&bundle, &log, &records);
    assert_eq!(finding(&bundle), (Kind::RootMismatch, CHECKPOINT.to_owned(), None));
}

#[test]
fn records_that_are_missing_added_or_reordered_are_named() {
    let log = Log::new(600);
    let bundle = log.bundle();
    let mut missing = log.records.clone();
    missing.remove(300);
    missing.push(log.records[599].clone());
    retile(&bundle, &log, &missing);
    assert_eq!(finding(&bundle), (Kind::SequenceGap, entries(1, 256), Some(300)));
    let mut added = log.records.clone();
    added.insert(20, log.records[19].clone());
    added.truncate(600);
    retile(&bundle, &log, &added);
    assert_eq!(finding(&bundle), (Kind::SequenceGap, entries(0, 256), Some(20)));
    let mut reordered = log.records.clone();
    reordered.swap(7, 8);
    retile(&bundle, &log, &reordered);
    assert_eq!(finding(&bundle), (Kind::SequenceGap, entries(0, 256), Some(7)));
}

#[test]
fn records_cut_off_at_the_end_are_missed() {
    let log = Log::new(600);
    let bundle = log.bundle();
    retile(&bundle, &log, &log.records[..599]);
    assert_eq!(finding(&bundle).0, Kind::ManifestMismatch);
    let bundle = log.bundle();
    fs::remove_file(bundle.path().join(entries(2, 88))).unwrap();
    assert_eq!(finding(&bundle), (Kind::FileMissing, entries(2, 88), None));
}

#[test]
fn a_changed_tile_is_named() {
    let log = Log::new(66_000);
    let cases = [
        (hashes(0, 1, WIDTH), false, (Kind::FileChanged, hashes(0, 1, WIDTH), Some(256))),
        // Nothing tells which of the two was changed when the manifest was changed too.
        (hashes(0, 1, WIDTH), true, (Kind::RecordChanged, entries(1, WIDTH), Some(256))),
        (hashes(1, 0, WIDTH), false, (Kind::FileChanged, hashes(1, 0, WIDTH), None)),
        (hashes(1, 0, WIDTH), true, (Kind::TileMismatch, hashes(1, 0, WIDTH), None)),
        (hashes(1, 1, 1), true, (Kind::TileMismatch, hashes(1, 1, 1), None)),
        (hashes(2, 0, 1), true, (Kind::TileMismatch, hashes(2, 0, 1), None)),
    ];
    let bundle = log.bundle();
    for (name, repaired, expected) in cases {
        let path = bundle.path().join(&name);
        let bytes = fs::read(&path).unwrap();
        let mut changed = bytes.clone();
        changed[5] ^= 1;
        fs::write(&path, changed).unwrap();
        if repaired {
            list_again(bundle.path(), 66_000);
        }
        assert_eq!(finding(&bundle), expected);
        fs::write(&path, bytes).unwrap();
        list_again(bundle.path(), 66_000);
    }
    check(&bundle).unwrap();
}

#[test]
fn files_that_nothing_covers_are_named() {
    let bundle = Log::new(300).bundle();
    for name in ["notes.txt", "tile/entries/002", "tile/0/000.p/7", "tile/entries/001.p/.44.new"] {
        let path = bundle.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, b"x").unwrap();
        assert_eq!(finding(&bundle), (Kind::FileExtra, name.to_owned(), None));
        fs::remove_file(&path).unwrap();
    }
    let (keys, elsewhere) = (bundle.path().join(KEYS), bundle.path().with_extension("keys"));
    fs::rename(&keys, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &keys).unwrap();
    assert_eq!(finding(&bundle), (Kind::FileExtra, KEYS.to_owned(), None));
    fs::remove_file(elsewhere).unwrap();
}

#[test]
fn a_missing_file_is_named() {
    let bundle = Log::new(300).bundle();
    for name in
        [CHECKPOINT, KEYS, MANIFEST, "tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/000"]
    {
        let path = bundle.path().join(name);
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(finding(&bundle), (Kind::FileMissing, name.to_owned(), None));
        fs::write(&path, bytes).unwrap();
    }
    check(&bundle).unwrap();
}

#[test]
fn an_older_checkpoint_in_place_of_the_newest_leaves_records_uncovered() {
    let log = Log::new(600);
    let bundle = log.bundle();
    fs::write(bundle.path().join(CHECKPOINT), log.checkpoints.note(&log.records[..300])).unwrap();
    assert_eq!(finding(&bundle), (Kind::ManifestMismatch, MANIFEST.to_owned(), None));
    list_again(bundle.path(), 300);
    assert_eq!(finding(&bundle).0, Kind::ManifestMismatch);
    fs::create_dir_all(bundle.path().join("tile/entries/001.p")).unwrap();
    fs::create_dir_all(bundle.path().join("tile/0/001.p")).unwrap();
    for tile in Tile::all(300).filter(|tile| tile.width < WIDTH) {
        fs::create_dir_all(bundle.path().join(tile.path()).parent().unwrap()).unwrap();
        fs::write(bundle.path().join(tile.path()), b"").unwrap();
    }
    list_again(bundle.path(), 300);
    assert_eq!(finding(&bundle).0, Kind::FileExtra);
}

#[test]
fn a_checkpoint_that_another_key_signed_is_refused() {
    let log = Log::new(300);
    let bundle = log.bundle();
    let stranger = Signer::new("audit-checkpoint");
    let inputs = Inputs { keys: vec![stranger.vkey()], ..Inputs::default() };
    let found = verify(bundle.path(), &inputs, &mut |_, _| ()).unwrap_err();
    assert_eq!(place(found), (Kind::CheckpointInvalid, CHECKPOINT.to_owned(), None));
    // If the key in the bundle is replaced too, the key records or the given key reveal it.
    fs::write(bundle.path().join(CHECKPOINT), stranger.note(&log.records)).unwrap();
    let forged = KeyFile { log_keys: vec![stranger.vkey().to_string()], ..log.key_file() };
    fs::write(bundle.path().join(KEYS), forged.encode()).unwrap();
    list_again(bundle.path(), 300);
    assert_eq!(finding(&bundle), (Kind::KeyMismatch, KEYS.to_owned(), None));
    let inputs = Inputs { keys: vec![log.checkpoints.vkey()], ..Inputs::default() };
    assert_eq!(verify(bundle.path(), &inputs, &mut |_, _| ()).unwrap_err().kind, Kind::CheckpointInvalid);
}

#[test]
fn keys_of_checkpoints_are_exactly_those_that_the_log_records() {
    let log = Log::new(300);
    let key = log.checkpoints.vkey();
    let renamed = VerifierKey::from_spki("another.example/log", &key.spki()).unwrap();
    for log_keys in [vec![], vec![key.to_string(), renamed.to_string()], vec![key.to_string(); 2]] {
        let bundle = log.bundle();
        let forged = KeyFile { log_keys, ..log.key_file() };
        fs::write(bundle.path().join(KEYS), forged.encode()).unwrap();
        list_again(bundle.path(), 300);
        let inputs = Inputs { keys: vec![key.clone()], ..Inputs::default() };
        let found = verify(bundle.path(), &inputs, &mut |_, _| ()).unwrap_err();
        assert_eq!(place(found), (Kind::KeyMismatch, KEYS.to_owned(), None));
    }
}

#[test]
fn a_pipe_in_the_place_of_a_file_is_refused_at_once() {
    let bundle = Log::new(60).bundle();
    for name in [MANIFEST, KEYS, CHECKPOINT] {
        let (path, away) = (bundle.path().join(name), bundle.path().join("away"));
        fs::rename(&path, &away).unwrap();
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
        assert_eq!(finding(&bundle), (Kind::FileExtra, name.to_owned(), None));
        fs::rename(&away, &path).unwrap();
    }
}

#[test]
fn a_log_that_is_shorter_than_an_earlier_checkpoint_or_another_is_refused() {
    let (log, other) = (Log::new(300), Log::new(600));
    let bundle = log.bundle();
    let with = |note: Vec<u8>| {
        let inputs = Inputs { earlier: vec![("old".into(), note)], ..Inputs::default() };
        place(verify(bundle.path(), &inputs, &mut |_, _| ()).unwrap_err())
    };
    let old = |kind| (kind, "old".to_owned(), None);
    let mut longer = log.records.clone();
    longer.push(b"{}".to_vec());
    assert_eq!(with(log.checkpoints.note(&longer)), old(Kind::Shortened));
    let mut fork = log.records[..200].to_vec();
    change(&mut fork[100]);
    assert_eq!(with(log.checkpoints.note(&fork)).0, Kind::Forked);
    assert_eq!(with(other.checkpoints.note(&log.records[..200])), old(Kind::EarlierInvalid));
    assert_eq!(with(b"no note".to_vec()), old(Kind::EarlierInvalid));
}

#[test]
fn a_key_file_that_differs_from_the_key_records_is_refused() {
    let log = Log::new(300);
    let bundle = log.bundle();
    let other = Signer::new("introspection");
    let good = log.key_file();
    let mut purpose = good.clone();
    purpose.signing_keys[1].purpose = "access-token".to_owned();
    let mut alg = good.clone();
    alg.signing_keys[1].jwk.alg = Some("ES384".to_owned());
    let mut material = good.clone();
    material.signing_keys[1].jwk.x = other.public.jwk().x.clone();
    let mut added = good.clone();
    added.signing_keys.push(other.key());
    let mut missing = good.clone();
    missing.signing_keys.pop();
    let mut swapped = good.clone();
    swapped.signing_keys.swap(0, 1);
    for file in [purpose, alg, material, added, missing, swapped] {
        fs::write(bundle.path().join(KEYS), file.encode()).unwrap();
        list_again(bundle.path(), 300);
        assert_eq!(finding(&bundle), (Kind::KeyMismatch, KEYS.to_owned(), None), "{file:?}");
    }
    let text =
        String::from_utf8(good.encode()).unwrap().replace("\"purpose\": \"intro", "\"purpose\":  \"intro");
    fs::write(bundle.path().join(KEYS), text).unwrap();
    assert_eq!(finding(&bundle), (Kind::KeysMalformed, KEYS.to_owned(), None));
}

#[test]
fn a_changed_or_contradicting_manifest_is_refused() {
    let log = Log::new(300);
    let bundle = log.bundle();
    let path = bundle.path().join(MANIFEST);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("2026-09-21", "2026-09-20")).unwrap();
    assert_ne!(fs::read_to_string(&path).unwrap(), text);
    assert_eq!(finding(&bundle), (Kind::ManifestMalformed, MANIFEST.to_owned(), None));
    let checkpoint = Checkpoint::from_note_unverified(&log.checkpoints.note(&log.records)).unwrap();
    let manifest = Manifest::decode(text.as_bytes()).unwrap();
    let time = Timestamp::from_unix_seconds(0);
    for wrong in [
        Checkpoint { origin: "elsewhere".to_owned(), ..checkpoint.clone() },
        Checkpoint { root: [0; 32], ..checkpoint.clone() },
        Checkpoint { size: 299, ..checkpoint },
    ] {
        fs::write(&path, Manifest::new(&wrong, time, manifest.files.clone()).encode()).unwrap();
        assert_eq!(finding(&bundle), (Kind::ManifestMismatch, MANIFEST.to_owned(), None));
    }
}

#[test]
fn no_directory_is_no_input() {
    let found = verify(Path::new("/nonexistent/export"), &Inputs::default(), &mut |_, _| ()).unwrap_err();
    assert_eq!(found.kind, Kind::NoInput);
}
