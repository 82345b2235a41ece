//! What the two processes say to each other: a handful of typed requests, nothing that names HTTP or PKCS#11.
//!
//! A frame is a length (u32, little-endian) and that many bytes of JSON, at most [`MAX_FRAME`]; an answer is its number
//! (u64, little-endian), one letter and its text as it is. Requests carry a number that the answer repeats; answers
//! come in any order. The signer trusts none of it: it parses every word again, builds header and payload itself, and
//! refuses what its own reading of the configuration does not allow.

use crate::claims::{
    ActiveToken, AnswerFormat, ClientId, Grant, Jti, NumericDate, RequestId, TokenFormat, TokenHash,
};
use crate::config::{AuthMethod, ConfigDigest};
use crate::jose::Jwk;
use crate::memory::ShownCheckpoint;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Version of these messages. Both sides must have the same.
pub const PROTOCOL_VERSION: u32 = 5;

/// Bytes of the longest frame.
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
    /// Both agree.
    Accepted {
        /// Public keys of all generations that were ever in use with their purposes: what `/jwks` serves.
        keys: Vec<PublishedKey>,
        /// `signed_metadata` (RFC 8414 §2.1), already recorded.
        signed_metadata: String,
        /// The log's newest checkpoint, to be kept by the gateway.
        checkpoint: ShownCheckpoint,
    },
    /// Nothing shows that the log extends what was known of it: nothing is signed until the operator has decided. The
    /// connection stays open, and nothing is asked over it.
    Unconfirmed {
        /// For the operator.
        reason: String,
    },
    /// The signer's configuration has other rules, with this digest.
    OtherRules {
        /// Digest of the signer's rules.
        rules: ConfigDigest,
    },
    /// They do not agree; the text says how and what to do.
    Refused {
        /// For the operator.
        reason: String,
    },
}

/// A key as the gateway publishes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedKey {
    /// What it signs.
    pub purpose: crate::claims::Purpose,
    /// The public half with `use`, `alg`, `kid`.
    pub jwk: Jwk,
}

/// One request of the gateway.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Repeated in the answer.
    pub number: u64,
    /// What is asked.
    pub ask: Ask,
}

/// A [`Request`] as it is written: the ask stays with whoever may have to ask again.
#[derive(Serialize)]
pub(super) struct RequestRef<'a> {
    pub(super) number: u64,
    pub(super) ask: &'a Ask,
}

/// Who asked whom for what, for the record.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// Our name of the HTTP request.
    pub request_id: RequestId,
    /// The authenticated caller.
    pub caller: ClientId,
    /// How it authenticated.
    pub method: AuthMethod,
    /// Where it called from; committed, never in clear.
    pub peer: Option<IpAddr>,
}

/// What the gateway may ask for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Ask {
    /// Answer an introspection.
    Introspection(IntrospectionAsk),
    /// Sign or record a token.
    Token(TokenAsk),
    /// Record a revocation that is durable.
    Revocation(RevocationAsk),
    /// Record that an authenticated caller was refused for a reason worth keeping (replayed assertion, say).
    Refusal(RefusalAsk),
    /// Record the configuration that the gateway takes over when that is done.
    Configuration(ConfigDigest),
    /// Sign and verify with every key (not a JWS, not recorded, at most every few seconds).
    SelfTest,
}

impl Ask {
    /// Whether it may be asked once more when nobody knows whether it was recorded.
    ///
    /// * An introspection answer that was recorded and lost was made available to nobody; its second record says the
    ///   same again, and the one that leaves is the one that is released.
    /// * A revocation is recorded again whenever its client asks again (RFC 7009 §2.2): twice is right, never is not.
    /// * The same configuration is recorded once.
    /// * A token is not: two records, and two JWTs with one `jti`, would read as two issuances. Its client is told to
    ///   come again.
    /// * Neither is a refusal: each record of one says that a replay was tried.
    pub const fn may_repeat(&self) -> bool {
        match self {
            Self::Introspection(_) | Self::Revocation(_) | Self::Configuration(_) | Self::SelfTest => true,
            Self::Token(_) | Self::Refusal(_) => false,
        }
    }

    /// Who asks, where somebody does.
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
    /// How the answer leaves.
    pub format: AnswerFormat,
    /// SHA-256 of the introspected token.
    pub token: TokenHash,
    /// Whether the gateway issued it. The hash of any other text is committed in the record.
    pub known: bool,
    /// When the state was read: `iat`.
    pub iat: NumericDate,
    /// `None`: exactly `{"active":false}`.
    pub active: Option<Box<ActiveToken>>,
    /// Which rules withheld something or made the token inactive, by name (`unknown-token`, `wrong-audience`,
    /// `scope-withheld`, …): kept in the record, never told to the caller.
    pub rules: Vec<String>,
}

