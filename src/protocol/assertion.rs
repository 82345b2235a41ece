//! The grant that a front server issues: a JWT as authorization grant (RFC 7523 §3, RFC 7521 §5, RFC 8725).
//!
//! Every failure is `invalid_grant` (RFC 7523 §3.1). The error names the failed rule: the client is authenticated, and
//! its operator must find out which server is wrong.

use super::error::{ErrorCode, OAuthError};
use super::metadata::endpoint_url;
use crate::claims::{
    Authentication, AuthorizationDetail, ClaimKind, ClaimName, ClaimValue, ClientId, ExtraClaims, Grant,
    Issuer, Jti, NumericDate, Origin, Resource, Subject, parse_authorization_details,
};
use crate::config::{Config, GrantIssuer};
use crate::jose::{Received, Verified};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::str::FromStr;

/// How far in the future `iat`, `nbf` and `auth_time` may lie, in seconds, for differing clocks (FAPI 2.0 §5.3.2.1).
pub const CLOCK_SKEW: i64 = 10;

/// Limit of values of `resource`.
const MAX_RESOURCES: usize = 16;

/// Claims that would change the grant's meaning and are not supported, or that belong to another kind of JWT. Refused:
/// ignoring them would issue another token than the front server meant.
const REFUSED: [(&str, &str); 4] = [
    ("act", "delegation is not supported yet"),
    ("cnf", "sender constraint is not supported yet"),
    ("events", "this is a security event token"),
    ("token_introspection", "this is an introspection response"),
];

/// A verified assertion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assertion {
    /// Its issuer.
    pub issuer: Issuer,
    /// Its `jti`, valid once for its issuer.
    pub jti: Jti,
    /// Its expiry; the `jti` is kept until then.
    pub expires_at: NumericDate,
    /// The grant of the resource owner to the client. An empty audience means every resource of the issuer; further
    /// claims are those that at least one resource server may see.
    pub grant: Grant,
}

/// Verifies a compact JWT that `client` presents as a grant at `now`; any failure is `invalid_grant`.
pub fn verify_assertion(
    config: &Config,
    client: &ClientId,
    jwt: &str,
    now: NumericDate,
) -> Result<Assertion, OAuthError> {
    let received = Received::parse(jwt, config.http.limits.json_depth)
        .map_err(|e| refused("assertion-malformed", e.to_string()))?;
    let issuer = received
        .claimed_issuer()
        .and_then(|iss| config.grant_issuers.iter().find(|g| g.issuer.as_str() == iss))
        .ok_or_else(|| refused("assertion-unknown-issuer", "iss: expected an issuer that is known here"))?;
    let keys = issuer.keys.iter().map(|key| (key.kid.as_deref(), &key.key));
    let verified = received.verify(keys).map_err(|e| refused("assertion-signature", e.to_string()))?;
    check_type(&verified)?;
    let claims = Claims(verified.claims());
    claims.refuse_unsupported()?;
    claims.check_audience(config)?;
    let expires_at = claims.check_times(issuer, now)?;
    let subject: Subject = claims.required("sub")?;
    // RFC 9068 §5: the subject must not be mistakable for a client.
    if is_client_id(config, &subject) {
        return Err(refused(
            "assertion-subject",
            "sub: expected a resource owner, found the client_id of a client",
        ));
    }
    let jti = claims.required("jti")?;
    let made_for: Option<ClientId> = claims.word("client_id")?;
    let grant = Grant {
        subject,
        client_id: client.clone(),
        origin: Origin::Assertion(issuer.issuer.clone()),
        audience: claims.resources()?,
        scope: claims.word("scope")?.unwrap_or_default(),
        authorization_details: claims.details()?,
        authentication: claims.authentication(now)?,
        extra: claims.extra(config)?,
    };
    if made_for.is_some_and(|made_for| made_for != *client) {
        let text = "the assertion was made for another client";
        return Err(OAuthError::new(ErrorCode::InvalidGrant, "assertion-other-client", text));
    }
    Ok(Assertion { issuer: issuer.issuer.clone(), jti, expires_at, grant })
}

