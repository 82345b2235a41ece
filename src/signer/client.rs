//! The gateway's side of the door: many asks in flight over one socket.
//!
//! An ask goes out at once when no other is with the signer. Else the signer has work, and the asks that this turn of
//! the runtime brings are sent together by a task of their own, which also waits where the socket is full. Every answer
//! that one read brings wakes its asker. So under load a call to the system carries many asks or answers, and nothing
//! waits for a batch to fill.

use super::frame::{self, FrameError, Frames};
use super::memory::{LogMemory, follow};
use super::message::{Ask, Outcome, PublishedKey, Request, Response};
use super::status::SignerStatus;
use super::wire::{Incoming, send_all, send_now};
use crate::claims::Purpose;
use crate::jose::{PublicKey, PublicKeyError};
use std::collections::HashMap;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot, watch};

/// The longest that an ask may take: longer than the watchdog's deadline, after which the signer ends by itself.
const DEADLINE: Duration = Duration::from_secs(30);

/// How long a stopping gateway waits for the signer's last checkpoint.
const LAST_WORD: Duration = Duration::from_secs(20);

/// Bytes of asks that may wait for a signer that does not read; beyond it an ask fails at once.
const MAX_OUT: usize = 64 << 20;

/// What the signer recorded: the only thing that may become the body of a signed or introspection answer. Only this
/// file makes one, from the signer's word that the record is durable.
#[derive(Debug)]
pub struct Recorded {
    body: String,
}

impl Recorded {
    /// The exact bytes that the record covers; empty where nothing is sent.
    pub fn into_body(self) -> String {
        self.body
    }
}

/// Why nothing was recorded, so nothing may leave.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AskError {
    /// Not now.
    #[error("the signer is not available: {reason}")]
    Unavailable {
        /// For the operator.
        reason: String,
    },
    /// The signer's rules forbid it: a defect of the gateway.
    #[error("the signer forbids it: {rule}")]
    Forbidden {
        /// The rule's name.
        rule: String,
    },
}

/// What the gateway publishes, all of it made by the signer or from its keys.
#[derive(Debug)]
pub struct Published {
    /// All generations that the token holds.
    pub keys: Vec<PublishedKey>,
    /// Those that sign or signed `at+jwt`.
    pub access_token_keys: Vec<PublicKey>,
    /// `signed_metadata`; empty without a metadata key.
    pub signed_metadata: String,
}

impl Published {
    /// From what the signer said in the handshake.
    pub(super) fn new(keys: Vec<PublishedKey>, signed_metadata: String) -> Result<Self, PublicKeyError> {
        let access_token_keys = keys
            .iter()
            .filter(|k| k.purpose == Purpose::AccessToken)
            .map(|k| {
                let algorithm = k.jwk.alg.as_deref().and_then(|a| a.parse().ok());
                PublicKey::from_jwk(algorithm.ok_or(PublicKeyError::Encoding)?, &k.jwk)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { keys, access_token_keys, signed_metadata })
    }
}

/// Whether asks have a chance.
#[derive(Clone, Debug)]
pub enum SignerState {
    /// No connection; the text says why.
    Down {
        /// For the operator.
        reason: String,
    },
    /// Connected and agreed.
    Ready(Arc<Published>),
}

/// Asks the signer. Cheap to clone.
#[derive(Clone)]
pub struct SignerClient(Arc<Inner>);

struct Inner {
    open: Mutex<Open>,
    /// Bytes wait to be sent.
    wake: Notify,
    state: watch::Sender<SignerState>,
    /// What the signer said of itself last.
    status: Mutex<Option<SignerStatus>>,
}

/// What belongs to the connection of the moment.
#[derive(Default)]
struct Open {
    up: bool,
    /// The socket, as long as there is one.
    stream: Option<Arc<UnixStream>>,
    /// Asks that have not been sent: the task has been woken, or is writing.
    out: Vec<u8>,
    /// The task has taken bytes and not yet written them all.
    writing: bool,
    waiting: HashMap<u64, oneshot::Sender<Outcome>>,
    next: u64,
}

impl Open {
    /// Sends what the socket takes of `out` now.
    fn send(&mut self) -> io::Result<()> {
        let Some(stream) = &self.stream else { return Ok(()) };
        let sent = send_now(stream, &self.out)?;
        self.out.drain(..sent);
        Ok(())
    }
}

impl Default for SignerClient {
    fn default() -> Self {
        Self::new()
    }
}

impl SignerClient {
    /// Not yet connected: [`super::keep_child`] or [`super::keep_separate`] sees to that.
    pub fn new() -> Self {
        let (state, _) = watch::channel(SignerState::Down { reason: "not yet connected".to_owned() });
        Self(Arc::new(Inner { open: Mutex::default(), wake: Notify::new(), state, status: Mutex::default() }))
    }

