//! Where one connection stands, and since when: one word that its own task writes and its pool reads.

use crate::clock::monotonic_nanos;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::AbortHandle;

/// How long a connection may rest between two requests once a caller has proved itself on it.
const REST: Duration = Duration::from_secs(75);

/// Bits of the word that hold the phase; those above hold nanoseconds of the monotonic clock.
const PHASE_BITS: u32 = 3;

/// The bit of the word that says whether a caller has proved itself on the connection.
const PROVEN: u64 = 1 << PHASE_BITS;

/// Bits of the word before the time.
const LOW_BITS: u32 = PHASE_BITS + 1;

/// How long a connection keeps its place in a full pool while it brings its first request: two round trips of a distant
/// client.
const FIRST_REQUEST: Duration = Duration::from_millis(250);

/// How long a head may take to arrive when the service ends, and TLS to be agreed on: what was sent before that is on
/// its way.
pub(super) const LAST_HEAD: Duration = Duration::from_millis(250);

/// How long a body may take to arrive then, and an answer to be taken.
const LAST_BODY: Duration = Duration::from_secs(2);

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// TLS is being agreed on.
    Handshake,
    /// A head is owed: the first one, or one whose first byte has come.
    Head,
    /// A body is owed.
    Body,
    /// A whole request is being answered.
    Service,
    /// Between two requests.
    Resting,
    /// Closed to make room for another: it takes no request any more.
    Closed,
}

impl Phase {
    /// Those of an open connection, with their names in metrics.
    pub(super) const OPEN: [(Self, &'static str); 5] = [
        (Self::Handshake, "handshake"),
        (Self::Head, "head"),
        (Self::Body, "body"),
        (Self::Service, "service"),
        (Self::Resting, "resting"),
    ];

    fn of(word: u64) -> Self {
        let known = Self::OPEN.iter().map(|(phase, _)| *phase);
        known
            .into_iter()
            .find(|phase| *phase as u64 == word & ((1 << PHASE_BITS) - 1))
            .unwrap_or(Self::Closed)
    }
}

/// The progress of one connection.
///
/// The pool closes a connection by changing the word that it has read, and only if it still is what it was: a request
/// that has arrived meanwhile is served, and a connection that is closed takes none.
pub(super) struct Progress {
    word: AtomicU64,
    task: OnceLock<AbortHandle>,
}

/// What the pool read of a connection that it may close.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Idle(u64);

impl Idle {
    /// Since when, in nanoseconds of the monotonic clock.
    pub(super) fn since(self) -> u64 {
        self.0 >> LOW_BITS
    }

    /// Whether a caller has proved itself on it.
    pub(super) const fn is_proven(self) -> bool {
        self.0 & PROVEN != 0
    }

    /// Whether the first request of a connection that began lately may still be arriving.
    pub(super) fn is_arriving(self, now: u64) -> bool {
        let passed = Duration::from_nanos(now.saturating_sub(self.since()));
        Phase::of(self.0) != Phase::Resting && passed < FIRST_REQUEST
    }
}

impl Progress {
    /// A connection that was accepted at `now`.
    pub(super) fn new(now: u64) -> Self {
        Self { word: AtomicU64::new(word(Phase::Handshake, now)), task: OnceLock::new() }
    }

    /// The task that serves the connection.
    pub(super) fn is_served_by(&self, task: AbortHandle) {
        // Set once, by the loop that started the task.
        let _ = self.task.set(task);
    }

    /// What it is doing.
    pub(super) fn phase(&self) -> Phase {
        Phase::of(self.word.load(Ordering::Relaxed))
    }

    /// A caller has proved itself on it.
    pub(super) fn has_carried_a_caller(&self) {
        if !self.is_proven() {
            self.word.fetch_or(PROVEN, Ordering::Relaxed);
        }
    }

    /// Whether a caller has proved itself on it.
    pub(super) fn is_proven(&self) -> bool {
        self.word.load(Ordering::Relaxed) & PROVEN != 0
    }

    /// What may be closed for room: everything but a request that is being answered.
    pub(super) fn idle(&self) -> Option<Idle> {
        let word = self.word.load(Ordering::Relaxed);
        (!matches!(Phase::of(word), Phase::Service | Phase::Closed)).then_some(Idle(word))
    }

