//! A checkpoint that the signer shows the gateway, with its proofs.

use crate::audit::Digest;
use serde::{Deserialize, Serialize};

/// A checkpoint with its proofs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShownCheckpoint {
    /// The signed note.
    pub note: String,
    /// Consistency proof (RFC 9162 §2.1.4) from the gateway's last checkpoint.
    pub proof: Vec<Digest>,
    /// Verifier keys of the log, in the handshake alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// The operator's decision, if the log does not extend the gateway's checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopted: Option<Adopted>,
}

/// The operator's decision, from the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adopted {
    /// The record, exact bytes.
    pub record: String,
    /// Its inclusion proof (RFC 9162 §2.1.3) under the checkpoint.
    pub proof: Vec<Digest>,
}
