//! One signing thread: takes asks from the sockets, decides, signs, and hands the sealed answer to the log.
//!
//! Order of effects of every ask: rules → room in the log → signature, verified → record → (whoever writes it, after
//! the sync) release. Whatever fails before the record leaves nothing behind but an answer that says so.
//!
//! While asks wait, the log thread writes the records. A thread that finds none to sign writes them by itself.

use super::calls::Caller;
use super::connection::Connection;
use super::content::{AccessTokenClaims, Introspection, IntrospectionClaims, SigningInput};
use super::frame;
use super::inbox::{Found, Job, Patience};
use super::keyring::SigningKey;
use super::message::{
    AccessTokenAsk, Ask, Context, IntrospectionAsk, OpaqueTokenAsk, Outcome, RefusalAsk, Request, Response,
    RevocationAsk,
};
use super::record::{self, Prepared, RecordError, Signer};
use super::rules::{self, Broken};
use super::sealed::Sealed;
use super::service::{Ending, Shared};
use crate::audit::{AppendError, Entry, Event, Full, Queued, Receipt, Room};
use crate::claims::{AnswerFormat, NumericDate, Purpose};
use crate::clock;
use crate::hsm::{SignError, SigningSession};
use crate::jose::base64url;
use std::sync::Arc;

/// Signed and verified in health probes: no JWS (it has no dots and begins with a NUL) and no note.
const SELF_TEST: &[u8] = b"\0chancery self-test: no token, no answer, no checkpoint";

/// Bytes that the log must have room for to be called ready: with less left some answers are refused already.
const LARGE_ANSWER: u64 = 32 * 1024;

/// What happens once the record is durable.
pub struct Ticket {
    connection: Arc<Connection>,
    number: u64,
    reply: Reply,
}

enum Reply {
    /// Bytes that nobody may have before.
    Release(Sealed),
    /// A word that releases nothing.
    Say(Outcome),
}

/// Called with every durable batch, on the thread that wrote it: releases, and sends all answers of a connection at
/// once.
pub(super) fn release_all(batch: &mut Vec<(Ticket, Receipt)>) {
    let mut frames = Vec::with_capacity(batch.len() * 1024);
    let mut current: Option<Arc<Connection>> = None;
    for (ticket, receipt) in batch.drain(..) {
        if let Some(connection) = current.take_if(|c| !Arc::ptr_eq(c, &ticket.connection)) {
            connection.send(&frames);
            frames.clear();
        }
        let outcome = match ticket.reply {
            Reply::Say(outcome) => outcome,
            Reply::Release(sealed) => match sealed.release(receipt) {
                Ok(released) => Outcome::Done { body: released.into_string() },
                Err(error) => {
                    tracing::error!(%error, "an answer was withheld");
                    Outcome::Unavailable { reason: "withheld".to_owned() }
                }
            },
        };
        if let Err(error) = frame::append(&mut frames, &Response { number: ticket.number, outcome }) {
            tracing::error!(%error, "an answer cannot be written");
        }
        current = Some(ticket.connection);
    }
    if let Some(connection) = current {
        connection.send(&frames);
    }
}

/// Why an ask is not done.
enum NotDone {
    /// A rule is broken: the gateway has a defect or is not itself.
    Broken(Broken),
    /// No room in the log; nothing was signed.
    Full(Full),
    /// The token did not sign.
    Token(SignError),
    /// A record that cannot be made.
    Record(RecordError),
    /// The configuration names no key for this.
    NoKey,
    /// The log took nothing.
    Log(AppendError),
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
not_done_from!(Broken => Broken, Full => Full, SignError => Token, RecordError => Record, AppendError => Log);

impl From<serde_json::Error> for NotDone {
    fn from(error: serde_json::Error) -> Self {
        Self::Record(error.into())
    }
}

/// What was appended to the log, if anything was.
type Appended<'s> = Option<Queued<'s, Ticket>>;

/// One thread with a session of its own.
pub(super) struct Worker {
    session: SigningSession,
    caller: Caller,
}

impl Worker {
    pub(super) const fn new(session: SigningSession, caller: Caller) -> Self {
        Self { session, caller }
    }

