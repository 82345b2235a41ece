//! Calls into the PKCS#11 module that have not returned: no thread can be cancelled inside one, so a process in which
//! one hangs can only be ended.

use crate::clock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// All calls of this process. Clones watch the same calls.
#[derive(Clone)]
pub struct Calls {
    /// Of each caller, in monotonic nanoseconds, the time by which its call must return; 0 when none is running.
    due: Arc<Mutex<Vec<Arc<AtomicU64>>>>,
    deadline: u64,
}

/// One caller: a thread that makes one call at a time.
pub(super) struct Caller {
    due: Arc<AtomicU64>,
    deadline: u64,
}

impl Calls {
    /// Each call has `deadline` to return.
    pub fn new(deadline: Duration) -> Self {
        Self { due: Arc::default(), deadline: u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX) }
    }

    /// Another caller.
    pub(super) fn caller(&self) -> Caller {
        let due = Arc::new(AtomicU64::new(0));
        self.due.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&due));
        Caller { due, deadline: self.deadline }
    }

    /// Whether a call is over its time.
    pub fn hang(&self) -> bool {
        let now = clock::monotonic_nanos();
        let over = |due: u64| due != 0 && now > due;
        let callers = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        callers.iter().any(|due| over(due.load(Ordering::Relaxed)))
    }
}

impl Caller {
    /// Does `work`, which calls into the module; it has `deadlines` times the deadline of one call.
    pub(super) fn run<T>(&self, deadlines: u64, work: impl FnOnce() -> T) -> T {
        let due = clock::monotonic_nanos().saturating_add(self.deadline.saturating_mul(deadlines));
        self.due.store(due, Ordering::Relaxed);
        let done = work();
        self.due.store(0, Ordering::Relaxed);
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_hangs_while_it_runs_beyond_its_deadline_and_not_after_it() {
        let calls = Calls::new(Duration::from_millis(20));
        let (one, other) = (calls.caller(), calls.caller());
        let late = |times| {
            one.run(times, || {
                other.run(1, || ());
                std::thread::sleep(Duration::from_millis(40));
                calls.hang()
            })
        };
        assert!(late(1));
        assert!(!late(1000));
        assert!(!calls.hang());
    }
}
