//! A lasting fault of one key: reported when it begins, changes and ends, with its count, not for every request.

use crate::clock;
use crate::hsm::SignError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Whether signatures with one key fail.
#[derive(Default)]
pub(super) struct Trouble {
    /// Avoids the lock for successful signatures.
    on: AtomicBool,
    fault: Mutex<Option<Fault>>,
}

struct Fault {
    reason: String,
    times: u64,
    began: u64,
    /// Whether it has changed since the last report.
    changed: bool,
    /// Whether the key has signed since.
    ended: bool,
}

impl Trouble {
    /// Enters a failed signature.
    pub(super) fn came(&self, label: &str, error: &SignError) {
        let (reason, mut fault) = (error.to_string(), self.fault());
        self.on.store(true, Ordering::Relaxed);
        match &mut *fault {
            Some(fault) => {
                fault.times += 1;
                fault.ended = false;
                fault.changed |= fault.reason != reason;
                fault.reason = reason;
            }
            none => {
                tracing::error!(key = label, error = %reason, alarm = error.is_alarm(), "the token does not sign");
                let began = clock::monotonic_nanos();
                *none = Some(Fault { reason, times: 1, began, changed: false, ended: false });
            }
        }
    }

    /// Enters a verified signature.
    pub(super) fn signed(&self) {
        if self.on.load(Ordering::Relaxed)
            && let Some(fault) = &mut *self.fault()
        {
            self.on.store(false, Ordering::Relaxed);
            fault.ended = true;
        }
    }

    /// Called every second: reports a change, and the end, whose text is returned for its record.
    pub(super) fn look(&self, label: &str) -> Option<String> {
        let mut fault = self.fault();
        let Fault { reason, times, began, changed, ended } = fault.as_mut()?;
        let seconds = clock::since(*began).as_secs();
        if *ended {
            tracing::warn!(key = label, times, seconds, last = %reason, "the token signs again");
            let told = format!(
                "{label} signs again; {times} signatures failed in {seconds} s, the last one so: {reason}"
            );
            *fault = None;
            return Some(told);
        }
        if std::mem::take(changed) {
            tracing::error!(key = label, times, seconds, error = %reason, "the token still does not sign, and now fails so");
        }
        None
    }

    fn fault(&self) -> MutexGuard<'_, Option<Fault>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_ends_once_with_its_count_and_not_while_it_comes_again() {
        let trouble = Trouble::default();
        let error = SignError::Unverified { label: "key".to_owned() };
        trouble.signed();
        assert_eq!(trouble.look("key"), None);
        for _ in 0..3 {
            trouble.came("key", &error);
        }
        trouble.signed();
        trouble.came("key", &error);
        assert_eq!(trouble.look("key"), None, "it goes on");
        trouble.signed();
        let told = trouble.look("key").unwrap();
        assert!(told.contains("4 signatures failed"), "{told}");
        assert_eq!(trouble.look("key"), None);
    }
}
