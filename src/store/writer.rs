//! The one thread that writes. While one commit waits for the disk the next writes gather; all that wait go into one
//! transaction with one sync, and none is answered before that sync has returned.

use super::health::{Health, Identity, trial};
use super::{Cache, QUEUE, StoreError};
use rusqlite::{Connection, TransactionBehavior};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Writes in one transaction at most.
const BATCH: usize = 256;

/// How often it is asked whether another program has changed the file (an operator's shell: no other process of ours
/// has it open).
const ASK: Duration = Duration::from_millis(500);

/// How often it is tried whether a write is done again after one that failed.
const TRY: Duration = Duration::from_secs(1);

/// One write that waits, its result's type left out so that different ones share a transaction.
trait Write: Send {
    /// Does it inside an open transaction. May run again in a new transaction if the first one failed.
    fn apply(&mut self, conn: &Connection) -> rusqlite::Result<()>;
    /// Tells the waiter. `Ok` only after the commit.
    fn answer(self: Box<Self>, committed: Result<(), &NotWritten>);
    /// What it does, for an error.
    fn doing(&self) -> &'static str;
}

struct Pending<T, F> {
    doing: &'static str,
    act: F,
    outcome: Option<T>,
    waiter: oneshot::Sender<Result<T, StoreError>>,
}

impl<T: Send, F: FnMut(&Connection) -> rusqlite::Result<T> + Send> Write for Pending<T, F> {
    fn apply(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        self.outcome = None;
        self.outcome = Some((self.act)(conn)?);
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<(), &NotWritten>) {
        let answer = match committed {
            Ok(()) => self.outcome.ok_or(StoreError::Closed),
            Err(error) => Err(error.of(self.doing)),
        };
        // A waiter that went away is no reason to undo: the write stands.
        let _ = self.waiter.send(answer);
    }

    fn doing(&self) -> &'static str {
        self.doing
    }
}

/// Why a write was not done.
enum NotWritten {
    /// The file is not the one that was opened.
    Elsewhere(StoreError),
    /// SQLite's reason.
    Database(rusqlite::Error),
}

impl NotWritten {
    fn of(&self, doing: &'static str) -> StoreError {
        match self {
            Self::Elsewhere(error) => error.clone(),
            Self::Database(error) => StoreError::of(doing, error),
        }
    }
}

/// The thread and the queue before it.
pub(super) struct Writer {
    queue: Option<SyncSender<Box<dyn Write>>>,
    thread: Option<JoinHandle<()>>,
    commits: Arc<AtomicU64>,
}

impl Writer {
    /// Empties `cache` when another program has changed the file; tells `health` how writes go, the first time before it
    /// returns.
    pub(super) fn start(
        conn: Connection,
        cache: Cache,
        identity: Identity,
        health: Arc<Health>,
    ) -> io::Result<Self> {
        let (queue, waiting) = sync_channel(QUEUE);
        let commits = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&commits);
        let mut file = File { conn, identity, health, commits: counted, tried: Instant::now() };
        file.try_to_write();
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || run(file, &waiting, &cache))?;
        Ok(Self { queue: Some(queue), thread: Some(thread), commits })
    }

    /// Queues `act` and waits until it is durable. Once queued it is done even if the caller stops waiting.
    pub(super) async fn write<T, F>(&self, doing: &'static str, act: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (waiter, answer) = oneshot::channel();
        let pending = Box::new(Pending { doing, act, outcome: None, waiter });
        match self.queue.as_ref().map(|queue| queue.try_send(pending)) {
            Some(Ok(())) => answer.await.unwrap_or(Err(StoreError::Closed)),
            Some(Err(TrySendError::Full(_))) => Err(StoreError::Busy),
            Some(Err(TrySendError::Disconnected(_))) | None => Err(StoreError::Closed),
        }
    }

    /// Transactions committed since the start.
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }
}

impl Drop for Writer {
    /// Waits until all that was queued is durable and the file is closed.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread writes to.
struct File {
    conn: Connection,
    identity: Identity,
    health: Arc<Health>,
    commits: Arc<AtomicU64>,
    /// When the last trial was.
    tried: Instant,
}

impl File {
    /// All of the batch in one transaction, or none of it.
    fn commit(&mut self, batch: &mut [Box<dyn Write>]) -> Result<(), Failed> {
        self.identity.check().map_err(|e| Failed { applying: false, error: NotWritten::Elsewhere(e) })?;
        let Self { conn, health, commits, .. } = self;
        health.watched(|| commit(conn, batch, commits))
    }

