//! A record as a verifier reads it: strict, so that two readers never see two things in the same bytes.

use super::commit::Digest;
use super::draft::{CheckpointRef, Committed, Known};
use super::encoding::{RECORD_MAX, VERSION};
use crate::clock::{Mark, Timestamp};
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

/// Why some bytes are no record.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// More bytes than a record may have.
    #[error("a record has at most {RECORD_MAX} bytes, found {0}")]
    Length(usize),
    /// No JSON object, a name twice in one object, or a member that is missing or of the wrong type.
    #[error("not a record of this format: {0}")]
    Json(#[from] serde_json::Error),
    /// A format that this program does not know.
    #[error("records have version 1 to {VERSION}, found {0}; verify with a newer program")]
    Version(u32),
}

/// The members of a record that verification and search need. Others may stand beside them.
#[derive(Clone, Debug, Deserialize)]
pub struct RecordView<'a> {
    /// Format version.
    pub v: u32,
    /// Origin of the log.
    #[serde(borrow)]
    pub origin: Cow<'a, str>,
    /// Place in the log, from 0.
    pub seq: u64,
    /// RFC 6962 leaf hash of the record before; zeros in the first.
    pub prev: Digest,
    /// RFC 3339 in UTC with nine digits ([`crate::clock::Timestamp`]); it never goes back.
    #[serde(borrow)]
    pub time: Cow<'a, str>,
    /// Nanoseconds of the boot clock of `boot`; in version 1 of the monotonic clock.
    pub mono: u64,
    /// Node that wrote the record.
    #[serde(borrow)]
    pub node: Cow<'a, str>,
    /// The boot of the machine.
    #[serde(borrow)]
    pub boot: Cow<'a, str>,
    /// What the wall clock said, where it is not `time`.
    #[serde(borrow)]
    pub clock_raw: Option<Cow<'a, str>>,
    /// In doubt: the time that the boot clock makes of the last trusted one.
    #[serde(borrow)]
    pub clock_expected: Option<Cow<'a, str>>,
    /// In doubt or settling since the machine started: the least that the time is.
    #[serde(borrow)]
    pub clock_at_least: Option<Cow<'a, str>>,
    /// SHA-256 of the exact JWS that was released; in version 1 also of an unsigned body.
    pub sha256: Option<Digest>,
    /// Name of the event ([`crate::audit::Event`]).
    #[serde(borrow)]
    pub event: Cow<'a, str>,
    /// Name of the outcome ([`crate::audit::Outcome`]).
    #[serde(borrow)]
    pub outcome: Cow<'a, str>,
    /// Why.
    #[serde(borrow)]
    pub reason: Option<Cow<'a, str>>,
    /// The request.
    #[serde(borrow)]
    pub request_id: Option<Cow<'a, str>>,
    /// The client.
    #[serde(borrow)]
    pub client_id: Option<Cow<'a, str>>,
    /// Purpose of the key.
    #[serde(borrow)]
    pub purpose: Option<Cow<'a, str>>,
    /// The signing key.
    #[serde(borrow)]
    pub kid: Option<Cow<'a, str>>,
    /// Key records: its label.
    #[serde(borrow)]
    pub key_label: Option<Cow<'a, str>>,
    /// Its algorithm.
    #[serde(borrow)]
    pub alg: Option<Cow<'a, str>>,
    /// Key records: `SubjectPublicKeyInfo` in base64.
    #[serde(borrow)]
    pub spki: Option<Cow<'a, str>>,
    /// `typ` of what was signed.
    #[serde(borrow)]
    pub typ: Option<Cow<'a, str>>,
    /// `jti`.
    #[serde(borrow)]
    pub jti: Option<Cow<'a, str>>,
    /// `iat`.
    pub iat: Option<i64>,
    /// Digest of the token.
    pub token_sha256: Option<Digest>,
    /// Whether the token was active.
    pub active: Option<bool>,
    /// Digest of a configuration: of the signer, in `configuration-loaded` of the gateway.
    pub config_sha256: Option<Digest>,
    /// In `configuration-loaded`, of the signer.
    pub signer_config_sha256: Option<Digest>,
    /// The checkpoint that the event is about.
    pub checkpoint: Option<CheckpointRef>,
    /// Records of an adopted log: the memories that the decision overrides.
    #[serde(default)]
    pub known: Vec<Known>,
    /// The operator of an administrative act.
    #[serde(borrow)]
    pub operator: Option<Cow<'a, str>>,
    /// The commitments.
    #[serde(default)]
    pub committed: Committed,
}

