//! The rules of the specifications: pure functions of caller, request, facts and time.
//!
//! Nothing here waits, reads a clock, opens a file or signs, so a test can call each rule at any instant. The room
//! `http` maps the results to replies.
//!
//! | file | rule |
//! |---|---|
//! | [`parameters`] | the request body as a form (RFC 6749 §3.2, appendix B) |
//! | [`negotiation`] | JWT, JSON or neither (RFC 9110 §12.5.1, RFC 9701 §4) |
//! | [`introspection`] | the part of a token that a resource server may see (RFC 7662 §2.2, RFC 9701 §5) |
//! | [`request`] | the parsed token request (RFC 6749 §4.4.2, RFC 7523 §2.1) |
//! | [`token`] | the decision on it, and the answer (RFC 6749 §5.1, RFC 9068 §2.2) |
//! | `grant`, `reduction`, `narrow` | the parts of a grant for each resource server (RFC 8707 §2, RFC 9396 §6, §9) |
//! | [`assertion`] | the grant that a front server issues (RFC 7523 §3) |
//! | [`own_token`] | an issued `at+jwt`, presented again (RFC 9068 §4) |
//! | [`mod@metadata`] | the server's metadata (RFC 8414) |

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
