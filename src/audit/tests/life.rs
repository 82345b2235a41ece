//! A log that is created, written, closed and opened again.

use super::super::tiles::TileReader;
use super::*;
use std::collections::BTreeSet;

#[test]
fn what_was_appended_is_there_after_opening_again() {
    let bench = Bench::new();
    let opened = bench.open();
    assert_eq!(opened.recovery.size, 2, "the first record and its checkpoint's");
    assert_eq!(opened.recovery.checkpoint.as_ref().unwrap().size, 1);
    for n in 0..3 {
        opened.append(n, answer(u8::try_from(n).unwrap(), 100)).unwrap();
    }
    let receipts: Vec<_> = opened.durable.iter().take(3).collect();
    for (ticket, receipt) in &receipts {
        let digest = JwsDigest::of_verified(&ticket.to_string());
        assert!(receipt.covers(&Covered::Jws(digest)) && receipt.sequence() >= 2);
        let (_, record) = &bench.records()[usize::try_from(receipt.sequence()).unwrap()];
        assert_eq!(RecordView::parse(record.as_bytes()).unwrap().sha256.unwrap().0, *digest.as_bytes());
    }
    let newest = opened.log.checkpoint().unwrap();
    bench.compare(&opened, newest.size, newest.root).unwrap();
    opened.log.close().unwrap();

    let again = bench.open();
    assert_eq!(again.recovery.size, bench.records().len() as u64);
    assert_eq!(again.recovery.checkpoint.as_ref().map(|c| c.size), Some(newest.size));
    assert!(again.recovery.torn.is_none() && !again.recovery.rebuilt);
    again.log.close().unwrap();
}

#[test]
fn many_threads_get_one_receipt_each_and_the_chain_has_them_all() {
    let bench = Bench::new();
    let opened = bench.open();
    std::thread::scope(|scope| {
        for thread in 0..100u64 {
            let log = &opened.log;
            scope.spawn(move || {
                for n in 0..10 {
                    let entry = answer(7, 50);
                    // All at once they ask for more than the small segments of a test have.
                    let reservation = loop {
                        match log.reserve(entry.size()) {
                            Ok(reservation) => break reservation,
                            Err(_) => std::thread::yield_now(),
                        }
                    };
                    let mut entries = Entries::default();
                    entries.push(reservation, entry, thread * 10 + n).unwrap();
                    log.hand_over(entries);
                }
            });
        }
    });
    let told: Vec<_> = opened.durable.iter().take(1000).collect();
    assert_eq!(told.iter().map(|(t, _)| *t).collect::<BTreeSet<_>>().len(), 1000);
    assert_eq!(told.iter().map(|(_, r)| r.sequence()).collect::<BTreeSet<_>>().len(), 1000);
    let newest = opened.log.checkpoint().unwrap();
    opened.log.close().unwrap();

    // Opening checks sequence, chain and the checkpoint's root over all of it.
    let records = bench.records();
    assert!(records.iter().enumerate().all(|(n, (seq, _))| *seq == n as u64));
    let tiles = TileReader::open(bench.path("published"));
    for (seq, record) in records.iter().take(usize::try_from(newest.size).unwrap()) {
        assert_eq!(tiles.record(*seq).unwrap(), record.as_bytes());
    }
    assert!(bench.recover().unwrap().torn.is_none());
}

