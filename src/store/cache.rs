//! What was read of active use lately, so that a token that is asked about again and again is not parsed again and
//! again. It never says other than what we last wrote into the file; what another program writes is heard of later.
//!
//! Whoever is about to change rows takes a [`Change`] first and keeps it until the commit: it takes the rows out, and
//! as long as it lives nothing new comes in. Nor does what was read from the file before it began: it may be older than
//! the commit. So an entry is at every moment what the file says, and a [`super::Store::find`] may take either.

use super::TokenKey;
use crate::claims::TokenFacts;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of memory that entries may take, by estimate, in each of the two halves.
const HALF: usize = 4 << 20;

/// An entry without its texts: its keys, its place in the maps, what the allocator adds.
const ENTRY: usize = 1 << 10;

/// Bytes of memory for each byte that a row has of text, at most: short texts are boxed and lists have spare places.
const TEXT: usize = 8;

/// The cache. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Cache(Arc<Mutex<Halves>>);

/// Two halves: new entries go into `young`; when it is full it becomes `old` and what was old is forgotten. An entry
/// of `old` that is asked for becomes young again, so that what is used stays.
#[derive(Default)]
struct Halves {
    young: HashMap<TokenKey, Entry>,
    old: HashMap<TokenKey, Entry>,
    young_bytes: usize,
    /// Changes that began: what was read before the last one must not come in.
    began: u64,
    /// Changes that have not ended.
    under_way: usize,
}

struct Entry {
    facts: Arc<TokenFacts>,
    bytes: usize,
}

/// What [`Cache::get`] found.
pub(super) enum Lookup {
    /// What the file says.
    Known(Arc<TokenFacts>),
    /// Read the file; what it says may be kept with the ticket.
    Unknown(Ticket),
}

/// The state of the cache before the file was read; `None` while something changes.
pub(super) struct Ticket(Option<u64>);

impl Cache {
    pub(super) fn get(&self, key: &TokenKey) -> Lookup {
        let mut halves = self.halves();
        if let Some(entry) = halves.young.get(key) {
            return Lookup::Known(Arc::clone(&entry.facts));
        }
        if let Some((key, entry)) = halves.old.remove_entry(key) {
            let facts = Arc::clone(&entry.facts);
            halves.insert(key, entry);
            return Lookup::Known(facts);
        }
        Lookup::Unknown(Ticket((halves.under_way == 0).then_some(halves.began)))
    }

    /// Keeps what was read from the file after the ticket was given; `text` bytes of it are text. Unless a change
    /// began since.
    pub(super) fn keep(&self, Ticket(ticket): Ticket, key: TokenKey, facts: Arc<TokenFacts>, text: usize) {
        let Some(began) = ticket else { return };
        let bytes = text.saturating_mul(TEXT).saturating_add(ENTRY);
        let mut halves = self.halves();
        if halves.began == began {
            halves.insert(key, Entry { facts, bytes });
        }
    }

    /// Before rows change: to be taken before the write is queued and dropped after its commit or failure.
    pub(super) fn change(&self, affects: impl Fn(&TokenKey, &TokenFacts) -> bool) -> Change {
        let mut halves = self.halves();
        halves.began += 1;
        halves.under_way += 1;
        let stays = |key: &TokenKey, entry: &mut Entry| !affects(key, &entry.facts);
        halves.young.retain(stays);
        halves.old.retain(stays);
        halves.young_bytes = halves.young.values().map(|entry| entry.bytes).sum();
        drop(halves);
        Change(self.clone())
    }

    /// As [`Self::change`], for one row.
    pub(super) fn change_one(&self, key: &TokenKey) -> Change {
        let mut halves = self.halves();
        halves.began += 1;
        halves.under_way += 1;
        let young = halves.young.remove(key);
        halves.young_bytes -= young.map_or(0, |entry| entry.bytes);
        halves.old.remove(key);
        drop(halves);
        Change(self.clone())
    }

