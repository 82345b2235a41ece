//! Which path leads where: the endpoints of the issuer, and JSON for everything else.

use super::introspect::{Introspection, introspect};
use super::jwks::{KeySet, jwks};
use super::metadata::{MetadataDocument, metadata};
use super::reply::Reply;
use super::revoke::{Revocation, revoke};
use super::token::{Issuance, token};
use super::visit::{Peer, Visits};
use crate::claims::Issuer;
use crate::protocol::{endpoint, metadata_path};
use axum::Router;
use axum::body::Body;
use axum::extract::Extension;
use axum::http::Response;
use axum::routing::{get, post};
use std::future::{Ready, ready};
use std::sync::Arc;

/// What stands behind each path.
pub(super) struct Endpoints {
    /// RFC 7662 and RFC 9701.
    pub(super) introspection: Introspection,
    /// RFC 6749 §3.2.
    pub(super) issuance: Issuance,
    /// RFC 7009.
    pub(super) revocation: Revocation,
    /// RFC 8414.
    pub(super) metadata: MetadataDocument,
    /// RFC 7517 §5.
    pub(super) keys: KeySet,
    /// Requests that lead nowhere.
    pub(super) unknown: Visits,
}

/// The public routes of `issuer`.
pub(super) fn routes(issuer: &Issuer, endpoints: Endpoints) -> Router {
    let Endpoints { introspection, issuance, revocation, metadata: document, keys, unknown } = endpoints;
    let not_posted = || stray(&unknown, || Reply::wrong_method("POST"));
    let not_fetched = || stray(&unknown, || Reply::wrong_method("GET, HEAD"));
    let path = |name| literal(&endpoint(issuer, name));
    Router::new()
        .without_v07_checks()
        .route(
            &path("introspect"),
            post(introspect).fallback(not_posted()).with_state(Arc::new(introspection)),
        )
        .route(&path("token"), post(token).fallback(not_posted()).with_state(Arc::new(issuance)))
        .route(&path("revoke"), post(revoke).fallback(not_posted()).with_state(Arc::new(revocation)))
        .route(&path("jwks"), get(jwks).fallback(not_fetched()).with_state(Arc::new(keys)))
        .route(
            &literal(&metadata_path(issuer)),
            get(metadata).fallback(not_fetched()).with_state(Arc::new(document)),
        )
        .fallback(stray(&unknown, Reply::unknown_path))
}

/// A request that no endpoint takes.
fn stray(
    visits: &Visits,
    reply: fn() -> Reply,
) -> impl Fn(Option<Extension<Peer>>) -> Ready<Response<Body>> + Clone + Send + Sync + 'static {
    let visits = visits.clone();
    move |peer| ready(visits.begin(peer.map(|Extension(peer)| peer)).end(reply()))
}

/// A path as a route in which nothing is a pattern: it comes from the operator's issuer.
fn literal(path: &str) -> String {
    path.replace('{', "{{").replace('}', "}}")
}
