//! The appliance as its users see it: the real program, a real token, callers over HTTP.
//!
//! | module | what it asks |
//! |---|---|
//! | `introspect`, `token`, `revoke`, `metadata`, `jwks` | the endpoints, by the rows of the protocol checklist |
//! | `authentication`, `bad_input`, `connections`, `rates`, `tls` | what holds for all of them |
//! | `operations`, `config_check` | what operators see |
//! | `processes`, `crash`, `disk`, `lost_token`, `faults`, `rollback`, `clock` | what goes wrong |
//! | `outages`, `reload` | restarts and new configurations that callers do not feel |
//! | `generations`, `lost_generations` | keys that follow each other, and keys that are missing |
//! | `backup` | copies while it answers, and coming back from one |
//! | `auditors`, `export`, `guess` | what auditors get, and what they do not |
//!
//! Rows (`row 31`, `P4`, `B6`) stand in `tests/conformance.md`, decisions (`D24`) in `src/manual/decisions.rs`. Every
//! test ends with [`harness::Appliance::finish`], which verifies the whole log and compares it with every answer that was
//! received.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod auditors;
mod authentication;
mod backup;
mod bad_input;
mod clock;
mod config_check;
mod connections;
mod crash;
mod disk;
mod export;
mod faults;
mod generations;
mod guess;
mod harness;
mod introspect;
mod jwks;
mod lost_generations;
mod lost_token;
mod metadata;
mod operations;
mod outages;
mod processes;
mod rates;
mod reload;
mod revoke;
mod rollback;
mod tls;
mod token;
