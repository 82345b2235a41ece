//! Facts about tokens: what was granted, what was revoked, which assertions were used up. SQLite on one node.
//!
//! ```text
//! find   ── caller's thread ── what was read lately, or else a connection that only reads ─┐
//!                                                                                          ├── state.db (WAL)
//! insert ┐                                                                                 │
//! revoke ├─ queue (1,024) ── one thread, one transaction and one sync for all that wait ───┘
//! …      ┘
//! ```
//!
//! * One process of ours has the file at a time. What another program changes in it is seen within a
//!   second, or when a commit that waits for the disk is done.
//! * A write whose future returned `Ok` is on disk, and every [`Store::find`] that begins later sees it.
//! * Opaque tokens are known by their SHA-256 only; an `at+jwt` is known by its `jti`.
//! * A failed write is its caller's error and changes nothing else: later writes work again when the disk does.
//!   [`Store::check`] fails until then.
//! * Nothing is written to a file that its path does not lead to any more: it would be gone with the process.
//! * A row that does not read back as written is an error, never an inactive token and never a guess.

mod alone;
mod cache;
mod error;
mod health;
mod readers;
mod row;
mod schema;
#[cfg(test)]
mod tests;
mod writer;

pub use error::{InsertError, StoreError};

use crate::claims::{Issuer, Jti, NumericDate, TokenFacts, TokenHash};
use crate::clock::{Mark, Settled, Timestamp};
use alone::Alone;
use cache::{Cache, Lookup};
use health::{Health, Identity};
use readers::Readers;
use row::TokenRow;
use rusqlite::{Connection, OptionalExtension, params};
use std::path::Path;
use std::sync::Arc;
use writer::Writer;

/// Writes that may wait; one more gets [`StoreError::Busy`].
const QUEUE: usize = 1024;

/// Rows that one step of [`Store::forget_expired`] deletes at most, so that other writes come between.
const STEP: u32 = 500;

/// Seconds that a token or a used assertion is kept after its end: further than clocks of honest parties differ, and than
/// a clock can be moved within its tolerance.
const KEPT: i64 = 3600;

/// How a token is found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TokenKey {
    /// An opaque token by the SHA-256 of its text.
    Opaque(TokenHash),
    /// An `at+jwt` by its `jti`, once its signature was found to be ours.
    AtJwt(Jti),
}

/// The assertion that a token was issued for: used up together with the token's insertion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedAssertion {
    /// Its `iss`; a `jti` is unique for one issuer only (RFC 7519 §4.1.7).
    pub issuer: Issuer,
    /// Its `jti`.
    pub jti: Jti,
    /// Its `exp`: afterwards it is refused for its age and may be forgotten here.
    pub expires_at: NumericDate,
}

/// What is remembered of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// Its newest checkpoint, a signed note.
    pub note: String,
    /// Its verifier keys, one on each line.
    pub keys: String,
    /// To be kept as well: checkpoints that a recorded decision has overridden, each with the record.
    pub replaced: Vec<(String, String)>,
}

/// The state of tokens. Clones share one file, one writing thread and one set of readers; dropping the last one
/// waits until all queued writes are done.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    // Dropped first, so that the writer closes the file as the last one and empties the log of changes.
    readers: Readers,
    writer: Writer,
    cache: Cache,
    health: Arc<Health>,
    // Dropped last: others come when all is closed.
    _alone: Alone,
}

