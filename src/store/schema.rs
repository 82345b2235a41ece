//! The file: its creation, its version, and how each connection is set up.

use super::StoreError;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The migrations: step *n* makes schema version *n* of the version before, the first one of an empty file. Steps are
/// appended and never changed: `tests/version-*.sql` hold each version as it was.
pub(super) const STEPS: [&str; 3] = [VERSION_1, VERSION_2, VERSION_3];

/// The newest schema that this program knows.
#[expect(clippy::cast_possible_wrap, reason = "a few steps")]
pub(super) const VERSION: i64 = STEPS.len() as i64;

/// Tables are STRICT: the engine refuses a value of another type, before a reader meets it.
///
/// `schema_version` has one row for each step that was done. It is a table, not SQLite's `user_version`, so that each
/// program, also an older one, recognizes the file and refuses a newer schema.
///
/// `token.hash` is the SHA-256 of an opaque token, null for an `at+jwt`, which is found by its `jti`. Lists and
/// objects are JSON texts; dates are seconds since 1970.
const VERSION_1: &str = "
CREATE TABLE schema_version (version INTEGER NOT NULL) STRICT;
CREATE TABLE token (
  id INTEGER PRIMARY KEY,
  hash BLOB UNIQUE CHECK (length(hash) = 32),
  jti TEXT NOT NULL UNIQUE,
  format TEXT NOT NULL CHECK (format IN ('opaque', 'at+jwt')),
  client_id TEXT NOT NULL,
  subject TEXT NOT NULL,
  grant_issuer TEXT,
  audience TEXT NOT NULL,
  scope TEXT NOT NULL,
  authorization_details TEXT NOT NULL,
  acr TEXT,
  amr TEXT NOT NULL,
  auth_time INTEGER,
  extra TEXT NOT NULL,
  issued_at INTEGER NOT NULL,
  not_before INTEGER,
  expires_at INTEGER NOT NULL,
  revoked_at INTEGER,
  CHECK ((format = 'opaque') = (hash IS NOT NULL))
) STRICT;
CREATE INDEX token_expires_at ON token (expires_at);
CREATE TABLE used_assertion (
  issuer TEXT NOT NULL,
  jti TEXT NOT NULL,
  expires_at INTEGER NOT NULL,
  PRIMARY KEY (issuer, jti)
) STRICT, WITHOUT ROWID;
CREATE INDEX used_assertion_expires_at ON used_assertion (expires_at);
CREATE TABLE checkpoint (origin TEXT PRIMARY KEY, note TEXT NOT NULL) STRICT, WITHOUT ROWID;
";

/// `clock`: the last time that was trusted, in nanoseconds since 1970, with the boot clock (nanoseconds) and the boot that
/// it was read in. `checkpoint.keys`: verifier keys of the log. `replaced_checkpoint`: checkpoints that an operator's
/// decision has overridden, with the record of the decision.
const VERSION_2: &str = "
CREATE TABLE clock (id INTEGER PRIMARY KEY CHECK (id = 1), time INTEGER NOT NULL, boot INTEGER, boot_id TEXT) STRICT;
ALTER TABLE checkpoint ADD COLUMN keys TEXT NOT NULL DEFAULT '';
CREATE TABLE replaced_checkpoint (
  origin TEXT NOT NULL,
  note TEXT NOT NULL,
  decision TEXT NOT NULL,
  PRIMARY KEY (origin, note)
) STRICT, WITHOUT ROWID;
";

/// `token.granted`: the grant as one JSON object, so that a new fact of a grant needs no column. The texts of before are
/// put together as they are: a row that was damaged stays one, and keeps no other row from being read.
const VERSION_3: &str = r#"
CREATE TABLE token_3 (
  id INTEGER PRIMARY KEY,
  hash BLOB UNIQUE CHECK (length(hash) = 32),
  jti TEXT NOT NULL UNIQUE,
  format TEXT NOT NULL CHECK (format IN ('opaque', 'at+jwt')),
  granted TEXT NOT NULL,
  issued_at INTEGER NOT NULL,
  not_before INTEGER,
  expires_at INTEGER NOT NULL,
  revoked_at INTEGER,
  CHECK ((format = 'opaque') = (hash IS NOT NULL))
) STRICT;
INSERT INTO token_3 SELECT id, hash, jti, format,
  '{"subject":' || json_quote(subject) || ',"client_id":' || json_quote(client_id)
  || ',"origin":' || iif(grant_issuer IS NULL, '"own-right"', '{"assertion":' || json_quote(grant_issuer) || '}')
  || ',"audience":' || audience || ',"scope":' || json_quote(scope) || ',"authorization_details":' || authorization_details
  || ',"authentication":{"acr":' || json_quote(acr) || ',"amr":' || amr || ',"auth_time":' || json_quote(auth_time)
  || '},"extra":' || extra || '}',
  issued_at, not_before, expires_at, revoked_at FROM token;
DROP TABLE token;
ALTER TABLE token_3 RENAME TO token;
CREATE INDEX token_expires_at ON token (expires_at);
"#;

/// Absolute, so that no name can be read as one of SQLite's URIs.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, StoreError> {
    std::path::absolute(path)
        .map_err(|e| StoreError::unusable(path, format!("expected the path of a file: {e}")))
}

