//! The second beat of introspection and revocation: the facts about a presented token.

use super::reply::Reply;
use crate::claims::{TokenFacts, TokenHash};
use crate::config::Config;
use crate::jose::PublicKey;
use crate::protocol::own_access_token;
use crate::store::{Store, TokenKey};
use std::sync::Arc;

/// Bytes of the longest text that can be a token of ours; what is longer is unknown.
const LONGEST: usize = 64 * 1024;

/// Finds tokens by the text that their holder has.
pub(super) struct Tokens {
    config: Arc<Config>,
    store: Store,
}

/// A token that we issued.
pub(super) struct Known {
    /// Its row.
    pub(super) key: TokenKey,
    /// What the row says.
    pub(super) facts: Arc<TokenFacts>,
}

impl Tokens {
    /// In this store.
    pub(super) fn new(config: Arc<Config>, store: Store) -> Self {
        Self { config, store }
    }

    /// The token with this text and its hash; `None` when we issued none like it. `token_type_hint` is not asked: its
    /// form tells (RFC 7662 §2.1 lets a hint be ignored, and a wrong one must change nothing).
    ///
    /// A state that cannot be read is 503: neither active nor inactive can be said then.
    pub(super) fn find(
        &self,
        token: &str,
        hash: TokenHash,
        keys: &[PublicKey],
    ) -> Result<Option<Known>, Reply> {
        let Some(key) = self.key_of(token, hash, keys) else { return Ok(None) };
        match self.store.find(&key) {
            Ok(facts) => Ok(facts.map(|facts| Known { key, facts })),
            Err(error) => {
                tracing::error!(%error, "the state of tokens cannot be read");
                Err(Reply::unavailable("store-unreadable"))
            }
        }
    }

    fn key_of(&self, token: &str, hash: TokenHash, keys: &[PublicKey]) -> Option<TokenKey> {
        if token.len() > LONGEST {
            return None;
        }
        // A random text of ours has no dot: what has one is a JWT of ours or nothing of ours.
        if token.contains('.') {
            own_access_token(&self.config, keys, token).map(TokenKey::AtJwt)
        } else {
            Some(TokenKey::Opaque(hash))
        }
    }
}
