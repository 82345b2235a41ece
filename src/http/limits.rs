//! Limits of rate: one bucket for each caller that the configuration names, and one for each address that fails.
//!
//! Both are the generic cell rate algorithm (ITU-T I.371): the only state is the instant until which what was taken
//! is paid for. Time comes as an argument, in nanoseconds of the monotonic clock.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

const SECOND: u64 = 1_000_000_000;

/// Addresses remembered before those that are paid for are forgotten.
const PRUNE_AT: usize = 4_096;
/// Addresses remembered at most: whoever fails from more of them within a second starts anew.
const MOST_ADDRESSES: usize = 65_536;

/// So much a second, and as much at once after a second of rest.
#[derive(Clone, Copy, Debug)]
struct Rate {
    /// Nanoseconds that one costs.
    interval: u64,
    /// Nanoseconds that may be owed when one more is taken.
    tolerance: u64,
}

impl Rate {
    fn per_second(most: u32) -> Self {
        let interval = SECOND / u64::from(most.max(1));
        Self { interval, tolerance: SECOND - interval }
    }

    /// What is owed after one more, or `None` when too much is owed already.
    fn take(self, paid_until: u64, now: u64) -> Option<u64> {
        self.allows(paid_until, now).then(|| paid_until.max(now) + self.interval)
    }

    fn allows(self, paid_until: u64, now: u64) -> bool {
        paid_until <= now.saturating_add(self.tolerance)
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
        Self { rate: Rate::per_second(most), paid_until: AtomicU64::new(0) }
    }

    /// Takes one; `false` when none is left.
    pub(super) fn take(&self, now: u64) -> bool {
        self.paid_until
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |paid_until| self.rate.take(paid_until, now))
            .is_ok()
    }
}

/// Failed authentications by address. An honest caller never touches the lock unless somebody has failed lately.
#[derive(Debug)]
pub(super) struct Failures {
    rate: Rate,
    known: AtomicUsize,
    paid_until: Mutex<HashMap<IpAddr, u64>>,
}

impl Failures {
    /// Lets one address fail `most` times in a second.
    pub(super) fn per_second(most: u32) -> Self {
        Self { rate: Rate::per_second(most), known: AtomicUsize::new(0), paid_until: Mutex::default() }
    }

    /// Whether this address may try again: asked before any secret is compared.
    pub(super) fn allows(&self, address: IpAddr, now: u64) -> bool {
        if self.known.load(Ordering::Relaxed) == 0 {
            return true;
        }
        let paid_until = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
        paid_until.get(&network(address)).is_none_or(|owed| self.rate.allows(*owed, now))
    }

    /// Counts one failure.
    pub(super) fn count(&self, address: IpAddr, now: u64) {
        let mut paid_until = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
        if paid_until.len() >= PRUNE_AT {
            paid_until.retain(|_, owed| *owed > now);
        }
        if paid_until.len() >= MOST_ADDRESSES {
            paid_until.clear();
        }
        let owed = paid_until.entry(network(address)).or_insert(0);
        // Attempts that were under way when the limit was reached are not counted twice.
        *owed = self.rate.take(*owed, now).unwrap_or(*owed);
        self.known.store(paid_until.len(), Ordering::Relaxed);
    }

    /// Forgets those that are paid for; to be called now and then.
    pub(super) fn forget(&self, now: u64) {
        let mut paid_until = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
        paid_until.retain(|_, owed| *owed > now);
        self.known.store(paid_until.len(), Ordering::Relaxed);
    }
}

/// Whose address it is: with IPv6 one customer holds a whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 5_000 * SECOND;

    #[test]
    fn a_burst_of_a_second_passes_and_no_more() {
        let bucket = Bucket::per_second(10);
        assert_eq!((0..30).filter(|_| bucket.take(START)).count(), 10);
        assert!(!bucket.take(START + SECOND / 10 - 1));
        assert!(bucket.take(START + SECOND / 10));
        assert_eq!((0..30).filter(|_| bucket.take(START + 60 * SECOND)).count(), 10);
    }

    #[test]
    fn a_limit_of_one_lets_one_pass_each_second() {
        let bucket = Bucket::per_second(1);
        assert!(bucket.take(START));
        assert!(!bucket.take(START + SECOND - 1));
        assert!(bucket.take(START + SECOND));
    }

    #[test]
    fn only_the_address_that_failed_is_refused() {
        let failures = Failures::per_second(3);
        let [guesser, other]: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()];
        for _ in 0..3 {
            assert!(failures.allows(guesser, START));
            failures.count(guesser, START);
        }
        assert!(!failures.allows(guesser, START));
        assert!(failures.allows(other, START));
        assert!(failures.allows(guesser, START + SECOND));
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_and_a_mapped_address_as_ipv4() {
        let failures = Failures::per_second(1);
        failures.count("2001:db8::1".parse().unwrap(), START);
        assert!(!failures.allows("2001:db8::ffff:1".parse().unwrap(), START));
        assert!(failures.allows("2001:db8:0:1::1".parse().unwrap(), START));
        failures.count("::ffff:192.0.2.1".parse().unwrap(), START);
        assert!(!failures.allows("192.0.2.1".parse().unwrap(), START));
    }

    #[test]
    fn addresses_that_are_paid_for_are_forgotten() {
        let failures = Failures::per_second(1);
        for host in 0..10_000_u32 {
            failures.count(IpAddr::V4(host.into()), START + u64::from(host) * SECOND);
        }
        assert!(failures.paid_until.lock().unwrap().len() <= PRUNE_AT);
        failures.forget(START + 20_000 * SECOND);
        assert!(failures.paid_until.lock().unwrap().is_empty());
        assert_eq!(failures.known.load(Ordering::Relaxed), 0);
    }
}