/// A token whose row is durable: an `at+jwt` to be signed and recorded (RFC 9068), or an opaque token to be recorded.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenAsk {
    /// For the record; `caller` is the client.
    pub context: Context,
    /// SHA-256 of an opaque token; `None`: an `at+jwt`.
    pub opaque: Option<TokenHash>,
    /// Name of the token.
    pub jti: Jti,
    /// Issued at.
    pub iat: NumericDate,
    /// Ends at.
    pub exp: NumericDate,
    /// What it stands for; of an `at+jwt` what its one audience ([D20](crate::manual::decisions#d20)) may see.
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
    /// Its form.
    pub format: TokenFormat,
    /// Its name.
    pub jti: Jti,
}

/// A refusal to be recorded.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusalAsk {
    /// For the record.
    pub context: Context,
    /// The rule by its name: `assertion-replayed`, say.
    pub rule: String,
    /// `jti` of what was refused, which somebody else chose; committed in the record.
    pub jti: Option<Jti>,
}

/// The signer's answer to one request.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    /// The request's number.
    pub number: u64,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Recorded; for introspection and access tokens with the exact bytes to send (compact JWT or JSON).
    Done {
        /// The bytes that the record covers; empty where nothing is sent.
        body: String,
    },
    /// The ask breaks a rule; the gateway has a bug or is not itself. Nothing was signed.
    Forbidden {
        /// The rule, for the operator.
        rule: String,
    },
    /// Not now: log full, token lost. Nothing leaves.
    Unavailable {
        /// For the operator.
        reason: String,
    },
    /// Unasked, with the number 0: the log's newest checkpoint, to be kept by the gateway.
    Checkpoint(ShownCheckpoint),
    /// Unasked, each second, with the number 0: how the signer is. Silence means that it is stopped or hangs.
    Status(SignerStatus),
}

/// How the signer and its log are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignerStatus {
    /// Why it can sign nothing at the moment, for the operator.
    pub trouble: Option<String>,
    /// How far the wall clock is from the boot clock, in nanoseconds, while the signer trusts it: what an operator has
    /// accepted there holds for the gateway too ([`crate::clock::Clock::accept`]).
    pub clock: Option<i64>,
    /// Bytes of the log's segments on the disk.
    pub log_bytes: u64,
    /// Bytes that their file system has left.
    pub log_free_bytes: u64,
    /// Records under the newest checkpoint.
    pub checkpoint_records: u64,
    /// Milliseconds since the newest checkpoint was published.
    pub checkpoint_millis: u64,
    /// Milliseconds that the oldest record has waited which is not durable yet; 0 when there is none.
    pub oldest_record_millis: u64,
    /// Milliseconds for which the signer has not kept the newest checkpoint in its state directory; 0 while it has.
    pub memory_lag_millis: u64,
}

impl Response {
    /// Appends what a frame of it holds.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let json;
        let (letter, text) = match &self.outcome {
            Outcome::Done { body } => (b'D', body),
            Outcome::Forbidden { rule } => (b'F', rule),
            Outcome::Unavailable { reason } => (b'U', reason),
            Outcome::Status(said) => {
                // Numbers and texts are always JSON.
                json = serde_json::to_string(said).unwrap_or_default();
                (b'S', &json)
            }
            Outcome::Checkpoint(shown) => {
                json = serde_json::to_string(shown).unwrap_or_default();
                (b'C', &json)
            }
        };
        out.extend_from_slice(&self.number.to_le_bytes());
        out.push(letter);
        out.extend_from_slice(text.as_bytes());
    }

    /// Reads what a frame holds; `None` when it is no answer.
    pub(crate) fn decode(frame: &[u8]) -> Option<Self> {
        let (number, rest) = frame.split_first_chunk()?;
        let (letter, text) = rest.split_first()?;
        let text = std::str::from_utf8(text).ok()?.to_owned();
        let outcome = match letter {
            b'D' => Outcome::Done { body: text },
            b'F' => Outcome::Forbidden { rule: text },
            b'U' => Outcome::Unavailable { reason: text },
            b'C' => Outcome::Checkpoint(serde_json::from_str(&text).ok()?),
            b'S' => Outcome::Status(serde_json::from_str(&text).ok()?),
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
            Outcome::Forbidden { rule: text() },
            Outcome::Unavailable { reason: text() },
            Outcome::Checkpoint(ShownCheckpoint {
                note: text(),
                proof: vec![Digest([7; 32])],
                keys: Vec::new(),
                adopted: None,
            }),
            Outcome::Status(SignerStatus { trouble: Some(text()), log_bytes: 1, ..SignerStatus::default() }),
        ] {
            let answer = Response { number: u64::MAX - 1, outcome };
            let mut bytes = Vec::new();
            answer.encode(&mut bytes);
            assert_eq!(Response::decode(&bytes), Some(answer));
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
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
