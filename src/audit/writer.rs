//! The log thread: takes what is queued, writes one batch, syncs once, hands out the receipts.
//!
//! It never waits for a batch to grow: while one sync runs, the next batch gathers in the queue.

use super::draft::Draft;
use super::entry::{Entry, Receipt};
use super::error::LogError;
use super::event::{Event, Outcome};
use super::log::Handlers;
use super::pen::Pen;
use super::shared::{Item, Shared, To, UNPUBLISHED_WAKE, lock};
use super::space::For;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

/// A record that was put and whose batch is not durable yet.
struct Landing<T> {
    seq: u64,
    digest: Option<[u8; 32]>,
    to: To<T>,
    own: bool,
}

pub(super) struct Writer<T> {
    shared: Arc<Shared<T>>,
    pen: Pen,
    handlers: Handlers<T>,
    landing: Vec<Landing<T>>,
    /// What the entries of the batch had reserved.
    reserved: u64,
    /// Emptied by the handler; kept for its memory.
    durable: Vec<(T, Receipt)>,
}

impl<T> Writer<T> {
    pub(super) fn new(shared: Arc<Shared<T>>, pen: Pen, handlers: Handlers<T>) -> Self {
        Self { shared, pen, handlers, landing: Vec::new(), reserved: 0, durable: Vec::new() }
    }

    /// Runs until the log is closed or fails.
    pub(super) fn run(mut self) {
        let mut items = Vec::new();
        let ended = loop {
            if !self.take(&mut items) {
                break self.shared.poisoned();
            }
            if let Err(e) = self.write(&mut items) {
                self.shared.poison(&e.to_string());
                break self.shared.poisoned();
            }
        };
        // Nothing may be queued behind the last look at the queue: its ticket would wait for ever.
        let mut queue = lock(&self.shared.queue);
        queue.closed = true;
        items.append(&mut queue.items);
        drop(queue);
        // Dropping tickets and waiters tells each of them that there is no receipt.
        drop(items);
        drop(self.landing);
        if let Some(error) = ended {
            tracing::error!(%error, "the audit log failed");
            (self.handlers.on_failure)(&error);
        }
    }

    /// Waits for work; `false` when there will be none.
    fn take(&self, items: &mut Vec<Item<T>>) -> bool {
        let mut queue = lock(&self.shared.queue);
        loop {
            if self.shared.poisoned().is_some() {
                return false;
            }
            if !queue.items.is_empty() {
                std::mem::swap(&mut queue.items, items);
                return true;
            }
            if queue.stop {
                return false;
            }
            queue.sleeping = true;
            queue = self.shared.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.sleeping = false;
        }
    }

    fn write(&mut self, items: &mut Vec<Item<T>>) -> Result<(), LogError> {
        if let Some(back) = self.pen.tick() {
            self.record_step(back)?;
        }
        for item in items.drain(..) {
            self.put(item)?;
        }
        self.flush()
    }

    fn put(&mut self, item: Item<T>) -> Result<(), LogError> {
        if !self.pen.fits(&item.entry) {
            self.flush()?;
            if !self.pen.fits(&item.entry) {
                self.rotate()?;
            }
        }
        let seq = self.pen.put(&item.entry);
        self.reserved += item.cost;
        self.landing.push(Landing { seq, digest: item.entry.digest, to: item.to, own: item.own });
        Ok(())
    }

    fn flush(&mut self) -> Result<(), LogError> {
        if self.pen.gathered() == 0 {
            return Ok(());
        }
        self.pen.flush().map_err(|e| self.fail(&e.to_string()))?;
        if let Some(error) = self.shared.poisoned() {
            return Err(error);
        }
        self.shared.space.written(self.pen.segment().left(), std::mem::take(&mut self.reserved));
        self.hand_to_publisher();
        self.pen.begin();
        // The one place where receipts are made: the sync above has returned.
        for Landing { seq, digest, to, .. } in self.landing.drain(..) {
            let receipt = Receipt::new(seq, digest);
            match to {
                To::Ticket(ticket) => self.durable.push((ticket, receipt)),
                // Who does not wait any more does not need it.
                To::Waiter(tell) => drop(tell.try_send(receipt)),
                To::Nobody => drop(receipt),
            }
        }
        if !self.durable.is_empty() {
            (self.handlers.on_durable)(&mut self.durable);
            self.durable.clear();
        }
        Ok(())
    }

    fn hand_to_publisher(&self) {
        let mut unpublished = lock(&self.shared.unpublished);
        for record in self.pen.records() {
            unpublished.bytes.extend_from_slice(record);
            let end = unpublished.bytes.len();
            unpublished.ends.push(end);
        }
        unpublished.others += self.landing.iter().filter(|l| !l.own).count() as u64;
        let waiting = unpublished.bytes.len();
        drop(unpublished);
        self.shared.waiting.store(waiting as u64, Ordering::Relaxed);
        if waiting > UNPUBLISHED_WAKE {
            self.shared.publish.notify_one();
        }
    }

    /// Goes on in the next segment, which the reservations say is there.
    fn rotate(&mut self) -> Result<(), LogError> {
        lock(&self.shared.live).check().map_err(|why| self.fail(&why))?;
        // Held until the file has its new name: a keeper that looked before would find the same file where the next
        // one belongs, still all zeros, and prepare it a second time; its header would then be written over this
        // segment's.
        let mut next = lock(&self.shared.next);
        let Some(prepared) = next.prepared.take() else {
            drop(next);
            return Err(
                self.fail("an entry was taken that no segment has space for; this is a defect, report it")
            );
        };
        let rotated = self.pen.rotate(prepared).and_then(|()| self.pen.segment().identity());
        drop(next);
        *lock(&self.shared.live) = rotated.map_err(|e| self.fail(&e.to_string()))?;
        self.shared.space.rotated(self.pen.segment().left());
        self.shared.keep.notify_one();
        Ok(())
    }

    /// Records that the clock went back, if there is space: it is told once a step.
    fn record_step(&mut self, back: i128) -> Result<(), LogError> {
        let seconds = back / 1_000_000_000;
        let reason =
            format!("the clock went back by {seconds} s; records keep the last time until it has caught up");
        tracing::warn!(seconds, "the clock went back");
        let draft = Draft { reason: Some(&reason), ..Draft::new(Event::ClockStepped, Outcome::Success) };
        let entry = Entry::plain(&draft)?;
        match self.shared.reserve(entry.size(), For::System) {
            Ok(room) => self.put(Item { entry, cost: room.into_cost(), to: To::Nobody, own: false }),
            Err(_) => Ok(()),
        }
    }

    /// Ends the log for good.
    fn fail(&self, why: &str) -> LogError {
        self.shared.poison(why);
        self.shared.ended()
    }
}
