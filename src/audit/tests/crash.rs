//! What a crash, a bad disk or an intruder leaves behind.

use super::*;
use proptest::prelude::*;
use std::fs::{self, OpenOptions};

/// A closed log whose last records, one to a batch, no checkpoint covers.
struct Tail {
    bench: Bench,
    segment: PathBuf,
    bytes: Vec<u8>,
    frames: Vec<FrameAt>,
    /// Records up to and with the last checkpoint's own.
    signed: u64,
}

impl Tail {
    fn new() -> Self {
        let bench = Bench::new();
        let opened = bench.open();
        let _ = opened.log.record(plain(Event::Started)).unwrap();
        let size = opened.log.checkpoint().unwrap().size;
        bench.signing.store(false, Ordering::SeqCst);
        let _ = opened.log.record(answer(1, 40)).unwrap();
        let _ = opened.log.record(answer(2, 200)).unwrap();
        // While the log thread is kept behind one batch, three gather for the next.
        let gate = bench.gate.lock().unwrap();
        opened.append(0, answer(3, 100)).unwrap();
        let _ = opened.durable.recv().unwrap();
        for n in 1..=3 {
            opened.append(n, answer(3, 100)).unwrap();
        }
        drop(gate);
        assert_eq!(opened.durable.iter().take(3).count(), 3);
        drop(opened.log);
        bench.signing.store(true, Ordering::SeqCst);
        let segment = bench.segments().pop().unwrap();
        let bytes = fs::read(&segment).unwrap();
        let frames = frames(&segment);
        Self { bench, segment, bytes, frames, signed: size + 1 }
    }

    fn end(&self) -> u64 {
        self.frames.last().unwrap().end
    }

    /// Begins of batches, with the sequence of their first record.
    fn batches(&self) -> Vec<(u64, u64)> {
        let begin = |f: &&FrameAt| (f.begin - frame::BATCH_HEADER as u64).is_multiple_of(512);
        self.frames.iter().filter(begin).map(|f| (f.begin - frame::BATCH_HEADER as u64, f.seq)).collect()
    }

    fn write(&self, bytes: &[u8]) {
        fs::write(&self.segment, bytes).unwrap();
    }

    fn recovered_size(&self) -> Result<(u64, bool), OpenError> {
        let recovered = self.bench.recover()?;
        Ok((recovered.place.edge.size(), recovered.torn.is_some()))
    }
}

fn is_damage(e: &OpenError) -> bool {
    matches!(e, OpenError::Damage { .. })
}

#[test]
fn a_segment_cut_at_any_byte_keeps_whole_records_or_is_damage_below_a_checkpoint() {
    let tail = Tail::new();
    let begin = tail.frames.iter().find(|f| f.seq + 1 == tail.signed).unwrap().begin - 50;
    for cut in begin..tail.end() + 50 {
        let whole = tail.frames.iter().filter(|f| f.end <= cut).count() as u64;
        for short in [true, false] {
            let mut bytes = tail.bytes[..usize::try_from(cut).unwrap()].to_vec();
            if !short {
                bytes.resize(tail.bytes.len(), 0);
            }
            tail.write(&bytes);
            match tail.recovered_size() {
                Ok((size, torn)) => {
                    assert!(size >= tail.signed, "lost below a checkpoint, cut at {cut}");
                    assert_eq!(size, whole, "cut at {cut}");
                    assert_eq!(torn, short || fs::read(&tail.segment).unwrap() != bytes, "cut at {cut}");
                    if torn {
                        assert_eq!(
                            tail.recovered_size().unwrap(),
                            (size, false),
                            "cut at {cut}, opened again"
                        );
                    }
                }
                Err(e) => {
                    assert!(is_damage(&e), "{e}");
                    assert!(whole < tail.signed, "cut at {cut}: {e}");
                    assert_eq!(fs::read(&tail.segment).unwrap(), bytes, "damage must stay as it is");
                }
            }
        }
    }
}

