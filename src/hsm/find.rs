//! Finding a key, and proving what it is before anybody may sign with it.

use super::access::Epoch;
use super::{ErrorClass, Hsm, HsmError, Key, KeyAttributes, mechanism, public_half};
use crate::jose::{Algorithm, PublicKey, PublicKeyError, ToBeSigned};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

/// Why there is no key to sign with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// One half or both are missing.
    #[error("the token holds no {half} key labelled {label:?}; make the pair with: chancery key generate")]
    NotFound {
        /// The label.
        label: String,
        /// `private` or `public`.
        half: &'static str,
    },
    /// More than one: guessing would be signing with an unknown key.
    #[error(
        "the token holds {count} {half} keys labelled {label:?}, but exactly one may have it; delete or rename the others"
    )]
    Ambiguous {
        /// The label.
        label: String,
        /// `private` or `public`.
        half: &'static str,
        /// How many.
        count: usize,
    },
    /// It is there and must not be used.
    #[error("the key {label:?} is refused: {reason}")]
    Refused {
        /// The label.
        label: String,
        /// Why.
        reason: Refusal,
    },
    /// The token failed.
    #[error("looking for the key {label:?} failed: {error}")]
    Call {
        /// The label.
        label: String,
        /// How.
        error: HsmError,
    },
}

impl FindError {
    /// What has to happen; a key that is missing or refused is [`ErrorClass::Request`].
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::NotFound { .. } | Self::Ambiguous { .. } | Self::Refused { .. } => ErrorClass::Request,
            Self::Call { error, .. } => error.class(),
        }
    }
}

/// Why a key must not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// An attribute says, or does not say, what it must.
    #[error("{name} must be {expected} and the token says {}; make a new key with: chancery key generate", said(*.found))]
    Attribute {
        /// For example `CKA_EXTRACTABLE`.
        name: &'static str,
        /// What it must be.
        expected: bool,
        /// What the token said.
        found: Option<bool>,
    },
    /// A PIN for each signature.
    #[error(
        "the token wants the PIN for each signature (CKA_ALWAYS_AUTHENTICATE), which this daemon does not do; make the key without it"
    )]
    AlwaysAuthenticate,
    /// Another kind of key than the algorithm needs.
    #[error("its key type must be {expected} and is {found}")]
    KeyType {
        /// For example `CKK_EC`.
        expected: String,
        /// What the token said.
        found: String,
    },
    /// Another curve than the algorithm needs.
    #[error("its curve (CKA_EC_PARAMS) is not the one of {expected}")]
    Curve {
        /// The algorithm.
        expected: Algorithm,
    },
    /// An attribute of the public half is missing.
    #[error("its public half has no {0}")]
    PublicPart(&'static str),
    /// RSA of a size out of bounds, or a point that is none.
    #[error(transparent)]
    PublicKey(#[from] PublicKeyError),
    /// Private and public half do not belong together, or the token computes wrongly. An alarm.
    #[error("a signature that the token made for proof does not verify with its public half")]
    Unverified,
}

fn said(found: Option<bool>) -> &'static str {
    match found {
        Some(true) => "true",
        Some(false) => "false",
        None => "nothing",
    }
}

/// A key as it stands in the token, its attributes and public half proved.
pub(super) struct Located {
    pub(super) handle: ObjectHandle,
    pub(super) public: PublicKey,
    pub(super) attributes: KeyAttributes,
}

/// See [`Hsm::find`].
pub(super) fn find(hsm: &Hsm, label: &str, algorithm: Algorithm) -> Result<Key, FindError> {
    let proved = hsm.access().with_session(|session| {
        let epoch = hsm.access().epoch();
        match locate(session, label, algorithm)? {
            Ok(located) => prove(session, label, epoch, located),
            Err(error) => Ok(Err(error)),
        }
    });
    let (epoch, located) = proved.map_err(|error| FindError::Call { label: label.to_owned(), error })??;
    Ok(Key::new(hsm.clone(), label, located.public, located.attributes, epoch, located.handle))
}

/// The one private key with this label, its attributes and its public half. The outer error is the token's.
pub(super) fn locate(
    session: &Session,
    label: &str,
    algorithm: Algorithm,
) -> Result<Result<Located, FindError>, HsmError> {
    let handle = match one(session, ObjectClass::PRIVATE_KEY, "private", label)? {
        Ok(handle) => handle,
        Err(error) => return Ok(Err(error)),
    };
    let refused = |reason| Ok(Err(FindError::Refused { label: label.to_owned(), reason }));
    let attributes = KeyAttributes::read(session, handle)?;
    if let Err(reason) = attributes.prove(algorithm.kind()) {
        return refused(reason);
    }
    let public = match one(session, ObjectClass::PUBLIC_KEY, "public", label)? {
        Ok(object) => object,
        Err(error) => return Ok(Err(error)),
    };
    match public_half::read(session, public, algorithm)? {
        Ok(public) => Ok(Ok(Located { handle, public, attributes })),
        Err(reason) => refused(reason),
    }
}

/// One signature over a text that is no JWS and that nobody chose.
fn prove(
    session: &Session,
    label: &str,
    epoch: Epoch,
    located: Located,
) -> Result<Result<(Epoch, Located), FindError>, HsmError> {
    let text =
        format!("chancery: proof of possession of {label}: {}", hex::encode(crate::random::bytes::<32>()));
    let message = ToBeSigned::new(located.public.algorithm(), text.as_bytes());
    let signature = mechanism::sign(session, located.handle, &message)?;
    Ok(match signature.verified_by(&located.public, &message) {
        Ok(_) => Ok((epoch, located)),
        Err(_) => Err(FindError::Refused { label: label.to_owned(), reason: Refusal::Unverified }),
    })
}

fn one(
    session: &Session,
    class: ObjectClass,
    half: &'static str,
    label: &str,
) -> Result<Result<ObjectHandle, FindError>, HsmError> {
    let found =
        session.find_objects(&[Attribute::Class(class), Attribute::Label(label.as_bytes().to_vec())])?;
    let label = || label.to_owned();
    Ok(match found.as_slice() {
        [] => Err(FindError::NotFound { label: label(), half }),
        [one] => Ok(*one),
        several => Err(FindError::Ambiguous { label: label(), half, count: several.len() }),
    })
}

/// See [`Hsm::labels`].
pub(super) fn labels(session: &Session) -> Result<Vec<String>, HsmError> {
    let mut labels = Vec::new();
    for key in session.find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)])? {
        for attribute in session.get_attributes(key, &[AttributeType::Label])? {
            if let Attribute::Label(label) = attribute
                && let Ok(label) = String::from_utf8(label)
            {
                labels.push(label);
            }
        }
    }
    labels.sort();
    Ok(labels)
}
