//! Log lines on standard error: for people or as JSON, through a buffer that never holds a request up.
//!
//! A line is formatted on the thread that says it and appended to a buffer of bounded size; one thread writes the
//! buffer out. It looks by itself every 50 ms as long as lines keep coming, so that no request pays for waking it, and
//! is woken only when none came for a second or when the buffer is half full. When the reader of standard error is slow and
//! the buffer full, lines are dropped and counted, and the count is written when there is room again; a part of the buffer
//! is kept for warnings and errors. Lines are written whole, in pieces that a pipe takes at once, so that gateway and signer
//! can share one standard error. `CHANCERY_LOG` chooses what is said (the
//! grammar of `RUST_LOG`; `info` unless given). Where standard error leads to the journal each line begins with its
//! priority (sd-daemon(3)), which the journal takes off.
//!
//! Never in a line: tokens, secrets, assertions, `Authorization` headers, PINs, subjects, request bodies. The address
//! of a caller stands only in the line of a request that was refused or failed.

mod journal;
mod json;

pub use journal::priority;

use journal::WithPriority;
use json::JsonLine;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The variable that holds the filter.
pub const FILTER_VARIABLE: &str = "CHANCERY_LOG";

/// Bytes of lines that wait to be written; more are dropped and counted.
const BUFFER: usize = 1 << 20;

/// Bytes of the buffer that only warnings and errors fill.
const RESERVE: usize = BUFFER / 8;

/// Bytes that a pipe takes as one piece, whatever other processes write (`PIPE_BUF`, pipe(7)).
const PIECE: usize = 4_096;

/// Bytes of the buffer that are kept while there are no lines.
const SPARE: usize = 1 << 16;

/// How long the writing thread gathers: under load one write carries many lines, and waking it costs a request more
/// than its line.
const GATHER: Duration = Duration::from_millis(50);

/// How often it looks in vain before it sleeps until it is woken.
const LOOKS: u32 = 20;

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// For people; with colours on a terminal.
    Human,
    /// One JSON object a line.
    Json,
}

/// Why lines cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter cannot be read.
    #[error("{FILTER_VARIABLE}: expected a filter like \"info\" or \"info,chancery::http=debug\": {0}")]
    Filter(String),
    /// The writing thread cannot be started.
    #[error("the thread that writes log lines could not be started: {0}")]
    Thread(io::Error),
    /// Lines go somewhere else already.
    #[error("log lines were set up twice in one process")]
    Twice,
}

/// Keeps the writing thread; dropped at the end, it writes out what waits. An end that drops nothing skips it: call [`flush`]
/// before.
#[must_use = "lines that wait are lost unless this is dropped at the end of main"]
pub struct Telemetry {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

/// The filter that a text says. A word alone that is no level would be the name of a module, and silence all others.
fn filter(text: &str) -> Result<EnvFilter, TelemetryError> {
    let is_level = |word: &str| ["off", "error", "warn", "info", "debug", "trace"].contains(&word);
    for part in text.split(',').map(str::trim) {
        if !part.contains(['=', '[']) && !is_level(&part.to_ascii_lowercase()) {
            return Err(TelemetryError::Filter(format!("{part:?} is no level")));
        }
    }
    EnvFilter::try_new(text).map_err(|e| TelemetryError::Filter(e.to_string()))
}

/// Sends every event of this process to standard error from now on. Once in a process.
pub fn init(lines: Lines) -> Result<Telemetry, TelemetryError> {
    let filter = match std::env::var(FILTER_VARIABLE) {
        Ok(text) if !text.is_empty() => filter(&text)?,
        _ => EnvFilter::new("info"),
    };
    let telemetry = Telemetry::start(lines, io::stderr())?;
    let format = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_writer(LineWriter(Arc::clone(&telemetry.queue)));
    let installed = match lines {
        Lines::Human => {
            let line = WithPriority(tracing_subscriber::fmt::format().with_target(false));
            format.with_ansi(io::stderr().is_terminal()).event_format(line).try_init()
        }
        Lines::Json => format.event_format(WithPriority(JsonLine)).try_init(),
    };
    installed.map_err(|_| TelemetryError::Twice)?;
    QUEUE.set(Arc::clone(&telemetry.queue)).map_err(|_| TelemetryError::Twice)?;
    write_out_before_an_abort();
    Ok(telemetry)
}

/// Writes out what waits, on the caller's thread: before an end that drops nothing (`_exit`, an abort).
pub fn flush() {
    if let Some(queue) = QUEUE.get() {
        queue.write_out(&mut io::stderr());
    }
}

/// The one queue of this process, for those who cannot be handed the guard.
static QUEUE: OnceLock<Arc<Queue>> = OnceLock::new();

/// A panic ends the process without unwinding: what was said before it must not be lost with it.
fn write_out_before_an_abort() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        flush();
        report(panic);
    }));
}

