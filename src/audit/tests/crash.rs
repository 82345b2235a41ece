//! What a crash, a bad disk or an intruder leaves behind.

use super::*;
use crate::audit::disk::header::{HEADER_MAX, Header};
use crate::sha256::sha256;
use proptest::prelude::*;
use std::fs::{self, OpenOptions};

/// Of the segments in these tests.
const BLOCK: usize = 4096;
const SECTOR: usize = disk::frame::SECTOR;

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
        // While the log thread is kept behind one batch, three gather for the next, of several blocks.
        let gate = bench.gate.lock().unwrap();
        opened.append(0, answer(3, 100)).unwrap();
        let _ = opened.durable.recv().unwrap();
        for n in 1..=3 {
            opened.append(n, answer(3, 3000)).unwrap();
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
        let begin = |f: &&FrameAt| (f.begin - disk::frame::BATCH_HEADER as u64).is_multiple_of(BLOCK as u64);
        self.frames
            .iter()
            .filter(begin)
            .map(|f| (f.begin - disk::frame::BATCH_HEADER as u64, f.seq))
            .collect()
    }

    fn write(&self, bytes: &[u8]) {
        fs::write(&self.segment, bytes).unwrap();
    }

    /// Records that are found, and what a crash left; nothing may have been changed.
    fn recovered(&self, bytes: &[u8]) -> Result<(u64, Option<Torn>), OpenError> {
        self.write(bytes);
        let recovered = self.bench.recover();
        assert!(fs::read(&self.segment).unwrap() == bytes, "reading a log changes nothing");
        recovered.map(|r| (r.place.edge.size(), r.torn))
    }

    fn records(&self) -> u64 {
        self.frames.len() as u64
    }
}

fn is_damage(e: &OpenError) -> bool {
    matches!(e, OpenError::Damage { .. })
}

/// What is left is where the log says, byte for byte.
fn is_kept(bytes: &[u8], torn: &Torn) {
    let (begin, length) = (usize::try_from(torn.offset).unwrap(), usize::try_from(torn.bytes).unwrap());
    assert_eq!(sha256(&bytes[begin..begin + length]), torn.sha256);
    assert!(bytes[begin + length..].iter().all(|b| *b == 0), "nothing but zeros behind");
}

#[test]
fn no_block_holds_records_of_two_batches() {
    let tail = Tail::new();
    let batches = tail.batches();
    let last = batches.last().unwrap();
    assert_eq!(last.1 + 3, tail.records(), "three records in the last batch");
    assert!(tail.end() - last.0 > 2 * BLOCK as u64, "of several blocks");
    // As many as records that were waited for, one after the other.
    assert_eq!(batches.len() as u64, tail.records() - 2);
}

/// A write that ends anywhere: what was durable before is there, and of the write whatever is whole.
#[test]
fn a_write_that_ends_at_any_sector_keeps_whole_records_or_is_damage_below_a_checkpoint() {
    let tail = Tail::new();
    let begin = tail.frames.iter().find(|f| f.seq + 1 == tail.signed).unwrap().begin;
    for cut in (0..tail.end() + BLOCK as u64).step_by(SECTOR).skip_while(|cut| *cut < begin) {
        let mut bytes = tail.bytes.clone();
        bytes[usize::try_from(cut).unwrap()..].fill(0);
        match tail.recovered(&bytes) {
            Ok((size, torn)) => {
                assert_eq!(size, tail.frames.iter().filter(|f| f.end <= cut).count() as u64, "cut at {cut}");
                assert!(size >= tail.signed, "lost below a checkpoint, cut at {cut}");
                let cut_off = |f: &FrameAt| {
                    let begin = tail.batches().iter().rfind(|(begin, _)| *begin < f.begin).unwrap().0;
                    (begin + 1..f.end).contains(&cut)
                };
                assert_eq!(torn.is_some(), tail.frames.iter().any(cut_off), "cut at {cut}");
                if let Some(torn) = torn {
                    is_kept(&bytes, &torn);
                }
            }
            Err(e) => {
                assert!(is_damage(&e), "{e}");
                assert!(cut <= begin.next_multiple_of(BLOCK as u64), "cut at {cut}: {e}");
            }
        }
    }
}

