//! The attributes of a private key, and the values required before the key is used.

use super::{HsmError, Refusal};
use crate::jose::KeyKind;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectHandle};
use cryptoki::session::Session;
use serde::Serialize;

/// The attributes of a private key (PKCS#11 3.1 §4.9) as the token gave them; `None` where it gave none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KeyAttributes {
    /// `CKA_KEY_TYPE`, for example `CKK_EC`.
    pub key_type: Option<String>,
    /// `CKA_ID` in lower-case hexadecimal.
    pub id: Option<String>,
    /// `CKA_TOKEN`: it outlives the session.
    pub token: Option<bool>,
    /// `CKA_PRIVATE`: only a login shows it.
    pub private: Option<bool>,
    /// `CKA_SENSITIVE`: its value is not shown.
    pub sensitive: Option<bool>,
    /// `CKA_ALWAYS_SENSITIVE`.
    pub always_sensitive: Option<bool>,
    /// `CKA_EXTRACTABLE`: it can be wrapped and carried away.
    pub extractable: Option<bool>,
    /// `CKA_NEVER_EXTRACTABLE`.
    pub never_extractable: Option<bool>,
    /// `CKA_LOCAL`: made in the token. Recorded, not required: NSS and `NetHSM` report it as false for their own keys.
    pub local: Option<bool>,
    /// `CKA_ALWAYS_AUTHENTICATE`: a PIN for each signature.
    pub always_authenticate: Option<bool>,
    /// `CKA_SIGN`.
    pub sign: Option<bool>,
    /// `CKA_SIGN_RECOVER`.
    pub sign_recover: Option<bool>,
    /// `CKA_DECRYPT`.
    pub decrypt: Option<bool>,
    /// `CKA_UNWRAP`.
    pub unwrap: Option<bool>,
    /// `CKA_DERIVE`.
    pub derive: Option<bool>,
}

impl KeyAttributes {
    /// Reads the attributes by type, not by position. Those that the token leaves out stay `None`.
    pub(super) fn read(session: &Session, key: ObjectHandle) -> Result<Self, HsmError> {
        let mut read = Self::default();
        for attribute in session.get_attributes(
            key,
            &[
                AttributeType::KeyType,
                AttributeType::Id,
                AttributeType::Token,
                AttributeType::Private,
                AttributeType::Sensitive,
                AttributeType::AlwaysSensitive,
                AttributeType::Extractable,
                AttributeType::NeverExtractable,
                AttributeType::Local,
                AttributeType::AlwaysAuthenticate,
                AttributeType::Sign,
                AttributeType::SignRecover,
                AttributeType::Decrypt,
                AttributeType::Unwrap,
                AttributeType::Derive,
            ],
        )? {
            match attribute {
                Attribute::KeyType(kind) => read.key_type = Some(kind.to_string()),
                Attribute::Id(id) => read.id = Some(hex::encode(id)),
                Attribute::Token(v) => read.token = Some(v),
                Attribute::Private(v) => read.private = Some(v),
                Attribute::Sensitive(v) => read.sensitive = Some(v),
                Attribute::AlwaysSensitive(v) => read.always_sensitive = Some(v),
                Attribute::Extractable(v) => read.extractable = Some(v),
                Attribute::NeverExtractable(v) => read.never_extractable = Some(v),
                Attribute::Local(v) => read.local = Some(v),
                Attribute::AlwaysAuthenticate(v) => read.always_authenticate = Some(v),
                Attribute::Sign(v) => read.sign = Some(v),
                Attribute::SignRecover(v) => read.sign_recover = Some(v),
                Attribute::Decrypt(v) => read.decrypt = Some(v),
                Attribute::Unwrap(v) => read.unwrap = Some(v),
                Attribute::Derive(v) => read.derive = Some(v),
                _ => {}
            }
        }
        Ok(read)
    }

