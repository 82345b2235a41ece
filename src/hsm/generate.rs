//! Making keys, with every attribute said.

use super::attributes::key_type;
use super::{FindError, Hsm, HsmError, Key, find, public_half};
use crate::jose::{Algorithm, KeyKind};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::session::Session;

/// A key to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// `CKA_LABEL` of both halves; nothing in the token may have it yet. See [`super::KeyLabel`].
    pub label: String,
    /// The one algorithm that it will sign with.
    pub algorithm: Algorithm,
    /// 2048 to 8192 in steps of 256; read for RS256 and PS256 alone.
    pub rsa_bits: u32,
    /// `CKA_ID` of both halves, not empty; nothing in the token may have it yet. Some tokens take two bytes only.
    pub id: Vec<u8>,
}

/// Why no key was made, or none that may be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenerateError {
    /// The label or id is in use. Nothing was made.
    #[error("the token holds {what} already; nothing was made")]
    Exists {
        /// Which of them, with its value.
        what: String,
    },
    /// The request makes no sense. Nothing was made.
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
    /// It was made and stands in the token, but must not be used.
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
    // Not tried again after an error: nobody knows whether the pair was made.
    let made = hsm.access().open_writing_session().and_then(|session| {
        Ok(session.generate_key_pair(&mechanism(spec), &public_template(spec), &private_template(spec))?)
    });
    made.map_err(failed)?;
    // Looked for as any key: what counts is what the token says now, not what it was told.
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

/// Objects of any class count: a certificate of that name belongs to some key too.
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

/// It signs, stays, and does nothing else. Modules that are told less allow decryption, unwrapping and more.
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

/// It verifies and does nothing else.
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
