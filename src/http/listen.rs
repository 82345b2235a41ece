//! The accept loop of one listener.

use super::connection::Shape;
use super::pool::Pool;
use super::progress::{LAST_HEAD, Progress};
use rustix::net::sockopt::set_tcp_user_timeout;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// How long requests that are under way may take to end when the service stops.
pub(super) const DRAIN: Duration = Duration::from_secs(30);

/// How long to wait when the system has no socket to give: for file descriptors to come back.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// Serves `listener` until `stop` says so, then lets requests under way end, and returns: after [`DRAIN`] at the latest.
pub(super) async fn listen(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    shape: Shape,
    pool: Pool,
    mut stop: watch::Receiver<bool>,
) {
    let mut tasks = JoinSet::new();
    loop {
        let stopping = stop.clone();
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_ended) = tasks.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                let (tls, shape) = (tls.clone(), shape.clone());
                pool.serve(&mut tasks, peer.ip(), |progress| {
                    connection(socket, peer, tls, shape, progress, stopping)
                });
            }
            Err(error) => {
                pool.not_accepted(&error);
                tokio::time::sleep(EXHAUSTED).await;
            }
        }
    }
    // From here on the system refuses new connections.
    drop(listener);
    let all_ended = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, all_ended).await.is_err() {
        let connections = pool.census().open();
        tracing::warn!(connections, "connections were cut: their requests did not end in time");
    }
}

async fn connection(
    socket: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    shape: Shape,
    progress: Arc<Progress>,
    mut stop: watch::Receiver<bool>,
) {
    let request_time = shape.request_time();
    if let Err(error) = prepare(&socket, request_time) {
        tracing::debug!(%error, "a socket could not be prepared");
        return;
    }
    let Some(tls) = tls else { return shape.serve(socket, peer, progress, stop).await };
    let late = stop.clone();
    let ending = async {
        // Its sender is gone at the end as well.
        let _ = stop.wait_for(|stop| *stop).await;
        tokio::time::sleep(LAST_HEAD).await;
    };
    let agreed = tokio::select! {
        agreed = tokio::time::timeout(request_time, tls.accept(socket)) => agreed,
        () = ending => return,
    };
    match agreed {
        Ok(Ok(socket)) => shape.serve(socket, peer, progress, late).await,
        Ok(Err(error)) => tracing::debug!(%error, %peer, "TLS was not agreed on"),
        Err(_) => tracing::debug!(%peer, "TLS was not agreed on in time"),
    }
}

