//! The process that signs: what it allows, what it makes of an ask, and what it keeps.
//!
//! ```text
//! gateway ──ask──► service ─► rules ─► content ─► hsm ─► Sealed ─► audit ─► Released ──answer──► gateway
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `release` | [`Sealed`] (signed, unreadable) and [`Released`]; what happens when a batch is durable |
//! | `rules` | what may be said, from the signer's own reading of the configuration |
//! | `content` | header and payload of each JWT |
//! | `record`, `disclosed` | the audit record of each act, and what it commits to |
//! | `keyring`, `checkpoint_key` | keys by purpose and algorithm; the one that signs checkpoints, and those that did |
//! | `known`, `generate` | every generation that was ever in use, whatever the token shows; making keys |
//! | `turn`, `trouble` | threads that take turns for short calls; faults of a key that go on |
//! | `login`, `unproved` | a logged-in token, unless its PIN was refused before; keys that no run has proved yet |
//! | `start` | from a configuration to an open token and an open log |
//! | `service`, `inbox`, `connection` | the signer's side: gateways and their sockets |
//! | `worker`, `answer`, `pace` | the signing threads; from an ask to its answer; which of them calls the token when |
//! | `loaded` | which configuration the gateway has, for the record |
//! | `calls`, `round` | calls into the module that hang, and the asks that do not wait for them |
//! | `kept` | what gateway and signer remember of the log, compared with it |
//! | `offline` | the log while no signer runs, without the token |
//! | `admin` | commands of the operator on the same machine |
//! | `auditors`, `bounds` | exports for members of a group, over a socket of their own; what one of them may cost |
//! | `status` | what the signer says of itself each second |
//! | `watch` | the guarded clock: what is told of it, and the operator's word that a new time is right |
//! | `state` | what the signer keeps outside the log: its memory of it, and marks for later processes |

mod admin;
mod answer;
mod auditors;
mod bounds;
mod calls;
mod checkpoint_key;
mod connection;
mod content;
mod disclosed;
#[cfg(fuzzing)]
pub mod fuzzing;
mod generate;
mod inbox;
mod kept;
mod keyring;
mod known;
mod loaded;
mod login;
mod offline;
mod owner;
mod pace;
mod record;
mod release;
mod rolled_back;
mod round;
mod rules;

mod service;
mod start;
mod state;
mod status;
#[cfg(test)]
mod tests;
mod trouble;
mod turn;
mod unproved;
mod watch;
mod worker;

pub use admin::{AdminAnswer, AdminAsk, AdminError, ask_admin, listen};
pub use auditors::{AuditorAnswer, AuditorAsk, ask_auditor, listen_for_auditors};
pub use calls::Calls;
pub use checkpoint_key::{log_keys_path, read_log_keys};
pub use generate::generate_keys;
pub use kept::Refused;
pub use keyring::KeyringError;
pub use login::clear_refused_pin;
pub use offline::{Offline, Remembered};
pub use record::Identity;
pub use release::{NotCovered, Released, Sealed};
pub use rolled_back::compare_published;
pub use service::{Ending, Service, refuse};
pub use start::{Appliance, StartError, init_log, record_event, remember_lost_token};
pub use state::StateDirectory;
