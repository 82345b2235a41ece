//! Finds a key, and proves that it may sign.

use super::{ErrorClass, Hsm, HsmError, Key, KeyAttributes, mechanism, public_half};
use crate::jose::{Algorithm, PublicKey, PublicKeyError, ToBeSigned};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use std::time::Duration;

/// Why no key was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// The private or the public key object is missing.
    #[error(
        "the token holds no {half} key labelled {label:?} any more; look at the token, or restore the key from the token's backup (a key that is made anew is another key)"
    )]
    NotFound {
        /// The label.
        label: String,
        /// `private` or `public`.
        half: &'static str,
    },
    /// More than one key: the right one is unknown.
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
    /// The key exists and must not be used.
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
    /// The label of the key.
    pub fn label(&self) -> &str {
        match self {
            Self::NotFound { label, .. }
            | Self::Ambiguous { label, .. }
            | Self::Refused { label, .. }
            | Self::Call { label, .. } => label,
        }
    }

    /// The required action; a key that is missing or refused is [`ErrorClass::Request`].
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
    /// An attribute has another value than required, or none.
    #[error("{name} must be {expected} and the token says {}; it must not sign: delete it, and let chancery key generate make the key", said(*.found))]
    Attribute {
        /// For example `CKA_EXTRACTABLE`.
        name: &'static str,
        /// The required value.
        expected: bool,
        /// The token's value.
        found: Option<bool>,
    },
    /// A PIN for each signature.
    #[error(
        "the token wants the PIN for each signature (CKA_ALWAYS_AUTHENTICATE), which this daemon does not do; make the key without it"
    )]
    AlwaysAuthenticate,
    /// Another key type than the algorithm needs.
    #[error("its key type must be {expected} and is {found}")]
    KeyType {
        /// For example `CKK_EC`.
        expected: String,
        /// The token's value.
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
    /// RSA of a size out of bounds, or an invalid point.
    #[error(transparent)]
    PublicKey(#[from] PublicKeyError),
    /// The private and the public key do not match, or the token computes wrongly. An alarm.
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

/// A private key with proved attributes, and all public objects with its label. In many tokens any user may write a
/// public object without a login.
pub(super) struct Located {
    pub(super) handle: ObjectHandle,
    pub(super) attributes: KeyAttributes,
    pub(super) public: Vec<PublicKey>,
}

/// Limit of public objects read for one label.
const MOST_PUBLIC: usize = 256;

/// Time before a second search that must confirm an empty result: some tokens briefly show no objects.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// See [`Hsm::find`].
pub(super) fn find(hsm: &Hsm, label: &str, algorithm: Algorithm) -> Result<Key, FindError> {
    let proved = hsm.access().with_session(|session| {
        let epoch = hsm.access().epoch();
        match locate(session, label, algorithm)? {
            Ok(Located { handle, attributes, public }) => {
                let public = prove(session, label, algorithm, handle, public)?;
                Ok(public.map(|public| (epoch, handle, attributes, public)))
            }
            Err(error) => Ok(Err(error)),
        }
    });
    let (epoch, handle, attributes, public) =
        proved.map_err(|error| FindError::Call { label: label.to_owned(), error })??;
    Ok(Key::new(hsm.clone(), label, public, attributes, epoch, handle))
}

/// The one private key with this label, its attributes, and the candidates for its public key. The outer error is the
/// token's.
pub(super) fn locate(
    session: &Session,
    label: &str,
    algorithm: Algorithm,
) -> Result<Result<Located, FindError>, HsmError> {
    let (handle, attributes) = match private(session, label)? {
        Ok(found) => found,
        Err(error) => return Ok(Err(error)),
    };
    let refused = |reason| Ok(Err(FindError::Refused { label: label.to_owned(), reason }));
    if let Err(reason) = attributes.prove(algorithm.kind()) {
        return refused(reason);
    }
    let objects = labelled(session, ObjectClass::PUBLIC_KEY, label)?;
    let not_found = || FindError::NotFound { label: label.to_owned(), half: "public" };
    let (mut public, mut unreadable) = (Vec::new(), None);
    for object in objects.into_iter().take(MOST_PUBLIC) {
        match public_half::read(session, object, algorithm)? {
            Ok(key) => public.push(key),
            Err(reason) => unreadable = Some(reason),
        }
    }
    match unreadable {
        _ if !public.is_empty() => Ok(Ok(Located { handle, attributes, public })),
        Some(reason) => refused(reason),
        None => Ok(Err(not_found())),
    }
}

/// Signs a constant text that is no JWS; the public key is the one that verifies it.
fn prove(
    session: &Session,
    label: &str,
    algorithm: Algorithm,
    handle: ObjectHandle,
    public: Vec<PublicKey>,
) -> Result<Result<PublicKey, FindError>, HsmError> {
    let text =
        format!("chancery: proof of possession of {label}: {}", hex::encode(crate::random::bytes::<32>()));
    let message = ToBeSigned::new(algorithm, text.as_bytes());
    let signature = mechanism::sign(session, handle, &message)?;
    let public = public.into_iter().find(|public| signature.verifies(public, &message));
    Ok(public.ok_or_else(|| FindError::Refused { label: label.to_owned(), reason: Refusal::Unverified }))
}

/// The one private key with this label. An object that is visible without a login is refused: any user may have written
/// it.
fn private(
    session: &Session,
    label: &str,
) -> Result<Result<(ObjectHandle, KeyAttributes), FindError>, HsmError> {
    let mut found = Vec::new();
    for handle in labelled(session, ObjectClass::PRIVATE_KEY, label)? {
        found.push((handle, KeyAttributes::read(session, handle)?));
    }
    if found.len() > 1 {
        found.retain(|(_, attributes)| attributes.private != Some(false));
    }
    let label = label.to_owned();
    Ok(match (found.pop(), found.len()) {
        (Some(one), 0) => Ok(one),
        (Some(_), others) => Err(FindError::Ambiguous { label, half: "private", count: others + 1 }),
        (None, _) => Err(FindError::NotFound { label, half: "private" }),
    })
}

fn labelled(session: &Session, class: ObjectClass, label: &str) -> Result<Vec<ObjectHandle>, HsmError> {
    search(session, &[Attribute::Class(class), Attribute::Label(label.as_bytes().to_vec())])
}

/// The matching objects; an empty result is confirmed by a second search.
fn search(session: &Session, template: &[Attribute]) -> Result<Vec<ObjectHandle>, HsmError> {
    let found = session.find_objects(template)?;
    if !found.is_empty() {
        return Ok(found);
    }
    std::thread::sleep(LOOK_AGAIN);
    Ok(session.find_objects(template)?)
}

/// See [`Hsm::labels`].
pub(super) fn labels(session: &Session) -> Result<Vec<String>, HsmError> {
    let mut labels = Vec::new();
    for key in search(session, &[Attribute::Class(ObjectClass::PRIVATE_KEY)])? {
        let (mut text, mut private) = (None, None);
        for attribute in session.get_attributes(key, &[AttributeType::Label, AttributeType::Private])? {
            match attribute {
                Attribute::Label(label) => text = String::from_utf8(label).ok(),
                Attribute::Private(said) => private = Some(said),
                _ => {}
            }
        }
        if private != Some(false) {
            labels.extend(text);
        }
    }
    labels.sort();
    Ok(labels)
}
