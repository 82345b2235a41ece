//! What a record is about: stable names that verifiers, searches and exports rely on.
//!
//! To add an event, add a variant: its name is the variant in kebab-case. A name that stood in a log once is never
//! given another meaning.

use serde::{Deserialize, Serialize};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// An answer was signed and made available.
    Signed,
    /// An unsigned JSON answer was made available.
    Answered,
    /// The rules forbade an answer.
    Denied,
    /// An answer that the rules allowed could not be made.
    Failed,
    /// A token was issued.
    Issued,
    /// A token was revoked.
    Revoked,
    /// An assertion or proof was presented a second time.
    ReplayRejected,
    /// A key that was in the token already was taken into use, with its attributes and public half.
    KeyFound,
    /// A key was generated in the token, with its attributes and public half.
    KeyGenerated,
    /// A generation of a key began to sign.
    KeyActivated,
    /// A key in the token did not pass its proof, and is not used.
    KeyRefused,
    /// An earlier generation of a key that is not held: its public half, which earlier records name, is published and
    /// verified with. `reason` says why it is not held.
    KeyRemembered,
    /// A configuration of the gateway came into force, for the first time since the signer started or instead of another:
    /// the answers behind this record are made with it and with the signer's, whose digest stands beside it.
    ConfigurationLoaded,
    /// The log was created: always the first record.
    LogCreated,
    /// The log was opened, with the checkpoint before and what recovery found.
    LogOpened,
    /// The operator decided that the log goes on although nothing showed that it extends what was known.
    LogAdopted,
    /// A checkpoint was signed; its note is the record's payload.
    CheckpointSigned,
    /// A crash had cut off a write: its whole records were kept, the rest stays where it is.
    TornTailRepaired,
    /// Records were exported.
    Export,
    /// A copy of log and state was made.
    Backup,
    /// The process began to serve.
    Started,
    /// The process ceased to serve.
    Stopped,
    /// The clock was set by a little, which is followed. Before version 2 of records: it went back.
    ClockStepped,
    /// The clock was set by more than the tolerance: in doubt, nothing that depends on expiry is decided.
    ClockLost,
    /// The clock is trusted again.
    ClockRestored,
    /// An operator said that the clock's new time is right.
    ClockAccepted,
    /// The PKCS#11 token went away.
    TokenLost,
    /// The PKCS#11 token came back.
    TokenRecovered,
    /// There is no space for the log's next segment; new requests are refused.
    DiskFull,
    /// There is space for the log's next segment again.
    DiskRecovered,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Outcome {
    /// As asked.
    Success,
    /// Refused by a rule; `reason` names it.
    Refused,
    /// Not done although allowed; `reason` says why.
    Failure,
}

impl Event {
    /// Whether this is the name of the event.
    pub fn is(self, name: &str) -> bool {
        serde_json::from_value(serde_json::Value::from(name)).is_ok_and(|event: Self| event == self)
    }
}

impl Outcome {
    /// Whether this is the name of the outcome.
    pub fn is(self, name: &str) -> bool {
        serde_json::from_value(serde_json::Value::from(name)).is_ok_and(|outcome: Self| outcome == self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kebab_case() {
        assert_eq!(serde_json::to_string(&Event::TornTailRepaired).unwrap(), "\"torn-tail-repaired\"");
        assert_eq!(serde_json::from_str::<Event>("\"key-found\"").unwrap(), Event::KeyFound);
        assert_eq!(serde_json::to_string(&Outcome::Success).unwrap(), "\"success\"");
    }
}
