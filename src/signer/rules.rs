//! The signer's rules: checks every ask against the signer's own configuration, without trust in the gateway.
//!
//! Each function takes one ask and the signer's clock, and returns the broken rule. A broken rule means that the
//! gateway has a defect or an attacker controls it: nothing is signed, and a record says so.

use crate::claims::{
    ActiveToken, AnswerFormat, Authentication, AuthorizationDetail, ClaimKind, ClaimValue, ClientId,
    DetailType, Grant, NumericDate, Origin, Reason, TokenFormat, check_authorization_details,
};
use crate::config::{Client, Config, GrantType, ResourceServer};
use crate::door::message::{Context, IntrospectionAsk, TokenAsk};
use std::collections::BTreeSet;

/// Limit of the difference between `iat` and the signer's clock in seconds, for reading the state and waiting.
const SKEW: u64 = 30;

/// Limit of the reasons of one answer.
const MOST_REASONS: usize = 64;

type Verdict<T = ()> = Result<T, Reason>;

fn rule(holds: bool, broken: Reason) -> Verdict {
    if holds { Ok(()) } else { Err(broken) }
}

fn fresh(iat: NumericDate, now: NumericDate) -> Verdict {
    // A hostile `iat` may be any number: a signed difference could overflow.
    rule(iat.0.abs_diff(now.0) <= SKEW, Reason::IatAwayFromClock)
}

/// The resource server of the ask.
pub(super) fn resource_server<'a>(config: &'a Config, context: &Context) -> Verdict<&'a ResourceServer> {
    let rs = config.resource_server(&context.caller).ok_or(Reason::CallerIsNoResourceServer)?;
    rule(rs.authentication.method == context.method, Reason::MethodNotRegistered)?;
    Ok(rs)
}

/// The client of the ask.
pub(super) fn client<'a>(config: &'a Config, context: &Context) -> Verdict<&'a Client> {
    let client = config.client(&context.caller).ok_or(Reason::CallerIsNoClient)?;
    rule(client.authentication.method == context.method, Reason::MethodNotRegistered)?;
    Ok(client)
}

/// Invariants 2 and 5: the right format, and of an active token only members that this resource server may see.
pub(super) fn introspection<'a>(
    config: &'a Config,
    ask: &IntrospectionAsk,
    now: NumericDate,
) -> Verdict<&'a ResourceServer> {
    let rs = resource_server(config, &ask.context)?;
    rule(ask.format == AnswerFormat::Jwt || !rs.require_signed_response, Reason::AnswerMustBeSigned)?;
    fresh(ask.iat, now)?;
    rule(ask.reasons.len() <= MOST_REASONS, Reason::TooManyReasons)?;
    if let Some(token) = &ask.active {
        rule(ask.known, Reason::ActiveAndUnknown)?;
        active(config, rs, token, ask.iat)?;
    }
    Ok(rs)
}

fn active(config: &Config, rs: &ResourceServer, token: &ActiveToken, iat: NumericDate) -> Verdict {
    let grant = &token.grant;
    rule(grant.audience.as_slice() == std::slice::from_ref(&rs.resource), Reason::AudienceIsNotTheCaller)?;
    rule(
        // The clock may have been set back since the token was issued.
        token.iat.0 <= iat.0.saturating_add_unsigned(SKEW)
            && token.exp > iat
            && token.nbf.is_none_or(|nbf| nbf <= iat),
        Reason::TokenNotInForce,
    )?;
    let client = config.client(&grant.client_id).ok_or(Reason::TokenOfUnknownClient)?;
    lifetime(client, token.iat, token.exp)?;
    narrowed(rs, grant)
}

/// A grant with only members that `rs` may see, except its subject and client.
fn narrowed(rs: &ResourceServer, grant: &Grant) -> Verdict {
    rule(grant.scope.iter().all(|s| rs.scopes.contains(s)), Reason::ScopeOfAnother)?;
    rule(
        grant.authorization_details.iter().all(|d| rs.authorization_details_types.contains(&d.detail_type())),
        Reason::TypeOfAnother,
    )?;
    has_part(rs, grant)?;
    let may = |name: &str| rs.claims.contains(name);
    let authentication = &grant.authentication;
    rule(authentication.acr.is_none() || may("acr"), Reason::ClaimNotConfigured)?;
    rule(authentication.amr.is_empty() || may("amr"), Reason::ClaimNotConfigured)?;
    rule(authentication.auth_time.is_none() || may("auth_time"), Reason::ClaimNotConfigured)?;
    rule(grant.extra.keys().all(|name| may(name.as_str())), Reason::ClaimNotConfigured)?;
    valid(grant)
}

/// A grant that is consistent in itself: details for its audience, claims that a JWT can hold.
fn valid(grant: &Grant) -> Verdict {
    let details = &grant.authorization_details;
    rule(
        details.iter().all(|d| d.locations().iter().all(|location| grant.audience.contains(location))),
        Reason::LocationOfAnother,
    )?;
    rule(details.is_empty() || check_authorization_details(details).is_ok(), Reason::DetailsNotValid)?;
    // `sub` may be configured, but is no further claim: the JWT would hold it twice, and readers differ on which one
    // counts.
    rule(grant.extra.keys().all(|name| name.kind() == ClaimKind::Further), Reason::ClaimReserved)?;
    rule(grant.authentication.amr.len() <= Authentication::MAX_AMR, Reason::ClaimsTooLarge)?;
    rule(grant.extra.len() <= ClaimValue::MOST, Reason::ClaimsTooLarge)
}

