//! One connection: HTTP/1.1 within limits of size and time.
//!
//! A head must arrive within `request_time` of its first byte, and the first one within `request_time` of the
//! connection; between requests a connection may rest longer, because clients that keep a connection for later do not
//! expect it to vanish after seconds. One timer a connection watches both and costs a request nothing.

use super::host;
use super::visit::Peer;
use crate::clock::monotonic_nanos;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a connection may rest between two requests.
const REST: Duration = Duration::from_secs(75);

/// The smallest buffer that hyper works with.
const SMALLEST_BUFFER: usize = 8_192;

/// What answers the requests of one listener: the public edge, or the operators' router.
pub(super) trait Site: Clone + Send + Sync + 'static {
    /// One request; whatever it asks for, there is a reply.
    fn answer(&self, peer: Peer, request: Request<Incoming>) -> Answer;
}

/// A reply to come.
pub(super) type Answer = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

impl Site for Router {
    fn answer(&self, _: Peer, request: Request<Incoming>) -> Answer {
        if let Err(refusal) = host::one(request.headers()) {
            return Box::pin(std::future::ready(refusal.into_response()));
        }
        // A router is always ready; its clone is one counter.
        let answer = tower_service::Service::call(&mut self.clone(), request);
        Box::pin(async move { answer.await.unwrap_or_else(|never: Infallible| match never {}) })
    }
}

/// What every connection of one listener has in common.
#[derive(Clone)]
pub(super) struct Shape<R> {
    http: http1::Builder,
    site: R,
    request_time: Duration,
}

impl<R: Site> Shape<R> {
    /// Heads of at most `header_bytes` (431 beyond; hyper itself takes at most 100 fields), each within `request_time`.
    pub(super) fn new(site: R, header_bytes: usize, request_time: Duration) -> Self {
        let mut http = http1::Builder::new();
        http.half_close(false)
            .keep_alive(true)
            .header_read_timeout(None)
            .max_buf_size(header_bytes.max(SMALLEST_BUFFER))
            .max_header_size(header_bytes);
        Self { http, site, request_time }
    }

    /// How long a caller may take to send something.
    pub(super) fn request_time(&self) -> Duration {
        self.request_time
    }

    /// Serves `socket` until its client is done, takes too long, or `stop` says so and the request under way is done.
    pub(super) async fn serve<S>(self, socket: S, peer: SocketAddr, mut stop: watch::Receiver<bool>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let progress = Arc::new(Progress::new(monotonic_nanos()));
        let watched = Watched { socket, progress: Arc::clone(&progress) };
        let routes = Requests { site: self.site, peer: Peer(peer), progress: Arc::clone(&progress) };
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(watched), routes));
        let mut timer = pin!(tokio::time::sleep(self.request_time));
        let mut stopping = false;
        loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a connection ended early");
                    }
                    return;
                }
                () = timer.as_mut() => match progress.left(monotonic_nanos(), self.request_time) {
                    Some(left) => timer.as_mut().reset(Instant::now() + left),
                    None => return,
                },
                _ = stop.wait_for(|stop| *stop), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// Where a connection stands, and since when.
struct Progress {
    phase: AtomicU8,
    since: AtomicU64,
}

/// Between two requests.
const RESTING: u8 = 0;
/// A head is arriving.
const HEAD: u8 = 1;
/// A request is being answered; nobody asks since when.
const BUSY: u8 = 2;

impl Progress {
    /// A new connection owes its first head.
    fn new(now: u64) -> Self {
        Self { phase: AtomicU8::new(HEAD), since: AtomicU64::new(now) }
    }

    // Everything of one connection happens in one task, so that no order has to be forced between the two.
    fn enter(&self, phase: u8, now: u64) {
        self.since.store(now, Ordering::Relaxed);
        self.phase.store(phase, Ordering::Relaxed);
    }

    fn received(&self) {
        if self.phase.load(Ordering::Relaxed) == RESTING {
            self.enter(HEAD, monotonic_nanos());
        }
    }

    /// How long it may go on like this before it is looked at again; `None` when its time is over.
    fn left(&self, now: u64, request_time: Duration) -> Option<Duration> {
        let limit = match self.phase.load(Ordering::Relaxed) {
            RESTING => REST,
            HEAD => request_time,
            // The endpoint bounds the body, the signer its answer.
            _ => return Some(request_time),
        };
        let passed = Duration::from_nanos(now.saturating_sub(self.since.load(Ordering::Relaxed)));
        limit.checked_sub(passed).filter(|left| !left.is_zero())
    }
}

/// The requests of one connection as hyper brings them.
struct Requests<R> {
    site: R,
    peer: Peer,
    progress: Arc<Progress>,
}

impl<R: Site> hyper::service::Service<Request<Incoming>> for Requests<R> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answered;

    fn call(&self, request: Request<Incoming>) -> Answered {
        self.progress.phase.store(BUSY, Ordering::Relaxed);
        Answered { answer: self.site.answer(self.peer, request), progress: Arc::clone(&self.progress) }
    }
}

/// An answer under way; after it the connection rests.
struct Answered {
    answer: Answer,
    progress: Arc<Progress>,
}

impl Future for Answered {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = ready!(self.answer.as_mut().poll(cx));
        self.progress.enter(RESTING, monotonic_nanos());
        Poll::Ready(Ok(response))
    }
}

/// A socket that notices the first byte of a head.
struct Watched<S> {
    socket: S,
    progress: Arc<Progress>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
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

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
