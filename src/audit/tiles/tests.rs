use super::*;
use crate::audit::note::Checkpoint;
use crate::audit::tree::{Edge, Hash, leaf_hash, verify_consistency, verify_inclusion};
use std::fs;
use tempfile::TempDir;
use tlog_tiles::tlog;

fn record(i: u64) -> Vec<u8> {
    format!("record {i} {}", "x".repeat(usize::try_from(i % 40).unwrap())).into_bytes()
}

fn fresh(directory: &TempDir) -> TileWriter {
    TileWriter::resume(directory.path().to_owned(), Edge::new(), Vec::new()).unwrap()
}

/// A published log of `size` records, written after every size in `stops`.
fn log(stops: &[u64]) -> (TempDir, TileWriter) {
    let directory = TempDir::new().unwrap();
    let mut writer = fresh(&directory);
    for &stop in stops {
        (writer.size()..stop).for_each(|i| writer.push(&record(i)));
        writer.write().unwrap();
    }
    (directory, writer)
}

fn note(size: u64, root: Hash) -> Vec<u8> {
    let text = Checkpoint { origin: "log.example".to_owned(), size, root }.text();
    format!("{text}\n\u{2014} log.example AAAAAAA=\n").into_bytes()
}

fn root_of(size: u64) -> Hash {
    let mut edge = Edge::new();
    (0..size).for_each(|i| edge.push(leaf_hash(&record(i))));
    edge.root()
}

/// The published tiles behind the oracle's trait; our layout has no `8/`.
struct Oracle(PathBuf);

