//! Header and payload of every signed JWT. The key gives the header, typed claims the payload: no caller's bytes are
//! signed unchanged (invariant 6).

use crate::claims::{
    Acr, ActiveToken, AuthorizationDetail, ClientId, ExtraClaims, Grant, Issuer, Jti, NumericDate, Resource,
    Scope, Subject, TokenType,
};
use crate::config::{ResourceServer, ResponseAudience};
use crate::door::message::{IntrospectionAsk, TokenAsk};
use crate::jose::{PublicKey, base64url};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

/// `typ` of each JWT (RFC 8725 §3.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Typ {
    /// RFC 9701 §5.
    Introspection,
    /// RFC 9068 §2.1.
    AccessToken,
    /// For `signed_metadata`: RFC 8414 names none, and an untyped JWT could pass for something else.
    Metadata,
}

impl Typ {
    /// The value without `application/` (RFC 7515 §4.1.9).
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Introspection => "token-introspection+jwt",
            Self::AccessToken => "at+jwt",
            Self::Metadata => "oauth-authorization-server-metadata+jwt",
        }
    }
}

/// The encoded JOSE header of one key, made once: `base64url({"typ":…,"alg":…,"kid":…}) + "."`.
pub(super) fn encoded_header(typ: Typ, key: &PublicKey) -> String {
    let header =
        format!(r#"{{"typ":"{}","alg":"{}","kid":"{}"}}"#, typ.name(), key.algorithm().name(), key.kid());
    let mut encoded = base64url(header);
    encoded.push('.');
    encoded
}

/// A JWT before its signature: `header.payload`.
pub(super) struct SigningInput(String);

impl SigningInput {
    /// From a header of [`encoded_header`] and typed claims.
    pub(super) fn new(encoded_header: &str, claims: &impl Serialize) -> Result<Self, serde_json::Error> {
        let mut payload = Vec::with_capacity(1024);
        serde_json::to_writer(&mut payload, claims)?;
        // Capacity for header, payload, dot and the longest signature (RSA-4096).
        let mut text = String::with_capacity(encoded_header.len() + payload.len() * 4 / 3 + 700);
        text.push_str(encoded_header);
        URL_SAFE_NO_PAD.encode_string(payload, &mut text);
        Ok(Self(text))
    }

    /// The bytes to sign.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The compact JWS.
    pub(super) fn with_signature(self, signature: &[u8]) -> String {
        let mut text = self.0;
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut text);
        text
    }
}

/// RFC 9701 §5: `iss`, `aud`, `iat`, `jti` ([D12](crate::manual::decisions#d12)) and `token_introspection`;
/// never `sub`, `exp`, `nbf`.
#[derive(Serialize)]
pub(super) struct IntrospectionClaims<'a> {
    iss: &'a Issuer,
    aud: &'a str,
    iat: NumericDate,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<&'a str>,
    token_introspection: Introspection<'a>,
}

impl<'a> IntrospectionClaims<'a> {
    /// The claims of one answer.
    pub(super) fn new(
        issuer: &'a Issuer,
        rs: &'a ResourceServer,
        ask: &'a IntrospectionAsk,
        jti: Option<&'a str>,
    ) -> Self {
        let aud = answer_audience(rs);
        let token_introspection = Introspection::new(issuer, rs, ask);
        Self { iss: issuer, aud, iat: ask.iat, jti, token_introspection }
    }
}

/// `aud` of answers to `rs` ([D4](crate::manual::decisions#d4)).
pub(super) fn answer_audience(rs: &ResourceServer) -> &str {
    match rs.response_audience {
        ResponseAudience::ClientId => rs.client_id.as_str(),
        ResponseAudience::Resource => rs.resource.as_str(),
    }
}

/// The members of RFC 7662 §2.2: exactly `{"active":false}`, or those that the caller may see.
#[derive(Serialize)]
pub(super) struct Introspection<'a> {
    active: bool,
    #[serde(flatten)]
    token: Option<ActiveMembers<'a>>,
}

#[derive(Serialize)]
struct ActiveMembers<'a> {
    iss: &'a Issuer,
    aud: &'a Resource,
    iat: NumericDate,
    exp: NumericDate,
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<NumericDate>,
    token_type: TokenType,
    #[serde(flatten)]
    grant: GrantMembers<'a>,
}

impl<'a> Introspection<'a> {
    /// The members of one answer.
    pub(super) fn new(issuer: &'a Issuer, rs: &'a ResourceServer, ask: &'a IntrospectionAsk) -> Self {
        let members = |token: &'a ActiveToken| ActiveMembers {
            iss: issuer,
            aud: &rs.resource,
            iat: token.iat,
            exp: token.exp,
            nbf: token.nbf,
            token_type: TokenType::Bearer,
            grant: GrantMembers::new(&token.grant, |name| rs.claims.contains(name)),
        };
        Self { active: ask.active.is_some(), token: ask.active.as_deref().map(members) }
    }
}

/// RFC 9068 §2.2.
#[derive(Serialize)]
pub(super) struct AccessTokenClaims<'a> {
    iss: &'a Issuer,
    aud: &'a Resource,
    iat: NumericDate,
    exp: NumericDate,
    jti: &'a Jti,
    #[serde(flatten)]
    grant: GrantMembers<'a>,
}

impl<'a> AccessTokenClaims<'a> {
    /// The claims of one token for `rs`; `sub` and `client_id` are required even if `rs` may not see them otherwise.
    pub(super) fn new(issuer: &'a Issuer, rs: &'a ResourceServer, ask: &'a TokenAsk) -> Self {
        let grant = GrantMembers::new(&ask.grant, |_| true);
        Self { iss: issuer, aud: &rs.resource, iat: ask.iat, exp: ask.exp, jti: &ask.jti, grant }
    }
}

/// The members of a grant in an answer or a token, after the rules.
#[derive(Serialize)]
struct GrantMembers<'a> {
    #[serde(skip_serializing_if = "Scope::is_empty")]
    scope: &'a Scope,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a ClientId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a Subject>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<&'a Acr>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    amr: &'a [Acr],
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<NumericDate>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    authorization_details: &'a [AuthorizationDetail],
    #[serde(flatten)]
    extra: &'a ExtraClaims,
}

impl<'a> GrantMembers<'a> {
    /// `named` decides whether a claim is shown that every grant has.
    fn new(grant: &'a Grant, named: impl Fn(&str) -> bool) -> Self {
        Self {
            scope: &grant.scope,
            client_id: named("client_id").then_some(&grant.client_id),
            sub: named("sub").then_some(&grant.subject),
            acr: grant.authentication.acr.as_ref(),
            amr: &grant.authentication.amr,
            auth_time: grant.authentication.auth_time,
            authorization_details: &grant.authorization_details,
            extra: &grant.extra,
        }
    }
}
