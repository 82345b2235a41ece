//! Calls into the PKCS#11 module that have not returned. A call cannot be cancelled; only the end of the process ends
//! it. Until then it blocks its own ask alone: other threads take over the other asks of its round.

use super::round::Round;
use crate::clock;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often running calls are checked.
const LOOK: Duration = Duration::from_millis(250);

/// Time after which a call's other asks go to other threads. Rounds of several asks are made where a call takes 5 ms at
/// most ([`super::pace::Pace::round`]).
const LATE: Duration = LOOK;

/// All calls of this process. Clones share them.
#[derive(Clone)]
pub struct Calls {
    callers: Arc<Mutex<Vec<Caller>>>,
    deadline: Duration,
}

/// One thread, which makes one call at a time.
#[derive(Clone)]
pub(super) struct Caller {
    state: Arc<Mutex<State>>,
    deadline: Duration,
}

#[derive(Default)]
struct State {
    running: Option<Running>,
    asks: Beside,
}

/// The unfinished asks of the thread's round.
#[derive(Default)]
enum Beside {
    /// At most one, which its thread finishes.
    #[default]
    Alone,
    /// Several, which their thread finishes unless a call is late.
    Round(Round),
    /// A call was late: all asks but the one at this index were handed over.
    HandedOver(usize),
}

/// The asks that a thread may finish; the others belong to other threads for good.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Claimed {
    /// All requested ones.
    All,
    /// The ask at this index alone. The rest of its round was handed over.
    Only(usize),
}

/// A running call.
struct Running {
    doing: Doing,
    began: u64,
    /// Its deadline in monotonic nanoseconds.
    due: u64,
    /// Index of its ask among the unfinished ones of the round.
    ask: usize,
}

/// Description of a call, for the operator.
#[derive(Clone)]
pub(super) struct Doing {
    functions: &'static str,
    key: Option<Arc<str>>,
}

impl Doing {
    /// A call of one of these functions.
    pub(super) const fn call(functions: &'static str) -> Self {
        Self { functions, key: None }
    }

    /// A call with a key.
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
    /// Each call has `deadline` to return. `hung` is called once, on a thread of its own, for the first that does not;
    /// it may end the process.
    pub fn watch(deadline: Duration, hung: impl FnOnce(String) + Send + 'static) -> std::io::Result<Self> {
        let calls = Self { callers: Arc::default(), deadline };
        let watched = calls.clone();
        std::thread::Builder::new().name("watch".to_owned()).spawn(move || {
            let first = loop {
                watched.hand_over();
                if let Some(first) = watched.hung().into_iter().next() {
                    break first;
                }
                std::thread::sleep(LOOK);
            };
            hung(first);
        })?;
        Ok(calls)
    }

    /// Adds a thread.
    pub(super) fn caller(&self) -> Caller {
        let caller = Caller { state: Arc::default(), deadline: self.deadline };
        self.callers().push(caller.clone());
        caller
    }

    /// Hands the asks beside a late call to other threads.
    fn hand_over(&self) {
        let now = clock::monotonic_nanos();
        for caller in self.callers().iter() {
            caller.hand_over(now);
        }
    }

    /// Whether a call is past its deadline.
    pub fn hang(&self) -> bool {
        !self.hung().is_empty()
    }

    /// The calls past their deadline.
    pub(super) fn hung(&self) -> Vec<String> {
        let now = clock::monotonic_nanos();
        let callers = self.callers();
        callers
            .iter()
            .filter_map(|caller| caller.state().running.as_ref().and_then(|call| call.over(now)))
            .collect()
    }

    fn callers(&self) -> MutexGuard<'_, Vec<Caller>> {
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// Does `work`, which calls into the module; its deadline is `deadlines` times that of one call.
    pub(super) fn run<T>(&self, deadlines: u32, doing: Doing, work: impl FnOnce() -> T) -> T {
        self.call(deadlines, doing, 0, work).0
    }

    /// Starts a round: this thread owns the asks while its calls return in time, and finishes only those that
    /// [`Self::claim`] returns.
    pub(super) fn begin(&self, round: Round) {
        self.state().asks = Beside::Round(round);
    }

    /// As [`Self::run`], with one deadline, for the ask at this index among the unfinished ones of the round; returns
    /// also whether the others were handed over.
    pub(super) fn run_for<T>(&self, ask: usize, doing: Doing, work: impl FnOnce() -> T) -> (T, bool) {
        self.call(1, doing, ask, work)
    }

    /// Claims the next asks of the round for finishing: they cannot be handed over any more.
    pub(super) fn claim(&self, asks: usize) -> Claimed {
        let mut state = self.state();
        match &mut state.asks {
            Beside::Alone => Claimed::All,
            Beside::HandedOver(ask) => {
                let ask = *ask;
                state.asks = Beside::Alone;
                Claimed::Only(ask)
            }
            Beside::Round(round) => {
                if round.finish(asks) {
                    state.asks = Beside::Alone;
                }
                Claimed::All
            }
        }
    }

