//! The accept loop of one listener.

use super::connection::{Shape, Site};
use nix::sys::socket::{setsockopt, sockopt};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

/// How long requests that are under way may take to end when the service stops.
const DRAIN: Duration = Duration::from_secs(30);

/// How long to wait when the system has no socket to give: for file descriptors to come back.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// Open connections of one listener: no more are accepted than there are places, the rest wait in the system's queue.
#[derive(Clone)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    most: usize,
    open: Arc<AtomicUsize>,
}

/// The place of one open connection, given back when dropped.
struct Place {
    _permit: OwnedSemaphorePermit,
    open: Arc<AtomicUsize>,
}

impl Places {
    /// For at most `most` connections at once.
    pub(super) fn new(most: usize) -> Self {
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(most)), most, open: Arc::default() }
    }

    /// Open connections. (The accept loop holds one more place, for the next.)
    pub(super) fn taken(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    fn take(&self, permit: OwnedSemaphorePermit) -> Place {
        self.open.fetch_add(1, Ordering::Relaxed);
        Place { _permit: permit, open: Arc::clone(&self.open) }
    }

    async fn all_free(&self) {
        drop(self.free.acquire_many(u32::try_from(self.most).unwrap_or(u32::MAX)).await);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves `listener` until `stop` says so, then lets requests under way end, and returns: after 30 s at the latest.
pub(super) async fn listen<R: Site>(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    shape: Shape<R>,
    places: Places,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let stopping = stop.clone();
        let next = async {
            // A place first: a connection that has none stays in the system's queue, and is not lost.
            let permit = Arc::clone(&places.free).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            next = next => next,
        };
        let Ok(permit) = permit else { break };
        match accepted {
            Ok((socket, peer)) => {
                let (tls, shape, place) = (tls.clone(), shape.clone(), places.take(permit));
                tokio::spawn(async move {
                    connection(socket, peer, tls, shape, stopping).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted; check the limit of open files");
                tokio::time::sleep(EXHAUSTED).await;
            }
        }
    }
    // From here on the system refuses new connections.
    drop(listener);
    if tokio::time::timeout(DRAIN, places.all_free()).await.is_err() {
        tracing::warn!(
            connections = places.taken(),
            "connections were cut: their requests did not end in time"
        );
    }
}

async fn connection<R: Site>(
    socket: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    shape: Shape<R>,
    stop: watch::Receiver<bool>,
) {
    let request_time = shape.request_time();
    if let Err(error) = prepare(&socket, request_time) {
        tracing::debug!(%error, "a socket could not be prepared");
        return;
    }
    let Some(tls) = tls else { return shape.serve(socket, peer, stop).await };
    match tokio::time::timeout(request_time, tls.accept(socket)).await {
        Ok(Ok(socket)) => shape.serve(socket, peer, stop).await,
        Ok(Err(error)) => tracing::debug!(%error, %peer, "TLS was not agreed on"),
        Err(_) => tracing::debug!(%peer, "TLS was not agreed on in time"),
    }
}

/// No delay for short answers; and an end for a client that stops reading what it asked for.
fn prepare(socket: &TcpStream, request_time: Duration) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let millis = u32::try_from(request_time.as_millis()).unwrap_or(u32::MAX);
    setsockopt(socket, sockopt::TcpUserTimeout, &millis)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinHandle;

    struct Served {
        address: SocketAddr,
        places: Places,
        stop: watch::Sender<bool>,
        done: JoinHandle<()>,
    }

    /// `GET /` answers `hello`, `GET /slow` the same after 300 ms; heads within 300 ms and 8 KiB; two connections.
    async fn serve() -> Served {
        let hello = || async { "hello" };
        let slow = || async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            "hello"
        };
        let router = Router::new().route("/", get(hello)).route("/slow", get(slow));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let places = Places::new(2);
        let shape = Shape::new(router, 8_192, Duration::from_millis(300));
        let done = tokio::spawn(listen(listener, None, shape, places.clone(), stopped));
        Served { address, places, stop, done }
    }

    async fn say(socket: &mut TcpStream, text: &str) -> String {
        socket.write_all(text.as_bytes()).await.unwrap();
        let mut answer = vec![0; 16_384];
        let length = socket.read(&mut answer).await.unwrap_or(0);
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }

    const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

    #[tokio::test]
    async fn a_connection_serves_many_requests_and_may_rest_between_them() {
        let served = serve().await;
        let mut socket = TcpStream::connect(served.address).await.unwrap();
        assert!(say(&mut socket, GET).await.ends_with("hello"));
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert!(say(&mut socket, GET).await.ends_with("hello"));
    }

    #[tokio::test]
    async fn a_head_that_trickles_in_is_cut_off() {
        let served = serve().await;
        let mut socket = TcpStream::connect(served.address).await.unwrap();
        assert!(say(&mut socket, GET).await.ends_with("hello"));
        let mut cut_off = false;
        for byte in "GET / HTTP/1.1\r\n".repeat(3).bytes() {
            cut_off |= socket.write_all(&[byte]).await.is_err();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(cut_off);
        assert_eq!(served.places.taken(), 0);
    }

    #[tokio::test]
    async fn a_connection_that_says_nothing_is_cut_off() {
        let served = serve().await;
        let mut socket = TcpStream::connect(served.address).await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(2), socket.read_to_end(&mut answer)).await;
        assert!(read.is_ok());
    }

    #[tokio::test]
    async fn a_head_that_is_too_large_is_refused() {
        let served = serve().await;
        let mut socket = TcpStream::connect(served.address).await.unwrap();
        let head = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(9_000));
        assert!(say(&mut socket, &head).await.starts_with("HTTP/1.1 431 "));
    }

    #[tokio::test]
    async fn a_connection_beyond_the_limit_waits_until_one_ends() {
        let served = serve().await;
        let mut first = TcpStream::connect(served.address).await.unwrap();
        let mut second = TcpStream::connect(served.address).await.unwrap();
        assert!(say(&mut first, GET).await.ends_with("hello"));
        assert!(say(&mut second, GET).await.ends_with("hello"));
        let mut third = TcpStream::connect(served.address).await.unwrap();
        let waiting = tokio::spawn(async move { say(&mut third, GET).await });
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!waiting.is_finished());
        drop(first);
        assert!(waiting.await.unwrap().ends_with("hello"));
    }

    #[tokio::test]
    async fn a_request_under_way_is_answered_when_the_service_stops() {
        let served = serve().await;
        let mut idle = TcpStream::connect(served.address).await.unwrap();
        assert!(say(&mut idle, GET).await.ends_with("hello"));
        let mut socket = TcpStream::connect(served.address).await.unwrap();
        let request =
            tokio::spawn(async move { say(&mut socket, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        served.stop.send(true).unwrap();
        assert!(request.await.unwrap().ends_with("hello"));
        served.done.await.unwrap();
        assert!(TcpStream::connect(served.address).await.is_err());
    }
}
