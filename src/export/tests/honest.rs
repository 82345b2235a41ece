use super::*;
use crate::audit::tiles::{Tile, TileReader};
use crate::export::find;
use signed_note::Verifier;
use std::collections::HashMap;
use tlog_tiles::tlog;

const MADE_AT: Timestamp = Timestamp::from_unix_seconds(1_790_000_200);

fn source(published: &TempDir) -> LogSource<'static> {
    LogSource::published(published.path()).unwrap()
}

/// Tiles of a bundle, as the reference implementation reads them.
struct Oracle<'a>(&'a Path);

impl tlog_tiles::TileReader for Oracle<'_> {
    fn height(&self) -> u8 {
        8
    }
    fn read_tiles(&self, tiles: &[tlog_tiles::Tile]) -> Result<Vec<Vec<u8>>, tlog::Error> {
        let read =
            |tile: &tlog_tiles::Tile| fs::read(self.0.join(tile.path().replace("tile/8/", "tile/"))).unwrap();
        Ok(tiles.iter().map(read).collect())
    }
    fn save_tiles(&self, _: &[tlog_tiles::Tile], _: &[Vec<u8>]) {}
}

struct P256(VerifierKey);

impl Verifier for P256 {
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
fn seventy_thousand_records_are_exported_and_verified_by_us_and_by_others() {
    let log = Log::new(70_000);
    let (published, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    log.publish(published.path(), 70_000, 70_000);
    let out = out.path().join("bundle");
    let mut told = 0;
    let summary =
        write(&out, source(&published), &[log.checkpoints.vkey()], MADE_AT, &mut |done, _| told = done)
            .unwrap();
    assert_eq!((summary.size, told, summary.origin.as_str()), (70_000, 70_000, ORIGIN));

    let inputs = Inputs { keys: vec![log.checkpoints.vkey()], ..Inputs::default() };
    let report = verify(&out, &inputs, &mut |_, _| ()).unwrap();
    assert_eq!((report.size, report.root, report.key_from_bundle), (70_000, summary.root, false));
    assert_eq!((report.events["checkpoint-signed"], report.signed_answers), (1_400, 70_000 - 1_403));
    assert_eq!(report.signing_keys, 2);
    let times = report.times.unwrap();
    assert_eq!(times.0, Timestamp::from_unix_nanos(1_790_000_000_000_000_000));
    assert!(times.0 < times.1);

    let note = signed_note::Note::from_bytes(&summary.note).unwrap();
    let known = signed_note::VerifierList::new(vec![Box::new(P256(log.checkpoints.vkey()))]);
    note.verify(&known).unwrap();
    let theirs = tlog_tiles::Checkpoint::from_bytes(note.text()).unwrap();
    assert_eq!(theirs.size(), 70_000);
    let oracle = Oracle(&out);
    let hashes = tlog_tiles::TileHashReader::new(70_000, *theirs.hash(), &oracle);
    for sequence in [0, 3, 65_536, 69_999] {
        let proof = tlog::prove_record(70_000, sequence, &hashes).unwrap();
        let leaf = tlog::record_hash(&TileReader::open(&out).record(sequence).unwrap());
        tlog::check_record(&proof, 70_000, *theirs.hash(), sequence, leaf).unwrap();
    }
}

#[test]
fn an_export_of_a_growing_log_holds_exactly_the_records_under_its_checkpoint() {
    let log = Log::new(600);
    for covered in [4, 255, 256, 257, 300, 512, 600] {
        let (published, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        // Tiles that were partial under this checkpoint became full and replaced their partial files.
        log.publish(published.path(), 600, covered);
        let out = out.path().join("bundle");
        write(&out, source(&published), &[log.checkpoints.vkey()], MADE_AT, &mut |_, _| ()).unwrap();
        let report = verify(&out, &Inputs::default(), &mut |_, _| ()).unwrap();
        assert_eq!((report.size, report.key_from_bundle), (covered as u64, true));
        for tile in Tile::all(covered as u64) {
            assert!(out.join(tile.path()).is_file(), "{tile:?} of {covered}");
        }
    }
}

#[test]
fn an_export_is_refused_over_an_existing_directory_and_without_a_true_checkpoint() {
    let log = Log::new(300);
    let published = TempDir::new().unwrap();
    let export = |out: &Path, key| {
        LogSource::published(published.path())
            .and_then(|log| write(out, log, &[key], MADE_AT, &mut |_, _| ()))
    };
    let out = TempDir::new().unwrap();
    let new = out.path().join("bundle");
    assert!(matches!(export(&new, log.checkpoints.vkey()), Err(ExportError::Unpublished(_))));
    log.publish(published.path(), 300, 300);
    assert!(matches!(export(out.path(), log.checkpoints.vkey()), Err(ExportError::Write { .. })));
    assert!(matches!(
        export(&new, Signer::new("audit-checkpoint").vkey()),
        Err(ExportError::Checkpoint { .. })
    ));
    // The key of answers is recorded, but not for checkpoints.
    let wrong = Log {
        checkpoints: Signer::new("audit-checkpoint"),
        answers: Signer::new("x"),
        records: log.records.clone(),
    };
    let other = TempDir::new().unwrap();
    wrong.publish(other.path(), 300, 300);
    let refused = write(&new, source(&other), &[wrong.checkpoints.vkey()], MADE_AT, &mut |_, _| ());
    assert!(matches!(refused, Err(ExportError::KeyNotRecorded)));
}

#[test]
fn an_export_of_records_that_do_not_fit_their_checkpoint_is_refused() {
    let log = Log::new(300);
    let published = TempDir::new().unwrap();
    log.publish(published.path(), 300, 300);
    let path = published.path().join("tile/entries/001.p/44");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() = b' ';
    fs::write(&path, bytes).unwrap();
    let out = TempDir::new().unwrap();
    let refused =
        write(&out.path().join("b"), source(&published), &[log.checkpoints.vkey()], MADE_AT, &mut |_, _| ());
    assert!(matches!(refused, Err(ExportError::Inconsistent(300))));
}

#[test]
fn an_export_that_was_interrupted_does_not_verify() {
    let bundle = Log::new(300).bundle();
    fs::remove_file(bundle.path().join(MANIFEST)).unwrap();
    assert_eq!(finding(&bundle), (Kind::FileMissing, MANIFEST.to_owned(), None));
}

#[test]
fn answers_are_found_by_the_digest_of_their_exact_bytes() {
    let log = Log::new(300);
    let bundle = log.bundle();
    let digests: Vec<_> = [7, 299, 3, 1_000].map(|n| sha256(answer(n).as_bytes())).into();
    // 299 is a checkpoint's record, 1000 is beyond the log.
    let expected = vec![Some(7), None, Some(3), None];
    assert_eq!(find(bundle.path(), &digests, &mut |_, _| ()).unwrap(), expected);
    let report =
        verify(bundle.path(), &Inputs { answers: digests, ..Inputs::default() }, &mut |_, _| ()).unwrap();
    assert_eq!(report.answers, expected);
}

#[test]
fn a_log_that_extends_earlier_checkpoints_verifies_with_them() {
    let log = Log::new(600);
    let bundle = log.bundle();
    let earlier = [4, 255, 256, 300, 600]
        .map(|size| (size.to_string().into(), log.checkpoints.note(&log.records[..size])));
    let inputs = Inputs { keys: vec![log.checkpoints.vkey()], earlier: earlier.into(), ..Inputs::default() };
    assert_eq!(verify(bundle.path(), &inputs, &mut |_, _| ()).unwrap().earlier, 5);
}

#[test]
fn a_key_file_holds_each_recorded_key_with_its_purpose() {
    let log = Log::new(10);
    let (published, out) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    log.publish(published.path(), 10, 10);
    let out = out.path().join("bundle");
    write(&out, source(&published), &[log.checkpoints.vkey()], MADE_AT, &mut |_, _| ()).unwrap();
    let file = KeyFile::decode(&fs::read(out.join(KEYS)).unwrap()).unwrap();
    assert_eq!(file, log.key_file());
    let value: Value = serde_json::from_slice(&fs::read(out.join(KEYS)).unwrap()).unwrap();
    let key: HashMap<String, Value> = serde_json::from_value(value["signing_keys"][1].clone()).unwrap();
    assert_eq!((key["purpose"].as_str(), key["alg"].as_str()), (Some("introspection"), Some("ES256")));
}
