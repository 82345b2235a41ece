//! The signer's end of a gateway's connection: reads frames, sends answers, and never waits for a gateway that does not
//! read.

use crate::door::frame::{self, FrameError};
use crate::door::message::{Outcome, Response};
use crate::door::wire::{receive_now, send_now, waiting};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Limit of bytes of one receive.
const PIECE: usize = 64 << 10;

/// Bytes of a short ask.
const ASK: usize = 512;

/// Limit of bytes that wait for a gateway; beyond it the connection is closed.
const MAX_WAITING: usize = 64 << 20;

/// The signer's end of one socket.
pub(super) struct Connection {
    stream: UnixStream,
    /// Size of the last checkpoint sent to the gateway.
    pub(super) told: Mutex<u64>,
    reading: Mutex<Reading>,
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Default)]
struct Reading {
    /// Whole frames while a thread reads, afterwards the beginning of an incomplete one: its rest is in the socket or
    /// not received, so the socket becomes readable again.
    begun: Vec<u8>,
    /// Recent mean of a frame's length in bytes.
    mean: usize,
}

/// How many of the waiting asks one thread takes, approximately.
#[derive(Clone, Copy)]
pub(super) struct Share {
    /// Upper limit.
    pub most: usize,
    /// Number of threads that share the asks.
    pub threads: usize,
}

impl Share {
    /// Bytes to receive, given the recent mean of a frame; enough for one slightly longer frame.
    fn of(self, waiting: usize, mean: usize) -> usize {
        let one = mean + mean / 4;
        waiting.div_ceil(self.threads.max(1)).min(self.most.saturating_mul(mean)).max(one)
    }
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// The writing thread has taken bytes and not sent them all.
    writing: bool,
    closed: bool,
}

impl Connection {
    /// Starts the thread that sends what a full socket buffer did not take.
    pub(super) fn new(stream: UnixStream, told: u64) -> std::io::Result<Arc<Self>> {
        let connection = Arc::new(Self {
            stream,
            told: Mutex::new(told),
            reading: Mutex::default(),
            waiting: Mutex::default(),
            wake: Condvar::new(),
        });
        let writer = Arc::clone(&connection);
        std::thread::Builder::new().name("answers".to_owned()).spawn(move || writer.write_waiting())?;
        Ok(connection)
    }

    pub(super) const fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Shuts down reading: frames that were sent before can still be read.
    pub(super) fn read_no_more(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Read);
    }

    /// The next whole frames without blocking: this thread's share of the received ones, `None` without any. Later
    /// frames stay in the socket for other threads, except for the beginning of the first one.
    ///
    /// # Errors
    ///
    /// `None` at the end.
    pub(super) fn read_asks(&self, share: Share) -> Result<Option<Vec<u8>>, Option<FrameError>> {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let Reading { begun, mean } = &mut *reading;
        loop {
            let have = begun.len();
            let missing = match begun.first_chunk::<4>() {
                Some(head) => (4 + frame::length(*head)?).saturating_sub(have),
                None => 4 - have,
            };
            let come = waiting(&self.stream).map_err(FrameError::from)?;
            let share = share.of(have + come, *mean).saturating_sub(have);
            // Bounded by the received bytes; one byte at least, which detects the end.
            begun.resize(have + missing.max(share).min(come.clamp(1, PIECE)), 0);
            let read = there(receive_now(&self.stream, begun.get_mut(have..).unwrap_or_default()))?;
            begun.truncate(have + read.unwrap_or(0));
            if read.is_none() {
                return Ok(None);
            }
            let (mut frames, mut end) = (0, 0);
            // A frame that is too long is reported when it is the first.
            while let Ok(Some(ask)) = frame::first(begun.get(end..).unwrap_or_default()) {
                frames += 1;
                end += 4 + ask.len();
            }
            if frames > 0 {
                // Falls at once and rises slowly: after one long ask the next share must not be a hundred short ones.
                *mean = end.div_ceil(frames).min(2 * (*mean).max(ASK));
                let next = begun.split_off(end);
                return Ok(Some(std::mem::replace(begun, next)));
            }
        }
    }

    /// Sends whole frames, in one system call if the socket takes them.
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

    pub(super) fn answer(&self, number: u64, outcome: Outcome) {
        let mut bytes = Vec::with_capacity(256);
        match frame::append_answer(&mut bytes, &Response { number, outcome }) {
            Ok(()) => self.send(&bytes),
            Err(error) => {
                tracing::error!(%error, "an answer cannot be written; closing the gateway's connection");
                self.close();
            }
        }
    }

    /// Ends the connection; drops waiting bytes.
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

/// Count of received bytes; `None` if there are none yet.
///
/// # Errors
///
/// `None` at the end.
fn there(received: std::io::Result<Option<usize>>) -> Result<Option<usize>, Option<FrameError>> {
    match received {
        Ok(Some(0)) => Err(None),
        received => received.map_err(|error| Some(error.into())),
    }
}
