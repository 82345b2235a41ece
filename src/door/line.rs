//! The gateway's connection to the signer: many asks in flight over one socket.
//!
//! An ask goes out at once when no other is with the signer. Else the signer has work, and the asks that this turn of
//! the runtime brings are sent together by a task of their own, which also waits where the socket is full. Every answer
//! that one read brings wakes its asker. So under load a call to the system carries many asks or answers, and nothing
//! waits for a batch to fill.

use super::client::{Outage, Published, SignerClient, SignerState};
use super::frame::{FrameError, Frames};
use super::message::{Outcome, Response};
use super::tempo::Tempo;
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

/// How long a stopping gateway waits for the signer's last checkpoint.
const LAST_WORD: Duration = Duration::from_secs(20);

/// A signer says something each second; one that says nothing for so long is stopped or hangs.
const SILENCE: Duration = Duration::from_secs(5);

/// What comes of an ask. Dropped: the connection ended after the ask was sent, and the record may be durable or not.
pub(super) enum Told {
    /// The signer's answer.
    Outcome(Outcome),
    /// The connection ended before the ask was sent as a whole: the signer cannot have read it.
    Unsent,
}

/// What belongs to the connection of the moment.
#[derive(Default)]
pub(super) struct Line {
    /// Asks are taken.
    pub(super) up: bool,
    /// The socket, as long as there is one.
    stream: Option<Arc<UnixStream>>,
    /// Asks that have not been sent: the task has been woken, or is writing.
    pub(super) out: Vec<u8>,
    /// The task has taken bytes and not yet written them all.
    pub(super) writing: bool,
    pub(super) waiting: HashMap<u64, Waiter>,
    next: u64,
    /// Of the asks that were answered the newest: those before it that still wait were overtaken.
    newest: u64,
    /// Bytes of asks on this connection, and how many of them the socket took.
    queued: u64,
    sent: u64,
    /// Number of the handshake that told a signer the gateway's configuration, while its connection is there or made.
    told: Option<u64>,
    handshakes: u64,
    /// Asks were taken until nothing was heard for too long.
    silent: bool,
    tempo: Tempo,
}

/// One ask under way.
pub(super) struct Waiter {
    tell: oneshot::Sender<Told>,
    /// The last of its bytes, counted from the connection's first.
    end: u64,
    /// When it was asked, in monotonic nanoseconds, and how many were under way then.
    asked: u64,
    before: usize,
}

impl Line {
    /// Puts one ask on the line: `write` appends its frame. The second says that the task has to be woken.
    pub(super) fn put(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>, u64) -> Result<(), FrameError>,
    ) -> Result<(oneshot::Receiver<Told>, bool), FrameError> {
        // 0 is the signer's own number.
        let number = self.next + 1;
        let first = self.out.is_empty() && !self.writing;
        let length = self.out.len();
        write(&mut self.out, number)?;
        self.next = number;
        self.queued += (self.out.len() - length) as u64;
        let (asked, before) = (clock::monotonic_nanos(), self.waiting.len());
        if self.not_overtaken() == 1 {
            self.tempo.begins(asked);
        }
        if before == 0 && first {
            // An error meets the task as well, which tells of it.
            drop(self.send());
        }
        let (tell, told) = oneshot::channel();
        self.waiting.insert(self.next, Waiter { tell, end: self.queued, asked, before });
        Ok((told, first && !self.out.is_empty()))
    }

    pub(super) fn likely_time(&self, now: u64) -> Duration {
        self.tempo.likely_time(self.waiting.len(), self.not_overtaken() > 0, now)
    }

    /// How many asks wait that are newer than every one that was answered.
    const fn not_overtaken(&self) -> u64 {
        self.next - self.newest
    }

    /// Sends what the socket takes of `out` now.
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
            self.tempo.answered(now, now.saturating_sub(waiter.asked), waiter.before);
            // Whoever asked may have gone: the record stands, the answer is dropped.
            drop(waiter.tell.send(Told::Outcome(answer.outcome)));
        }
    }

    /// A handshake begins, in which the gateway tells its configuration.
    pub(super) const fn tell(&mut self) {
        self.handshakes += 1;
        self.told = Some(self.handshakes);
    }

    /// No signer goes by what it was told.
    pub(super) const fn untell(&mut self) {
        self.told = None;
    }

    pub(super) const fn told(&self) -> Option<u64> {
        self.told
    }

    /// The end of the connection, and nothing of it is left.
    fn end(&mut self) {
        let sent = self.sent;
        for (_, waiter) in self.waiting.drain() {
            if waiter.end > sent {
                drop(waiter.tell.send(Told::Unsent));
            }
        }
        *self = Self { next: self.next, newest: self.next, handshakes: self.handshakes, ..Self::default() };
    }
}

