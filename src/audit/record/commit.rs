//! Salted commitments: a record proves a personal value without showing it.
//!
//! A bare digest of an IBAN or a subject can be guessed and checked; with 16 random bytes of salt it cannot, and once
//! the payload that holds the salt is erased the commitment cannot be opened again.

use crate::audit::error::TooLong;
use crate::sha256::sha256_of;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Random bytes of one commitment.
pub type Salt = [u8; 16];

/// `SHA-256(salt ‖ len(name) ‖ name ‖ value)` with the length as one byte; in records as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commitment([u8; 32]);

impl Commitment {
    /// Commits to the value of the field `name`. The salt is drawn for this one value.
    ///
    /// # Errors
    /// A name of more than 255 bytes.
    pub fn to(name: &str, value: &[u8], salt: &Salt) -> Result<Self, TooLong> {
        let length = u8::try_from(name.len()).map_err(|_| TooLong {
            what: "the name of a committed field",
            found: name.len(),
            most: 255,
        })?;
        Ok(Self(sha256_of(&[salt, &[length], name.as_bytes(), value])))
    }

    /// Whether this commits to `value` as the field `name` under the salt of an opened payload.
    pub fn opens(&self, name: &str, value: &[u8], salt: &Salt) -> bool {
        Self::to(name, value, salt).is_ok_and(|c| c == *self)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Serialize for Commitment {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        Digest(self.0).serialize(s)
    }
}

impl<'de> Deserialize<'de> for Commitment {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Ok(Self(Digest::deserialize(d)?.0))
    }
}

/// A SHA-256, in records as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut text = [0; 64];
        hex::encode_to_slice(self.0, &mut text).map_err(serde::ser::Error::custom)?;
        s.serialize_str(std::str::from_utf8(&text).map_err(serde::ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(d)?;
        let mut out = [0; 32];
        // One spelling for one digest: a search for the text must find every record.
        if text.bytes().any(|b| b.is_ascii_uppercase())
            || hex::decode_to_slice(text.as_bytes(), &mut out).is_err()
        {
            return Err(D::Error::custom("expected 64 lower-case hexadecimal digits"));
        }
        Ok(Self(out))
    }
}

/// The payload beside a record: the exact text that was released and the opened commitments.
///
/// As JSON: `{"jws": "…", "disclosed": {"sub": ["<salt in hex>", "<value>"]}}`; an unsigned answer is the disclosed `body`.
/// (Beside records of version 1 an unsigned answer stands as `body` at the outer level, without a salt.)
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disclosure<'a> {
    /// The signed answer in compact form; the record's `sha256` is its digest.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    pub jws: Option<Cow<'a, str>>,
    /// Of each committed field the salt and the value.
    #[serde(borrow, default, skip_serializing_if = "BTreeMap::is_empty")]
    pub disclosed: BTreeMap<Cow<'a, str>, Opened<'a>>,
}

/// A commitment's salt (32 hexadecimal digits) and value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened<'a>(#[serde(with = "salt_hex")] pub Salt, #[serde(borrow)] pub Cow<'a, str>);

impl<'a> Disclosure<'a> {
    /// Commits to `value` and keeps what opens the commitment.
    ///
    /// # Errors
    /// A name of more than 255 bytes.
    pub fn commit(&mut self, name: &'a str, value: Cow<'a, str>, salt: Salt) -> Result<Commitment, TooLong> {
        let commitment = Commitment::to(name, value.as_bytes(), &salt)?;
        self.disclosed.insert(Cow::Borrowed(name), Opened(salt, value));
        Ok(commitment)
    }

    /// Keeps what opens a commitment that was made before.
    pub fn keep(&mut self, name: &'a str, value: &'a str, salt: Salt) {
        self.disclosed.insert(Cow::Borrowed(name), Opened(salt, Cow::Borrowed(value)));
    }

