//! The process that signs: its rules, the processing of an ask, and its state.
//!
//! ```text
//! gateway ──ask──► service ─► rules ─► content ─► hsm ─► Sealed ─► audit ─► Released ──answer──► gateway
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `release` | [`Sealed`] (signed, unreadable) and [`Released`]; what happens when a batch is durable |
//! | `rules` | the rules for every ask, from the signer's own configuration |
//! | `content` | header and payload of each JWT |
//! | `record`, `disclosed` | the audit record of each act, and its commitments |
//! | `keyring`, `checkpoint_key` | keys by purpose and algorithm; the keys that sign or signed checkpoints |
//! | `known`, `generate` | every generation that was ever used; making keys |
//! | `turn`, `trouble` | turns of the signing threads for short calls; lasting faults of a key |
//! | `login`, `unproved` | login, unless the PIN was refused before; keys without a proof |
//! | `start` | opens token and log; creates the log |
//! | `service`, `inbox`, `connection` | gateways, their sockets and their asks |
//! | `worker`, `answer`, `pace` | the signing threads; processing of an ask; scheduling of calls by their duration |
//! | `loaded` | records the gateway's configuration |
//! | `calls`, `round` | calls into the module that hang, and the transfer of other asks to other threads |
//! | `kept` | the checkpoints outside the log, compared with it |
//! | `offline` | the log while no signer runs, without the token |
//! | `admin` | commands of the operator on the same machine |
//! | `auditors`, `bounds` | exports for members of a group, over a socket of their own; their limits |
//! | `status` | the signer's status each second |
//! | `watch` | changes of the clock, and their acceptance by the operator |
//! | `state` | the signer's files outside the log |

mod admin;
mod answer;
mod auditors;
mod bounds;
mod calls;
mod checkpoint_key;
mod connection;
mod content;
mod disclosed;
#[cfg(test)]
mod double;
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
#[cfg(test)]
pub(crate) use double::{Double, Mood};
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