    fn halves(&self) -> MutexGuard<'_, Halves> {
        // No line under the lock can panic half-way through a change of the maps but for want of memory, which aborts.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Halves {
    fn insert(&mut self, key: TokenKey, entry: Entry) {
        if entry.bytes > HALF {
            return;
        }
        if self.young_bytes + entry.bytes > HALF {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += entry.bytes;
        if let Some(before) = self.young.insert(key, entry) {
            self.young_bytes -= before.bytes;
        }
    }
}

/// Some rows change: they are not here, and nothing comes in.
pub(super) struct Change(Cache);

impl Drop for Change {
    fn drop(&mut self) {
        self.0.halves().under_way -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{facts, opaque};
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn keep(cache: &Cache, n: u64, text: usize) {
        if let Lookup::Unknown(ticket) = cache.get(&opaque(n)) {
            cache.keep(ticket, opaque(n), facts(n).into(), text);
        }
    }

    fn knows(cache: &Cache, n: u64) -> bool {
        matches!(cache.get(&opaque(n)), Lookup::Known(_))
    }

    fn estimate(cache: &Cache) -> usize {
        let halves = cache.halves();
        let bytes = |half: &HashMap<TokenKey, Entry>| half.values().map(|entry| entry.bytes).sum::<usize>();
        assert_eq!(halves.young_bytes, bytes(&halves.young));
        bytes(&halves.young) + bytes(&halves.old)
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_is_forgotten_within_bounds() {
        let cache = Cache::default();
        for n in 0..50_000 {
            keep(&cache, n, 100);
            assert!(n == 0 || knows(&cache, 0), "{n}");
            assert!(n % 1_000 != 0 || estimate(&cache) <= 2 * HALF);
        }
        assert!(knows(&cache, 49_999) && !knows(&cache, 1));
        keep(&cache, 50_000, HALF);
        assert!(!knows(&cache, 50_000), "larger than all the room");
    }

    #[test]
    fn what_was_read_before_a_change_began_or_while_it_lasts_is_not_kept() {
        let cache = Cache::default();
        let Lookup::Unknown(before) = cache.get(&opaque(1)) else { panic!("known") };
        let change = cache.change_one(&opaque(1));
        let Lookup::Unknown(during) = cache.get(&opaque(1)) else { panic!("known") };
        cache.keep(before, opaque(1), facts(1).into(), 0);
        drop(change);
        cache.keep(during, opaque(1), facts(1).into(), 0);
        assert!(!knows(&cache, 1));
        keep(&cache, 1, 0);
        assert!(knows(&cache, 1));
    }

    #[test]
    fn a_change_of_many_takes_out_those_and_no_others() {
        let cache = Cache::default();
        (0..10).for_each(|n| keep(&cache, n, 0));
        drop(cache.change(|key, facts| *key == opaque(3) || facts.jti.as_str() == "jti-4"));
        let known: Vec<_> = (0..10).filter(|n| knows(&cache, *n)).collect();
        assert_eq!(known, [0, 1, 2, 5, 6, 7, 8, 9]);
        assert_eq!(estimate(&cache), known.len() * ENTRY);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Look(u64),
        Keep(usize),
        Begin(u64),
        BeginMany(u64),
        Commit(usize),
        End(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let n = 0..4_u64;
        prop_oneof![
            4 => n.clone().prop_map(Step::Look),
            4 => (0..8_usize).prop_map(Step::Keep),
            2 => n.clone().prop_map(Step::Begin),
            1 => n.prop_map(Step::BeginMany),
            2 => (0..8_usize).prop_map(Step::Commit),
            3 => (0..8_usize).prop_map(Step::End),
        ]
    }

    proptest! {
        /// Readers that read at any moment and keep at any later one, and writers in any order between: an entry is
        /// never other than the file.
        #[test]
        fn an_entry_is_at_every_moment_what_the_file_says(steps in proptest::collection::vec(step(), 1..80)) {
            let cache = Cache::default();
            let mut revoked = HashSet::new();
            let mut read: Vec<(Ticket, u64, Arc<TokenFacts>)> = Vec::new();
            let mut changes: Vec<(Vec<u64>, Change)> = Vec::new();
            for step in steps {
                match step {
                    Step::Look(n) => if let Lookup::Unknown(ticket) = cache.get(&opaque(n)) {
                        let row = TokenFacts { revoked: revoked.contains(&n), ..facts(n) };
                        read.push((ticket, n, row.into()));
                    },
                    Step::Keep(i) if i < read.len() => {
                        let (ticket, n, facts) = read.swap_remove(i);
                        cache.keep(ticket, opaque(n), facts, 10);
                    }
                    Step::Begin(n) => changes.push((vec![n], cache.change_one(&opaque(n)))),
                    Step::BeginMany(n) => {
                        let change = cache.change(|key, _| *key == opaque(n) || *key == opaque(n + 1));
                        changes.push((vec![n, n + 1], change));
                    }
                    Step::Commit(i) => if let Some((rows, _)) = changes.get(i) {
                        revoked.extend(rows.iter().copied());
                    },
                    Step::End(i) if i < changes.len() => drop(changes.swap_remove(i)),
                    Step::Keep(_) | Step::End(_) => {}
                }
                for n in 0..5 {
                    if let Lookup::Known(facts) = cache.get(&opaque(n)) {
                        prop_assert_eq!(facts.revoked, revoked.contains(&n));
                    }
                }
            }
        }
    }
}