/// A sector is written whole or not at all, so no crash changes a bit.
#[test]
fn a_changed_bit_is_damage_wherever_it_is() {
    let tail = Tail::new();
    for place in (0..usize::try_from(tail.end()).unwrap()).step_by(37) {
        let mut bytes = tail.bytes.clone();
        bytes[place] ^= 0x10;
        let e = tail.recovered(&bytes).map(|_| ()).expect_err("a changed bit");
        assert!(is_damage(&e), "byte {place}: {e}");
    }
}

/// Every receipt of [`Tail`] was handed out. With one fault in the last two batches either all their records are found,
/// or the log is not opened, or what is left of the last batch stays on the disk and is told of.
#[test]
fn no_fault_in_the_last_two_batches_makes_a_released_record_vanish_in_silence() {
    let tail = Tail::new();
    let batches = tail.batches();
    let [.., (before_last, _), (last, first_of_last)] = batches[..] else { panic!("two batches") };
    let end = usize::try_from(tail.end()).unwrap().next_multiple_of(BLOCK);
    for unit in [SECTOR, BLOCK] {
        for place in (usize::try_from(before_last).unwrap()..end).step_by(unit) {
            let hit = place..place + unit;
            let mut zeroed = tail.bytes.clone();
            zeroed[hit.clone()].fill(0);
            let mut random = tail.bytes.clone();
            random[hit.clone()].iter_mut().for_each(|b| *b = b.wrapping_mul(31) ^ 0x5a);
            let mut cut = tail.bytes.clone();
            cut.truncate(place);
            for bytes in [zeroed, random, cut] {
                if bytes == tail.bytes {
                    continue;
                }
                match tail.recovered(&bytes) {
                    Err(e) => assert!(is_damage(&e), "{hit:?}: {e}"),
                    Ok((size, torn)) => {
                        let torn =
                            torn.unwrap_or_else(|| panic!("{hit:?}: nothing tells of what is missing"));
                        assert!(hit.start as u64 >= last, "{hit:?}: a whole batch lies behind it");
                        assert!((first_of_last..tail.records()).contains(&size), "{hit:?}");
                        is_kept(&bytes, &torn);
                    }
                }
            }
        }
    }
}

/// What no log can tell without a second write for each batch: see [`crate::manual::crash`].
#[test]
fn a_last_batch_of_which_nothing_is_left_is_as_if_it_had_never_been_written() {
    let tail = Tail::new();
    let (last, first) = *tail.batches().last().unwrap();
    let mut bytes = tail.bytes.clone();
    bytes[usize::try_from(last).unwrap()..].fill(0);
    assert_eq!(tail.recovered(&bytes).unwrap(), (first, None));
}

#[test]
fn something_behind_a_batch_that_lacks_sectors_is_damage() {
    let tail = Tail::new();
    let end = usize::try_from(tail.end()).unwrap().next_multiple_of(BLOCK);
    let mut bytes = tail.bytes.clone();
    bytes[end - BLOCK..end].fill(0);
    assert!(tail.recovered(&bytes).unwrap().1.is_some());
    // A sector of the next batch: that one was begun, so this one had been durable.
    bytes[end + SECTOR] = 1;
    assert!(is_damage(&tail.recovered(&bytes).unwrap_err()));
    // Too far behind to belong to any batch that begins here.
    let mut bytes = tail.bytes.clone();
    bytes.truncate(end);
    bytes.resize(tail.bytes.len(), 0);
    let far = end + disk::frame::BATCH_MAX.min(bytes.len() - end - 1);
    bytes[far] = 1;
    assert_eq!(far - end < disk::frame::BATCH_MAX, tail.recovered(&bytes).is_ok());
}

