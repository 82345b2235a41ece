//! The token: the only room that names PKCS#11.
//!
//! ```text
//! Settings, Pin ──► Hsm::open ──► Hsm ──► find, generate ──► Key ─┐
//!                                  └────► session ──► SigningSession::call ──► verify ──► a signature
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `uri` | which token: RFC 7512 |
//! | `pin` | the PIN, read from a file, and why it may not be tried |
//! | `open` | from a library on disk to a token that is logged in |
//! | `token` | which slot holds it, and what it says of itself |
//! | `access` | the login and its epoch, shared by all sessions |
//! | `label` | names of keys: purpose, algorithm, generation |
//! | `generate`, `find` | making keys, finding them, and proving what they are |
//! | `attributes`, `public_half` | that proof's two halves |
//! | `key` | a key and its handle, which only its own epoch may use |
//! | `mechanism`, `session` | signing: the call, its verification, its recovery |
//! | `error` | what a failure means for the caller |
//! | `leave` | the end of a process that has a module in it |
//!
//! What holds here:
//! * A signature leaves only after it verified in software with the public key that was pinned when the key was
//!   found. Nothing else notices a wrong handle, a fault in an RSA computation and a library that truncates.
//! * An object handle is used only in the epoch of the login that made it; in a later one the key is found again and
//!   must have the same public half.
//! * The module is never finalized while anything of ours may be inside it, we never log out, and a session that saw
//!   an error is thrown away.
//! * A PIN that the token refused is forgotten, so nothing can try it again.
//!
//! What recovers here: a lost session, a lost login, lost handles; each once for a signature. What does not: anything
//! of [`ErrorClass::Module`]. Then the process has to end and a new one begin, because a call that hangs or a library
//! whose state is broken can be ended in no other way.
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