    /// Whether asks have a chance, without waiting.
    pub fn state(&self) -> SignerState {
        self.0.state.borrow().clone()
    }

    /// What the signer said of itself last; `None` before the first time.
    pub fn status(&self) -> Option<SignerStatus> {
        self.0.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes of [`Self::state`].
    pub fn watch(&self) -> watch::Receiver<SignerState> {
        self.0.state.subscribe()
    }

    /// Asks, and waits until the record is durable.
    pub async fn ask(&self, ask: Ask) -> Result<Recorded, AskError> {
        let unavailable = |reason: &str| AskError::Unavailable { reason: reason.to_owned() };
        let (receiver, wake) = {
            let mut guard = self.open();
            let open = &mut *guard;
            if !open.up {
                drop(guard);
                let reason = match &*self.0.state.borrow() {
                    SignerState::Down { reason } => reason.clone(),
                    SignerState::Ready(_) => "reconnecting".to_owned(),
                };
                return Err(AskError::Unavailable { reason });
            }
            if open.out.len() > MAX_OUT {
                return Err(unavailable("the signer does not read what it is asked"));
            }
            // 0 is the signer's own number.
            open.next += 1;
            let number = open.next;
            let first = open.out.is_empty() && !open.writing;
            frame::append(&mut open.out, &Request { number, ask })
                .map_err(|e| unavailable(&e.to_string()))?;
            if first && open.waiting.is_empty() {
                // An error meets the task as well, which tells of it.
                let _ = open.send();
            }
            let (sender, receiver) = oneshot::channel();
            open.waiting.insert(number, sender);
            (receiver, first && !open.out.is_empty())
        };
        if wake {
            self.0.wake.notify_one();
        }
        match tokio::time::timeout(DEADLINE, receiver).await {
            Ok(Ok(Outcome::Done { body })) => Ok(Recorded { body }),
            Ok(Ok(Outcome::Forbidden { rule })) => Err(AskError::Forbidden { rule }),
            Ok(Ok(Outcome::Unavailable { reason })) => Err(AskError::Unavailable { reason }),
            Ok(Ok(Outcome::Checkpoint(_) | Outcome::Status(_))) => {
                Err(unavailable("the signer answered out of turn"))
            }
            Ok(Err(_)) => Err(unavailable("the connection to the signer ended")),
            Err(_) => Err(unavailable("the signer did not answer in time")),
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a connection whose handshake is done, and serves it until it ends or `stop`. Then it says that nothing more
    /// is asked, and reads on for the checkpoint that covers every answer of this connection.
    pub(super) async fn serve(
        &self,
        stream: UnixStream,
        published: Arc<Published>,
        checkpoints: &watch::Sender<LogMemory>,
        stop: &mut watch::Receiver<bool>,
    ) -> FrameError {
        let stream = Arc::new(stream);
        {
            let mut open = self.open();
            open.up = true;
            open.stream = Some(Arc::clone(&stream));
        }
        self.0.state.send_replace(SignerState::Ready(published));
        let mut read = std::pin::pin!(self.read(Arc::clone(&stream), checkpoints));
        let ended = {
            let mut write = Box::pin(self.write_until_closed(Arc::clone(&stream)));
            tokio::select! {
                () = &mut write => Some(FrameError::Io(io::ErrorKind::BrokenPipe.into())),
                end = &mut read => Some(end),
                _ = stop.wait_for(|stop| *stop) => None,
            }
        };
        // Nothing more is asked. A socket that has ended already takes no notice.
        {
            let mut open = self.open();
            open.up = false;
            open.stream = None;
        }
        let _ = stream.shutdown(Shutdown::Write);
        let end = match ended {
            Some(end) => end,
            None => match tokio::time::timeout(LAST_WORD, read).await {
                Ok(end) => end,
                Err(_) => FrameError::Io(io::ErrorKind::TimedOut.into()),
            },
        };
        self.down(&format!("the connection to the signer ended: {end}"));
        end
    }

    /// Every waiter fails; asks are refused until there is another connection.
    pub(super) fn down(&self, reason: &str) {
        let waiting = {
            let mut open = self.open();
            open.up = false;
            open.stream = None;
            open.out = Vec::new();
            open.writing = false;
            std::mem::take(&mut open.waiting)
        };
        self.0.state.send_replace(SignerState::Down { reason: reason.to_owned() });
        drop(waiting);
    }

    /// Writes; and when the signer takes no more, because it is ending in order, lets it answer what it has taken: those
    /// records are made, and tokens and used assertions would be lost to whoever asked.
    async fn write_until_closed(&self, stream: Arc<UnixStream>) {
        let end = self.write(&stream).await;
        self.open().up = false;
        let reason = format!("the signer takes no more requests: {end}");
        self.0.state.send_replace(SignerState::Down { reason });
        // No ask lives longer: none that could still be answered is cut off.
        tokio::time::sleep(DEADLINE).await;
    }

    async fn write(&self, stream: &UnixStream) -> io::Error {
        // Another descriptor, since the runtime watches the first for answers; now, while there is one to be had.
        let own = match stream.try_clone() {
            Ok(own) => own,
            Err(end) => return end,
        };
        loop {
            self.0.wake.notified().await;
            if let Err(end) = self.write_out(&own).await {
                return end;
            }
        }
    }

    /// Sends what waits until nothing does.
    async fn write_out(&self, stream: &UnixStream) -> io::Result<()> {
        loop {
            let bytes = {
                let mut open = self.open();
                open.send()?;
                open.writing = !open.out.is_empty();
                if !open.writing {
                    return Ok(());
                }
                std::mem::take(&mut open.out)
            };
            send_all(stream, &bytes).await?;
        }
    }

    async fn read(&self, stream: Arc<UnixStream>, checkpoints: &watch::Sender<LogMemory>) -> FrameError {
        let socket = match Incoming::of(stream) {
            Ok(socket) => socket,
            Err(error) => return error.into(),
        };
        let mut buffer = vec![0; 256 << 10];
        let mut frames = Frames::default();
        let mut answers: Vec<Response> = Vec::new();
        loop {
            match socket.receive(&mut buffer).await {
                Ok(0) => return FrameError::Io(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => frames.push(buffer.get(..read).unwrap_or_default()),
                Err(e) => return e.into(),
            }
            loop {
                match frames.next() {
                    Ok(Some(frame)) => match Response::decode(frame) {
                        Some(answer) => answers.push(answer),
                        None => return FrameError::NoAnswer,
                    },
                    Ok(None) => break,
                    Err(e) => return e,
                }
            }
            let mut open = self.open();
            for answer in answers.drain(..) {
                if let Outcome::Checkpoint(shown) = answer.outcome {
                    if let Err(why) = follow(checkpoints, &shown) {
                        return FrameError::Checkpoint(why);
                    }
                } else if let Outcome::Status(status) = answer.outcome {
                    *self.0.status.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
                } else if let Some(waiter) = open.waiting.remove(&answer.number) {
                    // Whoever asked may have gone: the record stands, the answer is dropped.
                    let _ = waiter.send(answer.outcome);
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
