//! Facts about an access token, and the part that one resource server may see.

use super::words::by_text;
use super::{Grant, Jti, NumericDate};
use serde::de::Deserializer;
use serde::ser::{Error, Serializer};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The format of an access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TokenFormat {
    /// A random text; only its SHA-256 is stored.
    #[serde(rename = "opaque")]
    Opaque,
    /// A JWT of RFC 9068.
    #[serde(rename = "at+jwt")]
    AtJwt,
}

impl TokenFormat {
    /// The name in the configuration and in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opaque => "opaque",
            Self::AtJwt => "at+jwt",
        }
    }
}

/// The format of an introspection answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnswerFormat {
    /// RFC 9701.
    Jwt,
    /// RFC 7662; refused for a resource server that requires signed answers.
    Json,
}

/// `token_type` (RFC 6749 §7.1). `DPoP` comes with sender constraint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenType {
    /// RFC 6750.
    Bearer,
}

/// The purpose of a key series: one purpose, one algorithm, no other use (invariant 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Signs `at+jwt`.
    AccessToken,
    /// Signs `token-introspection+jwt`.
    Introspection,
    /// Signs `signed_metadata`.
    Metadata,
    /// Signs checkpoints of the audit log.
    AuditCheckpoint,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::AccessToken, Self::Introspection, Self::Metadata, Self::AuditCheckpoint];

    /// The name in labels, configuration and records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AccessToken => "access-token",
            Self::Introspection => "introspection",
            Self::Metadata => "metadata",
            Self::AuditCheckpoint => "audit-checkpoint",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Purpose {
    type Err = ();
    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|p| p.name() == name).ok_or(())
    }
}

/// SHA-256 of a token, stored and recorded in place of the token. As JSON: lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash(pub [u8; 32]);

impl TokenHash {
    /// The hash of `token`.
    pub fn of(token: &str) -> Self {
        Self(crate::sha256::sha256(token.as_bytes()))
    }
}

impl FromStr for TokenHash {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, &'static str> {
        let mut out = [0; 32];
        hex::decode_to_slice(text, &mut out).map_err(|_| "expected 64 hexadecimal digits")?;
        Ok(Self(out))
    }
}

impl Serialize for TokenHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = [0; 64];
        hex::encode_to_slice(self.0, &mut text).map_err(Error::custom)?;
        serializer.serialize_str(std::str::from_utf8(&text).map_err(Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for TokenHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        by_text(deserializer)
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// The facts about one access token: its row in the state store, and the input of every rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFacts {
    /// Its format.
    pub format: TokenFormat,
    /// Its `jti`; never shown to a resource server ([D21](crate::manual::decisions#d21)).
    pub jti: Jti,
    /// Its grant.
    pub grant: Grant,
    /// When it was issued.
    pub issued_at: NumericDate,
    /// Not valid before; rarely set.
    pub not_before: Option<NumericDate>,
    /// Not valid at or after.
    pub expires_at: NumericDate,
    /// Whether it is revoked.
    pub revoked: bool,
}

/// An active token as one resource server may see it. The signer checks every member again with its own configuration,
/// which also decides whether subject and client are shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActiveToken {
    /// When the token was issued.
    pub iat: NumericDate,
    /// When it expires.
    pub exp: NumericDate,
    /// When it becomes valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<NumericDate>,
    /// The grant, narrowed: the caller's resource is its only audience ([D21](crate::manual::decisions#d21)).
    pub grant: Grant,
}
