//! The one owner of a listener's open connections: a slot for each, and which one is closed when no slot is free.
//!
//! A connection that arrives is accepted at once. If its source has spent its budget, a connection of that source is
//! closed for it; if the whole pool is full, one of any source, in the order of [`Rank`]. Only what is idle is closed,
//! which is everything but a request that is being answered: rest, handshake, head and body that are not complete. If
//! nothing is, the new connection is refused.
//!
//! So connections without a proven caller are closed for each other. One on which a caller has proved itself goes last,
//! and one that just brings its first request has time for that: a flood from many addresses neither cuts the connections
//! that callers keep nor every new one before its first request.
//!
//! The search looks at every connection of the source, or of the pool, and happens only when no slot is free.

use super::limits::Sampled;
use super::peer::Source;
use super::progress::{Idle, Phase, Progress};
use crate::clock::monotonic_nanos;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::task::JoinSet;

/// Searches for one new connection: each that was chosen may get a request before it is closed.
const ATTEMPTS: usize = 4;

/// A source that holds more than this part of the slots without a proven caller is the first to lose one.
const SHARES: usize = 32;

/// This part of the slots is open to connections without a proven caller: while they hold less, the others make room.
const UNPROVEN: usize = 4;

/// When a connection is closed for another: the smallest first, and of those the one that is idle for longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// No caller has proved itself on it, and its source holds so many such connections, more than its share.
    OfMany(Reverse<usize>),
    /// No caller has proved itself on it.
    Unproven,
    /// The same, but its first request may still be arriving: the new connection is refused instead.
    Arriving,
    /// A caller has proved itself on it.
    Proven,
}

/// Clones share it.
#[derive(Clone)]
pub(super) struct Pool(Arc<Shared>);

struct Shared {
    most: usize,
    of_one_source: usize,
    open: Mutex<Open>,
    closed_for_room: Sampled,
    refused: Sampled,
    not_accepted: Sampled,
}

/// Where a connection comes from, and its number.
type Name = (Source, u64);

#[derive(Default)]
struct Open {
    next: u64,
    count: usize,
    sources: HashMap<Source, BTreeMap<u64, Arc<Progress>>>,
}

/// The slot of one open connection, given back when dropped.
struct Slot {
    pool: Pool,
    name: Name,
}

/// A pool at one moment.
pub(super) struct Census {
    /// Open connections by what they are doing, in the order of [`Phase::OPEN`].
    pub(super) phases: [usize; Phase::OPEN.len()],
    /// Slots.
    pub(super) most: usize,
    /// Connections that were closed to make room, since the start.
    pub(super) closed_for_room: u64,
    /// Connections that were refused, since the start.
    pub(super) refused: u64,
    /// How often the system had no socket for a connection, since the start.
    pub(super) not_accepted: u64,
}

impl Pool {
    /// For at most `most` connections, of which one source holds at most `of_one_source`.
    pub(super) fn new(most: usize, of_one_source: usize) -> Self {
        Self(Arc::new(Shared {
            most: most.max(1),
            of_one_source: of_one_source.max(1),
            open: Mutex::default(),
            closed_for_room: Sampled::default(),
            refused: Sampled::default(),
            not_accepted: Sampled::default(),
        }))
    }

    /// Serves a connection from `address` in a task of its own, if there is a slot for it; else it is dropped.
    pub(super) fn serve<F>(
        &self,
        tasks: &mut JoinSet<()>,
        address: IpAddr,
        connection: impl FnOnce(Arc<Progress>) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let progress = Arc::new(Progress::new(monotonic_nanos()));
        let Some(slot) = self.slot(Source::of(address), &progress) else { return };
        let served = connection(Arc::clone(&progress));
        progress.is_served_by(tasks.spawn(async move {
            let _slot = slot;
            served.await;
        }));
    }

    /// A slot for a new connection; another may be closed for it.
    fn slot(&self, source: Source, progress: &Arc<Progress>) -> Option<Slot> {
        let mut open = self.open();
        let spent = open.sources.get(&source).is_some_and(|held| held.len() >= self.0.of_one_source);
        let mut closed = None;
        if spent || open.count >= self.0.most {
            closed = open.close_one(spent.then_some(source), self.0.most, monotonic_nanos());
            if closed.is_none() {
                drop(open);
                self.refuse(source);
                return None;
            }
        }
        let name = open.add(source, Arc::clone(progress));
        drop(open);
        if let Some((source, closed)) = closed {
            closed.abort();
            if let Some(connections) = self.0.closed_for_room.count(monotonic_nanos()) {
                tracing::info!(%source, connections, "closed to make room: this and others since the last such line");
            }
        }
        Some(Slot { pool: self.clone(), name })
    }

    fn refuse(&self, source: Source) {
        if let Some(connections) = self.0.refused.count(monotonic_nanos()) {
            tracing::warn!(
                %source,
                connections,
                "refused, because every place is taken by a request that is being answered or just arriving: this and \
                 others since the last such line"
            );
        }
    }

