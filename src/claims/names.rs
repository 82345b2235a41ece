//! Which names of claims have a meaning of their own: the one list of them.

use super::ClaimName;

/// What the name of a claim stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimKind {
    /// A member with a type and rules of its own, shown to a resource server whose entry names it.
    Typed,
    /// A member that no entry can ask for: every answer decides it by itself, or no answer of ours has it.
    Reserved,
    /// Any other: carried from the grant as it is, to a resource server whose entry names it.
    Further,
}

/// Every name that is no further claim: such a claim of a grant is never carried on, or one JWT could hold it twice.
const NAMES: [(ClaimKind, &[&str]); 6] = [
    // The subject, the client and how the resource owner signed in (RFC 7662 §2.2, RFC 9068 §2.2.1).
    (ClaimKind::Typed, &["sub", "client_id", "acr", "amr", "auth_time"]),
    // What a JWT is and how long it holds: said by the signer itself (RFC 7519 §4.1, RFC 7515 §4.1.9).
    (ClaimKind::Reserved, &["iss", "aud", "exp", "nbf", "iat", "jti", "typ"]),
    // What the answer is about: in every answer where there is any (RFC 7662 §2.2, RFC 9396 §9, RFC 9701 §5).
    (ClaimKind::Reserved, &["active", "token_type", "scope", "authorization_details", "token_introspection"]),
    // Whom the grant is for (RFC 8707 §2): becomes `aud`. `azp` (OpenID Connect Core §2) would name a second client.
    (ClaimKind::Reserved, &["resource", "azp"]),
    // Delegation and sender constraint (RFC 8693 §4, RFC 7800 §3.1): a copy would claim what nothing here enforces.
    (ClaimKind::Reserved, &["act", "may_act", "cnf"]),
    // The mark of a security event token (RFC 8417 §2.2): an answer must not pass for one.
    (ClaimKind::Reserved, &["events"]),
];

impl ClaimName {
    /// What it stands for.
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
