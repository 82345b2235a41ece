//! One connection: HTTP/1.1 within limits of size and time.
//!
//! A head must arrive within `request_time` of its first byte, and the first one within `request_time` of the
//! connection; between requests a connection may rest longer, because clients that keep a connection for later do not
//! expect it to vanish after seconds. One timer a connection watches both and costs a request nothing.

use super::peer::Peer;
use super::progress::Progress;
use super::router::Site;
use super::watched::Watched;
use crate::clock::monotonic_nanos;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Request, Response};
use axum::routing::future::RouteFuture;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::Instant;

/// The smallest buffer that hyper works with.
const SMALLEST_BUFFER: usize = 8_192;

/// What every connection of one listener has in common.
#[derive(Clone)]
pub(super) struct Shape {
    http: http1::Builder,
    site: Site,
    request_time: Duration,
}

impl Shape {
    /// Heads of at most `header_bytes` (431 beyond; hyper itself takes at most 100 fields), each within `request_time`.
    pub(super) fn new(site: Site, header_bytes: usize, request_time: Duration) -> Self {
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

    /// Serves `socket` until its client is done, takes too long, or `stop` says so and the request under way is done: what
    /// has not arrived as a whole soon after that is no request.
    pub(super) async fn serve<S>(
        self,
        socket: S,
        peer: SocketAddr,
        progress: Arc<Progress>,
        mut stop: watch::Receiver<bool>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        progress.awaits_head();
        let peer = Peer::new(peer, Arc::clone(&progress));
        let refuse = {
            let (site, peer) = (self.site.clone(), peer.clone());
            move |status| site.unreadable(peer.clone(), status)
        };
        let watched = Watched::new(socket, Arc::clone(&progress), refuse);
        let routes = Requests { site: self.site, peer };
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(watched), routes));
        let mut timer = pin!(tokio::time::sleep(self.request_time));
        let mut stopped = None;
        loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a connection ended early");
                    }
                    return;
                }
                () = timer.as_mut() => {
                    let now = monotonic_nanos();
                    let left = match stopped {
                        None => progress.left(now, self.request_time),
                        Some(stopped) => progress.left_at_the_end(now, stopped),
                    };
                    let Some(left) = left else { return };
                    timer.as_mut().reset(Instant::now() + left);
                }
                _ = stop.wait_for(|stop| *stop), if stopped.is_none() => {
                    stopped = Some(monotonic_nanos());
                    connection.as_mut().graceful_shutdown();
                    timer.as_mut().reset(Instant::now());
                }
            }
        }
    }
}

/// The requests of one connection as hyper brings them.
struct Requests {
    site: Site,
    peer: Peer,
}

impl hyper::service::Service<Request<Incoming>> for Requests {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answered;

    fn call(&self, request: Request<Incoming>) -> Answered {
        let body_follows = !request.body().is_end_stream();
        let progress = || Arc::clone(self.peer.connection());
        let arriving = |body| {
            if body_follows { Body::new(Arriving { body, progress: progress() }) } else { Body::empty() }
        };
        let served = self.peer.connection().has_head(body_follows);
        let answer = served.then(|| self.site.answer(self.peer.clone(), request.map(arriving)));
        Answered { answer, progress: progress() }
    }
}

/// An answer under way; after it the connection rests. `None`: the connection is closed for room, and its task ends at its
/// next await.
struct Answered {
    answer: Option<RouteFuture<Infallible>>,
    progress: Arc<Progress>,
}

impl Future for Answered {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(answer) = &mut self.answer else { return Poll::Pending };
        let response = ready!(Pin::new(answer).poll(cx));
        self.progress.rests();
        Poll::Ready(response)
    }
}

/// A body that tells when it is complete: from then on its connection is not closed for room.
struct Arriving {
    body: Incoming,
    progress: Arc<Progress>,
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let complete = frame.is_none() || (matches!(frame, Some(Ok(_))) && self.body.is_end_stream());
        if complete && !self.progress.has_body() {
            // Closed for room: the request is not served.
            return Poll::Pending;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
