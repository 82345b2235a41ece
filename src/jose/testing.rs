//! In-memory signing keys for the tests of every room that reads JWTs.

use super::{Algorithm, PublicKey, base64url, to_low_s};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaPair, KeySize};
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

/// A key pair of a front server.
pub(crate) enum TestKey {
    Ec(Algorithm, EcdsaKeyPair),
    Rsa(Algorithm, RsaPair),
    Ed(Ed25519KeyPair),
}

impl TestKey {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::ES256 => Self::Ec(
                algorithm,
                EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            ),
            Algorithm::ES384 => Self::Ec(
                algorithm,
                EcdsaKeyPair::generate(&signature::ECDSA_P384_SHA384_FIXED_SIGNING).unwrap(),
            ),
            Algorithm::RS256 | Algorithm::PS256 => {
                Self::Rsa(algorithm, RsaPair::generate(KeySize::Rsa2048).unwrap())
            }
            Algorithm::EdDSA => Self::Ed(Ed25519KeyPair::generate().unwrap()),
        }
    }

    /// The same key used with another algorithm, as in an attack.
    pub(crate) fn used_with(self, other: Algorithm) -> Self {
        match self {
            Self::Ec(_, pair) => Self::Ec(other, pair),
            Self::Rsa(_, pair) => Self::Rsa(other, pair),
            Self::Ed(pair) => Self::Ed(pair),
        }
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Ec(algorithm, _) | Self::Rsa(algorithm, _) => *algorithm,
            Self::Ed(_) => Algorithm::EdDSA,
        }
    }

    pub(crate) fn public(&self) -> PublicKey {
        match self {
            Self::Ec(algorithm, pair) => {
                PublicKey::from_ec_point(*algorithm, pair.public_key().as_ref()).unwrap()
            }
            Self::Rsa(algorithm, pair) => {
                let key = pair.public_key();
                let (n, e) = (key.modulus(), key.exponent());
                PublicKey::from_rsa(
                    *algorithm,
                    n.big_endian_without_leading_zero(),
                    e.big_endian_without_leading_zero(),
                )
                .unwrap()
            }
            Self::Ed(pair) => PublicKey::from_ed25519(pair.public_key().as_ref()).unwrap(),
        }
    }

    pub(crate) fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Ec(algorithm, pair) => {
                let mut signature = pair.sign(&random, message).unwrap().as_ref().to_vec();
                to_low_s(*algorithm, &mut signature);
                signature
            }
            Self::Rsa(algorithm, pair) => {
                let padding: &'static dyn signature::RsaEncoding = match algorithm {
                    Algorithm::PS256 => &signature::RSA_PSS_SHA256,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut out = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut out).unwrap();
                out
            }
            Self::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// A compact JWS over the given header and payload, unchanged.
    pub(crate) fn sign_texts(&self, header: &str, payload: &str) -> String {
        let input = format!("{}.{}", base64url(header), base64url(payload));
        let signature = base64url(self.signature(input.as_bytes()));
        format!("{input}.{signature}")
    }

    /// A compact JWS with a correct header.
    pub(crate) fn sign(&self, typ: Option<&str>, claims: &Value) -> String {
        let mut header = json!({"alg": self.algorithm().name(), "kid": self.public().kid()});
        if let Some(typ) = typ {
            header["typ"] = json!(typ);
        }
        self.sign_texts(&header.to_string(), &claims.to_string())
    }
}
