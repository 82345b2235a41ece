//! `GET /.well-known/oauth-authorization-server…` (RFC 8414), with `signed_metadata`.

use super::gate::Gate;
use super::reply::Reply;
use super::visit::{Peer, Visits};
use crate::config::Config;
use crate::door::Published;
use crate::protocol::metadata as claims;
use axum::body::{Body, Bytes};
use axum::http::Response;
use serde_json::Value;
use std::sync::Arc;

/// What the metadata needs.
pub(super) struct MetadataDocument {
    visits: Visits,
    gate: Arc<Gate>,
}

impl MetadataDocument {
    /// As the signer published it last.
    pub(super) fn new(visits: Visits, gate: Arc<Gate>) -> Self {
        Self { visits, gate }
    }

    /// The endpoint. It was signed and recorded when it last changed: nobody unknown makes the token sign.
    pub(super) fn reply(&self, peer: Option<Peer>) -> Response<Body> {
        let visit = self.visits.begin(peer);
        visit.end(match self.gate.published() {
            Some(published) => Reply::document(published.metadata.clone()),
            None => Reply::unavailable("signer-down"),
        })
    }
}

/// The metadata with the signer's signature over it; without a metadata key there is none (§2.1 makes it optional).
pub(super) fn document(config: &Config, published: &Published) -> Bytes {
    let mut document = claims(config);
    if !published.signed_metadata.is_empty() {
        document.insert("signed_metadata".to_owned(), Value::from(published.signed_metadata.as_str()));
    }
    Value::Object(document).to_string().into()
}
