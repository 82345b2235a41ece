//! Messages between the two processes: typed requests that name neither HTTP nor PKCS#11.
//!
//! A frame is a length (u32, little-endian) and as many bytes of JSON, at most [`MAX_FRAME`]; an answer is its number
//! (u64, little-endian), one letter and its text. The answer repeats the number of its request; answers come in any
//! order. The signer trusts no request: it validates every member, builds header and payload itself, and refuses what
//! its own configuration does not allow.

use crate::claims::{
    ActiveToken, AnswerFormat, ClientId, Grant, Jti, NumericDate, Reason, RequestId, TokenFormat, TokenHash,
};
use crate::config::{AuthMethod, ConfigDigest};
use crate::jose::Jwk;
use crate::memory::ShownCheckpoint;
use serde::de::value::{Error, StrDeserializer};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Version of these messages. Both sides must have the same.
pub const PROTOCOL_VERSION: u32 = 5;

/// Limit of bytes of a frame.
pub const MAX_FRAME: usize = 1 << 20;

/// First message of the gateway on a connection.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// [`PROTOCOL_VERSION`].
    pub version: u32,
    /// Digest of the gateway's whole configuration, for the record.
    pub config: ConfigDigest,
    /// Digest of its rules: the signer must have the same.
    pub rules: ConfigDigest,
    /// The newest checkpoint (a signed note) that the gateway has seen: the signer's tree must extend it.
    pub checkpoint: Option<String>,
}

/// The signer's answer to [`Hello`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Welcome {
    /// The handshake succeeds.
    Accepted {
        /// Published until [`Outcome::Documents`] replaces them.
        documents: Documents,
        /// The log's newest checkpoint, which the gateway stores.
        checkpoint: ShownCheckpoint,
    },
    /// No known checkpoint shows that the log is complete: nothing is signed until the operator decides. The connection
    /// stays open without asks.
    Unconfirmed {
        /// For the operator.
        reason: String,
    },
    /// The signer's configuration has other rules, with this digest.
    OtherRules {
        /// Digest of the signer's rules.
        rules: ConfigDigest,
    },
    /// Any other mismatch; the text has the reason and the remedy.
    Refused {
        /// For the operator.
        reason: String,
    },
}

/// Documents that the gateway publishes, made by the signer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Documents {
    /// Public keys of all generations that were ever used, with their purposes, for `/jwks`.
    pub keys: Vec<PublishedKey>,
    /// `signed_metadata` (RFC 8414 §2.1), already recorded; empty without a metadata key.
    pub signed_metadata: String,
}

/// A public key with its purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedKey {
    /// Its purpose.
    pub purpose: crate::claims::Purpose,
    /// The public key with `use`, `alg`, `kid`.
    pub jwk: Jwk,
}

/// One request of the gateway.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Repeated in the answer.
    pub number: u64,
    /// The ask.
    pub ask: Ask,
}

/// A [`Request`] for writing; the client keeps the ask for a retry.
#[derive(Serialize)]
pub(super) struct RequestRef<'a> {
    pub(super) number: u64,
    pub(super) ask: &'a Ask,
}

/// The caller of an ask, for the record.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// The id of the HTTP request.
    pub request_id: RequestId,
    /// The authenticated caller.
    pub caller: ClientId,
    /// How it authenticated.
    pub method: AuthMethod,
    /// The caller's address; committed, never in clear.
    pub peer: Option<IpAddr>,
}

/// The asks of the gateway.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Ask {
    /// Answer an introspection.
    Introspection(IntrospectionAsk),
    /// Sign or record a token.
    Token(TokenAsk),
    /// Record a revocation that is durable.
    Revocation(RevocationAsk),
    /// Record that an authenticated caller was refused for a recorded rule, for example a replayed assertion.
    Refusal(RefusalAsk),
    /// Record a configuration before the gateway takes it over.
    Configuration(ConfigDigest),
    /// Sign and verify with every key (not a JWS, not recorded, at most every few seconds).
    SelfTest,
}

