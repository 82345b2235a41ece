//! What a copy takes of a log, at every place where it can end.

use super::*;
use crate::audit::disk::frame::SECTOR;
use std::fs;

/// A log of several segments, with what a crash left in one that is not the last, and many batches behind it.
fn log() -> Bench {
    let bench = Bench::new();
    let write = |count: u64| {
        let opened = bench.open();
        for n in 0..count {
            opened.append_when_there_is_room(n, || answer(1, 90_000));
            // One after the other: a batch each.
            let _ = opened.durable.recv().unwrap();
        }
        opened.log.close().unwrap();
    };
    write(12);
    let segment = bench.segments().pop().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let last = frames(&segment).pop().unwrap();
    bytes[usize::try_from(last.begin).unwrap() / SECTOR * SECTOR + SECTOR..].fill(0);
    fs::write(&segment, bytes).unwrap();
    // What was cut off was released to no caller and published to none.
    fs::remove_dir_all(bench.path("published")).unwrap();
    write(12);
    assert!(bench.segments().len() >= 4 && bench.events().iter().any(|e| e == "torn-tail-repaired"));
    bench
}

/// Copies as the command does, to a directory beside the log.
fn copied(bench: &Bench, extent: &Extent) -> LogSettings {
    let directory = bench.dir.path().join("copy");
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(directory.join("segments")).unwrap();
    for Part { path, bytes, end } in &extent.segments {
        let mut copy = fs::read(path).unwrap();
        assert_eq!(copy.len() as u64, *bytes);
        copy[usize::try_from(*end).unwrap()..].fill(0);
        fs::write(directory.join("segments").join(path.file_name().unwrap()), copy).unwrap();
    }
    LogSettings { directory, ..bench.settings() }
}

#[test]
fn a_copy_up_to_any_record_is_a_log_that_opens_and_ends_there() {
    let bench = log();
    let all = bench.records().len() as u64;
    for records in 1..=all {
        let extent = Extent::of(&bench.settings().directory, records).unwrap();
        // Whole batches: the record may have others behind it.
        assert!((records..records + 3).contains(&extent.records), "{records}: {}", extent.records);
        let settings = copied(&bench, &extent);
        let found = verify_copy(&settings, &bench.keys(), None).unwrap();
        assert_eq!(found.records, extent.records);
        assert!(
            read::recovery::recover(&settings, &bench.keys(), u64::MAX).unwrap().torn.is_none(),
            "{records}"
        );
    }
    let beyond = Extent::of(&bench.settings().directory, all + 1).unwrap_err().to_string();
    assert!(beyond.contains(&format!("record {all} was durable and is not there")), "{beyond}");
}

#[test]
fn a_copy_of_a_growing_log_leaves_out_what_is_not_durable_and_the_segments_begun_meanwhile() {
    let bench = Bench::new();
    let opened = bench.open();
    let receipt = opened.log.record(plain(Event::Backup)).unwrap();
    let before = Extent::of(&bench.settings().directory, receipt.sequence() + 1).unwrap();
    for n in 0..25 {
        opened.append_when_there_is_room(n, || answer(1, 90_000));
    }
    assert_eq!(opened.durable.iter().take(25).count(), 25);
    assert!(bench.segments().len() >= 2);
    let after = Extent::of(&bench.settings().directory, receipt.sequence() + 1).unwrap();
    assert_eq!(after, before, "wherever the log is by now");
    assert_eq!(after.records, receipt.sequence() + 1);
    let settings = copied(&bench, &after);
    assert_eq!(verify_copy(&settings, &bench.keys(), None).unwrap().records, after.records);
    opened.log.close().unwrap();
}

#[test]
fn a_copy_must_hold_the_checkpoint_that_the_state_beside_it_knows() {
    let bench = Bench::new();
    let opened = bench.open();
    let early = opened.log.checkpoint().unwrap();
    let receipt = opened.log.record(plain(Event::Backup)).unwrap();
    let directory = bench.settings().directory;
    let settings = copied(&bench, &Extent::of(&directory, receipt.sequence() + 1).unwrap());
    let _ = opened.log.record(plain(Event::Started)).unwrap();
    let late = opened.log.checkpoint().unwrap();
    opened.log.close().unwrap();
    let verify = |note: &str| verify_copy(&settings, &bench.keys(), Some(note.as_bytes()));
    assert!(verify(&early.note).unwrap().covered >= early.size);
    let shorter = verify(&late.note).unwrap_err().to_string();
    assert!(shorter.contains("end before its record"), "{shorter}");
    // Another log's key signed it.
    let other = Bench::new().open().log.newest().unwrap();
    assert!(verify(&other.note).unwrap_err().to_string().contains("is not of this log"));
}
