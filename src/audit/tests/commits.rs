//! Who writes what is queued: whoever appended, or the log thread.

use super::super::Queued;
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

fn append(log: &Log<u64>, ticket: u64) -> Queued<'_, u64> {
    let entry = answer(1, 10);
    log.append(log.reserve(entry.size()).unwrap(), entry, ticket).unwrap()
}

#[test]
fn whoever_commits_writes_by_itself_and_at_once() {
    let bench = Bench::new();
    let (log, told) = open(&bench);
    assert!(append(&log, 7).commit().is_none());
    assert_eq!(told.try_recv().unwrap(), (7, current().name().map(str::to_owned)));
    log.close().unwrap();
}

#[test]
fn what_is_left_is_written_by_the_log_thread() {
    let bench = Bench::new();
    let (log, told) = open(&bench);
    drop(append(&log, 7));
    let (ticket, name) = told.recv_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!((ticket, name.as_deref()), (7, Some("audit-log")));
    log.close().unwrap();
}

#[test]
fn one_commit_writes_what_others_appended_too() {
    let bench = Bench::new();
    let (log, told) = open(&bench);
    let queued: Vec<_> = (0..5).map(|ticket| append(&log, ticket)).collect();
    assert!(queued.into_iter().map(Queued::commit).all(|more| more.is_none()));
    assert_eq!(told.try_iter().map(|(ticket, _)| ticket).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    log.close().unwrap();
}

#[test]
fn what_comes_while_somebody_writes_is_not_forgotten_by_whoever_that_is() {
    let bench = Bench::new();
    let (log, told) = open(&bench);
    std::thread::scope(|scope| {
        let held = bench.gate.lock().unwrap();
        let writing = scope.spawn(|| {
            let mut queued = Some(append(&log, 1));
            while let Some(more) = queued {
                queued = more.commit();
            }
        });
        assert_eq!(told.recv().unwrap().0, 1);
        assert!(append(&log, 2).commit().is_none(), "the pen is taken");
        assert!(told.try_recv().is_err());
        drop(held);
        writing.join().unwrap();
        assert_eq!(told.try_recv().unwrap().0, 2);
    });
    log.close().unwrap();
}

/// However appends, commits and leaving it to the log thread fall together, nothing stays queued.
#[test]
fn nothing_is_forgotten_between_two_who_write() {
    let bench = Bench::new();
    let (log, told) = open(&bench);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let log = &log;
            scope.spawn(move || {
                for n in 0..300 {
                    let entry = answer(1, 10);
                    let room = loop {
                        match log.reserve(entry.size()) {
                            Ok(room) => break room,
                            Err(_) => std::thread::yield_now(),
                        }
                    };
                    let mut queued = log.append(room, entry, thread * 1000 + n).ok();
                    if (thread + n) % 3 > 0 {
                        while let Some(q) = queued.take() {
                            queued = q.commit();
                        }
                    }
                }
            });
        }
    });
    // No append comes any more that would carry a forgotten one with it.
    for n in 0..1200 {
        assert!(told.recv_timeout(Duration::from_secs(60)).is_ok(), "{n} of 1200 came");
    }
    log.close().unwrap();
}

#[test]
fn who_finds_the_log_failed_writes_nothing() {
    let bench = Bench::new();
    let (log, told) = open(&bench);
    let before = bench.records().len();
    let queued = append(&log, 1);
    log.shared.poison("the test says so");
    assert!(queued.commit().is_none());
    assert!(log.close().is_err());
    assert_eq!(bench.records().len(), before);
    assert!(told.recv().is_err(), "the ticket was dropped");
}

#[test]
fn nothing_is_written_behind_a_failed_write_by_anybody() {
    let bench = Bench::new();
    let (log, told) = open(&bench);
    assert!(append(&log, 1).commit().is_none());
    std::fs::remove_file(&bench.segments()[0]).unwrap();
    assert!(append(&log, 2).commit().is_none());
    assert!(log.failure().is_some());
    let entry = answer(1, 10);
    assert!(log.reserve(entry.size()).is_err());
    assert!(log.close().is_err());
    assert_eq!(
        told.iter().map(|(ticket, _)| ticket).collect::<Vec<_>>(),
        [1],
        "the other ticket was dropped"
    );
}
