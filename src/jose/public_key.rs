//! Public keys: SPKI, JWK, thumbprint, and the verification before every release.

use super::to_be_signed::{Form, ToBeSigned};
use super::{Algorithm, KeyKind, base64url, from_base64url};
use crate::sha256::sha256;
use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use der::asn1::{BitStringRef, UintRef};
use der::oid::ObjectIdentifier;
use der::{Decode, Encode, Sequence};
use serde::{Deserialize, Serialize};
use x509_cert::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

const ID_EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ID_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ID_ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

/// RSA in PKCS#1 (RFC 8017 §A.1.1).
#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    public_exponent: UintRef<'a>,
}

/// Why bytes are no public key for an algorithm.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum PublicKeyError {
    /// Malformed DER or structure.
    #[error("the public key is no valid DER SubjectPublicKeyInfo")]
    Encoding,
    /// Another key type than the algorithm needs.
    #[error("the public key does not fit {0}")]
    Kind(Algorithm),
    /// RSA below 2048 or above 8192 bits, or a point that is not on its curve.
    #[error("the public key is too weak, too large or no valid point")]
    Value,
}

/// A signature that does not verify, without further detail.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the signature does not verify")]
pub struct VerifyError;

/// A public key for one algorithm, parsed once, with its RFC 7638 thumbprint as `kid`.
#[derive(Clone)]
pub struct PublicKey {
    algorithm: Algorithm,
    spki: Vec<u8>,
    jwk: Jwk,
    verifier: ParsedPublicKey,
}

/// The public members of a JWK (RFC 7517, RFC 7518 §6, RFC 8037 §2) with `use`, `alg` and `kid`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    /// `EC`, `RSA` or `OKP`.
    pub kty: String,
    /// `sig` in Chancery's own keys.
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    pub usage: Option<String>,
    /// The one algorithm of the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alg: Option<String>,
    /// RFC 7638 thumbprint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// Curve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crv: Option<String>,
    /// Coordinate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x: Option<String>,
    /// Coordinate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
    /// Modulus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub n: Option<String>,
    /// Exponent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub e: Option<String>,
}