    fn call<T>(&self, deadlines: u32, doing: Doing, ask: usize, work: impl FnOnce() -> T) -> (T, bool) {
        let began = clock::monotonic_nanos();
        let time = u64::try_from(self.deadline.saturating_mul(deadlines).as_nanos()).unwrap_or(u64::MAX);
        self.state().running = Some(Running { doing, began, due: began.saturating_add(time), ask });
        let done = work();
        let mut state = self.state();
        state.running = None;
        (done, matches!(state.asks, Beside::HandedOver(_)))
    }

    fn hand_over(&self, now: u64) {
        // Before the process ends because of it.
        let late = u64::try_from(LATE.min(self.deadline).as_nanos()).unwrap_or(u64::MAX);
        let mut state = self.state();
        let State { running: Some(Running { began, ask, doing, .. }), asks } = &mut *state else { return };
        if now.saturating_sub(*began) < late || !matches!(asks, Beside::Round(_)) {
            return;
        }
        let (ask, doing) = (*ask, doing.clone());
        // Point of no return: results of this thread for the other asks are dropped.
        let Beside::Round(round) = std::mem::replace(asks, Beside::HandedOver(ask)) else { return };
        drop(state);
        let others = round.hand_over(ask);
        tracing::warn!(%doing, others, "a call is late; the other requests of its round go to other threads");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::connection::{Connection, Share};
    use super::super::inbox::{Asks, Inbox, TakeMode, Taken};
    use super::*;
    use crate::door::frame;
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc;

    /// Asks of one gateway that one thread has taken, and their inbox.
    fn taken(asks: u64) -> (Arc<Inbox>, Asks, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let inbox = Arc::new(Inbox::new().unwrap());
        drop(inbox.add(&Connection::new(ours, 0).unwrap()).unwrap());
        let all = Share { most: 100, threads: 1 };
        let take = || match inbox.take(TakeMode::Block, all) {
            Taken::Asks(asks) => asks,
            _ => panic!("no asks"),
        };
        // The first ask sets the mean length.
        frame::write_one(&theirs, &0_u64).unwrap();
        drop(take());
        let mut bytes = Vec::new();
        (0..asks).for_each(|ask| frame::append(&mut bytes, &ask).unwrap());
        std::io::Write::write_all(&mut &theirs, &bytes).unwrap();
        let round = take();
        assert_eq!(round.iter().count() as u64, asks);
        (inbox, round, theirs)
    }

    fn handed(inbox: &Inbox) -> Vec<u64> {
        std::iter::from_fn(|| match inbox.take(TakeMode::Poll, Share { most: 1, threads: 1 }) {
            Taken::Asks(asks) => {
                assert_eq!(asks.iter().count(), 1, "each goes alone");
                asks.iter().next().map(|ask| serde_json::from_slice(ask).unwrap())
            }
            _ => None,
        })
        .collect()
    }

    const SIGN: Doing = Doing::call("C_Sign");

    #[test]
    fn a_late_call_keeps_its_own_ask_and_no_other() {
        let calls = Calls::watch(Duration::from_secs(60), |what| panic!("{what}")).unwrap();
        let caller = calls.caller();
        let (inbox, asks, _gateway) = taken(6);
        caller.begin(Round::new(asks, vec![5, 0, 1, 2, 3, 4], Arc::clone(&inbox)));
        // The first part of the round is finished: no other thread gets it.
        for ask in 0..2 {
            assert_eq!(caller.run_for(ask, SIGN, || 7), (7, false));
        }
        assert_eq!(caller.claim(2), Claimed::All);
        // Signed, not claimed.
        assert_eq!(caller.run_for(0, SIGN, || 8), (8, false));
        let mut others = Vec::new();
        let (signed, alone) = caller.run_for(1, SIGN, || {
            while others.is_empty() {
                std::thread::sleep(Duration::from_millis(10));
                others = handed(&inbox);
            }
            9
        });
        assert_eq!((signed, alone, others), (9, true, vec![1, 3, 4]));
        assert_eq!(caller.claim(2), Claimed::Only(1));
        // The next round starts with all its asks.
        assert_eq!(caller.run_for(0, SIGN, || ()), ((), false));
        assert_eq!(caller.claim(1), Claimed::All);
        assert!(handed(&inbox).is_empty());
    }

    #[test]
    fn handed_over_asks_are_taken_before_the_end() {
        let (inbox, asks, _gateway) = taken(3);
        inbox.close();
        assert_eq!(Round::new(asks, vec![0, 1, 2], Arc::clone(&inbox)).hand_over(0), 2);
        let mut found = Vec::new();
        loop {
            match inbox.take(TakeMode::Block, Share { most: 1, threads: 1 }) {
                Taken::Asks(asks) => found.extend(asks.iter().map(<[u8]>::to_vec)),
                Taken::End => break,
                _ => panic!("neither an ask nor the end"),
            }
        }
        assert_eq!(found, [b"1", b"2"]);
    }

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
