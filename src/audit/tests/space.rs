//! Full disks, files that are taken away, and entries that are too large.

use super::*;
use std::time::{Duration, Instant};

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited too long: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn requests_are_refused_before_the_log_is_full_and_resume_when_there_is_space() {
    let bench = Bench::new();
    // A directory that is not empty where the next segment belongs: it cannot be prepared.
    std::fs::create_dir_all(bench.path("segments/next/full")).unwrap();
    let opened = bench.open();
    let mut appended = 0;
    let refused = loop {
        match opened.append(appended, answer(1, 20_000)) {
            Ok(()) => appended += 1,
            Err(full) => break full,
        }
    };
    assert!(matches!(refused, Full::Disk { .. }), "{refused}");
    assert!(appended > 10);
    assert_eq!(opened.durable.iter().take(usize::try_from(appended).unwrap()).count() as u64, appended);
    // The system's own records still find space, and so does a checkpoint.
    let _ = opened.log.record(plain(Event::TokenLost)).unwrap();
    opened.log.checkpoint().unwrap();

    std::fs::remove_dir_all(bench.path("segments/next")).unwrap();
    wait_until("space again", || bench.events().iter().any(|e| e == "disk-recovered"));
    for n in 0..10 {
        opened.append(n, answer(1, 20_000)).unwrap();
        let _ = opened.durable.recv().unwrap();
    }
    opened.log.close().unwrap();
    let events = bench.events();
    let place =
        |name| events.iter().position(|e| e == name).unwrap_or_else(|| panic!("no {name} in {events:?}"));
    assert!(place("disk-full") < place("disk-recovered"));
    bench.open().log.close().unwrap();
}

#[test]
fn an_entry_that_no_segment_takes_is_an_error() {
    let bench = Bench::new();
    let opened = bench.open();
    let large = usize::try_from(SEGMENT_MIN).unwrap();
    assert!(matches!(opened.log.reserve(SEGMENT_MIN), Err(Full::TooLarge(_))));
    assert!(matches!(opened.log.record(answer(1, large)), Err(LogError::TooLarge(_))));
    opened.log.close().unwrap();
}

#[test]
fn an_entry_larger_than_its_reservation_is_refused() {
    let bench = Bench::new();
    let opened = bench.open();
    let reservation = opened.log.reserve(answer(1, 10).size()).unwrap();
    assert!(Entries::default().push(reservation, answer(1, 11), 1).is_err());
    opened.log.close().unwrap();
}

/// After the live segment was taken away nothing gets a receipt, and the log says so once.
fn poisons(take_away: impl Fn(&Path)) {
    let bench = Bench::new();
    let opened = bench.open();
    opened.append(1, answer(1, 10)).unwrap();
    let _ = opened.durable.recv().unwrap();
    take_away(&bench.segments()[0]);
    let why = opened.failed.recv_timeout(Duration::from_secs(5)).unwrap();
    assert!(why.contains("live segment"), "{why}");
    assert!(matches!(opened.log.reserve(1), Err(Full::Poisoned(_))));
    assert!(matches!(opened.log.record(plain(Event::Stopped)), Err(LogError::Poisoned(_))));
    assert!(matches!(opened.log.close(), Err(LogError::Poisoned(_))));
    assert!(opened.durable.recv().is_err());
    assert!(opened.failed.recv().is_err(), "told once");
}

#[test]
fn a_live_segment_that_was_deleted_ends_the_log() {
    poisons(|segment| std::fs::remove_file(segment).unwrap());
}

#[test]
fn a_live_segment_that_was_replaced_ends_the_log() {
    poisons(|segment| {
        let copy = segment.with_extension("copy");
        std::fs::copy(segment, &copy).unwrap();
        std::fs::rename(copy, segment).unwrap();
    });
}

#[test]
fn a_live_segment_with_a_second_link_ends_the_log() {
    poisons(|segment| std::fs::hard_link(segment, segment.with_extension("link")).unwrap());
}

#[test]
fn a_live_segment_that_was_cut_off_ends_the_log() {
    poisons(|segment| std::fs::OpenOptions::new().write(true).open(segment).unwrap().set_len(4096).unwrap());
}

#[test]
fn nothing_written_behind_the_end_of_a_cut_segment_gets_a_receipt() {
    let bench = Bench::new();
    let opened = bench.open();
    std::fs::OpenOptions::new().write(true).open(&bench.segments()[0]).unwrap().set_len(0).unwrap();
    opened.append(1, answer(1, 10)).unwrap();
    assert!(opened.log.close().is_err());
    assert!(opened.durable.recv().is_err());
}

#[test]
fn a_prepared_segment_that_has_a_name_already_is_not_inscribed_again() {
    let bench = Bench::new();
    let directory = bench.path("segments");
    let make = || disk::segment::Prepared::make(&directory, SEGMENT_MIN, &mut || true).unwrap().unwrap();
    // What a keeper gets that looks while the log thread rotates, unless they exclude each other.
    let (first, second) = (make(), make());
    let header = |index| write::pen::Place::start().header(ORIGIN, index, SEGMENT_MIN, 4096, None);
    let mut active = first.inscribe(&header(1)).unwrap();
    active.put_in_place(&directory, 7).unwrap();
    let before = std::fs::read(&bench.segments()[1]).unwrap();
    assert!(second.inscribe(&header(2)).is_err());
    assert!(std::fs::read(&bench.segments()[1]).unwrap() == before, "the header of the live segment stands");
}

#[test]
fn nothing_written_into_a_deleted_segment_gets_a_receipt() {
    let bench = Bench::new();
    let opened = bench.open();
    std::fs::remove_file(&bench.segments()[0]).unwrap();
    // At once, before the look of the next second: the log thread itself notices.
    opened.append(1, answer(1, 10)).unwrap();
    assert!(opened.log.close().is_err());
    assert!(opened.durable.recv().is_err());
}

#[test]
fn what_is_written_into_a_segment_with_a_second_name_gets_no_receipt_and_the_reason_names_the_link() {
    let bench = Bench::new();
    let opened = bench.open();
    std::fs::hard_link(&bench.segments()[0], bench.segments()[0].with_extension("link")).unwrap();
    // The write may come before the log's own look.
    drop(opened.append(1, answer(1, 10)));
    let why = opened.failed.recv_timeout(Duration::from_secs(5)).unwrap();
    assert!(why.contains("found 2: hard links to it"), "{why}");
    assert!(opened.log.close().is_err());
    assert!(opened.durable.recv().is_err());
}
