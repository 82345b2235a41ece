//! Which path leads where: the endpoints of the issuer, and JSON for everything else.
//!
//! A handful of paths that are known from the start: compared as they are, without a router's patterns, layers and
//! boxes for each request.

use super::connection::{Answer, Site};
use super::introspect::Introspection;
use super::jwks::KeySet;
use super::metadata::MetadataDocument;
use super::meters::Endpoint;
use super::reply::Reply;
use super::revoke::Revocation;
use super::token::Issuance;
use super::visit::{Peer, Visits};
use super::{framing, host};
use crate::claims::Issuer;
use crate::protocol::{endpoint, metadata_path};
use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode};
use std::sync::{Arc, PoisonError, RwLock};

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

/// The public side of the configuration of the moment. Clones share it.
#[derive(Clone)]
pub(super) struct Edge(Arc<RwLock<Arc<Paths>>>);

struct Paths {
    paths: [(String, Endpoint); 5],
    endpoints: Endpoints,
}

impl Edge {
    /// The public paths of `issuer`.
    pub(super) fn new(issuer: &Issuer, endpoints: Endpoints) -> Self {
        let paths = [
            (endpoint(issuer, "introspect"), Endpoint::Introspect),
            (endpoint(issuer, "token"), Endpoint::Token),
            (endpoint(issuer, "revoke"), Endpoint::Revoke),
            (endpoint(issuer, "jwks"), Endpoint::Jwks),
            (metadata_path(issuer), Endpoint::Metadata),
        ];
        Self(Arc::new(RwLock::new(Arc::new(Paths { paths, endpoints }))))
    }

    /// Answers as `other` from the next request on; those under way go on as they began.
    pub(super) fn become_as(&self, other: &Self) {
        let paths = other.paths();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = paths;
    }

    fn paths(&self) -> Arc<Paths> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whatever is asked for gets a reply. A path is what stands in the request, escapes and all.
    pub(super) async fn reply(&self, peer: Option<Peer>, request: Request<Body>) -> Response<Body> {
        let now = self.paths();
        let Paths { paths, endpoints } = &*now;
        if let Err(refusal) = host::one(request.headers()).and_then(|()| framing::plain(request.headers())) {
            return endpoints.unknown.begin(peer).end(refusal);
        }
        let posted = request.method() == Method::POST;
        let fetched = request.method() == Method::GET || request.method() == Method::HEAD;
        let known = paths.iter().find(|(path, _)| path == request.uri().path());
        let stray = match known.map(|(_, endpoint)| endpoint) {
            Some(Endpoint::Introspect) if posted => {
                return endpoints.introspection.reply(peer, request).await;
            }
            Some(Endpoint::Token) if posted => return endpoints.issuance.reply(peer, request).await,
            Some(Endpoint::Revoke) if posted => return endpoints.revocation.reply(peer, request).await,
            Some(Endpoint::Jwks) if fetched => return endpoints.keys.reply(peer),
            Some(Endpoint::Metadata) if fetched => return endpoints.metadata.reply(peer),
            Some(Endpoint::Introspect | Endpoint::Token | Endpoint::Revoke) => Reply::wrong_method("POST"),
            Some(Endpoint::Jwks | Endpoint::Metadata) => Reply::wrong_method("GET, HEAD"),
            Some(Endpoint::Unknown) | None => Reply::unknown_path(),
        };
        endpoints.unknown.begin(peer).end(stray)
    }
}

impl Site for Edge {
    fn answer(&self, peer: Peer, request: Request<Body>) -> Answer {
        let edge = self.clone();
        Box::pin(async move { edge.reply(Some(peer), request).await })
    }

    fn unreadable(&self, peer: Peer, status: StatusCode) -> Reply {
        self.paths().endpoints.unknown.begin(Some(peer)).note(Reply::unreadable(status))
    }
}