    /// Closes the connection if it still is as it was read; `false` if it has moved on.
    pub(super) fn close(&self, idle: Idle) -> bool {
        let closed = word(Phase::Closed, idle.since());
        self.word.compare_exchange(idle.0, closed, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Ends the task of a connection that is closed.
    pub(super) fn abort(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    /// The first head is owed from now on.
    pub(super) fn awaits_head(&self) {
        self.enter(Phase::Head, Some(monotonic_nanos()));
    }

    /// Bytes have come: between two requests they begin a head.
    pub(super) fn received(&self) {
        if self.phase() == Phase::Resting {
            self.enter(Phase::Head, Some(monotonic_nanos()));
        }
    }

    /// A head is complete. `false` if the connection is closed already, and the request not to be answered.
    pub(super) fn has_head(&self, body_follows: bool) -> bool {
        self.enter(if body_follows { Phase::Body } else { Phase::Service }, None)
    }

    /// The body is complete; `false` as above.
    pub(super) fn has_body(&self) -> bool {
        self.enter(Phase::Service, None)
    }

    /// The request is answered.
    pub(super) fn rests(&self) {
        self.enter(Phase::Resting, Some(monotonic_nanos()));
    }

    /// Enters a phase; its time is that of the phase before unless another begins. `false` if the connection is closed.
    fn enter(&self, phase: Phase, began: Option<u64>) -> bool {
        let next = |now: u64| {
            let next = || word(phase, began.unwrap_or(now >> LOW_BITS)) | now & PROVEN;
            (Phase::of(now) != Phase::Closed).then(next)
        };
        self.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }

    /// How long it may go on like this before it is looked at again; `None` when its time is over.
    pub(super) fn left(&self, now: u64, request_time: Duration) -> Option<Duration> {
        let word = self.word.load(Ordering::Relaxed);
        let limit = match Phase::of(word) {
            Phase::Resting if word & PROVEN != 0 => REST,
            // A head that began in the same packet as the request before it is not seen to begin: it has the time of a rest.
            Phase::Handshake | Phase::Head | Phase::Resting => request_time,
            // The endpoint bounds the body, the signer its answer.
            Phase::Body | Phase::Service => return Some(request_time),
            Phase::Closed => return None,
        };
        what_is_left(limit, word >> LOW_BITS, now)
    }

    /// The same for a service that was told to end at `stopped`: what has arrived is answered, and what has not has a
    /// moment.
    pub(super) fn left_at_the_end(&self, now: u64, stopped: u64) -> Option<Duration> {
        let word = self.word.load(Ordering::Relaxed);
        let limit = match Phase::of(word) {
            Phase::Handshake | Phase::Head => LAST_HEAD,
            // At rest too, for an answer that its client has not taken as a whole: hyper ends all others itself.
            Phase::Body | Phase::Resting => LAST_BODY,
            Phase::Service => return Some(LAST_BODY),
            Phase::Closed => return None,
        };
        what_is_left(limit, stopped.max(word >> LOW_BITS), now)
    }
}

fn what_is_left(limit: Duration, since: u64, now: u64) -> Option<Duration> {
    limit.checked_sub(Duration::from_nanos(now.saturating_sub(since))).filter(|left| !left.is_zero())
}

const fn word(phase: Phase, since: u64) -> u64 {
    since << LOW_BITS | phase as u64
}

#[cfg(test)]
mod tests {
    use super::super::limits::SECOND;
    use super::*;

    #[test]
    fn a_request_that_is_being_answered_is_not_closed_and_everything_else_is() {
        let progress = Progress::new(7);
        let since = |progress: &Progress| progress.idle().map(Idle::since);
        assert_eq!((progress.phase(), since(&progress)), (Phase::Handshake, Some(7)));
        progress.awaits_head();
        let began = since(&progress);
        assert!(began > Some(7) && progress.has_head(true));
        assert_eq!((progress.phase(), since(&progress)), (Phase::Body, began), "the time of its head counts");
        assert!(progress.has_body());
        assert_eq!((progress.phase(), since(&progress)), (Phase::Service, None));
        progress.rests();
        assert_eq!(progress.phase(), Phase::Resting);
        progress.received();
        assert_eq!(progress.phase(), Phase::Head);
        assert!(progress.has_head(false));
        assert_eq!(progress.phase(), Phase::Service);
    }

    #[test]
    fn a_connection_that_moved_on_is_not_closed_and_a_closed_one_takes_nothing() {
        let progress = Progress::new(7);
        let idle = progress.idle().unwrap();
        progress.awaits_head();
        assert!(!progress.close(idle));
        let idle = progress.idle().unwrap();
        assert!(progress.close(idle) && !progress.close(idle));
        assert!(!progress.has_head(false) && !progress.has_head(true) && !progress.has_body());
        progress.rests();
        assert_eq!((progress.phase(), progress.idle().is_some()), (Phase::Closed, false));
        assert_eq!(progress.left(8, REST), None);
    }

    #[test]
    fn each_phase_has_its_time() {
        let (second, request_time) = (Duration::from_secs(1), Duration::from_secs(10));
        let progress = Progress::new(5 * SECOND);
        assert_eq!(progress.left(6 * SECOND, request_time), Some(9 * second));
        assert_eq!(progress.left(15 * SECOND, request_time), None);
        progress.word.store(word(Phase::Resting, 5 * SECOND), Ordering::Relaxed);
        assert_eq!(progress.left(6 * SECOND, request_time), Some(9 * second), "without a proven caller");
        progress.has_carried_a_caller();
        assert_eq!(progress.left(15 * SECOND, request_time), Some(65 * second));
        progress.word.store(word(Phase::Service, 5 * SECOND), Ordering::Relaxed);
        assert_eq!(progress.left(500 * SECOND, request_time), Some(request_time));
    }

    #[test]
    fn at_the_end_what_has_not_arrived_has_a_moment_and_what_is_being_answered_has_its_time() {
        let (head, stopped) = (Progress::new(5 * SECOND), 9 * SECOND);
        assert_eq!(head.left_at_the_end(stopped, stopped), Some(LAST_HEAD));
        assert_eq!(head.left_at_the_end(stopped + SECOND, stopped), None);
        for (phase, since, left) in [
            (Phase::Body, 5, Some(SECOND)),
            (Phase::Service, 5, Some(2 * SECOND)),
            (Phase::Resting, 5, Some(SECOND)),
            (Phase::Resting, 10, Some(2 * SECOND)),
            (Phase::Closed, 5, None),
        ] {
            head.word.store(word(phase, since * SECOND), Ordering::Relaxed);
            assert_eq!(
                head.left_at_the_end(10 * SECOND, stopped),
                left.map(Duration::from_nanos),
                "{phase:?} {since}"
            );
        }
    }

    #[test]
    fn what_a_caller_proved_stays_true_of_its_connection() {
        let progress = Progress::new(7);
        let before = progress.idle().unwrap();
        progress.has_carried_a_caller();
        assert!(!progress.close(before), "it is another now");
        assert!(progress.has_head(false));
        progress.rests();
        assert!(progress.is_proven() && progress.phase() == Phase::Resting);
        assert!(progress.close(progress.idle().unwrap()));
    }
}
