//! Limits of rate: buckets for each caller that the configuration names, and two tables for failed authentications.
//!
//! All are the generic cell rate algorithm (ITU-T I.371): the only state is the instant until which what was taken
//! is paid for. Time comes as an argument, in nanoseconds of the monotonic clock, so that no step of the wall clock
//! gives or takes anything; a restart forgets what was taken.

use super::peer::Source;
use crate::claims::ClientId;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// In nanoseconds.
pub(super) const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 86_400 * SECOND;

/// How often a flood of connections writes a line.
const LINE: u64 = 10 * SECOND;

/// Lines a second for one rule. At 250 bytes a line, all rules together write less than 100 kB a second.
const LINES: u32 = 10;

/// Cells of one table of failures. An address takes from at most `address_failures_per_second` of them, so that few
/// others ever share a cell with it; they lose no more than a 401 that becomes 429.
const CELLS: usize = 16_384;

/// So much in a period, and as much at once after a period of rest.
#[derive(Clone, Copy, Debug)]
struct Rate {
    /// Nanoseconds that one costs.
    interval: u64,
    /// Nanoseconds that may be owed when one more is taken.
    tolerance: u64,
}

impl Rate {
    fn new(most: u64, period: u64) -> Self {
        let interval = (period / most.max(1)).max(1);
        Self { interval, tolerance: period.saturating_sub(interval) }
    }

    /// Takes one; an error is the time until there is one.
    fn take(self, paid_until: &AtomicU64, now: u64) -> Result<(), Duration> {
        let limit = now.saturating_add(self.tolerance);
        let paid = |until: u64| (until <= limit).then(|| until.max(now).saturating_add(self.interval));
        match paid_until.fetch_update(Ordering::Relaxed, Ordering::Relaxed, paid) {
            Ok(_) => Ok(()),
            Err(until) => Err(Duration::from_nanos(until.saturating_sub(limit))),
        }
    }
}

/// One caller's bucket; taking from it takes no lock.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: Rate,
    paid_until: AtomicU64,
}

impl Bucket {
    /// Lets `most` pass in a second, in bursts of as many.
    pub(super) fn per_second(most: u32) -> Self {
        Self { rate: Rate::new(most.into(), SECOND), paid_until: AtomicU64::new(0) }
    }

    /// Lets `most` pass in a day, in bursts of as many.
    pub(super) fn per_day(most: u64) -> Self {
        Self { rate: Rate::new(most, DAY), paid_until: AtomicU64::new(0) }
    }

    /// Takes one; an error is the time until there is one.
    pub(super) fn take(&self, now: u64) -> Result<(), Duration> {
        self.rate.take(&self.paid_until, now)
    }
}

/// Failed authentications: of one address with one claimed `client_id`, and of one address.
///
/// A secret is compared whatever was taken, so that a caller with the right one is never refused; the budget decides
/// what a wrong one is told. It is taken in the same step, before anything else can happen, so that of any number of
/// guesses at once no more than the budget are answered with 401 and a log line. Guessing itself is hopeless: secrets
/// have at least 128 bits.
///
/// The tables have a fixed size. Which cell a caller has depends on a random key, and a `client_id` that is known here
/// is not told from one that is not.
#[derive(Debug)]
pub(super) struct Failures {
    of_callers: Cells,
    of_addresses: Cells,
}

#[derive(Debug)]
struct Cells {
    rate: Rate,
    key: RandomState,
    paid_until: Box<[AtomicU64]>,
}

impl Failures {
    /// So many in a second of one address with one `client_id`, and of one address.
    pub(super) fn per_second(of_a_caller: u32, of_an_address: u32) -> Self {
        Self { of_callers: Cells::per_second(of_a_caller), of_addresses: Cells::per_second(of_an_address) }
    }

    /// Takes one failure; `false` when none is left. `claimed` is the `client_id`, if there is one.
    pub(super) fn take(&self, source: Source, claimed: Option<&str>, now: u64) -> bool {
        self.of_addresses.take(source, now)
            && claimed.is_none_or(|client_id| self.of_callers.take((source, client_id), now))
    }
}

impl Cells {
    fn per_second(most: u32) -> Self {
        let paid_until = (0..CELLS).map(|_| AtomicU64::new(0)).collect();
        Self { rate: Rate::new(most.into(), SECOND), key: RandomState::new(), paid_until }
    }

    fn take(&self, of: impl Hash, now: u64) -> bool {
        let cell = self.key.hash_one(of) % CELLS as u64;
        let cell = usize::try_from(cell).ok().and_then(|cell| self.paid_until.get(cell));
        cell.is_some_and(|paid_until| self.rate.take(paid_until, now).is_ok())
    }
}

/// Counts what may come in floods, and lets a line about it be written once in ten seconds.
#[derive(Debug, Default)]
pub(super) struct Sampled {
    total: AtomicU64,
    told: AtomicU64,
    next_line: AtomicU64,
}

impl Sampled {
    /// Counts one; `Some` when a line is due, with the number that it stands for.
    pub(super) fn count(&self, now: u64) -> Option<u64> {
        let total = self.total.fetch_add(1, Ordering::Relaxed) + 1;
        let due = |next: u64| (next <= now).then(|| now.saturating_add(LINE));
        self.next_line.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).ok()?;
        Some(total.saturating_sub(self.told.swap(total, Ordering::Relaxed)))
    }

    /// All that were counted.
    pub(super) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
}