impl tlog_tiles::TileReader for Oracle {
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

#[test]
fn paths_are_those_of_the_specification() {
    let path = |kind, index, width| Tile { kind, index, width }.path().to_str().unwrap().to_owned();
    assert_eq!(path(Kind::Hashes(0), 0, 256), "tile/0/000");
    assert_eq!(path(Kind::Hashes(2), 1_234_067, 256), "tile/2/x001/x234/067");
    assert_eq!(path(Kind::Entries, 1_234_067, 8), "tile/entries/x001/x234/067.p/8");
    assert_eq!(path(Kind::Entries, 1_000, 1), "tile/entries/x001/000.p/1");
    assert_eq!(path(Kind::Hashes(1), 999, 255), "tile/1/999.p/255");
    for index in [0, 5, 999, 1_000, 123_456_789, 12_345_678_901] {
        for width in [1, 255, 256] {
            let theirs = tlog_tiles::Tile::new(8, 3, index, width, false).path().replace("tile/8/", "tile/");
            assert_eq!(path(Kind::Hashes(3), index, u64::from(width)), theirs);
        }
    }
}

#[test]
fn a_tree_of_seventy_thousand_has_the_tiles_that_the_specification_counts() {
    let tiles: Vec<_> = Tile::all(70_000).collect();
    let count =
        |kind, full: bool| tiles.iter().filter(|t| t.kind == kind && (t.width == WIDTH) == full).count();
    assert_eq!((count(Kind::Hashes(0), true), count(Kind::Hashes(0), false)), (273, 1));
    assert_eq!((count(Kind::Hashes(1), true), count(Kind::Hashes(1), false)), (1, 1));
    assert_eq!((count(Kind::Hashes(2), true), count(Kind::Hashes(2), false)), (0, 1));
    assert!(tiles.contains(&Tile { kind: Kind::Hashes(0), index: 273, width: 112 }));
    assert!(tiles.contains(&Tile { kind: Kind::Hashes(1), index: 1, width: 17 }));
    assert!(Tile::all(256).any(|t| t == Tile { kind: Kind::Hashes(1), index: 0, width: 1 }));
    assert_eq!(Tile::all(0).count(), 0);
}

#[test]
fn tlog_tiles_proves_our_records_from_our_files() {
    let (directory, writer) = log(&[70_000]);
    let root = tlog::Hash(writer.root());
    let oracle = Oracle(directory.path().to_owned());
    let hashes = tlog_tiles::TileHashReader::new(70_000, root, &oracle);
    let ours = TileReader::open(directory.path());
    for sequence in [0, 255, 256, 65_535, 65_536, 69_999] {
        let theirs = tlog::prove_record(70_000, sequence, &hashes).unwrap();
        let leaf = tlog::record_hash(&ours.record(sequence).unwrap());
        tlog::check_record(&theirs, 70_000, root, sequence, leaf).unwrap();
        let proof = ours.inclusion_proof(sequence, 70_000).unwrap();
        assert_eq!(proof, theirs.iter().map(|h| h.0).collect::<Vec<_>>());
        assert!(verify_inclusion(sequence, 70_000, &leaf.0, &proof, &writer.root()));
    }
    for old in [1, 256, 300, 65_536, 69_999, 70_000] {
        let theirs = tlog::prove_tree(70_000, old, &hashes).unwrap();
        let proof = ours.consistency_proof(old, 70_000).unwrap();
        assert_eq!(proof, theirs.iter().map(|h| h.0).collect::<Vec<_>>());
        assert!(verify_consistency(old, &ours.root_at(old).unwrap(), 70_000, &writer.root(), &proof));
    }
}

#[test]
fn every_older_size_keeps_its_root_and_records_while_the_log_grows() {
    let stops = [1, 2, 255, 256, 257, 300, 511, 512, 700];
    let (directory, _) = log(&stops);
    let reader = TileReader::open(directory.path());
    for size in stops {
        assert_eq!(reader.root_at(size).unwrap(), root_of(size), "size {size}");
        let records: Result<Vec<_>, _> = reader.records(0, size).collect();
        assert_eq!(records.unwrap(), (0..size).map(record).collect::<Vec<_>>());
    }
    assert_eq!(
        reader.records(250, 260).map(Result::unwrap).collect::<Vec<_>>(),
        (250..260).map(record).collect::<Vec<_>>()
    );
}

#[test]
fn bundles_that_come_one_after_the_other_are_those_of_the_files_and_none_is_shorter() {
    let (directory, _) = log(&[300]);
    let reader = TileReader::open(directory.path());
    let bundles: Vec<Bundle> = [(0, 256), (1, 44)].map(|(i, width)| reader.bundle(i, width).unwrap()).into();
    let stream: Vec<u8> = bundles.iter().flat_map(Bundle::as_bytes).copied().collect();
    let mut rest = stream.as_slice();
    for bundle in &bundles {
        let read = Bundle::read_from(&mut rest, bundle.len()).unwrap();
        assert_eq!((read.as_bytes(), read.len()), (bundle.as_bytes(), bundle.len()));
    }
    assert!(rest.is_empty());
    for length in 0..bundles[0].as_bytes().len() {
        let cut = Bundle::read_from(&stream[..length], 256).unwrap_err();
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof, "{length}");
    }
}

#[test]
fn partial_tiles_go_away_with_their_full_tile_and_not_before() {
    let (directory, mut writer) = log(&[10, 200]);
    let at = |path: &str| directory.path().join(path).exists();
    assert!(at("tile/entries/000.p/10") && at("tile/0/000.p/10") && at("tile/0/000.p/200"));
    (200..256).for_each(|i| writer.push(&record(i)));
    assert!(at("tile/0/000.p/200"));
    writer.write().unwrap();
    assert!(at("tile/0/000") && at("tile/entries/000") && at("tile/1/000.p/1"));
    assert!(!at("tile/0/000.p") && !at("tile/entries/000.p"));
}

