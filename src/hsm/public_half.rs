//! Reads the public key object in all encodings that modules use.

use super::{HsmError, Refusal};
use crate::jose::{Algorithm, KeyKind, PublicKey};
use cryptoki::object::{Attribute, AttributeType, ObjectHandle};
use cryptoki::session::Session;
use der::asn1::{OctetStringRef, PrintableStringRef};
use der::oid::ObjectIdentifier;
use der::{Decode, Encode};

/// Object identifiers of curves (RFC 5480 §2.1.1.1, RFC 8410 §3).
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// The curve's identifier, and the name that PKCS#11 3.1 §6.3.10 allows in its place; `None` for RSA.
const fn curve(kind: KeyKind) -> Option<(ObjectIdentifier, Option<&'static str>)> {
    match kind {
        KeyKind::P256 => Some((P256, None)),
        KeyKind::P384 => Some((P384, None)),
        KeyKind::Ed25519 => Some((ED25519, Some("edwards25519"))),
        KeyKind::Rsa => None,
    }
}

/// `CKA_EC_PARAMS` for making a key; `None` for RSA.
pub(super) fn ec_params(kind: KeyKind) -> Option<Vec<u8>> {
    curve(kind).and_then(|(oid, _)| oid.to_der().ok())
}

/// Reads the public key object as a key for `algorithm`; the outer error is the token's, the inner one the key's.
pub(super) fn read(
    session: &Session,
    object: ObjectHandle,
    algorithm: Algorithm,
) -> Result<Result<PublicKey, Refusal>, HsmError> {
    let mut parts = Parts::default();
    for attribute in session.get_attributes(
        object,
        &[
            AttributeType::EcParams,
            AttributeType::EcPoint,
            AttributeType::Modulus,
            AttributeType::PublicExponent,
        ],
    )? {
        match attribute {
            Attribute::EcParams(params) => parts.params = Some(params),
            Attribute::EcPoint(point) => parts.point = Some(point),
            Attribute::Modulus(modulus) => parts.modulus = Some(modulus),
            Attribute::PublicExponent(exponent) => parts.exponent = Some(exponent),
            _ => {}
        }
    }
    Ok(parts.key(algorithm))
}

#[derive(Default)]
struct Parts {
    params: Option<Vec<u8>>,
    point: Option<Vec<u8>>,
    modulus: Option<Vec<u8>>,
    exponent: Option<Vec<u8>>,
}

impl Parts {
    fn key(&self, algorithm: Algorithm) -> Result<PublicKey, Refusal> {
        let part = |part: &'static str, value: &Option<Vec<u8>>| {
            value.clone().filter(|v| !v.is_empty()).ok_or(Refusal::PublicPart(part))
        };
        let kind = algorithm.kind();
        let Some((oid, name)) = curve(kind) else {
            let (modulus, exponent) =
                (part("CKA_MODULUS", &self.modulus)?, part("CKA_PUBLIC_EXPONENT", &self.exponent)?);
            return Ok(PublicKey::from_rsa(algorithm, &modulus, &exponent)?);
        };
        let params = part("CKA_EC_PARAMS", &self.params)?;
        let is_oid = ObjectIdentifier::from_der(&params).is_ok_and(|found| found == oid);
        let is_name = PrintableStringRef::from_der(&params).is_ok_and(|found| Some(found.as_str()) == name);
        if !is_oid && !is_name {
            return Err(Refusal::Curve { expected: algorithm });
        }
        let given = part("CKA_EC_POINT", &self.point)?;
        let point = unwrapped(kind, &given);
        Ok(match kind {
            KeyKind::Ed25519 => PublicKey::from_ed25519(point)?,
            _ => PublicKey::from_ec_point(algorithm, point)?,
        })
    }
}

/// The point without the OCTET STRING that some modules put around it. The length for the curve decides first, then
/// DER: the first byte cannot decide, since 0x04 begins both an uncompressed point and a DER OCTET STRING.
fn unwrapped(kind: KeyKind, given: &[u8]) -> &[u8] {
    let raw = match kind {
        KeyKind::P256 => 65,
        KeyKind::P384 => 97,
        _ => 32,
    };
    if given.len() == raw {
        return given;
    }
    match <&OctetStringRef>::from_der(given) {
        Ok(inner) => inner.as_bytes(),
        Err(_) => given,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8037 appendix A.2.
    const POINT: [u8; 32] = [
        0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a, 0x0e,
        0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a,
    ];

    fn ed25519(params: &[u8], point: &[u8]) -> Result<String, Refusal> {
        let parts = Parts { params: Some(params.to_vec()), point: Some(point.to_vec()), ..Parts::default() };
        parts.key(Algorithm::EdDSA).map(|key| key.kid().to_owned())
    }

    #[test]
    fn a_point_is_read_raw_or_wrapped_and_a_curve_by_number_or_name() {
        let wrapped = [&[4, 32][..], &POINT].concat();
        let named = [&[0x13, 12][..], b"edwards25519"].concat();
        let numbered = ec_params(KeyKind::Ed25519).unwrap();
        for params in [&named, &numbered] {
            for point in [&POINT[..], &wrapped] {
                // The thumbprint of RFC 8037 appendix A.3.
                assert_eq!(ed25519(params, point).unwrap(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
            }
        }
    }

    #[test]
    fn a_point_of_another_curve_or_length_is_refused() {
        let p256 = ec_params(KeyKind::P256).unwrap();
        assert!(matches!(ed25519(&p256, &POINT), Err(Refusal::Curve { .. })));
        let params = ec_params(KeyKind::Ed25519).unwrap();
        for point in [&POINT[..31], &[&[4, 33][..], &POINT].concat(), &[&POINT[..], &[0]].concat()] {
            assert!(matches!(ed25519(&params, point), Err(Refusal::PublicKey(_))));
        }
        assert!(matches!(ed25519(&params, &[]), Err(Refusal::PublicPart("CKA_EC_POINT"))));
    }
}
