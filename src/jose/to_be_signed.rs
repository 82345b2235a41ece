//! The input of a signature: hashed once, for signing and for verifying.

use super::Algorithm;
use aws_lc_rs::digest::{self, Digest};

/// A message in the form that its algorithm signs: the hash, or for `EdDSA` the message itself.
pub struct ToBeSigned<'m> {
    algorithm: Algorithm,
    form: Form<'m>,
}

pub(super) enum Form<'m> {
    Digest(Digest),
    Message(&'m [u8]),
}

impl<'m> ToBeSigned<'m> {
    /// Hashes `message` for `algorithm` (RFC 7518 §3.1); `EdDSA` hashes inside (RFC 8037 §3.1).
    pub fn new(algorithm: Algorithm, message: &'m [u8]) -> Self {
        let form = match algorithm {
            Algorithm::ES256 | Algorithm::RS256 | Algorithm::PS256 => {
                Form::Digest(digest::digest(&digest::SHA256, message))
            }
            Algorithm::ES384 => Form::Digest(digest::digest(&digest::SHA384, message)),
            Algorithm::EdDSA => Form::Message(message),
        };
        Self { algorithm, form }
    }

    /// The algorithm of the hash; a key of another one does not verify it.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// 32 or 48 bytes of hash, or the message for `EdDSA`.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.form {
            Form::Digest(digest) => digest.as_ref(),
            Form::Message(message) => message,
        }
    }

    pub(super) const fn form(&self) -> &Form<'m> {
        &self.form
    }
}
