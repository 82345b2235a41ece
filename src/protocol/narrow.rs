//! The part of a grant that one resource server may see, for introspection and `at+jwt` alike.
//!
//! Default deny (RFC 9396 §13, RFC 9701 §9): only scopes, types and claims that its own entry names, only details for
//! it. Rules that withheld something are named in the audit record, never to the caller.

use crate::claims::{Authentication, AuthorizationDetail, ExtraClaims, Grant, Resource, Scope};
use crate::config::{Config, ResourceServer};

/// Names of rules, each once.
pub(super) type Rules = Vec<&'static str>;

/// Adds `rule` once.
pub(super) fn note(rules: &mut Rules, rule: &'static str) {
    if !rules.contains(&rule) {
        rules.push(rule);
    }
}

/// The part of `grant` that `rs` may see; `None` without any (invariant 5). Subject, client and origin stay: the signer
/// needs them, and shows the first two to a resource server whose entry names them.
pub(super) fn grant(config: &Config, rs: &ResourceServer, grant: &Grant, rules: &mut Rules) -> Option<Grant> {
    let scope = scope(rs, &grant.scope, rules);
    let authorization_details = details(config, rs, grant, rules);
    if scope.is_empty() && authorization_details.is_empty() {
        note(rules, "audience-without-grant");
        return None;
    }
    let authentication = authentication(rs, &grant.authentication, rules);
    sees(rs, "client_id", true, "claim-withheld:client_id", rules);
    sees(rs, "sub", true, "claim-withheld:sub", rules);
    let extra = extra(rs, &grant.extra, rules);
    let audience = vec![rs.resource.clone()];
    let (subject, client_id, origin) = (grant.subject.clone(), grant.client_id.clone(), grant.origin.clone());
    Some(Grant { subject, client_id, origin, audience, scope, authorization_details, authentication, extra })
}

/// The scopes that `rs` owns, in the order of the grant.
fn scope(rs: &ResourceServer, granted: &Scope, rules: &mut Rules) -> Scope {
    let narrowed = granted.narrowed(|token| rs.scopes.contains(token));
    if narrowed != *granted {
        note(rules, "scope-withheld");
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
    rules: &mut Rules,
) -> Vec<AuthorizationDetail> {
    let mut own = Vec::new();
    for detail in &grant.authorization_details {
        if !rs.authorization_details_types.contains(&detail.detail_type()) {
            note(rules, "detail-type-withheld");
        } else if detail.locations().is_empty() {
            if shared(config, rs, &grant.audience, detail) {
                note(rules, "detail-owner-ambiguous");
            } else {
                own.push(detail.clone());
            }
        } else if detail.locations().contains(&rs.resource) {
            if detail.locations().iter().any(|location| *location != rs.resource) {
                note(rules, "detail-location-withheld");
            }
            own.push(detail.with_locations(vec![rs.resource.clone()]));
        } else {
            note(rules, "detail-location-withheld");
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

/// Whether `rs` may see the claim `name`; notes a claim that exists and is withheld.
fn sees(rs: &ResourceServer, name: &str, exists: bool, withheld: &'static str, rules: &mut Rules) -> bool {
    let named = rs.claims.contains(name);
    if exists && !named {
        note(rules, withheld);
    }
    exists && named
}

/// The authentication facts that `rs` may see.
fn authentication(rs: &ResourceServer, all: &Authentication, rules: &mut Rules) -> Authentication {
    let mut own = Authentication::default();
    if sees(rs, "acr", all.acr.is_some(), "claim-withheld:acr", rules) {
        own.acr.clone_from(&all.acr);
    }
    if sees(rs, "amr", !all.amr.is_empty(), "claim-withheld:amr", rules) {
        own.amr.clone_from(&all.amr);
    }
    if sees(rs, "auth_time", all.auth_time.is_some(), "claim-withheld:auth_time", rules) {
        own.auth_time = all.auth_time;
    }
    own
}

/// The further claims that `rs` may see. One rule covers all withheld ones, since a claim's name may reveal its value.
fn extra(rs: &ResourceServer, all: &ExtraClaims, rules: &mut Rules) -> ExtraClaims {
    let own: ExtraClaims = all
        .iter()
        .filter(|(name, _)| rs.claims.contains(*name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if own.len() < all.len() {
        note(rules, "claim-withheld:extra");
    }
    own
}
