//! The room against a real SoftHSM.
//!
//! A module is initialized once in a process and reads its environment then, so each test here runs in a process and
//! on a token of its own: see `fixture`.

mod algorithms;
pub(crate) mod fixture;
mod keys;
mod login;
mod recovery;
