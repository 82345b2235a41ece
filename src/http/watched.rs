//! A socket that notices the first byte of a head, and gives hyper's own refusals the body that all of ours have.
//!
//! hyper answers a head that it cannot read by itself (400, 414, 431), with no body and no way to give one. Its head is
//! recognised as it is written: a whole head in one piece with a status of 4xx and without `Cache-Control`, which
//! stands on everything that `reply` makes.

use super::progress::Progress;
use super::reply::Reply;
use axum::http::StatusCode;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes behind a refused head that are read and thrown away, so that its sender gets to read the refusal instead of a
/// reset connection (RFC 9112 §9.6). The time of the head bounds how long that takes.
const DISCARDED: usize = 1 << 20;

/// The socket of one connection.
pub(super) struct Watched<S, F> {
    socket: S,
    progress: Arc<Progress>,
    refuse: F,
    refusal: Option<Refusal>,
}

/// A refusal in the place of hyper's own.
struct Refusal {
    message: Vec<u8>,
    written: usize,
    shut: bool,
    discarded: usize,
}

impl Refusal {
    /// Writes what is left of it.
    fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        socket: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while let Some(rest) = self.message.get(self.written..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut *socket).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S, F: Fn(StatusCode) -> Reply> Watched<S, F> {
    /// `refuse` makes the refusal for a head that hyper cannot read.
    pub(super) fn new(socket: S, progress: Arc<Progress>, refuse: F) -> Self {
        Self { socket, progress, refuse, refusal: None }
    }
}

/// The status of hyper's own refusal, if that is what these bytes are.
fn own_refusal(bytes: &[u8]) -> Option<StatusCode> {
    let status = bytes.strip_prefix(b"HTTP/1.1 ").or_else(|| bytes.strip_prefix(b"HTTP/1.0 "))?.get(..3)?;
    let ours = || bytes.windows(14).any(|name| name.eq_ignore_ascii_case(b"cache-control:"));
    if !status.starts_with(b"4") || !bytes.ends_with(b"\r\n\r\n") || ours() {
        return None;
    }
    StatusCode::from_bytes(status).ok()
}

impl<S: AsyncWrite + Unpin, F: Fn(StatusCode) -> Reply> Watched<S, F> {
    /// Writes our refusal in the place of `bytes`, if they are hyper's own; `None` if they are an answer.
    fn poll_refuse(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Option<io::Result<usize>>> {
        if self.refusal.is_none() {
            let Some(status) = own_refusal(bytes) else { return Poll::Ready(None) };
            let Some(message) = (self.refuse)(status).under(bytes) else { return Poll::Ready(None) };
            self.refusal = Some(Refusal { message, written: 0, shut: false, discarded: 0 });
        }
        let Some(refusal) = &mut self.refusal else { return Poll::Ready(None) };
        // After its own refusal hyper writes nothing more.
        Poll::Ready(Some(ready!(refusal.poll_write(&mut self.socket, cx)).map(|()| bytes.len())))
    }
}

impl<S: AsyncRead + Unpin, F: Unpin> AsyncRead for Watched<S, F> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.progress.received();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S, F> AsyncWrite for Watched<S, F>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn(StatusCode) -> Reply + Unpin,
{
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match ready!(self.poll_refuse(cx, bytes)) {
            Some(written) => Poll::Ready(written),
            None => Pin::new(&mut self.socket).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [head] = parts
            && let Some(written) = ready!(self.poll_refuse(cx, head))
        {
            return Poll::Ready(written);
        }
        Pin::new(&mut self.socket).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { socket, refusal, .. } = &mut *self;
        let Some(refusal) = refusal else { return Pin::new(socket).poll_shutdown(cx) };
        if !refusal.shut {
            ready!(refusal.poll_write(socket, cx))?;
            ready!(Pin::new(&mut *socket).poll_shutdown(cx))?;
            refusal.shut = true;
        }
        let mut scratch = [0; 4_096];
        while refusal.discarded < DISCARDED {
            let mut buffer = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut *socket).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                break;
            }
            refusal.discarded += buffer.filled().len();
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_hypers_own_is_told_from_everything_else_and_gets_a_body() {
        let own: &[u8] =
            b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\ndate: x\r\n\r\n";
        assert_eq!(own_refusal(own).map(|status| status.as_u16()), Some(431));
        let message = Reply::unreadable(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE).under(own).unwrap();
        let text = String::from_utf8(message).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("HTTP/1.1 431 ")
                && head.contains("connection: close\r\n")
                && head.ends_with("date: x")
        );
        assert!(
            head.contains(&format!("content-length: {}\r\n", body.len())) && body.starts_with("{\"error\":")
        );
        for other in [
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncache-control: no-store\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n",
            "{\"error\":\"not_found\"}",
            "HTTP/1.1 4",
            "",
        ] {
            assert_eq!(own_refusal(other.as_bytes()), None, "{other:?}");
        }
    }
}