impl PublicKey {
    /// Reads a DER `SubjectPublicKeyInfo` as a key for `algorithm`.
    pub fn from_spki(algorithm: Algorithm, der: &[u8]) -> Result<Self, PublicKeyError> {
        let spki = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| PublicKeyError::Encoding)?;
        let bits = spki.subject_public_key.as_bytes().ok_or(PublicKeyError::Encoding)?;
        let curve = spki.algorithm.parameters_oid().ok();
        let kind = match (spki.algorithm.oid, curve) {
            (ID_EC, Some(P256)) => KeyKind::P256,
            (ID_EC, Some(P384)) => KeyKind::P384,
            (ID_RSA, _) => KeyKind::Rsa,
            (ID_ED25519, None) => KeyKind::Ed25519,
            _ => return Err(PublicKeyError::Kind(algorithm)),
        };
        if kind != algorithm.kind() {
            return Err(PublicKeyError::Kind(algorithm));
        }
        let jwk = jwk(algorithm, bits)?;
        let verifier =
            ParsedPublicKey::new(verification(algorithm), bits).map_err(|_| PublicKeyError::Value)?;
        Ok(Self { algorithm, spki: der.to_vec(), jwk, verifier })
    }

    /// From an uncompressed point `0x04 ‖ x ‖ y` of the algorithm's curve.
    pub fn from_ec_point(algorithm: Algorithm, point: &[u8]) -> Result<Self, PublicKeyError> {
        let curve = match algorithm.kind() {
            KeyKind::P256 => P256,
            KeyKind::P384 => P384,
            _ => return Err(PublicKeyError::Kind(algorithm)),
        };
        Self::from_parts(algorithm, ID_EC, Some((&curve).into()), point)
    }

    /// From the 32 bytes of an Ed25519 public key.
    pub fn from_ed25519(point: &[u8]) -> Result<Self, PublicKeyError> {
        Self::from_parts(Algorithm::EdDSA, ID_ED25519, None, point)
    }

    /// From the big-endian modulus and exponent of an RSA key.
    pub fn from_rsa(algorithm: Algorithm, modulus: &[u8], exponent: &[u8]) -> Result<Self, PublicKeyError> {
        let key = RsaPublicKey {
            modulus: UintRef::new(modulus).map_err(|_| PublicKeyError::Value)?,
            public_exponent: UintRef::new(exponent).map_err(|_| PublicKeyError::Value)?,
        };
        let der = key.to_der().map_err(|_| PublicKeyError::Value)?;
        Self::from_parts(algorithm, ID_RSA, Some(der::AnyRef::NULL), &der)
    }

    fn from_parts(
        algorithm: Algorithm,
        oid: ObjectIdentifier,
        parameters: Option<der::AnyRef<'_>>,
        key: &[u8],
    ) -> Result<Self, PublicKeyError> {
        let spki = SubjectPublicKeyInfoRef {
            algorithm: AlgorithmIdentifierRef { oid, parameters },
            subject_public_key: BitStringRef::from_bytes(key).map_err(|_| PublicKeyError::Value)?,
        };
        let der = spki.to_der().map_err(|_| PublicKeyError::Value)?;
        Self::from_spki(algorithm, &der)
    }

    /// From a JWK; its `alg`, when present, must be `algorithm`.
    pub fn from_jwk(algorithm: Algorithm, jwk: &Jwk) -> Result<Self, PublicKeyError> {
        if jwk.alg.as_deref().is_some_and(|a| a != algorithm.name()) {
            return Err(PublicKeyError::Kind(algorithm));
        }
        let part = |p: &Option<String>| p.as_deref().and_then(from_base64url).ok_or(PublicKeyError::Encoding);
        match (algorithm.kind(), jwk.kty.as_str(), jwk.crv.as_deref()) {
            (KeyKind::P256, "EC", Some("P-256")) | (KeyKind::P384, "EC", Some("P-384")) => {
                let (x, y) = (part(&jwk.x)?, part(&jwk.y)?);
                // Each is as long as the curve's field (RFC 7518 §6.2.1.2): no byte can move from one to the other.
                if x.len() != y.len() {
                    return Err(PublicKeyError::Encoding);
                }
                Self::from_ec_point(algorithm, &[&[4], x.as_slice(), &y].concat())
            }
            (KeyKind::Ed25519, "OKP", Some("Ed25519")) => Self::from_ed25519(&part(&jwk.x)?),
            (KeyKind::Rsa, "RSA", _) => Self::from_rsa(algorithm, &part(&jwk.n)?, &part(&jwk.e)?),
            _ => Err(PublicKeyError::Kind(algorithm)),
        }
    }

    /// Verifies a JWS signature (fixed-length r‖s for ECDSA) over `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), VerifyError> {
        self.verifier.verify_sig(message, signature).map_err(|_| VerifyError)
    }

    /// Verifies a JWS signature over a hashed message; fails if it was hashed for another algorithm.
    pub fn verify_prepared(&self, prepared: &ToBeSigned<'_>, signature: &[u8]) -> Result<(), VerifyError> {
        if prepared.algorithm() != self.algorithm {
            return Err(VerifyError);
        }
        match prepared.form() {
            Form::Digest(digest) => self.verifier.verify_digest_sig(digest, signature),
            Form::Message(message) => self.verifier.verify_sig(message, signature),
        }
        .map_err(|_| VerifyError)
    }

    /// The one algorithm of this key.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// DER `SubjectPublicKeyInfo`.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// RFC 7638 thumbprint, base64url of SHA-256.
    pub fn kid(&self) -> &str {
        self.jwk.kid.as_deref().unwrap_or_default()
    }

    /// The key as JWK with `use`, `alg` and `kid`.
    pub const fn jwk(&self) -> &Jwk {
        &self.jwk
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({} {})", self.algorithm, self.kid())
    }
}

fn verification(algorithm: Algorithm) -> &'static dyn VerificationAlgorithm {
    match algorithm {
        Algorithm::ES256 => &signature::ECDSA_P256_SHA256_FIXED,
        Algorithm::ES384 => &signature::ECDSA_P384_SHA384_FIXED,
        Algorithm::RS256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::PS256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::EdDSA => &signature::ED25519,
    }
}

