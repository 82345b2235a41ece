//! The entries that name each other: keys, front servers, resource servers, clients.

use super::place::{Place, Placed};
use super::section::{Need, Section};
use super::values::{self, Wrong};
use super::{AuthMethod, GrantType, ResponseAudience, SecretHashes};
use crate::claims::{
    ClaimKind, ClaimName, ClientId, DetailType, Issuer, Purpose, Resource, ScopePattern, ScopePatterns,
    TokenFormat,
};
use crate::jose::Algorithm;
use std::path::PathBuf;
use std::time::Duration;
use toml::de::DeValue;

const RESOURCE: &str = "an absolute URI without fragment";

pub(super) struct KeyEntry {
    pub(super) place: Place,
    pub(super) purpose: Option<Placed<Purpose>>,
    pub(super) algorithm: Option<Placed<Algorithm>>,
    pub(super) rsa_bits: Option<Placed<u32>>,
}

pub(super) struct GrantIssuerEntry {
    pub(super) issuer: Option<Placed<Issuer>>,
    pub(super) jwks_file: Option<Placed<PathBuf>>,
    pub(super) resources: Option<Vec<Placed<Resource>>>,
    pub(super) types: Option<Vec<Placed<DetailType>>>,
    pub(super) max_assertion_lifetime: Option<Placed<Duration>>,
}

/// The common part of a resource server and a client.
pub(super) struct Caller {
    pub(super) client_id: Option<Placed<ClientId>>,
    pub(super) method: Option<AuthMethod>,
    pub(super) secrets: Option<Placed<SecretHashes>>,
}

pub(super) struct ResourceServerEntry {
    pub(super) caller: Caller,
    pub(super) resource: Option<Placed<Resource>>,
    pub(super) introspection_alg: Option<Placed<Algorithm>>,
    pub(super) require_signed_response: Option<bool>,
    pub(super) response_jti: Option<bool>,
    pub(super) response_audience: Option<ResponseAudience>,
    pub(super) formats: Option<Vec<Placed<TokenFormat>>>,
    pub(super) access_token_alg: Option<Placed<Algorithm>>,
    pub(super) scopes: Option<Vec<Placed<ScopePattern>>>,
    pub(super) types: Option<Vec<Placed<DetailType>>>,
    pub(super) claims: Option<Vec<Placed<ClaimName>>>,
}

pub(super) struct ClientEntry {
    pub(super) caller: Caller,
    pub(super) grant_types: Option<Vec<Placed<GrantType>>>,
    pub(super) resources: Option<Vec<Placed<Resource>>>,
    pub(super) scope: Option<Placed<ScopePatterns>>,
    pub(super) types: Option<Vec<Placed<DetailType>>>,
    pub(super) format: Option<Placed<TokenFormat>>,
    pub(super) lifetime: Option<Placed<Duration>>,
}

pub(super) fn key(s: &mut Section<'_, '_, '_>) -> KeyEntry {
    let known = Purpose::ALL.map(|p| (p.name(), p));
    let expected = names(&Purpose::ALL.map(Purpose::name));
    let purpose =
        s.get("purpose", Need::Required, &expected, |v| values::one_of(v, &known, &["security-event"]));
    KeyEntry {
        place: s.place().clone(),
        purpose,
        algorithm: algorithm(s, "algorithm", Need::Required),
        rsa_bits: s.get("rsa_bits", Need::Optional, "2048, 3072 or 4096", |v| {
            let bits = values::count(v, &(2048..=4096))?;
            if bits.is_multiple_of(1024) {
                u32::try_from(bits).map_err(|_| Wrong::default())
            } else {
                Err(Wrong::default())
            }
        }),
    }
}

pub(super) fn grant_issuer(s: &mut Section<'_, '_, '_>) -> GrantIssuerEntry {
    GrantIssuerEntry {
        issuer: s.get("issuer", Need::Required, "an https URL", values::word),
        jwks_file: s.path("jwks_file", "the path of a JWK set (RFC 7517 §5) of public keys"),
        resources: s.list("resources", Need::Required, (1, 256), RESOURCE, values::word),
        types: detail_types(s),
        max_assertion_lifetime: whole_seconds(s, "max_assertion_lifetime", Duration::from_secs(3600)),
    }
}

