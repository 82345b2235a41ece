//! How long the token takes for a signature, measured, and what follows from it for the threads that sign.
//!
//! A call that is short is computed in this process. Two of them at once wait for each other's locks for longer than
//! they gain: `SoftHSM` makes 20,000 ES256 signatures a second with one thread and with two, and each costs 50 µs of
//! processor time with one and 77 with two. So threads take turns for short calls, and verify and write meanwhile. Calls
//! that are not short, over a network or of RSA, go side by side.
//!
//! Taking turns is cheap only when they are seldom: a thread signs several of the asks that wait, one after the other,
//! as long as that takes little time in all.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A call over a network, or of RSA in software, takes longer.
const SHORT: Duration = Duration::from_micros(200);

/// How long a thread may call the token, one call after the other, before it hands over what it has: none of those
/// answers leaves before all are signed.
pub(super) const ROUND: Duration = Duration::from_millis(10);

/// No interruption of a thread takes that long: the token does.
const LONG: Duration = Duration::from_millis(100);

/// The most asks of one round.
const MOST: u64 = 16;

/// What the token takes for a signature with one key.
#[derive(Default)]
pub(super) struct Pace {
    /// In nanoseconds, the shortest lately; 0 before the first.
    shortest: AtomicU64,
}

impl Pace {
    /// One call took that long.
    ///
    /// A thread may be interrupted inside a call: the shortest of about the last 16 is what the call itself takes.
    pub(super) fn took(&self, time: Duration) {
        let long = time > LONG;
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1);
        let shortest = match self.shortest.load(Ordering::Relaxed) {
            0 => time,
            _ if long => time,
            before => time.min(before.saturating_add(before / 16 + 1)),
        };
        self.shortest.store(shortest, Ordering::Relaxed);
    }

    /// Whether threads should take turns; also before anything is known.
    pub(super) fn is_short(&self) -> bool {
        self.shortest() < SHORT
    }

    /// How many asks like this one thread takes at once when they wait: 1 before anything is known.
    pub(super) fn round(&self) -> usize {
        let most = match self.shortest().as_nanos() {
            0 => 1,
            shortest => (ROUND.as_nanos() / shortest).clamp(1, MOST.into()),
        };
        usize::try_from(most).unwrap_or(1)
    }

    fn shortest(&self) -> Duration {
        Duration::from_nanos(self.shortest.load(Ordering::Relaxed))
    }
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
