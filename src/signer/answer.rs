//! Processes one ask: rules, signature, record, answer.
//!
//! A failure before the record leaves nothing behind but the answer that reports it.

use super::connection::Connection;
use super::content::{AccessTokenClaims, Introspection, IntrospectionClaims, SigningInput};
use super::keyring::SigningKey;
use super::loaded::TooOften;
use super::record::{self, Prepared, RecordError, Signer};
use super::release::{Reply, Sealed, Ticket};
use super::rules;
use super::service::{Ending, Shared};

use crate::audit::{BeyondReservation, Entries, Entry, Event, Full, Reservation, TooLong};
use crate::claims::{AnswerFormat, NumericDate, Purpose, Reason};
use crate::clock::InDoubt;
use crate::config::ConfigDigest;
use crate::door::message::{Ask, IntrospectionAsk, Outcome, RefusalAsk, Request, RevocationAsk, TokenAsk};
use crate::hsm::{SignError, VerifiedSignature};
use crate::jose::base64url;
use std::sync::Arc;

/// Free bytes of the log below which readiness fails: some answers are refused then.
const LARGE_ANSWER: u64 = 32 * 1024;

/// Answer to an act that releases nothing.
const DONE: Outcome = Outcome::Done { body: String::new() };

/// The records of a round, each with what is said once it is durable.
pub(super) type Records = Entries<Ticket>;

/// State of an ask before the token is called.
#[expect(
    clippy::large_enum_variant,
    reason = "it is moved once; a box would cost an allocation for each signature"
)]
pub(super) enum Step<'s> {
    /// Finished.
    Done,
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
    reservation: Reservation,
}

impl<'s> Unsigned<'s> {
    pub(super) const fn key(&self) -> &'s SigningKey {
        self.key
    }

    pub(super) fn input(&self) -> &[u8] {
        self.input.as_bytes()
    }
}

