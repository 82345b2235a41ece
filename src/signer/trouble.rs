//! A fault of one key that goes on: told when it begins, when it becomes another one, and when it ends, with how often it
//! came; not once a request.

use crate::clock;
use crate::hsm::SignError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Whether signatures with one key fail.
#[derive(Default)]
pub(super) struct Trouble {
    /// So that a signature costs no lock when all is well.
    on: AtomicBool,
    fault: Mutex<Option<Fault>>,
}

struct Fault {
    reason: String,
    times: u64,
    began: u64,
    /// Since it was told last.
    changed: bool,
    /// The key has signed since.
    ended: bool,
}

impl Trouble {
    /// A signature was not made.
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

    /// A signature was made and verified.
    pub(super) fn signed(&self) {
        if self.on.load(Ordering::Relaxed)
            && let Some(fault) = &mut *self.fault()
        {
            self.on.store(false, Ordering::Relaxed);
            fault.ended = true;
        }
    }

    /// Called every second: tells of a change, and of the end, whose text is returned for its record.
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
