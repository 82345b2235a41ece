//! The log as its callers see it.

use super::disk::segment;
use super::error::{FileError, Full, LogError, OpenError, at};
use super::note::{Published, VerifierKey};
use super::publish::continuity::{Adoption, Continuity, NotExtended};
use super::publish::publisher::Publisher;
use super::publish::republish::republish;
use super::read::recovery::{Recovered, Recovery, Torn, recover};
use super::record::entry::Entry;
use super::settings::{LogLock, LogSettings, SignCheckpoint};
use super::tiles::{TileReader, TileWriter};
use super::write::entries::Entries;
use super::write::keeper::Keeper;
use super::write::pen::Pen;
use super::write::receipt::Receipt;
use super::write::shared::Shared;
use super::write::space::{For, Reservation, Space};
use super::write::sync::lock;
use super::write::writer::{self, OnDurable, OnFailure, Writer};
use super::{Draft, Event, Outcome};
use crate::clock::Clock;
use std::io;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// What the log calls.
pub struct Handlers<T> {
    /// Called once a batch, after its sync, with each ticket and its receipt, in order; it takes them out. It runs on
    /// the thread that wrote the batch, holds up the next one as long as it runs, and must not call the log.
    pub on_durable: OnDurable<T>,
    /// Called once, on the log's thread, when the log fails for good; the process is expected to end.
    pub on_failure: OnFailure,
}

/// What the log takes on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnDisk {
    /// Bytes of its segments.
    pub bytes: u64,
    /// Bytes that their file system has left for this user.
    pub free: u64,
}

/// The audit log: one writer, group commit, durable before release.
///
/// `T` is the caller's ticket: the sealed answer and where to send it. A ticket comes back with a [`Receipt`], or is
/// dropped. Dropping the log does what [`Log::close`] does, without telling whether it succeeded.
pub struct Log<T> {
    settings: LogSettings,
    clock: Clock,
    /// Those that sign or ever signed its checkpoints.
    keys: Vec<VerifierKey>,
    pub(super) shared: Arc<Shared<T>>,
    writer: Arc<Mutex<Writer<T>>>,
    newest: Arc<Mutex<Option<Arc<Published>>>>,
    threads: Option<Threads>,
    _lock: LogLock,
}

struct Threads {
    publisher: JoinHandle<()>,
    writer: JoinHandle<()>,
    keeper: JoinHandle<()>,
}

