//! The time for which a memory has not followed the log.

use crate::clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Uses no lock and no disk, so a hanging write is visible. Clones share the value.
#[derive(Clone, Debug, Default)]
pub struct Lag {
    /// In monotonic nanoseconds; 0 while the memory follows.
    since: Arc<AtomicU64>,
}

impl Lag {
    /// Called before each try to store a newer checkpoint.
    pub fn begins(&self) {
        let now = clock::monotonic_nanos().max(1);
        // Fails if an earlier try failed: the lag began then.
        let _ = self.since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Called when the newest checkpoint is stored.
    pub fn ends(&self) {
        self.since.store(0, Ordering::Relaxed);
    }

    /// Zero while the memory follows.
    pub fn get(&self) -> Duration {
        match self.since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => clock::since(since),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lag_begins_with_the_first_failed_try_and_ends_with_the_first_that_succeeds() {
        let lag = Lag::default();
        assert_eq!(lag.get(), Duration::ZERO);
        lag.begins();
        std::thread::sleep(Duration::from_millis(2));
        let before = lag.clone().get();
        lag.begins();
        assert!(lag.get() >= before && before > Duration::ZERO);
        lag.ends();
        assert_eq!(lag.get(), Duration::ZERO);
    }
}
