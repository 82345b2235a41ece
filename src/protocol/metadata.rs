//! Authorization server metadata (RFC 8414 §2, RFC 9701 §7, RFC 9396 §10, RFC 9728 §4).

use crate::claims::{DetailType, Issuer, Purpose, ScopeToken};
use crate::config::{AuthMethod, Config, GrantType};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// The path of the metadata, before the issuer's own path (RFC 8414 §3).
const WELL_KNOWN: &str = "/.well-known/oauth-authorization-server";

/// The metadata without `signed_metadata`, which the signer makes from these members (§2.1). Optional members are
/// omitted when empty (§3.2).
pub fn metadata(config: &Config) -> Map<String, Value> {
    let methods: Vec<&str> = AuthMethod::ALL.iter().map(|method| method.name()).collect();
    // Grant types that a client may use: others get `unauthorized_client` for every client.
    let used = |grant: &&GrantType| config.clients.iter().any(|client| client.grant_types.contains(grant));
    let grants: Vec<&str> = GrantType::ALL.iter().filter(used).map(|grant| grant.name()).collect();
    let servers = || config.resource_servers.iter();
    // A pattern is no scope that a client could ask for.
    let scopes: BTreeSet<&str> =
        servers().flat_map(|rs| rs.scopes.tokens().map(ScopeToken::as_str)).collect();
    let types: BTreeSet<&str> = servers()
        .flat_map(|rs| rs.authorization_details_types.iter().map(|t| DetailType::name(*t)))
        .collect();
    let resources: Vec<&str> = servers().map(|rs| rs.resource.as_str()).collect();
    let mut algorithms: Vec<&str> = Vec::new();
    for series in config.keys.iter().filter(|series| series.purpose == Purpose::Introspection) {
        if !algorithms.contains(&series.algorithm.name()) {
            algorithms.push(series.algorithm.name());
        }
    }
    let url = |name| endpoint_url(&config.issuer, name);
    let members = [
        ("issuer", json!(config.issuer)),
        ("token_endpoint", json!(url("token"))),
        ("introspection_endpoint", json!(url("introspect"))),
        ("revocation_endpoint", json!(url("revoke"))),
        ("jwks_uri", json!(url("jwks"))),
        // Required and not empty, although there is no authorization endpoint (decision D8, manual/decisions.rs).
        ("response_types_supported", json!(["none"])),
        ("grant_types_supported", json!(grants)),
        ("token_endpoint_auth_methods_supported", json!(methods)),
        ("introspection_endpoint_auth_methods_supported", json!(methods)),
        ("revocation_endpoint_auth_methods_supported", json!(methods)),
        ("introspection_signing_alg_values_supported", json!(algorithms)),
        ("scopes_supported", json!(scopes)),
        ("authorization_details_types_supported", json!(types)),
        ("protected_resources", json!(resources)),
    ];
    members
        .into_iter()
        .filter(|(_, value)| value.as_array().is_none_or(|list| !list.is_empty()))
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// The path of the metadata: the well-known name inserted between host and path of the issuer (§3.1).
pub fn metadata_path(issuer: &Issuer) -> String {
    format!("{WELL_KNOWN}{}", path(issuer))
}

/// The path of an endpoint below the issuer: `/introspect`, or `/t1/introspect`.
pub fn endpoint(issuer: &Issuer, name: &str) -> String {
    format!("{}/{name}", path(issuer))
}

/// The URL of an endpoint: the issuer's text with the name appended, not normalised (§4).
pub fn endpoint_url(issuer: &Issuer, name: &str) -> String {
    format!("{}/{name}", issuer.as_str().trim_end_matches('/'))
}

/// The issuer's path without a terminating slash, or an empty text. An issuer has neither query nor fragment, so
/// everything behind the host is path.
fn path(issuer: &Issuer) -> &str {
    let text = issuer.as_str();
    let behind_scheme = text.split_once("://").map_or(text, |(_, rest)| rest);
    let start = behind_scheme.find('/').unwrap_or(behind_scheme.len());
    behind_scheme.get(start..).unwrap_or_default().trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::super::testing::{bank, client};
    use super::*;

    #[test]
    fn the_metadata_names_exactly_the_supported_features() {
        let methods = json!(["client_secret_basic", "client_secret_post"]);
        let expected = json!({
            "issuer": "https://as.bank.example",
            "token_endpoint": "https://as.bank.example/token",
            "introspection_endpoint": "https://as.bank.example/introspect",
            "revocation_endpoint": "https://as.bank.example/revoke",
            "jwks_uri": "https://as.bank.example/jwks",
            "response_types_supported": ["none"],
            "grant_types_supported": ["client_credentials", "urn:ietf:params:oauth:grant-type:jwt-bearer"],
            "token_endpoint_auth_methods_supported": methods,
            "introspection_endpoint_auth_methods_supported": methods,
            "revocation_endpoint_auth_methods_supported": methods,
            "introspection_signing_alg_values_supported": ["ES256", "RS256"],
            "scopes_supported": ["payments:initiate", "payments:status", "sign:contracts"],
            "authorization_details_types_supported": ["credential", "payment_initiation"],
            "protected_resources": ["https://payments.bank.example", "https://sign.bank.example"],
        });
        assert_eq!(Value::Object(metadata(&bank())), expected);
    }

    #[test]
    fn a_grant_type_that_no_client_may_use_is_not_announced() {
        let mut config = bank();
        client(&mut config).grant_types = [GrantType::JwtBearer].into();
        assert_eq!(metadata(&config)["grant_types_supported"], json!([GrantType::JwtBearer.name()]));
    }

    #[test]
    fn no_list_is_empty_when_nothing_is_configured() {
        let mut config = bank();
        config.resource_servers.clear();
        config.clients.clear();
        config.keys.clear();
        let members = metadata(&config);
        assert!(members.values().all(|v| v.as_array().is_none_or(|list| !list.is_empty())));
        assert!(
            !members.contains_key("scopes_supported") && members.contains_key("response_types_supported")
        );
    }

    #[test]
    fn paths_of_the_issuer_are_kept_and_the_well_known_name_goes_before_them() {
        for (issuer, well_known, token_path, token_url) in [
            ("https://h.example", "", "/token", "https://h.example/token"),
            ("https://h.example/", "", "/token", "https://h.example/token"),
            ("https://h.example/t1", "/t1", "/t1/token", "https://h.example/t1/token"),
            ("https://h.example/t1/", "/t1", "/t1/token", "https://h.example/t1/token"),
            (
                "https://H.example:443/a/B%2fc",
                "/a/B%2fc",
                "/a/B%2fc/token",
                "https://H.example:443/a/B%2fc/token",
            ),
            ("http://[::1]:8443/x", "/x", "/x/token", "http://[::1]:8443/x/token"),
        ] {
            let issuer = issuer.parse().unwrap();
            assert_eq!(
                metadata_path(&issuer),
                format!("/.well-known/oauth-authorization-server{well_known}")
            );
            assert_eq!(endpoint(&issuer, "token"), token_path);
            assert_eq!(endpoint_url(&issuer, "token"), token_url);
        }
    }
}
