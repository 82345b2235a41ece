//! Measured durations of signatures in the token, and the scheduling of the signing threads that follows from them.
//!
//! Short calls are computed in this process. Two of them at once lose more by waiting for each other's locks than they
//! gain: `SoftHSM` makes 20,000 ES256 signatures a second with one thread and 19,000 to 25,000 with two, and each costs
//! 50 µs of processor time with one and 70 to 80 with two. So threads take turns for short calls, and verify and write
//! meanwhile. Longer calls, over a network or of RSA, run in parallel.
//!
//! Taking turns is cheap only if it is rare: a thread signs several of the waiting asks in a row while that takes
//! little time in all.
//!
//! RSA in software runs in parallel, but each call begins with work under a lock: it finds the key, decrypts it and
//! locks memory. Two threads that begin together stay together and block each other in every call; so calls begin
//! [`Apart`].

use crate::clock::{self, Quickest};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Calls over a network, or of RSA in software, take longer.
const SHORT: Duration = Duration::from_micros(200);

/// Limit of time for the calls of one round: its answers are released only after all of them are signed.
pub(super) const ROUND: Duration = Duration::from_millis(10);

/// Limit of asks in one round.
const MOST: u64 = 16;

/// Longest distance between the starts of two calls: the locked work of a module in this process takes less.
const APART: Duration = Duration::from_micros(100);

/// Durations of signatures with one key.
#[derive(Default)]
pub(super) struct Pace(Quickest);

impl Pace {
    /// Enters the duration of one call.
    pub(super) fn took(&self, time: Duration) {
        self.0.took(time);
    }

    /// Whether threads take turns; true before the first call.
    pub(super) fn is_short(&self) -> bool {
        self.0.get() < SHORT
    }

    /// Number of such asks that one thread takes at once: 1 before the first call.
    pub(super) fn round(&self) -> usize {
        let most = match self.0.get().as_nanos() {
            0 => 1,
            shortest => (ROUND.as_nanos() / shortest).clamp(1, MOST.into()),
        };
        usize::try_from(most).unwrap_or(1)
    }
}

/// Start of the last call that does not take turns.
#[derive(Default)]
pub(super) struct Apart(AtomicU64);

impl Apart {
    /// Waits until the call may begin: a quarter of the even distance between `threads` calls after the last one began.
    /// It waits only if two begin together, which separates them for many calls, and not for long if many begin all the
    /// time.
    pub(super) fn begin(&self, pace: &Pace, threads: usize) {
        let even = pace.0.get() / u32::try_from(threads.max(1)).unwrap_or(u32::MAX);
        let gap = (even / 4).min(APART);
        let came = clock::monotonic_nanos();
        loop {
            let last = self.0.load(Ordering::Relaxed);
            let now = clock::monotonic_nanos();
            let since = |then| Duration::from_nanos(now.saturating_sub(then));
            if may_begin(gap, since(last), since(came))
                && self.0.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
            {
                return;
            }
            std::thread::yield_now();
        }
    }
}

/// Whether a call may begin `after_last`, when it has waited for `waited`.
fn may_begin(gap: Duration, after_last: Duration, waited: Duration) -> bool {
    after_last >= gap || waited >= 2 * gap
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(times: impl IntoIterator<Item = u64>) -> Pace {
        let pace = Pace::default();
        times.into_iter().for_each(|micros| pace.took(Duration::from_micros(micros)));
        pace
    }

    #[test]
    fn short_calls_take_turns_in_long_rounds_and_a_device_is_asked_by_all_threads_one_by_one() {
        for (micros, short, round) in [
            (50, true, 16),
            (199, true, 16),
            (200, false, 16),
            (660, false, 15),
            (3_000, false, 3),
            (20_000, false, 1),
        ] {
            let pace = after([micros]);
            assert_eq!((pace.is_short(), pace.round()), (short, round), "{micros} µs");
        }
        assert_eq!((Pace::default().is_short(), Pace::default().round()), (true, 1), "before the first call");
    }

    #[test]
    fn a_call_begins_apart_from_the_last_one_and_never_waits_for_long() {
        let (apart, pace) = (Apart::default(), after([800]));
        apart.begin(&pace, 2);
        let last = apart.0.load(Ordering::Relaxed);
        apart.begin(&pace, 2);
        assert!(Duration::from_nanos(apart.0.load(Ordering::Relaxed) - last) >= APART);
        // As if others began all the time.
        apart.0.store(u64::MAX, Ordering::Relaxed);
        apart.begin(&pace, 2);
        assert!(apart.0.load(Ordering::Relaxed) < u64::MAX);

        let micros = Duration::from_micros;
        for (after_last, waited, may) in [(100, 0, true), (99, 0, false), (0, 199, false), (0, 200, true)] {
            assert_eq!(
                may_begin(micros(100), micros(after_last), micros(waited)),
                may,
                "{after_last} {waited}"
            );
        }
        assert!(may_begin(Duration::ZERO, Duration::ZERO, Duration::ZERO), "before the first call");
    }

    #[test]
    fn one_interruption_changes_nothing_and_a_device_that_became_slow_is_noticed() {
        let pace = after([60, 5_000, 60, 4_000, 4_000, 60]);
        assert!(pace.is_short() && pace.round() == 16);
        for slow in [after(std::iter::once(60).chain([20_000; 120])), after([60, 150_000])] {
            assert!(!slow.is_short() && slow.round() == 1);
            slow.took(Duration::from_micros(60));
            assert!(slow.is_short(), "fast again at once");
        }
    }
}
