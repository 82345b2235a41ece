//! The running signer: gateways and their sockets, signing threads, and its end.

use super::calls::{Calls, Doing};
use super::connection::Connection;
use super::inbox::Inbox;
use super::kept::{self, Basis, Memory, Refused, Why};
use super::keyring::Keyring;
use super::loaded::{Loaded, TooOften};
use super::pace::Apart;
use super::record::{self, Identity, RecordError};
use super::release::Ticket;
use super::start::{Appliance, StartError};
use super::status::Beat;
use super::turn::Turn;
use super::watch;
use super::worker::Worker;
use crate::audit::{Continuity, Event, Log, LogError, OnDisk, Published};
use crate::claims::Purpose;
use crate::clock;
use crate::config::Config;
use crate::door::frame;
use crate::door::message::{
    Documents, Hello, Outcome, PROTOCOL_VERSION, PublishedKey, SignerStatus, Welcome,
};
use crate::hsm::{ErrorClass, SignError};
use crate::memory::{Lag, ShownCheckpoint};
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Limit of gateways: one, and briefly its successor. Each costs two threads and some buffers.
const MAX_GATEWAYS: usize = 8;

/// Interval for reading the sizes of the log's files: there may be thousands.
const SIZES: Duration = Duration::from_secs(10);

/// Time for other threads to finish beside one that hangs.
const FINISH: Duration = Duration::from_secs(2);

/// Reasons for the end of the signer.
#[derive(Debug)]
pub enum Ending {
    /// The gateway that started it has gone, or an operator stops it: an end in order.
    Requested,
    /// The token does not sign any more; a new process must find it again.
    TokenLost {
        /// For the operator.
        reason: String,
        /// Whether the PIN was refused: it must not be tried again.
        pin: bool,
    },
    /// A call into the module hangs, which only the end of the process ends: other requests are finished first.
    Hung(String),
    /// The log failed: the process ends at once, without writing more.
    LogFailed(String),
    /// A gateway holds a signed checkpoint that the log does not extend: the process ends at once, so that nothing is
    /// appended.
    RolledBack(String),
}

impl Ending {
    /// The reason for an end in a failed signature. A single request that the token cannot do is none; everything else
    /// needs a new process.
    pub(super) fn after(error: &SignError) -> Option<Self> {
        let (pin, reason) = (error.class() == ErrorClass::Pin, error.to_string());
        (error.is_alarm() || error.class() != ErrorClass::Request).then_some(Self::TokenLost { reason, pin })
    }
}

/// State that all threads of the signer share.
pub(super) struct Shared {
    pub config: Arc<Config>,
    pub keys: Keyring,
    pub serial: String,
    pub log: Log<Ticket>,
    pub inbox: Arc<Inbox>,
    /// Serializes the short calls into the token.
    pub turn: Turn,
    /// Spaces the starts of other calls.
    pub apart: Apart,
    pub signed_metadata: String,
    pub loaded: Loaded,
    /// Verifier keys of the log, for gateways.
    log_keys: Vec<String>,
    own: Mutex<Option<Continuity>>,
    memory: Mutex<Memory>,
    /// The lag of that memory, readable while a write to it hangs.
    memory_lag: Lag,
    ending: Mutex<Sender<Ending>>,
}

impl Shared {
    /// Asks the main thread to end the process.
    pub(super) fn end(&self, why: Ending) {
        // The receiver is gone when the process is ending already.
        let _ = self.ending.lock().unwrap_or_else(PoisonError::into_inner).send(why);
    }
}

