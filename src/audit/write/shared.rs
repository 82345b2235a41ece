//! What the log's threads and its callers share.

use super::entries::{Queued, Recipient};
use super::queue::Queue;
use super::receipt::Receipt;
use super::space::{For, Reservation, Space};
use crate::audit::disk::segment::{Identity, Prepared};
use crate::audit::error::{Full, LogError, Poisoned};
use crate::audit::note::Published;
use crate::audit::publish::continuity::Continuity;
use crate::audit::record::entry::Entry;
use crate::clock::{Quickest, since};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::Duration;

/// Bytes of records that may wait to be published before new requests are refused.
const UNPUBLISHED_MAX: u64 = 32 * 1024 * 1024;
/// Bytes of waiting records at which the publisher is woken before its second is over.
pub(in crate::audit) const UNPUBLISHED_WAKE: usize = 4 * 1024 * 1024;

/// A thread that waits for a checkpoint.
pub(in crate::audit) type Asked = SyncSender<Result<Arc<Published>, LogError>>;

/// Durable records that have not been published.
pub(in crate::audit) struct Unpublished {
    /// Records one after the other.
    pub(in crate::audit) bytes: Vec<u8>,
    /// Where each ends.
    pub(in crate::audit) ends: Vec<usize>,
    /// How many are no records of checkpoints.
    pub(in crate::audit) others: u64,
    pub(in crate::audit) asked: Vec<Asked>,
    pub(in crate::audit) stop: bool,
}

/// The segment after the active one.
pub(in crate::audit) struct NextSegment {
    pub(in crate::audit) prepared: Option<Prepared>,
    pub(in crate::audit) stop: bool,
}

/// When the disk was asked to take what it has not said to have; while it hangs, so does the thread that asked.
#[derive(Default)]
pub(in crate::audit) struct AtDisk(AtomicU64);

impl AtDisk {
    /// Does `work`, which began at this time of [`crate::clock::monotonic_nanos`] and returns when the disk has answered.
    pub(in crate::audit) fn since<T>(&self, began: u64, work: impl FnOnce() -> T) -> T {
        self.0.store(began, Ordering::Relaxed);
        let done = work();
        self.0.store(0, Ordering::Relaxed);
        done
    }

    /// For how long the disk has not answered; zero when it is not asked.
    pub(in crate::audit) fn age(&self) -> Duration {
        match self.0.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            began => since(began),
        }
    }
}

pub(in crate::audit) struct Shared<T> {
    pub(in crate::audit) queue: Queue<Queued<T>>,
    pub(in crate::audit) space: Arc<Space>,
    pub(in crate::audit) unpublished: Mutex<Unpublished>,
    pub(in crate::audit) publish: Condvar,
    /// Length of `unpublished.bytes`, to be read without its lock.
    pub(in crate::audit) waiting: AtomicU64,
    pub(in crate::audit) next: Mutex<NextSegment>,
    pub(in crate::audit) keep: Condvar,
    pub(in crate::audit) live: Mutex<Identity>,
    /// What the disk takes for a batch to be written and durable.
    pub(in crate::audit) quickest: Quickest,
    /// The batch that is being written; what waits behind it is younger.
    pub(in crate::audit) at_disk: AtDisk,
    /// Given by [`crate::audit::Log::sign_checkpoints`]: checkpoints may be signed.
    pub(in crate::audit) continuity: OnceLock<Continuity>,
}

impl<T> Shared<T> {
    pub(in crate::audit) fn new(space: Space, live: Identity) -> Self {
        Self {
            queue: Queue::new(),
            space: Arc::new(space),
            unpublished: Mutex::new(Unpublished {
                bytes: Vec::new(),
                ends: Vec::new(),
                others: 0,
                asked: Vec::new(),
                stop: false,
            }),
            publish: Condvar::new(),
            waiting: AtomicU64::new(0),
            next: Mutex::new(NextSegment { prepared: None, stop: false }),
            keep: Condvar::new(),
            live: Mutex::new(live),
            quickest: Quickest::default(),
            at_disk: AtDisk::default(),
            continuity: OnceLock::new(),
        }
    }

    /// Ends the log for good: the log thread drops every ticket and tells its owner.
    pub(in crate::audit) fn poison(&self, why: &str) {
        self.queue.fail(why);
    }

    /// Whether the log ended.
    pub(in crate::audit) fn failed(&self) -> bool {
        self.queue.failure().is_some()
    }

    /// Why the log ended, if it did.
    pub(in crate::audit) fn poisoned(&self) -> Option<LogError> {
        self.queue.failure().map(|why| LogError::Poisoned(Arc::clone(why)))
    }

    pub(in crate::audit) fn reserve(&self, bytes: u64, purpose: For) -> Result<Reservation, Full> {
        if self.failed() {
            return Err(Poisoned.into());
        }
        let waiting = self.waiting.load(Ordering::Relaxed);
        if purpose == For::Request && waiting > UNPUBLISHED_MAX {
            return Err(Full::Unpublished { waiting });
        }
        self.space.reserve(bytes, purpose)
    }

    /// Queues a record of the system's own.
    pub(in crate::audit) fn send(
        &self,
        entry: Entry,
        of_checkpoint: bool,
        reservation: Option<Reservation>,
    ) -> Result<Receiver<Receipt>, LogError> {
        let reservation = match reservation {
            Some(reservation) => reservation,
            None => self.reserve(entry.size(), For::System).map_err(|full| self.full(full))?,
        };
        let (tell, told) = sync_channel(1);
        let (reserved, recipient) = (reservation.into_cost(), Recipient::Thread(tell));
        let queued = self.queue.hand_over(vec![Queued { entry, reserved, recipient, of_checkpoint }]);
        if !queued {
            return Err(self.ended());
        }
        Ok(told)
    }

    /// Queues a record of the system's own and waits until it is durable.
    pub(in crate::audit) fn record(
        &self,
        entry: Entry,
        of_checkpoint: bool,
        reservation: Option<Reservation>,
    ) -> Result<Receipt, LogError> {
        self.send(entry, of_checkpoint, reservation)?.recv().map_err(|_| self.ended())
    }

    /// Why nothing more is taken.
    pub(in crate::audit) fn ended(&self) -> LogError {
        self.poisoned().unwrap_or(LogError::Closed)
    }

    pub(in crate::audit) fn full(&self, full: Full) -> LogError {
        match full {
            Full::Poisoned(Poisoned) => self.ended(),
            Full::TooLarge(e) => e.into(),
            full => full.into(),
        }
    }
}
