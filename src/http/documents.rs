//! `GET …/jwks` (RFC 7517 §5) and `GET /.well-known/oauth-authorization-server…` (RFC 8414).
//!
//! They were signed and recorded when they last changed: no request for them makes the token sign.

use super::gate::Gate;
use super::publication::Publication;
use super::reply::Reply;
use super::router::Handler;
use super::visit::Visit;
use axum::body::{Body, Bytes};
use axum::http::Request;
use std::sync::Arc;

/// A document, as the signer published it last.
pub(super) struct Document {
    /// Where it is kept.
    pub(super) gate: Arc<Gate>,
    /// Which one it is.
    pub(super) of: fn(&Publication) -> &Bytes,
}

impl Handler for Document {
    async fn answer(&self, _: &mut Visit, _: Request<Body>) -> Result<Reply, Reply> {
        let published = self.gate.published().ok_or_else(|| Reply::unavailable("signer-down"))?;
        Ok(Reply::document((self.of)(&published).clone()))
    }
}