/// Why a gateway's configuration has no record.
#[derive(Debug, thiserror::Error)]
enum NotRecorded {
    #[error(transparent)]
    TooOften(#[from] TooOften),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("the gateway's configuration was not recorded: {0}")]
    Log(#[from] LogError),
}

/// A running signer.
pub struct Service {
    shared: Arc<Shared>,
    workers: Mutex<Vec<JoinHandle<()>>>,
    connections: Mutex<Vec<Arc<Connection>>>,
    gateways: AtomicUsize,
    stopping: AtomicBool,
    beat: Mutex<Beat>,
    /// Disk usage of the log, as last read by the thread that reads the disk.
    on_disk: Mutex<OnDisk>,
    calls: Calls,
}

impl Service {
    /// Starts the signing threads of an open appliance. Reasons to end the process are sent to `ending`.
    pub fn start(appliance: Appliance, ending: Sender<Ending>) -> Result<Arc<Self>, StartError> {
        let calls = appliance.calls;
        let sessions: Vec<_> = (0..appliance.config.hsm.sessions)
            .map(|_| calls.caller().run(1, Doing::call("C_OpenSession"), || appliance.hsm.session()))
            .collect::<Result<_, _>>()
            .map_err(StartError::Token)?;
        let shared = Arc::new(Shared {
            serial: appliance.hsm.token_info().serial,
            config: appliance.config,
            keys: appliance.keys,
            log: appliance.log,
            inbox: Arc::new(Inbox::new().map_err(StartError::Thread)?),
            turn: Turn::default(),
            apart: Apart::default(),
            signed_metadata: appliance.signed_metadata,
            loaded: Loaded::default(),
            log_keys: appliance.log_keys,
            own: appliance.own,
            memory_lag: appliance.memory.lag(),
            memory: Mutex::new(appliance.memory),
            ending: Mutex::new(ending),
        });
        let mut workers = Vec::new();
        let threads = sessions.len();
        for session in sessions {
            let worker = Worker::new(session, calls.caller(), threads);
            let shared = Arc::clone(&shared);
            let thread =
                std::thread::Builder::new().name("sign".to_owned()).spawn(move || worker.run(&shared));
            workers.push(thread.map_err(StartError::Thread)?);
        }
        let service = Arc::new(Self {
            shared,
            workers: Mutex::new(workers),
            connections: Mutex::default(),
            gateways: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            beat: Mutex::default(),
            on_disk: Mutex::default(),
            calls,
        });
        let kept = Arc::downgrade(&service);
        let keep = std::thread::Builder::new().name("keep".to_owned()).spawn(move || {
            let (mut told, mut sized) = (0, None);
            while let Some(service) = kept.upgrade() {
                service.keep(&mut told, &mut sized);
                drop(service);
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        keep.map_err(StartError::Thread)?;
        Ok(service)
    }

    /// Serves one gateway until its socket closes. The first frame is its [`Hello`].
    pub fn serve(&self, stream: UnixStream) {
        if self.gateways.fetch_add(1, Ordering::Relaxed) >= MAX_GATEWAYS {
            tracing::error!(most = MAX_GATEWAYS, "too many gateways are connected; one more was turned away");
        } else if let Err(error) = self.serve_inner(stream) {
            tracing::warn!(%error, "a gateway's connection ended");
        }
        self.gateways.fetch_sub(1, Ordering::Relaxed);
    }

    fn serve_inner(&self, stream: UnixStream) -> Result<(), frame::FrameError> {
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let hello: Hello = frame::read_one(&stream)?;
        let rules = self.shared.config.rules();
        if hello.version == PROTOCOL_VERSION && hello.rules != rules {
            tracing::error!(gateway = %hello.rules, signer = %rules, "a gateway was refused: it has other rules");
            return frame::write_one(&stream, &Welcome::OtherRules { rules });
        }
        let basis = match self.check(&hello) {
            Ok(basis) => basis,
            Err(Refused { reason, why }) => {
                tracing::error!(%reason, "a gateway was refused");
                return match why {
                    Why::Mismatch => frame::write_one(&stream, &Welcome::Refused { reason }),
                    Why::RolledBack => {
                        let told = frame::write_one(&stream, &Welcome::Refused { reason: reason.clone() });
                        self.shared.end(Ending::RolledBack(reason));
                        told
                    }
                    Why::Unknown => self.hold(&stream, reason),
                };
            }
        };
        // Before the first answer to this gateway.
        let (config, note) = (&self.shared.config, |entry| Ok(self.shared.log.note(entry)?));
        let recorded: Result<_, NotRecorded> = self.shared.loaded.record(hello.config, config.digest(), note);
        if let Err(error) = recorded {
            let reason = error.to_string();
            tracing::error!(%reason, "a gateway was refused");
            return frame::write_one(&stream, &Welcome::Refused { reason });
        }
        // The first checkpoint covers all records so far, so that the gateway's memory allows no rollback of them.
        let (told, checkpoint) = match self.welcome(&basis) {
            Ok(shown) => shown,
            Err(reason) => {
                tracing::error!(%reason, "a gateway was refused");
                return frame::write_one(&stream, &Welcome::Refused { reason });
            }
        };
        self.memory().follow(&self.shared.log);
        let welcome = Welcome::Accepted {
            documents: Documents {
                keys: self.published_keys(),
                signed_metadata: self.shared.signed_metadata.clone(),
            },
            checkpoint,
        };
        frame::write_one(&stream, &welcome)?;
        stream.set_read_timeout(None)?;
        let connection = Connection::new(stream, told)?;
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&connection));
        let outcome = match self.shared.inbox.add(&connection) {
            Ok(ended) => ended.recv().unwrap_or(Ok(())),
            Err(error) => Err(error.into()),
        };
        if !self.stopping.load(Ordering::Acquire) {
            // The gateway sends no more. It reads on for the checkpoint that covers its answers; a dead one reads
            // nothing, and asks that other threads are still signing are recorded all the same.
            self.send_last_checkpoint(&connection);
            connection.close();
        }
        if !self.stopping.load(Ordering::Acquire) {
            self.connections
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .retain(|c| !Arc::ptr_eq(c, &connection));
        }
        outcome
    }

    /// Keeps the connection of a gateway that cannot be served until the operator decides: a child would otherwise end
    /// and be restarted in vain.
    fn hold(&self, stream: &UnixStream, reason: String) -> Result<(), frame::FrameError> {
        frame::write_one(stream, &Welcome::Unconfirmed { reason })?;
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        while !self.stopping.load(Ordering::Acquire) {
            match std::io::Read::read(&mut &*stream, &mut [0]) {
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                // The end of the connection, or an unexpected message.
                ended => return ended.map(drop).map_err(Into::into),
            }
        }
        Ok(())
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.shared.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest checkpoint for a gateway that connects, and its size.
    fn welcome(&self, basis: &Basis) -> Result<(u64, ShownCheckpoint), String> {
        let failed = |error: &dyn std::fmt::Display| format!("no checkpoint for the gateway: {error}");
        let newest = self.shared.log.checkpoint().map_err(|error| failed(&error))?;
        let shown = kept::shown(&self.shared.log, &newest, basis).map_err(|error| failed(&error))?;
        Ok((newest.size, ShownCheckpoint { keys: self.shared.log_keys.clone(), ..shown }))
    }

    fn send_last_checkpoint(&self, connection: &Connection) {
        match self.shared.log.checkpoint() {
            Ok(last) => tell_checkpoint(&self.shared.log, connection, &last),
            Err(error) => tracing::warn!(%error, "the gateway leaves without a last checkpoint"),
        }
    }

    /// Compares version and log with the gateway's.
    fn check(&self, hello: &Hello) -> Result<Basis, Refused> {
        if hello.version != PROTOCOL_VERSION {
            return Err(format!(
                "the gateway speaks version {}, the signer {PROTOCOL_VERSION}; run both from the same release",
                hello.version
            )
            .into());
        }
        kept::confirm(&self.shared.log, &self.shared.own, &self.memory(), hello.checkpoint.as_deref())
    }

    fn published_keys(&self) -> Vec<PublishedKey> {
        self.shared
            .keys
            .public()
            .filter(|(purpose, _)| *purpose != Purpose::AuditCheckpoint)
            .map(|(purpose, key)| PublishedKey { purpose, jwk: key.jwk().clone() })
            .collect()
    }

    /// The log, for administration.
    pub fn log(&self) -> &Log<Ticket> {
        &self.shared.log
    }

    /// Sends the reason for the end on each connection, for the operators of the gateway.
    pub fn say_why(&self, reason: &str) {
        let status = SignerStatus { trouble: Some(reason.to_owned()), ..self.status() };
        self.say(&status);
    }

    fn status(&self) -> SignerStatus {
        let on_disk = *self.on_disk.lock().unwrap_or_else(PoisonError::into_inner);
        self.beat.lock().unwrap_or_else(PoisonError::into_inner).status(
            &self.shared.log,
            on_disk,
            &self.shared.memory_lag,
        )
    }

    fn say(&self, status: &SignerStatus) {
        for connection in self.connections.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            connection.answer(0, Outcome::Status(status.clone()));
        }
    }

    /// An end in order while a thread hangs in the module: reads no more asks, and finishes those of the other threads.
    /// The log is not closed, which would wait for that thread; every released answer is durable.
    pub fn finish_beside_hung_calls(&self) {
        self.stopping.store(true, Ordering::Release);
        self.shared.inbox.close();
        let began = clock::monotonic_nanos();
        let busy = || {
            let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
            workers.iter().filter(|worker| !worker.is_finished()).count()
        };
        while busy() > self.calls.hung().len() && clock::since(began) < FINISH {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Records each key that signs again.
    fn tell_recoveries(&self) {
        for key in self.shared.keys.signing() {
            let Some(told) = key.trouble().look(key.key().label()) else { continue };
            let noted = record::recovered(&told).map_err(|e| e.to_string());
            if let Err(error) = noted.and_then(|entry| self.shared.log.note(entry).map_err(|e| e.to_string()))
            {
                tracing::error!(%error, "a recovery of the token was not recorded");
            }
        }
    }

    /// Called every second: watches the clock, and sends the status to the gateways. Waits for no disk.
    pub fn tick(&self) {
        watch::watch(&self.shared.log);
        self.tell_recoveries();
        self.say(&self.status());
    }

    /// Work on the disk each second, on a thread of its own that may hang with it: stores a new checkpoint, sends it to
    /// the gateways, and sometimes reads the sizes of files.
    fn keep(&self, told: &mut u64, sized: &mut Option<u64>) {
        if self.stopping.load(Ordering::Acquire) {
            return;
        }
        let log = &self.shared.log;
        self.memory().follow(log);
        if let Some(newest) = log.newest().filter(|newest| newest.size > *told) {
            *told = newest.size;
            // Not under the lock that the status needs.
            let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner).clone();
            for connection in &connections {
                tell_checkpoint(log, connection, &newest);
            }
        }
        if sized.is_none_or(|at| clock::since(at) >= SIZES) {
            *sized = Some(clock::monotonic_nanos());
            match log.on_disk() {
                Ok(found) => *self.on_disk.lock().unwrap_or_else(PoisonError::into_inner) = found,
                Err(error) => tracing::warn!(%error, "the size of the log cannot be read"),
            }
        }
    }

    /// Reads no more asks, finishes and answers the queued ones, and closes the log; returns whether all of it was done
    /// and the end is recorded.
    pub fn finish(self: Arc<Self>, identity: &Identity) -> bool {
        self.stopping.store(true, Ordering::Release);
        self.shared.inbox.close();
        // First the signing threads: the gateways' threads wait until they have read everything. A slow token takes
        // time; the watchdog and the deadline of the end handle one that hangs.
        for worker in self.workers.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // A worker's panic would have aborted the process.
            let _ = worker.join();
        }
        let Some(service) = last(self) else { return false };
        let stopped =
            record::system(Event::Stopped, crate::audit::Outcome::Success, None, None, identity, None);
        let Some(shared) = last(service.shared) else { return false };
        let mut in_order = true;
        if let Ok(stopped) = stopped
            && let Err(error) = shared.log.record(stopped)
        {
            tracing::error!(%error, "the stop was not recorded");
            in_order = false;
        }
        if let Ok(last) = shared.log.checkpoint() {
            shared.memory.lock().unwrap_or_else(PoisonError::into_inner).follow(&shared.log);
            for connection in service.connections.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                tell_checkpoint(&shared.log, connection, &last);
            }
        }
        if let Err(error) = shared.log.close() {
            tracing::error!(%error, "the log was not closed in order");
            in_order = false;
        }
        for connection in service.connections.into_inner().unwrap_or_else(PoisonError::into_inner) {
            connection.close();
        }
        in_order
    }
}

/// Answers the [`Hello`] of one gateway, if it comes within two seconds, with the reason why the signer does not serve.
pub fn refuse(stream: &UnixStream, reason: &str) {
    let told = stream
        .set_read_timeout(Some(Duration::from_secs(2)))
        .and_then(|()| stream.set_write_timeout(Some(Duration::from_secs(2))))
        .map_err(frame::FrameError::from)
        .and_then(|()| frame::read_one::<Hello>(stream))
        .and_then(|_| frame::write_one(stream, &Welcome::Refused { reason: reason.to_owned() }));
    if let Err(error) = told {
        tracing::warn!(%error, "the gateway was not told why the signer ends");
    }
}

/// Sends a gateway a checkpoint that it has not seen, with the proof from its last one.
fn tell_checkpoint(log: &Log<Ticket>, connection: &Connection, newest: &Published) {
    let mut told = connection.told.lock().unwrap_or_else(PoisonError::into_inner);
    if newest.size <= *told {
        return;
    }
    match kept::shown(log, newest, &Basis::Extended(*told)) {
        Ok(shown) => {
            *told = newest.size;
            connection.answer(0, Outcome::Checkpoint(shown));
        }
        Err(error) => tracing::warn!(%error, "a gateway was not shown the newest checkpoint"),
    }
}

/// The value, once every other thread has dropped it; waits ten seconds for threads that hang.
fn last<T>(mut shared: Arc<T>) -> Option<T> {
    for _ in 0..1000 {
        match Arc::try_unwrap(shared) {
            Ok(value) => return Some(value),
            Err(still) => shared = still,
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    tracing::error!(
        "a thread did not end in ten seconds; the log is left as it is, which recovery understands"
    );
    None
}
