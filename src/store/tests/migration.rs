//! Files of every schema version: `version-N.sql` holds what version N added, as it was then, with rows.

use super::{Place, facts, kept, opaque, used};
use crate::claims::{Grant, NumericDate, Origin, TokenFacts, TokenFormat};
use crate::clock::{Mark, Timestamp};
use crate::store::schema::STEPS;
use crate::store::{InsertError, Kept, StoreError, TokenKey};
use rusqlite::Connection;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const VERSIONS: [&str; STEPS.len()] =
    [include_str!("version-1.sql"), include_str!("version-2.sql"), include_str!("version-3.sql")];

/// Makes a file of an older version at `path`.
pub(super) fn older_file(path: &Path, version: usize) -> Connection {
    let conn = Connection::open(path).unwrap();
    conn.pragma_update(None, "journal_mode", "wal").unwrap();
    VERSIONS.iter().take(version).for_each(|sql| conn.execute_batch(sql).unwrap());
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    conn
}

/// The schema, and the steps that were done.
fn schema(path: &Path) -> (Vec<String>, Vec<i64>) {
    let conn = Connection::open(path).unwrap();
    let mut tables =
        conn.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name").unwrap();
    let mut steps = conn.prepare("SELECT version FROM schema_version ORDER BY version").unwrap();
    let tables = tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    (tables, steps.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect())
}

#[test]
fn a_file_of_each_older_version_keeps_its_rows_and_works_as_a_new_one() {
    let fresh = Place::new();
    drop(fresh.open());
    for version in 1..=VERSIONS.len() {
        let place = Place::new();
        drop(older_file(&place.path(), version));
        let store = place.open();
        assert_eq!(schema(&place.path()), schema(&fresh.path()), "from version {version}");

        // Tokens.
        let jwt = TokenKey::AtJwt("jwt".parse().unwrap());
        assert_eq!(store.find(&opaque(0)), Ok(Some(facts(0).into())));
        let expected = TokenFacts {
            format: TokenFormat::AtJwt,
            jti: "jwt".parse().unwrap(),
            grant: Grant {
                audience: vec!["https://payments.bank.example".parse().unwrap()],
                ..Grant::new("shop".parse().unwrap(), "shop".parse().unwrap(), Origin::OwnRight)
            },
            issued_at: NumericDate(101),
            not_before: Some(NumericDate(102)),
            expires_at: NumericDate(1001),
            revoked: true,
        };
        assert_eq!(store.find(&jwt), Ok(Some(expected.into())));
        assert_eq!(place.revoke(&store, jwt), Ok(false));
        assert_eq!(place.revoke(&store, opaque(0)), Ok(true));

        // Used assertions.
        assert_eq!(place.insert(&store, 1, Some(used("a"))), Err(InsertError::Replayed));
        assert_eq!(place.insert(&store, 1, Some(used("b"))), Ok(()));

        // The log's checkpoint and the clock: version 1 had neither keys nor a time, only those of its tokens.
        let keys = if version < 2 { "" } else { "key of note" };
        assert_eq!(store.checkpoint("log"), Ok(Some(Kept { keys: keys.to_owned(), ..kept("note") })));
        let (seconds, boot) = if version < 2 { (101, None) } else { (300, Some((7, "boot".to_owned()))) };
        let mark = Mark { time: Timestamp::from_unix_seconds(seconds), boot, at_least: false };
        assert_eq!(store.clock(), Ok(Some(mark)));
        place.runtime.block_on(store.keep_checkpoint("log".to_owned(), kept("newer"))).unwrap();
        assert_eq!(store.checkpoint("log"), Ok(Some(kept("newer"))));
    }
}

#[test]
fn a_migration_that_fails_leaves_the_file_as_it_was() {
    let place = Place::new();
    older_file(&place.path(), 1).execute_batch("CREATE TABLE replaced_checkpoint (x)").unwrap();
    let before = schema(&place.path());
    let error = crate::store::Store::open(&place.path()).err().unwrap();
    assert!(matches!(error, StoreError::Unusable { .. }), "{error}");
    assert!(error.to_string().contains("cannot take its schema to version"), "{error}");
    assert_eq!(schema(&place.path()), before);
}

#[test]
fn a_row_that_was_damaged_before_a_migration_is_still_an_error_and_the_others_are_read() {
    let place = Place::new();
    older_file(&place.path(), 2).execute_batch("UPDATE token SET extra = '{' WHERE jti = 'jti-0'").unwrap();
    let store = place.open();
    let found = store.find(&opaque(0));
    assert!(matches!(found, Err(StoreError::Damaged { .. })), "{found:?}");
    assert!(store.find(&TokenKey::AtJwt("jwt".parse().unwrap())).unwrap().is_some());
}