    /// Until nothing more can come.
    pub(super) fn run(mut self, shared: &Shared) {
        let mut appended = None;
        loop {
            let patience = if appended.is_some() { Patience::Look } else { Patience::Wait };
            match shared.inbox.take(patience) {
                Found::Ask(job) => {
                    // There is something better to do than to write: the log thread does it.
                    drop(appended.take());
                    appended = self.act(shared, &job);
                }
                Found::Nothing => appended = appended.and_then(Queued::commit),
                Found::End => return,
                Found::Broken(error) => {
                    // None that an epoll of ours can have; a thread must neither spin on it nor be missing in silence.
                    let reason = format!("a signing thread cannot wait for requests: {error}");
                    return shared.end(Ending::TokenLost { reason, pin: false });
                }
            }
        }
    }

    fn act<'s>(&mut self, shared: &'s Shared, job: &Job) -> Appended<'s> {
        let request: Request = match serde_json::from_slice(&job.bytes) {
            Ok(request) => request,
            Err(error) => {
                tracing::error!(%error, "the gateway sent what is no request; closing its connection");
                job.connection.close();
                return None;
            }
        };
        let act = Act { shared, connection: &job.connection, number: request.number };
        match act.handle(self, &request.ask) {
            Ok(appended) => appended,
            Err(why) => act.tell(request.ask.context(), why),
        }
    }

    /// Signs and verifies; the watchdog sees how long the module takes.
    fn sign(&mut self, key: &SigningKey, input: &[u8]) -> Result<Vec<u8>, SignError> {
        self.caller.run(1, || self.session.sign(key.key(), input))
    }
}

/// One ask that is being done.
struct Act<'s, 'c> {
    shared: &'s Shared,
    connection: &'c Arc<Connection>,
    number: u64,
}

