//! Facts about a token as a row, and back. Every word is parsed again on the way out.

use super::{StoreError, TokenKey};
use crate::claims::{NumericDate, Scope, TokenFacts, TokenFormat};
use rusqlite::types::Type;
use rusqlite::{Connection, Row, params};
use std::error::Error;

macro_rules! columns {
    () => {
        "jti, format, granted, issued_at, not_before, expires_at, revoked_at"
    };
}

/// Finds an opaque token by its SHA-256.
pub(super) const FIND_OPAQUE: &str = concat!("SELECT ", columns!(), " FROM token WHERE hash = ?1");

/// Finds an `at+jwt` by its `jti`; an opaque token's `jti` is no way to it.
pub(super) const FIND_AT_JWT: &str =
    concat!("SELECT ", columns!(), " FROM token WHERE jti = ?1 AND hash IS NULL");

const INSERT: &str = concat!(
    "INSERT INTO token (hash, ",
    columns!(),
    ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING"
);

/// One row, its grant already a text, so that the thread that writes does nothing but write.
pub(super) struct TokenRow {
    hash: Option<[u8; 32]>,
    facts: TokenFacts,
    granted: String,
}

impl TokenRow {
    pub(super) fn new(key: TokenKey, facts: TokenFacts) -> Result<Self, StoreError> {
        let hash = match key {
            TokenKey::Opaque(hash) if facts.format == TokenFormat::Opaque => Some(hash.0),
            TokenKey::AtJwt(jti) if facts.format == TokenFormat::AtJwt && facts.jti == jti => None,
            _ => {
                return Err(StoreError::Inconsistent(
                    "expected an opaque token by its hash or an at+jwt by its own jti",
                ));
            }
        };
        if facts.grant.audience.is_empty() {
            return Err(StoreError::Inconsistent("expected an audience, found none"));
        }
        if facts.grant.scope.iter().count() > Scope::MAX {
            return Err(StoreError::Inconsistent("expected at most 64 scope tokens"));
        }
        let granted = serde_json::to_string(&facts.grant)
            .map_err(|_| StoreError::Inconsistent("expected a grant that JSON can hold"))?;
        Ok(Self { hash, facts, granted })
    }

    /// Whether it was inserted; otherwise a row of the same hash or `jti` is there.
    pub(super) fn insert(&self, conn: &Connection) -> rusqlite::Result<bool> {
        let f = &self.facts;
        let inserted = conn.prepare_cached(INSERT)?.execute(params![
            self.hash,
            f.jti.as_str(),
            f.format.name(),
            self.granted,
            f.issued_at.0,
            f.not_before.map(|t| t.0),
            f.expires_at.0,
            f.revoked.then_some(f.issued_at.0),
        ])?;
        Ok(inserted == 1)
    }
}

/// A row that was found.
pub(super) struct Found {
    /// What it says.
    pub(super) facts: TokenFacts,
    /// Bytes of its texts: what it takes in memory is a small multiple.
    pub(super) text: usize,
}

/// Reads the columns of [`FIND_OPAQUE`] and [`FIND_AT_JWT`].
pub(super) fn facts(stored: &Row<'_>) -> rusqlite::Result<Found> {
    let facts = TokenFacts {
        jti: parsed(stored, 0, str::parse)?,
        format: parsed(stored, 1, |name| match name {
            "opaque" => Ok(TokenFormat::Opaque),
            "at+jwt" => Ok(TokenFormat::AtJwt),
            _ => Err("expected opaque or at+jwt"),
        })?,
        grant: parsed(stored, 2, serde_json::from_str)?,
        issued_at: NumericDate(stored.get(3)?),
        not_before: stored.get::<_, Option<i64>>(4)?.map(NumericDate),
        expires_at: NumericDate(stored.get(5)?),
        revoked: stored.get::<_, Option<i64>>(6)?.is_some(),
    };
    Ok(Found { facts, text: parsed(stored, 2, |text| Ok::<_, &str>(text.len()))? })
}

/// The text of a column as `parse` reads it; an error says that it holds what this program never writes.
fn parsed<'a, T, E: Into<Box<dyn Error + Send + Sync>>>(
    row: &'a Row<'_>,
    column: usize,
    parse: impl FnOnce(&'a str) -> Result<T, E>,
) -> rusqlite::Result<T> {
    let damaged = |e| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, e);
    let text = row.get_ref(column)?.as_str().map_err(|e| damaged(e.into()))?;
    parse(text).map_err(|e| damaged(e.into()))
}