impl Store {
    /// Opens the file at `path`; makes it with mode 0600 if there is none (its directory must be there).
    ///
    /// Refuses a file that others may read, one that another daemon has open, one that cannot be written, another
    /// program's database, and a newer schema.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let path = schema::absolute(path)?;
        schema::prepare_file(&path)?;
        let alone = Alone::with(&path)?;
        let connection = schema::writer(&path)?;
        let readers = Readers::open(&path)?;
        let cache = Cache::default();
        let identity = Identity::of(&path, alone.file())
            .map_err(|e| StoreError::unusable(&path, format!("cannot look at it: {e}")))?;
        let health = Arc::new(Health::default());
        let writer = Writer::start(connection, cache.clone(), identity, Arc::clone(&health))
            .map_err(|e| StoreError::unusable(&path, format!("cannot start the thread that writes: {e}")))?;
        Ok(Self { inner: Arc::new(Inner { readers, writer, cache, health, _alone: alone }) })
    }

    /// An error when tokens cannot be looked up, or when a write would fail or wait: as the last writes went, and a trial
    /// each second after one that failed. Waits for no write.
    pub fn check(&self) -> Result<(), StoreError> {
        self.find(&TokenKey::Opaque(TokenHash([0; 32])))?;
        self.inner.health.check()
    }

    /// What is known of a token; `None` if it is unknown or forgotten. Runs on the caller's thread in a few
    /// microseconds; sees every write whose future has returned.
    pub fn find(&self, key: &TokenKey) -> Result<Option<Arc<TokenFacts>>, StoreError> {
        let ticket = match self.inner.cache.get(key) {
            Lookup::Known(facts) => return Ok(Some(facts)),
            Lookup::Unknown(ticket) => ticket,
        };
        let found = self.read("look up a token", |conn| match key {
            TokenKey::Opaque(hash) => conn.prepare_cached(row::FIND_OPAQUE)?.query_row([hash.0], row::facts),
            TokenKey::AtJwt(jti) => {
                conn.prepare_cached(row::FIND_AT_JWT)?.query_row([jti.as_str()], row::facts)
            }
        })?;
        let Some(row::Found { facts, text }) = found else { return Ok(None) };
        let facts = Arc::new(facts);
        self.inner.cache.keep(ticket, key.clone(), Arc::clone(&facts), text);
        Ok(Some(facts))
    }

    /// Uses up the assertion, if there is one, and inserts the token: both durable on return, or neither done.
    pub async fn insert(
        &self,
        key: TokenKey,
        facts: TokenFacts,
        used: Option<UsedAssertion>,
    ) -> Result<(), InsertError> {
        let row = TokenRow::new(key, facts)?;
        self.inner.writer.write("insert a token", move |conn| insert(conn, &row, used.as_ref())).await?
    }

    /// Revokes a token (RFC 7009). Durable on return, also when the answer is `false`: no such token, or one that
    /// was revoked before. An expired token that is still known counts as one that can be revoked.
    pub async fn revoke(&self, key: TokenKey, at: NumericDate) -> Result<bool, StoreError> {
        const OPAQUE: &str = "UPDATE token SET revoked_at = ?2 WHERE hash = ?1 AND revoked_at IS NULL";
        const AT_JWT: &str =
            "UPDATE token SET revoked_at = ?2 WHERE jti = ?1 AND hash IS NULL AND revoked_at IS NULL";
        let change = self.inner.cache.change_one(&key);
        let act = move |conn: &Connection| {
            // The write is dropped after its commit, and so is what it holds.
            let _until_the_commit = &change;
            match &key {
                TokenKey::Opaque(hash) => conn.prepare_cached(OPAQUE)?.execute(params![hash.0, at.0]),
                TokenKey::AtJwt(jti) => conn.prepare_cached(AT_JWT)?.execute(params![jti.as_str(), at.0]),
            }
        };
        Ok(self.inner.writer.write("revoke a token", act).await? > 0)
    }

    /// Keeps the newest checkpoint of the log named `origin` in place of the one before. Which one
    /// is newest is the caller's to know.
    pub async fn keep_checkpoint(&self, origin: String, kept: Kept) -> Result<(), StoreError> {
        const KEEP: &str = "INSERT INTO checkpoint (origin, note, keys) VALUES (?1, ?2, ?3) \
                            ON CONFLICT (origin) DO UPDATE SET note = excluded.note, keys = excluded.keys";
        const REPLACED: &str =
            "INSERT OR IGNORE INTO replaced_checkpoint (origin, note, decision) VALUES (?1, ?2, ?3)";
        let act = move |conn: &Connection| {
            for (note, decision) in &kept.replaced {
                conn.prepare_cached(REPLACED)?.execute([&origin, note, decision])?;
            }
            conn.prepare_cached(KEEP)?.execute([&origin, &kept.note, &kept.keys]).map(drop)
        };
        self.inner.writer.write("keep a checkpoint", act).await
    }

    /// The checkpoint kept last for `origin`.
    pub fn checkpoint(&self, origin: &str) -> Result<Option<Kept>, StoreError> {
        self.read("read the checkpoint", |conn| kept_checkpoint(conn, origin))
    }

    /// The note of the checkpoint kept last for `origin` in the file at `path`, which a daemon may have open.
    pub fn checkpoint_in(path: &Path, origin: &str) -> Result<Option<String>, StoreError> {
        const NOTE: &str = "SELECT note FROM checkpoint WHERE origin = ?1";
        let kept = schema::reader(path)?.query_row(NOTE, [origin], |row| row.get(0));
        kept.optional().map_err(|e| StoreError::of("read the checkpoint", &e))
    }

    /// Copies the file at `path`, as it is at one moment, to `to`, which must not exist and gets mode 0600. A daemon may
    /// have it open: its writes go on, only its log of changes does not shrink meanwhile. The caller syncs the copy.
    pub fn copy(path: &Path, to: &Path) -> Result<(), StoreError> {
        let path = schema::absolute(path)?;
        if !path.exists() {
            return Err(StoreError::unusable(&path, "expected the state of a service, found no file"));
        }
        let connection = schema::reader(&path)?;
        // SQLite fills an empty file, and would make one that others may read.
        schema::prepare_file(to)?;
        let to = to.to_str().ok_or_else(|| StoreError::unusable(to, "expected a name in UTF-8"))?;
        connection.execute("VACUUM INTO ?1", [to]).map(drop).map_err(|e| StoreError::of("copy it", &e))
    }

    /// Keeps what the next start compares its clocks with.
    pub async fn keep_clock(&self, mark: Mark) -> Result<(), StoreError> {
        const KEEP: &str = "INSERT INTO clock (id, time, boot, boot_id) VALUES (1, ?1, ?2, ?3) \
                            ON CONFLICT (id) DO UPDATE SET time = excluded.time, boot = excluded.boot, \
                            boot_id = excluded.boot_id";
        let (boot, boot_id) = mark.boot.unzip();
        let nanos = |n: i128| i64::try_from(n).unwrap_or(i64::MAX);
        let (time, boot) = (nanos(mark.time.unix_nanos()), boot.map(|boot| nanos(boot.into())));
        let act = move |conn: &Connection| {
            conn.prepare_cached(KEEP)?.execute(params![time, boot, boot_id]).map(drop)
        };
        self.inner.writer.write("keep the time", act).await
    }

    /// What was kept last of the clocks. A store from before has none, but the times of its tokens.
    pub fn clock(&self) -> Result<Option<Mark>, StoreError> {
        const KEPT_CLOCK: &str = "SELECT time, boot, boot_id FROM clock WHERE id = 1";
        const NEWEST: &str = "SELECT max(issued_at) FROM token";
        let kept = self.read("read the last time", |conn| {
            conn.prepare_cached(KEPT_CLOCK)?.query_row([], |row| {
                let boot: Option<i64> = row.get(1)?;
                let boot = boot.and_then(|boot| u64::try_from(boot).ok());
                let time = Timestamp::from_unix_nanos(row.get::<_, i64>(0)?.into());
                Ok(Mark { time, boot: boot.zip(row.get(2)?), at_least: false })
            })
        })?;
        if kept.is_some() {
            return Ok(kept);
        }
        let newest: Option<Option<i64>> = self.read("read the last time", |conn| {
            conn.prepare_cached(NEWEST)?.query_row([], |row| row.get(0))
        })?;
        let mark = |at| Mark { time: Timestamp::from_unix_seconds(at), boot: None, at_least: false };
        Ok(newest.flatten().map(mark))
    }

    /// Forgets tokens and used assertions that ended an hour before `now`; returns how many. In steps of 500 rows,
    /// each durable for itself.
    ///
    /// An assertion that is forgotten while it still counts as valid could be used again: so the time must be trusted,
    /// and no clock may be wrong by an hour.
    pub async fn forget_expired(&self, now: Settled) -> Result<u64, StoreError> {
        const TOKENS: &str =
            "DELETE FROM token WHERE id IN (SELECT id FROM token WHERE expires_at < ?1 LIMIT ?2)";
        const ASSERTIONS: &str = "DELETE FROM used_assertion WHERE (issuer, jti) IN \
                                  (SELECT issuer, jti FROM used_assertion WHERE expires_at < ?1 LIMIT ?2)";
        let before = NumericDate(now.time().timestamp().unix_seconds().saturating_sub(KEPT));
        let mut forgotten = 0;
        for sql in [TOKENS, ASSERTIONS] {
            loop {
                let change = self.inner.cache.change(|_, facts| facts.expires_at < before);
                let act = move |conn: &Connection| {
                    let _until_the_commit = &change;
                    conn.prepare_cached(sql)?.execute(params![before.0, STEP])
                };
                let step = self.inner.writer.write("forget what has expired", act).await? as u64;
                forgotten += step;
                if step < u64::from(STEP) {
                    break;
                }
            }
        }
        Ok(forgotten)
    }

    /// Transactions committed since the start: with the number of writes it tells how well they are grouped.
    pub fn commits(&self) -> u64 {
        self.inner.writer.commits()
    }

    fn read<T>(
        &self,
        doing: &'static str,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        self.inner.readers.with(read).optional().map_err(|e| StoreError::of(doing, &e))
    }
}

