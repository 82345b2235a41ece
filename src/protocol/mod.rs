//! What the specifications allow: pure functions of caller, request, facts and time.
//!
//! Nothing here waits, reads a clock, opens a file or signs. Each rule is a function that a test can call at any
//! instant; the room `http` only carries its answers out.
//!
//! | file | rule |
//! |---|---|
//! | [`parameters`] | the request body as a form (RFC 6749 §3.2, appendix B) |
//! | [`negotiation`] | JWT, JSON or neither (RFC 9110 §12.5.1, RFC 9701 §4) |
//! | [`introspection`] | what a resource server is told of a token (RFC 7662 §2.2, RFC 9701 §5) |
//! | [`request`] | the token request as written (RFC 6749 §4.4.2, RFC 7523 §2.1) |
//! | [`token`] | what it gives, and the answer (RFC 6749 §5.1, RFC 9068 §2.2) |
//! | `grant`, `reduction`, `narrow` | who gets what of a grant (RFC 8707 §2, RFC 9396 §6, §9) |
//! | [`assertion`] | the grant that a front server hands over (RFC 7523 §3) |
//! | [`own_token`] | an `at+jwt` of ours that comes back (RFC 9068 §4) |
//! | [`mod@metadata`] | what we say of ourselves (RFC 8414) |

pub mod assertion;
pub mod error;
mod grant;
pub mod introspection;
pub mod metadata;
mod narrow;
pub mod negotiation;
pub mod own_token;
pub mod parameters;
mod reduction;
pub mod request;
pub mod token;

#[cfg(test)]
pub(crate) mod testing;

pub use assertion::{Assertion, verify_assertion};
pub use error::{ErrorCode, OAuthError};
pub use introspection::{View, view};
pub use metadata::{endpoint, endpoint_url, metadata, metadata_path};
pub use negotiation::{NegotiationError, negotiate};
pub use own_token::own_access_token;
pub use parameters::{ClientParameters, Parameters};
pub use request::{TokenRequest, Wanted};
pub use token::{Issue, at_jwt_grant, client_credentials, jwt_bearer, token_response};