/// Until nothing was heard for too long.
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
            let mut line = self.line();
            line.up = true;
            line.stream = Some(Arc::clone(&stream));
        }
        if let Some(status) = &mut *self.inner().status.lock().unwrap_or_else(PoisonError::into_inner) {
            // Another signer's.
            status.trouble = None;
        }
        self.inner().starts[0].fetch_add(1, Ordering::Relaxed);
        self.inner().state.send_replace(SignerState::Ready(Arc::clone(&published)));
        let heard = watch::Sender::new(Instant::now());
        let mut read = std::pin::pin!(self.read(Arc::clone(&stream), &published, &heard, checkpoints));
        let ended = {
            let mut write = Box::pin(self.write_until_closed(Arc::clone(&stream)));
            tokio::select! {
                () = &mut write => Some(FrameError::Io(io::ErrorKind::BrokenPipe.into())),
                end = &mut read => Some(end),
                () = self.mind_silence(&heard) => None,
                _ = stop.wait_for(|stop| *stop) => None,
            }
        };
        // Nothing more is asked. A socket that has ended already takes no notice.
        match &ended {
            // What the signer said last tells more than how the system saw its end.
            Some(end) => self.away(
                &self.trouble().unwrap_or_else(|| format!("the connection to the signer ended: {end}")),
                false,
            ),
            None => self.away("the gateway is stopping", true),
        }
        self.line().stream = None;
        drop(stream.shutdown(Shutdown::Write));
        let end = if let Some(end) = ended {
            end
        } else {
            tokio::select! {
                end = &mut read => end,
                () = silent(&heard) => FrameError::Io(io::ErrorKind::TimedOut.into()),
                () = tokio::time::sleep(LAST_WORD) => FrameError::Io(io::ErrorKind::TimedOut.into()),
            }
        };
        self.line().end();
        end
    }

    /// Why the signer could sign nothing, when it said something last.
    pub(super) fn trouble(&self) -> Option<String> {
        self.status().and_then(|status| status.trouble)
    }

    /// An outage begins, or goes on for another reason: asks wait until it ends, or fail at once when it is `lasting`.
    pub(super) fn away(&self, reason: &str, lasting: bool) {
        self.line().up = false;
        self.inner().state.send_modify(|state| {
            let since = match state {
                SignerState::Down(outage) => outage.since,
                SignerState::Ready(_) => Instant::now(),
            };
            *state = SignerState::Down(Outage { reason: reason.to_owned(), since, lasting });
        });
    }

    /// Asks no more while nothing is heard: a process that is stopped, or whose threads all hang, keeps its socket open.
    async fn mind_silence(&self, heard: &watch::Sender<Instant>) {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if heard.borrow().elapsed() < SILENCE {
                continue;
            }
            let mut line = self.line();
            if line.up {
                line.silent = true;
                drop(line);
                self.away("the signer says nothing: its process is stopped, or hangs", false);
            }
        }
    }

    /// Writes; and when the signer takes no more, because it is ending in order, lets it answer what it has taken: those
    /// records are made, and tokens and used assertions would be lost to whoever asked.
    async fn write_until_closed(&self, stream: Arc<UnixStream>) {
        let end = self.write(&stream).await;
        self.away(&format!("the signer takes no more requests: {end}"), false);
        // The signer closes the socket when it has answered, or is ended by its own deadline.
        std::future::pending::<()>().await;
    }

    async fn write(&self, stream: &UnixStream) -> io::Error {
        // Another descriptor, since the runtime watches the first for answers; now, while there is one to be had.
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

    /// Sends what waits until nothing does.
    async fn write_out(&self, stream: &UnixStream) -> io::Result<()> {
        loop {
            let bytes = {
                let mut line = self.line();
                line.send()?;
                line.writing = !line.out.is_empty();
                if !line.writing {
                    return Ok(());
                }
                std::mem::take(&mut line.out)
            };
            send_all(stream, &bytes, |sent| self.line().sent += sent as u64).await?;
        }
    }

    async fn read(
        &self,
        stream: Arc<UnixStream>,
        published: &Arc<Published>,
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
            let mut line = self.line();
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
                    _ => line.answered(answer, now),
                }
            }
            if std::mem::take(&mut line.silent) {
                line.up = true;
                drop(line);
                tracing::info!("the signer speaks again");
                self.inner().state.send_replace(SignerState::Ready(Arc::clone(published)));
            }
        }
    }
}