#[test]
fn a_changed_bit_is_repaired_in_the_last_batch_and_damage_before_it() {
    let tail = Tail::new();
    let (last, first_of_last) = *tail.batches().last().unwrap();
    assert_eq!(first_of_last + 3, tail.frames.len() as u64, "three records in the last batch");
    for frame in &tail.frames {
        for place in
            [frame.begin - frame::BATCH_HEADER as u64 + 9, frame.begin + 1, frame.begin + 40, frame.end - 1]
        {
            let mut bytes = tail.bytes.clone();
            bytes[usize::try_from(place).unwrap()] ^= 0x10;
            tail.write(&bytes);
            match tail.recovered_size() {
                Ok((size, torn)) => {
                    assert!(torn && place >= last, "byte {place}");
                    assert!((first_of_last..=frame.seq).contains(&size), "byte {place}");
                }
                Err(e) => assert!(is_damage(&e) && place < last, "byte {place}: {e}"),
            }
        }
    }
}

#[test]
fn a_batch_whose_second_half_never_came_is_repaired_only_when_it_is_the_last() {
    let tail = Tail::new();
    let batches = tail.batches();
    for (n, (begin, first)) in batches.iter().enumerate() {
        let end = batches.get(n + 1).map_or(tail.end().next_multiple_of(512), |(next, _)| *next);
        let half = usize::try_from(begin + (end - begin) / 2).unwrap();
        let mut bytes = tail.bytes.clone();
        bytes[half..usize::try_from(end).unwrap()].fill(0);
        if bytes == tail.bytes {
            continue;
        }
        tail.write(&bytes);
        let recovered = tail.recovered_size();
        if n + 1 == batches.len() {
            let (size, torn) = recovered.unwrap();
            assert!(torn && size >= *first);
        } else {
            assert!(is_damage(&recovered.unwrap_err()), "batch {n}");
        }
    }
}

#[test]
fn sectors_that_came_without_the_one_before_are_a_torn_write() {
    let tail = Tail::new();
    let (last, first) = *tail.batches().last().unwrap();
    let mut bytes = tail.bytes.clone();
    let last = usize::try_from(last).unwrap();
    bytes.copy_within(last..last + 512, last + 512);
    bytes[last..last + 512].fill(0);
    // What came is a header at the wrong place: nobody but an intruder writes that.
    tail.write(&bytes);
    assert!(is_damage(&tail.recovered_size().unwrap_err()));
    bytes[last + 512..last + 560].fill(7);
    tail.write(&bytes);
    assert_eq!(tail.recovered_size().unwrap(), (first, true));
}

#[test]
fn a_repair_is_recorded_and_the_log_goes_on() {
    let tail = Tail::new();
    let mut bytes = tail.bytes.clone();
    bytes[usize::try_from(tail.end() - 1).unwrap()] ^= 1;
    tail.write(&bytes);
    let opened = tail.bench.open();
    assert!(opened.recovery.torn.is_some());
    let _ = opened.log.record(plain(Event::LogOpened)).unwrap();
    opened.log.close().unwrap();
    let events = tail.bench.events();
    let at = events.iter().position(|e| e == "torn-tail-repaired").unwrap();
    assert_eq!(at as u64, opened.recovery.size);
    let again = tail.bench.open();
    assert!(again.recovery.torn.is_none());
    assert_eq!(again.recovery.size, events.len() as u64);
    again.log.close().unwrap();
}

#[test]
fn a_log_rolled_back_behind_its_published_checkpoint_is_damage() {
    let bench = Bench::new();
    let opened = bench.open();
    let _ = opened.log.record(plain(Event::Started)).unwrap();
    opened.log.checkpoint().unwrap();
    opened.log.close().unwrap();
    let before = bench.segments().iter().map(|s| (s.clone(), fs::read(s).unwrap())).collect::<Vec<_>>();
    let opened = bench.open();
    let _ = opened.log.record(plain(Event::Signed)).unwrap();
    opened.log.checkpoint().unwrap();
    opened.log.close().unwrap();
    for (path, bytes) in before {
        fs::write(path, bytes).unwrap();
    }
    let e = bench.try_open().err().unwrap();
    assert!(is_damage(&e), "{e}");
    assert!(e.to_string().contains("signed checkpoint"), "{e}");
}

