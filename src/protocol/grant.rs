//! Decides audience, scope, details and format of a token request, from the ceiling and the request (RFC 8707 §2, RFC
//! 9068 §3, RFC 9396 §6; [D20](crate::manual::decisions#d20), [D23](crate::manual::decisions#d23),
//! [D25](crate::manual::decisions#d25), [D27](crate::manual::decisions#d27)).
//!
//! A request beyond the ceiling is refused, never reduced silently. An omitted parameter gets everything under the
//! ceiling for the audience. A value that fits two resource servers is refused as ambiguous. Each member of the
//! audience needs a scope or detail of its own: a `resource` parameter or claim narrows a grant and gives nothing by
//! itself.

use super::error::{ErrorCode, OAuthError};
use super::reduction;
use super::token::Wanted;
use crate::claims::{AuthorizationDetail, DetailType, Resource, Scope, ScopeToken, TokenFormat};
use crate::config::{Client, Config, ResourceServer};
use std::collections::BTreeSet;

/// The ceiling of one request: what client and issuer may give together.
pub(super) struct Ceiling<'a> {
    /// All resource servers, to tell an unknown location from a forbidden one.
    pub(super) config: &'a Config,
    /// Resource servers under the ceiling, in the order of the file.
    pub(super) resource_servers: Vec<&'a ResourceServer>,
    /// Scopes under the ceiling.
    pub(super) scope: Scope,
    /// Types under the ceiling.
    pub(super) types: BTreeSet<DetailType>,
    /// The details that the resource owner granted; `None` for a client in its own right, whose request is the grant.
    pub(super) details: Option<&'a [AuthorizationDetail]>,
}

/// The decision.
#[derive(Debug)]
pub(super) struct Given<'a> {
    pub(super) audience: Vec<&'a ResourceServer>,
    pub(super) scope: Scope,
    pub(super) details: Vec<AuthorizationDetail>,
    pub(super) format: TokenFormat,
}

/// Decides one request of `client`.
pub(super) fn decide<'a>(
    ceiling: &Ceiling<'a>,
    client: &Client,
    wanted: &Wanted,
) -> Result<Given<'a>, OAuthError> {
    check_asked(ceiling, wanted)?;
    let audience = audience(ceiling, wanted)?;
    let scope = scope(ceiling, wanted, &audience)?;
    let details = details(ceiling, wanted, &audience)?;
    if scope.is_empty() && details.is_empty() {
        return Err(OAuthError::new(
            ErrorCode::InvalidScope,
            "nothing-granted",
            "no scope and no authorization_details of this request may be given for a resource of this client",
        ));
    }
    // Invariant 5: a resource server without a part of the grant is not in the audience, whatever the client requests
    // (RFC 8707 §2).
    if let Some(rs) = audience.iter().find(|rs| !has_part(rs, &scope, &details)) {
        return Err(OAuthError::new(
            ErrorCode::InvalidTarget,
            "resource-without-grant",
            format!("no scope and no authorization_details of this request are given for {}", rs.resource),
        ));
    }
    let format = format(client, &audience)?;
    Ok(Given { audience, scope, details, format })
}

/// Whether the request stays under the ceiling.
fn check_asked(ceiling: &Ceiling<'_>, wanted: &Wanted) -> Result<(), OAuthError> {
    if let Some(token) = wanted.scope.iter().flat_map(Scope::iter).find(|t| !ceiling.scope.contains(t)) {
        return Err(OAuthError::new(
            ErrorCode::InvalidScope,
            "scope-not-granted",
            format!("the scope {} was not granted or is not allowed to this client", token.as_str()),
        ));
    }
    let covered = match (&wanted.authorization_details, ceiling.details) {
        (Some(asked), Some(granted)) => reduction::within(asked, granted),
        _ => true,
    };
    if !covered {
        return Err(OAuthError::new(
            ErrorCode::InvalidAuthorizationDetails,
            "details-not-granted",
            "authorization_details ask for more or for something else than was granted",
        ));
    }
    Ok(())
}

