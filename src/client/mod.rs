//! Who is asking: one file a method, one maker of [`AuthenticatedClient`].
//!
//! `client_secret_basic` and `client_secret_post` (RFC 6749 §2.3.1), each only where it is registered. Everything
//! arrives as text from the edge; nothing here knows HTTP types or the state store.

mod authenticate;
mod basic;
mod directory;
mod post;
mod secret;
#[cfg(test)]
mod tests;

pub use authenticate::{AuthError, AuthenticatedClient, Presented, authenticate, claimed_client_id};
pub use directory::{Directory, Party};

use crate::config::AuthMethod;
use secret::Secret;

/// Who somebody says they are, before anything is proved.
struct Claimed {
    client_id: String,
    secret: Secret,
    method: AuthMethod,
}
