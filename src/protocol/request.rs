//! The token request (RFC 6749 §4.4.2, RFC 7523 §2.1, RFC 8707 §2, RFC 9396 §6).

use super::error::{ErrorCode, OAuthError};
use super::parameters::Parameters;
use crate::claims::{AuthorizationDetail, Resource, Scope, parse_authorization_details};
use crate::config::{Client, GrantType};
use crate::jose::strict_json;
use zeroize::Zeroizing;

/// The request's parameters, not granted yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `resource` (RFC 8707 §2), in order; empty when omitted.
    pub resources: Vec<Resource>,
    /// `scope` (RFC 6749 §3.3).
    pub scope: Option<Scope>,
    /// `authorization_details` (RFC 9396 §6).
    pub authorization_details: Option<Vec<AuthorizationDetail>>,
}

/// A request to the token endpoint, without `Debug`, since it may hold an assertion.
pub enum TokenRequest {
    /// RFC 6749 §4.4.
    ClientCredentials(Wanted),
    /// RFC 7523 §2.1.
    JwtBearer {
        /// The compact JWT: any holder could use it, so it is wiped on drop.
        assertion: Zeroizing<String>,
        /// The request's parameters.
        wanted: Wanted,
    },
}

impl TokenRequest {
    /// Parses a request of `client`; `json_depth` limits `authorization_details`. Errors: `invalid_request` (a
    /// parameter is missing), `unsupported_grant_type`, `unauthorized_client`, `invalid_scope`, `invalid_target`,
    /// `invalid_authorization_details`.
    ///
    /// Checks the grant type before the assertion is verified (RFC 6749 §5.2): a client that may not use it learns
    /// nothing about the assertion.
    pub fn parse(client: &Client, p: &Parameters, json_depth: usize) -> Result<Self, OAuthError> {
        let name = p.required("grant_type")?;
        let grant_type = GrantType::ALL.into_iter().find(|g| g.name() == name).ok_or_else(|| {
            OAuthError::new(
                ErrorCode::UnsupportedGrantType,
                "grant-type-unknown",
                "expected client_credentials or urn:ietf:params:oauth:grant-type:jwt-bearer",
            )
        })?;
        if !client.grant_types.contains(&grant_type) {
            return Err(OAuthError::new(
                ErrorCode::UnauthorizedClient,
                "grant-type-not-allowed",
                format!("this client may not use the grant type {name}"),
            ));
        }
        let assertion = match grant_type {
            GrantType::ClientCredentials => None,
            GrantType::JwtBearer => Some(Zeroizing::new(p.required("assertion")?.to_owned())),
        };
        let wanted = Wanted {
            resources: p.all("resource").map(read_resource).collect::<Result<_, _>>()?,
            scope: p.get("scope").map(read_scope).transpose()?,
            authorization_details: p
                .get("authorization_details")
                .map(|text| read_details(text, json_depth))
                .transpose()?,
        };
        Ok(match assertion {
            None => Self::ClientCredentials(wanted),
            Some(assertion) => Self::JwtBearer { assertion, wanted },
        })
    }
}

fn read_resource(text: &str) -> Result<Resource, OAuthError> {
    text.parse().map_err(|e| {
        OAuthError::new(ErrorCode::InvalidTarget, "resource-malformed", format!("resource: {e}"))
    })
}

fn read_scope(text: &str) -> Result<Scope, OAuthError> {
    text.parse()
        .map_err(|e| OAuthError::new(ErrorCode::InvalidScope, "scope-malformed", format!("scope: {e}")))
}

fn read_details(text: &str, depth: usize) -> Result<Vec<AuthorizationDetail>, OAuthError> {
    let refused = |error: &dyn std::fmt::Display| {
        OAuthError::new(ErrorCode::InvalidAuthorizationDetails, "details-malformed", error.to_string())
    };
    strict_json(text.as_bytes(), depth).map_err(|e| refused(&format_args!("authorization_details: {e}")))?;
    parse_authorization_details(text).map_err(|e| refused(&e))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{bank, client, payment};
    use super::*;
    use serde_json::json;

    fn form(pairs: &[(&str, &str)]) -> Parameters {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        Parameters::parse(body.as_bytes(), 100).unwrap()
    }

    #[test]
    fn a_request_names_a_grant_type_that_is_here() {
        let config = bank();
        let parse = |pairs: &[(&str, &str)]| TokenRequest::parse(&config.clients[0], &form(pairs), 32);
        let code = |pairs: &[(&str, &str)]| parse(pairs).err().unwrap().code.name();
        assert_eq!(code(&[]), "invalid_request");
        for grant in
            ["password", "authorization_code", "refresh_token", "CLIENT_CREDENTIALS", "client_credentials "]
        {
            assert_eq!(code(&[("grant_type", grant)]), "unsupported_grant_type", "{grant}");
        }
        let bearer = ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
        assert_eq!(code(&[bearer]), "invalid_request");
        assert!(parse(&[bearer, ("assertion", "x")]).is_ok());
    }

    #[test]
    fn a_grant_type_must_be_allowed_to_the_client_before_anything_else_is_read() {
        let mut config = bank();
        for (allowed, other) in
            [GrantType::ALL, [GrantType::JwtBearer, GrantType::ClientCredentials]].map(Into::into)
        {
            client(&mut config).grant_types = [allowed].into();
            let parse = |grant: GrantType, rest: &[(&str, &str)]| {
                let form = form(&[&[("grant_type", grant.name())], rest].concat());
                TokenRequest::parse(&config.clients[0], &form, 32).map(drop).map_err(|e| e.rule)
            };
            assert_eq!(parse(allowed, &[("assertion", "x")]), Ok(()));
            for rest in [&[("assertion", "x")][..], &[], &[("scope", "\"")]] {
                assert_eq!(parse(other, rest), Err("grant-type-not-allowed"));
            }
        }
    }

    #[test]
    fn malformed_parameters_have_their_own_errors() {
        let deep = format!("[{}{}]", "[".repeat(40), "]".repeat(40));
        let twice = json!([payment()]).to_string().replacen("\"type\"", "\"creditorName\":\"X\",\"type\"", 1);
        for (name, value, code) in [
            ("resource", "payments", "invalid_target"),
            ("resource", "https://payments.bank.example#x", "invalid_target"),
            ("scope", "a  b", "invalid_scope"),
            ("scope", "a\"b", "invalid_scope"),
            ("authorization_details", "{}", "invalid_authorization_details"),
            ("authorization_details", "[{}]", "invalid_authorization_details"),
            ("authorization_details", "x", "invalid_authorization_details"),
            ("authorization_details", "[]", "invalid_authorization_details"),
            (
                "authorization_details",
                "[{\"type\":\"account_information\"}]",
                "invalid_authorization_details",
            ),
            ("authorization_details", &deep, "invalid_authorization_details"),
            ("authorization_details", &twice, "invalid_authorization_details"),
        ] {
            let form = form(&[("grant_type", "client_credentials"), (name, value)]);
            let refused = TokenRequest::parse(&bank().clients[0], &form, 32).err().unwrap();
            assert_eq!(refused.code.name(), code, "{name}={value}");
        }
    }
}
