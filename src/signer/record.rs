//! The audit record of each act: its fields, shown or committed.
//!
//! Everything but the signature is decided before the token is called: [`Prepared`] knows the size of its entry, so
//! that a full log refuses a request before anything is signed.

use super::content::{Typ, answer_audience};
use super::disclosed::Disclosed;
use super::keyring::{RememberedKey, SigningKey};
use super::release::Sealed;
use crate::audit::{
    CheckpointRef, Committed, Covered, Digest, Draft, Entry, Event, Members, Outcome, Payload, TooLong,
    Withheld,
};
use crate::claims::{Acr, Claim, Grant, Issuer, Reason, Resource};
use crate::clock::ClockChange;
use crate::config::{ConfigDigest, ResourceServer};
use crate::door::message::{Context, IntrospectionAsk, RefusalAsk, RevocationAsk, TokenAsk};
use crate::hsm::{Key, TokenInfo};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;

/// Why an act cannot be recorded, and so cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Larger than a record may be.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// Not serializable: a defect.
    #[error("a record cannot be written: {0}")]
    Json(#[from] serde_json::Error),
}

/// A record that needs only its released bytes.
pub(super) struct Prepared {
    members: Members,
    disclosed: Disclosed,
}

impl Prepared {
    fn new(draft: &Draft<'_>, disclosed: Disclosed) -> Result<Self, RecordError> {
        Ok(Self { members: draft.encode()?, disclosed })
    }

    /// Bytes to reserve in the log for `released` released bytes.
    pub(super) fn size(&self, released: usize) -> u64 {
        Entry::size_of(self.members.as_bytes().len(), self.disclosed.bound() + 2 * released + 64)
    }

    /// The entry of what is released with its receipt.
    pub(super) fn of_sealed(self, sealed: &Sealed) -> Result<Entry, RecordError> {
        let payload = sealed.payload(self.disclosed.opened())?;
        Ok(match sealed.covered() {
            Covered::Jws(digest) => Entry::of_jws(self.members, digest, payload),
            Covered::Body(_) => Entry::new(self.members, payload),
        })
    }

    /// The entry of an act that releases nothing but its success.
    pub(super) fn with_nothing(self) -> Result<Entry, RecordError> {
        let payload = if self.disclosed.is_empty() {
            Payload::none()
        } else {
            Payload::clear(serde_json::to_vec(&self.disclosed.opened())?)
        };
        Ok(Entry::new(self.members, payload))
    }
}

/// The common fields of the records of one caller's act.
fn of_context(event: Event, context: &Context) -> Draft<'_> {
    Draft {
        request_id: Some(context.request_id.as_str()),
        client_id: Some(context.caller.as_str()),
        auth_method: Some(context.method.name()),
        ..Draft::new(event, Outcome::Success)
    }
}

fn from(context: &Context, disclosed: &mut Disclosed) -> Result<Option<crate::audit::Commitment>, TooLong> {
    match context.peer {
        Some(ip) => disclosed.commit("from", ip.to_string()),
        None => Ok(None),
    }
}

fn json(value: &impl serde::Serialize) -> Result<String, serde_json::Error> {
    serde_json::to_string(value)
}

/// The signing key's fields of a record.
pub(super) struct Signer<'a> {
    /// The key; `None` for unsigned answers.
    pub key: Option<&'a SigningKey>,
    /// Serial number of the token.
    pub serial: &'a str,
    /// `iss`.
    pub issuer: &'a Issuer,
}

impl<'a> Signer<'a> {
    fn fill(&self, draft: &mut Draft<'a>, typ: Typ) {
        draft.iss = Some(self.issuer.as_str());
        if let Some(key) = self.key {
            draft.purpose = Some(key.purpose().name());
            draft.kid = Some(key.key().public().kid());
            draft.key_label = Some(key.key().label());
            draft.alg = Some(key.key().public().algorithm().name());
            draft.token_serial = Some(self.serial);
            draft.typ = Some(typ.name());
        }
    }
}

