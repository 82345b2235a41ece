//! The grant: one type from the decision to the signature.

use super::{Acr, AuthorizationDetail, ClientId, ExtraClaims, Issuer, NumericDate, Resource, Scope, Subject};
use serde::{Deserialize, Serialize};

/// A grant: [`crate::protocol`] decides it, [`crate::store`] keeps it, [`crate::door`] carries it, whole or narrowed to one
/// resource server, and [`crate::signer`] checks it against its own rules before it shows or records any of it.
///
/// A new fact is one field here. `protocol::narrow` says which resource servers see it, `signer::rules` checks that again,
/// and `signer::content::GrantMembers` shows it. Two facts are expected: the confirmation (`cnf` of RFC 7800, for DPoP,
/// RFC 9449 §6, and mutual TLS, RFC 8705 §3.1), which also decides `token_type`, and the actor (`act`, RFC 8693 §4.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// The resource owner, or the client itself (RFC 9068 §2.2).
    pub subject: Subject,
    /// The client that the token is issued to.
    pub client_id: ClientId,
    /// Its origin.
    pub origin: Origin,
    /// The resource servers that may see it. Never empty once it is decided.
    pub audience: Vec<Resource>,
    /// Scopes, for all of the audience together.
    #[serde(default, skip_serializing_if = "Scope::is_empty")]
    pub scope: Scope,
    /// Details (RFC 9396), for all of the audience together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorization_details: Vec<AuthorizationDetail>,
    /// How the resource owner signed in; empty without one.
    #[serde(default)]
    pub authentication: Authentication,
    /// Further claims.
    #[serde(default, skip_serializing_if = "ExtraClaims::is_empty")]
    pub extra: ExtraClaims,
}

impl Grant {
    /// A grant that gives nothing yet.
    pub fn new(subject: Subject, client_id: ClientId, origin: Origin) -> Self {
        Self {
            subject,
            client_id,
            origin,
            audience: Vec::new(),
            scope: Scope::default(),
            authorization_details: Vec::new(),
            authentication: Authentication::default(),
            extra: ExtraClaims::new(),
        }
    }
}

/// The origin of a grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The client's own right: `client_credentials` (RFC 6749 §4.4).
    OwnRight,
    /// An assertion of this issuer (RFC 7523 §2.1).
    Assertion(Issuer),
}

/// How the resource owner signed in (RFC 9068 §2.2.1). Fixed when the grant is made, the same in every token of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authentication {
    /// Authentication context class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acr: Option<Acr>,
    /// Authentication methods (RFC 8176), at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<Acr>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<NumericDate>,
}

impl Authentication {
    /// The most values of `amr`.
    pub const MAX_AMR: usize = 16;
}
