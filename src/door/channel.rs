//! The gateway's end of the connection to the signer: many asks in flight over one socket.
//!
//! If no other ask is open, an ask is sent at once. Otherwise the signer is busy, and a task sends all asks of this
//! turn of the runtime together; it also waits when the socket is full. So under load one system call carries many
//! asks, and one read many answers, and nothing waits for a batch to fill.

use super::client::{Outage, Published, SignerClient, SignerState};
use super::estimate::Estimate;
use super::frame::{FrameError, Frames};
use super::message::{Outcome, Response};
use super::wire::{Incoming, send_all, send_now};
use crate::clock;
use crate::memory::{LogMemory, follow};
use std::collections::HashMap;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

/// Limit of time for the signer's last checkpoint when the gateway stops.
const LAST_CHECKPOINT: Duration = Duration::from_secs(20);

/// The signer sends its status each second; after this time without bytes it is stopped or hangs.
const SILENCE: Duration = Duration::from_secs(5);

/// Completion of an ask. Dropped without a value: the connection ended after the ask was sent, and its record may be
/// durable or not.
pub(super) enum Completion {
    /// The signer's answer.
    Outcome(Outcome),
    /// The connection ended before the ask was sent completely: the signer cannot have read it.
    Unsent,
}

/// State of the current connection.
#[derive(Default)]
pub(super) struct Channel {
    pub(super) up: bool,
    /// The socket, while there is one.
    stream: Option<Arc<UnixStream>>,
    /// Asks to be sent; the writing task is notified or running.
    pub(super) out: Vec<u8>,
    /// The writing task has taken bytes and not sent them all.
    pub(super) writing: bool,
    pub(super) waiting: HashMap<u64, Waiter>,
    next: u64,
    /// The newest answered ask: older ones that are open were overtaken.
    newest: u64,
    /// Bytes of asks on this connection, and how many of them the socket took.
    queued: u64,
    sent: u64,
    /// Number of the handshake in which the signer received the gateway's configuration, until its connection ends.
    handshake: Option<u64>,
    handshakes: u64,
    /// Whether the signer was silent for too long.
    silent: bool,
    estimate: Estimate,
}

pub(super) struct Waiter {
    sender: oneshot::Sender<Completion>,
    /// Position of its last byte in the connection's stream.
    end: u64,
    /// Its start in monotonic nanoseconds, and the number of open asks then.
    asked: u64,
    before: usize,
}

impl Channel {
    /// Queues one ask: `write` appends its frame. The flag says that the writing task must be notified.
    pub(super) fn put(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>, u64) -> Result<(), FrameError>,
    ) -> Result<(oneshot::Receiver<Completion>, bool), FrameError> {
        // 0 is for messages that are no answers.
        let number = self.next + 1;
        let first = self.out.is_empty() && !self.writing;
        let length = self.out.len();
        write(&mut self.out, number)?;
        self.next = number;
        self.queued += (self.out.len() - length) as u64;
        let (asked, before) = (clock::monotonic_nanos(), self.waiting.len());
        if self.not_overtaken() == 1 {
            self.estimate.begins(asked);
        }
        if before == 0 && first {
            // The writing task meets the same error, and reports it.
            drop(self.send());
        }
        let (sender, receiver) = oneshot::channel();
        self.waiting.insert(self.next, Waiter { sender, end: self.queued, asked, before });
        Ok((receiver, first && !self.out.is_empty()))
    }

    pub(super) fn likely_time(&self, now: u64) -> Duration {
        self.estimate.likely_time(self.waiting.len(), self.not_overtaken() > 0, now)
    }

    /// Number of open asks that are newer than every answered one.
    const fn not_overtaken(&self) -> u64 {
        self.next - self.newest
    }

    /// Sends as many bytes of `out` as the socket takes now.
    fn send(&mut self) -> io::Result<()> {
        let Some(stream) = &self.stream else { return Ok(()) };
        let sent = send_now(stream, &self.out)?;
        self.out.drain(..sent);
        self.sent += sent as u64;
        Ok(())
    }

    fn answered(&mut self, answer: Response, now: u64) {
        if let Some(waiter) = self.waiting.remove(&answer.number) {
            self.newest = self.newest.max(answer.number);
            self.estimate.answered(now, now.saturating_sub(waiter.asked), waiter.before);
            // The asker may be gone: the record stands, the answer is dropped.
            drop(waiter.sender.send(Completion::Outcome(answer.outcome)));
        }
    }

    /// A handshake begins, in which the signer receives the gateway's configuration.
    pub(super) const fn begin_handshake(&mut self) {
        self.handshakes += 1;
        self.handshake = Some(self.handshakes);
    }

    /// No signer uses the configuration of the handshake.
    pub(super) const fn forget_handshake(&mut self) {
        self.handshake = None;
    }

    pub(super) const fn handshake(&self) -> Option<u64> {
        self.handshake
    }

    fn end(&mut self) {
        let sent = self.sent;
        for (_, waiter) in self.waiting.drain() {
            if waiter.end > sent {
                drop(waiter.sender.send(Completion::Unsent));
            }
        }
        *self = Self { next: self.next, newest: self.next, handshakes: self.handshakes, ..Self::default() };
    }
}

/// Returns when the signer was silent for too long.
async fn silent(heard: &watch::Sender<Instant>) {
    loop {
        let end = *heard.borrow() + SILENCE;
        if end <= Instant::now() {
            return;
        }
        tokio::time::sleep_until(end).await;
    }
}

