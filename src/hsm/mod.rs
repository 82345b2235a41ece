//! The token: the only room that names PKCS#11.
//!
//! ```text
//! Settings, Pin ──► Hsm::open ──► Hsm ──► find, generate ──► Key ─┐
//!                                  └────► session ──► SigningSession::call ──► verify ──► a signature
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `uri` | the token's URI: RFC 7512 |
//! | `pin` | the PIN, read from a file |
//! | `open` | loads the module, finds the token, logs in |
//! | `token` | the slot and the token's description |
//! | `access` | the login and its epoch, shared by all sessions |
//! | `label` | labels of keys: purpose, algorithm, generation |
//! | `generate`, `find` | makes keys, finds them, proves that they may sign |
//! | `attributes`, `public_half` | private and public key objects, as that proof reads them |
//! | `key` | a key and its handle, valid in its epoch |
//! | `mechanism`, `session` | signing: the call, its verification, its recovery |
//! | `error` | failures, classed by the action that they require |
//! | `leave` | ends a process that has loaded a module |
//!
//! Guarantees:
//! * A signature leaves this room only after software has verified it with the public key that was pinned when the key was
//!   found. Nothing else notices a wrong handle, a fault in an RSA computation or a library that truncates.
//! * An object handle is used only in the epoch of the login that made it; in a later one the key is found again and
//!   must have the same public key.
//! * The module is never finalized while a thread may be inside it, no code logs out, and a session is dropped after an
//!   error.
//! * A refused PIN is wiped, so it cannot be tried again.
//!
//! A signature recovers once from a lost session, a lost login, and lost handles. After an error of
//! [`ErrorClass::Module`] the process must end: only that ends a call that hangs or replaces a library with broken state.
//!
//! Standards: PKCS#11 3.1, RFC 7512 (URIs), RFC 7518 §3 and RFC 8037 (form of signatures).

mod access;
mod attributes;
mod error;
mod find;
mod generate;
mod key;
mod label;
mod leave;
mod mechanism;
mod open;
mod pin;
mod public_half;
mod session;
mod token;
mod uri;

pub use access::{Hsm, PinRefused};
pub use attributes::KeyAttributes;
pub use error::{ErrorClass, HsmError, PinProblem};
pub use find::{FindError, Refusal};
pub use generate::{GenerateError, KeySpec};
pub use key::Key;
pub use label::{KeyLabel, KeyLabelError};
pub use leave::leave;
pub use open::{OpenError, Settings};
pub use pin::{Pin, PinFileError};
pub use session::{SignError, SigningSession, UnverifiedSignature, VerifiedSignature};
pub use token::TokenInfo;
pub use uri::{TokenUri, TokenUriError};

#[cfg(test)]
pub(crate) mod tests;
