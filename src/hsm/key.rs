//! A key of the token, and its handle, which is valid in one epoch alone.

use super::access::Epoch;
use super::{Hsm, KeyAttributes};
use crate::jose::PublicKey;
use cryptoki::object::ObjectHandle;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// A private key in the token with its pinned public half. Cheap to clone.
#[derive(Clone)]
pub struct Key(Arc<Inner>);

struct Inner {
    hsm: Hsm,
    label: Arc<str>,
    public: Arc<PublicKey>,
    attributes: KeyAttributes,
    /// After a new login the same number may name another key, so the handle is valid in its own epoch alone.
    handle: RwLock<(Epoch, ObjectHandle)>,
}

impl Key {
    pub(super) fn new(
        hsm: Hsm,
        label: &str,
        public: PublicKey,
        attributes: KeyAttributes,
        epoch: Epoch,
        handle: ObjectHandle,
    ) -> Self {
        let handle = RwLock::new((epoch, handle));
        Self(Arc::new(Inner { hsm, label: label.into(), public: Arc::new(public), attributes, handle }))
    }

    /// Its `CKA_LABEL`.
    pub fn label(&self) -> &str {
        &self.0.label
    }

    /// The same text for another owner.
    pub fn shared_label(&self) -> &Arc<str> {
        &self.0.label
    }

    /// The public half that every signature of this key is verified with; it names the algorithm too.
    pub fn public(&self) -> &Arc<PublicKey> {
        &self.0.public
    }

    /// The attributes of the private key at its proof, for the audit log.
    pub fn attributes(&self) -> &KeyAttributes {
        &self.0.attributes
    }

    pub(super) fn hsm(&self) -> &Hsm {
        &self.0.hsm
    }

    /// The handle, if it was made in `epoch`.
    pub(super) fn handle_in(&self, epoch: Epoch) -> Option<ObjectHandle> {
        let (made, handle) = *self.0.handle.read().unwrap_or_else(PoisonError::into_inner);
        (made == epoch).then_some(handle)
    }

    /// Stores the handle of the same key, found again in `epoch`.
    pub(super) fn found_again(&self, epoch: Epoch, handle: ObjectHandle) {
        *self.0.handle.write().unwrap_or_else(PoisonError::into_inner) = (epoch, handle);
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} {:?})", self.label(), self.public())
    }
}
