//! `client_secret_post`: `client_id` and `client_secret` as parameters of the body (RFC 6749 §2.3.1).

use super::{AuthError, Claimed, Secret};
use crate::config::AuthMethod;
use zeroize::Zeroizing;

/// Takes the two parameters, which the edge has decoded already.
pub(super) fn read(client_id: &str, client_secret: &str) -> Result<Claimed, AuthError> {
    let secret =
        Secret::new(Zeroizing::new(client_secret.as_bytes().to_vec())).ok_or(AuthError::Malformed)?;
    Ok(Claimed { client_id: client_id.to_owned(), secret, method: AuthMethod::ClientSecretPost })
}