/// The audience: the requested resources; else the owners of the requested scopes and details; else the owners of
/// everything under the ceiling.
fn audience<'a>(ceiling: &Ceiling<'a>, wanted: &Wanted) -> Result<Vec<&'a ResourceServer>, OAuthError> {
    let mut audience: Vec<&ResourceServer> = Vec::new();
    for resource in &wanted.resources {
        let rs = ceiling.resource_servers.iter().find(|rs| rs.resource == *resource).ok_or_else(|| {
            OAuthError::new(
                ErrorCode::InvalidTarget,
                "resource-not-allowed",
                format!("the resource {resource} is unknown or not allowed for this request"),
            )
        })?;
        if !audience.iter().any(|other| other.resource == rs.resource) {
            audience.push(rs);
        }
    }
    if audience.is_empty() {
        let none = Scope::default();
        let open = wanted.scope.is_none() && wanted.authorization_details.is_none();
        let scope = wanted.scope.as_ref().or(open.then_some(&ceiling.scope));
        let details = wanted.authorization_details.as_deref().or(ceiling.details.filter(|_| open));
        let (scope, details) = (scope.unwrap_or(&none), details.unwrap_or_default());
        audience =
            ceiling.resource_servers.iter().filter(|rs| has_part(rs, scope, details)).copied().collect();
    }
    Ok(audience)
}

/// Whether `rs` owns the type of `detail`.
fn owns(rs: &ResourceServer, detail: &AuthorizationDetail) -> bool {
    rs.authorization_details_types.contains(&detail.detail_type())
}

/// Whether `rs` owns one of `scope` or `details`.
fn has_part(rs: &ResourceServer, scope: &Scope, details: &[AuthorizationDetail]) -> bool {
    let is_meant = |detail: &AuthorizationDetail| {
        owns(rs, detail) && (detail.locations().is_empty() || detail.locations().contains(&rs.resource))
    };
    scope.iter().any(|token| rs.scopes.contains(token)) || details.iter().any(is_meant)
}

/// The requested scopes, or all under the ceiling, each with exactly one owner in the audience.
fn scope(ceiling: &Ceiling<'_>, wanted: &Wanted, audience: &[&ResourceServer]) -> Result<Scope, OAuthError> {
    let owners = |token: &ScopeToken| audience.iter().filter(|rs| rs.scopes.contains(token)).count();
    let candidates = wanted.scope.as_ref().unwrap_or(&ceiling.scope);
    for token in candidates {
        match owners(token) {
            0 if wanted.scope.is_some() => {
                return Err(OAuthError::new(
                    ErrorCode::InvalidScope,
                    "scope-without-resource",
                    format!("the scope {} belongs to no resource of this request", token.as_str()),
                ));
            }
            // RFC 9068 §3: an ambiguous scope is not issued.
            2.. => {
                return Err(OAuthError::new(
                    ErrorCode::InvalidTarget,
                    "scope-ambiguous",
                    format!(
                        "the scope {} belongs to several resources of this request; ask for one resource",
                        token.as_str()
                    ),
                ));
            }
            _ => {}
        }
    }
    Ok(candidates.narrowed(|token| owners(token) == 1))
}

/// The requested details, or all granted ones, each with its locations in the audience.
fn details(
    ceiling: &Ceiling<'_>,
    wanted: &Wanted,
    audience: &[&ResourceServer],
) -> Result<Vec<AuthorizationDetail>, OAuthError> {
    let asked = wanted.authorization_details.is_some();
    let candidates = wanted.authorization_details.as_deref().or(ceiling.details).unwrap_or_default();
    let mut given = Vec::new();
    for detail in candidates {
        let placed = if asked {
            place_asked(detail, audience)
        } else {
            place_granted(ceiling.config, detail, audience)
        }?;
        let Some(placed) = placed else { continue };
        if !ceiling.types.contains(&detail.detail_type()) {
            return Err(refused_detail(
                "detail-type-not-allowed",
                detail,
                "this type is not allowed to this client or to the issuer of its grant",
            ));
        }
        given.push(placed);
    }
    Ok(given)
}

