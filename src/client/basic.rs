//! `client_secret_basic`: RFC 7617, with `client_id` and secret form-encoded before (RFC 6749 §2.3.1).

use super::{AuthError, Claimed, Secret};
use crate::config::AuthMethod;
use crate::percent;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// Bytes of the longest header line that is read.
const MAX_LINE: usize = 4096;

/// Reads the one `Authorization` line.
///
/// Another scheme is [`AuthError::Wrong`]: the caller tried the header, and RFC 6749 §5.2 wants 401 with the scheme
/// that works; a bearer token, however long, is [`AuthError::Bearer`]. What is Basic by name but not by form is
/// [`AuthError::Malformed`].
pub(super) fn read(line: &str) -> Result<Claimed, AuthError> {
    let (scheme, rest) = line.split_once(' ').unwrap_or((line, ""));
    if scheme.is_empty() {
        return Err(AuthError::Malformed);
    }
    if scheme.eq_ignore_ascii_case("Bearer") {
        return Err(AuthError::Bearer);
    }
    if line.len() > MAX_LINE {
        return Err(AuthError::Malformed);
    }
    if !scheme.eq_ignore_ascii_case("Basic") {
        return Err(AuthError::Wrong { header_used: true });
    }
    credentials(rest.trim_start_matches(' ')).ok_or(AuthError::Malformed)
}

fn credentials(base64: &str) -> Option<Claimed> {
    let pair = Zeroizing::new(STANDARD.decode(base64).ok()?);
    // The first colon: one inside the `client_id` is `%3A` (RFC 7617 §2).
    let colon = pair.iter().position(|&byte| byte == b':')?;
    let (client_id, secret) = pair.split_at_checked(colon)?;
    let client_id = form_decoded(client_id)?;
    let secret = form_decoded(secret.get(1..)?)?;
    Some(Claimed {
        client_id: std::str::from_utf8(&client_id).ok()?.to_owned(),
        secret: Secret::new(secret)?,
        method: AuthMethod::ClientSecretBasic,
    })
}

/// Undoes `application/x-www-form-urlencoded` (RFC 6749 appendix B) strictly; the result is printable ASCII, as
/// RFC 6749 §A.1 and §A.2 have both values.
fn form_decoded(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let plain = |byte| Ok(if byte == b'+' { b' ' } else { byte });
    let decoded = percent::decode(text, || (), plain).ok()?;
    decoded.iter().all(|byte| (0x20..=0x7e).contains(byte)).then_some(decoded)
}
