//! Facts about a token as columns, and back. Every word is parsed again on the way out.

use super::{StoreError, TokenKey};
use crate::claims::{Authentication, Grant, NumericDate, Origin, Scope, TokenFacts, TokenFormat};
use rusqlite::types::{FromSql, Type, ValueRef};
use rusqlite::{Connection, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::error::Error;
use std::str::FromStr;

macro_rules! columns {
    () => {
        "jti, format, client_id, subject, grant_issuer, audience, scope, authorization_details, acr, amr, \
         auth_time, extra, issued_at, not_before, expires_at, revoked_at"
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
    ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17) \
     ON CONFLICT DO NOTHING"
);

/// One row, its lists already texts, so that the thread that writes does nothing but write.
pub(super) struct TokenRow {
    hash: Option<[u8; 32]>,
    facts: TokenFacts,
    audience: String,
    scope: String,
    authorization_details: String,
    amr: String,
    extra: String,
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
        let grant = &facts.grant;
        if grant.audience.is_empty() {
            return Err(StoreError::Inconsistent("expected an audience, found none"));
        }
        if grant.scope.iter().count() > Scope::MAX {
            return Err(StoreError::Inconsistent("expected at most 64 scope tokens"));
        }
        Ok(Self {
            hash,
            audience: json(&grant.audience)?,
            scope: grant.scope.to_string(),
            authorization_details: json(&grant.authorization_details)?,
            amr: json(&grant.authentication.amr)?,
            extra: json(&grant.extra)?,
            facts,
        })
    }

    /// Whether it was inserted; otherwise a row of the same hash or `jti` is there.
    pub(super) fn insert(&self, conn: &Connection) -> rusqlite::Result<bool> {
        let f = &self.facts;
        let issuer = match &f.grant.origin {
            Origin::OwnRight => None,
            Origin::Assertion(issuer) => Some(issuer.as_str()),
        };
        let inserted = conn.prepare_cached(INSERT)?.execute(params![
            self.hash,
            f.jti.as_str(),
            f.format.name(),
            f.grant.client_id.as_str(),
            f.grant.subject.as_str(),
            issuer,
            self.audience,
            self.scope,
            self.authorization_details,
            f.grant.authentication.acr.as_ref().map(AsRef::<str>::as_ref),
            self.amr,
            f.grant.authentication.auth_time.map(|t| t.0),
            self.extra,
            f.issued_at.0,
            f.not_before.map(|t| t.0),
            f.expires_at.0,
            f.revoked.then_some(f.issued_at.0),
        ])?;
        Ok(inserted == 1)
    }
}

fn json<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|_| StoreError::Inconsistent("expected facts that JSON can hold"))
}

/// A row that was found.
pub(super) struct Found {
    /// What it says.
    pub(super) facts: TokenFacts,
    /// Bytes of its texts: what it takes in memory is a small multiple.
    pub(super) text: usize,
}

/// Reads the columns of [`FIND_OPAQUE`] and [`FIND_AT_JWT`].
pub(super) fn facts(row: &Row<'_>) -> rusqlite::Result<Found> {
    // In the order of `columns!`: fields of a struct expression are evaluated as they are written.
    let mut columns = Columns { row, next: 0, text: 0 };
    let (jti, format) = (columns.word()?, columns.format()?);
    let grant = Grant {
        client_id: columns.word()?,
        subject: columns.word()?,
        origin: columns.optional_word()?.map_or(Origin::OwnRight, Origin::Assertion),
        audience: columns.json()?,
        scope: columns.word()?,
        authorization_details: columns.json()?,
        authentication: Authentication {
            acr: columns.optional_word()?,
            amr: columns.json()?,
            auth_time: columns.plain::<Option<i64>>()?.map(NumericDate),
        },
        extra: columns.json()?,
    };
    let facts = TokenFacts {
        format,
        jti,
        grant,
        issued_at: NumericDate(columns.plain()?),
        not_before: columns.plain::<Option<i64>>()?.map(NumericDate),
        expires_at: NumericDate(columns.plain()?),
        revoked: columns.plain::<Option<i64>>()?.is_some(),
    };
    Ok(Found { facts, text: columns.text })
}

/// One row, column after column.
struct Columns<'a, 'row> {
    row: &'a Row<'row>,
    next: usize,
    text: usize,
}

impl<'a> Columns<'a, '_> {
    /// The next column as SQLite has it.
    fn column(&mut self) -> rusqlite::Result<ValueRef<'a>> {
        let index = self.next;
        self.next += 1;
        self.row.get_ref(index)
    }

    fn plain<T: FromSql>(&mut self) -> rusqlite::Result<T> {
        let index = self.next;
        self.next += 1;
        self.row.get(index)
    }

    fn word<T>(&mut self) -> rusqlite::Result<T>
    where
        T: FromStr<Err: Error + Send + Sync + 'static>,
    {
        let text = self.column()?.as_str().map_err(|e| self.damaged(e))?;
        self.text += text.len();
        text.parse().map_err(|e| self.damaged(e))
    }

    fn optional_word<T>(&mut self) -> rusqlite::Result<Option<T>>
    where
        T: FromStr<Err: Error + Send + Sync + 'static>,
    {
        let text = self.column()?.as_str_or_null().map_err(|e| self.damaged(e))?;
        self.text += text.map_or(0, str::len);
        text.map(|text| text.parse().map_err(|e| self.damaged(e))).transpose()
    }

    fn json<T: DeserializeOwned>(&mut self) -> rusqlite::Result<T> {
        let text = self.column()?.as_str().map_err(|e| self.damaged(e))?;
        self.text += text.len();
        serde_json::from_str(text).map_err(|e| self.damaged(e))
    }

    fn format(&mut self) -> rusqlite::Result<TokenFormat> {
        match self.column()?.as_str().map_err(|e| self.damaged(e))? {
            "opaque" => Ok(TokenFormat::Opaque),
            "at+jwt" => Ok(TokenFormat::AtJwt),
            _ => Err(self.damaged("expected opaque or at+jwt")),
        }
    }

    /// The column just read holds what we never write.
    fn damaged(&self, reason: impl Into<Box<dyn Error + Send + Sync>>) -> rusqlite::Error {
        rusqlite::Error::FromSqlConversionFailure(self.next.saturating_sub(1), Type::Text, reason.into())
    }
}
