//! The part of a grant that one resource server may see, for introspection and `at+jwt` alike.
//!
//! Default deny (RFC 9396 §13, RFC 9701 §9): only scopes, types and claims that its own entry names, only details for
//! it. The reasons for which something is withheld stand in the audit record, never to the caller.

use crate::claims::{
    Authentication, AuthorizationDetail, Claim, ExtraClaims, Grant, Reason, Resource, Scope,
};
use crate::config::{Config, ResourceServer};

/// Each once.
pub(super) type Reasons = Vec<Reason>;

/// Adds `reason` once.
fn note(reasons: &mut Reasons, reason: Reason) {
    if !reasons.contains(&reason) {
        reasons.push(reason);
    }
}

/// The part of `grant` that `rs` may see; `None` without any (invariant 5). Subject, client and origin stay: the signer
/// needs them, and shows the first two to a resource server whose entry names them.
pub(super) fn grant(
    config: &Config,
    rs: &ResourceServer,
    grant: &Grant,
    reasons: &mut Reasons,
) -> Option<Grant> {
    let scope = scope(rs, &grant.scope, reasons);
    let authorization_details = details(config, rs, grant, reasons);
    if scope.is_empty() && authorization_details.is_empty() {
        note(reasons, Reason::AudienceWithoutGrant);
        return None;
    }
    let authentication = authentication(rs, &grant.authentication, reasons);
    sees(rs, Claim::ClientId, true, reasons);
    sees(rs, Claim::Sub, true, reasons);
    let extra = extra(rs, &grant.extra, reasons);
    let audience = vec![rs.resource.clone()];
    let (subject, client_id, origin) = (grant.subject.clone(), grant.client_id.clone(), grant.origin.clone());
    Some(Grant { subject, client_id, origin, audience, scope, authorization_details, authentication, extra })
}

/// The scopes that `rs` owns, in the order of the grant.
fn scope(rs: &ResourceServer, granted: &Scope, reasons: &mut Reasons) -> Scope {
    let narrowed = granted.narrowed(|token| rs.scopes.contains(token));
    if narrowed != *granted {
        note(reasons, Reason::ScopeWithheld);
    }
    narrowed
}

/// The details for `rs`: its own type, and its resource among the locations, which are cut to it. Without locations the
/// type decides, unless another resource server of the audience owns it too, after a change of the configuration
/// ([D25](crate::manual::decisions#d25)).
fn details(
    config: &Config,
    rs: &ResourceServer,
    grant: &Grant,
    reasons: &mut Reasons,
) -> Vec<AuthorizationDetail> {
    let mut own = Vec::new();
    for detail in &grant.authorization_details {
        if !rs.authorization_details_types.contains(&detail.detail_type()) {
            note(reasons, Reason::DetailTypeWithheld);
        } else if detail.locations().is_empty() {
            if shared(config, rs, &grant.audience, detail) {
                note(reasons, Reason::DetailOwnerAmbiguous);
            } else {
                own.push(detail.clone());
            }
        } else if detail.locations().contains(&rs.resource) {
            if detail.locations().iter().any(|location| *location != rs.resource) {
                note(reasons, Reason::DetailLocationWithheld);
            }
            own.push(detail.with_locations(vec![rs.resource.clone()]));
        } else {
            note(reasons, Reason::DetailLocationWithheld);
        }
    }
    own
}

/// Whether another resource server of the audience owns the type of `detail` as well.
fn shared(config: &Config, rs: &ResourceServer, audience: &[Resource], detail: &AuthorizationDetail) -> bool {
    audience
        .iter()
        .filter(|resource| **resource != rs.resource)
        .filter_map(|resource| config.resource_server_of(resource))
        .any(|other| other.authorization_details_types.contains(&detail.detail_type()))
}

/// Whether `rs` may see `claim`; notes one that exists and is withheld.
fn sees(rs: &ResourceServer, claim: Claim, exists: bool, reasons: &mut Reasons) -> bool {
    let named = rs.claims.contains(claim.name());
    if exists && !named {
        note(reasons, Reason::ClaimWithheld(claim));
    }
    exists && named
}

/// The authentication facts that `rs` may see.
fn authentication(rs: &ResourceServer, all: &Authentication, reasons: &mut Reasons) -> Authentication {
    let mut own = Authentication::default();
    if sees(rs, Claim::Acr, all.acr.is_some(), reasons) {
        own.acr.clone_from(&all.acr);
    }
    if sees(rs, Claim::Amr, !all.amr.is_empty(), reasons) {
        own.amr.clone_from(&all.amr);
    }
    if sees(rs, Claim::AuthTime, all.auth_time.is_some(), reasons) {
        own.auth_time = all.auth_time;
    }
    own
}

/// The further claims that `rs` may see. One rule covers all withheld ones, since a claim's name may reveal its value.
fn extra(rs: &ResourceServer, all: &ExtraClaims, reasons: &mut Reasons) -> ExtraClaims {
    let own: ExtraClaims = all
        .iter()
        .filter(|(name, _)| rs.claims.contains(*name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if own.len() < all.len() {
        note(reasons, Reason::ClaimWithheld(Claim::Extra));
    }
    own
}
