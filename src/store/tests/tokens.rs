//! What is known of tokens, and when.

use super::{Place, at_jwt, facts, kept, opaque, used};
use crate::claims::{Grant, NumericDate, TokenFacts};
use crate::clock::settled_in_tests;
use crate::store::{InsertError, Kept, StoreError, TokenKey};
use rusqlite::Connection;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

#[test]
fn a_token_is_found_as_it_was_inserted_also_after_a_restart() {
    let place = Place::new();
    let (key, jwt) = at_jwt(2);
    {
        let store = place.open();
        assert_eq!(store.find(&opaque(1)), Ok(None));
        place.insert(&store, 1, None).unwrap();
        place.runtime.block_on(store.insert(key.clone(), jwt.clone(), None)).unwrap();
        assert_eq!(store.find(&opaque(1)), Ok(Some(facts(1).into())));
    }
    let store = place.open();
    assert_eq!(store.find(&opaque(1)), Ok(Some(facts(1).into())));
    assert_eq!(store.find(&key), Ok(Some(jwt.into())));
}

#[test]
fn an_opaque_token_is_not_found_by_its_jti() {
    let place = Place::new();
    let store = place.open();
    place.insert(&store, 1, None).unwrap();
    let by_jti = TokenKey::AtJwt(facts(1).jti);
    assert_eq!(store.find(&by_jti), Ok(None));
    assert_eq!(place.revoke(&store, by_jti), Ok(false));
    assert!(!store.find(&opaque(1)).unwrap().unwrap().revoked);
}

#[test]
fn key_and_facts_must_agree_and_a_token_has_an_audience() {
    let place = Place::new();
    let store = place.open();
    let (jwt_key, jwt) = at_jwt(1);
    for (key, facts) in [
        (opaque(1), jwt.clone()),
        (jwt_key.clone(), facts(1)),
        (TokenKey::AtJwt("other".parse().unwrap()), jwt.clone()),
        (jwt_key, TokenFacts { grant: Grant { audience: Vec::new(), ..jwt.grant.clone() }, ..jwt }),
    ] {
        let outcome = place.runtime.block_on(store.insert(key, facts, None));
        assert!(matches!(outcome, Err(InsertError::Store(StoreError::Inconsistent(_)))), "{outcome:?}");
    }
}

#[test]
fn a_revocation_is_seen_by_every_thread_as_soon_as_it_returns() {
    let place = Place::new();
    let store = place.open();
    for n in 0..50 {
        place.insert(&store, n, None).unwrap();
        assert!(!store.find(&opaque(n)).unwrap().unwrap().revoked);
        assert_eq!(place.revoke(&store, opaque(n)), Ok(true));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert!(store.find(&opaque(n)).unwrap().unwrap().revoked));
            }
        });
        assert_eq!(place.revoke(&store, opaque(n)), Ok(false));
    }
    let (key, jwt) = at_jwt(99);
    place.runtime.block_on(store.insert(key.clone(), jwt, None)).unwrap();
    assert_eq!(place.revoke(&store, key.clone()), Ok(true));
    assert!(store.find(&key).unwrap().unwrap().revoked);
    assert_eq!(place.revoke(&store, opaque(12345)), Ok(false));
}

#[test]
fn those_who_ask_all_the_time_see_a_revocation_at_once_and_never_lose_sight_of_it() {
    const TOKENS: usize = 40;
    let place = Place::new();
    let store = place.open();
    let tokens = || (0_u64..).take(TOKENS);
    tokens().for_each(|n| place.insert(&store, n, None).unwrap());
    let returned = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut seen = [false; TOKENS];
                loop {
                    let certain = returned.load(Ordering::SeqCst);
                    for (n, seen) in tokens().zip(&mut seen) {
                        let revoked = store.find(&opaque(n)).unwrap().unwrap().revoked;
                        let before = std::mem::replace(seen, revoked);
                        assert!(revoked || (n >= certain && !before), "{n} of {certain}");
                    }
                    if tokens().all(|n| n < certain) {
                        break;
                    }
                }
            });
        }
        for n in tokens() {
            assert_eq!(place.revoke(&store, opaque(n)), Ok(true));
            returned.store(n + 1, Ordering::SeqCst);
            // Others have time to read it again.
            std::thread::sleep(Duration::from_micros(300));
        }
    });
}

#[test]
fn what_another_program_changes_in_the_file_is_seen_within_a_second() {
    let place = Place::new();
    let store = place.open();
    place.insert(&store, 1, None).unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1_200) {
        assert!(!store.find(&opaque(1)).unwrap().unwrap().revoked);
        std::thread::sleep(Duration::from_millis(50));
    }
    let other = Connection::open(place.path()).unwrap();
    other.execute("UPDATE token SET revoked_at = 7", []).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    assert!(store.find(&opaque(1)).unwrap().unwrap().revoked);
    place.insert(&store, 2, None).unwrap();
}

#[test]
fn no_find_leaves_a_read_transaction_open() {
    let place = Place::new();
    let store = place.open();
    place.insert(&store, 1, None).unwrap();
    store.find(&opaque(1)).unwrap();
    store.find(&opaque(2)).unwrap();
    place.insert(&store, 2, None).unwrap();
    // Emptying the log of changes fails as long as anybody reads from it.
    let other = Connection::open(place.path()).unwrap();
    let (busy, pages): (i64, i64) =
        other.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!((busy, pages), (0, 0));
}

