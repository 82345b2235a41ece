//! JWTs from other parties: parsed strictly, and verified with keys from the configuration (RFC 7515, RFC 7519, RFC
//! 8725).
//!
//! The key determines the algorithm, which the header must match (RFC 8725 §3.1). `jku`, `x5u`, `jwk` and `x5c` are
//! ignored: a key from the message proves nothing (§3.10), and nothing is ever fetched. Claims are readable only after
//! the signature is verified, except `iss`, which selects the keys.

use super::{Algorithm, PublicKey, from_base64url, is_low_s, strict_json};
use serde_json::{Map, Value};

/// Limit of a compact text in bytes.
pub const MAX_COMPACT: usize = 64 * 1024;

/// Why a JWT is refused. The texts name rules and hold nothing of the JWT.
#[derive(Debug, thiserror::Error)]
pub enum InboundError {
    /// More than [`MAX_COMPACT`] bytes.
    #[error("expected a JWT of at most 65536 bytes, found a longer text")]
    TooLong,
    /// Not three parts of base64url.
    #[error("expected three parts of base64url without padding, parted by points")]
    Shape,
    /// The header is not a strict JSON object with the required members.
    #[error("header: {0}")]
    Header(String),
    /// The payload is not a strict JSON object.
    #[error("claims: {0}")]
    Claims(String),
    /// None of the keys has the header's `kid` and `alg`.
    #[error("no key of the issuer has the header's kid and alg")]
    NoKey,
    /// No matching key verifies the signature.
    #[error("the signature does not verify")]
    Signature,
}

/// A JWT that is parsed and not yet verified.
pub struct Received<'a> {
    /// `header.payload`, exactly as received: the signed bytes.
    signing_input: &'a str,
    signature: Vec<u8>,
    algorithm: Algorithm,
    kid: Option<String>,
    typ: Option<String>,
    claims: Map<String, Value>,
}

/// A JWT with a verified signature.
pub struct Verified {
    typ: Option<String>,
    claims: Map<String, Value>,
}

impl<'a> Received<'a> {
    /// Reads a compact JWS; objects and arrays of header and claims may nest `json_depth` deep.
    pub fn parse(text: &'a str, json_depth: usize) -> Result<Self, InboundError> {
        if text.len() > MAX_COMPACT {
            return Err(InboundError::TooLong);
        }
        let (signing_input, signature) = text.rsplit_once('.').ok_or(InboundError::Shape)?;
        let (header, payload) = signing_input.split_once('.').ok_or(InboundError::Shape)?;
        if payload.contains('.') || signature.is_empty() {
            return Err(InboundError::Shape);
        }
        let signature = from_base64url(signature).ok_or(InboundError::Shape)?;
        let header = object(header, json_depth, InboundError::Header)?;
        // RFC 7515 §4.1.11: an unknown extension makes the JWS invalid; Chancery supports none.
        if header.contains_key("crit") {
            return Err(InboundError::Header(
                "crit: expected none, no extension is understood here".to_owned(),
            ));
        }
        let algorithm = text_member(&header, "alg")?.and_then(|name| name.parse().ok()).ok_or_else(|| {
            InboundError::Header("alg: expected ES256, ES384, RS256, PS256 or EdDSA".to_owned())
        })?;
        Ok(Self {
            signing_input,
            signature,
            algorithm,
            kid: text_member(&header, "kid")?.map(str::to_owned),
            typ: text_member(&header, "typ")?.map(str::to_owned),
            claims: object(payload, json_depth, InboundError::Claims)?,
        })
    }

    /// The claimed issuer, not verified: only for selecting keys.
    pub fn claimed_issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    /// Whether the signature has the smaller s ([`is_low_s`]).
    pub fn has_low_s(&self) -> bool {
        is_low_s(self.algorithm, &self.signature)
    }

    /// Verifies with those of `keys` that match the header's `alg` and `kid`. A key without `kid` matches any `kid`,
    /// and several keys may share one (FAPI 2.0 §5.4.3): each match is tried.
    pub fn verify<'k>(
        self,
        keys: impl IntoIterator<Item = (Option<&'k str>, &'k PublicKey)>,
    ) -> Result<Verified, InboundError> {
        let mut result = InboundError::NoKey;
        for (kid, key) in keys {
            let kid_fits = match (kid, self.kid.as_deref()) {
                (Some(ours), Some(theirs)) => ours == theirs,
                _ => true,
            };
            if !kid_fits || key.algorithm() != self.algorithm {
                continue;
            }
            if key.verify(self.signing_input.as_bytes(), &self.signature).is_ok() {
                return Ok(Verified { typ: self.typ, claims: self.claims });
            }
            result = InboundError::Signature;
        }
        Err(result)
    }
}

impl Verified {
    /// Whether the header's `typ` is the media type `application/<name>`, in any spelling (RFC 7515 §4.1.9).
    pub fn has_type(&self, name: &str) -> bool {
        self.typ.as_deref().is_some_and(|typ| is_type(typ, name))
    }

    /// Whether the header has no `typ`.
    pub const fn is_untyped(&self) -> bool {
        self.typ.is_none()
    }

    /// The claims.
    pub const fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }
}

fn is_type(typ: &str, name: &str) -> bool {
    let short = match typ.split_at_checked("application/".len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case("application/") => rest,
        _ => typ,
    };
    short.eq_ignore_ascii_case(name)
}

fn object(
    part: &str,
    depth: usize,
    error: impl Fn(String) -> InboundError,
) -> Result<Map<String, Value>, InboundError> {
    let bytes = from_base64url(part).ok_or(InboundError::Shape)?;
    match strict_json(&bytes, depth) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(error("expected an object".to_owned())),
        Err(e) => Err(error(e.to_string())),
    }
}

fn text_member<'m>(header: &'m Map<String, Value>, name: &str) -> Result<Option<&'m str>, InboundError> {
    match header.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(InboundError::Header(format!("{name}: expected a text"))),
    }
}

#[cfg(test)]
#[path = "inbound_tests.rs"]
mod tests;