impl<T: Send + 'static> Log<T> {
    /// Opens the log, having read it from the disk and checked it against its signed checkpoints. `keys` are all keys
    /// that ever signed its checkpoints; one of them is what `sign` signs with.
    ///
    /// A torn tail is repaired and recorded; damage is an error and leaves everything as it is. `keys` may lack those
    /// whose key records the log holds. No checkpoint is signed before [`Log::sign_checkpoints`].
    pub fn open(
        lock: LogLock,
        keys: &[VerifierKey],
        sign: SignCheckpoint,
        handlers: Handlers<T>,
    ) -> Result<(Self, Recovery), OpenError> {
        let mut recovered = recover(&lock.settings, keys, lock.from)?;
        let tiles = republish(&lock.settings, &recovered)?;
        let checkpoint = recovered.checkpoint.clone().map(Arc::new);
        let recovery = Recovery {
            size: recovered.place.edge.size(),
            torn: recovered.torn.clone(),
            checkpoint: checkpoint.clone(),
            rebuilt: recovered.published.is_none(),
            keys: recovered.keys.clone(),
            recorded_keys: std::mem::take(&mut recovered.recorded_keys),
        };
        let newest = Arc::new(Mutex::new(checkpoint));
        let log = Self::start(lock, sign, handlers, recovered, tiles, newest)?;
        Ok((log, recovery))
    }

    fn start(
        lock: LogLock,
        sign: SignCheckpoint,
        handlers: Handlers<T>,
        recovered: Recovered,
        tiles: TileWriter,
        newest: Arc<Mutex<Option<Arc<Published>>>>,
    ) -> Result<Self, OpenError> {
        let (settings, keys) = (lock.settings.clone(), recovered.keys.clone());
        let segments = segment::directory(&settings.directory);
        let active = recovered.active(&settings)?;
        let left = active.left();
        let space = Space::new(settings.segment_bytes, active.block(), left);
        let shared = Arc::new(Shared::new(space, active.identity()?));
        let mut keeper = Keeper::new(Arc::clone(&shared), segments.clone(), settings.segment_bytes);
        if left < settings.segment_bytes / 4 {
            // Else the first requests would be refused until the keeper has made room.
            keeper.prepare();
        }
        // Queued before any other: the record of the repair is the first behind it.
        let repaired = match &recovered.torn {
            Some(torn) => Some(shared.send(repair(torn)?, false, None)?),
            None => None,
        };
        let publisher = Publisher {
            shared: Arc::clone(&shared),
            tiles,
            origin: settings.origin.clone(),
            keys: recovered.keys,
            sign,
            newest: Arc::clone(&newest),
            others: recovered.uncovered,
            signed: recovered.checkpoint.as_ref().map_or(0, |c| c.size),
            recorded: None,
            failing: false,
            unwritten: 1,
            bytes: Vec::new(),
            ends: Vec::new(),
        };
        let clock = Clock::start(settings.sources.clone(), recovered.place.mark.as_ref());
        let pen = Pen::new(&settings, clock.clone(), &segments, active, recovered.place);
        let writer = Arc::new(Mutex::new(Writer::new(Arc::clone(&shared), pen, handlers.on_durable)));
        let (of_thread, queued) = (Arc::clone(&writer), Arc::clone(&shared));
        let threads = Threads {
            writer: spawn(&settings, "audit-log", move || {
                writer::run(&queued, &of_thread, handlers.on_failure);
            })?,
            keeper: spawn(&settings, "audit-keep", move || keeper.run())?,
            publisher: spawn(&settings, "audit-publish", move || publisher.run())?,
        };
        let log = Self { settings, clock, keys, shared, writer, newest, threads: Some(threads), _lock: lock };
        if let Some(repaired) = repaired {
            let _receipt = repaired.recv().map_err(|_| log.shared.ended())?;
        }
        Ok(log)
    }

    /// The clock of this log's records, guarded since its last one: what depends on time asks it.
    pub const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Keeps space for one entry of at most `bytes` bytes ([`Entry::size_of`]) until it is queued or the reservation is
    /// dropped. Ask before anything is signed: when this refuses, nothing has happened.
    pub fn reserve(&self, bytes: u64) -> Result<Reservation, Full> {
        self.shared.reserve(bytes, For::Request)
    }

    /// Queues the entries, and writes on this thread all that is queued as one batch, unless another thread writes, which
    /// then writes them as well. When others have queued more meanwhile, this thread writes that too as long as `again`
    /// says so; else the log thread does.
    ///
    /// Each ticket comes back through [`Handlers::on_durable`], or is dropped when the log fails.
    pub fn commit(&self, entries: Entries<T>, again: impl FnMut() -> bool) {
        self.shared.queue.commit(entries.0, &self.writer, Writer::write_queued, again);
    }

    /// Queues the entries for the log thread, which writes them. Their tickets come back as those of [`Self::commit`].
    pub fn hand_over(&self, entries: Entries<T>) {
        if !entries.is_empty() {
            // When nothing is taken any more, the tickets are dropped: the log has failed or is closed.
            self.shared.queue.hand_over(entries.0);
        }
    }

    /// What the disk takes for a batch to be written and durable; zero before the first.
    pub fn quickest(&self) -> Duration {
        self.shared.quickest.get()
    }

    /// For how long the batch that is being written has not become durable; zero when none is. What is queued behind it
    /// is younger.
    pub fn oldest_write(&self) -> Duration {
        self.shared.at_disk.age()
    }

    /// Records something of the system's own and waits until it is durable. It may use the space that requests must
    /// leave. Not to be called from the handlers: they run on the thread that it waits for.
    pub fn record(&self, entry: Entry) -> Result<Receipt, LogError> {
        self.shared.record(entry, false, None)
    }

    /// Records something of the system's own without waiting for the disk: for a thread that must not hang with it.
    pub fn note(&self, entry: Entry) -> Result<(), LogError> {
        self.shared.send(entry, false, None).map(drop)
    }

    /// Lets checkpoints be signed from now on. Call it when the key that signs them has its record.
    pub fn sign_checkpoints(&self, shown: Continuity) {
        // Once is enough: what was shown stays true of a log that only grows.
        let _ = self.shared.continuity.set(shown);
    }

    /// What allows checkpoints, if anything does yet.
    pub fn continuity(&self) -> Option<&Continuity> {
        self.shared.continuity.get()
    }

    /// Shows that the log extends a remembered checkpoint.
    pub fn compare(&self, note: &[u8]) -> Result<Continuity, NotExtended> {
        let newest = self.newest().ok_or(NotExtended::Unreadable(LogError::Closed))?;
        Continuity::compare(&self.settings, &self.keys, &newest, note)
    }

    /// Records the operator's decision; it counts once the record is durable. The number of the record.
    pub fn adopt(&self, adoption: &Adoption<'_>) -> Result<(u64, Continuity), LogError> {
        let receipt = self.record(adoption.entry()?)?;
        Ok((receipt.sequence(), Continuity::adopted(&receipt)))
    }

    /// Its published files, for proofs.
    pub fn published(&self) -> TileReader {
        TileReader::open(self.settings.published())
    }

    /// Makes, records and publishes a checkpoint now if the log grew by more than records of checkpoints, and returns
    /// the newest. It covers every record whose receipt was handed out before the call.
    pub fn checkpoint(&self) -> Result<Arc<Published>, LogError> {
        if self.continuity().is_none() {
            return Err(LogError::Unconfirmed);
        }
        let (tell, told) = sync_channel(1);
        lock(&self.shared.unpublished).asked.push(tell);
        self.shared.publish.notify_one();
        told.recv().map_err(|_| self.shared.ended())?
    }

    /// The newest checkpoint that is published.
    pub fn newest(&self) -> Option<Arc<Published>> {
        lock(&self.newest).clone()
    }

    /// What its segments take on the disk.
    pub fn on_disk(&self) -> Result<OnDisk, FileError> {
        let directory = segment::directory(&self.settings.directory);
        let mut bytes = 0;
        for (_, path) in segment::list(&directory)? {
            bytes += std::fs::metadata(&path).map_err(at(&path, "asking for its size"))?.len();
        }
        let system = rustix::fs::statvfs(&directory).map_err(io::Error::from);
        let system = system.map_err(at(&directory, "asking its file system for free space"))?;
        Ok(OnDisk { bytes, free: system.f_bavail.saturating_mul(system.f_frsize) })
    }

    /// Why the log failed for good, if it did.
    pub fn failure(&self) -> Option<LogError> {
        self.shared.poisoned()
    }

    /// Makes a last checkpoint, if any may be signed, finishes what is queued and ends the threads.
    pub fn close(mut self) -> Result<(), LogError> {
        let last = self.checkpoint();
        self.stop();
        match self.shared.poisoned() {
            Some(error) => Err(error),
            None if matches!(last, Err(LogError::Unconfirmed)) => Ok(()),
            None => last.map(drop),
        }
    }
}

