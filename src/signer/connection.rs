//! One gateway: frames in, answers out, never waiting for a gateway that does not read.

use super::frame;
use super::message::{Outcome, Response};
use nix::sys::socket::{MsgFlags, send};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Bytes that may wait for a gateway; beyond it the connection is closed.
const MAX_WAITING: usize = 64 << 20;

/// The signer's end of one socket.
pub(super) struct Connection {
    stream: UnixStream,
    waiting: Mutex<Waiting>,
    wake: Condvar,
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
        let connection =
            Arc::new(Self { stream, waiting: Mutex::new(Waiting::default()), wake: Condvar::new() });
        let writer = Arc::clone(&connection);
        std::thread::Builder::new().name("answers".to_owned()).spawn(move || writer.write_waiting())?;
        Ok(connection)
    }

    /// For reading.
    pub(super) const fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Sends whole frames, in one call to the system when the socket takes them.
    pub(super) fn send(&self, mut frames: &[u8]) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.closed {
            return;
        }
        if waiting.bytes.is_empty() && !waiting.writing {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match send(self.stream.as_raw_fd(), frames, flags) {
                Ok(sent) => frames = frames.get(sent..).unwrap_or_default(),
                Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => {}
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
