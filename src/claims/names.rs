//! The claim names with a meaning of their own.

use super::ClaimName;

/// Meaning of a claim name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimKind {
    /// A typed member, shown to a resource server whose entry names it.
    Typed,
    /// A member that no entry can name: every answer sets it itself, or no answer has it.
    Reserved,
    /// Any other claim: copied from the grant unchanged, for a resource server whose entry names it.
    Further,
}

/// Every name that is no further claim. Such a claim of a grant is not copied, or one JWT could hold the name twice.
const NAMES: [(ClaimKind, &[&str]); 6] = [
    // The subject, the client and the authentication of the resource owner (RFC 7662 §2.2, RFC 9068 §2.2.1).
    (ClaimKind::Typed, &["sub", "client_id", "acr", "amr", "auth_time"]),
    // Type and validity of a JWT: set by the signer (RFC 7519 §4.1, RFC 7515 §4.1.9).
    (ClaimKind::Reserved, &["iss", "aud", "exp", "nbf", "iat", "jti", "typ"]),
    // Members of every answer that has them (RFC 7662 §2.2, RFC 9396 §9, RFC 9701 §5).
    (ClaimKind::Reserved, &["active", "token_type", "scope", "authorization_details", "token_introspection"]),
    // Audience of the grant (RFC 8707 §2): becomes `aud`. `azp` (OpenID Connect Core §2) would name a second client.
    (ClaimKind::Reserved, &["resource", "azp"]),
    // Delegation and sender constraint (RFC 8693 §4, RFC 7800 §3.1): a copy would claim a check that is not made.
    (ClaimKind::Reserved, &["act", "may_act", "cnf"]),
    // Marks a security event token (RFC 8417 §2.2): an answer must not pass for one.
    (ClaimKind::Reserved, &["events"]),
];

impl ClaimName {
    /// Its meaning.
    pub fn kind(&self) -> ClaimKind {
        NAMES
            .iter()
            .find(|(_, names)| names.contains(&self.as_str()))
            .map_or(ClaimKind::Further, |(kind, _)| *kind)
    }

    /// Every name with a meaning of its own.
    #[cfg(test)]
    pub(crate) fn all_but_further() -> impl Iterator<Item = Self> {
        NAMES.iter().flat_map(|(_, names)| names.iter()).filter_map(|name| name.parse().ok())
    }
}
