//! Which files are opened, and who may read them.

use super::{Place, kept};
use crate::store::schema::VERSION;
use crate::store::{Store, StoreError};
use rusqlite::Connection;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

fn refused(path: &Path) -> StoreError {
    Store::open(path).err().unwrap()
}

#[test]
fn only_its_owner_may_read_the_files() {
    let place = Place::new();
    let store = place.open();
    place.insert(&store, 1, None).unwrap();
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        let mode = fs::metadata(place.directory.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    drop(store);
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o640)).unwrap();
    assert!(refused(&place.path()).to_string().contains("expected mode 0600, found 0640"));
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let place = Place::new();
    drop(place.open());
    let conn = Connection::open(place.path()).unwrap();
    conn.execute("INSERT INTO schema_version VALUES (?1)", [VERSION + 1]).unwrap();
    drop(conn);
    let before = fs::read(place.path()).unwrap();
    let error = refused(&place.path());
    assert_eq!(error, StoreError::Newer { path: place.path(), found: VERSION + 1, known: VERSION });
    assert!(error.to_string().contains("start the version of chancery that wrote it, or a later one"));
    assert_eq!(fs::read(place.path()).unwrap(), before);
    // Nor is it copied or read by a command.
    let copied = Store::copy(&place.path(), &place.directory.path().join("copy.db"));
    assert_eq!(copied, Err(error.clone()));
    assert_eq!(Store::checkpoint_in(&place.path(), "log"), Err(error));
}

#[test]
fn a_file_that_another_daemon_has_open_is_waited_for_and_then_refused() {
    let place = Place::new();
    let store = place.open();
    assert!(refused(&place.path()).to_string().contains("another process holds it"));
    place.insert(&store, 1, None).unwrap();
    let ending = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        drop(store);
    });
    drop(place.open());
    ending.join().unwrap();
}

#[test]
fn a_schema_without_version_is_refused() {
    let place = Place::new();
    drop(place.open());
    Connection::open(place.path()).unwrap().execute("DELETE FROM schema_version", []).unwrap();
    assert!(refused(&place.path()).to_string().contains("expected a schema version from 1"));
}

#[test]
fn what_is_no_state_store_is_refused_and_left_alone() {
    let place = Place::new();
    let other = place.directory.path().join("other.db");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE mine (x)").unwrap();
    let text = place.directory.path().join("text");
    fs::write(&text, "not a database, but long enough to be looked at as one".repeat(20)).unwrap();
    for path in [&other, &text] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        let before = fs::read(path).unwrap();
        assert!(matches!(refused(path), StoreError::Unusable { .. }));
        assert_eq!(fs::read(path).unwrap(), before);
    }
    assert!(refused(place.directory.path()).to_string().contains("expected a regular file"));
    assert!(
        refused(&place.directory.path().join("no/such/state.db")).to_string().contains("cannot create it")
    );
}

#[test]
fn the_kept_checkpoint_is_read_from_a_file_that_a_daemon_has_open() {
    let place = Place::new();
    let store = place.open();
    assert_eq!(Store::checkpoint_in(&place.path(), "log"), Ok(None));
    place.runtime.block_on(store.keep_checkpoint("log".to_owned(), kept("note"))).unwrap();
    assert_eq!(Store::checkpoint_in(&place.path(), "log"), Ok(Some("note".to_owned())));
    drop(store);
    assert_eq!(
        Store::checkpoint_in(&place.path(), "log"),
        Ok(Some("note".to_owned())),
        "and when it has ended"
    );
}

#[test]
fn a_copy_is_one_moment_of_a_file_that_is_being_written_and_only_its_owner_may_read_it() {
    let place = Place::new();
    let store = place.open();
    let to = place.directory.path().join("copy.db");
    let kept = |n: u64| place.runtime.block_on(store.keep_checkpoint("log".to_owned(), kept(&n.to_string())));
    std::thread::scope(|scope| {
        // A token and the checkpoint that names it, again and again.
        let writing = scope.spawn(|| {
            for n in 0..400 {
                place.insert(&store, n, None).unwrap();
                kept(n).unwrap();
            }
        });
        for _ in 0..5 {
            let _ = fs::remove_file(&to);
            Store::copy(&place.path(), &to).unwrap();
            let copy = Connection::open(&to).unwrap();
            let count = |sql| copy.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
            let (tokens, named) = (
                count("SELECT count(*) FROM token"),
                count("SELECT coalesce(max(CAST(note AS INTEGER) + 1), 0) FROM checkpoint"),
            );
            assert!(tokens == named || tokens == named + 1, "{tokens} tokens, {named} named");
        }
        writing.join().unwrap();
    });
    assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!place.directory.path().join("copy.db-wal").exists());
    drop(store);
    // It opens as the state of a service.
    drop(Store::open(&to).unwrap());
}

#[test]
fn a_copy_is_refused_of_what_is_no_state_and_over_what_is_there() {
    let place = Place::new();
    let to = place.directory.path().join("copy.db");
    assert!(Store::copy(&place.path(), &to).unwrap_err().to_string().contains("found no file"));
    fs::write(place.path(), "").unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(Store::copy(&place.path(), &to).unwrap_err().to_string().contains("an empty file"));
    assert!(!to.exists());
    drop(place.open());
    fs::write(&to, "somebody's").unwrap();
    assert!(Store::copy(&place.path(), &to).is_err());
    assert_eq!(fs::read(&to).unwrap(), b"somebody's");
}
