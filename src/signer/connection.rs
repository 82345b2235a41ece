//! One gateway: frames in, answers out, never waiting for a gateway that does not read.

use super::frame::{self, FrameError};
use super::message::{Outcome, Response};
use super::wire::{look, receive_now, send_now};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Bytes that a thread looks at to see how many asks wait; some forty of them.
const SEEN: usize = 16 << 10;

/// Bytes that are received at once at most.
const PIECE: usize = 64 << 10;

/// Bytes that may wait for a gateway; beyond it the connection is closed.
const MAX_WAITING: usize = 64 << 20;

/// The signer's end of one socket.
pub(super) struct Connection {
    stream: UnixStream,
    reading: Mutex<Reading>,
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Default)]
struct Reading {
    /// What a look at the socket showed; kept for its memory.
    seen: Vec<u8>,
    /// Whole frames with their heads, or one of which not all has come yet.
    begun: Vec<u8>,
    /// Bytes that `begun` is to have; 4 for the head of a frame whose length nobody knows yet.
    wanted: usize,
}

/// How many of the asks that wait one thread takes.
#[derive(Clone, Copy)]
pub(super) struct Share {
    /// Not more than these.
    pub most: usize,
    /// Threads that share them; each leaves the others theirs.
    pub threads: usize,
}

impl Share {
    /// Bytes of the whole frames that are the share of one thread: at least one frame if one is whole.
    fn of(self, seen: &[u8]) -> usize {
        let mut ends = Vec::new();
        let mut end = 0;
        while ends.len() < self.most.saturating_mul(self.threads)
            // One that is too long is told when it is the first.
            && let Ok(Some(ask)) = frame::first(seen.get(end..).unwrap_or_default())
        {
            end += 4 + ask.len();
            ends.push(end);
        }
        let share = ends.len().div_ceil(self.threads.max(1)).min(self.most.max(1));
        share.checked_sub(1).and_then(|last| ends.get(last).copied()).unwrap_or(0)
    }
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// The writer thread has taken bytes and not yet written them all.
    writing: bool,
    closed: bool,
}

impl Connection {
    /// Takes the socket and starts the thread that writes what a full socket buffer did not take.
    pub(super) fn new(stream: UnixStream) -> std::io::Result<Arc<Self>> {
        let connection = Arc::new(Self {
            stream,
            reading: Mutex::default(),
            waiting: Mutex::default(),
            wake: Condvar::new(),
        });
        let writer = Arc::clone(&connection);
        std::thread::Builder::new().name("answers".to_owned()).spawn(move || writer.write_waiting())?;
        Ok(connection)
    }

    /// To be waited for.
    pub(super) const fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// What was sent before can still be read, and then the end.
    pub(super) fn read_no_more(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Read);
    }

    /// The next whole frames, without waiting: this thread's share of those that have come, `None` when not one has. No
    /// byte behind them is taken: what follows stays where another thread finds it.
    ///
    /// # Errors
    /// `None` at the end.
    pub(super) fn read_asks(&self, share: Share) -> Result<Option<Vec<u8>>, Option<FrameError>> {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let Reading { seen, begun, wanted } = &mut *reading;
        if begun.is_empty() {
            seen.resize(SEEN, 0);
            let Some(have) = there(look(&self.stream, seen))? else { return Ok(None) };
            *wanted = share.of(seen.get(..have).unwrap_or_default()).max(4);
        }
        loop {
            let have = begun.len();
            // In pieces: the rest of a long frame is not cleared again for each byte of it that comes.
            begun.resize((*wanted).min(have + PIECE), 0);
            let read = there(receive_now(&self.stream, begun.get_mut(have..).unwrap_or_default()))?;
            begun.truncate(have + read.unwrap_or(0));
            if read.is_none() {
                return Ok(None);
            }
            if let Some(head) = begun.first_chunk::<4>()
                && *wanted == 4
            {
                *wanted += frame::length(*head)?;
            }
            if begun.len() == *wanted {
                return Ok(Some(std::mem::take(begun)));
            }
        }
    }

    /// Sends whole frames, in one call to the system when the socket takes them.
    pub(super) fn send(&self, mut frames: &[u8]) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.closed {
            return;
        }
        if waiting.bytes.is_empty() && !waiting.writing {
            match send_now(&self.stream, frames) {
                Ok(sent) => frames = frames.get(sent..).unwrap_or_default(),
                Err(_) => return self.close_locked(&mut waiting),
            }
        }
        if frames.is_empty() {
            return;
        }
        if waiting.bytes.len() + frames.len() > MAX_WAITING {
            tracing::error!("the gateway does not read its answers; closing its connection");
            return self.close_locked(&mut waiting);
        }
        waiting.bytes.extend_from_slice(frames);
        self.wake.notify_one();
    }

    /// Sends one answer.
    pub(super) fn answer(&self, number: u64, outcome: Outcome) {
        let mut bytes = Vec::with_capacity(256);
        match frame::append(&mut bytes, &Response { number, outcome }) {
            Ok(()) => self.send(&bytes),
            Err(error) => {
                tracing::error!(%error, "an answer cannot be written; closing the gateway's connection");
                self.close();
            }
        }
    }

    /// Ends the connection; what waits is dropped.
    pub(super) fn close(&self) {
        self.close_locked(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn close_locked(&self, waiting: &mut Waiting) {
        waiting.closed = true;
        waiting.bytes = Vec::new();
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        self.wake.notify_all();
    }

    fn write_waiting(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if waiting.closed {
                return;
            }
            if waiting.bytes.is_empty() {
                waiting = self.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let bytes = std::mem::take(&mut waiting.bytes);
            waiting.writing = true;
            drop(waiting);
            let written = (&self.stream).write_all(&bytes);
            waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.writing = false;
            if written.is_err() {
                return self.close_locked(&mut waiting);
            }
        }
    }
}

/// How many bytes there were; `None` for none yet.
///
/// # Errors
/// `None` at the end.
fn there(received: std::io::Result<Option<usize>>) -> Result<Option<usize>, Option<FrameError>> {
    match received {
        Ok(Some(0)) => Err(None),
        received => received.map_err(|error| Some(error.into())),
    }
}
