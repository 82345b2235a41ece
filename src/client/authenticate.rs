//! The one way to an [`AuthenticatedClient`]: its fields are private to this file, and [`authenticate`] is the only
//! function here that fills them.

use super::{Claimed, Directory, Party, basic, post};
use crate::claims::ClientId;
use crate::config::AuthMethod;

/// What a request presents, as text.
#[derive(Clone, Copy)]
pub struct Presented<'a> {
    /// Every `Authorization` line of the request.
    pub authorization: &'a [&'a str],
    /// The parameter `client_id`, decoded.
    pub client_id: Option<&'a str>,
    /// The parameter `client_secret`, decoded.
    pub client_secret: Option<&'a str>,
}

/// Why a caller is not let in. What it is told never says which part was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Nothing that proves anything: 400 `invalid_request`.
    #[error("expected client authentication, found none")]
    Missing,
    /// More than one method in one request (RFC 6749 §2.3): 400 `invalid_request`.
    #[error("expected one client authentication method, found several")]
    Several,
    /// Not in the form that its method has: 400 `invalid_request`.
    #[error("expected client credentials as RFC 6749 section 2.3.1 writes them")]
    Malformed,
    /// A bearer token (RFC 6750 §2.1), which is no way to authenticate here: 401 with the challenge of the endpoint.
    #[error("expected client authentication, found a bearer token")]
    Bearer,
    /// Unknown caller, wrong secret, or a method that is not registered for it: 401 `invalid_client`.
    #[error("client authentication failed")]
    Wrong {
        /// Whether it tried the header: then the answer names the scheme (RFC 6749 §5.2).
        header_used: bool,
    },
}

impl AuthError {
    /// Its stable name in log lines, metrics and records.
    pub const fn rule(self) -> &'static str {
        match self {
            Self::Missing => "authentication-missing",
            Self::Several => "authentication-several",
            Self::Malformed => "authentication-malformed",
            Self::Bearer => "authentication-bearer",
            Self::Wrong { .. } => "authentication-wrong",
        }
    }
}

/// A caller that has proved who it is.
#[derive(Debug)]
pub struct AuthenticatedClient {
    party: Party,
    method: AuthMethod,
}

impl AuthenticatedClient {
    /// Its name.
    pub fn client_id(&self) -> &ClientId {
        self.party.client_id()
    }

    /// What it is to us.
    pub fn party(&self) -> &Party {
        &self.party
    }

    /// How it proved it.
    pub fn method(&self) -> AuthMethod {
        self.method
    }
}

/// Proves who presents this (RFC 6749 §2.3). Takes the same time for unknown callers as for known ones.
pub fn authenticate(
    directory: &Directory,
    presented: &Presented<'_>,
) -> Result<AuthenticatedClient, AuthError> {
    let claimed = claimed(presented)?;
    let party = directory.party(&claimed.client_id);
    let registered = party.map(Party::authentication);
    // Before anything else is looked at, so that the time says nothing.
    let right = claimed.secret.is_one_of(registered.map(|a| &a.secrets));
    let method_right = registered.is_some_and(|a| a.method == claimed.method);
    match party {
        Some(party) if right && method_right => {
            Ok(AuthenticatedClient { party: party.clone(), method: claimed.method })
        }
        _ => Err(AuthError::Wrong { header_used: claimed.method == AuthMethod::ClientSecretBasic }),
    }
}

/// The `client_id` that is claimed, whether anything proves it or not; `None` where no credentials can be read.
pub fn claimed_client_id(presented: &Presented<'_>) -> Option<String> {
    claimed(presented).ok().map(|claimed| claimed.client_id)
}

fn claimed(presented: &Presented<'_>) -> Result<Claimed, AuthError> {
    match (presented.authorization, presented.client_id, presented.client_secret) {
        ([], None | Some(_), None) => Err(AuthError::Missing),
        ([], None, Some(_)) => Err(AuthError::Malformed),
        ([], Some(client_id), Some(secret)) => post::read(client_id, secret),
        ([_], _, Some(_)) | ([_, _, ..], _, _) => Err(AuthError::Several),
        ([line], client_id, None) => {
            let claimed = basic::read(line)?;
            // Some clients repeat their name in the body; another name there would be another caller.
            if client_id.is_some_and(|other| other != claimed.client_id) {
                return Err(AuthError::Malformed);
            }
            Ok(claimed)
        }
    }
}