/// An introspection answer, signed or not.
pub(super) fn introspection(
    ask: &IntrospectionAsk,
    rs: &ResourceServer,
    signer: &Signer<'_>,
    jti: Option<&str>,
    unsigned: Option<&Sealed>,
) -> Result<Prepared, RecordError> {
    let mut disclosed = Disclosed::default();
    let mut committed = Committed { from: from(&ask.context, &mut disclosed)?, ..Committed::default() };
    if let Some(Covered::Body(body)) = unsigned.map(Sealed::covered) {
        committed.body = Some(body);
    }
    if !ask.known {
        // An unknown text from a caller, or a token of another system: it may be short, or contain a name.
        committed.token = disclosed.commit("token", hex::encode(ask.token.0))?;
    }
    let withheld =
        |reason: &Reason| Withheld { what: reason.claim().map_or("", Claim::name), rule: reason.name() };
    let withheld: Vec<Withheld<'_>> = ask.reasons.iter().map(withheld).collect();
    let audience = [answer_audience(rs)];
    let event = if signer.key.is_some() { Event::Signed } else { Event::Answered };
    let mut draft = Draft {
        withheld: &withheld,
        aud: &audience,
        jti,
        iat: Some(ask.iat.0),
        token_sha256: ask.known.then_some(Digest(ask.token.0)),
        active: Some(ask.active.is_some()),
        ..of_context(event, &ask.context)
    };
    let granted;
    if let Some(token) = ask.active.as_deref() {
        if rs.claims.contains("sub") {
            committed.sub = disclosed.commit("sub", token.grant.subject.as_str().to_owned())?;
        }
        commit(&token.grant, true, &mut committed, &mut disclosed)?;
        granted = Granted::new(&token.grant);
        granted.fill(&mut draft);
        draft.exp = Some(token.exp.0);
    }
    draft.committed = committed;
    signer.fill(&mut draft, Typ::Introspection);
    Prepared::new(&draft, disclosed)
}

/// The fields of a grant in clear.
struct Granted<'a> {
    scope: Option<String>,
    acr: Option<&'a str>,
    amr: Vec<&'a str>,
}

impl<'a> Granted<'a> {
    fn new(grant: &'a Grant) -> Self {
        Self {
            scope: (!grant.scope.is_empty()).then(|| grant.scope.to_string()),
            acr: grant.authentication.acr.as_ref().map(Acr::as_str),
            amr: grant.authentication.amr.iter().map(Acr::as_str).collect(),
        }
    }

    fn fill(&'a self, draft: &mut Draft<'a>) {
        draft.scope = self.scope.as_deref();
        draft.acr = self.acr;
        draft.amr = &self.amr;
    }
}

/// Commits to the other fields of a grant; to further claims only where they are shown.
fn commit(
    grant: &Grant,
    claims: bool,
    committed: &mut Committed,
    disclosed: &mut Disclosed,
) -> Result<(), RecordError> {
    if !grant.authorization_details.is_empty() {
        let details = json(&grant.authorization_details)?;
        committed.authorization_details = disclosed.commit("authorization_details", details)?;
    }
    if let Some(time) = grant.authentication.auth_time {
        committed.auth_time = disclosed.commit("auth_time", time.0.to_string())?;
    }
    if claims && !grant.extra.is_empty() {
        committed.claims = disclosed.commit("claims", json(&grant.extra)?)?;
    }
    Ok(())
}

/// A token, signed or opaque.
pub(super) fn token(ask: &TokenAsk, signer: &Signer<'_>) -> Result<Prepared, RecordError> {
    let mut disclosed = Disclosed::default();
    let mut committed = Committed {
        from: from(&ask.context, &mut disclosed)?,
        sub: disclosed.commit("sub", ask.grant.subject.as_str().to_owned())?,
        ..Committed::default()
    };
    commit(&ask.grant, ask.opaque.is_none(), &mut committed, &mut disclosed)?;
    let audience: Vec<&str> = ask.grant.audience.iter().map(Resource::as_str).collect();
    let granted = Granted::new(&ask.grant);
    let event = if ask.opaque.is_some() { Event::Issued } else { Event::Signed };
    let mut draft = Draft {
        typ: ask.opaque.map(|_| "opaque"),
        aud: &audience,
        jti: Some(ask.jti.as_str()),
        iat: Some(ask.iat.0),
        exp: Some(ask.exp.0),
        token_sha256: ask.opaque.map(|hash| Digest(hash.0)),
        committed,
        ..of_context(event, &ask.context)
    };
    granted.fill(&mut draft);
    signer.fill(&mut draft, Typ::AccessToken);
    Prepared::new(&draft, disclosed)
}

