//! What the caller says of one event: the members of a record after its head.
//!
//! Each field is *public* (it stands in the record, which is never erased and goes to every auditor) or *committed*
//! (the record holds a salted commitment; value and salt lie in the payload). One question decides: can a reader of the
//! export find the value, by reading or by trying what it may be, and is it personal or confidential? If both, the field
//! is committed. A digest is no protection for what can be tried: it may be public only over what cannot be made
//! again: a signature, or at least 128 random bits. The answer stands beside each field:
//!
//! * *configured*: one of a few values that the configuration or this program names; it says nothing of a person.
//! * *random*: at least 128 random bits of ours.
//! * *of the system*: about keys, processes and the log, which auditors must know.
//! * *typed*: the operator's own words or name. Commands that take such a text say that every auditor reads it.

use super::commit::{Commitment, Digest};
use super::encoding::{MEMBERS_MAX, Members};
use super::event::{Event, Outcome};
use crate::audit::error::TooLong;
use serde::Serialize;
use serde_json::value::RawValue;

/// One record's members. What is `None` or empty is left out.
///
/// The log itself adds format version, origin, sequence, digest of the record before, times, node and boot, and of a JWS
/// `sha256` ([`crate::audit::JwsDigest`] says why it may be public).
#[derive(Clone, Debug, Serialize)]
pub struct Draft<'a> {
    /// Public. What happened.
    pub event: Event,
    /// Public. How it ended.
    pub outcome: Outcome,
    /// Public; configured (the name of a rule), of the system (what the token, the disk or the clock said), or typed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
    /// Public; configured. What a rule withheld from the answer, each with the rule's name.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub withheld: &'a [Withheld<'a>],
    /// Public. The request among all requests: the gateway's own name for it, nothing that a caller sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<&'a str>,

    /// Public; configured. The calling client or resource server: an organisation's system, no person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<&'a str>,
    /// Public; configured. How the client was authenticated (names of RFC 7591 `token_endpoint_auth_method`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_method: Option<&'a str>,
    /// Public; typed. Account of the operator that did an administrative act. It may name a person; auditors need it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<&'a str>,

    /// Public; configured. Purpose of the signing key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<&'a str>,
    /// Public; of the system. `kid` of the signing key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<&'a str>,
    /// Public; of the system. `CKA_ID` of the key in hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<&'a str>,
    /// Public; of the system. `CKA_LABEL` of the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_label: Option<&'a str>,
    /// Public; configured. JOSE algorithm (RFC 7518, RFC 8037).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alg: Option<&'a str>,
    /// Public; of the system. Serial number of the PKCS#11 token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_serial: Option<&'a str>,
    /// Public; of the system; key records. The public half: `SubjectPublicKeyInfo` in DER, base64 with padding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spki: Option<&'a str>,
    /// Public; of the system; key records. The key's PKCS#11 attributes as a JSON object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<&'a RawValue>,

    /// Public; configured. `typ` of what was signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub typ: Option<&'a str>,
    /// Public; configured. `iss`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<&'a str>,
    /// Public; configured. `aud`: resource servers.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub aud: &'a [&'a str],
    /// Public; random. `jti` of a token or answer of ours. One that another party chose is committed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<&'a str>,
    /// Public. `iat` in seconds since 1970: the time of the record says as much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iat: Option<i64>,
    /// Public. `exp` in seconds since 1970: `iat` and a configured lifetime.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    /// Public; configured, word by word. Scope of the answer. (A scope of which a part is not configured, as `PIS:*` allows, would have
    /// to be committed.)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<&'a str>,
    /// Public. Authentication context of the user (`acr`): a name that a front server uses for all its users. Supervisors count
    /// strong authentications by it. The subject is committed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acr: Option<&'a str>,
    /// Public. Methods of the user's authentication (RFC 8176): as `acr`.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub amr: &'a [&'a str],
    /// Public. SHA-256 of the introspected, issued or revoked token of ours, which is random or has a signature. The digest of
    /// any other text that was presented is committed: its sender chose it, and it may be short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_sha256: Option<Digest>,
    /// Public. Whether the introspected token was active. The subject is committed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,

    /// Public; of the system. Digest of the configuration in force: of the signer, in `configuration-loaded` of the gateway. It can be tried, but names parties and no persons, and its
    /// secrets are random: an auditor compares it with the configuration that was shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_sha256: Option<Digest>,
    /// Public; of the system. Digest of the configuration that was in force before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_before_sha256: Option<Digest>,
    /// Public; of the system; `configuration-loaded`. Digest of the configuration of the signer, which stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signer_config_sha256: Option<Digest>,
    /// Public; of the system. Digest of the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program_sha256: Option<Digest>,
    /// Public; of the system. The checkpoint that the event is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointRef>,
    /// Public; records of an adopted log. What was known of the log before: the memories that the decision overrides.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub known: &'a [Known],

    /// Commitments, each under the name that the payload's `disclosed` opens.
    #[serde(skip_serializing_if = "Committed::is_empty")]
    pub committed: Committed,
}