fn is_client_id(config: &Config, subject: &Subject) -> bool {
    config.clients.iter().any(|client| client.client_id.as_str() == subject.as_str())
        || config.resource_servers.iter().any(|rs| rs.client_id.as_str() == subject.as_str())
}

fn refused(rule: &'static str, description: impl AsRef<str>) -> OAuthError {
    OAuthError::new(ErrorCode::InvalidGrant, rule, format!("assertion: {}", description.as_ref()))
}

/// RFC 8725 §3.11 and §3.12: refuses access tokens, introspection responses and events of any issuer.
fn check_type(jwt: &Verified) -> Result<(), OAuthError> {
    if jwt.is_untyped() || jwt.has_type("JWT") {
        return Ok(());
    }
    Err(refused("assertion-type", "typ: expected JWT or none, found another kind of JWT"))
}

struct Claims<'a>(&'a Map<String, Value>);

impl Claims<'_> {
    fn refuse_unsupported(&self) -> Result<(), OAuthError> {
        match REFUSED.iter().find(|(name, _)| self.0.contains_key(*name)) {
            Some((name, why)) => Err(refused("assertion-unsupported-claim", format!("{name}: {why}"))),
            None => Ok(()),
        }
    }

    /// `aud` names this server alone ([D3](crate::manual::decisions#d3)): another recipient of the assertion could pass
    /// it on.
    fn check_audience(&self, config: &Config) -> Result<(), OAuthError> {
        let token_endpoint = endpoint_url(&config.issuer, "token");
        let ours = |value: &Value| {
            value.as_str().is_some_and(|aud| aud == config.issuer.as_str() || aud == token_endpoint)
        };
        let fits = match self.0.get("aud") {
            Some(Value::Array(list)) => !list.is_empty() && list.iter().all(ours),
            Some(value) => ours(value),
            None => false,
        };
        if fits {
            return Ok(());
        }
        let text = format!("aud: expected {} or {token_endpoint} and no other value", config.issuer);
        Err(refused("assertion-audience", text))
    }

    /// `exp` is required and within the issuer's limit; `iat` and `nbf` are not in the future.
    fn check_times(&self, issuer: &GrantIssuer, now: NumericDate) -> Result<NumericDate, OAuthError> {
        let end =
            self.date("exp", f64::floor)?.ok_or_else(|| refused("assertion-expiry", "exp: expected one"))?;
        if end <= now {
            return Err(refused("assertion-expired", "exp: it has expired"));
        }
        let most = issuer.max_assertion_lifetime.as_secs();
        if u64::try_from(end.0.saturating_sub(now.0)).is_ok_and(|ahead| ahead > most) {
            let text = format!("exp: expected at most {most} seconds from now, found more");
            return Err(refused("assertion-expiry", text));
        }
        for name in ["iat", "nbf"] {
            not_ahead(name, self.date(name, f64::ceil)?, now)?;
        }
        Ok(end)
    }

    /// A `NumericDate` (RFC 7519 §2). Fractions are rounded to the stricter side.
    fn date(&self, name: &str, round: fn(f64) -> f64) -> Result<Option<NumericDate>, OAuthError> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        let seconds = match (value.as_i64(), value.as_f64().map(round)) {
            (Some(whole), _) => Some(whole),
            #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^53")]
            (None, Some(rounded)) if rounded.abs() < 9.0e15 => Some(rounded as i64),
            _ => None,
        };
        match seconds.filter(|s| *s >= 0) {
            Some(seconds) => Ok(Some(NumericDate(seconds))),
            None => Err(refused("assertion-claim", format!("{name}: expected seconds since 1970"))),
        }
    }

    /// A string with a grammar.
    fn word<T>(&self, name: &str) -> Result<Option<T>, OAuthError>
    where
        T: FromStr<Err: std::fmt::Display>,
    {
        self.0.get(name).map(|value| read_word(name, value)).transpose()
    }

    fn required<T>(&self, name: &str) -> Result<T, OAuthError>
    where
        T: FromStr<Err: std::fmt::Display>,
    {
        self.word(name)?
            .ok_or_else(|| refused("assertion-claim", format!("{name}: expected one, found none")))
    }

    /// A string or an array of strings.
    fn resources(&self) -> Result<Vec<Resource>, OAuthError> {
        match self.0.get("resource") {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) if (1..=MAX_RESOURCES).contains(&list.len()) => {
                list.iter().map(|value| read_word("resource", value)).collect()
            }
            Some(Value::Array(_)) => {
                Err(refused("assertion-claim", format!("resource: expected 1 to {MAX_RESOURCES} values")))
            }
            Some(value) => Ok(vec![read_word("resource", value)?]),
        }
    }

    fn details(&self) -> Result<Vec<AuthorizationDetail>, OAuthError> {
        match self.0.get("authorization_details") {
            None => Ok(Vec::new()),
            Some(value) => parse_authorization_details(&value.to_string())
                .map_err(|e| refused("assertion-details", e.to_string())),
        }
    }

    fn authentication(&self, now: NumericDate) -> Result<Authentication, OAuthError> {
        let amr = match self.0.get("amr") {
            None => Vec::new(),
            Some(Value::Array(list)) if list.len() <= Authentication::MAX_AMR => {
                list.iter().map(|value| read_word("amr", value)).collect::<Result<_, _>>()?
            }
            Some(_) => {
                return Err(refused(
                    "assertion-claim",
                    format!("amr: expected a list of at most {} texts", Authentication::MAX_AMR),
                ));
            }
        };
        let auth_time = self.date("auth_time", f64::floor)?;
        not_ahead("auth_time", auth_time, now)?;
        Ok(Authentication { acr: self.word("acr")?, amr, auth_time })
    }

    /// Further claims that some resource server may see. Other claims are neither checked nor copied; null is no value
    /// (`OpenID` Connect Core §5.3.2).
    fn extra(&self, config: &Config) -> Result<ExtraClaims, OAuthError> {
        let mut extra = ExtraClaims::new();
        for (name, value) in self.0 {
            let seen = config.resource_servers.iter().any(|rs| rs.claims.contains(name.as_str()));
            let (true, false, Ok(claim)) = (seen, value.is_null(), name.parse::<ClaimName>()) else {
                continue;
            };
            if claim.kind() != ClaimKind::Further {
                continue;
            }
            if extra.len() == ClaimValue::MOST {
                let text = format!("expected at most {} further claims, found more", ClaimValue::MOST);
                return Err(refused("assertion-extra", text));
            }
            let value = ClaimValue::deserialize(value)
                .map_err(|e| refused("assertion-extra", format!("{claim}: {e}")))?;
            extra.insert(claim, value);
        }
        Ok(extra)
    }
}

fn not_ahead(name: &str, date: Option<NumericDate>, now: NumericDate) -> Result<(), OAuthError> {
    if date.is_some_and(|date| date.0 > now.0.saturating_add(CLOCK_SKEW)) {
        let text = format!("{name}: expected no time more than {CLOCK_SKEW} seconds ahead");
        return Err(refused("assertion-not-yet-valid", text));
    }
    Ok(())
}

fn read_word<T>(name: &str, value: &Value) -> Result<T, OAuthError>
where
    T: FromStr<Err: std::fmt::Display>,
{
    let text =
        value.as_str().ok_or_else(|| refused("assertion-claim", format!("{name}: expected a text")))?;
    text.parse().map_err(|e| refused("assertion-claim", format!("{name}: {e}")))
}

#[cfg(test)]
#[path = "assertion_tests.rs"]
mod tests;
