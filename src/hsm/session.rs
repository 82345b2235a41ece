//! Signs on one thread, with the recovery that errors require.

use super::access::{Epoch, Recovery};
use super::mechanism::Unverified;
use super::{ErrorClass, FindError, Hsm, HsmError, Key, find, mechanism};
use crate::jose::{PublicKey, ToBeSigned};
use cryptoki::context::Function;
use cryptoki::error::RvError;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;

/// A session of the token for one thread. Sessions share no lock.
pub struct SigningSession {
    hsm: Hsm,
    /// Dropped after every error: after a failed `C_Sign` a session may answer `CKR_OPERATION_ACTIVE` for ever.
    pub(super) session: Option<Session>,
}

/// The token's result for one message. [`SigningSession::verify`] alone gives its bytes; a failure there destroys them.
pub struct UnverifiedSignature<'a> {
    key: &'a Key,
    message: ToBeSigned<'a>,
    /// The epoch in which the key's handle was valid.
    epoch: Epoch,
    signature: Unverified,
}

/// Why there is no signature. No output of the token is left.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The token failed, even after the recovery that its error allows.
    #[error("signing with {label:?} failed: {error}")]
    Call {
        /// The key.
        label: String,
        /// How.
        error: HsmError,
    },
    /// An alarm: the token's result does not verify with the key's pinned public key.
    #[error(
        "the token's signature with {label:?} does not verify; it was destroyed, and nothing should be signed with this key until somebody knows why"
    )]
    Unverified {
        /// The key.
        label: String,
    },
    /// An alarm: the label names another key pair than when the key was found.
    #[error(
        "the key {label:?} in the token is not the one that it was: expected the public key {expected}, found {found}"
    )]
    Changed {
        /// The key.
        label: String,
        /// Thumbprint of the pinned public key (RFC 7638).
        expected: String,
        /// Thumbprint of the key that has the label now.
        found: String,
    },
    /// After a new login the key is missing or must not be used any more.
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
    /// The required action. An alarm is of [`ErrorClass::Request`]: no retry helps.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Call { error, .. } => error.class(),
            Self::Lost(error) => error.class(),
            Self::Unverified { .. } | Self::Changed { .. } | Self::Foreign { .. } => ErrorClass::Request,
        }
    }

    /// Whether an operator must look at once: a key or the token has changed.
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

/// A signature in JWS form, verified with the key's public key. Only [`SigningSession::verify`] makes one.
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

    /// Lets the token sign `message` with the key's one algorithm, for [`Self::verify`].
    ///
    /// Blocks for as long as the token takes; only the end of the process ends a call that hangs. Recovers from one
    /// lost session or login; after an error of [`ErrorClass::Module`] the caller ends the process.
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

    /// Verifies with the key's public key, and returns the signature in JWS form: r‖s of 64 or 96 bytes for ES256 and
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
        // Another thread logged in after the handle was read, so it may have named another key: sign once more.
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

/// The handle of the same key, identified by its public key, in a later epoch.
fn find_again(session: &Session, key: &Key, epoch: Epoch) -> Result<ObjectHandle, SignError> {
    let located = find::locate(session, key.label(), key.public().algorithm())
        .map_err(|error| SignError::Call { label: key.label().to_owned(), error })?
        .map_err(SignError::Lost)?;
    // Signatures are verified with the pinned public key, whatever other objects have its label.
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
