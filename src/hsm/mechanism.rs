//! One signature: the mechanism, the call, and the mandatory verification of the result.
//!
//! This module hashes in software and uses the raw mechanisms, which every module has. It tries them without
//! `C_GetMechanismList`, since cryptoki leaves mechanisms out of that list that it does not know.

use super::HsmError;
use crate::jose::{Algorithm, PublicKey, ToBeSigned, VerifyError, to_low_s};
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;

/// `DigestInfo` of a SHA-256 hash up to the hash itself (RFC 8017 §9.2, note 1).
const SHA256_DIGEST_INFO: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
    0x04, 0x20,
];

/// The token's unverified result. Only a verification gives its bytes.
pub(super) struct Unverified(Vec<u8>);

impl Unverified {
    /// The signature in JWS form and with the smaller s, if `key` verifies it over the same `message`.
    pub(super) fn verified_by(
        mut self,
        key: &PublicKey,
        message: &ToBeSigned<'_>,
    ) -> Result<Vec<u8>, VerifyError> {
        to_low_s(message.algorithm(), &mut self.0);
        key.verify_prepared(message, &self.0)?;
        Ok(self.0)
    }

    pub(super) fn verifies(&self, key: &PublicKey, message: &ToBeSigned<'_>) -> bool {
        key.verify_prepared(message, &self.0).is_ok()
    }
}

/// Signs a hash for one algorithm. ECDSA returns r‖s of fixed length, as in JWS (RFC 7518 §3.4).
pub(super) fn sign(
    session: &Session,
    key: ObjectHandle,
    message: &ToBeSigned<'_>,
) -> Result<Unverified, HsmError> {
    let bytes = message.as_bytes();
    let signature = match message.algorithm() {
        Algorithm::ES256 | Algorithm::ES384 => session.sign(&Mechanism::Ecdsa, key, bytes),
        Algorithm::RS256 => session.sign(&Mechanism::RsaPkcs, key, &[&SHA256_DIGEST_INFO, bytes].concat()),
        Algorithm::PS256 => {
            let params = PkcsPssParams {
                hash_alg: MechanismType::SHA256,
                mgf: PkcsMgfType::MGF1_SHA256,
                s_len: 32.into(),
            };
            session.sign(&Mechanism::RsaPkcsPss(params), key, bytes)
        }
        Algorithm::EdDSA => {
            session.sign(&Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519)), key, bytes)
        }
    };
    Ok(Unverified(signature?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use der::asn1::OctetStringRef;
    use der::{AnyRef, Encode, Sequence, oid::ObjectIdentifier};
    use x509_cert::spki::AlgorithmIdentifierRef;

    #[derive(Sequence)]
    struct DigestInfo<'a> {
        algorithm: AlgorithmIdentifierRef<'a>,
        digest: &'a OctetStringRef,
    }

    #[test]
    fn the_constant_is_the_der_of_a_digest_info() {
        let info = DigestInfo {
            algorithm: AlgorithmIdentifierRef {
                oid: ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1"),
                parameters: Some(AnyRef::NULL),
            },
            digest: OctetStringRef::new(&[7; 32]).unwrap(),
        };
        assert_eq!(info.to_der().unwrap(), [&SHA256_DIGEST_INFO[..], &[7; 32]].concat());
    }
}
