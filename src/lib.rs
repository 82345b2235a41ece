//! Chancery: signed answers about tokens, and a log that proves each of them.

pub mod audit;
pub mod claims;
pub mod client;
pub mod clock;
pub mod config;
pub mod durable;
pub mod export;
pub mod hsm;
pub mod http;
pub mod jose;
pub mod protocol;
pub mod random;
pub mod signer;
pub mod store;
pub mod systemd;
pub mod telemetry;