impl<T> Log<T> {
    /// The log thread goes last: the others' last records need it. It finds the segments that what is queued has
    /// reserved without the keeper.
    fn stop(&mut self) {
        let Some(threads) = self.threads.take() else { return };
        lock(&self.shared.next).stop = true;
        self.shared.keep.notify_one();
        let _ = threads.keeper.join();
        lock(&self.shared.unpublished).stop = true;
        self.shared.publish.notify_one();
        let _ = threads.publisher.join();
        self.shared.queue.stop();
        let _ = threads.writer.join();
    }
}

impl<T> Drop for Log<T> {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The record of what a crash left.
fn repair(torn: &Torn) -> Result<Entry, LogError> {
    let name = torn.segment.file_name().unwrap_or_default().to_string_lossy();
    let reason = format!(
        "a write was cut off in {name} at byte {}; {} whole records of its batch were kept; {} bytes of it stay there, \
         SHA-256 {}",
        torn.offset,
        torn.kept,
        torn.bytes,
        hex::encode(torn.sha256)
    );
    let draft = Draft { reason: Some(&reason), ..Draft::new(Event::TornTailRepaired, Outcome::Success) };
    Ok(Entry::plain(&draft)?)
}

fn spawn(
    settings: &LogSettings,
    name: &str,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, FileError> {
    let spawned: io::Result<_> = Builder::new().name(name.to_owned()).spawn(run);
    spawned.map_err(at(&settings.directory, "starting a thread for the log"))
}