    /// Whether a write would be done: after the start, and each second while writes fail.
    fn try_to_write(&mut self) {
        self.tried = Instant::now();
        let Self { conn, identity, health, .. } = self;
        match identity.check().and_then(|()| health.watched(|| trial(conn))) {
            Ok(()) => health.recovered(),
            Err(error) => health.failed(error),
        }
    }

    /// Between batches, and twice a second when there are none.
    fn look(&mut self) {
        if self.health.is_failing() {
            if self.tried.elapsed() >= TRY {
                self.try_to_write();
            }
        } else if let Err(error) = self.identity.check() {
            self.health.failed(error);
        }
    }
}

fn run(mut file: File, waiting: &Receiver<Box<dyn Write>>, cache: &Cache) {
    give_way();
    let mut others = Others { version: None, asked: Instant::now() };
    let mut batch = Vec::new();
    loop {
        match waiting.recv_timeout(ASK) {
            Ok(first) => batch.push(first),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        others.look(&file.conn, cache);
        file.look();
        if batch.is_empty() {
            continue;
        }
        batch.extend(waiting.try_iter().take(BATCH - 1));
        match file.commit(&mut batch) {
            Ok(()) => answer_all(&mut batch, None),
            Err(failed) if failed.worth_single_tries() && batch.len() > 1 => {
                // One write broke the transaction of all: the others must not suffer for it.
                for mut single in batch.drain(..).map(|write| vec![write]) {
                    let error = file.commit(&mut single).err().map(|f| f.error);
                    fail(&file.health, &single, error.as_ref());
                    answer_all(&mut single, error.as_ref());
                }
            }
            Err(failed) => {
                fail(&file.health, &batch, Some(&failed.error));
                answer_all(&mut batch, Some(&failed.error));
            }
        }
    }
}

/// Before the waiters hear of it.
fn fail(health: &Health, batch: &[Box<dyn Write>], error: Option<&NotWritten>) {
    if let (Some(error), Some(write)) = (error, batch.first()) {
        health.failed(error.of(write.doing()));
    }
}

/// Threads that answer requests come first where there is too little CPU for all: what waits meanwhile shares a
/// commit. Counts on Linux for the calling thread alone; where it is refused nothing is lost but speed.
fn give_way() {
    if let Err(error) = rustix::process::nice(10) {
        tracing::debug!(%error, "the thread that writes the state keeps its priority");
    }
}

fn answer_all(batch: &mut Vec<Box<dyn Write>>, error: Option<&NotWritten>) {
    for write in batch.drain(..) {
        write.answer(error.map_or(Ok(()), Err));
    }
}

/// What others do to the file.
struct Others {
    version: Option<i64>,
    asked: Instant,
}

impl Others {
    /// Empties the cache if another connection than this one, which is the only one of ours that writes, has committed
    /// since the last time.
    fn look(&mut self, conn: &Connection, cache: &Cache) {
        if self.version.is_some() && self.asked.elapsed() < ASK {
            return;
        }
        self.asked = Instant::now();
        let version =
            conn.prepare_cached("PRAGMA data_version").and_then(|mut s| s.query_row([], |r| r.get(0)));
        // What cannot be read counts as changed.
        let version = version.ok();
        if version.is_none() || version != self.version {
            drop(cache.change(|_, _| true));
        }
        self.version = version;
    }
}

/// Where and why a transaction failed.
struct Failed {
    applying: bool,
    error: NotWritten,
}

impl Failed {
    /// When beginning or syncing failed, each single try would wait and fail alike. A full disk may still take a
    /// small write (a revocation needs no new page) when it cannot take all.
    fn worth_single_tries(&self) -> bool {
        let full = |e: &rusqlite::Error| e.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull);
        self.applying || matches!(&self.error, NotWritten::Database(e) if full(e))
    }
}

fn commit(conn: &mut Connection, batch: &mut [Box<dyn Write>], commits: &AtomicU64) -> Result<(), Failed> {
    let failed = |applying| move |error| Failed { applying, error: NotWritten::Database(error) };
    // IMMEDIATE: what a write reads to decide (a used `jti`) cannot change before the commit.
    let transaction =
        conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed(false))?;
    for write in batch {
        // On an error the transaction is dropped, which rolls it back unless SQLite has done so itself.
        write.apply(&transaction).map_err(failed(true))?;
    }
    // The point of no return. Before it a crash leaves nothing of the batch; after it (the sync is part of it) all
    // of it is on disk, and only then is anybody answered. A crash or failed sync in between may leave all or
    // nothing: a token nobody was given, a used `jti`, a revocation: each the safe side. After a failed sync SQLite
    // writes the same frames anew with the next commit, so nothing is taken for durable that the kernel gave up.
    transaction.commit().map_err(failed(false))?;
    commits.fetch_add(1, Ordering::Relaxed);
    Ok(())
}
