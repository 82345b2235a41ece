//! Rules between entries: references, duplicates, required keys.
//!
//! Each rule skips values that could not be parsed: a mistake in one entry is not reported again for every entry that
//! names it.

use super::file::File;
use super::mistake::Mistake;
use super::parties::{Caller, ClientEntry, GrantIssuerEntry, ResourceServerEntry};
use super::place::{Place, Placed};
use super::values::shown_text;
use crate::claims::{DetailType, Purpose, Resource, ScopePattern, TokenFormat};
use crate::jose::{Algorithm, KeyKind};
use std::collections::BTreeMap;
use std::fmt::Display;

pub(super) fn check(file: &File, mistakes: &mut Vec<Mistake>) {
    keys(file, mistakes);
    names(file, mistakes);
    secrets(file, mistakes);
    for server in &file.resource_servers {
        algorithms(file, server, mistakes);
    }
    for issuer in &file.grant_issuers {
        grant_issuer(file, issuer, mistakes);
    }
    for entry in &file.clients {
        client(file, entry, mistakes);
    }
}

/// One series for each purpose and algorithm; some are required (invariant 4).
fn keys(file: &File, mistakes: &mut Vec<Mistake>) {
    let mut seen = BTreeMap::new();
    for entry in &file.keys {
        if let (Some(bits), Some(algorithm)) = (&entry.rsa_bits, &entry.algorithm)
            && algorithm.value.kind() != KeyKind::Rsa
        {
            let expected = format!("no such key for {}", algorithm.value);
            mistakes.push(Mistake::at(&bits.place, expected, bits.value.to_string()));
        }
        if let (Some(purpose), Some(algorithm)) = (&entry.purpose, &entry.algorithm) {
            let series = (purpose.value, algorithm.value);
            let what = format!("{} {}", purpose.value, algorithm.value);
            once(&mut seen, series, &entry.place, &format!("one series for {what}"), mistakes);
            if purpose.value == Purpose::AuditCheckpoint && algorithm.value != Algorithm::ES256 {
                let expected = "\"ES256\", the algorithm of checkpoint signatures";
                mistakes.push(Mistake::at(&algorithm.place, expected, shown_text(algorithm.value.name())));
            }
        }
    }
    for purpose in [Purpose::Metadata, Purpose::AuditCheckpoint] {
        let entries = || file.keys.iter().filter(|k| k.purpose.as_ref().is_some_and(|p| p.value == purpose));
        let expected = format!("exactly one key with purpose = \"{purpose}\"");
        for extra in entries().skip(1) {
            mistakes.push(Mistake::at(&extra.place, &*expected, "another"));
        }
        if entries().next().is_none() && file.keys.iter().all(|k| k.purpose.is_some()) {
            let place = Place { line: 1, key: "keys".to_owned() };
            mistakes.push(Mistake::at(&place, expected, "none"));
        }
    }
}

/// Names are unique, and no subject can equal a client's name (RFC 9068 §5).
fn names(file: &File, mistakes: &mut Vec<Mistake>) {
    let mut ids = BTreeMap::new();
    for id in callers(file).filter_map(|c| c.client_id.as_ref()) {
        once(&mut ids, id.value.as_str(), &id.place, "a client_id of its own", mistakes);
    }
    let mut resources = BTreeMap::new();
    for resource in file.resource_servers.iter().filter_map(|rs| rs.resource.as_ref()) {
        let text = resource.value.as_str();
        once(&mut resources, text, &resource.place, "a resource of its own", mistakes);
        if file.issuer.as_ref().is_some_and(|i| i.value.as_str() == text) {
            let found = "the issuer: a token for it could be taken for another";
            mistakes.push(Mistake::at(&resource.place, "another URI than the issuer", found));
        }
        if let Some(place) = ids.get(text) {
            let found = format!("the one of {} (line {})", place.key, place.line);
            mistakes.push(Mistake::at(&resource.place, "another text than every client_id", found));
        }
    }
    let mut issuers = BTreeMap::new();
    for issuer in file.grant_issuers.iter().filter_map(|g| g.issuer.as_ref()) {
        once(&mut issuers, issuer.value.as_str(), &issuer.place, "an issuer of its own", mistakes);
        if file.issuer.as_ref().is_some_and(|i| i.value == issuer.value) {
            let found = "our own: its assertions could be taken for our tokens";
            mistakes.push(Mistake::at(&issuer.place, "another issuer", found));
        }
    }
}