    /// As JSON, with `jws`: what serde would write, but a text without escapes is not searched for them byte by byte.
    pub fn encode_with_jws(mut self, jws: &'a str) -> Result<Vec<u8>, serde_json::Error> {
        if !is_plain(jws) {
            self.jws = Some(Cow::Borrowed(jws));
            return serde_json::to_vec(&self);
        }
        self.jws = None;
        let mut out = Vec::with_capacity(jws.len() + 1024);
        out.extend_from_slice(b"{\"jws\":\"");
        out.extend_from_slice(jws.as_bytes());
        // The other members follow, in place of their opening brace.
        out.push(b'"');
        let brace = out.len();
        serde_json::to_writer(&mut out, &self)?;
        match out.get_mut(brace..) {
            Some([first, second, ..]) if *second != b'}' => *first = b',',
            _ => drop(out.remove(brace)),
        }
        Ok(out)
    }

    /// Whether the payload opens `commitment` as the field `name`.
    pub fn opens(&self, name: &str, commitment: &Commitment) -> bool {
        self.disclosed.get(name).is_some_and(|o| commitment.opens(name, o.1.as_bytes(), &o.0))
    }
}

/// Whether JSON has the text as it is. Counted to the end, which a processor does many bytes at a time.
fn is_plain(text: &str) -> bool {
    text.bytes().filter(|b| matches!(b, 0..=0x1f | b'"' | b'\\')).count() == 0
}

mod salt_hex {
    use super::{Cow, Deserialize, Deserializer, Salt, Serializer};
    use serde::de::Error as _;

    pub(super) fn serialize<S: Serializer>(salt: &Salt, s: S) -> Result<S::Ok, S::Error> {
        let mut text = [0; 32];
        hex::encode_to_slice(salt, &mut text).map_err(serde::ser::Error::custom)?;
        s.serialize_str(std::str::from_utf8(&text).map_err(serde::ser::Error::custom)?)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Salt, D::Error> {
        let text = Cow::<'de, str>::deserialize(d)?;
        let mut out = [0; 16];
        hex::decode_to_slice(text.as_bytes(), &mut out)
            .map_err(|_| D::Error::custom("expected a salt of 32 hexadecimal digits"))?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_commitment_opens_for_its_name_value_and_salt_alone() {
        let c = Commitment::to("sub", b"alice", &[7; 16]).unwrap();
        assert!(c.opens("sub", b"alice", &[7; 16]));
        assert!(!c.opens("suba", b"lice", &[7; 16]), "name and value must not run into each other");
        assert!(!c.opens("sub", b"bob", &[7; 16]));
        assert!(!c.opens("sub", b"alice", &[8; 16]));
    }

    #[test]
    fn the_commitment_is_what_its_formula_says() {
        let mut input = vec![9; 16];
        input.extend_from_slice(b"\x03subalice");
        let expected = crate::sha256::sha256(&input);
        assert_eq!(Commitment::to("sub", b"alice", &[9; 16]).unwrap().as_bytes(), &expected);
    }

    #[test]
    fn a_payload_opens_the_commitments_made_with_it() {
        let mut d = Disclosure { jws: Some("a.b.c".into()), ..Disclosure::default() };
        let c = d.commit("sub", "ali\"ce".into(), [1; 16]).unwrap();
        let text = serde_json::to_string(&d).unwrap();
        let read: Disclosure<'_> = serde_json::from_str(&text).unwrap();
        assert!(read.opens("sub", &c));
        assert!(!read.opens("from", &c));
    }

    proptest! {
        #[test]
        fn a_payload_is_written_as_serde_writes_it(jws in "[a-zA-Z0-9_.é\"\\\\\\n-]{0,40}", sub in proptest::option::of(".{0,10}")) {
            let mut d = Disclosure::default();
            if let Some(sub) = &sub {
                d.commit("sub", sub.into(), [1; 16]).unwrap();
            }
            let whole = Disclosure { jws: Some(Cow::Borrowed(&jws)), ..d.clone() };
            prop_assert_eq!(d.encode_with_jws(&jws).unwrap(), serde_json::to_vec(&whole).unwrap());
        }
    }

    #[test]
    fn a_name_longer_than_its_length_byte_is_refused() {
        assert!(Commitment::to(&"n".repeat(256), b"", &[0; 16]).is_err());
    }
}