impl<'a> RecordView<'a> {
    /// Reads one record; a name that stands twice in any object of it is an error.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ViewError> {
        serde_json::from_slice::<UniqueNames>(bytes)?;
        Self::parse_own(bytes)
    }

    /// Reads a record that this program's own log wrote: without the search for names that stand twice among members
    /// that are not read.
    pub(in crate::audit) fn parse_own(bytes: &'a [u8]) -> Result<Self, ViewError> {
        if bytes.len() > RECORD_MAX {
            return Err(ViewError::Length(bytes.len()));
        }
        let view: Self = serde_json::from_slice(bytes)?;
        if (1..=VERSION).contains(&view.v) { Ok(view) } else { Err(ViewError::Version(view.v)) }
    }
}

impl RecordView<'_> {
    /// What the next start compares the clocks with. `time` is the record's own, which may be later than what was
    /// trusted, since it never goes back.
    pub(in crate::audit) fn mark(&self, time: Timestamp) -> Mark {
        let read = |text: &Option<Cow<'_, str>>| text.as_deref().and_then(Timestamp::parse);
        let trusted = read(&self.clock_expected).or(read(&self.clock_at_least)).or(read(&self.clock_raw));
        Mark {
            time: trusted.unwrap_or(time),
            boot: (self.v > 1).then(|| (self.mono, self.boot.to_string())),
            at_least: self.clock_at_least.is_some(),
        }
    }
}

/// Accepts any JSON in which no object has a name twice, and keeps nothing.
struct UniqueNames;

impl<'de> Deserialize<'de> for UniqueNames {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(Self)
    }
}

impl<'de> DeserializeSeed<'de> for UniqueNames {
    type Value = Self;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Self, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UniqueNames {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON whose objects have each name once")
    }
    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Self>()?.is_some() {}
        Ok(self)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut seen = HashSet::new();
        while let Some(name) = map.next_key::<Name<'de>>()? {
            map.next_value::<Self>()?;
            if let Some(Name(twice)) = seen.replace(name) {
                return Err(A::Error::custom(format_args!("the name {twice:?} stands twice in one object")));
            }
        }
        Ok(self)
    }
}

/// A member's name, borrowed where it has no escapes.
#[derive(PartialEq, Eq, Hash, Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = r#"{"v":1,"origin":"o","seq":0,"prev":"0000000000000000000000000000000000000000000000000000000000000000","time":"t","mono":1,"node":"n","boot":"b","event":"signed","outcome":"success"MORE}"#;

    fn with(more: &str) -> String {
        RECORD.replace("MORE", more)
    }

    #[test]
    fn a_name_that_stands_twice_is_refused_wherever_it_is() {
        assert!(RecordView::parse(with("").as_bytes()).is_ok());
        assert!(RecordView::parse(with(r#","kid":"a""#).as_bytes()).is_ok());
        for twice in [
            r#","seq":0"#,
            r#","x":1,"x":1"#,
            r#","x":1,"\u0078":1"#,
            r#","attributes":{"a":1,"a":2}"#,
            r#","l":[{"a":1,"a":2}]"#,
        ] {
            assert!(RecordView::parse(with(twice).as_bytes()).is_err(), "{twice}");
        }
    }

    #[test]
    fn another_version_and_another_length_are_refused() {
        let other = with("").replace("\"v\":1", "\"v\":3");
        assert!(matches!(RecordView::parse(other.as_bytes()), Err(ViewError::Version(3))));
        let long = with(&format!(r#","x":"{}""#, "y".repeat(RECORD_MAX)));
        assert!(matches!(RecordView::parse(long.as_bytes()), Err(ViewError::Length(_))));
    }
}
