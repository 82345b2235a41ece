//! `POST /introspect` (RFC 7662, RFC 9701).

mod algorithms;
mod answers;
mod callers;
mod inactive;
mod negotiation;
mod requests;