impl SignerClient {
    /// Serves a connection after its handshake until it ends or `stop`. Then it shuts down writing, and reads on for
    /// the checkpoint that covers every answer of this connection.
    pub(super) async fn serve(
        &self,
        stream: UnixStream,
        published: Arc<Published>,
        checkpoints: &watch::Sender<LogMemory>,
        stop: &mut watch::Receiver<bool>,
    ) -> FrameError {
        let stream = Arc::new(stream);
        {
            let mut channel = self.channel();
            channel.up = true;
            channel.stream = Some(Arc::clone(&stream));
        }
        if let Some(status) = &mut *self.inner().status.lock().unwrap_or_else(PoisonError::into_inner) {
            // From the signer before.
            status.trouble = None;
        }
        self.inner().starts[0].fetch_add(1, Ordering::Relaxed);
        self.inner().state.send_replace(SignerState::Ready(Arc::clone(&published)));
        let heard = watch::Sender::new(Instant::now());
        let mut read = std::pin::pin!(self.read(Arc::clone(&stream), published, &heard, checkpoints));
        let ended = {
            let mut write = Box::pin(self.write_until_closed(Arc::clone(&stream)));
            tokio::select! {
                () = &mut write => Some(FrameError::Io(io::ErrorKind::BrokenPipe.into())),
                end = &mut read => Some(end),
                () = self.mind_silence(&heard) => None,
                _ = stop.wait_for(|stop| *stop) => None,
            }
        };
        // No more asks are accepted.
        match &ended {
            // The signer's last status is more useful than the system's error.
            Some(end) => self.away(
                &self.trouble().unwrap_or_else(|| format!("the connection to the signer ended: {end}")),
                false,
            ),
            None => self.away("the gateway is stopping", true),
        }
        self.channel().stream = None;
        drop(stream.shutdown(Shutdown::Write));
        let end = if let Some(end) = ended {
            end
        } else {
            tokio::select! {
                end = &mut read => end,
                () = silent(&heard) => FrameError::Io(io::ErrorKind::TimedOut.into()),
                () = tokio::time::sleep(LAST_CHECKPOINT) => FrameError::Io(io::ErrorKind::TimedOut.into()),
            }
        };
        self.channel().end();
        end
    }

    /// Why the signer cannot sign, from its last status.
    pub(super) fn trouble(&self) -> Option<String> {
        self.status().and_then(|status| status.trouble)
    }

    /// Begins an outage or changes its reason: asks wait until it ends, or fail at once when it is `lasting`.
    pub(super) fn away(&self, reason: &str, lasting: bool) {
        self.channel().up = false;
        self.inner().state.send_modify(|state| {
            let since = match state {
                SignerState::Down(outage) => outage.since,
                SignerState::Ready(_) => Instant::now(),
            };
            *state = SignerState::Down(Outage { reason: reason.to_owned(), since, lasting });
        });
    }

    /// Accepts no more asks while the signer is silent: a process that is stopped, or whose threads all hang, keeps its
    /// socket open.
    async fn mind_silence(&self, heard: &watch::Sender<Instant>) {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if heard.borrow().elapsed() < SILENCE {
                continue;
            }
            let mut channel = self.channel();
            if channel.up {
                channel.silent = true;
                drop(channel);
                self.away("the signer says nothing: its process is stopped, or hangs", false);
            }
        }
    }

    /// Writes. When a signer that ends in order reads no more, keeps the connection for the answers to the asks that it
    /// has read: their records exist, and the tokens would be lost to their clients.
    async fn write_until_closed(&self, stream: Arc<UnixStream>) {
        let end = self.write(&stream).await;
        self.away(&format!("the signer takes no more requests: {end}"), false);
        // The signer closes the socket after its answers, or when its own deadline ends it.
        std::future::pending::<()>().await;
    }

    async fn write(&self, stream: &UnixStream) -> io::Error {
        // Another file descriptor, since the runtime watches the first one for reading; made now, while one is
        // available.
        let own = match stream.try_clone() {
            Ok(own) => own,
            Err(end) => return end,
        };
        loop {
            self.inner().wake.notified().await;
            if let Err(end) = self.write_out(&own).await {
                return end;
            }
        }
    }

    /// Sends until nothing is queued.
    async fn write_out(&self, stream: &UnixStream) -> io::Result<()> {
        loop {
            let bytes = {
                let mut channel = self.channel();
                channel.send()?;
                channel.writing = !channel.out.is_empty();
                if !channel.writing {
                    return Ok(());
                }
                std::mem::take(&mut channel.out)
            };
            send_all(stream, &bytes, |sent| self.channel().sent += sent as u64).await?;
        }
    }

    async fn read(
        &self,
        stream: Arc<UnixStream>,
        mut published: Arc<Published>,
        heard: &watch::Sender<Instant>,
        checkpoints: &watch::Sender<LogMemory>,
    ) -> FrameError {
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
            heard.send_replace(Instant::now());
            let now = clock::monotonic_nanos();
            let mut channel = self.channel();
            for answer in answers.drain(..) {
                match answer.outcome {
                    Outcome::Checkpoint(shown) => {
                        if let Err(why) = follow(checkpoints, &shown) {
                            return FrameError::Checkpoint(why);
                        }
                    }
                    Outcome::Status(status) => {
                        *self.inner().status.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
                    }
                    Outcome::Documents(documents) => {
                        published = match Published::new(documents) {
                            Ok(published) => published,
                            Err(why) => return FrameError::Key(why),
                        };
                        // An outage clears `up` under this lock first: while it lasts, its state stays.
                        if channel.up {
                            self.inner().state.send_replace(SignerState::Ready(Arc::clone(&published)));
                        }
                    }
                    _ => channel.answered(answer, now),
                }
            }
            if std::mem::take(&mut channel.silent) {
                channel.up = true;
                drop(channel);
                tracing::info!("the signer speaks again");
                self.inner().state.send_replace(SignerState::Ready(Arc::clone(&published)));
            }
        }
    }
}