/// Makes the file if there is none, with nobody but its owner reading it, and refuses one that others may read:
/// it holds who granted what to whom.
pub(super) fn prepare_file(path: &Path) -> Result<(), StoreError> {
    let io = |doing: &str, e: &io::Error| StoreError::unusable(path, format!("cannot {doing}: {e}"));
    // `create_new`, never a plain open: closing any descriptor of the file drops this process's locks on it.
    match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => {
            // SQLite syncs its journals' directory entries, not that of the main file.
            let directory = path.parent().unwrap_or(Path::new("/"));
            fs::File::open(directory)
                .and_then(|d| d.sync_all())
                .map_err(|e| io("make its directory entry durable", &e))?;
        }
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(io("create it", &e)),
    }
    let about = fs::metadata(path).map_err(|e| io("look at it", &e))?;
    if !about.is_file() {
        return Err(StoreError::unusable(path, "expected a regular file, found something else"));
    }
    let mode = about.mode() & 0o777;
    if mode & 0o077 != 0 {
        let reason = format!("expected mode 0600, found {mode:04o}: others may read it; run chmod 600 on it");
        return Err(StoreError::unusable(path, reason));
    }
    Ok(())
}

/// The one connection that writes, on a file of the schema that this program knows.
pub(super) fn writer(path: &Path) -> Result<Connection, StoreError> {
    let wrong = |e| StoreError::unusable(path, format!("cannot open it: {e}"));
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(path, flags).map_err(wrong)?;
    // SQLite opens what it may not write for reading, and would fail with the first write.
    if conn.is_readonly("main").map_err(wrong)? {
        let reason = "expected a file that can be written, found one that can only be read: look at its owner and mode, \
                      and at how its file system is mounted";
        return Err(StoreError::unusable(path, reason));
    }
    // Another process may hold the lock for a moment: a backup, or a daemon that is just ending.
    conn.busy_timeout(Duration::from_secs(5)).map_err(wrong)?;
    // Before anything is changed: a file that is not ours, or newer than we are, stays as it is.
    version(&conn, path)?;
    let mode: String =
        conn.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0)).map_err(wrong)?;
    if mode != "wal" {
        let reason = format!("expected journal mode wal, found {mode}: put it on a local file system");
        return Err(StoreError::unusable(path, reason));
    }
    (|| {
        // FULL: each commit returns after the log of changes was synced.
        conn.pragma_update(None, "synchronous", "FULL")?;
        conn.pragma_update(None, "temp_store", "MEMORY")?;
        // What was forgotten does not linger in free pages.
        conn.pragma_update(None, "secure_delete", true)?;
        // After a burst the log of changes gives its space back.
        conn.pragma_update(None, "journal_size_limit", 16 << 20)?;
        harden(&conn)
    })()
    .map_err(wrong)?;
    migrate(&mut conn, path)?;
    Ok(conn)
}

/// A connection that only reads, to a file that has a schema. Outside a statement it holds no read transaction, so each
/// statement sees all that was committed before it began.
pub(super) fn reader(path: &Path) -> Result<Connection, StoreError> {
    let wrong = |e| StoreError::unusable(path, format!("cannot open it for reading: {e}"));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(wrong)?;
    (|| {
        // Readers wait for nothing in this mode but another process's recovery; they hold up a runtime thread.
        conn.busy_timeout(Duration::from_millis(250))?;
        // KiB a connection. No mmap: a disk that fails under it would end the process with SIGBUS.
        conn.pragma_update(None, "cache_size", -4096)?;
        harden(&conn)
    })()
    .map_err(wrong)?;
    if version(&conn, path)? == 0 {
        return Err(StoreError::unusable(path, "expected the state of a service, found an empty file"));
    }
    Ok(conn)
}

fn harden(conn: &Connection) -> rusqlite::Result<()> {
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.pragma_update(None, "cell_size_check", true)
}

/// Version of the file's schema, 0 for an empty file. Refuses another program's database, and a newer schema.
fn version(conn: &Connection, path: &Path) -> Result<i64, StoreError> {
    let read = |sql| {
        let wrong = |e| StoreError::unusable(path, format!("cannot read its schema: {e}"));
        conn.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(wrong)
    };
    if read("SELECT count(*) FROM sqlite_schema")? == 0 {
        return Ok(0);
    }
    if read("SELECT count(*) FROM sqlite_schema WHERE name = 'schema_version' AND type = 'table'")? == 0 {
        let reason =
            "expected a state store of chancery or no file, found another database; name another file";
        return Err(StoreError::unusable(path, reason));
    }
    match read("SELECT coalesce(max(version), 0) FROM schema_version")? {
        found if found > VERSION => Err(StoreError::Newer { path: path.to_owned(), found, known: VERSION }),
        found if found < 1 => {
            let reason =
                format!("expected a schema version from 1 to {VERSION}, found {found}; put back a copy");
            Err(StoreError::unusable(path, reason))
        }
        found => Ok(found),
    }
}

/// Takes the file to [`VERSION`] in one transaction: a crash leaves the file as it was or whole.
fn migrate(conn: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let wrong = |e| StoreError::unusable(path, format!("cannot take its schema to version {VERSION}: {e}"));
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(wrong)?;
    let found = version(&transaction, path)?;
    for (to, step) in (1..).zip(STEPS).filter(|(to, _)| *to > found) {
        transaction.execute_batch(step).map_err(wrong)?;
        transaction.execute("INSERT INTO schema_version (version) VALUES (?1)", [to]).map_err(wrong)?;
    }
    transaction.commit().map_err(wrong)
}
