//! Group commit in many orders of its threads: `src/audit/write/queue.rs` as it is, with the primitives of shuttle, which
//! decides at each of them which thread goes on, and tells when none can.
//!
//! What must hold in each: every ticket gets one receipt or is dropped; no receipt comes before its batch's sync or of one
//! that ended after the log had failed; nothing stays queued while all threads wait.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "../src/audit/write/queue.rs"]
mod queue;

mod sync {
    pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard};
}

use queue::{Durable, Queue};
use shuttle::thread;
use std::sync::Arc;
use sync::{Condvar, Mutex};

/// What a thread does with its entry.
#[derive(Clone, Copy)]
enum Then {
    /// Commits, and writes what came meanwhile too.
    Commit,
    /// Commits once, and leaves what came meanwhile to the log thread.
    CommitOnce,
    /// Leaves it to the log thread.
    HandOver,
}
use Then::{Commit, CommitOnce, HandOver};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Open,
    Synced,
    Released,
    Dropped,
}

/// What became of each ticket.
struct Fates(Mutex<Vec<Fate>>, Condvar);

struct Ticket {
    number: usize,
    fates: Arc<Fates>,
}

impl Ticket {
    fn becomes(&self, before: &[Fate], fate: Fate) {
        let mut fates = self.fates.0.lock().unwrap();
        let now = &mut fates[self.number];
        assert!(before.contains(now), "ticket {} is {now:?} and becomes {fate:?}", self.number);
        *now = fate;
        self.fates.1.notify_all();
    }

    fn release(self, _: &Durable) {
        self.becomes(&[Fate::Synced], Fate::Released);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let released = self.fates.0.lock().unwrap()[self.number] == Fate::Released;
        if !released {
            self.becomes(&[Fate::Open, Fate::Synced], Fate::Dropped);
        }
    }
}

/// What a disk promises: it has a batch when the sync returns, and not before; after an error it promises nothing.
struct Disk {
    queue: Arc<Queue<Ticket>>,
    /// Syncs until one fails.
    good: usize,
    failed: bool,
    items: Vec<Ticket>,
}

impl Disk {
    fn write(&mut self) {
        let mut items = std::mem::take(&mut self.items);
        if self.queue.take(&mut items) {
            assert!(!self.failed, "written after a failed sync");
            let failed_before = self.queue.failure().is_some();
            let durable = self.queue.durable(|| {
                thread::yield_now();
                if self.good == 0 {
                    self.failed = true;
                    return Err("the disk fails");
                }
                self.good -= 1;
                for ticket in &items {
                    ticket.becomes(&[Fate::Open], Fate::Synced);
                }
                Ok(())
            });
            assert!(!(failed_before && durable.is_some()), "a receipt after the log had failed");
            match durable {
                Some(durable) => items.drain(..).for_each(|ticket| ticket.release(&durable)),
                None => items.clear(),
            }
        }
        self.items = items;
    }
}

/// One thread for each of `threads`, which appends so many tickets. `good` syncs succeed; with `gone` another thread finds the file gone meanwhile.
fn group_commit(threads: &[Then], tickets: usize, good: usize, gone: bool) {
    let queue = Arc::new(Queue::new());
    let disk = Disk { queue: Arc::clone(&queue), good, failed: false, items: Vec::new() };
    let writer = Arc::new(Mutex::new(disk));
    let fates = Arc::new(Fates(Mutex::new(vec![Fate::Open; threads.len() * tickets]), Condvar::new()));
    let log_thread = {
        let (queue, writer) = (Arc::clone(&queue), Arc::clone(&writer));
        thread::spawn(move || queue.run(&writer, Disk::write))
    };
    let mut threads: Vec<_> = threads
        .iter()
        .copied()
        .enumerate()
        .map(|(thread, then)| {
            let (queue, writer, fates) = (Arc::clone(&queue), Arc::clone(&writer), Arc::clone(&fates));
            thread::spawn(move || {
                for n in 0..tickets {
                    let number = thread * tickets + n;
                    let items = vec![Ticket { number, fates: Arc::clone(&fates) }];
                    match then {
                        Commit => queue.commit(items, &writer, Disk::write, || true),
                        CommitOnce => queue.commit(items, &writer, Disk::write, || false),
                        HandOver => drop(queue.hand_over(items)),
                    }
                }
            })
        })
        .collect();
    if gone {
        let queue = Arc::clone(&queue);
        threads.push(thread::spawn(move || queue.fail("the file is gone")));
    }
    for thread in threads {
        thread.join().unwrap();
    }
    // No append comes any more that would carry a forgotten one with it.
    let open =
        |fates: &mut Vec<Fate>| fates.iter().any(|fate| !matches!(fate, Fate::Released | Fate::Dropped));
    let told = fates.1.wait_while(fates.0.lock().unwrap(), open).unwrap();
    let failed = queue.failure().is_some();
    assert_eq!(failed, gone || told.contains(&Fate::Dropped));
    drop(told);
    queue.stop();
    log_thread.join().unwrap();
}

/// Orders at random, and orders with few changes of thread at the worst places; with one ticket each, so that none that
/// comes later carries a forgotten one with it, and with two.
fn check(threads: &'static [Then], good: usize, gone: bool) {
    for tickets in [1, 2] {
        shuttle::check_random(move || group_commit(threads, tickets, good, gone), 1_000);
        for changes in [2, 5] {
            shuttle::check_pct(move || group_commit(threads, tickets, good, gone), 2_000, changes);
        }
    }
}

#[test]
fn every_ticket_gets_its_receipt_and_nothing_stays_queued() {
    for threads in [&[Commit, Commit][..], &[CommitOnce, CommitOnce], &[Commit, CommitOnce, HandOver]] {
        check(threads, usize::MAX, false);
    }
}

#[test]
fn after_a_failed_sync_every_other_ticket_is_dropped_and_nothing_is_written() {
    for good in 0..2 {
        check(&[Commit, CommitOnce, HandOver], good, false);
    }
}

#[test]
fn a_log_that_fails_beside_a_sync_releases_nothing_of_it() {
    check(&[Commit, CommitOnce], usize::MAX, true);
}