impl Telemetry {
    fn start(lines: Lines, mut to: impl Write + Send + 'static) -> Result<Self, TelemetryError> {
        let queue = Arc::new(Queue { lines, waiting: Mutex::default(), called: Condvar::new() });
        let writer = Arc::clone(&queue);
        let thread = std::thread::Builder::new()
            .name("log-lines".to_owned())
            .spawn(move || {
                while writer.wait() {
                    writer.write_out(&mut to);
                }
                writer.write_out(&mut to);
            })
            .map_err(TelemetryError::Thread)?;
        Ok(Self { queue, thread: Some(thread) })
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.called.notify_one();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has ended the process already.
            drop(thread.join());
        }
    }
}

struct Queue {
    lines: Lines,
    waiting: Mutex<Waiting>,
    /// Heard by the writing thread: it sleeps and there is a line, or this is the end.
    called: Condvar,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    dropped: u64,
    /// The writing thread waits until it is called.
    asleep: bool,
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, level: Level, line: &[u8]) {
        let mut waiting = self.lock();
        // More verbose levels are greater.
        let room = if level <= Level::WARN { BUFFER } else { BUFFER - RESERVE };
        if waiting.bytes.len() + line.len() > room {
            waiting.dropped += 1;
            return;
        }
        waiting.bytes.extend_from_slice(line);
        let half_full = waiting.bytes.len() > BUFFER / 2 && waiting.bytes.len() - line.len() <= BUFFER / 2;
        let asleep = std::mem::take(&mut waiting.asleep);
        drop(waiting);
        if asleep || half_full {
            self.called.notify_one();
        }
    }

    /// Waits until there are lines to write; `false` when nothing more will come.
    fn wait(&self) -> bool {
        let mut waiting = self.lock();
        let mut looks = 0;
        while !waiting.closed {
            if looks < LOOKS {
                let waited = self.called.wait_timeout(waiting, GATHER);
                waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
                looks += 1;
                if !waiting.bytes.is_empty() {
                    break;
                }
            } else {
                waiting.asleep = true;
                while waiting.asleep && !waiting.closed {
                    waiting = self.called.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                }
                // Others may follow the line that called.
                looks = 0;
            }
        }
        !waiting.closed
    }

    fn write_out(&self, to: &mut impl Write) {
        let mut waiting = self.lock();
        let mut bytes = std::mem::take(&mut waiting.bytes);
        let dropped = std::mem::take(&mut waiting.dropped);
        drop(waiting);
        // Nobody is left to be told when standard error itself is gone.
        for piece in pieces(&bytes) {
            drop(to.write_all(piece));
        }
        bytes.clear();
        bytes.shrink_to(SPARE);
        let mut waiting = self.lock();
        if waiting.bytes.capacity() == 0 {
            waiting.bytes = bytes;
        }
        drop(waiting);
        if dropped > 0 {
            let priority = priority(Level::WARN);
            let line = match self.lines {
                Lines::Human => {
                    format!("{priority} WARN {dropped} log lines were dropped: nobody read them in time\n")
                }
                Lines::Json => {
                    format!(
                        r#"{priority}{{"level":"WARN","message":"log lines were dropped: nobody read them in time","lines":{dropped}}}"#
                    ) + "\n"
                }
            };
            drop(to.write_all(line.as_bytes()));
        }
        drop(to.flush());
    }
}

/// Whole lines in pieces of at most [`PIECE`] bytes; a line that is longer is a piece of its own.
fn pieces(mut lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let fits = lines.get(..PIECE.min(lines.len()))?;
        let end = match fits.iter().rposition(|byte| *byte == b'\n') {
            _ if fits.len() == lines.len() => lines.len(),
            Some(end) => end + 1,
            None => lines.iter().position(|byte| *byte == b'\n').map_or(lines.len(), |end| end + 1),
        };
        let (piece, rest) = lines.split_at_checked(end).filter(|(piece, _)| !piece.is_empty())?;
        lines = rest;
        Some(piece)
    })
}

/// One line at a time into the queue: the formatter writes a whole line in one call.
struct LineWriter(Arc<Queue>);

