//! The primitives of group commit, in one place so that `tests/model.rs` can put others there.

pub(super) use std::sync::{Condvar, Mutex, MutexGuard};

/// Locks, also when a thread panicked with the lock held: no critical section here can leave half a change.
pub(in crate::audit) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