/// Why an ask failed.
pub(super) enum NotDone {
    /// It breaks a rule: the gateway has a defect or an attacker controls it.
    Broken(Reason),
    /// The log is full; nothing was signed.
    Full(Full),
    /// The token did not sign.
    Token(SignError),
    /// The record could not be made.
    Record(RecordError),
    /// The configuration has no key for it.
    NoKey,
    /// The log accepted nothing.
    Log(BeyondReservation),
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
not_done_from!(Reason => Broken, Full => Full, SignError => Token, RecordError => Record, BeyondReservation => Log, InDoubt => Clock, TooOften => TooOften);

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
    pub(super) fn begin(&self, records: &mut Records) -> Step<'s> {
        let begun = match self.ask {
            Ask::Introspection(ask) => self.introspection(records, ask),
            Ask::Token(ask) => self.token(records, ask),
            Ask::Revocation(ask) => self.revocation(records, ask),
            Ask::Refusal(ask) => self.refusal(records, ask),
            Ask::Configuration(config) => self.configuration(*config),
            Ask::SelfTest => self.self_test(),
        };
        begun.unwrap_or_else(|why| {
            self.tell(records, why);
            Step::Done
        })
    }

    /// Seals a signed answer and makes its record.
    pub(super) fn finish(
        &self,
        records: &mut Records,
        unsigned: Unsigned<'_>,
        signature: Result<VerifiedSignature, SignError>,
    ) {
        let Unsigned { input, prepared, reservation, .. } = unsigned;
        let recorded = signature.map_err(NotDone::from).and_then(|signature| {
            let sealed = Sealed::jws(input, &signature);
            let entry = prepared.of_sealed(&sealed)?;
            self.record(records, reservation, entry, Reply::Release(sealed))
        });
        if let Err(why) = recorded {
            self.tell(records, why);
        }
    }

    /// Finishes a self-test.
    pub(super) fn tested(&self, records: &mut Records, signed: Result<(), SignError>) {
        match signed {
            Ok(()) => self.say(DONE),
            Err(why) => self.tell(records, why.into()),
        }
    }

    fn introspection(&self, records: &mut Records, ask: &IntrospectionAsk) -> Result<Step<'s>, NotDone> {
        let shared = self.shared;
        let issuer = &shared.config.issuer;
        let rs = rules::introspection(&shared.config, ask, self.now()?)?;
        if ask.format == AnswerFormat::Json {
            let body = serde_json::to_string(&Introspection::new(issuer, rs, ask))?;
            let body_length = body.len();
            let sealed = Sealed::body(body)?;
            let signer = Signer { key: None, serial: &shared.serial, issuer };
            let prepared = record::introspection(ask, rs, &signer, None, Some(&sealed))?;
            let reservation = shared.log.reserve(prepared.size(body_length))?;
            let entry = prepared.of_sealed(&sealed)?;
            return self.record(records, reservation, entry, Reply::Release(sealed));
        }
        let key = shared.keys.get(Purpose::Introspection, rs.introspection_alg).ok_or(NotDone::NoKey)?;
        let jti = rs.response_jti.then(|| base64url(crate::random::bytes::<16>()));
        let signer = Signer { key: Some(key), serial: &shared.serial, issuer };
        let prepared = record::introspection(ask, rs, &signer, jti.as_deref(), None)?;
        let claims = IntrospectionClaims::new(issuer, rs, ask, jti.as_deref());
        let input = SigningInput::new(key.header(), &claims)?;
        self.to_sign(key, input, prepared)
    }

    fn token(&self, records: &mut Records, ask: &TokenAsk) -> Result<Step<'s>, NotDone> {
        let shared = self.shared;
        let issuer = &shared.config.issuer;
        let signer = |key| Signer { key, serial: &shared.serial, issuer };
        if ask.opaque.is_some() {
            rules::opaque_token(&shared.config, ask, self.now()?)?;
            return self.record_and_confirm(records, record::token(ask, &signer(None))?);
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
        let reservation = self.shared.log.reserve(prepared.size(input.as_bytes().len() + 684))?;
        Ok(Step::Sign(Unsigned { key, input, prepared, reservation }))
    }

    fn record(
        &self,
        records: &mut Records,
        reservation: Reservation,
        entry: Entry,
        reply: Reply,
    ) -> Result<Step<'s>, NotDone> {
        let ticket = Ticket { connection: Arc::clone(self.connection), number: self.number, reply };
        records.push(reservation, entry, ticket)?;
        Ok(Step::Done)
    }

    fn revocation(&self, records: &mut Records, ask: &RevocationAsk) -> Result<Step<'s>, NotDone> {
        rules::client(&self.shared.config, &ask.context)?;
        self.record_and_confirm(records, record::revocation(ask)?)
    }

    fn refusal(&self, records: &mut Records, ask: &RefusalAsk) -> Result<Step<'s>, NotDone> {
        rules::known_caller(&self.shared.config, &ask.context.caller)?;
        self.record_and_confirm(records, record::refusal(ask)?)
    }

    fn configuration(&self, gateway: ConfigDigest) -> Result<Step<'s>, NotDone> {
        let shared = self.shared;
        let changed = shared.loaded.record(gateway, shared.config.digest(), |entry| {
            let mut records = Records::default();
            let reservation = shared.log.reserve(entry.size())?;
            let step = self.record(&mut records, reservation, entry, Reply::Say(DONE))?;
            // Queued before the next change is compared.
            shared.log.hand_over(records);
            Ok::<_, NotDone>(step)
        })?;
        Ok(changed.unwrap_or_else(|| {
            self.say(DONE);
            Step::Done
        }))
    }

    fn record_and_confirm(&self, records: &mut Records, prepared: Prepared) -> Result<Step<'s>, NotDone> {
        let reservation = self.shared.log.reserve(prepared.size(0))?;
        self.record(records, reservation, prepared.with_nothing()?, Reply::Say(DONE))
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
    fn tell(&self, records: &mut Records, why: NotDone) {
        let unavailable = |reason: String| Outcome::Unavailable { reason };
        match why {
            NotDone::Broken(reason) => {
                tracing::error!(rule = reason.name(), "the gateway asked for what the rules forbid");
                let event = (Event::Denied, reason.name());
                self.record_and_say(records, event, Outcome::Forbidden { reason });
            }
            NotDone::NoKey => {
                let reason = "no key for this purpose and algorithm";
                self.record_and_say(records, (Event::Failed, reason), unavailable(reason.to_owned()));
            }
            NotDone::Full(full) => self.say(unavailable(full.to_string())),
            NotDone::TooOften(error) => self.say(unavailable(error.to_string())),
            // The signer's clock watch logs and records it once.
            NotDone::Clock(doubt) => self.say(unavailable(doubt.to_string())),
            NotDone::Record(error) => {
                tracing::error!(%error, "an answer is too large to be recorded, so it was not made");
                let reason = Reason::RecordTooLarge;
                let event = (Event::Denied, reason.name());
                self.record_and_say(records, event, Outcome::Forbidden { reason });
            }
            NotDone::Log(error) => {
                tracing::error!(%error, "the audit log took no record");
                self.say(unavailable(error.to_string()));
            }
            NotDone::Token(error) => {
                let reason = error.to_string();
                self.record_and_say(records, (Event::Failed, &reason), unavailable(reason.clone()));
                if let Some(ending) = Ending::after(&error) {
                    // In the queue before the log is closed.
                    self.shared.log.hand_over(std::mem::take(records));
                    self.shared.end(ending);
                }
            }
        }
    }

    fn record_and_say(&self, records: &mut Records, (event, reason): (Event, &str), outcome: Outcome) {
        let outcome_of_record = match event {
            Event::Denied => crate::audit::Outcome::Refused,
            _ => crate::audit::Outcome::Failure,
        };
        let prepared =
            self.ask.context().map(|context| record::not_done(event, outcome_of_record, context, reason));
        if let Some(Ok(prepared)) = prepared
            && let Ok(reservation) = self.shared.log.reserve(prepared.size(0))
            && let Ok(entry) = prepared.with_nothing()
        {
            if let Err(error) = self.record(records, reservation, entry, Reply::Say(outcome)) {
                self.tell(records, error);
            }
        } else {
            self.say(outcome);
        }
    }
}
