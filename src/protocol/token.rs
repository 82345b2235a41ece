//! The token endpoint (RFC 6749 §4.4 and §5, RFC 7523 §2.1, RFC 8707, RFC 9396): the rule and the answer.

use super::assertion::Assertion;
use super::error::{ErrorCode, OAuthError};
use super::grant::{self, Ceiling, Given};
use super::narrow;
use crate::claims::{
    Authentication, AuthorizationDetail, ExtraClaims, Issuer, Jti, NumericDate, Resource, Scope, Subject,
    TokenFacts, TokenType,
};
use crate::config::{Client, Config, ResourceServer};
use serde_json::{Map, Value, json};
use std::time::Duration;

pub use super::request::{TokenRequest, Wanted};

/// A token that may be issued; nothing is durable or signed yet.
#[derive(Debug)]
pub struct Issue {
    /// The row to be written.
    pub facts: TokenFacts,
    /// Its lifetime, whole seconds: `expires_in`.
    pub lifetime: Duration,
    /// Whether the scope is another than the one asked for, so that the answer must name it (RFC 6749 §5.1).
    pub scope_differs: bool,
}

/// Decides a request of a client that speaks for itself: `sub` is its own `client_id` (RFC 9068 §2.2), and nobody
/// signed in.
pub fn client_credentials(
    config: &Config,
    client: &Client,
    wanted: &Wanted,
    jti: Jti,
    now: NumericDate,
) -> Result<Issue, OAuthError> {
    let ceiling = Ceiling {
        config,
        resource_servers: among(config, |resource| client.resources.contains(resource)),
        scope: client.scope.clone(),
        types: client.authorization_details_types.clone(),
        details: None,
    };
    let given = grant::decide(&ceiling, client, wanted)?;
    // A client_id is a shorter alphabet than a subject of the same length: this never fails.
    let subject = client.client_id.as_str().parse::<Subject>().map_err(|e| {
        OAuthError::new(
            ErrorCode::UnauthorizedClient,
            "client-id-no-subject",
            format!("client_id as sub: {e}"),
        )
    })?;
    let owner = Owner {
        subject,
        grant_issuer: None,
        authentication: Authentication::default(),
        extra: ExtraClaims::new(),
    };
    Ok(issue(client, wanted, given, owner, jti, now))
}

/// Decides a request that carries a grant of a front server. The assertion has been verified; whether its `jti` was
/// used before is the state store's to say, in the transaction that writes the row.
pub fn jwt_bearer(
    config: &Config,
    client: &Client,
    assertion: &Assertion,
    wanted: &Wanted,
    jti: Jti,
    now: NumericDate,
) -> Result<Issue, OAuthError> {
    if assertion.client_id.as_ref().is_some_and(|id| *id != client.client_id) {
        return Err(OAuthError::new(
            ErrorCode::InvalidGrant,
            "assertion-other-client",
            "the assertion was made for another client",
        ));
    }
    let issuer = config.grant_issuers.iter().find(|g| g.issuer == assertion.issuer).ok_or_else(|| {
        OAuthError::new(
            ErrorCode::InvalidGrant,
            "assertion-unknown-issuer",
            "the issuer of the assertion is not known here",
        )
    })?;
    let allowed = |resource: &Resource| {
        client.resources.contains(resource)
            && issuer.resources.contains(resource)
            && (assertion.resources.is_empty() || assertion.resources.contains(resource))
    };
    let ceiling = Ceiling {
        config,
        resource_servers: among(config, allowed),
        scope: assertion.scope.narrowed(|token| client.scope.contains(token)),
        types: &client.authorization_details_types & &issuer.authorization_details_types,
        details: Some(&assertion.authorization_details),
    };
    let given = grant::decide(&ceiling, client, wanted)?;
    let seen = |name: &str| given.audience.iter().any(|rs| rs.claims.contains(name));
    let owner = Owner {
        subject: assertion.subject.clone(),
        grant_issuer: Some(assertion.issuer.clone()),
        authentication: assertion.authentication.clone(),
        extra: assertion
            .extra
            .iter()
            .filter(|(name, _)| seen(name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
    };
    Ok(issue(client, wanted, given, owner, jti, now))
}

fn among(config: &Config, allowed: impl Fn(&Resource) -> bool) -> Vec<&ResourceServer> {
    config.resource_servers.iter().filter(|rs| allowed(&rs.resource)).map(AsRef::as_ref).collect()
}

/// For whom the token speaks.
struct Owner {
    subject: Subject,
    grant_issuer: Option<Issuer>,
    authentication: Authentication,
    extra: ExtraClaims,
}

fn issue(
    client: &Client,
    wanted: &Wanted,
    given: Given<'_>,
    owner: Owner,
    jti: Jti,
    now: NumericDate,
) -> Issue {
    let seconds = client.access_token_lifetime.as_secs();
    let end = now.0.saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX));
    let scope_differs = wanted.scope.as_ref() != Some(&given.scope) && !given.scope.is_empty();
    let facts = TokenFacts {
        format: given.format,
        jti,
        client_id: client.client_id.clone(),
        subject: owner.subject,
        grant_issuer: owner.grant_issuer,
        audience: given.audience.iter().map(|rs| rs.resource.clone()).collect(),
        scope: given.scope,
        authorization_details: given.details,
        authentication: owner.authentication,
        extra: owner.extra,
        issued_at: now,
        not_before: None,
        expires_at: NumericDate(end),
        revoked: false,
    };
    Issue { facts, lifetime: Duration::from_secs(seconds), scope_differs }
}