#[test]
fn an_assertion_is_used_once_across_restarts() {
    let place = Place::new();
    {
        let store = place.open();
        place.insert(&store, 1, Some(used("a"))).unwrap();
        assert_eq!(place.insert(&store, 2, Some(used("a"))), Err(InsertError::Replayed));
        assert_eq!(store.find(&opaque(2)), Ok(None));
        place.insert(&store, 2, Some(used("A"))).unwrap();
    }
    let store = place.open();
    assert_eq!(place.insert(&store, 3, Some(used("a"))), Err(InsertError::Replayed));
    let mut other = used("a");
    other.issuer = "https://other.example".parse().unwrap();
    place.insert(&store, 3, Some(other)).unwrap();
}

#[test]
fn a_token_that_is_there_already_stays_as_it_was_and_uses_up_nothing() {
    let place = Place::new();
    let store = place.open();
    place.insert(&store, 1, None).unwrap();
    let mut again = facts(1);
    again.grant.subject = "other".parse().unwrap();
    let outcome = place.runtime.block_on(store.insert(opaque(1), again.clone(), Some(used("a"))));
    assert_eq!(outcome, Err(InsertError::Duplicate));
    // Another hash with the same `jti` is no better.
    let outcome = place.runtime.block_on(store.insert(opaque(2), again, Some(used("a"))));
    assert_eq!(outcome, Err(InsertError::Duplicate));
    assert_eq!(store.find(&opaque(1)), Ok(Some(facts(1).into())));
    place.insert(&store, 3, Some(used("a"))).unwrap();
}

#[test]
fn checkpoints_are_kept_for_each_log_and_replaced() {
    let place = Place::new();
    let store = place.open();
    assert_eq!(store.checkpoint("a/log"), Ok(None));
    for (origin, note) in [("a/log", "one\n"), ("b/log", "other\n"), ("a/log", "two\n")] {
        place.runtime.block_on(store.keep_checkpoint(origin.to_owned(), kept(note))).unwrap();
    }
    assert_eq!(store.checkpoint("a/log"), Ok(Some(kept("two\n"))));
    drop(store);
    assert_eq!(place.open().checkpoint("b/log"), Ok(Some(kept("other\n"))));

    // What a decision overrides stays, however often it is told.
    let store = place.open();
    for note in ["three\n", "four\n"] {
        let overridden = Kept { replaced: vec![("two\n".to_owned(), "decision".to_owned())], ..kept(note) };
        place.runtime.block_on(store.keep_checkpoint("a/log".to_owned(), overridden)).unwrap();
    }
    let rows = Connection::open(place.path()).unwrap();
    let rows = rows.query_row("SELECT note, decision FROM replaced_checkpoint", [], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
    });
    assert_eq!(rows, Ok(("two\n".to_owned(), "decision".to_owned())));
}

#[test]
fn what_has_expired_is_forgotten_and_nothing_else() {
    let place = Place::new();
    let store = place.open();
    place.runtime.block_on(async {
        let mut all = JoinSet::new();
        for n in 0..700 {
            let store = store.clone();
            let facts = TokenFacts { expires_at: NumericDate(if n < 600 { 999 } else { 1000 }), ..facts(n) };
            let mut assertion = used(&n.to_string());
            assertion.expires_at = facts.expires_at;
            all.spawn(async move { store.insert(opaque(n), facts, Some(assertion)).await.unwrap() });
        }
        all.join_all().await;
        assert_eq!(store.forget_expired(settled_in_tests(999 + 3600)).await, Ok(0));
        // Also what was read a moment ago.
        assert!(store.find(&opaque(599)).unwrap().is_some());
        assert_eq!(store.forget_expired(settled_in_tests(1000 + 3600)).await, Ok(1200));
    });
    assert_eq!(store.find(&opaque(599)), Ok(None));
    assert!(store.find(&opaque(600)).unwrap().is_some());
    assert_eq!(place.insert(&store, 800, Some(used("600"))), Err(InsertError::Replayed));
}

#[test]
fn a_row_that_something_else_changed_is_an_error_not_an_inactive_token() {
    let place = Place::new();
    let store = place.open();
    place.insert(&store, 1, None).unwrap();
    for change in [
        "granted = json_set(granted, '$.audience', json('[\"x\"]'))",
        "granted = json_set(granted, '$.scope', 'a  b')",
        "granted = json_set(granted, '$.authorization_details', json('[{}]'))",
        "granted = json_set(granted, '$.act', json('{}'))",
        "granted = '{'",
        "jti = ''",
    ] {
        let sql = format!("UPDATE token SET {change}");
        let undamaged = place.on_writer(&store, move |conn| {
            let text: String = conn.query_row("SELECT granted FROM token", [], |row| row.get(0)).unwrap();
            conn.execute(&sql, []).unwrap();
            text
        });
        let found = store.find(&opaque(1));
        assert!(matches!(found, Err(StoreError::Damaged { .. })), "{change}: {found:?}");
        place.on_writer(&store, move |conn| {
            conn.execute("UPDATE token SET granted = ?1, jti = 'jti-1'", [&undamaged]).unwrap()
        });
    }
}
