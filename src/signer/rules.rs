//! What may be said: the signer's own reading of the configuration, deaf to what the gateway believes.
//!
//! Each function takes one ask and the signer's clock, and names the rule that is broken. A broken rule means that
//! the gateway has a defect or is not itself: nothing is signed, and a record says so.

use crate::claims::{
    ActiveToken, AnswerFormat, Authentication, AuthorizationDetail, ClaimKind, ClaimValue, ClientId,
    ExtraClaims, Issuer, NumericDate, Resource, Scope, Subject, TokenFormat, check_authorization_details,
};
use crate::config::{Client, Config, GrantType, ResourceServer};
use crate::door::message::{AccessTokenAsk, Context, IntrospectionAsk, OpaqueTokenAsk};

/// Seconds that `iat` may be away from the signer's clock: reading state, waiting in a queue.
const SKEW: u64 = 30;

/// The name of a broken rule.
pub(super) type Broken = &'static str;

type Verdict<T = ()> = Result<T, Broken>;

fn rule(holds: bool, name: Broken) -> Verdict {
    if holds { Ok(()) } else { Err(name) }
}

fn fresh(iat: NumericDate, now: NumericDate) -> Verdict {
    // A gateway may say any number: the distance of two of them is no signed one.
    rule(iat.0.abs_diff(now.0) <= SKEW, "iat-away-from-clock")
}

/// The resource server that asks.
pub(super) fn resource_server<'a>(config: &'a Config, context: &Context) -> Verdict<&'a ResourceServer> {
    let rs = config.resource_server(&context.caller).ok_or("caller-is-no-resource-server")?;
    rule(rs.authentication.method == context.method, "method-not-registered")?;
    Ok(rs)
}

/// The client that asks.
pub(super) fn client<'a>(config: &'a Config, context: &Context) -> Verdict<&'a Client> {
    let client = config.client(&context.caller).ok_or("caller-is-no-client")?;
    rule(client.authentication.method == context.method, "method-not-registered")?;
    Ok(client)
}

/// Invariants 2 and 5: the right form, and of an active token nothing beyond what this resource server may see.
pub(super) fn introspection<'a>(
    config: &'a Config,
    ask: &IntrospectionAsk,
    now: NumericDate,
) -> Verdict<&'a ResourceServer> {
    let rs = resource_server(config, &ask.context)?;
    rule(ask.format == AnswerFormat::Jwt || !rs.require_signed_response, "answer-must-be-signed")?;
    fresh(ask.iat, now)?;
    if let Some(token) = &ask.active {
        rule(ask.known, "active-and-unknown")?;
        active(config, rs, token, ask.iat)?;
    }
    Ok(rs)
}

fn active(config: &Config, rs: &ResourceServer, token: &ActiveToken, iat: NumericDate) -> Verdict {
    rule(token.aud == rs.resource, "audience-is-not-the-caller")?;
    rule(
        // The clock may have been set back since the token was issued.
        token.iat.0 <= iat.0.saturating_add_unsigned(SKEW)
            && token.exp > iat
            && token.nbf.is_none_or(|nbf| nbf <= iat),
        "token-not-in-force",
    )?;
    let client = config.client(&token.client_id).ok_or("token-of-unknown-client")?;
    lifetime(client, token.iat, token.exp)?;
    rule(token.scope.iter().all(|s| rs.scopes.contains(s)), "scope-of-another")?;
    details(rs, &token.authorization_details)?;
    has_part(rs, &token.scope, &token.authorization_details)?;
    let may = |name: &str| rs.claims.contains(name);
    rule(token.sub.is_none() || may("sub"), "claim-not-configured")?;
    let authentication =
        Authentication { acr: token.acr.clone(), amr: token.amr.clone(), auth_time: token.auth_time };
    claims(rs, &authentication, &token.extra)
}