/// A secret belongs to one caller.
fn secrets(file: &File, mistakes: &mut Vec<Mistake>) {
    let mut seen = BTreeMap::new();
    for secrets in callers(file).filter_map(|c| c.secrets.as_ref()) {
        for hash in &secrets.value.0 {
            once(&mut seen, *hash, &secrets.place, "the hash of a secret that nobody else has", mistakes);
        }
    }
}

/// Each algorithm of a resource server needs a key.
fn algorithms(file: &File, server: &ResourceServerEntry, mistakes: &mut Vec<Mistake>) {
    let at_jwt = server.formats.as_ref().and_then(|all| all.iter().find(|f| f.value == TokenFormat::AtJwt));
    let needs = [
        (Purpose::Introspection, server.introspection_alg.as_ref()),
        (Purpose::AccessToken, server.access_token_alg.as_ref()),
    ];
    for (purpose, algorithm) in needs {
        if let (Some(known), Some(algorithm)) = (algorithms_of(file, purpose), algorithm)
            && !known.contains(&algorithm.value)
        {
            let expected =
                format!("an algorithm with a key in [[keys]], purpose = \"{purpose}\" ({})", listed(&known));
            mistakes.push(Mistake::at(&algorithm.place, expected, shown_text(algorithm.value.name())));
        }
    }
    if let (Some(known), Some(at_jwt)) = (algorithms_of(file, Purpose::AccessToken), at_jwt)
        && known.is_empty()
        && server.access_token_alg.is_none()
    {
        let expected = "a key in [[keys]] with purpose = \"access-token\" for it";
        mistakes.push(Mistake::at(&at_jwt.place, expected, "none"));
    }
}

/// A front server grants existing resources, and types that these own.
fn grant_issuer(file: &File, issuer: &GrantIssuerEntry, mistakes: &mut Vec<Mistake>) {
    let servers = servers(file, issuer.resources.as_deref(), mistakes);
    if let Some(servers) = servers {
        owned_types(issuer.types.as_deref(), &servers, mistakes);
    }
}

/// A client requests scopes and types that its resources own, without ambiguous scopes (RFC 9068 §3).
fn client(file: &File, client: &ClientEntry, mistakes: &mut Vec<Mistake>) {
    let Some(servers) = servers(file, client.resources.as_deref(), mistakes) else { return };
    owned_types(client.types.as_deref(), &servers, mistakes);
    if let Some(scope) = &client.scope {
        let tokens: Vec<_> = scope
            .value
            .patterns()
            .map(|token| Placed { value: token.clone(), place: scope.place.clone() })
            .collect();
        let owns = |server: &ResourceServerEntry, token: &ScopePattern| {
            Some(server.scopes.as_ref()?.iter().any(|own| own.value.covers(token)))
        };
        owned(&tokens, &servers, owns, ScopePattern::as_str, "a scope", mistakes);
        for token in &tokens {
            let owners: Vec<&str> = servers
                .iter()
                .filter(|s| s.scopes.iter().flatten().any(|own| overlap(&own.value, &token.value)))
                .filter_map(|s| s.resource.as_ref().map(|r| r.value.as_str()))
                .collect();
            if let [_, _, ..] = owners.as_slice() {
                let found = format!("{} of {}", shown_text(token.value.as_str()), owners.join(" and "));
                let expected = "scopes that one of its resources owns (RFC 9068 §3)";
                mistakes.push(Mistake::at(&token.place, expected, found));
            }
        }
    }
    if let Some(format) = &client.format {
        for server in servers {
            if let (Some(formats), Some(resource)) = (&server.formats, &server.resource)
                && formats.iter().all(|f| f.value != format.value)
            {
                let expected =
                    format!("a format that {} takes ({})", resource.value, listed_formats(formats));
                mistakes.push(Mistake::at(&format.place, expected, shown_text(format.value.name())));
            }
        }
    }
}