/// Log lines about requests of which one caller can make any number. For each proven caller, and for all other
/// requests together, some lines a second and rule stand for the rest.
#[derive(Debug, Default)]
pub(super) struct Floods(Mutex<HashMap<(Option<ClientId>, &'static str), Lines>>);

#[derive(Debug)]
struct Lines {
    budget: Bucket,
    untold: u64,
}

impl Floods {
    /// Counts one request that ended by this rule; `Some` when a line is due, with the number that it stands for.
    pub(super) fn count(&self, caller: Option<&ClientId>, rule: &'static str, now: u64) -> Option<u64> {
        let mut rules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Lines { budget: Bucket::per_second(LINES), untold: 0 };
        let lines = rules.entry((caller.cloned(), rule)).or_insert_with(new);
        lines.untold += 1;
        lines.budget.take(now).ok()?;
        Some(std::mem::take(&mut lines.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 5_000 * SECOND;

    fn source(address: &str) -> Source {
        Source::of(address.parse().unwrap())
    }

    #[test]
    fn a_burst_of_a_second_passes_and_no_more() {
        let bucket = Bucket::per_second(10);
        assert_eq!((0..30).filter(|_| bucket.take(START).is_ok()).count(), 10);
        assert_eq!(bucket.take(START + SECOND / 10 - 1), Err(Duration::from_nanos(1)));
        assert_eq!(bucket.take(START + SECOND / 10), Ok(()));
        assert_eq!((0..30).filter(|_| bucket.take(START + 60 * SECOND).is_ok()).count(), 10);
    }

    #[test]
    fn a_limit_of_one_lets_one_pass_each_second() {
        let bucket = Bucket::per_second(1);
        assert_eq!(bucket.take(START), Ok(()));
        assert_eq!(bucket.take(START), Err(Duration::from_secs(1)));
        assert_eq!(bucket.take(START + SECOND), Ok(()));
    }

    #[test]
    fn a_budget_of_a_day_comes_back_little_by_little_also_on_a_machine_that_has_just_started() {
        let bucket = Bucket::per_day(100);
        assert_eq!((0..300).filter(|_| bucket.take(SECOND).is_ok()).count(), 100);
        assert_eq!(bucket.take(SECOND), Err(Duration::from_secs(864)));
        assert_eq!((0..300).filter(|_| bucket.take(SECOND + DAY / 4).is_ok()).count(), 25);
    }

    #[test]
    fn failures_count_for_an_address_with_a_client_id_and_far_more_of_them_for_the_address() {
        let failures = Failures::per_second(3, 50);
        let [guesser, other] = [source("192.0.2.1"), source("192.0.2.2")];
        let passed = |source: Source, id: &str, now: u64| {
            (0..10).filter(|_| failures.take(source, Some(id), now)).count()
        };
        assert_eq!(passed(guesser, "shop", START), 3);
        assert_eq!(passed(guesser, "bank", START), 3);
        assert_eq!(passed(other, "shop", START), 3);
        assert_eq!(passed(guesser, "shop", START + SECOND), 3);
        // Names that are made up spend the address's budget, and that of no other address.
        let now = START + 10 * SECOND;
        let invented = (0..1_000).filter(|n| failures.take(guesser, Some(&n.to_string()), now)).count();
        assert_eq!(invented, 50);
        assert_eq!((0..10).filter(|_| failures.take(guesser, None, now)).count(), 0);
        assert_eq!(passed(other, "shop", now), 3);
    }

    #[test]
    fn of_guesses_at_once_no_more_pass_than_of_guesses_one_by_one() {
        let failures = Failures::per_second(10, 1_000);
        let passed: usize = std::thread::scope(|scope| {
            let guess =
                || (0..100).filter(|_| failures.take(source("192.0.2.1"), Some("shop"), START)).count();
            let threads: Vec<_> = (0..9).map(|_| scope.spawn(guess)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(passed, 10);
    }

    #[test]
    fn a_flood_writes_a_line_now_and_then_that_says_how_many_it_stands_for() {
        let sampled = Sampled::default();
        assert_eq!(sampled.count(START), Some(1));
        assert!((0..99).all(|_| sampled.count(START + LINE - 1).is_none()));
        assert_eq!(sampled.count(START + LINE), Some(100));
        assert_eq!(sampled.total(), 101);
    }

    #[test]
    fn of_each_rule_some_lines_a_second_stand_for_all_requests() {
        let floods = Floods::default();
        let told = |rule, requests: u32, now| -> Vec<u64> {
            (0..requests).filter_map(|_| floods.count(None, rule, now)).collect()
        };
        assert_eq!(told("host", 1_000, START), [1; LINES as usize]);
        assert_eq!(told("unknown-path", 2, START), [1, 1], "another rule has its own lines");
        let caller: ClientId = "shop".parse().unwrap();
        assert_eq!(floods.count(Some(&caller), "host", START), Some(1), "a proven caller has its own lines");
        let later = told("host", 1, START + SECOND);
        assert_eq!(later, [1_000 - u64::from(LINES) + 1]);
    }
}