    /// The system had no socket for the next connection, which waits.
    pub(super) fn not_accepted(&self, error: &std::io::Error) {
        if let Some(times) = self.0.not_accepted.count(monotonic_nanos()) {
            tracing::error!(
                %error,
                times,
                "no connection can be accepted at the moment, tried so often since the last such line; check the limit of \
                 open files"
            );
        }
    }

    /// How things stand.
    pub(super) fn census(&self) -> Census {
        let mut phases = [0; Phase::OPEN.len()];
        for progress in self.open().sources.values().flat_map(BTreeMap::values) {
            // What is closed has left the pool.
            if let Some(number) = phases.get_mut(progress.phase() as usize) {
                *number += 1;
            }
        }
        let Shared { closed_for_room, refused, not_accepted, most, .. } = &*self.0;
        let (closed_for_room, refused) = (closed_for_room.total(), refused.total());
        Census { phases, most: *most, closed_for_room, refused, not_accepted: not_accepted.total() }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn add(&mut self, source: Source, progress: Arc<Progress>) -> Name {
        self.next += 1;
        self.count += 1;
        self.sources.entry(source).or_default().insert(self.next, progress);
        (source, self.next)
    }

    fn remove(&mut self, (source, number): Name) -> Option<Arc<Progress>> {
        let held = self.sources.get_mut(&source)?;
        let removed = held.remove(&number)?;
        if held.is_empty() {
            self.sources.remove(&source);
        }
        self.count -= 1;
        Some(removed)
    }

    /// Closes one connection of `only`, or of any source.
    fn close_one(&mut self, only: Option<Source>, most: usize, now: u64) -> Option<(Source, Arc<Progress>)> {
        for _ in 0..ATTEMPTS {
            let (rank, idle, (source, number), progress) = if let Some(source) = only {
                first(self.ranked(source, 0, true, now))
            } else {
                let unproven: usize = self.sources.values().map(unproven).sum();
                let few = unproven < most.div_ceil(UNPROVEN);
                let share = (most / SHARES).max(1);
                first(self.sources.keys().flat_map(|source| self.ranked(*source, share, few, now)))
            }?;
            if rank == Rank::Arriving {
                return None;
            }
            if progress.close(idle) {
                return self.remove((source, number)).map(|progress| (source, progress));
            }
            // A request has arrived on it meanwhile.
        }
        None
    }

    /// What is idle of this source, with its rank; what is arriving has none while unproven connections hold `few` slots.
    fn ranked(
        &self,
        source: Source,
        share: usize,
        few: bool,
        now: u64,
    ) -> impl Iterator<Item = (Rank, Idle, Name, &Arc<Progress>)> {
        let held = self.sources.get(&source);
        let unproven = held.map_or(0, unproven);
        held.into_iter().flatten().filter_map(move |(number, progress)| {
            let idle = progress.idle()?;
            let rank = if idle.is_proven() {
                Rank::Proven
            } else if unproven > share {
                Rank::OfMany(Reverse(unproven))
            } else if !idle.is_arriving(now) {
                Rank::Unproven
            } else if few {
                return None;
            } else {
                Rank::Arriving
            };
            Some((rank, idle, (source, *number), progress))
        })
    }
}

/// How many of them no caller has proved itself on.
fn unproven(held: &BTreeMap<u64, Arc<Progress>>) -> usize {
    held.values().filter(|progress| !progress.is_proven()).count()
}

fn first<'a>(
    ranked: impl Iterator<Item = (Rank, Idle, Name, &'a Arc<Progress>)>,
) -> Option<(Rank, Idle, Name, &'a Arc<Progress>)> {
    ranked.min_by_key(|(rank, idle, (_, number), _)| (*rank, idle.since(), *number))
}

impl Drop for Slot {
    fn drop(&mut self) {
        // A connection that was closed for room has left already.
        drop(self.pool.open().remove(self.name));
    }
}

impl Census {
    /// Open connections.
    pub(super) fn open(&self) -> usize {
        self.phases.iter().sum()
    }

