//! Makes keys, with every attribute in the template.

use super::attributes::key_type;
use super::{FindError, Hsm, HsmError, Key, find, public_half};
use crate::jose::{Algorithm, KeyKind};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::session::Session;

/// A key to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// `CKA_LABEL` of both key objects; must be unused in the token. See [`super::KeyLabel`].
    pub label: String,
    /// The one algorithm that it will sign with.
    pub algorithm: Algorithm,
    /// 2048 to 8192 in steps of 256; read for RS256 and PS256 alone.
    pub rsa_bits: u32,
    /// `CKA_ID` of both key objects, not empty; must be unused in the token. Some tokens accept two bytes only.
    pub id: Vec<u8>,
}

/// Why no usable key was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenerateError {
    /// The label or id is in use. Nothing was made.
    #[error("the token holds {what} already; nothing was made")]
    Exists {
        /// The label or id, with its value.
        what: String,
    },
    /// The request is invalid. Nothing was made.
    #[error("no key can be made so: {0}")]
    Spec(&'static str),
    /// The token did not make it.
    #[error("making the key {label:?} failed: {error}")]
    Call {
        /// The label.
        label: String,
        /// How.
        error: HsmError,
    },
    /// The key was made and stays in the token, but must not be used.
    #[error(
        "the new key {label:?} was made but does not pass its proof, so it must not be used; delete both halves with the token's own tool before another attempt: {error}"
    )]
    Unproved {
        /// The label.
        label: String,
        /// Why.
        error: FindError,
    },
}

/// See [`Hsm::generate`].
pub(super) fn generate(hsm: &Hsm, spec: &KeySpec) -> Result<Key, GenerateError> {
    check(spec)?;
    let failed = |error| GenerateError::Call { label: spec.label.clone(), error };
    if let Some(what) = hsm.access().with_session(|session| in_use(session, spec)).map_err(failed)? {
        return Err(GenerateError::Exists { what });
    }
    // Not retried after an error: the pair may have been made.
    let made = hsm.access().open_writing_session().and_then(|session| {
        Ok(session.generate_key_pair(&mechanism(spec), &public_template(spec), &private_template(spec))?)
    });
    made.map_err(failed)?;
    // Found like any other key: the token's answer counts, not the template.
    find::find(hsm, &spec.label, spec.algorithm)
        .map_err(|error| GenerateError::Unproved { label: spec.label.clone(), error })
}

fn check(spec: &KeySpec) -> Result<(), GenerateError> {
    if spec.label.is_empty() {
        return Err(GenerateError::Spec("the label is empty"));
    }
    if spec.id.is_empty() {
        return Err(GenerateError::Spec("the id is empty"));
    }
    let size = (2048..=8192).contains(&spec.rsa_bits) && spec.rsa_bits.is_multiple_of(256);
    if spec.algorithm.kind() == KeyKind::Rsa && !size {
        return Err(GenerateError::Spec("rsa_bits must be 2048 to 8192 in steps of 256"));
    }
    Ok(())
}

/// Objects of any class count: a certificate with that label belongs to some key too.
fn in_use(session: &Session, spec: &KeySpec) -> Result<Option<String>, HsmError> {
    if !session.find_objects(&[Attribute::Label(spec.label.as_bytes().to_vec())])?.is_empty() {
        return Ok(Some(format!("an object labelled {:?}", spec.label)));
    }
    if !session.find_objects(&[Attribute::Id(spec.id.clone())])?.is_empty() {
        return Ok(Some(format!("an object with the id {}", hex::encode(&spec.id))));
    }
    Ok(None)
}

const fn mechanism(spec: &KeySpec) -> Mechanism<'static> {
    match spec.algorithm.kind() {
        KeyKind::Rsa => Mechanism::RsaPkcsKeyPairGen,
        KeyKind::P256 | KeyKind::P384 => Mechanism::EccKeyPairGen,
        KeyKind::Ed25519 => Mechanism::EccEdwardsKeyPairGen,
    }
}

/// Allows signing and nothing else. Modules given less allow decryption, unwrapping and more.
pub(super) fn private_template(spec: &KeySpec) -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::KeyType(key_type(spec.algorithm.kind())),
        Attribute::Label(spec.label.as_bytes().to_vec()),
        Attribute::Id(spec.id.clone()),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Modifiable(false),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::AlwaysAuthenticate(false),
        Attribute::Sign(true),
        Attribute::SignRecover(false),
        Attribute::Decrypt(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
    ]
}

/// Allows verification and nothing else.
pub(super) fn public_template(spec: &KeySpec) -> Vec<Attribute> {
    let kind = spec.algorithm.kind();
    let mut template = vec![
        Attribute::Class(ObjectClass::PUBLIC_KEY),
        Attribute::KeyType(key_type(kind)),
        Attribute::Label(spec.label.as_bytes().to_vec()),
        Attribute::Id(spec.id.clone()),
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::Modifiable(false),
        Attribute::Verify(true),
        Attribute::VerifyRecover(false),
        Attribute::Encrypt(false),
        Attribute::Wrap(false),
        Attribute::Derive(false),
    ];
    match public_half::ec_params(kind) {
        Some(params) => template.push(Attribute::EcParams(params)),
        None => template.extend([
            Attribute::ModulusBits(u64::from(spec.rsa_bits).into()),
            Attribute::PublicExponent(vec![1, 0, 1]),
        ]),
    }
    template
}