impl<'s> Act<'s, '_> {
    fn handle(&self, worker: &mut Worker, ask: &Ask) -> Result<Appended<'s>, NotDone> {
        match ask {
            Ask::Introspection(ask) => self.introspection(worker, ask),
            Ask::AccessToken(ask) => self.access_token(worker, ask),
            Ask::OpaqueToken(ask) => self.opaque_token(ask),
            Ask::Revocation(ask) => self.revocation(ask),
            Ask::Refusal(ask) => self.refusal(ask),
            Ask::SelfTest => self.self_test(worker),
        }
    }

    fn introspection(&self, worker: &mut Worker, ask: &IntrospectionAsk) -> Result<Appended<'s>, NotDone> {
        let shared = self.shared;
        let issuer = &shared.config.issuer;
        let rs = rules::introspection(&shared.config, ask, now())?;
        if ask.rules.len() > 64 || !ask.rules.iter().all(|r| rules::is_rule_name(r)) {
            return Err(NotDone::Broken("rule-names-not-valid"));
        }
        if ask.format == AnswerFormat::Json {
            let body = serde_json::to_string(&Introspection::new(issuer, ask))?;
            let signer = Signer { key: None, serial: &shared.serial, issuer };
            let prepared = record::introspection(ask, rs, &signer, None)?;
            let room = shared.log.reserve(prepared.room(body.len()))?;
            let sealed = Sealed::new(body);
            let entry = prepared.with_body(&sealed)?;
            return self.append(room, entry, Reply::Release(sealed));
        }
        let key = shared.keys.get(Purpose::Introspection, rs.introspection_alg).ok_or(NotDone::NoKey)?;
        let jti = rs.response_jti.then(|| base64url(crate::random::bytes::<16>()));
        let signer = Signer { key: Some(key), serial: &shared.serial, issuer };
        let prepared = record::introspection(ask, rs, &signer, jti.as_deref())?;
        let claims = IntrospectionClaims::new(issuer, rs, ask, jti.as_deref());
        let input = SigningInput::new(key.header(), &claims)?;
        self.sign_and_append(worker, key, input, prepared)
    }

    fn access_token(&self, worker: &mut Worker, ask: &AccessTokenAsk) -> Result<Appended<'s>, NotDone> {
        let shared = self.shared;
        let issuer = &shared.config.issuer;
        let rs = rules::access_token(&shared.config, ask, now())?;
        let key = shared.keys.get(Purpose::AccessToken, rs.access_token_alg).ok_or(NotDone::NoKey)?;
        let signer = Signer { key: Some(key), serial: &shared.serial, issuer };
        let prepared = record::access_token(ask, &signer)?;
        let input = SigningInput::new(key.header(), &AccessTokenClaims::new(issuer, ask))?;
        self.sign_and_append(worker, key, input, prepared)
    }

    fn sign_and_append(
        &self,
        worker: &mut Worker,
        key: &SigningKey,
        input: SigningInput,
        prepared: Prepared,
    ) -> Result<Appended<'s>, NotDone> {
        // The longest signature (RSA-4096) in base64url and its dot.
        let room = self.shared.log.reserve(prepared.room(input.as_bytes().len() + 684))?;
        let signature = worker.sign(key, input.as_bytes())?;
        let sealed = Sealed::new(input.with_signature(&signature));
        let entry = prepared.with_jws(&sealed)?;
        self.append(room, entry, Reply::Release(sealed))
    }

    fn append(&self, room: Room, entry: Entry, reply: Reply) -> Result<Appended<'s>, NotDone> {
        let ticket = Ticket { connection: Arc::clone(self.connection), number: self.number, reply };
        Ok(Some(self.shared.log.append(room, entry, ticket)?))
    }

    fn opaque_token(&self, ask: &OpaqueTokenAsk) -> Result<Appended<'s>, NotDone> {
        rules::opaque_token(&self.shared.config, ask, now())?;
        self.append_and_say(record::opaque_token(ask, &self.shared.config.issuer)?)
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

    fn append_and_say(&self, prepared: Prepared) -> Result<Appended<'s>, NotDone> {
        let room = self.shared.log.reserve(prepared.room(0))?;
        self.append(room, prepared.with_nothing()?, Reply::Say(Outcome::Done { body: String::new() }))
    }

    fn self_test(&self, worker: &mut Worker) -> Result<Appended<'s>, NotDone> {
        // A log that takes no answer makes the service unready as much as a token that signs nothing.
        drop(self.shared.log.reserve(LARGE_ANSWER)?);
        for key in self.shared.keys.iter() {
            worker.sign(key, SELF_TEST)?;
        }
        self.say(Outcome::Done { body: String::new() });
        Ok(None)
    }

    fn say(&self, outcome: Outcome) {
        self.connection.answer(self.number, outcome);
    }

    /// Answers what was not done, records it where it matters, and ends the process where only that helps.
    fn tell(&self, context: Option<&Context>, why: NotDone) -> Appended<'s> {
        let unavailable = |reason: String| Outcome::Unavailable { reason };
        match why {
            NotDone::Broken(rule) => {
                tracing::error!(rule, "the gateway asked for what the rules forbid");
                let forbidden = Outcome::Forbidden { rule: rule.to_owned() };
                self.record_and_say(context, (Event::Denied, rule), forbidden)
            }
            NotDone::NoKey => {
                let reason = "no key for this purpose and algorithm";
                self.record_and_say(context, (Event::Failed, reason), unavailable(reason.to_owned()))
            }
            NotDone::Full(full) => {
                self.say(unavailable(full.to_string()));
                None
            }
            NotDone::Record(error) => {
                tracing::error!(%error, "an answer is too large to be recorded, so it was not made");
                let rule = "record-too-large";
                let forbidden = Outcome::Forbidden { rule: rule.to_owned() };
                self.record_and_say(context, (Event::Denied, rule), forbidden)
            }
            NotDone::Log(error) => {
                // A poisoned log ends the process through its own handler.
                tracing::error!(%error, "the audit log took no record");
                self.say(unavailable(error.to_string()));
                None
            }
            NotDone::Token(error) => {
                let reason = error.to_string();
                tracing::error!(error = %reason, alarm = error.is_alarm(), "the token did not sign");
                let event = (Event::Failed, reason.as_str());
                let appended = self.record_and_say(context, event, unavailable(reason.clone()));
                if let Some(ending) = Ending::after(&error) {
                    self.shared.end(ending);
                }
                appended
            }
        }
    }

    fn record_and_say(
        &self,
        context: Option<&Context>,
        (event, reason): (Event, &str),
        outcome: Outcome,
    ) -> Appended<'s> {
        let outcome_of_record = match event {
            Event::Denied => crate::audit::Outcome::Refused,
            _ => crate::audit::Outcome::Failure,
        };
        let prepared = context.map(|context| record::not_done(event, outcome_of_record, context, reason));
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

fn now() -> NumericDate {
    clock::now().into()
}
