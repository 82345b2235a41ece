//! Serializes short calls into the token: [`Pace`](super::pace::Pace) has the reason.
//!
//! A thread inside the module cannot be interrupted, so a turn that lasts too long is taken over: a call that hangs
//! costs its own answer and session, and the other threads continue.

use super::pace::ROUND;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A turn takes twice [`ROUND`] and one call at most. A longer one may never end.
const LATE: Duration = ROUND.saturating_mul(5);

/// See the file.
pub(super) struct Turn {
    state: Mutex<State>,
    free: Condvar,
    late: Duration,
}

impl Default for Turn {
    fn default() -> Self {
        Self { state: Mutex::default(), free: Condvar::new(), late: LATE }
    }
}

#[derive(Default)]
struct State {
    /// Number of the current turn; 0 without one.
    on: u64,
    last: u64,
    waiting: usize,
}

/// The current turn, until it is dropped.
pub(super) struct Held<'a> {
    turn: &'a Turn,
    number: u64,
}

impl Turn {
    /// Waits for the end of the current turn, or until it is late.
    pub(super) fn take(&self) -> Held<'_> {
        let mut state = self.state();
        while state.on != 0 {
            let waited_for = state.on;
            state.waiting += 1;
            let (woken, timeout) =
                self.free.wait_timeout(state, self.late).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.waiting -= 1;
            if timeout.timed_out() && state.on == waited_for {
                break;
            }
        }
        state.last += 1;
        state.on = state.last;
        Held { turn: self, number: state.on }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut state = self.turn.state();
        // A turn that was taken over has no effect any more.
        if state.on == self.number {
            state.on = 0;
            let waits = state.waiting > 0;
            drop(state);
            // Notifying costs a system call, even if no thread waits.
            if waits {
                self.turn.free.notify_one();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    #[test]
    fn one_thread_at_a_time_has_the_turn() {
        // However long the machine delays the thread with the turn.
        let turn = Turn { late: Duration::from_secs(3600), ..Turn::default() };
        let (turn, inside) = (Arc::new(turn), Arc::new(AtomicUsize::new(0)));
        let threads = [(); 4].map(|()| {
            let (turn, inside) = (Arc::clone(&turn), Arc::clone(&inside));
            thread::spawn(move || {
                for _ in 0..200 {
                    let held = turn.take();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(held);
                }
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
    }

    #[test]
    fn a_turn_that_is_late_is_taken_over_and_its_end_changes_nothing() {
        let turn = Turn::default();
        let late = turn.take();
        let next = turn.take();
        drop(late);
        assert_eq!(turn.state().on, next.number, "the turn is still the next one's");
        drop(next);
        assert_eq!(turn.state().on, 0);
    }
}
