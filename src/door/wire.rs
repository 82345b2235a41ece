//! Non-blocking socket calls for both processes, and their use in the gateway's runtime.

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Sends as many bytes as the socket takes now; returns their count, 0 if the buffer is full.
pub(crate) fn send_now(stream: &UnixStream, bytes: &[u8]) -> io::Result<usize> {
    match send(stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        sent => Ok(sent?),
    }
}

/// Receives available bytes: their count, 0 at the end; `None` if there are none.
pub(crate) fn receive_now(stream: &UnixStream, to: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        match recv(stream, &mut *to, RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::INTR) => {}
            read => return Ok(Some(read?.0)),
        }
    }
}

/// Count of bytes that [`receive_now`] could receive.
pub(crate) fn waiting(stream: &UnixStream) -> io::Result<usize> {
    Ok(usize::try_from(rustix::io::ioctl_fionread(stream)?).unwrap_or(usize::MAX))
}

/// Sends all bytes as the socket takes them, and reports each part.
///
/// Registers the socket for writing only meanwhile: a permanent registration wakes the runtime with every message that
/// the peer reads. Needs another file descriptor than [`Incoming`].
pub(crate) async fn send_all(
    stream: &UnixStream,
    mut bytes: &[u8],
    mut took: impl FnMut(usize),
) -> io::Result<()> {
    let socket = watch_for(stream.as_fd(), Interest::WRITABLE)?;
    while !bytes.is_empty() {
        let mut ready = socket.writable().await?;
        match send_now(stream, bytes)? {
            0 => ready.clear_ready(),
            sent => {
                took(sent);
                bytes = bytes.get(sent..).unwrap_or_default();
            }
        }
    }
    Ok(())
}

/// A socket registered for reading alone.
pub(crate) struct Incoming(AsyncFd<Arc<UnixStream>>);

impl Incoming {
    pub(crate) fn of(stream: Arc<UnixStream>) -> io::Result<Self> {
        watch_for(stream, Interest::READABLE).map(Self)
    }

    /// Waits for bytes and receives them: their count, 0 at the end.
    pub(crate) async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.0.readable().await?;
            let read = receive_now(self.0.get_ref(), buffer)?;
            if read.is_none_or(|read| read < buffer.len()) {
                // All available bytes were read: without this the next call would try to read none.
                ready.clear_ready();
            }
            if let Some(read) = read {
                return Ok(read);
            }
        }
    }
}

/// Registers a socket for one direction, which tokio's sockets do not offer.
#[expect(
    deprecated,
    reason = "the one to use instead is unsafe; a std socket has its descriptor as long as it lives"
)]
fn watch_for<T: AsRawFd>(socket: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(socket, interest)
}
