//! Turns the file as read into the configuration as used, with the defaults that depend on other entries.

use super::file::File;
use super::parties::{Caller, ClientEntry, GrantIssuerEntry, KeyEntry, ResourceServerEntry};
use super::place::Placed;
use super::{Authentication, Client, Config, GrantIssuer, GrantKey, KeySeries, ResourceServer};
use crate::claims::Purpose;
use crate::jose::{Algorithm, KeyKind};
use std::sync::Arc;

/// Default size of an RSA key: about 128 bits of security until 2030 and after (NIST SP 800-57 part 1 §5.6.1).
const RSA_BITS: u32 = 3072;

/// `None` if a value could not be parsed, which is noted as a mistake. `keys` are those of each front server.
pub(super) fn config(file: File, keys: Vec<Option<Vec<GrantKey>>>) -> Option<Config> {
    let series: Vec<KeySeries> = file.keys.into_iter().map(key).collect::<Option<_>>()?;
    let access_token = series.iter().find(|k| k.purpose == Purpose::AccessToken).map(|k| k.algorithm);
    let grant_issuers = file
        .grant_issuers
        .into_iter()
        .zip(keys)
        .map(|(entry, keys)| grant_issuer(entry, keys?))
        .collect::<Option<_>>()?;
    let server = |entry| resource_server(entry, access_token);
    Some(Config {
        profile: file.profile?,
        issuer: file.issuer?.value,
        http: file.http?,
        signer: file.signer?,
        signer_state: file.signer_state?,
        hsm: file.hsm?,
        keys: series,
        audit: file.audit?,
        auditors: file.auditors,
        store: file.store?,
        grant_issuers,
        resource_servers: file.resource_servers.into_iter().map(server).collect::<Option<_>>()?,
        clients: file.clients.into_iter().map(client).collect::<Option<_>>()?,
        log: file.log?,
    })
}

fn key(entry: KeyEntry) -> Option<KeySeries> {
    let algorithm = entry.algorithm?.value;
    let rsa_bits = match (algorithm.kind(), entry.rsa_bits) {
        (KeyKind::Rsa, Some(bits)) => bits.value,
        (KeyKind::Rsa, None) => RSA_BITS,
        _ => 0,
    };
    Some(KeySeries { purpose: entry.purpose?.value, algorithm, rsa_bits })
}

fn grant_issuer(entry: GrantIssuerEntry, keys: Vec<GrantKey>) -> Option<Arc<GrantIssuer>> {
    Some(Arc::new(GrantIssuer {
        issuer: entry.issuer?.value,
        keys,
        resources: values(entry.resources)?,
        authorization_details_types: values(entry.types)?,
        max_assertion_lifetime: entry.max_assertion_lifetime?.value,
    }))
}

fn authentication(caller: Caller) -> Option<Authentication> {
    Some(Authentication { method: caller.method?, secrets: caller.secrets?.value })
}

fn resource_server(
    entry: ResourceServerEntry,
    access_token: Option<Algorithm>,
) -> Option<Arc<ResourceServer>> {
    Some(Arc::new(ResourceServer {
        client_id: entry.caller.client_id.clone()?.value,
        authentication: authentication(entry.caller)?,
        resource: entry.resource?.value,
        introspection_alg: entry.introspection_alg?.value,
        require_signed_response: entry.require_signed_response?,
        response_jti: entry.response_jti?,
        response_audience: entry.response_audience?,
        access_token_formats: values(entry.formats)?,
        // Without an access-token key no resource server accepts at+jwt, and this is unused.
        access_token_alg: entry
            .access_token_alg
            .map(|a| a.value)
            .or(access_token)
            .unwrap_or(Algorithm::ES256),
        scopes: values(entry.scopes)?,
        authorization_details_types: values(entry.types)?,
        claims: values(entry.claims)?,
    }))
}

fn client(entry: ClientEntry) -> Option<Arc<Client>> {
    Some(Arc::new(Client {
        client_id: entry.caller.client_id.clone()?.value,
        authentication: authentication(entry.caller)?,
        grant_types: values(entry.grant_types)?,
        resources: values(entry.resources)?,
        scope: entry.scope?.value,
        authorization_details_types: values(entry.types)?,
        access_token_format: entry.format.map(|f| f.value),
        access_token_lifetime: entry.lifetime?.value,
    }))
}

/// The values without their places.
fn values<T, C: FromIterator<T>>(list: Option<Vec<Placed<T>>>) -> Option<C> {
    Some(list?.into_iter().map(|placed| placed.value).collect())
}