#[test]
fn after_a_torn_write_the_log_goes_on_in_the_next_segment_and_what_is_left_stays() {
    let tail = Tail::new();
    let (last, first) = *tail.batches().last().unwrap();
    // A hole in the second of the last three records.
    let hole = usize::try_from(last).unwrap() + BLOCK;
    let mut bytes = tail.bytes.clone();
    bytes[hole..hole + SECTOR].fill(0);
    tail.write(&bytes);

    let opened = tail.bench.open();
    let torn = opened.recovery.torn.clone().unwrap();
    assert_eq!((torn.kept, opened.recovery.size), (1, first + 1));
    let _ = opened.log.record(plain(Event::LogOpened)).unwrap();
    opened.log.close().unwrap();
    let segments = tail.bench.segments();
    assert_eq!(segments.len(), 2);
    assert!(fs::read(&segments[0]).unwrap() == bytes, "nothing is overwritten");
    let (seq, record) = tail.bench.records()[usize::try_from(first).unwrap() + 1].clone();
    assert_eq!(
        (seq, RecordView::parse(record.as_bytes()).unwrap().event.as_ref()),
        (first + 1, "torn-tail-repaired")
    );
    assert!(record.contains(&hex::encode(torn.sha256)), "{record}");

    let again = tail.bench.open();
    assert!(again.recovery.torn.is_none());
    assert_eq!(again.recovery.size, tail.bench.records().len() as u64);
    again.log.close().unwrap();
    // From now on what was left is as much part of the evidence as the records.
    fs::remove_dir_all(tail.bench.path("published")).unwrap();
    let behind = usize::try_from(tail.end()).unwrap() - 1;
    bytes[behind] ^= 1;
    tail.write(&bytes);
    assert!(is_damage(&tail.bench.recover().map(|_| ()).unwrap_err()));
}

#[test]
fn a_repair_that_a_crash_kept_from_its_record_is_recorded_by_the_next_start() {
    let tail = Tail::new();
    let (last, first) = *tail.batches().last().unwrap();
    let mut bytes = tail.bytes.clone();
    bytes[usize::try_from(last).unwrap() + SECTOR..].fill(0);
    tail.write(&bytes);
    let found = tail.bench.recover().unwrap();
    drop(found.active(&tail.bench.settings()).unwrap());
    let opened = tail.bench.open();
    assert_eq!((&opened.recovery.torn, opened.recovery.size), (&found.torn, first));
    opened.log.close().unwrap();
    assert_eq!(tail.bench.events().iter().filter(|e| *e == "torn-tail-repaired").count(), 1);
}

#[test]
fn a_segment_whose_first_batch_was_cut_off_gets_one_of_the_same_number_behind_it() {
    let tail = Tail::new();
    for round in 1..=3_u64 {
        let segment = tail.bench.segments().pop().unwrap();
        let (header, end) = Header::decode(&fs::read(&segment).unwrap()).unwrap();
        let (mut bytes, begin) = (fs::read(&segment).unwrap(), usize::try_from(end).unwrap());
        if round == 1 {
            // Cuts off the last batch of the log, of which nothing is whole.
            let (last, _) = *tail.batches().last().unwrap();
            bytes[usize::try_from(last).unwrap() + SECTOR..].fill(0);
        } else {
            // Cuts off the only batch of this segment.
            assert_eq!(header.index, round - 1);
            bytes[begin + SECTOR..].fill(7);
            bytes[begin..begin + SECTOR].fill(0);
            bytes[begin + 2 * SECTOR..].fill(0);
        }
        fs::write(&segment, &bytes).unwrap();
        let found = tail.bench.recover().unwrap();
        assert_eq!(found.torn.as_ref().unwrap().segment, segment);
        drop(found.active(&tail.bench.settings()).unwrap());
        assert_eq!(tail.bench.segments().len() as u64, round + 1);
    }
    let opened = tail.bench.open();
    let _ = opened.log.record(plain(Event::Started)).unwrap();
    opened.log.close().unwrap();
    fs::remove_dir_all(tail.bench.path("published")).unwrap();
    let again = tail.bench.open();
    assert_eq!(again.recovery.size, tail.bench.records().len() as u64);
    again.log.close().unwrap();
}