#[test]
fn a_log_with_other_records_than_its_published_checkpoint_is_damage() {
    let bench = Bench::new();
    // A second log of the same name and key, with another record.
    let twin = Bench {
        dir: directory(),
        key: Arc::clone(&bench.key),
        signing: Arc::new(AtomicBool::new(true)),
        signed: Arc::default(),
        gate: Arc::default(),
    };
    let _ =
        Log::<u64>::create(NewLog::prepare(twin.settings()).unwrap(), &[plain(Event::SelfTest)], twin.sign())
            .unwrap();
    fs::copy(twin.path("published/checkpoint"), bench.path("published/checkpoint")).unwrap();
    assert!(is_damage(&bench.try_open().err().unwrap()));
}

#[test]
fn a_missing_segment_is_damage() {
    let bench = Bench::new();
    let opened = bench.open();
    for n in 0..30 {
        while opened.append(n, answer(1, 90_000)).is_err() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
    assert_eq!(opened.durable.iter().take(30).count(), 30);
    opened.log.close().unwrap();
    let segments = bench.segments();
    assert!(segments.len() >= 3);
    for segment in &segments {
        let away = segment.with_extension("away");
        fs::rename(segment, &away).unwrap();
        let e = bench.recover().map(|_| ()).unwrap_err();
        assert!(is_damage(&e), "{}: {e}", segment.display());
        fs::rename(away, segment).unwrap();
    }
    bench.open().log.close().unwrap();
}

#[test]
fn a_defect_in_a_segment_that_is_not_the_last_is_damage() {
    let bench = Bench::new();
    let opened = bench.open();
    bench.signing.store(false, Ordering::SeqCst);
    for n in 0..15 {
        while opened.append(n, answer(1, 90_000)).is_err() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
    assert_eq!(opened.durable.iter().take(15).count(), 15);
    drop(opened.log);
    bench.signing.store(true, Ordering::SeqCst);
    let first = &bench.segments()[0];
    let last = frames(first).pop().unwrap();
    let file = OpenOptions::new().write(true).open(first).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"x", last.end - 1).unwrap();
    assert!(is_damage(&bench.try_open().err().unwrap()));
}

#[test]
fn a_segment_that_was_prepared_but_not_begun_is_used() {
    let bench = Bench::new();
    let opened = bench.open();
    std::thread::sleep(std::time::Duration::from_millis(100));
    opened.log.close().unwrap();
    // As a crash between header and rename leaves it.
    fs::copy(&bench.segments()[0], bench.path("segments/next")).unwrap();
    fs::write(bench.path("segments/preparing"), b"half").unwrap();
    let opened = bench.open();
    for n in 0..30 {
        while opened.append(n, answer(1, 90_000)).is_err() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
    assert_eq!(opened.durable.iter().take(30).count(), 30);
    opened.log.close().unwrap();
    bench.open().log.close().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_segment_with_arbitrary_bytes_in_it_never_panics_and_never_loses_what_was_signed(
        changes in proptest::collection::vec((0usize..12_000, any::<u8>()), 1..6), cut in proptest::option::of(0usize..12_000)
    ) {
        thread_local! { static TAIL: Tail = Tail::new(); }
        TAIL.with(|tail| {
            let mut bytes = tail.bytes.clone();
            for (place, byte) in changes {
                bytes[place] = byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut);
            }
            tail.write(&bytes);
            if let Ok((size, _)) = tail.recovered_size() {
                prop_assert!(size >= tail.signed);
            }
            Ok(())
        })?;
    }
}
