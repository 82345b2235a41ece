//! Each call to the system that the log makes, made to fail: what was told before is there after, and after a failed
//! write or sync of a segment nothing more is written to one.

use super::*;
use crate::durable::faults;
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

const WORK: &str = "audit::tests::faults::work";
/// Records that the work appends: more than one small segment takes.
const RECORDS: u64 = 24;
/// A segment, as the shim names it.
const SEGMENT: &str = "/segments/#.seg";
const PAYLOAD: usize = 45_000;

fn bench(key: EcdsaKeyPair) -> Bench {
    Bench {
        dir: directory(),
        key: Arc::new(key),
        signing: Arc::new(AtomicBool::new(true)),
        signed: Arc::default(),
        gate: Arc::default(),
    }
}

/// A log whose last write a crash has cut off, so that recovery has something to do.
fn template() -> Bench {
    let bench = Bench::new();
    let opened = bench.open();
    let _ = opened.log.record(answer(1, 40)).unwrap();
    opened.log.checkpoint().unwrap();
    bench.signing.store(false, Ordering::SeqCst);
    let _ = opened.log.record(answer(2, 3 * 4096)).unwrap();
    drop(opened.log);
    bench.signing.store(true, Ordering::SeqCst);
    let segment = bench.segments().pop().unwrap();
    let last = frames(&segment).pop().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    bytes[usize::try_from(last.end).unwrap() - 4096..].fill(0);
    fs::write(&segment, bytes).unwrap();
    let key = bench.key.to_pkcs8v1().unwrap();
    fs::write(bench.dir.path().join("key"), key.as_ref()).unwrap();
    bench
}

fn at_home(home: &Path) -> (Bench, LogSettings) {
    let key = fs::read(home.join("key")).unwrap();
    let bench = bench(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &key).unwrap());
    let settings = LogSettings { directory: home.join("audit"), ..bench.settings() };
    (bench, settings)
}

#[test]
#[ignore = "the work of the other test, in a process of its own"]
fn work() {
    let Some(home) = faults::home() else { return };
    let (bench, settings) = at_home(&home);
    let handlers = Handlers {
        on_durable: Box::new(|batch| {
            for (ticket, receipt) in batch.drain(..) {
                println!("told receipt {ticket} {}", receipt.sequence());
            }
        }),
        on_failure: Box::new(|e| println!("told poison {e}")),
    };
    let open = |lock| Log::<u64>::open(lock, &bench.keys(), bench.sign(), handlers);
    let (log, _) = match LogLock::take(settings).and_then(open) {
        Ok(opened) => opened,
        Err(e) => return println!("told refused {e}"),
    };
    log.sign_checkpoints(Continuity::created());
    for n in 0..RECORDS {
        let entry = answer(u8::try_from(n).unwrap(), PAYLOAD);
        let Some(reservation) = (0..200).find_map(|_| {
            let reservation = log.reserve(entry.size());
            if reservation.is_err() && log.failure().is_none() {
                std::thread::sleep(Duration::from_millis(5));
            }
            reservation.ok()
        }) else {
            break;
        };
        let mut entries = Entries::default();
        entries.push(reservation, entry, n).unwrap();
        log.commit(entries, || true);
        if n % 10 == 9
            && let Ok(published) = log.checkpoint()
        {
            println!("told checkpoint {}", published.size);
        }
    }
    match log.close() {
        Ok(()) => println!("told closed"),
        Err(e) => println!("told failed {e}"),
    }
}

/// What the work told: receipts by ticket, and the size of the newest checkpoint.
fn told(told: &[String]) -> (BTreeMap<u64, u64>, u64) {
    let (mut receipts, mut checkpoint, mut poisoned) = (BTreeMap::new(), 0, false);
    for line in told {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["receipt", ticket, seq] => {
                assert!(!poisoned, "a receipt after the log had failed");
                assert!(receipts.insert(ticket.parse().unwrap(), seq.parse().unwrap()).is_none());
            }
            ["checkpoint", size] => checkpoint = size.parse().unwrap(),
            ["poison", ..] => poisoned = true,
            _ => {}
        }
    }
    (receipts, checkpoint)
}