impl Ask {
    /// Whether an ask may be sent again when it is unknown whether it was recorded.
    ///
    /// * An introspection: a recorded answer that was lost reached no caller; the second record is true as well.
    /// * A revocation: it is recorded again at each request of its client (RFC 7009 §2.2).
    /// * A configuration: the signer records the same one once.
    /// * Not a token: two records, and two JWTs with one `jti`, would read as two issuances. The client gets 503.
    /// * Not a refusal: each record of one is a replay attempt.
    pub const fn may_repeat(&self) -> bool {
        match self {
            Self::Introspection(_) | Self::Revocation(_) | Self::Configuration(_) | Self::SelfTest => true,
            Self::Token(_) | Self::Refusal(_) => false,
        }
    }

    /// The caller, if there is one.
    pub const fn context(&self) -> Option<&Context> {
        match self {
            Self::Introspection(ask) => Some(&ask.context),
            Self::Token(ask) => Some(&ask.context),
            Self::Revocation(ask) => Some(&ask.context),
            Self::Refusal(ask) => Some(&ask.context),
            Self::Configuration(_) | Self::SelfTest => None,
        }
    }
}

/// An introspection answer to be built, signed and recorded.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntrospectionAsk {
    /// For the record; `caller` is the resource server.
    pub context: Context,
    /// Format of the answer.
    pub format: AnswerFormat,
    /// SHA-256 of the introspected token.
    pub token: TokenHash,
    /// Whether the gateway issued it. The hash of any other text is committed in the record.
    pub known: bool,
    /// When the state was read: `iat`.
    pub iat: NumericDate,
    /// `None`: exactly `{"active":false}`.
    pub active: Option<Box<ActiveToken>>,
    /// Why the token is inactive or something was withheld: kept in the record, never shown to the caller.
    pub reasons: Vec<Reason>,
}

/// A token whose row is durable: an `at+jwt` to be signed and recorded (RFC 9068), or an opaque token to be recorded.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenAsk {
    /// For the record; `caller` is the client.
    pub context: Context,
    /// SHA-256 of an opaque token; `None`: an `at+jwt`.
    pub opaque: Option<TokenHash>,
    /// The token's `jti`.
    pub jti: Jti,
    /// Issued at.
    pub iat: NumericDate,
    /// Ends at.
    pub exp: NumericDate,
    /// The grant; for an `at+jwt` narrowed to its one audience ([D20](crate::manual::decisions#d20)).
    pub grant: Grant,
}

/// A revocation to be recorded.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevocationAsk {
    /// For the record; `caller` is the client.
    pub context: Context,
    /// SHA-256 of the token.
    pub token: TokenHash,
    /// Its format.
    pub format: TokenFormat,
    /// Its `jti`.
    pub jti: Jti,
}

/// A refusal to be recorded.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusalAsk {
    /// For the record.
    pub context: Context,
    /// Why.
    pub reason: Reason,
    /// `jti` of the refused assertion; committed in the record.
    pub jti: Option<Jti>,
}

/// The signer's answer to one request.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    /// The request's number.
    pub number: u64,
    /// Its outcome.
    pub outcome: Outcome,
}

/// The outcome of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Recorded; for introspection and access tokens with the exact bytes to send (compact JWT or JSON).
    Done {
        /// The bytes that the record covers; empty if nothing is sent.
        body: String,
    },
    /// The ask breaks a rule: the gateway has a bug or an attacker controls it. Nothing was signed.
    Forbidden {
        /// The rule, for the operator.
        reason: Reason,
    },
    /// Temporary: log full, token lost. Nothing is released.
    Unavailable {
        /// For the operator.
        reason: String,
    },
    /// Unsolicited, with the number 0: the log's newest checkpoint, which the gateway stores.
    Checkpoint(ShownCheckpoint),
    /// Unsolicited, each second, with the number 0. Silence means that the signer is stopped or hangs.
    Status(SignerStatus),
    /// Unsolicited, with the number 0: replaces all documents that the gateway publishes.
    Documents(Documents),
}

