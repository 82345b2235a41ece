//! Signing, on one thread, with the recovery that a signature may cost.

use super::access::{Epoch, Recovery};
use super::mechanism::Unverified;
use super::{ErrorClass, FindError, Hsm, HsmError, Key, find, mechanism};
use crate::jose::{PublicKey, ToBeSigned};
use cryptoki::context::Function;
use cryptoki::error::RvError;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;

/// A session of the token for one thread. Sessions of several threads share nothing that one of them could hold.
pub struct SigningSession {
    hsm: Hsm,
    /// Thrown away with every error: after a failed `C_Sign` a session may answer `CKR_OPERATION_ACTIVE` for ever.
    pub(super) session: Option<Session>,
}

/// What the token returned for one message. Its bytes come out through [`SigningSession::verify`] alone; a failure there
/// destroys them.
pub struct UnverifiedSignature<'a> {
    key: &'a Key,
    message: ToBeSigned<'a>,
    /// In which the key's handle was valid.
    epoch: Epoch,
    signature: Unverified,
}

/// Why there is no signature. Nothing that the token returned is left over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The token failed, also after what recovery its error allows.
    #[error("signing with {label:?} failed: {error}")]
    Call {
        /// The key.
        label: String,
        /// How.
        error: HsmError,
    },
    /// An alarm: what the token returned does not verify with the key's pinned public half.
    #[error(
        "the token's signature with {label:?} does not verify; it was destroyed, and nothing should be signed with this key until somebody knows why"
    )]
    Unverified {
        /// The key.
        label: String,
    },
    /// An alarm: another key pair stands under the label than when the key was found.
    #[error(
        "the key {label:?} in the token is not the one that it was: expected the public key {expected}, found {found}"
    )]
    Changed {
        /// The key.
        label: String,
        /// Thumbprint of the pinned public key (RFC 7638).
        expected: String,
        /// Thumbprint of what is there now.
        found: String,
    },
    /// After a new login the key was not there any more, or must not be used any more.
    #[error("after a new login: {0}")]
    Lost(FindError),
    /// The key was found through another [`Hsm`].
    #[error("the key {label:?} belongs to another login than this session")]
    Foreign {
        /// The key.
        label: String,
    },
}

impl SignError {
    /// What has to happen. An alarm is of [`ErrorClass::Request`]: no retry makes it right.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Call { error, .. } => error.class(),
            Self::Lost(error) => error.class(),
            Self::Unverified { .. } | Self::Changed { .. } | Self::Foreign { .. } => ErrorClass::Request,
        }
    }

    /// Whether somebody must look at once: a key or the token is not what it was.
    pub const fn is_alarm(&self) -> bool {
        matches!(self, Self::Unverified { .. } | Self::Changed { .. })
    }
}

impl UnverifiedSignature<'_> {
    /// The key that signed.
    pub const fn key(&self) -> &Key {
        self.key
    }
}

/// A signature in JWS form that the key's public half has verified. Only [`SigningSession::verify`] makes one: what needs
/// it cannot be had without the token.
#[derive(Debug)]
pub struct VerifiedSignature(Vec<u8>);

impl std::ops::Deref for VerifiedSignature {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl SigningSession {
    pub(super) fn open(hsm: Hsm) -> Result<Self, HsmError> {
        let session = hsm.access().open_session()?;
        Ok(Self { hsm, session: Some(session) })
    }

    /// Signs `message` with the key's one algorithm and verifies the signature: [`Self::call`] and [`Self::verify`].
    pub fn sign(&mut self, key: &Key, message: &[u8]) -> Result<VerifiedSignature, SignError> {
        let signature = self.call(key, message)?;
        self.verify(signature)
    }