impl<'a> MakeWriter<'a> for LineWriter {
    type Writer = LineSink<'a>;
    fn make_writer(&'a self) -> LineSink<'a> {
        LineSink(&self.0, Level::INFO)
    }
    fn make_writer_for(&'a self, line: &Metadata<'_>) -> LineSink<'a> {
        LineSink(&self.0, *line.level())
    }
}

struct LineSink<'a>(&'a Queue, Level);

impl Write for LineSink<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(self.1, line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_filter_that_would_silence_everything_by_mistake_is_refused() {
        for good in ["info", "WARN", "off", "info,chancery::http=debug", "error,chancery=trace"] {
            assert!(filter(good).is_ok(), "{good}");
        }
        for bad in ["loud", "inf", "chancery", "info,,", "chancery=loud"] {
            assert!(filter(bad).is_err(), "{bad}");
        }
    }

    /// A standard error whose reader takes nothing until told.
    struct Stuck {
        go: mpsc::Receiver<()>,
        out: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.go.recv();
            self.out.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_wait_are_written_when_the_guard_is_dropped() {
        let (go, stuck) = mpsc::channel();
        let out = Arc::new(Mutex::new(Vec::new()));
        drop(go);
        let telemetry = Telemetry::start(Lines::Json, Stuck { go: stuck, out: Arc::clone(&out) }).unwrap();
        telemetry.queue.push(Level::INFO, b"one\n");
        telemetry.queue.push(Level::INFO, b"two\n");
        drop(telemetry);
        assert_eq!(out.lock().unwrap().as_slice(), b"one\ntwo\n");
    }

    #[test]
    fn a_line_after_a_long_silence_wakes_the_thread_that_writes() {
        let out = Arc::new(Mutex::new(Vec::new()));
        let (go, stuck) = mpsc::channel();
        drop(go);
        let telemetry = Telemetry::start(Lines::Json, Stuck { go: stuck, out: Arc::clone(&out) }).unwrap();
        let until = |what: &dyn Fn() -> bool| {
            let looks = (0..1_000).any(|_| {
                std::thread::sleep(Duration::from_millis(10));
                what()
            });
            assert!(looks, "it never came");
        };
        for round in 1..=2 {
            until(&|| telemetry.queue.lock().asleep);
            telemetry.queue.push(Level::INFO, b"line\n");
            until(&|| out.lock().unwrap().len() == round * b"line\n".len());
        }
        drop(telemetry);
    }

    #[test]
    fn a_reader_that_is_stuck_costs_lines_and_never_a_request() {
        let (go, stuck) = mpsc::channel();
        let out = Arc::new(Mutex::new(Vec::new()));
        let telemetry = Telemetry::start(Lines::Json, Stuck { go: stuck, out: Arc::clone(&out) }).unwrap();
        let mut line = [b'x'; 1024];
        line[1023] = b'\n';
        for _ in 0..4 * BUFFER / line.len() {
            telemetry.queue.push(Level::INFO, &line);
        }
        telemetry.queue.push(Level::ERROR, b"an error\n");
        telemetry.queue.push(Level::WARN, b"a warning\n");
        assert!(telemetry.queue.lock().bytes.len() <= BUFFER);
        drop(go);
        drop(telemetry);
        let text = String::from_utf8(out.lock().unwrap().clone()).unwrap();
        assert!(text.contains("log lines were dropped"));
        assert!(text.contains("\nan error\na warning\n"), "there is room kept for them");
        assert!(text.len() >= BUFFER - RESERVE);
    }

    /// A standard error that keeps each write apart.
    struct Writes(Arc<Mutex<Vec<Vec<u8>>>>);

    impl Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().push(bytes.to_vec());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_write_carries_whole_lines_and_no_more_than_a_pipe_takes_at_once() {
        let writes = Arc::new(Mutex::new(Vec::new()));
        let telemetry = Telemetry::start(Lines::Json, Writes(Arc::clone(&writes))).unwrap();
        let lines: Vec<String> =
            (0..400).map(|n| format!("{}\n", "x".repeat(if n == 100 { 9_000 } else { n }))).collect();
        for line in &lines {
            telemetry.queue.push(Level::INFO, line.as_bytes());
        }
        drop(telemetry);
        let writes = writes.lock().unwrap();
        assert_eq!(writes.concat(), lines.concat().into_bytes());
        for write in writes.iter().filter(|write| !write.is_empty()) {
            assert!(
                write.ends_with(b"\n") && (write.len() <= PIECE || write.len() == 9_001),
                "{}",
                write.len()
            );
        }
    }
}
