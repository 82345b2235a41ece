//! `POST /token` (RFC 6749 §3.2).

mod assertions;
mod client_credentials;
mod details;
mod grants;
mod replay;
