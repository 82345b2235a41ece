//! `GET …/jwks` (RFC 7517 §5): the public keys that sign, and those of earlier generations that the token still holds.

use super::gate::Gate;
use super::reply::Reply;
use super::visit::{Peer, Visits};
use crate::door::Published;
use crate::jose::Jwk;
use axum::body::{Body, Bytes};
use axum::http::Response;
use serde_json::json;
use std::sync::Arc;

/// What the key set needs.
pub(super) struct KeySet {
    visits: Visits,
    gate: Arc<Gate>,
}

impl KeySet {
    /// As the signer published it last.
    pub(super) fn new(visits: Visits, gate: Arc<Gate>) -> Self {
        Self { visits, gate }
    }

    /// The endpoint.
    pub(super) fn reply(&self, peer: Option<Peer>) -> Response<Body> {
        let visit = self.visits.begin(peer);
        visit.end(match self.gate.published() {
            Some(published) => Reply::document(published.jwks.clone()),
            None => Reply::unavailable("signer-down"),
        })
    }
}

/// The JWK Set of what the signer published. Each key stands there with `use`, `alg` and `kid`.
pub(super) fn document(published: &Published) -> Bytes {
    let keys: Vec<&Jwk> = published.keys.iter().map(|key| &key.jwk).collect();
    json!({"keys": keys}).to_string().into()
}
