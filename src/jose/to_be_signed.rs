//! What a token is given to sign: hashed here, once, for the signature and for its verification.

use super::Algorithm;
use aws_lc_rs::digest::{self, Digest};

/// A message in the form in which its algorithm signs it: the hash, or for `EdDSA` the message itself.
pub struct ToBeSigned<'m> {
    algorithm: Algorithm,
    form: Form<'m>,
}

pub(super) enum Form<'m> {
    Digest(Digest),
    Message(&'m [u8]),
}

impl<'m> ToBeSigned<'m> {
    /// Hashes `message` as `algorithm` wants it (RFC 7518 §3.1); `EdDSA` hashes inside (RFC 8037 §3.1).
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

    /// The algorithm that it was prepared for; a key of another one does not verify it.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// 32 or 48 bytes of hash, or the message of `EdDSA`.
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