/// Whether a token can belong to both: one of two patterns that share a token covers the other.
fn overlap(one: &ScopePattern, other: &ScopePattern) -> bool {
    one.covers(other) || other.covers(one)
}

fn callers(file: &File) -> impl Iterator<Item = &Caller> {
    file.resource_servers.iter().map(|rs| &rs.caller).chain(file.clients.iter().map(|c| &c.caller))
}

/// The algorithms of a purpose, unless an entry of `[[keys]]` could not be parsed.
fn algorithms_of(file: &File, purpose: Purpose) -> Option<Vec<Algorithm>> {
    let mut list = Vec::new();
    for key in &file.keys {
        if key.purpose.as_ref()?.value == purpose {
            list.push(key.algorithm.as_ref()?.value);
        }
    }
    Some(list)
}

/// The resource servers with these resources; `None` if one is unknown or could not be parsed.
fn servers<'f>(
    file: &'f File,
    resources: Option<&[Placed<Resource>]>,
    mistakes: &mut Vec<Mistake>,
) -> Option<Vec<&'f ResourceServerEntry>> {
    let whole = file.resource_servers.iter().all(|rs| rs.resource.is_some());
    let mut list = Vec::new();
    let mut right = true;
    for resource in resources? {
        let server = file
            .resource_servers
            .iter()
            .find(|rs| rs.resource.as_ref().is_some_and(|r| r.value == resource.value));
        if let Some(server) = server {
            list.push(server);
        } else {
            right = false;
            if whole {
                let expected = "the resource of an entry in [[resource_servers]]";
                mistakes.push(Mistake::at(&resource.place, expected, shown_text(resource.value.as_str())));
            }
        }
    }
    right.then_some(list)
}

/// Each of `types` belongs to one of `servers`.
fn owned_types(
    types: Option<&[Placed<DetailType>]>,
    servers: &[&ResourceServerEntry],
    mistakes: &mut Vec<Mistake>,
) {
    let owns = |server: &ResourceServerEntry, wanted: &DetailType| {
        Some(server.types.as_ref()?.iter().any(|own| own.value == *wanted))
    };
    owned(types.unwrap_or_default(), servers, owns, |t| t.name(), "a type", mistakes);
}

/// Each of `wanted` belongs to one of `servers`.
fn owned<T>(
    wanted: &[Placed<T>],
    servers: &[&ResourceServerEntry],
    owns: impl Fn(&ResourceServerEntry, &T) -> Option<bool>,
    text: impl Fn(&T) -> &str,
    what: &str,
    mistakes: &mut Vec<Mistake>,
) {
    for one in wanted {
        // Of an entry that could not be read nothing is known.
        if servers.iter().all(|s| owns(s, &one.value) == Some(false)) {
            let expected = format!("{what} that one of its resources owns");
            mistakes.push(Mistake::at(&one.place, expected, shown_text(text(&one.value))));
        }
    }
}

/// Notes a mistake if `value` was seen before.
fn once<K: Ord>(
    seen: &mut BTreeMap<K, Place>,
    value: K,
    place: &Place,
    expected: &str,
    mistakes: &mut Vec<Mistake>,
) {
    if let Some(first) = seen.get(&value) {
        mistakes.push(Mistake::at(place, expected, format!("that of {} (line {})", first.key, first.line)));
    } else {
        seen.insert(value, place.clone());
    }
}

fn listed<T: Display>(list: &[T]) -> String {
    if list.is_empty() {
        return "there is none".to_owned();
    }
    list.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

fn listed_formats(formats: &[Placed<TokenFormat>]) -> String {
    formats.iter().map(|f| f.value.name()).collect::<Vec<_>>().join(", ")
}
