//! The list of all settings: basis of the digests, of a reload, and of the report of settings that need a restart.
//!
//! Built from the configuration as used: comments, the order of keys and explicit defaults make no difference. Every
//! structure is destructured by name, so that a new setting cannot be forgotten here.

use super::{
    Audit, Auditors, Authentication, Client, Config, ConfigDigest, GrantIssuer, GrantKey, Hsm, Http,
    KeySeries, Limits, PinSource, ResourceServer, SignerMode, Store, Tls,
};
use crate::claims::{ScopePattern, ScopePatterns};
use crate::sha256::sha256;
use std::fmt::Display;

/// The use of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// A rule, which both processes must share. The signer reads it at its start; the gateway follows the signer.
    Rules,
    /// Read at the start of a process.
    Start,
    /// Read by the gateway at its start and at each reload.
    Reload,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) key: String,
    pub(super) using: Use,
    value: String,
}

/// All settings, in a fixed order.
pub(super) fn said(config: &Config) -> Vec<Said> {
    let Config {
        profile,
        issuer,
        http,
        signer,
        signer_state,
        hsm,
        keys,
        audit,
        auditors,
        store,
        grant_issuers,
        resource_servers,
        clients,
        log,
    } = config;
    let mut list = List(Vec::new());
    list.put(Use::Rules, "profile", profile.name());
    list.put(Use::Rules, "issuer", issuer);
    list.http(http);
    match signer {
        SignerMode::Child => {}
        SignerMode::Separate { socket, gateway_user, signer_user } => {
            list.put(Use::Start, "signer.socket", socket.display());
            list.put(Use::Start, "signer.gateway_user", gateway_user);
            list.put(Use::Start, "signer.signer_user", signer_user);
        }
    }
    list.put(Use::Start, "signer.state_directory", signer_state.display());
    list.hsm(hsm);
    for (i, KeySeries { purpose, algorithm, rsa_bits }) in keys.iter().enumerate() {
        list.put(Use::Rules, &format!("keys[{i}].purpose"), purpose);
        list.put(Use::Rules, &format!("keys[{i}].algorithm"), algorithm);
        list.put(Use::Rules, &format!("keys[{i}].rsa_bits"), rsa_bits);
    }
    let Audit { directory, origin, node, segment_bytes } = audit;
    list.put(Use::Start, "audit.directory", directory.display());
    list.put(Use::Rules, "audit.origin", origin);
    list.put(Use::Start, "audit.node", node);
    list.put(Use::Start, "audit.segment_bytes", segment_bytes);
    if let Some(Auditors { socket, group }) = auditors {
        list.put(Use::Start, "auditors.socket", socket.display());
        list.put(Use::Start, "auditors.group", group);
    }
    let Store { path } = store;
    list.put(Use::Start, "store.url", path.display());
    list.put(Use::Start, "log.lines", format!("{log:?}"));
    for (i, issuer) in grant_issuers.iter().enumerate() {
        list.grant_issuer(&format!("grant_issuers[{i}]"), issuer);
    }
    for (i, server) in resource_servers.iter().enumerate() {
        list.resource_server(&format!("resource_servers[{i}]"), server);
    }
    for (i, client) in clients.iter().enumerate() {
        list.client(&format!("clients[{i}]"), client);
    }
    list.0
}

struct List(Vec<Said>);

impl List {
    fn put(&mut self, using: Use, key: &str, value: impl Display) {
        self.0.push(Said { key: key.to_owned(), using, value: value.to_string() });
    }

    /// Each value is an entry of its own: a value may contain any separator.
    fn each<T: Display>(&mut self, using: Use, key: &str, values: impl IntoIterator<Item = T>) {
        for (i, value) in values.into_iter().enumerate() {
            self.put(using, &format!("{key}[{i}]"), value);
        }
    }