/// A segment as version 1 wrote it: batches at multiples of 512, no word of what a crash left.
fn as_version_1(segment: &Path) {
    let bytes = fs::read(segment).unwrap();
    let (header, _) = Header::decode(&bytes[..usize::try_from(HEADER_MAX).unwrap()]).unwrap();
    let mut covered = Vec::new();
    for n in [header.bytes, header.index, header.batch] {
        covered.extend_from_slice(&n.to_le_bytes());
    }
    covered.extend_from_slice(&header.id);
    covered.extend_from_slice(&header.prev);
    for part in [header.origin.as_bytes(), &header.edge.encode()] {
        covered.extend_from_slice(&(part.len() as u64).to_le_bytes());
        covered.extend_from_slice(part);
    }
    covered.resize((20 + covered.len()).next_multiple_of(SECTOR) - 20, 0);
    let mut old = b"CHSEGMT\n".to_vec();
    for n in [1, u32::try_from(20 + covered.len()).unwrap(), crc32fast::hash(&covered)] {
        old.extend_from_slice(&n.to_le_bytes());
    }
    old.append(&mut covered);
    let mut place = usize::try_from(Header::decode(&bytes).unwrap().1).unwrap();
    while let Some(batch) = disk::frame::BatchHeader::decode(&bytes[place..]) {
        let extent = usize::try_from(batch.extent(SECTOR as u64)).unwrap();
        old.extend_from_slice(&bytes[place..place + extent]);
        place += usize::try_from(batch.extent(header.block)).unwrap();
    }
    old.resize(bytes.len(), 0);
    fs::write(segment, old).unwrap();
}

#[test]
fn a_log_of_version_1_is_read_and_goes_on_in_a_segment_of_whole_blocks() {
    for torn in [false, true] {
        let tail = Tail::new();
        as_version_1(&tail.segment);
        let mut old = fs::read(&tail.segment).unwrap();
        if torn {
            let end = old.iter().rposition(|b| *b != 0).unwrap();
            old[end / SECTOR * SECTOR..].fill(0);
            fs::write(&tail.segment, &old).unwrap();
        }
        let opened = tail.bench.open();
        assert_eq!(opened.recovery.size, tail.records() - u64::from(torn));
        assert_eq!(opened.recovery.torn.is_some(), torn);
        let _ = opened.log.record(answer(9, 50)).unwrap();
        opened.log.close().unwrap();
        assert!(fs::read(&tail.segment).unwrap() == old, "nothing is written into the old segment");
        let segments = tail.bench.segments();
        let blocks = segments.iter().map(|s| Header::decode(&fs::read(s).unwrap()).unwrap().0.block);
        assert_eq!(blocks.collect::<Vec<_>>(), [512, 4096]);
        fs::remove_dir_all(tail.bench.path("published")).unwrap();
        let again = tail.bench.open();
        assert!(again.recovery.rebuilt);
        assert_eq!(again.recovery.size, tail.bench.records().len() as u64);
        again.log.close().unwrap();
    }
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
        create(NewLog::prepare(twin.settings()).unwrap(), &[plain(Event::TokenLost)], twin.sign()).unwrap();
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
        changes in proptest::collection::vec((0usize..40_000, any::<u8>()), 1..6), cut in proptest::option::of(0usize..40_000)
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
            if let Ok((size, _)) = tail.recovered(&bytes) {
                prop_assert!(size >= tail.signed);
            }
            Ok(())
        })?;
    }
}