/// A token lives for some time, and no longer than the entry of its own client says.
fn lifetime(client: &Client, iat: NumericDate, exp: NumericDate) -> Verdict {
    let most = i64::try_from(client.access_token_lifetime.as_secs()).unwrap_or(i64::MAX);
    rule((1..=most).contains(&exp.0.saturating_sub(iat.0)), "lifetime-too-long")
}

/// Details of types that `rs` owns, meant for nobody else, and right in themselves.
fn details(rs: &ResourceServer, details: &[AuthorizationDetail]) -> Verdict {
    if details.is_empty() {
        return Ok(());
    }
    rule(
        details.iter().all(|d| rs.authorization_details_types.contains(&d.detail_type())),
        "type-of-another",
    )?;
    rule(
        details.iter().all(|d| d.locations().iter().all(|location| *location == rs.resource)),
        "location-of-another",
    )?;
    rule(check_authorization_details(details).is_ok(), "details-not-valid")
}

/// Invariant 5: a resource server sees a token only if a scope or a detail of it is its own.
fn has_part(rs: &ResourceServer, scope: &Scope, details: &[AuthorizationDetail]) -> Verdict {
    let is_meant = |detail: &AuthorizationDetail| {
        rs.authorization_details_types.contains(&detail.detail_type())
            && (detail.locations().is_empty() || detail.locations().contains(&rs.resource))
    };
    rule(
        scope.iter().any(|token| rs.scopes.contains(token)) || details.iter().any(is_meant),
        "audience-without-grant",
    )
}

fn claims(rs: &ResourceServer, authentication: &Authentication, extra: &ExtraClaims) -> Verdict {
    let may = |name: &str| rs.claims.contains(name);
    rule(authentication.acr.is_none() || may("acr"), "claim-not-configured")?;
    rule(authentication.amr.is_empty() || may("amr"), "claim-not-configured")?;
    rule(authentication.auth_time.is_none() || may("auth_time"), "claim-not-configured")?;
    rule(extra.keys().all(|name| may(name.as_str())), "claim-not-configured")?;
    // `sub` may be configured and still be no further claim: it would stand in the JWT twice, and readers take either.
    rule(extra.keys().all(|name| name.kind() == ClaimKind::Further), "claim-reserved")?;
    rule(authentication.amr.len() <= Authentication::MAX_AMR, "claims-too-large")?;
    rule(extra.len() <= ClaimValue::MOST, "claims-too-large")
}

/// What every new token has to keep to, whatever its form.
struct NewToken<'a> {
    context: &'a Context,
    grant_issuer: Option<&'a Issuer>,
    audience: &'a [Resource],
    sub: &'a Subject,
    iat: NumericDate,
    exp: NumericDate,
    scope: &'a Scope,
    details: &'a [AuthorizationDetail],
    authentication: &'a Authentication,
    /// Further claims; an opaque token carries none.
    extra: Option<&'a ExtraClaims>,
}

fn new_token<'a>(config: &'a Config, token: &NewToken<'_>, now: NumericDate) -> Verdict<&'a Client> {
    let client = client(config, token.context)?;
    fresh(token.iat, now)?;
    lifetime(client, token.iat, token.exp)?;
    rule(!token.audience.is_empty(), "no-audience")?;
    rule(token.authentication.amr.len() <= Authentication::MAX_AMR, "claims-too-large")?;
    rule(token.audience.iter().all(|r| client.resources.contains(r)), "resource-not-registered")?;
    rule(token.scope.iter().all(|s| client.scope.contains(s)), "scope-not-registered")?;
    rule(
        token.details.iter().all(|d| client.authorization_details_types.contains(&d.detail_type())),
        "type-not-registered",
    )?;
    match token.grant_issuer {
        None => {
            rule(client.grant_types.contains(&GrantType::ClientCredentials), "grant-type-not-registered")?;
            rule(token.sub.as_str() == client.client_id.as_str(), "subject-is-not-the-client")?;
            rule(*token.authentication == Authentication::default(), "nobody-signed-in")?;
            rule(token.extra.is_none_or(ExtraClaims::is_empty), "nobody-signed-in")?;
        }
        Some(issuer) => {
            rule(client.grant_types.contains(&GrantType::JwtBearer), "grant-type-not-registered")?;
            let issuer =
                config.grant_issuers.iter().find(|g| g.issuer == *issuer).ok_or("unknown-grant-issuer")?;
            rule(token.audience.iter().all(|r| issuer.resources.contains(r)), "resource-not-of-issuer")?;
            rule(
                token.details.iter().all(|d| issuer.authorization_details_types.contains(&d.detail_type())),
                "type-not-of-issuer",
            )?;
        }
    }
    Ok(client)
}