    /// Whether a key with these attributes may sign: it cannot leave the token, can only sign, and needs no PIN for
    /// each signature.
    pub(super) fn prove(&self, kind: KeyKind) -> Result<(), Refusal> {
        let expected = key_type(kind).to_string();
        if self.key_type.as_ref() != Some(&expected) {
            let found = self.key_type.clone().unwrap_or_else(|| "nothing".to_owned());
            return Err(Refusal::KeyType { expected, found });
        }
        if self.always_authenticate == Some(true) {
            return Err(Refusal::AlwaysAuthenticate);
        }
        // The token must state these: an absent attribute is no proof.
        for (name, found, expected) in [
            ("CKA_TOKEN", self.token, true),
            ("CKA_SENSITIVE", self.sensitive, true),
            ("CKA_ALWAYS_SENSITIVE", self.always_sensitive, true),
            ("CKA_EXTRACTABLE", self.extractable, false),
            ("CKA_NEVER_EXTRACTABLE", self.never_extractable, true),
            ("CKA_SIGN", self.sign, true),
        ] {
            if found != Some(expected) {
                return Err(Refusal::Attribute { name, expected, found });
            }
        }
        // Modules leave these out for kinds of keys that cannot have them.
        for (name, found, expected) in [
            ("CKA_PRIVATE", self.private, true),
            ("CKA_SIGN_RECOVER", self.sign_recover, false),
            ("CKA_DECRYPT", self.decrypt, false),
            ("CKA_UNWRAP", self.unwrap, false),
            ("CKA_DERIVE", self.derive, false),
        ] {
            if found == Some(!expected) {
                return Err(Refusal::Attribute { name, expected, found });
            }
        }
        Ok(())
    }
}

pub(super) const fn key_type(kind: KeyKind) -> KeyType {
    match kind {
        KeyKind::Rsa => KeyType::RSA,
        KeyKind::P256 | KeyKind::P384 => KeyType::EC,
        KeyKind::Ed25519 => KeyType::EC_EDWARDS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> KeyAttributes {
        KeyAttributes {
            key_type: Some("CKK_EC".to_owned()),
            token: Some(true),
            sensitive: Some(true),
            always_sensitive: Some(true),
            extractable: Some(false),
            never_extractable: Some(true),
            sign: Some(true),
            ..KeyAttributes::default()
        }
    }

    fn refused(change: impl Fn(&mut KeyAttributes)) -> String {
        let mut attributes = good();
        change(&mut attributes);
        attributes.prove(KeyKind::P256).unwrap_err().to_string()
    }

    #[test]
    fn a_missing_protective_attribute_is_refused() {
        assert_eq!(good().prove(KeyKind::P256), Ok(()));
        assert!(refused(|a| a.sensitive = None).contains("CKA_SENSITIVE"));
        assert!(refused(|a| a.always_sensitive = None).contains("CKA_ALWAYS_SENSITIVE"));
        assert!(refused(|a| a.extractable = None).contains("CKA_EXTRACTABLE"));
        assert!(refused(|a| a.never_extractable = None).contains("CKA_NEVER_EXTRACTABLE"));
        assert!(refused(|a| a.sign = None).contains("CKA_SIGN"));
        assert!(refused(|a| a.token = None).contains("CKA_TOKEN"));
    }

    #[test]
    fn a_key_that_does_more_than_sign_is_refused() {
        assert!(refused(|a| a.decrypt = Some(true)).contains("CKA_DECRYPT"));
        assert!(refused(|a| a.unwrap = Some(true)).contains("CKA_UNWRAP"));
        assert!(refused(|a| a.sign_recover = Some(true)).contains("CKA_SIGN_RECOVER"));
        assert!(refused(|a| a.derive = Some(true)).contains("CKA_DERIVE"));
        assert!(refused(|a| a.private = Some(false)).contains("CKA_PRIVATE"));
        assert!(refused(|a| a.always_authenticate = Some(true)).contains("CKA_ALWAYS_AUTHENTICATE"));
    }

    #[test]
    fn whether_the_key_was_made_in_the_token_is_recorded_and_not_required() {
        for local in [None, Some(false), Some(true)] {
            assert_eq!(KeyAttributes { local, ..good() }.prove(KeyKind::P256), Ok(()));
        }
    }
}