    fn http(&mut self, http: &Http) {
        let Http { listen, operations_listen, tls, threads, limits } = http;
        self.put(Use::Start, "http.listen", listen);
        self.put(Use::Start, "http.operations_listen", operations_listen);
        self.put(Use::Start, "http.tls", tls.is_some());
        if let Some(Tls { certificate, key }) = tls {
            self.put(Use::Reload, "http.tls.certificate", certificate.display());
            self.put(Use::Reload, "http.tls.key", key.display());
        }
        self.put(Use::Start, "http.threads", threads);
        let Limits {
            body_bytes,
            introspection_body_bytes,
            header_bytes,
            parameters,
            json_depth,
            request_time,
            connections,
            connections_per_source,
            requests_per_second,
            failures_per_second,
            address_failures_per_second,
            inactive_per_second,
            inactive_bytes_per_day,
            in_flight,
            in_flight_per_caller,
            answer_time,
            signer_wait,
        } = limits;
        let mut limit =
            |using, key: &str, value: String| self.put(using, &format!("http.limits.{key}"), value);
        limit(Use::Reload, "body_bytes", body_bytes.to_string());
        limit(Use::Reload, "introspection_body_bytes", introspection_body_bytes.to_string());
        limit(Use::Start, "header_bytes", header_bytes.to_string());
        limit(Use::Reload, "parameters", parameters.to_string());
        limit(Use::Reload, "json_depth", json_depth.to_string());
        limit(Use::Start, "request_time", format!("{request_time:?}"));
        limit(Use::Start, "connections", connections.to_string());
        limit(Use::Start, "connections_per_source", connections_per_source.to_string());
        limit(Use::Reload, "requests_per_second", requests_per_second.to_string());
        limit(Use::Reload, "failures_per_second", failures_per_second.to_string());
        limit(Use::Reload, "address_failures_per_second", address_failures_per_second.to_string());
        limit(Use::Reload, "inactive_per_second", inactive_per_second.to_string());
        limit(Use::Reload, "inactive_bytes_per_day", inactive_bytes_per_day.to_string());
        limit(Use::Start, "in_flight", in_flight.to_string());
        limit(Use::Reload, "in_flight_per_caller", in_flight_per_caller.to_string());
        limit(Use::Start, "answer_time", format!("{answer_time:?}"));
        limit(Use::Start, "signer_wait", format!("{signer_wait:?}"));
    }

    fn hsm(&mut self, hsm: &Hsm) {
        let Hsm { module, token, pin, sessions, deadline } = hsm;
        self.put(Use::Start, "hsm.module", module.display());
        self.put(Use::Start, "hsm.token", token);
        match pin {
            PinSource::File(path) => self.put(Use::Start, "hsm.pin_file", path.display()),
            PinSource::Credential(name) => self.put(Use::Start, "hsm.pin_credential", name),
        }
        self.put(Use::Start, "hsm.sessions", sessions);
        self.put(Use::Start, "hsm.deadline", format!("{deadline:?}"));
    }

    fn authentication(&mut self, entry: &str, authentication: &Authentication) {
        let Authentication { method, secrets } = authentication;
        self.put(Use::Rules, &format!("{entry}.token_endpoint_auth_method"), method.name());
        self.each(Use::Reload, &format!("{entry}.client_secret_sha256"), secrets.0.iter().map(hex::encode));
    }

    fn grant_issuer(&mut self, entry: &str, issuer: &GrantIssuer) {
        let GrantIssuer { issuer, keys, resources, authorization_details_types, max_assertion_lifetime } =
            issuer;
        self.put(Use::Rules, &format!("{entry}.issuer"), issuer);
        for (i, GrantKey { kid, key }) in keys.iter().enumerate() {
            // The thumbprint identifies the key (RFC 7638).
            let kid = kid.as_ref().map_or_else(|| "none".to_owned(), |kid| format!("{kid:?}"));
            let value = format!("{} {} {kid}", key.algorithm(), key.kid());
            self.put(Use::Reload, &format!("{entry}.jwks_file: keys[{i}]"), value);
        }
        self.each(Use::Rules, &format!("{entry}.resources"), resources);
        self.each(
            Use::Rules,
            &format!("{entry}.authorization_details_types"),
            authorization_details_types.iter().map(|t| t.name()),
        );
        let lifetime = format!("{max_assertion_lifetime:?}");
        self.put(Use::Reload, &format!("{entry}.max_assertion_lifetime"), lifetime);
    }

