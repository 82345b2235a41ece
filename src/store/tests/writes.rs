//! How writes share a commit, fail and come back.

use super::{Place, facts, opaque, used};
use crate::claims::NumericDate;
use crate::store::{InsertError, QUEUE, Store, StoreError};
use std::fs;
use tempfile::TempDir;
use tokio::task::JoinSet;

#[test]
fn of_the_same_assertion_in_one_batch_exactly_one_is_used_and_others_do_not_suffer() {
    let place = Place::new();
    let store = place.open();
    let held = place.hold(&store);
    let outcomes = place.runtime.block_on(async {
        let mut all = JoinSet::new();
        for n in 0..100 {
            let store = store.clone();
            let jti = if n % 2 == 0 { "same".to_owned() } else { format!("own-{n}") };
            all.spawn(async move { (n, store.insert(opaque(n), facts(n), Some(used(&jti))).await) });
        }
        tokio::task::yield_now().await;
        drop(held);
        all.join_all().await
    });
    let (same, own): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(|(n, _)| n % 2 == 0);
    assert!(own.iter().all(|(_, outcome)| outcome.is_ok()));
    assert_eq!(same.iter().filter(|(_, outcome)| outcome.is_ok()).count(), 1);
    for (n, outcome) in &same {
        assert_eq!(store.find(&opaque(*n)).unwrap().is_some(), outcome.is_ok());
    }
}

#[test]
fn writes_that_wait_share_one_commit() {
    let place = Place::new();
    let store = place.open();
    let held = place.hold(&store);
    let before = store.commits();
    place.runtime.block_on(async {
        let mut all = JoinSet::new();
        let (queued, mut seen) = tokio::sync::mpsc::unbounded_channel();
        for n in 0..100 {
            let (store, queued) = (store.clone(), queued.clone());
            all.spawn(async move {
                let insert = store.insert(opaque(n), facts(n), None);
                let mut insert = std::pin::pin!(insert);
                // Polled once it is in the queue.
                std::future::poll_fn(|cx| {
                    assert!(insert.as_mut().poll(cx).is_pending());
                    std::task::Poll::Ready(())
                })
                .await;
                queued.send(()).unwrap();
                insert.await
            });
        }
        for _ in 0..100 {
            seen.recv().await.unwrap();
        }
        drop(held);
        assert!(all.join_all().await.into_iter().all(|outcome| outcome.is_ok()));
    });
    // The one that was held, and one for all hundred.
    assert_eq!(store.commits() - before, 2);
}

#[test]
fn a_full_queue_is_said_at_once() {
    let place = Place::new();
    let store = place.open();
    let held = place.hold(&store);
    let waiting: Vec<_> = (0..QUEUE as u64)
        .map(|n| {
            let mut insert = Box::pin({
                let store = store.clone();
                async move { store.insert(opaque(n), facts(n), None).await }
            });
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(insert.as_mut().poll(&mut cx).is_pending());
            insert
        })
        .collect();
    let outcome = place.insert(&store, 9999, None);
    assert_eq!(outcome, Err(InsertError::Store(StoreError::Busy)));
    drop(held);
    place.runtime.block_on(async {
        for insert in waiting {
            insert.await.unwrap();
        }
    });
    place.insert(&store, 9999, None).unwrap();
}

#[test]
fn a_write_whose_caller_went_away_is_done_all_the_same() {
    let place = Place::new();
    {
        let store = place.open();
        let held = place.hold(&store);
        let mut insert = Box::pin(store.insert(opaque(1), facts(1), None));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(insert.as_mut().poll(&mut cx).is_pending());
        drop(insert);
        drop(held);
    }
    assert_eq!(place.open().find(&opaque(1)), Ok(Some(facts(1).into())));
}

#[test]
fn what_was_answered_is_on_disk_before_anything_is_closed() {
    let place = Place::new();
    let store = place.open();
    place.insert(&store, 1, Some(used("a"))).unwrap();
    place.revoke(&store, opaque(1)).unwrap();
    // The files as a crash would leave them.
    let crashed = TempDir::new().unwrap();
    for name in ["state.db", "state.db-wal"] {
        fs::copy(place.directory.path().join(name), crashed.path().join(name)).unwrap();
    }
    let after = Store::open(&crashed.path().join("state.db")).unwrap();
    assert!(after.find(&opaque(1)).unwrap().unwrap().revoked);
    assert_eq!(place.insert(&after, 2, Some(used("a"))), Err(InsertError::Replayed));
    let synchronous: i64 = place
        .on_writer(&store, |conn| conn.pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap());
    assert_eq!(synchronous, 2, "FULL");
}

#[test]
fn a_full_disk_fails_the_write_spares_revocations_and_heals_when_space_returns() {
    let place = Place::new();
    let store = place.open();
    place.insert(&store, 0, None).unwrap();
    place.on_writer(&store, |conn| {
        let pages: i64 = conn.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        let most: i64 =
            conn.pragma_update_and_check(None, "max_page_count", pages + 4, |row| row.get(0)).unwrap();
        assert_eq!(most, pages + 4);
    });
    let mut inserted = 1;
    let error = loop {
        match place.insert(&store, inserted, Some(used(&inserted.to_string()))) {
            Ok(()) => inserted += 1,
            Err(error) => break error,
        }
        assert!(inserted < 1000, "never full");
    };
    assert_eq!(error, InsertError::Store(StoreError::Full { doing: "insert a token" }));
    assert_eq!(store.find(&opaque(inserted)), Ok(None), "nothing of a failed write is there");

    // In one transaction with inserts that cannot be, a revocation still succeeds.
    let held = place.hold(&store);
    let (full, revoked) = place.runtime.block_on(async {
        let inserts: Vec<_> = (5000..5050)
            .map(|n| {
                let store = store.clone();
                tokio::spawn(async move { store.insert(opaque(n), facts(n), None).await })
            })
            .collect();
        let revoked = {
            let store = store.clone();
            tokio::spawn(async move { store.revoke(opaque(0), NumericDate(500)).await })
        };
        tokio::task::yield_now().await;
        drop(held);
        let mut full = 0;
        for insert in inserts {
            full += usize::from(insert.await.unwrap().is_err());
        }
        (full, revoked.await.unwrap())
    });
    assert!(full > 0);
    assert_eq!(revoked, Ok(true));
    assert!(store.find(&opaque(0)).unwrap().unwrap().revoked);

    place.on_writer(&store, |conn| {
        conn.pragma_update_and_check(None, "max_page_count", 1_000_000, |row| row.get::<_, i64>(0)).unwrap();
    });
    place.insert(&store, inserted, Some(used(&inserted.to_string()))).unwrap();
    assert_eq!(store.find(&opaque(inserted)), Ok(Some(facts(inserted).into())));
}