/// A requested object: each of its locations must be in the audience.
fn place_asked(
    detail: &AuthorizationDetail,
    audience: &[&ResourceServer],
) -> Result<Option<AuthorizationDetail>, OAuthError> {
    if detail.locations().is_empty() {
        if one_owner(detail, audience)? {
            return Ok(Some(detail.clone()));
        }
        return Err(refused_detail(
            "detail-without-resource",
            detail,
            "no resource of this request takes this type",
        ));
    }
    let owned = |place: &Resource| audience.iter().any(|rs| rs.resource == *place && owns(rs, detail));
    match detail.locations().iter().find(|place| !owned(place)) {
        Some(_) => Err(refused_detail(
            "detail-location-unknown",
            detail,
            "locations name a place that is no resource of this request or does not take this type",
        )),
        None => Ok(Some(detail.with_locations(each_once(detail.locations())))),
    }
}

/// A granted object that the client did not request: it is cut to the audience, possibly to nothing. An unknown
/// location, or one whose resource server does not own the type, is the issuer's mistake and an error.
fn place_granted(
    config: &Config,
    detail: &AuthorizationDetail,
    audience: &[&ResourceServer],
) -> Result<Option<AuthorizationDetail>, OAuthError> {
    if detail.locations().is_empty() {
        return Ok(one_owner(detail, audience)?.then(|| detail.clone()));
    }
    let takes = |place: &Resource| config.resource_server_of(place).is_some_and(|rs| owns(rs, detail));
    if !detail.locations().iter().all(takes) {
        return Err(refused_detail(
            "detail-location-unknown",
            detail,
            "locations of the grant name a place that is no resource here or does not take this type",
        ));
    }
    let mut places = each_once(detail.locations());
    places.retain(|place| audience.iter().any(|rs| rs.resource == *place));
    Ok((!places.is_empty()).then(|| detail.with_locations(places)))
}

/// Whether one member of the audience owns the type; two are an error ([D25](crate::manual::decisions#d25)).
fn one_owner(detail: &AuthorizationDetail, audience: &[&ResourceServer]) -> Result<bool, OAuthError> {
    match audience.iter().filter(|rs| owns(rs, detail)).count() {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(refused_detail(
            "detail-ambiguous",
            detail,
            "several resources of this request take this type; name one in locations or ask for one resource",
        )),
    }
}

fn each_once(places: &[Resource]) -> Vec<Resource> {
    let mut once: Vec<Resource> = Vec::new();
    for place in places {
        if !once.contains(place) {
            once.push(place.clone());
        }
    }
    once
}

fn refused_detail(rule: &'static str, detail: &AuthorizationDetail, why: &str) -> OAuthError {
    let text = format!("authorization_details of type {}: {why}", detail.detail_type().name());
    OAuthError::new(ErrorCode::InvalidAuthorizationDetails, rule, text)
}

/// The format: the client's choice if the whole audience accepts it, else the first format of the first resource server
/// that all accept ([D27](crate::manual::decisions#d27)). Several audiences get an opaque token or an error
/// ([D20](crate::manual::decisions#d20)).
fn format(client: &Client, audience: &[&ResourceServer]) -> Result<TokenFormat, OAuthError> {
    let all_take = |format: TokenFormat| audience.iter().all(|rs| rs.access_token_formats.contains(&format));
    let several = audience.len() > 1;
    let refused = |rule, text: &str| Err(OAuthError::new(ErrorCode::InvalidTarget, rule, text));
    let fits = |format: TokenFormat| all_take(format) && !(several && format == TokenFormat::AtJwt);
    if let Some(choice) = client.access_token_format {
        return match choice {
            TokenFormat::AtJwt if several => refused(
                "several-audiences",
                "an at+jwt has exactly one audience and this request concerns several resources; ask for one resource",
            ),
            choice if all_take(choice) => Ok(choice),
            _ => refused(
                "format-not-taken",
                "a resource of this request does not take the access token format of this client",
            ),
        };
    }
    let offered = audience.first().map(|rs| rs.access_token_formats.as_slice()).unwrap_or_default();
    match offered.iter().copied().find(|format| fits(*format)) {
        Some(format) => Ok(format),
        None if several => refused(
            "several-audiences",
            "several resources in one token mean an opaque token, which not all of them take; ask for one resource",
        ),
        None => refused("format-not-taken", "no access token format fits the resources of this request"),
    }
}