    fn resource_server(&mut self, entry: &str, server: &ResourceServer) {
        let ResourceServer {
            client_id,
            resource,
            authentication,
            introspection_alg,
            require_signed_response,
            response_jti,
            response_audience,
            access_token_formats,
            access_token_alg,
            scopes,
            authorization_details_types,
            claims,
        } = server;
        let key = |name: &str| format!("{entry}.{name}");
        self.put(Use::Rules, &key("client_id"), client_id);
        self.put(Use::Rules, &key("resource"), resource);
        self.authentication(entry, authentication);
        self.put(Use::Rules, &key("introspection_signed_response_alg"), introspection_alg);
        self.put(Use::Rules, &key("require_signed_response"), require_signed_response);
        self.put(Use::Rules, &key("response_jti"), response_jti);
        self.put(Use::Rules, &key("response_audience"), format!("{response_audience:?}"));
        let formats = access_token_formats.iter().map(|format| format!("{format:?}"));
        self.each(Use::Rules, &key("access_token_formats"), formats);
        self.put(Use::Rules, &key("access_token_signing_alg"), access_token_alg);
        let mut scopes = texts(scopes);
        scopes.sort_unstable();
        self.each(Use::Rules, &key("scopes"), scopes);
        let types = authorization_details_types.iter().map(|t| t.name());
        self.each(Use::Rules, &key("authorization_details_types"), types);
        self.each(Use::Rules, &key("claims"), claims);
    }

    fn client(&mut self, entry: &str, client: &Client) {
        let Client {
            client_id,
            authentication,
            grant_types,
            resources,
            scope,
            authorization_details_types,
            access_token_format,
            access_token_lifetime,
        } = client;
        let key = |name: &str| format!("{entry}.{name}");
        self.put(Use::Rules, &key("client_id"), client_id);
        self.authentication(entry, authentication);
        self.each(Use::Rules, &key("grant_types"), grant_types.iter().map(|grant| grant.name()));
        self.each(Use::Rules, &key("resources"), resources);
        self.put(Use::Rules, &key("scope"), texts(scope).join(" "));
        let types = authorization_details_types.iter().map(|t| t.name());
        self.each(Use::Rules, &key("authorization_details_types"), types);
        self.put(Use::Rules, &key("access_token_format"), format!("{access_token_format:?}"));
        self.put(Use::Rules, &key("access_token_lifetime"), format!("{access_token_lifetime:?}"));
    }
}

fn texts(scopes: &ScopePatterns) -> Vec<&str> {
    scopes.patterns().map(ScopePattern::as_str).collect()
}

fn digest(said: impl Iterator<Item = Said>) -> ConfigDigest {
    let mut bytes = Vec::new();
    for Said { key, value, .. } in said {
        for part in [key, value] {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
    }
    ConfigDigest(sha256(&bytes))
}

impl Config {
    /// SHA-256 of the whole configuration as used, for records.
    pub fn digest(&self) -> ConfigDigest {
        digest(said(self).into_iter())
    }

    /// SHA-256 of the rules, which gateway and signer must share.
    pub fn rules(&self) -> ConfigDigest {
        digest(said(self).into_iter().filter(|said| said.using == Use::Rules))
    }

    /// The keys whose values differ from those of `other`.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let (mine, theirs) = (said(self), said(other));
        let missing = |from: &[Said], of: &[Said]| -> Vec<String> {
            from.iter().filter(|said| !of.contains(said)).map(|said| said.key.clone()).collect()
        };
        let mut keys = missing(&mine, &theirs);
        keys.extend(missing(&theirs, &mine));
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

#[cfg(test)]
mod tests;