/// No delay for short answers; and an end for a client that stops reading what it asked for.
fn prepare(socket: &TcpStream, request_time: Duration) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let millis = u32::try_from(request_time.as_millis()).unwrap_or(u32::MAX);
    set_tcp_user_timeout(socket, millis)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::meters::{Endpoint, Meters};
    use super::super::progress::Phase;
    use super::super::reply::Reply;
    use super::super::router::{Handler, Routes, Site};
    use super::super::visit::{Visit, Visits};
    use super::*;
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinHandle;

    struct Served {
        address: SocketAddr,
        pool: Pool,
        stop: watch::Sender<bool>,
        done: JoinHandle<()>,
    }

    struct Hello(Duration);

    impl Handler for Hello {
        async fn answer(&self, _: &mut Visit, _: Request<Body>) -> Result<Reply, Reply> {
            tokio::time::sleep(self.0).await;
            Ok(Reply::document("hello".into()))
        }
    }

    struct Echo;

    impl Handler for Echo {
        async fn answer(&self, _: &mut Visit, request: Request<Body>) -> Result<Reply, Reply> {
            let body = request.into_body().collect().await.map_err(|_| Reply::body_broken())?;
            Ok(Reply::document(body.to_bytes()))
        }
    }

    /// `GET /` answers `hello`, `GET /slow` the same after 300 ms, `POST /echo` what it is sent; heads within 300 ms and 8 KiB;
    /// two connections.
    async fn serve() -> Served {
        serve_within(Duration::from_millis(300)).await
    }

    async fn serve_within(request_time: Duration) -> Served {
        let routes = Routes::new(Visits::new(Arc::new(Meters::new())), Endpoint::Unknown)
            .get("/", Endpoint::Operations, Hello(Duration::ZERO))
            .get("/slow", Endpoint::Jwks, Hello(Duration::from_millis(300)))
            .post("/echo", Endpoint::Token, Echo);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let pool = Pool::new(2, 2);
        let shape = Shape::new(Site::new(routes), 8_192, request_time);
        let done = tokio::spawn(listen(listener, None, shape, pool.clone(), stopped));
        Served { address, pool, stop, done }
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
        assert_eq!(served.pool.census().open(), 0);
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
    async fn a_connection_beyond_the_limit_takes_the_place_of_the_one_that_is_idle_for_longest() {
        let served = serve().await;
        let mut first = TcpStream::connect(served.address).await.unwrap();
        let mut second = TcpStream::connect(served.address).await.unwrap();
        assert!(say(&mut first, GET).await.ends_with("hello"));
        assert!(say(&mut second, GET).await.ends_with("hello"));
        let mut third = TcpStream::connect(served.address).await.unwrap();
        assert!(say(&mut third, GET).await.ends_with("hello"));
        assert_eq!(say(&mut first, GET).await, "");
        assert!(say(&mut second, GET).await.ends_with("hello"));
        assert_eq!(served.pool.census().open(), 2);
    }

    #[tokio::test]
    async fn a_connection_whose_request_is_being_answered_is_never_closed_for_another() {
        let served = serve().await;
        let slow = || async move {
            let mut socket = TcpStream::connect(served.address).await.unwrap();
            say(&mut socket, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await
        };
        let under_way = [tokio::spawn(slow()), tokio::spawn(slow())];
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut third = TcpStream::connect(served.address).await.unwrap();
        assert_eq!(say(&mut third, GET).await, "", "refused at once");
        for request in under_way {
            assert!(request.await.unwrap().ends_with("hello"));
        }
        assert_eq!(served.pool.census().refused, 1);
    }

    #[tokio::test]
    async fn a_head_that_cannot_be_read_is_refused_with_a_body_like_every_other_refusal() {
        for (head, status) in
            [("GET / HTTP/9.9\r\n\r\n".to_owned(), 400), (format!("GET /{} HTTP", "x".repeat(20_000)), 431)]
        {
            let served = serve().await;
            let mut socket = TcpStream::connect(served.address).await.unwrap();
            // Behind another request too.
            for before in [false, true] {
                if before {
                    socket = TcpStream::connect(served.address).await.unwrap();
                    assert!(say(&mut socket, GET).await.ends_with("hello"));
                }
                let answer = say(&mut socket, &head).await;
                assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
                let (fields, body) = answer.split_once("\r\n\r\n").unwrap();
                assert!(fields.contains(&format!("content-length: {}", body.len())), "{answer}");
                assert!(
                    fields.contains("cache-control: no-store")
                        && body.starts_with("{\"error\":\"invalid_request\"")
                );
                assert_eq!(say(&mut socket, GET).await, "", "the connection has ended");
            }
            // And in one piece with a request that is answered.
            socket = TcpStream::connect(served.address).await.unwrap();
            let mut both = say(&mut socket, &format!("{GET}{head}")).await;
            socket.read_to_string(&mut both).await.unwrap();
            assert!(
                both.starts_with("HTTP/1.1 200 ") && both.contains(&format!("HTTP/1.1 {status} ")),
                "{both}"
            );
            assert!(both.contains("{\"error\":\"invalid_request\""), "{both}");
        }
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

    #[tokio::test]
    async fn a_service_that_stops_waits_for_no_request_that_does_not_arrive_and_answers_one_that_does() {
        let served = serve_within(Duration::from_secs(300)).await;
        let mut half_head = TcpStream::connect(served.address).await.unwrap();
        half_head.write_all(b"GET / HT").await.unwrap();
        let mut half_body = TcpStream::connect(served.address).await.unwrap();
        let head = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 8\r\n\r\n";
        half_body.write_all(format!("{head}it ").as_bytes()).await.unwrap();
        while served.pool.census().phases[Phase::Body as usize] == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        served.stop.send(true).unwrap();
        assert!(half_head.read(&mut [0; 64]).await.is_ok_and(|length| length == 0));
        assert!(say(&mut half_body, "came.").await.ends_with("it came."), "it had a moment more");
        served.done.await.unwrap();
        assert_eq!(served.pool.census().open(), 0);
    }
}
