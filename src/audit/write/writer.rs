//! Takes what is queued, writes one batch, syncs once, hands out the receipts.
//!
//! It never waits for a batch to grow: while one sync runs, the next batch gathers in the queue. A thread that appends
//! either writes by itself ([`crate::audit::Log::commit`]), without a switch to another thread and with the records still
//! in its processor's cache; or it has other work, and a disk that takes long, and hands its entries over to the log
//! thread. That one runs at low priority: at once when a processor is idle, else with all that has gathered meanwhile.

use super::entries::{Queued, Recipient};
use super::pen::Pen;
use super::receipt::Receipt;
use super::shared::{Shared, UNPUBLISHED_WAKE};
use super::sync::lock;
use crate::audit::error::LogError;
use crate::audit::record::entry::Covered;
use crate::clock::{monotonic_nanos, since};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

/// How far the log thread stands back behind the threads that sign, as `nice(1)` counts.
const NICE: i32 = 10;

/// A record of the batch that is not durable yet.
struct Undurable<T> {
    seq: u64,
    covers: Option<Covered>,
    recipient: Recipient<T>,
    of_checkpoint: bool,
}

/// See [`crate::audit::Handlers::on_durable`].
pub(in crate::audit) type OnDurable<T> = Box<dyn FnMut(&mut Vec<(T, Receipt)>) + Send>;
/// See [`crate::audit::Handlers::on_failure`].
pub(in crate::audit) type OnFailure = Box<dyn FnOnce(&LogError) + Send>;

/// The thread that holds it writes.
pub(in crate::audit) struct Writer<T> {
    shared: Arc<Shared<T>>,
    pen: Pen,
    on_durable: OnDurable<T>,
    /// Empty between two batches; kept for its memory, as the next two.
    items: Vec<Queued<T>>,
    undurable: Vec<Undurable<T>>,
    durable: Vec<(T, Receipt)>,
    /// What the entries of the batch had reserved.
    reserved: u64,
}

/// The log thread: runs until the log is closed or fails.
pub(in crate::audit) fn run<T>(shared: &Shared<T>, writer: &Mutex<Writer<T>>, on_failure: OnFailure) {
    // Without it batches stay small at full load on a disk that takes long. A sandbox may forbid it: no harm.
    let _ = rustix::process::nice(NICE);
    shared.queue.run(writer, Writer::write_queued);
    if let Some(error) = shared.poisoned() {
        tracing::error!(%error, "the audit log failed");
        on_failure(&error);
    }
}

impl<T> Writer<T> {
    pub(in crate::audit) fn new(shared: Arc<Shared<T>>, pen: Pen, on_durable: OnDurable<T>) -> Self {
        let (items, undurable, durable) = (Vec::new(), Vec::new(), Vec::new());
        Self { shared, pen, on_durable, items, undurable, durable, reserved: 0 }
    }

    /// Writes what is queued, unless the log has failed: after a failed write nothing is written any more.
    pub(in crate::audit) fn write_queued(&mut self) {
        let mut items = std::mem::take(&mut self.items);
        if self.shared.queue.take(&mut items)
            && let Err(e) = self.write(&mut items)
        {
            // The log thread ends and drops what is queued after it.
            self.undurable.clear();
            self.shared.poison(&e.to_string());
        }
        self.items = items;
    }

    fn write(&mut self, items: &mut Vec<Queued<T>>) -> Result<(), LogError> {
        self.pen.tick();
        for item in items.drain(..) {
            self.put(item)?;
        }
        self.flush()
    }

    fn put(&mut self, item: Queued<T>) -> Result<(), LogError> {
        if !self.pen.fits(&item.entry) {
            self.flush()?;
            if !self.pen.fits(&item.entry) {
                self.rotate()?;
            }
        }
        let seq = self.pen.put(&item.entry);
        self.reserved += item.reserved;
        self.undurable.push(Undurable {
            seq,
            covers: item.entry.covers,
            recipient: item.recipient,
            of_checkpoint: item.of_checkpoint,
        });
        Ok(())
    }

    fn flush(&mut self) -> Result<(), LogError> {
        if self.pen.gathered() == 0 {
            return Ok(());
        }
        let began = monotonic_nanos();
        let (shared, pen) = (&self.shared, &mut self.pen);
        let Some(durable) = shared.queue.durable(|| shared.at_disk.since(began, || pen.flush())) else {
            return Err(shared.ended());
        };
        shared.quickest.took(since(began));
        self.shared.space.written(self.pen.segment().left(), std::mem::take(&mut self.reserved));
        self.hand_to_publisher();
        self.pen.begin();
        // The one place where receipts are made.
        for Undurable { seq, covers, recipient, .. } in self.undurable.drain(..) {
            let receipt = Receipt::new(seq, covers, &durable);
            match recipient {
                Recipient::Handler(ticket) => self.durable.push((ticket, receipt)),
                // A thread that does not wait any more does not need it.
                Recipient::Thread(tell) => drop(tell.try_send(receipt)),
            }
        }
        if !self.durable.is_empty() {
            (self.on_durable)(&mut self.durable);
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
        unpublished.others += self.undurable.iter().filter(|l| !l.of_checkpoint).count() as u64;
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
        let pen = &mut self.pen;
        let rotated = self
            .shared
            .at_disk
            .since(monotonic_nanos(), || pen.rotate(prepared).and_then(|()| pen.segment().identity()));
        drop(next);
        *lock(&self.shared.live) = rotated.map_err(|e| self.fail(&e.to_string()))?;
        self.shared.space.rotated(self.pen.segment().left());
        self.shared.keep.notify_one();
        Ok(())
    }

    /// Ends the log for good.
    fn fail(&self, why: &str) -> LogError {
        self.shared.poison(why);
        self.shared.ended()
    }
}