#[test]
fn a_writer_resumes_at_any_size_and_writes_the_same_bytes() {
    let (whole, _) = log(&[600]);
    for stop in [0, 1, 255, 256, 300, 512] {
        let (directory, _) = log(&[stop]);
        let reader = TileReader::open(directory.path());
        let edge = reader.edge_at(stop).unwrap();
        let entries = reader.partial_entries(stop).unwrap();
        let mut writer = TileWriter::resume(directory.path().to_owned(), edge, entries).unwrap();
        (stop..600).for_each(|i| writer.push(&record(i)));
        writer.write().unwrap();
        for tile in Tile::all(600) {
            let read = |d: &TempDir| fs::read(d.path().join(tile.path())).unwrap();
            assert_eq!(read(&directory), read(&whole), "{tile:?} after {stop}");
        }
    }
}

#[test]
fn a_writer_does_not_resume_with_other_records_than_those_of_its_edge() {
    let mut edge = Edge::new();
    edge.push(leaf_hash(b"a"));
    let resume = |entries| TileWriter::resume("unused".into(), edge.clone(), entries);
    assert!(matches!(resume(vec![]), Err(TileError::Resume { .. })));
    assert!(matches!(resume(vec![b"b".to_vec()]), Err(TileError::Resume { .. })));
    assert!(resume(vec![b"a".to_vec()]).is_ok());
}

#[test]
fn writing_again_after_an_error_leaves_a_complete_log() {
    let directory = TempDir::new().unwrap();
    let mut writer = fresh(&directory);
    (0..300).for_each(|i| writer.push(&record(i)));
    fs::write(directory.path().join("tile"), b"in the way").unwrap();
    assert!(matches!(writer.write(), Err(TileError::Io { .. })));
    assert!(matches!(writer.publish(&note(300, writer.root())), Err(TileError::NotCovered { .. })));
    fs::remove_file(directory.path().join("tile")).unwrap();
    writer.write().unwrap();
    writer.write().unwrap();
    assert_eq!(TileReader::open(directory.path()).root_at(300).unwrap(), root_of(300));
}

#[test]
fn a_checkpoint_is_published_only_over_durable_tiles_and_the_same_tree() {
    let (directory, mut writer) = log(&[5]);
    writer.publish(&note(5, writer.root())).unwrap();
    let reader = TileReader::open(directory.path());
    assert_eq!(reader.checkpoint().unwrap(), Some(note(5, writer.root())));
    assert!(matches!(writer.publish(&note(5, [0; 32])), Err(TileError::NotCovered { .. })));
    writer.push(b"more");
    assert!(matches!(writer.publish(&note(6, writer.root())), Err(TileError::NotCovered { .. })));
    assert!(matches!(writer.publish(b"no note"), Err(TileError::Malformed { .. })));
    assert_eq!(reader.checkpoint().unwrap(), Some(note(5, root_of(5))));
}

#[test]
fn a_record_that_no_bundle_can_hold_stops_publication() {
    let directory = TempDir::new().unwrap();
    let mut writer = fresh(&directory);
    writer.push(&vec![0; 65_535]);
    writer.write().unwrap();
    writer.push(&vec![0; 65_536]);
    assert!(matches!(writer.write(), Err(TileError::TooLarge { sequence: 1, length: 65_536 })));
}

#[test]
fn damaged_or_missing_tiles_are_named() {
    let (directory, _) = log(&[300]);
    let reader = TileReader::open(directory.path());
    let path = directory.path().join("tile/entries/001.p/44");
    let bytes = fs::read(&path).unwrap();
    for broken in [&bytes[..bytes.len() - 1], &[bytes.as_slice(), &[0]].concat()] {
        fs::write(&path, broken).unwrap();
        let error = reader.record(299).unwrap_err();
        assert!(matches!(&error, TileError::Malformed { path: named, .. } if *named == path), "{error}");
    }
    fs::remove_file(&path).unwrap();
    assert!(matches!(reader.record(299), Err(TileError::Missing { .. })));
    fs::write(directory.path().join("tile/0/000"), [0; 31]).unwrap();
    assert!(matches!(reader.inclusion_proof(3, 300), Err(TileError::Malformed { .. })));
    assert!(matches!(reader.inclusion_proof(300, 300), Err(TileError::Beyond { .. })));
}