#[test]
fn whichever_call_to_the_system_fails_nothing_released_is_missing_and_poison_means_stop() {
    let template = template();
    let scratch = directory();
    let fresh = |name: &str| {
        let home = scratch.path().join(name);
        faults::copy(template.dir.path(), &home);
        home
    };
    let clean = faults::run(WORK, &fresh("clean"), "audit", None);
    assert_eq!(told(&clean.told).0.len() as u64, RECORDS, "{:?}", clean.told);
    assert!(clean.told.iter().any(|line| line == "closed"), "{:?}", clean.told);
    // A start makes the names of the segments durable before it builds on them.
    let first = |call: &str, name: &str| clean.calls.iter().position(|(c, n)| c == call && n == name);
    assert!(first("fsync", "/segments").unwrap() < first("pread", SEGMENT).unwrap());

    let faults = faults::faults(&clean.calls);
    let names = clean.calls.iter().collect::<std::collections::BTreeSet<_>>().len();
    println!("{} faults in {names} kinds of call, {} calls", faults.len(), clean.calls.len());
    assert!(faults.len() > 100, "the shim sees the calls");
    faults::each(&faults, |fault| {
        let home = fresh(&fault.to_string().replace('/', "_"));
        let ran = faults::run(WORK, &home, "audit", Some(fault));
        let (receipts, checkpoint) = told(&ran.told);
        let hit = ran.calls.iter().position(|(call, _)| call == "fault");
        let is_written = |(call, name): &(String, String)| call == "pwrite" && name == SEGMENT;
        if let Some(hit) = hit {
            let fatal = !fault.is_passing() && fault.is_of(&["pwrite", "fdatasync"], SEGMENT);
            if fatal {
                let stopped = |line: &String| line.starts_with("poison") || line.starts_with("refused");
                assert!(ran.told.iter().any(stopped), "{fault}: {:?}", ran.told);
                assert!(!ran.calls[hit..].iter().any(is_written), "{fault}: written after a failed write");
            }
            if fault.is_passing() {
                assert_eq!(receipts.len() as u64, RECORDS, "{fault}: {:?}", ran.told);
            }
        }

        let (bench, settings) = at_home(&home);
        let handlers = || Handlers { on_durable: Box::new(Vec::clear), on_failure: Box::new(|_| ()) };
        let open =
            || Log::<u64>::open(LogLock::take(settings.clone())?, &bench.keys(), bench.sign(), handlers());
        let (log, recovery) = open().unwrap_or_else(|e| panic!("{fault}: {e}; {:?}", ran.told));
        assert!(recovery.checkpoint.unwrap().size >= checkpoint, "{fault}: a checkpoint went back");
        let segments = disk::segment::list(&settings.directory.join("segments")).unwrap();
        let found: Vec<_> = segments.iter().flat_map(|(_, segment)| frames(segment)).collect();
        assert!(found.iter().zip(0..).all(|(frame, n)| frame.seq == n), "{fault}: a gap, or a number twice");
        for (ticket, seq) in receipts {
            let view = RecordView::parse(found[usize::try_from(seq).unwrap()].record.as_bytes()).unwrap();
            let digest = JwsDigest::of_verified(&ticket.to_string());
            assert_eq!(view.sha256.unwrap().0, *digest.as_bytes(), "{fault}: record {seq}");
        }
        log.sign_checkpoints(Continuity::created());
        let _ = log.record(plain(Event::Started)).unwrap();
        log.close().unwrap_or_else(|e| panic!("{fault}: {e}"));
        // All of it once more, from the first record.
        fs::remove_dir_all(settings.published()).unwrap();
        let (log, recovery) = open().unwrap_or_else(|e| panic!("{fault}: {e}"));
        assert!(recovery.rebuilt && recovery.torn.is_none(), "{fault}");
        drop(log);
        fs::remove_dir_all(home).unwrap();
    });
}
