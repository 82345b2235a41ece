//! Calls into the PKCS#11 module that have not returned: no thread can be cancelled inside one, so a process in which
//! one hangs can only be ended.

use crate::clock;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often calls are looked at.
const LOOK: Duration = Duration::from_millis(250);

/// All calls of this process. Clones watch the same calls.
#[derive(Clone)]
pub struct Calls {
    callers: Arc<Mutex<Vec<Caller>>>,
    deadline: Duration,
}

/// One caller: a thread that makes one call at a time.
#[derive(Clone)]
pub(super) struct Caller {
    running: Arc<Mutex<Option<Running>>>,
    deadline: Duration,
}

/// A call that has begun.
struct Running {
    doing: Doing,
    began: u64,
    /// In monotonic nanoseconds, the time by which it must return.
    due: u64,
}

/// What a caller does, for the operator.
#[derive(Clone)]
pub(super) struct Doing {
    functions: &'static str,
    key: Option<Arc<str>>,
}

impl Doing {
    /// One of these functions.
    pub(super) const fn call(functions: &'static str) -> Self {
        Self { functions, key: None }
    }

    /// With a key.
    pub(super) fn with(functions: &'static str, label: &Arc<str>) -> Self {
        Self { functions, key: Some(Arc::clone(label)) }
    }

    /// `C_Sign` with a key.
    pub(super) fn sign(label: &Arc<str>) -> Self {
        Self::with("C_Sign", label)
    }
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.functions)?;
        self.key.as_ref().map_or(Ok(()), |key| write!(f, " with the key {key:?}"))
    }
}

impl Calls {
    /// Each call has `deadline` to return. One that does not is told to `hung`, once, on a thread of its own: it may end
    /// the process.
    pub fn watch(deadline: Duration, hung: impl FnOnce(String) + Send + 'static) -> std::io::Result<Self> {
        let calls = Self { callers: Arc::default(), deadline };
        let watched = calls.clone();
        std::thread::Builder::new().name("watch".to_owned()).spawn(move || {
            let first = loop {
                if let Some(first) = watched.hung().into_iter().next() {
                    break first;
                }
                std::thread::sleep(LOOK);
            };
            hung(first);
        })?;
        Ok(calls)
    }

    /// Another caller.
    pub(super) fn caller(&self) -> Caller {
        let caller = Caller { running: Arc::default(), deadline: self.deadline };
        self.callers.lock().unwrap_or_else(PoisonError::into_inner).push(caller.clone());
        caller
    }

    /// Whether a call is over its time.
    pub fn hang(&self) -> bool {
        !self.hung().is_empty()
    }

    /// The calls that are over their time.
    pub(super) fn hung(&self) -> Vec<String> {
        let now = clock::monotonic_nanos();
        let callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        callers
            .iter()
            .filter_map(|caller| caller.running().as_ref().and_then(|call| call.over(now)))
            .collect()
    }
}

impl Running {
    fn over(&self, now: u64) -> Option<String> {
        let seconds = now.saturating_sub(self.began) / 1_000_000_000;
        (now > self.due).then(|| {
            format!("the PKCS#11 module has not returned from {} for {seconds} s (hsm.deadline)", self.doing)
        })
    }
}

impl Caller {
    /// Does `work`, which calls into the module; it has `deadlines` times the deadline of one call.
    pub(super) fn run<T>(&self, deadlines: u32, doing: Doing, work: impl FnOnce() -> T) -> T {
        let began = clock::monotonic_nanos();
        let time = u64::try_from(self.deadline.saturating_mul(deadlines).as_nanos()).unwrap_or(u64::MAX);
        *self.running() = Some(Running { doing, began, due: began.saturating_add(time) });
        let done = work();
        *self.running() = None;
        done
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_call_hangs_while_it_runs_beyond_its_deadline_and_not_after_it() {
        let (tell, told) = mpsc::channel();
        let calls = Calls::watch(Duration::from_millis(20), move |what| tell.send(what).unwrap()).unwrap();
        let (one, other) = (calls.caller(), calls.caller());
        let late = |times, doing: Doing| {
            one.run(times, doing, || {
                other.run(1, Doing::call("C_OpenSession"), || ());
                std::thread::sleep(Duration::from_millis(40));
                calls.hang()
            })
        };
        assert!(!late(1000, Doing::call("C_Login")));
        assert!(told.try_recv().is_err(), "nothing was late");
        let label: Arc<str> = "introspection-es256-1".into();
        assert!(late(1, Doing::sign(&label)));
        assert!(!calls.hang());
        one.run(1, Doing::sign(&label), || {
            let what = told.recv().unwrap();
            assert!(what.contains("C_Sign with the key \"introspection-es256-1\""), "{what}");
        });
    }
}