/// What an `at+jwt` says beside `iss` and `client_id` (RFC 9068 §2.2), narrowed to its one audience.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenClaims {
    /// `aud`: the one audience ([D20](crate::manual::decisions#d20)).
    pub aud: Resource,
    /// `sub`; required by RFC 9068 whatever the audience may otherwise see.
    pub sub: Subject,
    /// The front server behind the grant; no claim, the signer checks against it.
    pub grant_issuer: Option<Issuer>,
    /// `jti`.
    pub jti: Jti,
    /// `iat`.
    pub iat: NumericDate,
    /// `exp`.
    pub exp: NumericDate,
    /// `scope`, left out when empty.
    pub scope: Scope,
    /// `authorization_details` for this audience (RFC 9396 §9.1).
    pub authorization_details: Vec<AuthorizationDetail>,
    /// `acr`, `amr` and `auth_time`, as far as the audience may see them.
    pub authentication: Authentication,
    /// Further claims that the audience may see.
    pub extra: ExtraClaims,
}

/// The claims of the `at+jwt` with these `facts` for `rs`, by the same rules that narrow an introspection.
pub fn access_token_claims(config: &Config, rs: &ResourceServer, facts: &TokenFacts) -> TokenClaims {
    // Which rules withheld something is recorded where it is a matter between two: at introspection.
    let rules = &mut Vec::new();
    TokenClaims {
        aud: rs.resource.clone(),
        sub: facts.subject.clone(),
        grant_issuer: facts.grant_issuer.clone(),
        jti: facts.jti.clone(),
        iat: facts.issued_at,
        exp: facts.expires_at,
        scope: narrow::scope(rs, &facts.scope, rules),
        authorization_details: narrow::details(config, rs, facts, rules),
        authentication: narrow::authentication(rs, facts, rules),
        extra: narrow::extra(rs, facts, rules),
    }
}

/// The answer (RFC 6749 §5.1): `scope` where it is not what was asked for, `authorization_details` as granted
/// (RFC 9396 §7).
pub fn token_response(issue: &Issue, access_token: &str) -> Value {
    let mut answer = Map::new();
    answer.insert("access_token".to_owned(), json!(access_token));
    answer.insert("token_type".to_owned(), json!(TokenType::Bearer));
    answer.insert("expires_in".to_owned(), json!(issue.lifetime.as_secs()));
    if issue.scope_differs {
        answer.insert("scope".to_owned(), json!(issue.facts.scope));
    }
    if !issue.facts.authorization_details.is_empty() {
        answer.insert("authorization_details".to_owned(), json!(issue.facts.authorization_details));
    }
    Value::Object(answer)
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