pub(super) fn revocation(ask: &RevocationAsk) -> Result<Prepared, RecordError> {
    let mut disclosed = Disclosed::default();
    let committed = Committed { from: from(&ask.context, &mut disclosed)?, ..Committed::default() };
    let draft = Draft {
        typ: Some(ask.format.name()),
        jti: Some(ask.jti.as_str()),
        token_sha256: Some(Digest(ask.token.0)),
        committed,
        ..of_context(Event::Revoked, &ask.context)
    };
    Prepared::new(&draft, disclosed)
}

/// A refusal that the gateway reports.
pub(super) fn refusal(ask: &RefusalAsk) -> Result<Prepared, RecordError> {
    let mut disclosed = Disclosed::default();
    let mut committed = Committed { from: from(&ask.context, &mut disclosed)?, ..Committed::default() };
    if let Some(jti) = &ask.jti {
        // The front server chose it: it may be a counter, or contain a name.
        committed.jti = disclosed.commit("jti", jti.as_str().to_owned())?;
    }
    let event = if ask.reason == Reason::AssertionReplayed { Event::ReplayRejected } else { Event::Denied };
    let draft = Draft {
        outcome: Outcome::Refused,
        reason: Some(ask.reason.name()),
        committed,
        ..of_context(event, &ask.context)
    };
    Prepared::new(&draft, disclosed)
}

/// The signer itself refused or failed.
pub(super) fn not_done(
    event: Event,
    outcome: Outcome,
    context: &Context,
    reason: &str,
) -> Result<Prepared, RecordError> {
    let mut disclosed = Disclosed::default();
    let committed = Committed { from: from(context, &mut disclosed)?, ..Committed::default() };
    let draft = Draft { outcome, reason: Some(reason), committed, ..of_context(event, context) };
    Prepared::new(&draft, disclosed)
}

/// `signed_metadata` (RFC 8414 §2.1).
pub(super) fn metadata(signer: &Signer<'_>, iat: i64) -> Result<Prepared, RecordError> {
    let mut draft = Draft { iat: Some(iat), ..Draft::new(Event::Signed, Outcome::Success) };
    signer.fill(&mut draft, Typ::Metadata);
    Prepared::new(&draft, Disclosed::default())
}

/// A key with its attributes and public key, which makes its `kid` known to verifiers of the log.
pub(super) fn key(
    event: Event,
    purpose: &str,
    key: &Key,
    token: &TokenInfo,
    operator: Option<&str>,
) -> Result<Entry, RecordError> {
    let attributes = RawValue::from_string(json(key.attributes())?)?;
    let spki = STANDARD.encode(key.public().spki());
    let draft = Draft {
        operator,
        purpose: Some(purpose),
        kid: Some(key.public().kid()),
        key_id: key.attributes().id.as_deref(),
        key_label: Some(key.label()),
        alg: Some(key.public().algorithm().name()),
        token_serial: Some(&token.serial),
        spki: Some(&spki),
        attributes: Some(&attributes),
        ..Draft::new(event, Outcome::Success)
    };
    Ok(Entry::plain(&draft)?)
}

/// A generation that is not held, with its public key from an earlier record.
pub(super) fn remembered(key: &RememberedKey, token: &TokenInfo) -> Result<Entry, RecordError> {
    let RememberedKey { known, why } = key;
    let (label, spki) = (known.label.to_string(), STANDARD.encode(known.public.spki()));
    let draft = Draft {
        reason: Some(why),
        purpose: Some(known.purpose.name()),
        kid: Some(known.public.kid()),
        key_label: Some(&label),
        alg: Some(known.public.algorithm().name()),
        token_serial: Some(&token.serial),
        spki: Some(&spki),
        ..Draft::new(Event::KeyRemembered, Outcome::Success)
    };
    Ok(Entry::plain(&draft)?)
}

/// The token signs again.
pub(super) fn recovered(what: &str) -> Result<Entry, RecordError> {
    Ok(Entry::plain(&Draft { reason: Some(what), ..Draft::new(Event::TokenRecovered, Outcome::Success) })?)
}

/// Program and configuration of this process.
pub struct Identity {
    /// Digest of the configuration.
    pub config: ConfigDigest,
    /// SHA-256 of the executable.
    pub program: [u8; 32],
}

/// A gateway's configuration that differs from `before`, the last recorded one, if any.
pub(super) fn configuration(
    gateway: ConfigDigest,
    before: Option<ConfigDigest>,
    signer: ConfigDigest,
) -> Result<Entry, RecordError> {
    let draft = Draft {
        config_sha256: Some(Digest(gateway.0)),
        config_before_sha256: before.map(|before| Digest(before.0)),
        signer_config_sha256: Some(Digest(signer.0)),
        ..Draft::new(Event::ConfigurationLoaded, Outcome::Success)
    };
    Ok(Entry::plain(&draft)?)
}