fn kept_checkpoint(conn: &Connection, origin: &str) -> rusqlite::Result<Kept> {
    conn.prepare_cached("SELECT note, keys FROM checkpoint WHERE origin = ?1")?
        .query_row([origin], |row| Ok(Kept { note: row.get(0)?, keys: row.get(1)?, replaced: Vec::new() }))
}

/// Inside the writer's transaction, so that nothing changes between looking and writing. The outer result ends the
/// transaction, the inner one is this write's own.
fn insert(
    conn: &Connection,
    row: &TokenRow,
    used: Option<&UsedAssertion>,
) -> rusqlite::Result<Result<(), InsertError>> {
    const IS_USED: &str = "SELECT 1 FROM used_assertion WHERE issuer = ?1 AND jti = ?2";
    const USE: &str = "INSERT INTO used_assertion (issuer, jti, expires_at) VALUES (?1, ?2, ?3)";
    if let Some(used) = used
        && conn.prepare_cached(IS_USED)?.exists([used.issuer.as_str(), used.jti.as_str()])?
    {
        return Ok(Err(InsertError::Replayed));
    }
    if !row.insert(conn)? {
        return Ok(Err(InsertError::Duplicate));
    }
    if let Some(used) = used {
        let values = params![used.issuer.as_str(), used.jti.as_str(), used.expires_at.0];
        conn.prepare_cached(USE)?.execute(values)?;
    }
    Ok(Ok(()))
}
