//! The token endpoint (RFC 6749 §4.4 and §5, RFC 7523 §2.1, RFC 8707, RFC 9396): rules and answer.

use super::assertion::Assertion;
use super::error::{ErrorCode, OAuthError};
use super::grant::{self, Ceiling, Given};
use super::narrow;
use crate::claims::{Grant, Jti, NumericDate, Origin, Resource, Subject, TokenFacts, TokenType};
use crate::config::{Client, Config, ResourceServer};
use serde_json::{Map, Value, json};
use std::time::Duration;

pub use super::request::{TokenRequest, Wanted};

/// A token that may be issued; nothing is durable or signed yet.
#[derive(Debug)]
pub struct Issue {
    /// The row to write.
    pub facts: TokenFacts,
    /// Its lifetime, whole seconds: `expires_in`.
    pub lifetime: Duration,
    /// Whether the scope differs from the requested one, so that the answer must name it (RFC 6749 §5.1).
    pub scope_differs: bool,
}

/// Decides a request of a client in its own right: `sub` is its `client_id` (RFC 9068 §2.2), without authentication
/// facts.
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
        scope: match &wanted.scope {
            Some(asked) => asked.narrowed(|token| client.scope.contains(token)),
            None => client.scope.tokens().cloned().collect(),
        },
        types: client.authorization_details_types.clone(),
        details: None,
    };
    let given = grant::decide(&ceiling, client, wanted)?;
    // Every client_id is a valid subject: this never fails.
    let subject = client.client_id.as_str().parse::<Subject>().map_err(|e| {
        OAuthError::new(
            ErrorCode::UnauthorizedClient,
            "client-id-no-subject",
            format!("client_id as sub: {e}"),
        )
    })?;
    let grant = Grant::new(subject, client.client_id.clone(), Origin::OwnRight);
    Ok(issue(client, wanted, given, grant, jti, now))
}

/// Decides a request with a verified assertion of a front server. The state store checks that its `jti` is unused, in
/// the transaction that writes the row.
pub fn jwt_bearer(
    config: &Config,
    client: &Client,
    assertion: &Assertion,
    wanted: &Wanted,
    jti: Jti,
    now: NumericDate,
) -> Result<Issue, OAuthError> {
    let issuer = config.grant_issuers.iter().find(|g| g.issuer == assertion.issuer).ok_or_else(|| {
        OAuthError::new(
            ErrorCode::InvalidGrant,
            "assertion-unknown-issuer",
            "the issuer of the assertion is not known here",
        )
    })?;
    let grant = &assertion.grant;
    let allowed = |resource: &Resource| {
        client.resources.contains(resource)
            && issuer.resources.contains(resource)
            && (grant.audience.is_empty() || grant.audience.contains(resource))
    };
    let ceiling = Ceiling {
        config,
        resource_servers: among(config, allowed),
        scope: grant.scope.narrowed(|token| client.scope.contains(token)),
        types: &client.authorization_details_types & &issuer.authorization_details_types,
        details: Some(&grant.authorization_details),
    };
    let given = grant::decide(&ceiling, client, wanted)?;
    let seen = |name: &str| given.audience.iter().any(|rs| rs.claims.contains(name));
    let mut grant = grant.clone();
    grant.extra.retain(|name, _| seen(name.as_str()));
    Ok(issue(client, wanted, given, grant, jti, now))
}

fn among(config: &Config, allowed: impl Fn(&Resource) -> bool) -> Vec<&ResourceServer> {
    config.resource_servers.iter().filter(|rs| allowed(&rs.resource)).map(AsRef::as_ref).collect()
}

/// A token of `grant` with the decision `given`.
fn issue(
    client: &Client,
    wanted: &Wanted,
    given: Given<'_>,
    grant: Grant,
    jti: Jti,
    now: NumericDate,
) -> Issue {
    let seconds = client.access_token_lifetime.as_secs();
    let end = now.0.saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX));
    let scope_differs = wanted.scope.as_ref() != Some(&given.scope) && !given.scope.is_empty();
    let grant = Grant {
        audience: given.audience.iter().map(|rs| rs.resource.clone()).collect(),
        scope: given.scope,
        authorization_details: given.details,
        ..grant
    };
    let facts = TokenFacts {
        format: given.format,
        jti,
        grant,
        issued_at: now,
        not_before: None,
        expires_at: NumericDate(end),
        revoked: false,
    };
    Issue { facts, lifetime: Duration::from_secs(seconds), scope_differs }
}

/// The grant of an `at+jwt`, narrowed to its audience by the rules of introspection. `None` without exactly one
/// audience ([D20](crate::manual::decisions#d20)) that has a part of the grant; a token decided here has one.
pub fn at_jwt_grant(config: &Config, grant: &Grant) -> Option<Grant> {
    let [audience] = grant.audience.as_slice() else { return None };
    // Withheld members are recorded at introspection.
    narrow::grant(config, config.resource_server_of(audience)?, grant, &mut Vec::new())
}

/// The answer (RFC 6749 §5.1): `scope` if it differs from the requested one, `authorization_details` as granted (RFC
/// 9396 §7).
pub fn token_response(issue: &Issue, access_token: &str) -> Value {
    let mut answer = Map::new();
    answer.insert("access_token".to_owned(), json!(access_token));
    answer.insert("token_type".to_owned(), json!(TokenType::Bearer));
    answer.insert("expires_in".to_owned(), json!(issue.lifetime.as_secs()));
    if issue.scope_differs {
        answer.insert("scope".to_owned(), json!(issue.facts.grant.scope));
    }
    if !issue.facts.grant.authorization_details.is_empty() {
        answer.insert("authorization_details".to_owned(), json!(issue.facts.grant.authorization_details));
    }
    Value::Object(answer)
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