/// Something that a rule kept out of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Withheld<'a> {
    /// Public; configured. The name of a claim, or `extra` for all that have no name of their own; never a value.
    pub what: &'a str,
    /// Public; configured. The rule's name.
    pub rule: &'a str,
}

/// A checkpoint by its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct CheckpointRef {
    /// Public; of the system. Records in its tree.
    pub size: u64,
    /// Public; of the system. Its root (RFC 6962), over records whose personal values are committed.
    pub root: Digest,
    /// Public; of the system. SHA-256 of the signed note, which is published.
    pub sha256: Digest,
}

/// A memory of the log: whose, and which checkpoint it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Known {
    /// Public. Whose memory: `gateway` or `signer`.
    pub by: String,
    /// Public. The checkpoint.
    #[serde(flatten)]
    pub checkpoint: CheckpointRef,
}

/// The committed fields. The value is what `disclosed` shows, byte for byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Committed {
    /// Committed. Address that the request came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Commitment>,
    /// Committed. Subject (`sub`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<Commitment>,
    /// Committed. Authorization details (RFC 9396) as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization_details: Option<Commitment>,
    /// Committed. `auth_time` as decimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<Commitment>,
    /// Committed. All other claims of the answer as a JSON object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claims: Option<Commitment>,
    /// Committed. `jti` of an assertion: its issuer chose it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<Commitment>,
    /// Committed. SHA-256, in hexadecimal digits, of a presented text that is no token of ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Commitment>,
    /// Committed. The exact text of an unsigned answer: what the receipt releases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Commitment>,
}

impl Committed {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Draft<'_> {
    /// A draft that says nothing but its event and outcome; set the rest with struct update syntax.
    pub const fn new(event: Event, outcome: Outcome) -> Self {
        Self {
            event,
            outcome,
            reason: None,
            withheld: &[],
            request_id: None,
            client_id: None,
            auth_method: None,
            operator: None,
            purpose: None,
            kid: None,
            key_id: None,
            key_label: None,
            alg: None,
            token_serial: None,
            spki: None,
            attributes: None,
            typ: None,
            iss: None,
            aud: &[],
            jti: None,
            iat: None,
            exp: None,
            scope: None,
            acr: None,
            amr: &[],
            token_sha256: None,
            active: None,
            config_sha256: None,
            config_before_sha256: None,
            signer_config_sha256: None,
            program_sha256: None,
            checkpoint: None,
            known: &[],
            committed: Committed {
                from: None,
                sub: None,
                authorization_details: None,
                auth_time: None,
                claims: None,
                jti: None,
                token: None,
                body: None,
            },
        }
    }

    /// The members as they will stand in the record.
    ///
    /// # Errors
    /// [`TooLong`] when they leave no room for the head in 16 KiB: what may be large belongs in the payload.
    pub fn encode(&self) -> Result<Members, TooLong> {
        let mut bytes = Vec::with_capacity(1024);
        // Text keys, integers and strings alone: nothing here that JSON cannot say.
        match serde_json::to_writer(&mut bytes, self) {
            Ok(()) if bytes.len() <= MEMBERS_MAX => Ok(Members::of_object(bytes, self.committed.body)),
            _ => Err(TooLong { what: "the members of a record", found: bytes.len(), most: MEMBERS_MAX }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_shows_what_was_set_and_nothing_else() {
        let draft = Draft { kid: Some("k"), ..Draft::new(Event::Signed, Outcome::Success) };
        assert_eq!(
            draft.encode().unwrap().as_bytes(),
            br#"{"event":"signed","outcome":"success","kid":"k"}"#
        );
    }

    #[test]
    fn a_draft_that_would_not_fit_a_record_is_refused() {
        let long = "x".repeat(MEMBERS_MAX);
        let draft = Draft { reason: Some(&long), ..Draft::new(Event::Signed, Outcome::Success) };
        assert!(draft.encode().is_err());
    }
}