pub(super) fn resource_server(s: &mut Section<'_, '_, '_>) -> ResourceServerEntry {
    let audiences = [("client_id", ResponseAudience::ClientId), ("resource", ResponseAudience::Resource)];
    let scope = "a scope token (RFC 6749 §3.3)";
    ResourceServerEntry {
        caller: caller(s),
        resource: s.get("resource", Need::Required, RESOURCE, values::word),
        introspection_alg: algorithm(s, "introspection_signed_response_alg", Need::Default(r#""RS256""#)),
        require_signed_response: s.flag("require_signed_response", "false"),
        response_jti: s.flag("response_jti", "true"),
        response_audience: s
            .get("response_audience", Need::Default(r#""client_id""#), r#""client_id" or "resource""#, |v| {
                values::one_of(v, &audiences, &[])
            })
            .map(|a| a.value),
        formats: s.list("access_token_formats", Need::Default(r#"["opaque"]"#), (1, 2), FORMATS, format),
        access_token_alg: algorithm(s, "access_token_signing_alg", Need::Optional),
        scopes: s.list("scopes", Need::Default("[]"), (0, 1024), scope, |v| {
            values::text(v)?.parse().map_err(|_| Wrong::default())
        }),
        types: detail_types(s),
        claims: s.list("claims", Need::Default("[]"), (0, 64), "the name of a claim", |v| {
            let name: ClaimName = values::word(v)?;
            if name.kind() == ClaimKind::Reserved {
                let found =
                    format!("{name:?}, which has a meaning of its own and is never taken from a grant");
                return Err(Wrong::found(found));
            }
            Ok(name)
        }),
    }
}

pub(super) fn client(s: &mut Section<'_, '_, '_>) -> ClientEntry {
    let known = GrantType::ALL.map(|g| (g.name(), g));
    let expected = names(&GrantType::ALL.map(GrantType::name));
    let later = ["urn:ietf:params:oauth:grant-type:token-exchange"];
    ClientEntry {
        caller: caller(s),
        grant_types: s.list("grant_types", Need::Required, (1, GrantType::ALL.len()), &expected, |v| {
            values::one_of(v, &known, &later)
        }),
        resources: s.list("resources", Need::Required, (1, 256), RESOURCE, values::word),
        scope: s.get("scope", Need::Default(r#""""#), "scope tokens with one space between", values::word),
        types: detail_types(s),
        format: s.get("access_token_format", Need::Optional, FORMATS, format),
        lifetime: whole_seconds(s, "access_token_lifetime", Duration::from_secs(24 * 3600)),
    }
}

/// `client_id` and client authentication; `client_secret_basic` by default (RFC 7591 §2).
fn caller(s: &mut Section<'_, '_, '_>) -> Caller {
    let known = AuthMethod::ALL.map(|m| (m.name(), m));
    let later = ["private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth"];
    let expected = names(&AuthMethod::ALL.map(AuthMethod::name));
    let client_id = s.get("client_id", Need::Required, "1 to 255 printable ASCII characters", values::word);
    let need = Need::Default(r#""client_secret_basic""#);
    let method = s.get("token_endpoint_auth_method", need, &expected, |v| values::one_of(v, &known, &later));
    let expected = "SHA-256 of a generated secret in 64 hexadecimal digits, or a list of 1 to 4 of them";
    // Both known methods need a secret. For an unknown method the mistake about the method suffices.
    let need = if method.is_some() { Need::Required } else { Need::Optional };
    let secrets = s.get("client_secret_sha256", need, expected, values::secret_hashes);
    Caller { client_id, method: method.map(|m| m.value), secrets }
}

const FORMATS: &str = "\"opaque\" or \"at+jwt\"";

fn format(value: &DeValue<'_>) -> Result<TokenFormat, Wrong> {
    values::one_of(value, &[TokenFormat::Opaque, TokenFormat::AtJwt].map(|f| (f.name(), f)), &[])
}

fn algorithm(s: &mut Section<'_, '_, '_>, name: &'static str, need: Need) -> Option<Placed<Algorithm>> {
    let known = Algorithm::ALL.map(|a| (a.name(), a));
    s.get(name, need, &names(&Algorithm::ALL.map(Algorithm::name)), |v| values::one_of(v, &known, &[]))
}

fn detail_types(s: &mut Section<'_, '_, '_>) -> Option<Vec<Placed<DetailType>>> {
    let known = DetailType::ALL.map(|t| (t.name(), t));
    let expected = names(&DetailType::ALL.map(DetailType::name));
    let most = DetailType::ALL.len();
    s.list("authorization_details_types", Need::Default("[]"), (0, most), &expected, |v| {
        values::one_of(v, &known, &[])
    })
}

/// A lifetime that ends in an `exp` of whole seconds (RFC 7519 §2); 5 minutes by default.
fn whole_seconds(
    s: &mut Section<'_, '_, '_>,
    name: &'static str,
    most: Duration,
) -> Option<Placed<Duration>> {
    let life = s.duration(name, r#""5m""#, Duration::from_secs(1)..=most)?;
    if life.value.subsec_nanos() != 0 {
        s.mistake(&life.place, "whole seconds", values::shown_duration(life.value));
        return None;
    }
    Some(life)
}

/// `"a", "b" or "c"`.
fn names(all: &[&str]) -> String {
    match all {
        [] => String::new(),
        [one] => format!("{one:?}"),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(|name| format!("{name:?}")).collect();
            format!("{} or {last:?}", first.join(", "))
        }
    }
}
