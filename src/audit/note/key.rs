//! The keys of checkpoints: Ed25519 (note signature type 0x01) and ECDSA on P-256 (type 0x02).

use crate::sha256::{sha256, sha256_of};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use der::asn1::UintRef;
use der::oid::ObjectIdentifier;
use der::{Decode, Encode, Sequence};
use std::fmt;
use x509_cert::spki::SubjectPublicKeyInfoRef;

const ID_EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
/// What stands before the 32 bytes of an Ed25519 key: the whole structure has one possible form (RFC 8410 §4).
const ED25519_SPKI: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
const TYPE_ED25519: u8 = 1;
const TYPE_ECDSA: u8 = 2;

/// The public key of a log under its name, as auditors pin it (C2SP `signed-note`).
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: [u8; 4],
    material: Material,
}

#[derive(Clone, PartialEq, Eq)]
enum Material {
    Ed25519([u8; 32]),
    /// DER `SubjectPublicKeyInfo` and the point in it.
    P256 {
        spki: Vec<u8>,
        point: Vec<u8>,
    },
}

/// Why some text or bytes are no key of a log.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    /// Not `name+id+base64`.
    #[error("expected a verifier key of the form name+8 hex digits+base64, found {0:?}")]
    Form(String),
    /// A name that notes cannot have.
    #[error("a key's name is not empty and has neither spaces nor plus signs, found {0:?}")]
    Name(String),
    /// Neither Ed25519 nor ECDSA on P-256.
    #[error(
        "expected an Ed25519 (type 1) or a P-256 (type 2) key for {0:?}, found another kind or broken bytes"
    )]
    Kind(String),
    /// The id is not that of the key.
    #[error("the key of {name:?} has the id {expected}, but its text says {found}")]
    Id {
        /// The key's name.
        name: String,
        /// Computed from the key.
        expected: String,
        /// Written in the text.
        found: String,
    },
}

/// ECDSA in ASN.1 (RFC 3279 §2.2.3).
#[derive(Sequence)]
struct EcdsaSignature<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

/// The DER form of an ECDSA signature on P-256 that a token gave as r‖s of 64 bytes; any other length is `None`.
pub fn ecdsa_der(raw: &[u8]) -> Option<Vec<u8>> {
    let raw: &[u8; 64] = raw.try_into().ok()?;
    let (r, s) = raw.split_at(32);
    EcdsaSignature { r: UintRef::new(r).ok()?, s: UintRef::new(s).ok()? }.to_der().ok()
}

/// Whether notes may carry this name: not empty, no Unicode spaces, no plus, no control characters.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

impl VerifierKey {
    /// A P-256 key from its DER `SubjectPublicKeyInfo`.
    pub fn p256(name: &str, spki: &[u8]) -> Result<Self, KeyError> {
        let broken = || KeyError::Kind(name.to_owned());
        let parsed = SubjectPublicKeyInfoRef::from_der(spki).map_err(|_| broken())?;
        if parsed.algorithm.oid != ID_EC || parsed.algorithm.parameters_oid().ok() != Some(P256) {
            return Err(broken());
        }
        let point = parsed.subject_public_key.as_bytes().ok_or_else(broken)?.to_vec();
        ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &point).map_err(|_| broken())?;
        Self::new(name, &sha256(spki), Material::P256 { spki: spki.to_vec(), point })
    }

    /// An Ed25519 key from its 32 bytes (RFC 8032).
    pub fn ed25519(name: &str, key: &[u8; 32]) -> Result<Self, KeyError> {
        ParsedPublicKey::new(&ED25519, key).map_err(|_| KeyError::Kind(name.to_owned()))?;
        let hash = sha256_of(&[name.as_bytes(), &[b'\n', TYPE_ED25519], key]);
        Self::new(name, &hash, Material::Ed25519(*key))
    }

    /// A key of either kind from its DER `SubjectPublicKeyInfo`.
    pub fn from_spki(name: &str, spki: &[u8]) -> Result<Self, KeyError> {
        match spki.strip_prefix(ED25519_SPKI).and_then(|key| key.try_into().ok()) {
            Some(key) => Self::ed25519(name, key),
            None => Self::p256(name, spki),
        }
    }

    fn new(name: &str, hash: &[u8], material: Material) -> Result<Self, KeyError> {
        if !is_name(name) {
            return Err(KeyError::Name(name.to_owned()));
        }
        let (id, _) = hash.split_first_chunk::<4>().ok_or_else(|| KeyError::Kind(name.to_owned()))?;
        Ok(Self { name: name.to_owned(), id: *id, material })
    }

    /// Reads the text that [`fmt::Display`] writes: `name+id+base64(type ‖ key)`.
    pub fn parse(vkey: &str) -> Result<Self, KeyError> {
        let form = || KeyError::Form(vkey.to_owned());
        // The name has no plus, the base64 may.
        let (name, rest) = vkey.split_once('+').ok_or_else(form)?;
        let (id, key) = rest.split_once('+').ok_or_else(form)?;
        let bytes = STANDARD.decode(key).map_err(|_| form())?;
        let parsed = match bytes.split_first() {
            Some((&TYPE_ED25519, key)) => {
                let key = key.try_into().map_err(|_| KeyError::Kind(name.to_owned()))?;
                Self::ed25519(name, key)?
            }
            Some((&TYPE_ECDSA, spki)) => Self::p256(name, spki)?,
            _ => return Err(KeyError::Kind(name.to_owned())),
        };
        let expected = hex::encode(parsed.id);
        if id != expected {
            return Err(KeyError::Id { name: name.to_owned(), expected, found: id.to_owned() });
        }
        Ok(parsed)
    }

    /// The name of the key, which is the origin of its log.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The four bytes that find the key in a note; short on purpose, proof of nothing.
    pub const fn id(&self) -> [u8; 4] {
        self.id
    }

    /// `name+id`, for messages.
    pub fn label(&self) -> String {
        format!("{}+{}", self.name, hex::encode(self.id))
    }

    /// DER `SubjectPublicKeyInfo` (RFC 5480, RFC 8410).
    pub fn spki(&self) -> Vec<u8> {
        match &self.material {
            Material::P256 { spki, .. } => spki.clone(),
            Material::Ed25519(key) => [ED25519_SPKI, key.as_slice()].concat(),
        }
    }

    /// Whether `signature`, in the form of notes (ECDSA in DER), is this key's over `text`.
    pub fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Ed25519(key) => {
                UnparsedPublicKey::new(&ED25519, key.as_slice()).verify(text, signature)
            }
            Material::P256 { point, .. } => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point.as_slice()).verify(text, signature)
            }
        }
        .is_ok()
    }

    /// The line of a note for a signature in the form of notes: `— name base64(id ‖ signature)` and a newline.
    pub fn signature_line(&self, signature: &[u8]) -> String {
        let bytes = [self.id.as_slice(), signature].concat();
        format!("\u{2014} {} {}\n", self.name, STANDARD.encode(bytes))
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, key) = match &self.material {
            Material::Ed25519(key) => (TYPE_ED25519, key.as_slice()),
            Material::P256 { spki, .. } => (TYPE_ECDSA, spki.as_slice()),
        };
        write!(f, "{}+{}", self.label(), STANDARD.encode([&[kind], key].concat()))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifierKey({})", self.label())
    }
}
