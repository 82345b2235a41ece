//! The load generator: one thread, keep-alive connections with one request in flight each, no runtime.

use super::cost::{float, thread_cpu};
use super::{Outcome, http};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// One in so many answers is kept, and the last of each connection: samples are verified afterwards.
const SAMPLE: u64 = 499;

/// Before the measured time. The log publishes once a second: it must owe as much at the beginning as at the end.
const WARM_UP: Duration = Duration::from_millis(1100);

/// An answer that takes longer ends the run.
const PATIENCE: Duration = Duration::from_secs(30);

/// What to ask and what to expect.
pub(crate) struct Asks<'a> {
    /// Whole requests, taken in turn.
    pub requests: &'a [Vec<u8>],
    /// The media type of every answer.
    pub content_type: &'a [u8],
}

/// Times of answers.
#[derive(Default)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// The time in microseconds that this part of all answers did not exceed.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a part of a length is an index"
    )]
    pub(crate) fn quantile(&mut self, part: f64) -> f64 {
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        let place = (float(last as u64) * part).round() as usize;
        self.0.get(place).map_or(0.0, |time| time.as_secs_f64() * 1e6)
    }
}

/// Result of a load.
#[derive(Default)]
pub(crate) struct Done {
    /// Answers in the time that was measured.
    pub answers: u64,
    /// The time that was measured.
    pub time: Duration,
    /// Each answer's.
    pub latencies: Latencies,
    /// Processor time that the generator took for one request, in microseconds.
    pub generator_us: f64,
    /// Bodies to be verified.
    pub samples: Vec<Vec<u8>>,
}

impl Done {
    /// What both gave together.
    pub(crate) fn and(mut self, other: Self) -> Self {
        let generator = self.generator_us * float(self.answers) + other.generator_us * float(other.answers);
        self.answers += other.answers;
        self.generator_us = generator / float(self.answers.max(1));
        self.time += other.time;
        self.latencies.0.extend(other.latencies.0);
        self.samples.extend(other.samples);
        self
    }
}

struct Connection<'s> {
    stream: &'s TcpStream,
    polled: bool,
    buffer: Vec<u8>,
    filled: usize,
    next: usize,
    asked: Instant,
}

/// Asks over `connections` connections for `time`, after [`WARM_UP`]; `mark` is called when the measured time begins and
/// when it ends.
pub(crate) fn run(
    server: SocketAddr,
    connections: usize,
    asks: &Asks<'_>,
    time: Duration,
    mark: &mut dyn FnMut() -> Outcome<()>,
) -> Outcome<Done> {
    let polled = connections > 1;
    let streams = (0..connections).map(|_| open(server, polled)).collect::<Outcome<Vec<_>>>()?;
    let mut fds: Vec<_> = streams.iter().map(|s| PollFd::new(s.as_fd(), PollFlags::POLLIN)).collect();
    let mut open: Vec<_> =
        streams.iter().enumerate().map(|(next, stream)| Connection::new(stream, polled, next)).collect();
    let mut done = Done::default();
    let warm_up = Instant::now();
    for connection in &mut open {
        connection.ask(asks)?;
    }
    while warm_up.elapsed() < WARM_UP {
        turn(&mut open, &mut fds, asks, &mut |_, _| Ok(true))?;
    }
    mark()?;
    let (began, cpu) = (Instant::now(), thread_cpu()?);
    while began.elapsed() < time {
        turn(&mut open, &mut fds, asks, &mut |took, body| {
            done.latencies.push(took);
            done.answers += 1;
            if done.answers % SAMPLE == 1 {
                done.samples.push(body.to_vec());
            }
            Ok(true)
        })?;
    }
    done.time = began.elapsed();
    done.generator_us = (thread_cpu()?.saturating_sub(cpu)).as_secs_f64() * 1e6 / float(done.answers.max(1));
    mark()?;
    // Open requests are answered too: all of them are in the log.
    let mut left = open.len();
    while left > 0 {
        turn(&mut open, &mut fds, asks, &mut |_, body| {
            left -= 1;
            done.samples.push(body.to_vec());
            Ok(false)
        })?;
    }
    if done.answers == 0 {
        return Err("no answer came in the time of a measurement; give more --seconds".into());
    }
    Ok(done)
}

fn open(server: SocketAddr, polled: bool) -> Outcome<TcpStream> {
    let stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // One connection alone is read in one call; more are polled.
    stream.set_nonblocking(polled)?;
    Ok(stream)
}

/// Waits, reads available bytes, and sends again where `answered` is set.
fn turn(
    open: &mut [Connection<'_>],
    fds: &mut [PollFd<'_>],
    asks: &Asks<'_>,
    answered: &mut dyn FnMut(Duration, &[u8]) -> Outcome<bool>,
) -> Outcome<()> {
    if let [alone] = open {
        return alone.read(asks, answered);
    }
    let timeout = PollTimeout::try_from(PATIENCE)?;
    if poll(fds, timeout)? == 0 {
        return Err(format!("no answer in {} s", PATIENCE.as_secs()).into());
    }
    for (connection, fd) in open.iter_mut().zip(fds.iter()) {
        if fd.any() == Some(true) {
            connection.read(asks, answered)?;
        }
    }
    Ok(())
}

impl<'s> Connection<'s> {
    fn new(stream: &'s TcpStream, polled: bool, next: usize) -> Self {
        Self { stream, polled, buffer: vec![0; 64 << 10], filled: 0, next, asked: Instant::now() }
    }

    fn ask(&mut self, asks: &Asks<'_>) -> Outcome<()> {
        let request = asks.requests.get(self.next % asks.requests.len().max(1)).ok_or("nothing to ask")?;
        // Another step than the number of connections, so that each asks for all.
        self.next += 61;
        self.asked = Instant::now();
        // A request is far smaller than the socket's buffer, which is empty: the answer before came already.
        Ok(self.stream.write_all(request)?)
    }

    fn read(
        &mut self,
        asks: &Asks<'_>,
        answered: &mut dyn FnMut(Duration, &[u8]) -> Outcome<bool>,
    ) -> Outcome<()> {
        let room = self.buffer.get_mut(self.filled..).unwrap_or_default();
        match self.stream.read(room) {
            Ok(0) => return Err("the daemon closed a connection under load".into()),
            Ok(read) => self.filled += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock && self.polled => return Ok(()),
            Err(error) => return Err(format!("no answer: {error}").into()),
        }
        let bytes = self.buffer.get(..self.filled).unwrap_or_default();
        let Some(answer) = http::parse(bytes)? else { return Ok(()) };
        if answer.status != b"200" || answer.content_type != asks.content_type || answer.length != self.filled
        {
            return Err(format!("an answer that was not expected: {}", answer.text()).into());
        }
        let again = answered(self.asked.elapsed(), answer.body)?;
        self.filled = 0;
        if again { self.ask(asks) } else { Ok(()) }
    }
}

/// One request on a connection of its own, and the body of its answer, which must be 200.
pub(crate) fn once(server: SocketAddr, request: &[u8]) -> Outcome<Vec<u8>> {
    let mut stream = open(server, false)?;
    stream.write_all(request)?;
    let mut bytes = Vec::new();
    let mut part = vec![0; 16 << 10];
    loop {
        let read = stream.read(&mut part)?;
        if read == 0 {
            return Err("the daemon closed the connection without an answer".into());
        }
        bytes.extend(part.get(..read).unwrap_or_default());
        if let Some(answer) = http::parse(&bytes)? {
            if answer.status != b"200" {
                return Err(answer.text().into());
            }
            return Ok(answer.body.to_vec());
        }
    }
}
