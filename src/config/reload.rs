//! Merges a new configuration into the one of a running gateway.

use super::{Client, Config, GrantIssuer, Http, Limits, ResourceServer, Tls};
use std::sync::Arc;

impl Config {
    /// This configuration with every value of `new` that a running gateway can take over: certificate, secrets, key
    /// sets of front servers, most limits. With `rules` also the rules of `new`, to follow a signer that has them.
    /// [`Config::differences`] to `new` need a restart.
    #[must_use]
    pub fn reloaded(&self, new: &Self, rules: bool) -> Self {
        let (ruling, old) = if rules { (new, new) } else { (self, self) };
        Self {
            profile: ruling.profile,
            issuer: ruling.issuer.clone(),
            http: self.http.reloaded(&new.http),
            signer: self.signer.clone(),
            signer_state: self.signer_state.clone(),
            hsm: self.hsm.clone(),
            keys: ruling.keys.clone(),
            audit: self.audit.clone(),
            auditors: self.auditors.clone(),
            store: self.store.clone(),
            grant_issuers: old.grant_issuers.iter().map(|old| grant_issuer(old, new)).collect(),
            resource_servers: old.resource_servers.iter().map(|old| resource_server(old, new)).collect(),
            clients: old.clients.iter().map(|old| client(old, new)).collect(),
            log: self.log,
        }
    }
}

impl Http {
    fn reloaded(&self, new: &Self) -> Self {
        let limits = Limits {
            header_bytes: self.limits.header_bytes,
            request_time: self.limits.request_time,
            connections: self.limits.connections,
            connections_per_source: self.limits.connections_per_source,
            in_flight: self.limits.in_flight,
            answer_time: self.limits.answer_time,
            signer_wait: self.limits.signer_wait,
            ..new.limits.clone()
        };
        let tls = self.tls.as_ref().map(|old: &Tls| new.tls.as_ref().unwrap_or(old).clone());
        Self { tls, limits, ..self.clone() }
    }
}

fn grant_issuer(old: &Arc<GrantIssuer>, new: &Config) -> Arc<GrantIssuer> {
    let Some(new) = new.grant_issuers.iter().find(|new| new.issuer == old.issuer) else {
        return Arc::clone(old);
    };
    Arc::new(GrantIssuer {
        keys: new.keys.clone(),
        max_assertion_lifetime: new.max_assertion_lifetime,
        ..GrantIssuer::clone(old)
    })
}

/// A changed method is a change of the rules, which keeps its secrets back too.
fn resource_server(old: &Arc<ResourceServer>, new: &Config) -> Arc<ResourceServer> {
    match new.resource_server(&old.client_id) {
        Some(new) if new.authentication.method == old.authentication.method => Arc::new(ResourceServer {
            authentication: new.authentication.clone(),
            ..ResourceServer::clone(old)
        }),
        _ => Arc::clone(old),
    }
}

fn client(old: &Arc<Client>, new: &Config) -> Arc<Client> {
    match new.client(&old.client_id) {
        Some(new) if new.authentication.method == old.authentication.method => {
            Arc::new(Client { authentication: new.authentication.clone(), ..Client::clone(old) })
        }
        _ => Arc::clone(old),
    }
}