/// The lifetime is positive, and within the limit of the client's entry.
fn lifetime(client: &Client, iat: NumericDate, exp: NumericDate) -> Verdict {
    let most = i64::try_from(client.access_token_lifetime.as_secs()).unwrap_or(i64::MAX);
    rule((1..=most).contains(&exp.0.saturating_sub(iat.0)), Reason::LifetimeTooLong)
}

/// Invariant 5: a resource server sees a token only if it owns one of its scopes or details.
fn has_part(rs: &ResourceServer, grant: &Grant) -> Verdict {
    let is_meant = |detail: &AuthorizationDetail| {
        rs.authorization_details_types.contains(&detail.detail_type())
            && (detail.locations().is_empty() || detail.locations().contains(&rs.resource))
    };
    rule(
        grant.scope.iter().any(|token| rs.scopes.contains(token))
            || grant.authorization_details.iter().any(is_meant),
        Reason::AudienceWithoutGrant,
    )
}

/// Rules for every new token, of either format.
fn new_token(config: &Config, ask: &TokenAsk, now: NumericDate) -> Verdict {
    let grant = &ask.grant;
    let client = client(config, &ask.context)?;
    rule(grant.client_id == client.client_id, Reason::ClientIsNotTheCaller)?;
    fresh(ask.iat, now)?;
    lifetime(client, ask.iat, ask.exp)?;
    rule(!grant.audience.is_empty(), Reason::NoAudience)?;
    rule(grant.audience.iter().all(|r| client.resources.contains(r)), Reason::ResourceNotRegistered)?;
    rule(grant.scope.iter().all(|s| client.scope.contains(s)), Reason::ScopeNotRegistered)?;
    let types = |all: &BTreeSet<DetailType>| {
        grant.authorization_details.iter().all(|d| all.contains(&d.detail_type()))
    };
    rule(types(&client.authorization_details_types), Reason::TypeNotRegistered)?;
    match &grant.origin {
        Origin::OwnRight => {
            rule(client.grant_types.contains(&GrantType::ClientCredentials), Reason::GrantTypeNotRegistered)?;
            rule(grant.subject.as_str() == client.client_id.as_str(), Reason::SubjectIsNotTheClient)?;
            rule(grant.authentication == Authentication::default(), Reason::NobodySignedIn)?;
            rule(grant.extra.is_empty(), Reason::NobodySignedIn)
        }
        Origin::Assertion(issuer) => {
            rule(client.grant_types.contains(&GrantType::JwtBearer), Reason::GrantTypeNotRegistered)?;
            let issuer = config
                .grant_issuers
                .iter()
                .find(|g| g.issuer == *issuer)
                .ok_or(Reason::UnknownGrantIssuer)?;
            rule(grant.audience.iter().all(|r| issuer.resources.contains(r)), Reason::ResourceNotOfIssuer)?;
            rule(types(&issuer.authorization_details_types), Reason::TypeNotOfIssuer)
        }
    }
}

/// RFC 9068, [D20](crate::manual::decisions#d20), [D27](crate::manual::decisions#d27): one audience that accepts
/// `at+jwt`, and only members that this audience may see.
pub(super) fn access_token<'a>(
    config: &'a Config,
    ask: &TokenAsk,
    now: NumericDate,
) -> Verdict<&'a ResourceServer> {
    new_token(config, ask, now)?;
    let [audience] = ask.grant.audience.as_slice() else { return Err(Reason::SeveralAudiences) };
    let rs = config.resource_server_of(audience).ok_or(Reason::UnknownResource)?;
    rule(rs.access_token_formats.contains(&TokenFormat::AtJwt), Reason::FormatNotTaken)?;
    narrowed(rs, &ask.grant)?;
    Ok(rs)
}

/// An opaque token: each scope, type and further claim belongs to a member of the audience, and each member has a part
/// and accepts the format.
pub(super) fn opaque_token(config: &Config, ask: &TokenAsk, now: NumericDate) -> Verdict {
    new_token(config, ask, now)?;
    let grant = &ask.grant;
    let mut owners: Vec<&ResourceServer> = Vec::with_capacity(grant.audience.len());
    for resource in &grant.audience {
        let rs = config.resource_server_of(resource).ok_or(Reason::UnknownResource)?;
        rule(rs.access_token_formats.contains(&TokenFormat::Opaque), Reason::FormatNotTaken)?;
        has_part(rs, grant)?;
        owners.push(rs);
    }
    let owned = |by: &dyn Fn(&ResourceServer) -> bool| owners.iter().any(|rs| by(rs));
    rule(grant.scope.iter().all(|s| owned(&|rs| rs.scopes.contains(s))), Reason::ScopeOfAnother)?;
    let types = grant.authorization_details.iter().map(AuthorizationDetail::detail_type);
    rule(
        types.into_iter().all(|t| owned(&|rs| rs.authorization_details_types.contains(&t))),
        Reason::TypeOfAnother,
    )?;
    rule(grant.extra.keys().all(|name| owned(&|rs| rs.claims.contains(name))), Reason::ClaimNotConfigured)?;
    valid(grant)
}

/// The caller of a context is configured.
pub(super) fn known_caller(config: &Config, caller: &ClientId) -> Verdict {
    rule(config.client(caller).is_some() || config.resource_server(caller).is_some(), Reason::UnknownCaller)
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
