//! What readiness is told of the writes.

use super::{Place, facts, opaque, used};
use crate::claims::NumericDate;
use crate::store::{Store, StoreError};
use std::fs;
use std::time::{Duration, Instant};

fn until(store: &Store, wanted: impl Fn(&Result<(), StoreError>) -> bool) -> Result<(), StoreError> {
    let began = Instant::now();
    loop {
        let found = store.check();
        if wanted(&found) {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(45), "{found:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_file_that_was_moved_away_or_replaced_takes_no_write_until_it_is_back() {
    let place = Place::new();
    let store = place.open();
    place.insert(&store, 1, None).unwrap();
    assert_eq!(store.check(), Ok(()));
    let away = place.directory.path().join("away.db");
    fs::rename(place.path(), &away).unwrap();
    // Seen without any write.
    until(&store, Result::is_err).unwrap_err();
    for other in [false, true] {
        if other {
            fs::write(place.path(), "").unwrap();
        }
        let refused = place.insert(&store, 2, None).unwrap_err().to_string();
        assert!(refused.contains("expected the file that was opened at the start"), "{refused}");
        assert!(place.revoke(&store, opaque(1)).is_err(), "a revocation that would be lost is not promised");
    }
    assert_eq!(store.find(&opaque(1)), Ok(Some(facts(1).into())), "what is known is read all the same");
    fs::rename(&away, place.path()).unwrap();
    until(&store, Result::is_ok).unwrap();
    place.insert(&store, 2, None).unwrap();
    assert_eq!(place.revoke(&store, opaque(1)), Ok(true));
}

#[test]
fn a_full_disk_is_told_until_a_token_would_fit_whatever_smaller_writes_succeed() {
    let place = Place::new();
    let store = place.open();
    place.insert(&store, 0, None).unwrap();
    let limit = |most: i64| {
        place.on_writer(&store, move |conn| {
            let pages: i64 = conn.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
            conn.pragma_update_and_check(None, "max_page_count", pages + most, |row| row.get::<_, i64>(0))
                .unwrap();
        });
    };
    limit(0);
    let full = (1..1000).find(|n| place.insert(&store, *n, Some(used(&n.to_string()))).is_err());
    assert!(full.is_some(), "never full");
    assert!(matches!(store.check(), Err(StoreError::Full { .. })), "{:?}", store.check());
    assert_eq!(place.runtime.block_on(store.revoke(opaque(0), NumericDate(500))), Ok(true));
    assert!(matches!(store.check(), Err(StoreError::Full { .. })), "{:?}", store.check());
    limit(1_000_000);
    // By itself.
    until(&store, Result::is_ok).unwrap();
}

#[test]
fn a_commit_that_does_not_return_is_told() {
    let place = Place::new();
    let store = place.open();
    let held = place.hold(&store);
    assert_eq!(store.check(), Ok(()), "a commit takes its time");
    let found = until(&store, Result::is_err);
    assert!(matches!(found, Err(StoreError::Stalled { .. })), "{found:?}");
    drop(held);
    until(&store, Result::is_ok).unwrap();
}
