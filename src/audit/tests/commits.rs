//! Which thread writes entries: the one that commits them, or the log thread.

use super::*;
use std::thread::current;
use std::time::Duration;

/// Tells on which thread each batch was released, which is held up there as long as the gate is held.
fn open(bench: &Bench) -> (Log<u64>, Receiver<(u64, Option<String>)>) {
    let (tell, told) = channel();
    let gate = Arc::clone(&bench.gate);
    let handlers = Handlers {
        on_durable: Box::new(move |batch| {
            let name = current().name().map(str::to_owned);
            batch.drain(..).for_each(|(ticket, _)| drop(tell.send((ticket, name.clone()))));
            drop(gate.lock());
        }),
        on_failure: Box::new(|_| ()),
    };
    let (log, _) =
        Log::open(LogLock::take(bench.settings()).unwrap(), &bench.keys(), bench.sign(), handlers).unwrap();
    (log, told)
}

fn entries(log: &Log<u64>, tickets: &[u64]) -> Entries<u64> {
    let mut entries = Entries::default();
    for ticket in tickets {
        let entry = answer(1, 10);
        entries.push(log.reserve(entry.size()).unwrap(), entry, *ticket).unwrap();
    }
    entries
}

#[test]
fn a_thread_that_commits_writes_by_itself_and_at_once() {
    let bench = Bench::new();
    let (log, told) = open(&bench);
    log.commit(entries(&log, &[7]), || panic!("nothing else is queued"));
    assert_eq!(told.try_recv().unwrap(), (7, current().name().map(str::to_owned)));
    log.close().unwrap();
}

#[test]
fn the_log_thread_writes_what_is_handed_over() {
    let bench = Bench::new();
    let (log, told) = open(&bench);
    log.hand_over(entries(&log, &[7]));
    let (ticket, name) = told.recv_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!((ticket, name.as_deref()), (7, Some("audit-log")));
    log.close().unwrap();
}

#[test]
fn entries_that_are_committed_together_are_recorded_in_their_order() {
    let bench = Bench::new();
    let (log, told) = open(&bench);
    log.commit(entries(&log, &[0, 1, 2, 3, 4]), || true);
    assert_eq!(told.try_iter().map(|(ticket, _)| ticket).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    log.close().unwrap();
}

/// While one thread writes another commits; `again` is what the first says of writing that too. The thread that wrote it.
fn committed_behind_a_writer(again: bool) -> Option<String> {
    let bench = Bench::new();
    let (log, told) = open(&bench);
    let name = std::thread::scope(|scope| {
        let held = bench.gate.lock().unwrap();
        let name = "first".to_owned();
        let first = std::thread::Builder::new().name(name);
        let writing = first.spawn_scoped(scope, || log.commit(entries(&log, &[1]), || again)).unwrap();
        assert_eq!(told.recv().unwrap().0, 1);
        log.commit(entries(&log, &[2]), || panic!("the other thread writes"));
        assert!(told.try_recv().is_err());
        drop(held);
        writing.join().unwrap();
        let (ticket, name) = told.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!(ticket, 2);
        name
    });
    log.close().unwrap();
    name
}

#[test]
fn a_writer_rechecks_the_queue_and_writes_again_or_wakes_the_log_thread() {
    assert_eq!(committed_behind_a_writer(true).as_deref(), Some("first"));
    assert_eq!(committed_behind_a_writer(false).as_deref(), Some("audit-log"));
}

/// However commits and handing over fall together, nothing stays queued.
#[test]
fn every_entry_of_concurrent_threads_gets_its_receipt() {
    let bench = Bench::new();
    let (log, told) = open(&bench);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let log = &log;
            scope.spawn(move || {
                for n in 0..300 {
                    let entry = answer(1, 10);
                    let reservation = loop {
                        match log.reserve(entry.size()) {
                            Ok(reservation) => break reservation,
                            Err(_) => std::thread::yield_now(),
                        }
                    };
                    let mut entries = Entries::default();
                    entries.push(reservation, entry, thread * 1000 + n).unwrap();
                    if (thread + n) % 3 > 0 {
                        log.commit(entries, || n % 2 > 0);
                    } else {
                        log.hand_over(entries);
                    }
                }
            });
        }
    });
    // No entry comes any more that would carry a forgotten one with it.
    for n in 0..1200 {
        assert!(told.recv_timeout(Duration::from_secs(60)).is_ok(), "{n} of 1200 came");
    }
    log.close().unwrap();
}

#[test]
fn a_log_that_has_failed_takes_no_entries() {
    let bench = Bench::new();
    let (log, told) = open(&bench);
    let before = bench.records().len();
    let entries = [entries(&log, &[1]), entries(&log, &[2])];
    log.shared.poison("the test says so");
    let [one, other] = entries;
    log.commit(one, || true);
    log.hand_over(other);
    assert!(log.close().is_err());
    assert_eq!(bench.records().len(), before);
    assert!(told.recv().is_err(), "the tickets were dropped");
}

#[test]
fn nothing_is_written_after_a_failed_write() {
    let bench = Bench::new();
    let (log, told) = open(&bench);
    log.commit(entries(&log, &[1]), || true);
    std::fs::remove_file(&bench.segments()[0]).unwrap();
    log.commit(entries(&log, &[2]), || true);
    assert!(log.failure().is_some());
    assert!(log.reserve(answer(1, 10).size()).is_err());
    assert!(log.close().is_err());
    let told: Vec<_> = told.iter().map(|(ticket, _)| ticket).collect();
    assert_eq!(told, [1], "the other ticket was dropped");
}