/// The JWK with its thumbprint, from the bits of the SPKI.
fn jwk(algorithm: Algorithm, bits: &[u8]) -> Result<Jwk, PublicKeyError> {
    let mut jwk = Jwk {
        kty: String::new(),
        usage: Some("sig".to_owned()),
        alg: Some(algorithm.name().to_owned()),
        kid: None,
        crv: None,
        x: None,
        y: None,
        n: None,
        e: None,
    };
    // RFC 7638 §3: the required members in lexicographic order, without white space.
    let canonical = match algorithm.kind() {
        kind @ (KeyKind::P256 | KeyKind::P384) => {
            let (crv, half) = if kind == KeyKind::P256 { ("P-256", 32) } else { ("P-384", 48) };
            let (&tag, point) = bits.split_first().ok_or(PublicKeyError::Value)?;
            if tag != 4 || point.len() != 2 * half {
                return Err(PublicKeyError::Value);
            }
            let (x, y) = point.split_at(half);
            let (x, y) = (base64url(x), base64url(y));
            let text = format!(r#"{{"crv":"{crv}","kty":"EC","x":"{x}","y":"{y}"}}"#);
            (jwk.kty, jwk.crv) = ("EC".to_owned(), Some(crv.to_owned()));
            (jwk.x, jwk.y) = (Some(x), Some(y));
            text
        }
        KeyKind::Ed25519 => {
            if bits.len() != 32 {
                return Err(PublicKeyError::Value);
            }
            let x = base64url(bits);
            let text = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
            (jwk.kty, jwk.crv) = ("OKP".to_owned(), Some("Ed25519".to_owned()));
            jwk.x = Some(x);
            text
        }
        KeyKind::Rsa => {
            let key = RsaPublicKey::from_der(bits).map_err(|_| PublicKeyError::Encoding)?;
            // The library's parser would accept a key of any size and fail only at signatures.
            let modulus = key.modulus.as_bytes();
            let unused = modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
            if !(2048..=8192).contains(&(modulus.len() * 8 - unused)) {
                return Err(PublicKeyError::Value);
            }
            let n = base64url(modulus);
            let e = base64url(key.public_exponent.as_bytes());
            let text = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
            (jwk.kty, jwk.n, jwk.e) = ("RSA".to_owned(), Some(n), Some(e));
            text
        }
    };
    jwk.kid = Some(base64url(sha256(canonical.as_bytes())));
    Ok(jwk)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7638 §3.1.
    #[test]
    fn the_thumbprint_is_that_of_the_rfc() {
        let jwk: Jwk = serde_json::from_str(
            r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256"}"#,
        )
        .unwrap();
        let key = PublicKey::from_jwk(Algorithm::RS256, &jwk).unwrap();
        assert_eq!(key.kid(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        assert_eq!(PublicKey::from_spki(Algorithm::RS256, key.spki()).unwrap().jwk(), key.jwk());
        assert!(PublicKey::from_spki(Algorithm::ES256, key.spki()).is_err());
        assert!(PublicKey::from_jwk(Algorithm::PS256, &jwk).is_err());
    }

    #[test]
    fn a_point_off_its_curve_is_refused() {
        let mut point = vec![4];
        point.extend([1; 64]);
        assert_eq!(PublicKey::from_ec_point(Algorithm::ES256, &point).unwrap_err(), PublicKeyError::Value);
    }

    #[test]
    fn a_coordinate_of_another_length_is_refused() {
        use crate::jose::testing::TestKey;
        for algorithm in [Algorithm::ES256, Algorithm::ES384] {
            let jwk = TestKey::new(algorithm).public().jwk().clone();
            let [x, y] = [&jwk.x, &jwk.y].map(|part| from_base64url(part.as_deref().unwrap()).unwrap());
            let read = |x: &[u8], y: &[u8]| {
                let jwk = Jwk { x: Some(base64url(x)), y: Some(base64url(y)), ..jwk.clone() };
                PublicKey::from_jwk(algorithm, &jwk)
            };
            assert!(read(&x, &y).is_ok());
            let longer = [x.as_slice(), &y[..1]].concat();
            assert!(read(&longer, &y[1..]).is_err(), "the same bytes, cut in another place");
            for (x, y) in
                [(&x[1..], &y[..]), (&x[..], &y[1..]), (&x[1..], &y[1..]), (&longer, &longer), (&[], &[])]
            {
                assert!(read(x, y).is_err(), "{} and {} bytes", x.len(), y.len());
            }
        }
    }

    #[test]
    fn an_rsa_key_of_a_size_out_of_bounds_is_refused() {
        for (bytes, first, good) in
            [(128, 0x80, false), (256, 0x7f, false), (256, 0x80, true), (1024, 0x80, true), (1025, 1, false)]
        {
            let mut modulus = vec![first];
            modulus.resize(bytes, 0xff);
            let key = PublicKey::from_rsa(Algorithm::RS256, &modulus, &[1, 0, 1]);
            assert_eq!(key.is_ok(), good, "{bytes} {first:x}");
        }
    }

    #[test]
    fn a_hash_for_one_algorithm_verifies_with_keys_of_that_algorithm_alone() {
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let key = PublicKey::from_ec_point(Algorithm::ES256, pair.public_key().as_ref()).unwrap();
        let signature = pair.sign(&aws_lc_rs::rand::SystemRandom::new(), b"a message").unwrap();
        let verify = |algorithm, message: &[u8]| {
            key.verify_prepared(&ToBeSigned::new(algorithm, message), signature.as_ref())
        };
        assert_eq!(verify(Algorithm::ES256, b"a message"), Ok(()));
        assert_eq!(verify(Algorithm::ES256, b"another"), Err(VerifyError));
        assert_eq!(
            verify(Algorithm::RS256, b"a message"),
            Err(VerifyError),
            "the same hash, another algorithm"
        );
    }
}