/// A change of the clock; the record's head has the times.
pub(super) fn clock(change: &ClockChange) -> Result<Entry, RecordError> {
    let (event, outcome) = match change {
        ClockChange::Lost(_) => (Event::ClockLost, Outcome::Failure),
        ClockChange::Restored { .. } => (Event::ClockRestored, Outcome::Success),
        ClockChange::Stepped(_) => (Event::ClockStepped, Outcome::Success),
    };
    let reason = change.to_string();
    Ok(Entry::plain(&Draft { reason: Some(&reason), ..Draft::new(event, outcome) })?)
}

/// An operator confirmed the clock's new time. The record's head has the time before (`clock_expected`) and after
/// (`clock_raw`).
pub(super) fn clock_accepted(reason: &str, operator: &str) -> Result<Entry, RecordError> {
    let draft = Draft {
        reason: Some(reason),
        operator: Some(operator),
        ..Draft::new(Event::ClockAccepted, Outcome::Success)
    };
    Ok(Entry::plain(&draft)?)
}

/// An operator copied records, or the log with the state, to this directory.
pub(super) fn copied(
    event: Event,
    directory: &str,
    operator: &str,
    identity: &Identity,
) -> Result<Entry, RecordError> {
    system(event, Outcome::Success, Some(directory), Some(operator), identity, None)
}

/// Events of the system: created, opened, started, stopped, copied, lost.
pub(super) fn system(
    event: Event,
    outcome: Outcome,
    reason: Option<&str>,
    operator: Option<&str>,
    identity: &Identity,
    checkpoint: Option<CheckpointRef>,
) -> Result<Entry, RecordError> {
    let draft = Draft {
        reason,
        operator,
        config_sha256: Some(Digest(identity.config.0)),
        program_sha256: Some(Digest(identity.program)),
        checkpoint,
        ..Draft::new(event, outcome)
    };
    Ok(Entry::plain(&draft)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::{AnswerFormat, TokenHash};
    use crate::config::AuthMethod;
    use crate::protocol::testing::{NOW, bank, facts};
    use crate::protocol::{View, view};
    use serde_json::{Value, json};

    #[test]
    fn a_record_holds_exactly_what_its_answer_shows() {
        let config = bank();
        let of_signing = json!([
            {"what": "", "rule": "scope-withheld"}, {"what": "", "rule": "detail-type-withheld"},
            {"what": "acr", "rule": "claim-withheld"}, {"what": "auth_time", "rule": "claim-withheld"},
            {"what": "client_id", "rule": "claim-withheld"}, {"what": "sub", "rule": "claim-withheld"},
            {"what": "extra", "rule": "claim-withheld"},
        ]);
        let of_payments = json!([
            {"what": "", "rule": "scope-withheld"}, {"what": "", "rule": "detail-type-withheld"},
            {"what": "amr", "rule": "claim-withheld"}, {"what": "extra", "rule": "claim-withheld"},
        ]);
        for (name, shown, withheld) in [
            ("payments-api", &["auth_time", "authorization_details", "claims", "sub"][..], of_payments),
            ("signing-api", &["authorization_details", "claims"], of_signing),
        ] {
            let rs = config.resource_server(&name.parse().unwrap()).unwrap();
            let View { active, reasons } = view(rs, &config, Some(&facts()), NOW);
            let ask = IntrospectionAsk {
                context: Context {
                    request_id: "r-1".parse().unwrap(),
                    caller: rs.client_id.clone(),
                    method: AuthMethod::ClientSecretBasic,
                    peer: None,
                },
                format: AnswerFormat::Jwt,
                token: TokenHash([0; 32]),
                known: true,
                iat: NOW,
                active: active.map(Box::new),
                reasons,
            };
            let signer = Signer { key: None, serial: "", issuer: &config.issuer };
            let prepared = introspection(&ask, rs, &signer, None, None).unwrap();
            let opened = prepared.disclosed.opened();
            assert_eq!(opened.disclosed.keys().collect::<Vec<_>>(), shown, "{name}");
            let members: Value = serde_json::from_slice(prepared.members.as_bytes()).unwrap();
            assert_eq!(members["withheld"], withheld, "{name}");
            assert_eq!(members["committed"].as_object().unwrap().keys().collect::<Vec<_>>(), shown, "{name}");
        }
    }
}