/// RFC 9068, [D20](crate::manual::decisions#d20), [D27](crate::manual::decisions#d27): one audience that takes
/// `at+jwt`, and nothing in it that this audience may not see.
pub(super) fn access_token<'a>(
    config: &'a Config,
    ask: &AccessTokenAsk,
    now: NumericDate,
) -> Verdict<&'a ResourceServer> {
    new_token(
        config,
        &NewToken {
            context: &ask.context,
            grant_issuer: ask.grant_issuer.as_ref(),
            audience: std::slice::from_ref(&ask.aud),
            sub: &ask.sub,
            iat: ask.iat,
            exp: ask.exp,
            scope: &ask.scope,
            details: &ask.authorization_details,
            authentication: &ask.authentication,
            extra: Some(&ask.extra),
        },
        now,
    )?;
    let rs = config.resource_server_of(&ask.aud).ok_or("unknown-resource")?;
    rule(rs.access_token_formats.contains(&TokenFormat::AtJwt), "format-not-taken")?;
    rule(ask.scope.iter().all(|s| rs.scopes.contains(s)), "scope-of-another")?;
    details(rs, &ask.authorization_details)?;
    has_part(rs, &ask.scope, &ask.authorization_details)?;
    claims(rs, &ask.authentication, &ask.extra)?;
    Ok(rs)
}

/// An opaque token: each scope and each type is owned by one of its audience, and each of those has one and takes this
/// form.
pub(super) fn opaque_token(config: &Config, ask: &OpaqueTokenAsk, now: NumericDate) -> Verdict {
    new_token(
        config,
        &NewToken {
            context: &ask.context,
            grant_issuer: ask.grant_issuer.as_ref(),
            audience: &ask.audience,
            sub: &ask.sub,
            iat: ask.iat,
            exp: ask.exp,
            scope: &ask.scope,
            details: &ask.authorization_details,
            authentication: &ask.authentication,
            extra: None,
        },
        now,
    )?;
    let mut owners: Vec<&ResourceServer> = Vec::with_capacity(ask.audience.len());
    for resource in &ask.audience {
        let rs = config.resource_server_of(resource).ok_or("unknown-resource")?;
        rule(rs.access_token_formats.contains(&TokenFormat::Opaque), "format-not-taken")?;
        has_part(rs, &ask.scope, &ask.authorization_details)?;
        owners.push(rs);
    }
    rule(ask.scope.iter().all(|s| owners.iter().any(|rs| rs.scopes.contains(s))), "scope-of-another")?;
    rule(
        ask.authorization_details
            .iter()
            .all(|d| owners.iter().any(|rs| rs.authorization_details_types.contains(&d.detail_type()))),
        "type-of-another",
    )?;
    rule(
        ask.authorization_details
            .iter()
            .all(|d| d.locations().iter().all(|location| ask.audience.contains(location))),
        "location-of-another",
    )?;
    rule(
        ask.authorization_details.is_empty()
            || check_authorization_details(&ask.authorization_details).is_ok(),
        "details-not-valid",
    )
}

/// Whether a name in a refusal or a rule list is one of ours: short, lower case, with hyphens.
pub(super) fn is_rule_name(name: &str) -> bool {
    (1..=128).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
}

/// Who is named in a context is somebody that the configuration knows.
pub(super) fn known_caller(config: &Config, caller: &ClientId) -> Verdict {
    rule(config.client(caller).is_some() || config.resource_server(caller).is_some(), "unknown-caller")
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
