//! The appliance as its users see it: the real program, a real token, callers over HTTP.
//!
//! | module | tests |
//! |---|---|
//! | `introspect`, `token`, `revoke`, `metadata`, `jwks` | the endpoints, by the rows of the protocol checklist |
//! | `authentication`, `bad_input`, `connections`, `rates`, `tls` | rules for all endpoints |
//! | `operations`, `config_check` | the operator's view |
//! | `processes`, `crash`, `disk`, `lost_token`, `faults`, `rollback`, `clock` | failures |
//! | `outages`, `reload` | restarts and new configurations without effect for callers |
//! | `generations`, `lost_generations` | rotated keys, and missing keys |
//! | `backup` | backups under load, and their restore |
//! | `auditors`, `export`, `guess` | exports and their limits |
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
