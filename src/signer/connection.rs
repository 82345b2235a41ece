//! One gateway: frames in, answers out, never waiting for a gateway that does not read.

use super::frame::{self, FrameError};
use super::message::{MAX_FRAME, Outcome, Response};
use super::wire::{receive_now, send_now};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Bytes that may wait for a gateway; beyond it the connection is closed.
const MAX_WAITING: usize = 64 << 20;

/// The signer's end of one socket.
pub(super) struct Connection {
    stream: UnixStream,
    reading: Mutex<Reading>,
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

/// A frame of which not all has come yet.
#[derive(Default)]
struct Reading {
    head: [u8; 4],
    /// Of the head.
    have: usize,
    body: Vec<u8>,
    /// Of the body.
    read: usize,
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

    /// The next whole frame, without waiting; `None` when not all of it has come. No byte of the frame behind it is
    /// taken: that one stays where another thread finds it.
    ///
    /// # Errors
    /// `None` at the end.
    pub(super) fn read_ask(&self) -> Result<Option<Vec<u8>>, Option<FrameError>> {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let Reading { head, have, body, read } = &mut *reading;
        while *have < head.len() {
            match self.receive(head.get_mut(*have..).unwrap_or_default())? {
                Some(bytes) => *have += bytes,
                None => return Ok(None),
            }
            if *have == head.len() {
                let length = usize::try_from(u32::from_le_bytes(*head)).unwrap_or(usize::MAX);
                if length > MAX_FRAME {
                    return Err(Some(FrameError::TooLong(length)));
                }
                *body = vec![0; length];
                *read = 0;
            }
        }
        while *read < body.len() {
            match self.receive(body.get_mut(*read..).unwrap_or_default())? {
                Some(bytes) => *read += bytes,
                None => return Ok(None),
            }
        }
        *have = 0;
        Ok(Some(std::mem::take(body)))
    }

    /// How many bytes there were; `None` for none yet.
    fn receive(&self, to: &mut [u8]) -> Result<Option<usize>, Option<FrameError>> {
        match receive_now(&self.stream, to) {
            Ok(Some(0)) => Err(None),
            received => received.map_err(|error| Some(error.into())),
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