    /// How full the pool is, in words; an error where a new connection would be refused.
    pub(super) fn room(&self) -> Result<String, String> {
        let (open, most) = (self.open(), self.most);
        let busy = self.phases.get(Phase::Service as usize).copied().unwrap_or(0);
        let text = format!("{open} of {most} open");
        if open < most {
            Ok(text)
        } else if busy < open {
            Ok(format!("{text}: full; a new connection takes the place of one that is idle"))
        } else {
            Err(format!(
                "{text}: full; each has a request that is being answered, new connections are refused"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits::SECOND;
    use super::*;

    struct Guests {
        pool: Pool,
        places: Vec<(Slot, Arc<Progress>)>,
    }

    impl Guests {
        fn new(most: usize, of_one_source: usize) -> Self {
            Self { pool: Pool::new(most, of_one_source), places: Vec::new() }
        }

        /// A connection from this address; its place among all that came, if it got in.
        fn comes(&mut self, address: &str) -> Option<usize> {
            self.comes_at(address, 1)
        }

        fn comes_at(&mut self, address: &str, now: u64) -> Option<usize> {
            let progress = Arc::new(Progress::new(now));
            let slot = self.pool.slot(Source::of(address.parse().unwrap()), &progress)?;
            self.places.push((slot, progress));
            Some(self.places.len() - 1)
        }

        fn closed(&self) -> Vec<usize> {
            let closed = |guest: &usize| self.places[*guest].1.phase() == Phase::Closed;
            (0..self.places.len()).filter(closed).collect()
        }
    }

    #[test]
    fn a_source_over_its_budget_loses_its_own_oldest_and_a_full_pool_the_oldest_of_the_largest_source() {
        let mut guests = Guests::new(6, 3);
        for address in ["192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.2"] {
            guests.comes(address).unwrap();
        }
        guests.comes("::ffff:192.0.2.2").unwrap();
        assert_eq!(guests.closed(), [1], "its own, though another source has an older one");
        guests.comes("2001:db8::1").unwrap();
        guests.comes("2001:db8::2").unwrap();
        assert_eq!(guests.pool.census().open(), 6);
        guests.comes("2001:db8:0:1::1").unwrap();
        assert_eq!(guests.closed(), [1, 2], "of the source that holds most");
        guests.comes("192.0.2.3").unwrap();
        guests.comes("192.0.2.4").unwrap();
        // Each source that is left holds one or two; the oldest of those with two went first.
        assert_eq!(guests.closed(), [1, 2, 3, 5]);
        guests.comes("192.0.2.5").unwrap();
        assert_eq!(guests.closed(), [0, 1, 2, 3, 5], "where all hold one, the one that is idle for longest");
        assert_eq!(guests.pool.census().closed_for_room, 5);
        guests.places.clear();
        assert_eq!(guests.pool.census().open(), 0);
        assert!(guests.pool.open().sources.is_empty());
    }

    #[test]
    fn a_request_that_is_being_answered_keeps_its_place_and_a_full_pool_says_so() {
        let mut guests = Guests::new(2, 2);
        for _ in 0..2 {
            let guest = guests.comes("192.0.2.1").unwrap();
            assert!(guests.places[guest].1.has_head(false));
        }
        assert_eq!(guests.comes("192.0.2.1"), None);
        assert_eq!(guests.comes("192.0.2.2"), None);
        let census = guests.pool.census();
        assert_eq!((census.refused, census.closed_for_room, census.room().is_err()), (2, 0, true));
        guests.places[1].1.rests();
        assert!(guests.pool.census().room().is_ok_and(|words| words.contains("full")));
        assert!(guests.comes("192.0.2.2").is_some());
        assert_eq!(guests.closed(), [1]);
    }

    #[test]
    fn unproven_connections_from_many_addresses_close_each_other_and_no_connection_of_a_caller() {
        let mut guests = Guests::new(64, 64);
        let callers: Vec<usize> = (0..20).map(|_| guests.comes("192.0.2.1").unwrap()).collect();
        for caller in &callers {
            guests.places[*caller].1.has_carried_a_caller();
        }
        for n in 0..200 {
            guests.comes(&format!("198.51.{}.{}", n / 100, n % 100)).unwrap();
        }
        let closed = guests.closed();
        assert_eq!(closed.len(), 20 + 200 - 64);
        assert!(callers.iter().all(|caller| !closed.contains(caller)), "{closed:?}");
    }

    /// A time that has not come: what arrived then is arriving.
    fn lately() -> u64 {
        monotonic_nanos() + 3_600 * SECOND
    }

    #[test]
    fn a_connection_that_just_brings_its_first_request_is_not_closed_for_that_of_another_source() {
        let mut guests = Guests::new(64, 64);
        for n in 0..63 {
            guests.comes_at(&format!("198.51.100.{n}"), lately()).unwrap();
        }
        let late = guests.comes("198.51.100.63").unwrap();
        guests.comes_at("192.0.2.1", lately()).unwrap();
        assert_eq!(guests.closed(), [late], "it has had its time");
        assert_eq!(guests.comes("192.0.2.2"), None);
        assert_eq!((guests.closed(), guests.pool.census().refused), (vec![late], 1));
    }

    #[test]
    fn a_source_with_more_than_its_share_of_first_requests_makes_room_for_another_source() {
        let mut guests = Guests::new(64, 64);
        for n in 0..61 {
            guests.comes_at(&format!("198.51.100.{n}"), lately()).unwrap();
        }
        let largest: Vec<usize> = (0..3).map(|_| guests.comes_at("203.0.113.9", lately()).unwrap()).collect();
        guests.comes_at("192.0.2.1", lately()).unwrap();
        assert_eq!(guests.closed(), largest[..1]);
    }

    #[test]
    fn callers_that_keep_all_places_make_room_for_new_ones() {
        let mut guests = Guests::new(64, 64);
        for _ in 0..64 {
            let caller = guests.comes("192.0.2.1").unwrap();
            guests.places[caller].1.has_carried_a_caller();
        }
        for n in 0..16 {
            guests.comes_at(&format!("198.51.100.{n}"), lately()).unwrap();
        }
        assert_eq!(guests.closed(), (0..16).collect::<Vec<_>>(), "the one that rests for longest first");
        assert_eq!(guests.comes("192.0.2.2"), None, "a quarter of the places and no more");
    }
}
