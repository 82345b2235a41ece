//! What the signer published, and the public documents that are made of it: once for each time that it was published.

use crate::config::Config;
use crate::door::Published;
use crate::jose::Jwk;
use crate::protocol::metadata;
use axum::body::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;

/// What the signer published, with its documents.
pub(super) struct Publication {
    /// From the handshake.
    pub(super) published: Arc<Published>,
    /// The JWK Set (RFC 7517 §5) of the keys that sign, and of earlier generations that the token still holds; each with
    /// `use`, `alg` and `kid`.
    pub(super) jwks: Bytes,
    /// The metadata (RFC 8414) with the signer's signature over it; without a metadata key there is none (§2.1 makes it
    /// optional).
    pub(super) metadata: Bytes,
}

impl Publication {
    /// As this configuration describes the server.
    pub(super) fn new(config: &Config, published: Arc<Published>) -> Self {
        let keys: Vec<&Jwk> = published.documents.keys.iter().map(|key| &key.jwk).collect();
        let jwks = json!({"keys": keys}).to_string().into();
        let mut document = metadata(config);
        let signed = published.documents.signed_metadata.as_str();
        if !signed.is_empty() {
            document.insert("signed_metadata".to_owned(), signed.into());
        }
        Self { jwks, metadata: Value::Object(document).to_string().into(), published }
    }
}