    /// Lets the token sign `message` with the key's one algorithm. What it returned is kept until [`Self::verify`] has
    /// seen it.
    ///
    /// Blocks for as long as the token takes; a call that hangs can be ended only with the process. A lost session or
    /// login is made good once; after an error of [`ErrorClass::Module`] the caller ends the process.
    pub fn call<'a>(
        &mut self,
        key: &'a Key,
        message: &'a [u8],
    ) -> Result<UnverifiedSignature<'a>, SignError> {
        if !self.hsm.is(key.hsm()) {
            return Err(SignError::Foreign { label: key.label().to_owned() });
        }
        self.call_for(key, ToBeSigned::new(key.public().algorithm(), message))
    }

    /// Verifies with the key's public half, and returns the signature in JWS form: r‖s of 64 or 96 bytes for ES256 and
    /// ES384, as long as the modulus for RS256 and PS256, 64 bytes for `EdDSA`.
    pub fn verify(&mut self, signature: UnverifiedSignature<'_>) -> Result<VerifiedSignature, SignError> {
        let UnverifiedSignature { key, message, epoch, signature } = signature;
        if let Ok(signature) = signature.verified_by(key.public(), &message) {
            return Ok(VerifiedSignature(signature));
        }
        let unverified = || SignError::Unverified { label: key.label().to_owned() };
        if self.hsm.access().epoch() == epoch {
            return Err(unverified());
        }
        // Another thread logged in between handle and signature, so the handle may have named another key. Once more.
        let UnverifiedSignature { message, epoch, signature, .. } = self.call_for(key, message)?;
        signature.verified_by(key.public(), &message).map(VerifiedSignature).map_err(|_| {
            if self.hsm.access().epoch() == epoch {
                return unverified();
            }
            let error = HsmError::lost(RvError::KeyHandleInvalid, Function::Sign);
            SignError::Call { label: key.label().to_owned(), error }
        })
    }

    fn call_for<'a>(
        &mut self,
        key: &'a Key,
        message: ToBeSigned<'a>,
    ) -> Result<UnverifiedSignature<'a>, SignError> {
        let mut recovery = Recovery::default();
        loop {
            let epoch = self.hsm.access().epoch();
            match self.attempt(key, &message) {
                Ok((epoch, signature)) => return Ok(UnverifiedSignature { key, message, epoch, signature }),
                Err(failure) => {
                    self.session = None;
                    let failed = |error| SignError::Call { label: key.label().to_owned(), error };
                    let SignError::Call { error, .. } = failure else { return Err(failure) };
                    recovery.after(error, || self.hsm.access().log_in_again(epoch)).map_err(failed)?;
                }
            }
        }
    }

    fn attempt(&mut self, key: &Key, message: &ToBeSigned<'_>) -> Result<(Epoch, Unverified), SignError> {
        let failed = |error| SignError::Call { label: key.label().to_owned(), error };
        let session = match &mut self.session {
            Some(session) => session,
            none => none.insert(self.hsm.access().open_session().map_err(failed)?),
        };
        let epoch = self.hsm.access().epoch();
        let handle = match key.handle_in(epoch) {
            Some(handle) => handle,
            None => find_again(session, key, epoch)?,
        };
        Ok((epoch, mechanism::sign(session, handle, message).map_err(failed)?))
    }
}

/// The handle of the same key in a later epoch; "the same" is decided by its public half.
fn find_again(session: &Session, key: &Key, epoch: Epoch) -> Result<ObjectHandle, SignError> {
    let located = find::locate(session, key.label(), key.public().algorithm())
        .map_err(|error| SignError::Call { label: key.label().to_owned(), error })?
        .map_err(SignError::Lost)?;
    // What it signs is verified with the pinned half, whatever else stands under its label.
    if !located.public.iter().any(|public| public.spki() == key.public().spki()) {
        let kids: Vec<&str> = located.public.iter().map(PublicKey::kid).collect();
        return Err(SignError::Changed {
            label: key.label().to_owned(),
            expected: key.public().kid().to_owned(),
            found: kids.join(", "),
        });
    }
    key.found_again(epoch, located.handle);
    Ok(located.handle)
}
