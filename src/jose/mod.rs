//! JOSE: algorithms, public keys, headers and verification. The room `hsm` has the private keys.

mod algorithm;
mod inbound;
mod one_form;
mod public_key;
mod strict;
#[cfg(test)]
pub(crate) mod testing;
mod to_be_signed;

pub use algorithm::{Algorithm, KeyKind, UnknownAlgorithm};
pub use inbound::{InboundError, MAX_COMPACT, Received, Verified};
pub use one_form::{is_low_s, other_form, to_low_s};
pub use public_key::{Jwk, PublicKey, PublicKeyError, VerifyError};
pub use strict::{StrictError, strict_json};
pub use to_be_signed::ToBeSigned;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// base64url without padding (RFC 7515 §2).
pub fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Decodes base64url without padding; `None` for any other text.
pub fn from_base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}
