//! Canonical ECDSA signatures: the smaller s.
//!
//! With (r, s) the pair (r, n − s) verifies too (SEC 1 §4.1.4), so each holder of a signature can make another one that
//! no record covers. Chancery's signatures have the smaller s; its tokens with the other form are inactive, and an
//! auditor with an answer in the other form finds the record of the original.

use super::{Algorithm, base64url, from_base64url};
use serde_json::Value;

/// Order of the group of P-256 (SP 800-186 §3.2.1.3), big-endian.
const P256: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
    0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// Order of the group of P-384 (SP 800-186 §3.2.1.4), big-endian.
const P384: [u8; 48] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xc7, 0x63, 0x4d, 0x81, 0xf4, 0x37, 0x2d, 0xdf, 0x58, 0x1a,
    0x0d, 0xb2, 0x48, 0xb0, 0xa7, 0x7a, 0xec, 0xec, 0x19, 0x6a, 0xcc, 0xc5, 0x29, 0x73,
];

/// `s` of r‖s, and n − s. `None` for other algorithms, other lengths, and an s out of range.
fn both(algorithm: Algorithm, signature: &mut [u8]) -> Option<(&mut [u8], [u8; 48])> {
    let order: &[u8] = match algorithm {
        Algorithm::ES256 => &P256,
        Algorithm::ES384 => &P384,
        _ => return None,
    };
    let (_, s) = signature.split_at_mut_checked(order.len()).filter(|(_, s)| s.len() == order.len())?;
    let (mut other, mut borrow) = ([0; 48], false);
    for ((n, s), out) in order.iter().zip(s.iter()).zip(&mut other).rev() {
        let (difference, under) = n.overflowing_sub(*s);
        let (difference, again) = difference.overflowing_sub(u8::from(borrow));
        (*out, borrow) = (difference, under || again);
    }
    (!borrow).then_some((s, other))
}

/// Changes an ECDSA signature to the smaller s; leaves others unchanged.
pub fn to_low_s(algorithm: Algorithm, signature: &mut [u8]) {
    if let Some((s, other)) = both(algorithm, signature) {
        let other = other.get(..s.len()).unwrap_or_default();
        if *other < *s {
            s.copy_from_slice(other);
        }
    }
}

/// Whether a signature has the smaller s, or is not ECDSA.
pub fn is_low_s(algorithm: Algorithm, signature: &[u8]) -> bool {
    let mut low = signature.to_vec();
    to_low_s(algorithm, &mut low);
    low == signature
}

/// A compact JWS with its ECDSA signature in the other form. `None` for other texts.
pub fn other_form(jws: &str) -> Option<String> {
    let (input, signature) = jws.rsplit_once('.')?;
    let header: Value = serde_json::from_slice(&from_base64url(input.split('.').next()?)?).ok()?;
    let algorithm = header.get("alg")?.as_str()?.parse().ok()?;
    let mut signature = from_base64url(signature)?;
    let (s, other) = both(algorithm, &mut signature)?;
    s.copy_from_slice(other.get(..s.len())?);
    Some(format!("{input}.{}", base64url(signature)))
}

#[cfg(test)]
mod tests {
    use super::super::testing::TestKey;
    use super::*;
    use serde_json::json;

    #[test]
    fn both_forms_verify_and_one_of_them_is_ours() {
        for algorithm in [Algorithm::ES256, Algorithm::ES384] {
            let key = TestKey::new(algorithm);
            for n in 0..20 {
                let one = key.sign(None, &json!({"n": n}));
                let other = other_form(&one).unwrap();
                assert_ne!(one, other);
                assert_eq!(other_form(&other).as_deref(), Some(&*one));
                let low = |jws: &str| {
                    let (input, signature) = jws.rsplit_once('.').unwrap();
                    let mut signature = from_base64url(signature).unwrap();
                    key.public().verify(input.as_bytes(), &signature).unwrap();
                    let is_low = is_low_s(algorithm, &signature);
                    to_low_s(algorithm, &mut signature);
                    key.public().verify(input.as_bytes(), &signature).unwrap();
                    (is_low, signature)
                };
                let ((a, from_one), (b, from_other)) = (low(&one), low(&other));
                assert!(a != b, "one of the two is low");
                assert_eq!(from_one, from_other);
            }
        }
    }

    #[test]
    fn other_signatures_have_one_form() {
        for algorithm in [Algorithm::RS256, Algorithm::PS256, Algorithm::EdDSA] {
            let jws = TestKey::new(algorithm).sign(None, &json!({}));
            assert_eq!(other_form(&jws), None);
            assert!(is_low_s(algorithm, &from_base64url(jws.rsplit_once('.').unwrap().1).unwrap()));
        }
        for bad in ["", "a.b.c", "eyJhbGciOiJFUzI1NiJ9..AA"] {
            assert_eq!(other_form(bad), None);
        }
        let mut beyond = [0xff; 64];
        to_low_s(Algorithm::ES256, &mut beyond);
        assert_eq!(beyond, [0xff; 64], "not below the order: no signature");
    }
}
