//! Processes one ask: rules, signature, record, answer.
//!
//! A failure before the record leaves nothing behind but the answer that reports it.

use super::connection::Connection;
use super::content::{AccessTokenClaims, Introspection, IntrospectionClaims, SigningInput};
use super::keyring::SigningKey;
use super::loaded::TooOften;
use super::record::{self, Prepared, RecordError, Signer};
use super::release::{Reply, Sealed, Ticket};
use super::rules::{self, Broken};
use super::service::{Ending, Shared};

use crate::audit::{AppendError, Entry, Event, Full, Queued, Room, TooLong};
use crate::claims::{AnswerFormat, NumericDate, Purpose};
use crate::clock::InDoubt;
use crate::config::ConfigDigest;
use crate::door::message::{Ask, IntrospectionAsk, Outcome, RefusalAsk, Request, RevocationAsk, TokenAsk};
use crate::hsm::{SignError, VerifiedSignature};
use crate::jose::base64url;
use std::sync::Arc;

/// Free bytes of the log below which readiness fails: some answers are refused then.
const LARGE_ANSWER: u64 = 32 * 1024;

/// The entry appended to the log, if any.
pub(super) type Appended<'s> = Option<Queued<'s, Ticket>>;

/// State of an ask before the token is called.
#[expect(
    clippy::large_enum_variant,
    reason = "it is moved once; a box would cost an allocation for each signature"
)]
pub(super) enum Step<'s> {
    /// Finished.
    Done(Appended<'s>),
    /// Needs a signature.
    Sign(Unsigned<'s>),
    /// Needs a signature by every key.
    SelfTest,
}

/// An answer that needs its signature; its space in the log is reserved.
pub(super) struct Unsigned<'s> {
    key: &'s SigningKey,
    input: SigningInput,
    prepared: Prepared,
    room: Room,
}

/// A signed answer that needs its record.
pub(super) struct Signed {
    room: Room,
    entry: Entry,
    sealed: Sealed,
}

impl<'s> Unsigned<'s> {
    pub(super) const fn key(&self) -> &'s SigningKey {
        self.key
    }

    pub(super) fn input(&self) -> &[u8] {
        self.input.as_bytes()
    }

    /// Adds the verified signature.
    pub(super) fn seal(self, signature: Result<VerifiedSignature, SignError>) -> Result<Signed, NotDone> {
        let sealed = Sealed::jws(self.input, &signature?);
        let entry = self.prepared.with_jws(&sealed)?;
        Ok(Signed { room: self.room, entry, sealed })
    }
}

/// Why an ask failed.
pub(super) enum NotDone {
    /// It breaks a rule: the gateway has a defect or an attacker controls it.
    Broken(Broken),
    /// The log is full; nothing was signed.
    Full(Full),
    /// The token did not sign.
    Token(SignError),
    /// The record could not be made.
    Record(RecordError),
    /// The configuration has no key for it.
    NoKey,
    /// The log accepted nothing.
    Log(AppendError),
    /// The system's clock is in doubt: nothing with an expiry is signed.
    Clock(InDoubt),
    /// The gateway's configuration changes too often for the log.
    TooOften(TooOften),
}

macro_rules! not_done_from {
    ($($source:ty => $variant:ident),*) => {
        $(impl From<$source> for NotDone {
            fn from(source: $source) -> Self {
                Self::$variant(source)
            }
        })*
    };
}
not_done_from!(Broken => Broken, Full => Full, SignError => Token, RecordError => Record, AppendError => Log, InDoubt => Clock, TooOften => TooOften);

impl From<TooLong> for NotDone {
    fn from(error: TooLong) -> Self {
        Self::Record(error.into())
    }
}

impl From<serde_json::Error> for NotDone {
    fn from(error: serde_json::Error) -> Self {
        Self::Record(error.into())
    }
}

/// One ask in progress.
pub(super) struct Act<'s, 'r> {
    shared: &'s Shared,
    connection: &'r Arc<Connection>,
    number: u64,
    ask: &'r Ask,
}

impl<'s, 'r> Act<'s, 'r> {
    /// For a request on this connection.
    pub(super) const fn new(
        shared: &'s Shared,
        connection: &'r Arc<Connection>,
        request: &'r Request,
    ) -> Self {
        Self { shared, connection, number: request.number, ask: &request.ask }
    }

