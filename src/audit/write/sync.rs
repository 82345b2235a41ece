//! The primitives of group commit, in one place so that `tests/model.rs` can put others there.

pub(super) use std::sync::{Condvar, Mutex, MutexGuard};