#[test]
fn a_log_goes_on_over_many_segments() {
    let bench = Bench::new();
    let opened = bench.open();
    for n in 0..60 {
        while let Err(full) = opened.append(n, answer(1, 90_000)) {
            assert!(matches!(full, Full::Disk { .. }), "{full}");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
    assert_eq!(opened.durable.iter().take(60).count(), 60);
    opened.log.close().unwrap();
    assert!(bench.segments().len() >= 5);
    let again = bench.open();
    assert_eq!(again.recovery.size, bench.records().len() as u64);
    assert!(!again.recovery.rebuilt);
    again.log.close().unwrap();
}

#[test]
fn a_second_opener_is_refused() {
    let bench = Bench::new();
    let opened = bench.open();
    assert!(matches!(bench.try_open().err(), Some(OpenError::Lock(LockError::Held(_)))));
    opened.log.close().unwrap();
    bench.open().log.close().unwrap();
}

#[test]
fn a_second_opener_is_refused_also_when_the_lock_file_was_deleted() {
    let bench = Bench::new();
    let opened = bench.open();
    std::fs::remove_file(bench.path("lock")).unwrap();
    assert!(matches!(bench.try_open().err(), Some(OpenError::Lock(LockError::Held(_)))));
    opened.log.close().unwrap();
}

#[test]
fn no_checkpoint_is_signed_before_somebody_allows_it_and_nothing_is_lost_meanwhile() {
    let bench = Bench::new();
    let (signed, ended) = (bench.signed.load(Ordering::SeqCst), bench.records().len());
    let handlers =
        Handlers { on_durable: Box::new(|_: &mut Vec<(u64, Receipt)>| ()), on_failure: Box::new(|_| ()) };
    let (log, _) =
        Log::open(LogLock::take(bench.settings()).unwrap(), &bench.keys(), bench.sign(), handlers).unwrap();
    let _ = log.record(plain(Event::Started)).unwrap();
    assert!(matches!(log.checkpoint(), Err(LogError::Unconfirmed)));
    std::thread::sleep(std::time::Duration::from_millis(1200));
    log.close().unwrap();
    assert_eq!(bench.signed.load(Ordering::SeqCst), signed);
    let opened = bench.open();
    assert_eq!(opened.recovery.size, ended as u64 + 1);
    assert_eq!(opened.log.checkpoint().unwrap().size, ended as u64 + 1);
    opened.log.close().unwrap();
}

#[test]
fn a_kept_checkpoint_is_compared_with_the_records_and_not_with_published_files() {
    let bench = Bench::new();
    let opened = bench.open();
    for n in 0..300 {
        opened.append_when_there_is_room(n, || answer(1, 10));
    }
    assert_eq!(opened.durable.iter().take(300).count(), 300);
    let kept = opened.log.checkpoint().unwrap();
    let _ = opened.log.record(plain(Event::Started)).unwrap();
    let newest = opened.log.checkpoint().unwrap();
    bench.compare(&opened, kept.size, kept.root).unwrap();
    let other = |size, root| bench.compare(&opened, size, root).unwrap_err();
    assert!(matches!(other(kept.size, [7; 32]), NotExtended::Forked { known } if known == kept.size));
    assert!(matches!(other(newest.size, [7; 32]), NotExtended::Forked { .. }));
    let longer = other(newest.size + 1, newest.root);
    assert!(matches!(longer, NotExtended::Shorter { size, .. } if size == newest.size));
    assert!(longer.is_rollback());
    let unsigned = newest.note.replacen(&format!("\n{}\n", newest.size), "\n1\n", 1);
    assert!(matches!(opened.log.compare(unsigned.as_bytes()), Err(NotExtended::Note(_))));

    // Files of another tree under the names of the kept checkpoint's own tiles: of its size they give its root.
    let (twin, last) = ([9; 32], usize::try_from(kept.size % 256).unwrap());
    let mut edge = tree::Edge::new();
    (0..kept.size).for_each(|_| edge.push(twin));
    let put = |name: &str, hashes: &[tree::Hash]| {
        std::fs::create_dir_all(bench.path(name).parent().unwrap()).unwrap();
        std::fs::write(bench.path(name), hashes.as_flattened()).unwrap();
    };
    put(&format!("published/tile/0/001.p/{last}"), edge.tile(0));
    put("published/tile/1/000.p/1", edge.tile(1));
    assert!(bench.compare(&opened, kept.size, edge.root()).is_err());
    opened.log.close().unwrap();
}

#[test]
fn keys_of_checkpoints_are_found_in_the_log_when_no_file_tells_of_them() {
    let mut bench = Bench::new();
    std::fs::remove_dir_all(bench.path("")).unwrap();
    let first = [plain(Event::LogCreated), bench.key_record()];
    let _ = create(NewLog::prepare(bench.settings()).unwrap(), &first, bench.sign()).unwrap();
    let (old, new) = (bench.verifier(), EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap());
    bench.key = Arc::new(new);
    let opened = bench.open();
    assert_eq!(opened.recovery.keys, [bench.verifier(), old]);
    let _ = opened.log.record(bench.key_record()).unwrap();
    opened.log.checkpoint().unwrap();
    opened.log.close().unwrap();
    std::fs::remove_dir_all(bench.path("published")).unwrap();
    bench.open().log.close().unwrap();
}

#[test]
fn a_log_is_created_once_and_never_by_opening() {
    let bench = Bench::new();
    let again = NewLog::prepare(bench.settings());
    assert!(matches!(again, Err(CreateError::Exists(_))));

    // Without its segments the published part still tells that there was a log.
    std::fs::remove_dir_all(bench.path("segments")).unwrap();
    let missing = bench.try_open().err().unwrap();
    assert!(matches!(missing, OpenError::Missing(_)));
    assert!(missing.to_string().contains("chancery audit init"));
    let again = NewLog::prepare(bench.settings());
    assert!(matches!(again, Err(CreateError::Exists(_))));
}

#[test]
fn a_log_of_another_origin_is_not_opened() {
    let bench = Bench::new();
    let settings = LogSettings { origin: "other.example".to_owned(), ..bench.settings() };
    let handlers =
        Handlers { on_durable: Box::new(|_: &mut Vec<(u64, Receipt)>| ()), on_failure: Box::new(|_| ()) };
    let opened = Log::open(LogLock::take(settings).unwrap(), &bench.keys(), bench.sign(), handlers);
    assert!(matches!(opened.err(), Some(OpenError::Settings(SettingsError::Origin { .. }))));
}

#[test]
fn a_checkpoint_waits_for_the_key_and_nothing_is_lost_meanwhile() {
    let bench = Bench::new();
    let opened = bench.open();
    bench.signing.store(false, Ordering::SeqCst);
    let receipt = opened.log.record(plain(Event::TokenLost)).unwrap();
    assert!(matches!(opened.log.checkpoint(), Err(LogError::Sign(_))));
    bench.signing.store(true, Ordering::SeqCst);
    let newest = opened.log.checkpoint().unwrap();
    assert!(newest.size > receipt.sequence());
    assert_eq!(opened.log.newest().unwrap(), newest);
    opened.log.close().unwrap();
}

#[test]
fn a_log_that_does_not_grow_signs_nothing() {
    let bench = Bench::new();
    let opened = bench.open();
    let first = opened.log.checkpoint().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(opened.log.checkpoint().unwrap(), first);
    opened.log.close().unwrap();
    assert_eq!(bench.events(), ["log-created", "checkpoint-signed"]);
}

#[test]
fn a_growing_log_is_signed_within_a_second_without_being_asked() {
    let bench = Bench::new();
    let opened = bench.open();
    let receipt = opened.log.record(plain(Event::Started)).unwrap();
    let begun = std::time::Instant::now();
    while opened.log.newest().unwrap().size <= receipt.sequence() {
        assert!(begun.elapsed().as_secs() < 5);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    opened.log.close().unwrap();
}

#[test]
fn published_files_that_were_lost_or_lag_are_made_again() {
    let bench = Bench::new();
    let opened = bench.open();
    for n in 0..600 {
        opened.append_when_there_is_room(n, || answer(1, 10));
    }
    assert_eq!(opened.durable.iter().take(600).count(), 600);
    let old = std::fs::read(bench.path("published/checkpoint")).unwrap();
    let newest = opened.log.checkpoint().unwrap();
    opened.log.close().unwrap();

    // Lags: the checkpoint before is published, as after a crash behind the record.
    std::fs::write(bench.path("published/checkpoint"), old).unwrap();
    bench.open().log.close().unwrap();
    assert_eq!(std::fs::read_to_string(bench.path("published/checkpoint")).unwrap(), newest.note);

    for lost in [
        "published/tile/0",
        "published/tile/0/000",
        "published/tile/entries/001",
        "published/tile",
        "published/checkpoint",
    ] {
        let path = bench.path(lost);
        if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
        let again = bench.open();
        assert!(again.recovery.rebuilt, "{lost}");
        bench.compare(&again, newest.size, newest.root).unwrap();
        again.log.close().unwrap();
        assert_eq!(std::fs::read_to_string(bench.path("published/checkpoint")).unwrap(), newest.note);
    }
}

#[test]
fn records_wait_while_they_cannot_be_published_and_are_published_later() {
    let bench = Bench::new();
    let opened = bench.open();
    let (tiles, away) = (bench.path("published/tile"), bench.path("published/away"));
    std::fs::rename(&tiles, &away).unwrap();
    std::fs::write(&tiles, b"no directory").unwrap();
    let receipt = opened.log.record(plain(Event::Started)).unwrap();
    assert!(matches!(opened.log.checkpoint(), Err(LogError::Publish(_))));
    std::fs::remove_file(&tiles).unwrap();
    std::fs::rename(&away, &tiles).unwrap();
    let newest = opened.log.checkpoint().unwrap();
    assert!(newest.size > receipt.sequence());
    bench.compare(&opened, newest.size, newest.root).unwrap();
    opened.log.close().unwrap();
}

#[test]
fn a_clock_that_jumps_moves_no_record_and_a_start_meanwhile_knows_it() {
    const SECOND: i64 = 1_000_000_000;
    const BEGIN: i64 = 1_800_000_000;
    let bench = Bench::new_at(BEGIN - 1000);
    let (wall, boot) = (Arc::new(AtomicI64::new(BEGIN - 600)), Arc::new(AtomicI64::new(0)));
    let hands = (Arc::clone(&wall), Arc::clone(&boot));
    let read = move || Raw {
        wall: hands.0.load(Ordering::SeqCst) * SECOND,
        boot: hands.1.load(Ordering::SeqCst) * SECOND,
    };
    let sources = TimeSource::of("boot-a", read);
    let open = || {
        let handlers =
            Handlers { on_durable: Box::new(|_: &mut Vec<(u64, Receipt)>| ()), on_failure: Box::new(|_| ()) };
        let settings = LogSettings { sources: sources.clone(), ..bench.settings() };
        let (log, _) =
            Log::open(LogLock::take(settings).unwrap(), &bench.keys(), bench.sign(), handlers).unwrap();
        log.sign_checkpoints(Continuity::created());
        log
    };
    let log = open();
    // The log was made on another boot: the clock settles first.
    wall.store(BEGIN, Ordering::SeqCst);
    boot.store(600, Ordering::SeqCst);
    assert_eq!(log.clock().look(), None);
    let _ = log.record(plain(Event::Started)).unwrap();
    wall.store(BEGIN + 7_201, Ordering::SeqCst);
    boot.store(601, Ordering::SeqCst);
    let _ = log.record(plain(Event::TokenLost)).unwrap();
    log.close().unwrap();

    // The last record knows both clocks of this boot.
    boot.store(602, Ordering::SeqCst);
    let log = open();
    assert!(log.clock().now().is_err());
    let _ = log.record(plain(Event::TokenLost)).unwrap();
    wall.store(BEGIN + 3, Ordering::SeqCst);
    boot.store(603, Ordering::SeqCst);
    while log.clock().look().is_some() {}
    assert!(log.clock().now().is_ok());
    let _ = log.record(plain(Event::TokenLost)).unwrap();
    log.close().unwrap();

    let at = |seconds| Timestamp::from_unix_seconds(BEGIN + seconds).to_string();
    let records = bench.records();
    let times: Vec<(String, Option<String>, Option<String>)> = records
        .iter()
        .map(|record| RecordView::parse(record.1.as_bytes()).unwrap())
        .filter(|view| matches!(view.event.as_ref(), "started" | "token-lost"))
        .map(|view| {
            let owned = |text: Option<std::borrow::Cow<'_, str>>| text.map(std::borrow::Cow::into_owned);
            (view.time.to_string(), owned(view.clock_raw), owned(view.clock_expected))
        })
        .collect();
    let expected = [
        (at(0), None, None),
        (at(1), Some(at(7_201)), Some(at(1))),
        (at(2), Some(at(7_201)), Some(at(2))),
        (at(3), None, None),
    ];
    assert_eq!(times, expected);
    assert!(bench.recover().is_ok());
}

#[test]
fn a_dropped_log_has_recorded_what_was_appended() {
    let bench = Bench::new();
    let opened = bench.open();
    for n in 0..50 {
        opened.append(n, answer(1, 10)).unwrap();
    }
    drop(opened.log);
    assert_eq!(opened.durable.iter().count(), 50);
    assert!(bench.records().len() >= 52);
}