    /// Processes the ask up to the token.
    pub(super) fn begin(&self) -> Step<'s> {
        let begun = match self.ask {
            Ask::Introspection(ask) => self.introspection(ask),
            Ask::Token(ask) => self.token(ask),
            Ask::Revocation(ask) => self.revocation(ask).map(Step::Done),
            Ask::Refusal(ask) => self.refusal(ask).map(Step::Done),
            Ask::Configuration(config) => self.configuration(*config).map(Step::Done),
            Ask::SelfTest => self.self_test(),
        };
        begun.unwrap_or_else(|why| Step::Done(self.tell(why)))
    }

    /// Finishes a signed ask.
    pub(super) fn finish(&self, signed: Result<Signed, NotDone>) -> Appended<'s> {
        let appended = signed
            .and_then(|Signed { room, entry, sealed }| self.append(room, entry, Reply::Release(sealed)));
        appended.unwrap_or_else(|why| self.tell(why))
    }

    /// Finishes a self-test.
    pub(super) fn tested(&self, signed: Result<(), SignError>) -> Appended<'s> {
        match signed {
            Ok(()) => {
                self.say(Outcome::Done { body: String::new() });
                None
            }
            Err(why) => self.tell(why.into()),
        }
    }

    fn introspection(&self, ask: &IntrospectionAsk) -> Result<Step<'s>, NotDone> {
        let shared = self.shared;
        let issuer = &shared.config.issuer;
        let rs = rules::introspection(&shared.config, ask, self.now()?)?;
        if ask.rules.len() > 64 || !ask.rules.iter().all(|r| rules::is_rule_name(r)) {
            return Err(NotDone::Broken("rule-names-not-valid"));
        }
        if ask.format == AnswerFormat::Json {
            let sealed = Sealed::body(serde_json::to_string(&Introspection::new(issuer, rs, ask))?)?;
            let signer = Signer { key: None, serial: &shared.serial, issuer };
            let prepared = record::introspection(ask, rs, &signer, None, Some(&sealed))?;
            let room = shared.log.reserve(prepared.room(sealed.for_payload().len()))?;
            let entry = prepared.with_body(&sealed)?;
            return self.append(room, entry, Reply::Release(sealed)).map(Step::Done);
        }
        let key = shared.keys.get(Purpose::Introspection, rs.introspection_alg).ok_or(NotDone::NoKey)?;
        let jti = rs.response_jti.then(|| base64url(crate::random::bytes::<16>()));
        let signer = Signer { key: Some(key), serial: &shared.serial, issuer };
        let prepared = record::introspection(ask, rs, &signer, jti.as_deref(), None)?;
        let claims = IntrospectionClaims::new(issuer, rs, ask, jti.as_deref());
        let input = SigningInput::new(key.header(), &claims)?;
        self.to_sign(key, input, prepared)
    }

    fn token(&self, ask: &TokenAsk) -> Result<Step<'s>, NotDone> {
        let shared = self.shared;
        let issuer = &shared.config.issuer;
        let signer = |key| Signer { key, serial: &shared.serial, issuer };
        if ask.opaque.is_some() {
            rules::opaque_token(&shared.config, ask, self.now()?)?;
            return self.append_and_say(record::token(ask, &signer(None))?).map(Step::Done);
        }
        let rs = rules::access_token(&shared.config, ask, self.now()?)?;
        let key = shared.keys.get(Purpose::AccessToken, rs.access_token_alg).ok_or(NotDone::NoKey)?;
        let prepared = record::token(ask, &signer(Some(key)))?;
        let input = SigningInput::new(key.header(), &AccessTokenClaims::new(issuer, rs, ask))?;
        self.to_sign(key, input, prepared)
    }

    fn to_sign(
        &self,
        key: &'s SigningKey,
        input: SigningInput,
        prepared: Prepared,
    ) -> Result<Step<'s>, NotDone> {
        // The longest signature (RSA-4096) in base64url, and the dot.
        let room = self.shared.log.reserve(prepared.room(input.as_bytes().len() + 684))?;
        Ok(Step::Sign(Unsigned { key, input, prepared, room }))
    }

    fn append(&self, room: Room, entry: Entry, reply: Reply) -> Result<Appended<'s>, NotDone> {
        let ticket = Ticket { connection: Arc::clone(self.connection), number: self.number, reply };
        Ok(Some(self.shared.log.append(room, entry, ticket)?))
    }

    fn revocation(&self, ask: &RevocationAsk) -> Result<Appended<'s>, NotDone> {
        rules::client(&self.shared.config, &ask.context)?;
        self.append_and_say(record::revocation(ask)?)
    }

    fn refusal(&self, ask: &RefusalAsk) -> Result<Appended<'s>, NotDone> {
        rules::known_caller(&self.shared.config, &ask.context.caller)?;
        if !rules::is_rule_name(&ask.rule) {
            return Err(NotDone::Broken("rule-names-not-valid"));
        }
        self.append_and_say(record::refusal(ask)?)
    }

    fn configuration(&self, gateway: ConfigDigest) -> Result<Appended<'s>, NotDone> {
        let shared = self.shared;
        let appended = shared.loaded.record(gateway, shared.config.digest(), |entry| {
            let room = shared.log.reserve(entry.size())?;
            self.append(room, entry, Reply::Say(Outcome::Done { body: String::new() }))
        })?;
        Ok(appended.unwrap_or_else(|| {
            self.say(Outcome::Done { body: String::new() });
            None
        }))
    }

    fn append_and_say(&self, prepared: Prepared) -> Result<Appended<'s>, NotDone> {
        let room = self.shared.log.reserve(prepared.room(0))?;
        self.append(room, prepared.with_nothing()?, Reply::Say(Outcome::Done { body: String::new() }))
    }

    fn self_test(&self) -> Result<Step<'s>, NotDone> {
        // A full log and a clock in doubt make the service unready, as does a token that signs nothing.
        drop(self.shared.log.reserve(LARGE_ANSWER)?);
        self.now()?;
        Ok(Step::SelfTest)
    }

    fn now(&self) -> Result<NumericDate, InDoubt> {
        self.shared.log.clock().now().map(NumericDate::from)
    }

    fn say(&self, outcome: Outcome) {
        self.connection.answer(self.number, outcome);
    }

    /// Answers a failed ask, records it if it matters, and ends the process if only that helps.
    fn tell(&self, why: NotDone) -> Appended<'s> {
        let unavailable = |reason: String| Outcome::Unavailable { reason };
        match why {
            NotDone::Broken(rule) => {
                tracing::error!(rule, "the gateway asked for what the rules forbid");
                let forbidden = Outcome::Forbidden { rule: rule.to_owned() };
                self.record_and_say((Event::Denied, rule), forbidden)
            }
            NotDone::NoKey => {
                let reason = "no key for this purpose and algorithm";
                self.record_and_say((Event::Failed, reason), unavailable(reason.to_owned()))
            }
            NotDone::Full(full) => {
                self.say(unavailable(full.to_string()));
                None
            }
            NotDone::TooOften(error) => {
                self.say(unavailable(error.to_string()));
                None
            }
            // The signer's clock watch logs and records it once.
            NotDone::Clock(doubt) => {
                self.say(unavailable(doubt.to_string()));
                None
            }
            NotDone::Record(error) => {
                tracing::error!(%error, "an answer is too large to be recorded, so it was not made");
                let rule = "record-too-large";
                let forbidden = Outcome::Forbidden { rule: rule.to_owned() };
                self.record_and_say((Event::Denied, rule), forbidden)
            }
            NotDone::Log(error) => {
                // A poisoned log ends the process through its own handler.
                tracing::error!(%error, "the audit log took no record");
                self.say(unavailable(error.to_string()));
                None
            }
            NotDone::Token(error) => {
                let reason = error.to_string();
                let event = (Event::Failed, reason.as_str());
                let appended = self.record_and_say(event, unavailable(reason.clone()));
                if let Some(ending) = Ending::after(&error) {
                    self.shared.end(ending);
                }
                appended
            }
        }
    }

    fn record_and_say(&self, (event, reason): (Event, &str), outcome: Outcome) -> Appended<'s> {
        let outcome_of_record = match event {
            Event::Denied => crate::audit::Outcome::Refused,
            _ => crate::audit::Outcome::Failure,
        };
        let prepared =
            self.ask.context().map(|context| record::not_done(event, outcome_of_record, context, reason));
        if let Some(Ok(prepared)) = prepared
            && let Ok(room) = self.shared.log.reserve(prepared.room(0))
            && let Ok(entry) = prepared.with_nothing()
        {
            let appended = self.append(room, entry, Reply::Say(outcome));
            return appended.unwrap_or_else(|_| {
                self.say(Outcome::Unavailable { reason: "the audit log failed".to_owned() });
                None
            });
        }
        self.say(outcome);
        None
    }
}
