//! Group commit: threads append to one queue, and the thread that holds the writer writes all of it.
//!
//! * Nothing stays queued. An item enters the queue only in a call that writes it or wakes the log thread. A thread that
//!   finds the writer held returns: its holder rechecks the queue after it has released the writer, then writes again or
//!   wakes the log thread. The log thread sleeps only while the queue is empty.
//! * Once the log has failed, nothing more is taken, written or released; the log thread drops what is queued.
//!
//! `tests/model.rs` runs this file as it is, with other primitives in [`super::sync`], and tries many orders
//! of its threads.

use super::sync::{Condvar, Mutex, MutexGuard};
use std::fmt::Display;
use std::sync::{Arc, OnceLock, PoisonError, TryLockError};

/// What waits to be written, and whether anything will be.
pub(crate) struct Queue<I> {
    state: Mutex<State<I>>,
    work: Condvar,
    failure: OnceLock<Arc<str>>,
}

struct State<I> {
    items: Vec<I>,
    /// The log thread waits for something to do.
    sleeping: bool,
    /// Finish what is queued, then end.
    stop: bool,
    /// Nothing is taken any more.
    closed: bool,
}

/// A sync returned, and the log had not failed by then. Receipts are made of nothing else.
pub(super) struct Durable(());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<I> Queue<I> {
    pub(super) fn new() -> Self {
        let state = State { items: Vec::new(), sleeping: false, stop: false, closed: false };
        Self { state: Mutex::new(state), work: Condvar::new(), failure: OnceLock::new() }
    }

    /// Queues `items`; `false`, and they are dropped, when nothing is taken any more.
    fn push(&self, mut items: Vec<I>) -> bool {
        let mut state = lock(&self.state);
        let open = !state.closed && self.failure().is_none();
        if open {
            state.items.append(&mut items);
        }
        open
    }

    /// Wakes the log thread if it sleeps.
    fn wake(&self) {
        // Cleared with the first wake-up: a caller that comes before the thread runs does not wake it again.
        if std::mem::take(&mut lock(&self.state).sleeping) {
            self.work.notify_one();
        }
    }

    /// Queues `items` for the log thread; `false`, and they are dropped, when nothing is taken any more.
    pub(crate) fn hand_over(&self, items: Vec<I>) -> bool {
        let queued = self.push(items);
        self.wake();
        queued
    }

    /// Queues `items` and has `write` write all that is queued. If the writer is held, returns: its holder rechecks the
    /// queue. When other threads have queued more meanwhile, this one writes that too as long as `again` says so; else
    /// the log thread does.
    pub(crate) fn commit<W>(
        &self,
        items: Vec<I>,
        writer: &Mutex<W>,
        write: impl Fn(&mut W),
        mut again: impl FnMut() -> bool,
    ) {
        if !self.push(items) {
            return;
        }
        loop {
            match writer.try_lock() {
                Ok(mut writer) => write(&mut writer),
                Err(TryLockError::Poisoned(writer)) => write(&mut writer.into_inner()),
                Err(TryLockError::WouldBlock) => return,
            }
            // After the writer was released, in the arms above: a thread that found it held before has returned.
            if lock(&self.state).items.is_empty() || self.failure().is_some() {
                return;
            }
            if !again() {
                return self.wake();
            }
        }
    }

    /// Ends the log for good. The first reason stands.
    pub(super) fn fail(&self, why: &str) {
        let _ = self.failure.set(why.into());
        let _state = lock(&self.state);
        self.work.notify_all();
    }

    /// Why the log ended for good, if it did.
    pub(super) fn failure(&self) -> Option<&Arc<str>> {
        self.failure.get()
    }

    /// Lets the log thread finish what is queued, then end.
    pub(crate) fn stop(&self) {
        lock(&self.state).stop = true;
        self.work.notify_one();
    }

    /// The log thread: has `write` write what is queued, until [`Self::stop`] or a failure.
    pub(super) fn run<W>(&self, writer: &Mutex<W>, write: impl Fn(&mut W)) {
        while self.wait() {
            write(&mut lock(writer));
        }
        // Nothing may be queued behind the last look at the queue: its ticket would wait for ever.
        let mut state = lock(&self.state);
        state.closed = true;
        let items = std::mem::take(&mut state.items);
        drop(state);
        // Dropping tickets and waiters tells each of them that there is no receipt.
        drop(items);
    }

    /// Waits for something to write; `false` when there will be nothing.
    fn wait(&self) -> bool {
        let mut state = lock(&self.state);
        loop {
            if self.failure().is_some() {
                return false;
            }
            if !state.items.is_empty() {
                return true;
            }
            if state.stop {
                return false;
            }
            state.sleeping = true;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.sleeping = false;
        }
    }

    /// Moves what is queued into `items`, which is empty; whether there is something to write.
    pub(super) fn take(&self, items: &mut Vec<I>) -> bool {
        if self.failure().is_some() {
            return false;
        }
        std::mem::swap(&mut lock(&self.state).items, items);
        !items.is_empty()
    }

    /// Writes a batch with `sync`, which returns when it is durable. Its first error ends the log.
    pub(super) fn durable<E: Display>(&self, sync: impl FnOnce() -> Result<(), E>) -> Option<Durable> {
        if let Err(e) = sync() {
            self.fail(&e.to_string());
        }
        self.failure().is_none().then_some(Durable(()))
    }
}