/// State of the signer and its log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignerStatus {
    /// Why it cannot sign at the moment, for the operator.
    pub trouble: Option<String>,
    /// Distance of the wall clock from the boot clock in nanoseconds, while the signer trusts it: the gateway follows a
    /// time that an operator has accepted ([`crate::clock::Clock::accept`]).
    pub clock: Option<i64>,
    /// Bytes of the log's segments on the disk.
    pub log_bytes: u64,
    /// Free bytes of their file system.
    pub log_free_bytes: u64,
    /// Records under the newest checkpoint.
    pub checkpoint_records: u64,
    /// Milliseconds since the newest checkpoint was published.
    pub checkpoint_millis: u64,
    /// Age of the oldest record that is not durable, in milliseconds; 0 without one.
    pub oldest_record_millis: u64,
    /// Milliseconds since the signer's stored checkpoint fell behind; 0 if it has not.
    pub memory_lag_millis: u64,
}

impl Response {
    /// Appends the content of its frame.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        // Numbers and strings never fail to serialize.
        let json;
        let (letter, text) = match &self.outcome {
            Outcome::Done { body } => (b'D', body.as_str()),
            Outcome::Forbidden { reason } => (b'F', reason.name()),
            Outcome::Unavailable { reason } => (b'U', reason.as_str()),
            Outcome::Status(said) => {
                json = serde_json::to_string(said).unwrap_or_default();
                (b'S', json.as_str())
            }
            Outcome::Checkpoint(shown) => {
                json = serde_json::to_string(shown).unwrap_or_default();
                (b'C', json.as_str())
            }
            Outcome::Documents(documents) => {
                json = serde_json::to_string(documents).unwrap_or_default();
                (b'P', json.as_str())
            }
        };
        out.extend_from_slice(&self.number.to_le_bytes());
        out.push(letter);
        out.extend_from_slice(text.as_bytes());
    }

    /// Parses the content of a frame; `None` if it is no answer.
    pub(crate) fn decode(frame: &[u8]) -> Option<Self> {
        let (number, rest) = frame.split_first_chunk()?;
        let (letter, text) = rest.split_first()?;
        let text = std::str::from_utf8(text).ok()?.to_owned();
        let outcome = match letter {
            b'D' => Outcome::Done { body: text },
            b'F' => {
                Outcome::Forbidden { reason: Reason::deserialize(StrDeserializer::<Error>::new(&text)).ok()? }
            }
            b'U' => Outcome::Unavailable { reason: text },
            b'C' => Outcome::Checkpoint(serde_json::from_str(&text).ok()?),
            b'S' => Outcome::Status(serde_json::from_str(&text).ok()?),
            b'P' => Outcome::Documents(serde_json::from_str(&text).ok()?),
            _ => return None,
        };
        Some(Self { number: u64::from_le_bytes(*number), outcome })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Digest;

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        let text = || "a \"text\" with é and \0".to_owned();
        for outcome in [
            Outcome::Done { body: text() },
            Outcome::Done { body: String::new() },
            Outcome::Forbidden { reason: Reason::UnknownCaller },
            Outcome::Unavailable { reason: text() },
            Outcome::Checkpoint(ShownCheckpoint {
                note: text(),
                proof: vec![Digest([7; 32])],
                keys: Vec::new(),
                adopted: None,
            }),
            Outcome::Documents(Documents { keys: Vec::new(), signed_metadata: text() }),
            Outcome::Status(SignerStatus { trouble: Some(text()), log_bytes: 1, ..SignerStatus::default() }),
        ] {
            let answer = Response { number: u64::MAX - 1, outcome };
            let mut bytes = Vec::new();
            answer.encode(&mut bytes);
            assert_eq!(Response::decode(&bytes), Some(answer));
        }
    }

    #[test]
    fn malformed_answers_are_refused() {
        let mut bytes = Vec::new();
        Response { number: 1, outcome: Outcome::Done { body: String::new() } }.encode(&mut bytes);
        for cut in 0..bytes.len() {
            assert_eq!(Response::decode(&bytes[..cut]), None);
        }
        bytes.push(0xff);
        assert_eq!(Response::decode(&bytes), None, "no UTF-8");
        bytes[8] = b'd';
        assert_eq!(Response::decode(&bytes[..9]), None, "no such letter");
    }
}
