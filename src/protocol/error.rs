//! The error answers of refusals (RFC 6749 §5.2, RFC 8707 §2, RFC 9396 §5, RFC 7009 §2.2.1).

use std::fmt;

/// Limit of characters of a description.
const MAX_DESCRIPTION: usize = 300;

/// A refusal: the code for programs, a sentence for the client's developers, and the rule's name for records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {description} ({rule})")]
pub struct OAuthError {
    /// `error`.
    pub code: ErrorCode,
    /// `error_description`: only the characters that RFC 6749 §5.2 allows, at most 300, no secrets.
    pub description: String,
    /// The stable name of the rule, for log lines, metrics and records; not sent.
    pub rule: &'static str,
}

/// The registered error codes in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// RFC 6749 §5.2: a parameter is missing, repeated or malformed.
    InvalidRequest,
    /// RFC 6749 §5.2: the caller could not be authenticated.
    InvalidClient,
    /// RFC 6749 §5.2: the assertion is invalid, expired or not for this client.
    InvalidGrant,
    /// RFC 6749 §5.2: the caller may not do this.
    UnauthorizedClient,
    /// RFC 6749 §5.2: the grant type is not supported.
    UnsupportedGrantType,
    /// RFC 6749 §5.2: the scope is malformed or exceeds the grant.
    InvalidScope,
    /// RFC 8707 §2: the resource is unknown, not allowed or conflicts with the others.
    InvalidTarget,
    /// RFC 9396 §5: the details are malformed, unknown or exceed the grant.
    InvalidAuthorizationDetails,
    /// RFC 7009 §2.2.1: this kind of token cannot be revoked here.
    UnsupportedTokenType,
}

impl ErrorCode {
    /// The registered name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidAuthorizationDetails => "invalid_authorization_details",
            Self::UnsupportedTokenType => "unsupported_token_type",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl OAuthError {
    /// A refusal by `rule`. Characters that a description may not hold are replaced: quotes by `'`, a backslash by `/`,
    /// others outside printable ASCII by `?` (RFC 6749 §5.2).
    pub fn new(code: ErrorCode, rule: &'static str, description: impl AsRef<str>) -> Self {
        let allowed = |c: char| match c {
            '"' => '\'',
            '\\' => '/',
            ' '..='~' => c,
            _ => '?',
        };
        let description = description.as_ref().chars().take(MAX_DESCRIPTION).map(allowed).collect();
        Self { code, description, rule }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_description_holds_only_what_the_rfc_allows(text in "\\PC{0,400}|.{0,20}") {
            let error = OAuthError::new(ErrorCode::InvalidRequest, "test", &text);
            prop_assert!(error.description.len() <= MAX_DESCRIPTION);
            let allowed = |b: u8| matches!(b, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e);
            prop_assert!(error.description.bytes().all(allowed));
        }
    }
}
