//! A checkpoint as the signer shows it to the gateway.

use crate::audit::Digest;
use serde::{Deserialize, Serialize};

/// A checkpoint, with what lets the gateway believe it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShownCheckpoint {
    /// The signed note.
    pub note: String,
    /// Consistency proof (RFC 9162 §2.1.4) from the checkpoint that the gateway was shown before, or shows itself in the
    /// handshake.
    pub proof: Vec<Digest>,
    /// Verifier keys of the log, in the handshake alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// The decision that the log goes on although it does not extend what the gateway shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<Adopted>,
}

/// The operator's decision, as the log has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adopted {
    /// The record, exact bytes.
    pub record: String,
    /// Its inclusion proof (RFC 9162 §2.1.3) under the checkpoint.
    pub proof: Vec<Digest>,
}
