//! One signing thread: takes asks from the sockets, decides, signs, and hands the sealed answers to the log.
//!
//! It does its share of the asks that wait in one round, so that whatever costs something each time is done once: rules
//! and room in the log for each → signatures → each verified → records → (whoever writes them, after the sync) release.
//! Nothing waits for a round to fill: it holds what was there when the thread came. A call that hangs costs its own ask:
//! the others of its round go to other threads ([`Round`]), and this one finishes only what it claims.
//!
//! A thread writes what it has appended by itself when the disk is quick, or when it finds nothing to sign; else the log
//! thread does it.

use super::answer::{Act, Appended, Step, Unsigned};
use super::calls::{Caller, Claimed, Doing};
use super::connection::Share;
use super::inbox::{Asks, Found, Patience};
use super::keyring::SigningKey;
use super::pace::ROUND;
use super::round::Round;
use super::service::{Ending, Shared};
use crate::audit::Queued;
use crate::clock;
use crate::door::message::Request;
use crate::hsm::{SignError, SigningSession, UnverifiedSignature, VerifiedSignature};
use std::sync::Arc;
use std::time::Duration;

/// Signed and verified in health probes: no JWS (it has no dots and begins with a NUL) and no note.
const SELF_TEST: &[u8] = b"\0chancery self-test: no token, no answer, no checkpoint";

/// A disk that takes longer would keep a thread from signing for a good part of its time.
const QUICK: Duration = Duration::from_micros(500);

/// One thread with a session of its own.
pub(super) struct Worker {
    session: SigningSession,
    caller: Caller,
    share: Share,
}

impl Worker {
    /// One of so many threads.
    pub(super) const fn new(session: SigningSession, caller: Caller, threads: usize) -> Self {
        Self { session, caller, share: Share { most: 1, threads } }
    }

    /// Until nothing more can come.
    pub(super) fn run(mut self, shared: &Shared) {
        let mut appended = None;
        loop {
            let patience = if appended.is_some() { Patience::Look } else { Patience::Wait };
            match shared.inbox.take(patience, self.share) {
                Found::Asks(asks) => {
                    // There is something better to do than to wait for this disk: the log thread does it.
                    drop(appended.take());
                    appended = self.round(shared, asks);
                    if shared.log.quickest() < QUICK {
                        appended = appended.and_then(Queued::commit);
                    }
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

    fn round<'s>(&mut self, shared: &'s Shared, asks: Asks) -> Appended<'s> {
        let requests: Vec<Request> = match asks.iter().map(serde_json::from_slice).collect() {
            Ok(requests) => requests,
            Err(error) => {
                tracing::error!(%error, "the gateway sent what is no request; closing its connection");
                asks.connection.close();
                return None;
            }
        };
        let connection = Arc::clone(&asks.connection);
        let mut appended = None;
        let (mut unsigned, mut tests) = (Vec::with_capacity(requests.len()), Vec::new());
        for (number, request) in requests.iter().enumerate() {
            let act = Act::new(shared, &connection, request);
            match act.begin() {
                Step::Done(new) => appended = both(appended, new),
                Step::Sign(waits) => unsigned.push(Waits { number, act, unsigned: waits }),
                Step::SelfTest => tests.push((number, act)),
            }
        }
        if let Some(most) = unsigned.iter().map(|waits| waits.key().pace().round()).min() {
            self.share.most = most;
        }
        // Those that take turns first: they do not wait for calls that are not short.
        unsigned.sort_by_cached_key(|waits| !waits.key().pace().is_short());
        if unsigned.len() + tests.len() > 1 {
            let order =
                unsigned.iter().map(|waits| waits.number).chain(tests.iter().map(|(number, _)| *number));
            self.caller.begin(Round::new(asks, order.collect(), Arc::clone(&shared.inbox)));
        }
        let mut lost = None;
        while !unsigned.is_empty() {
            // What is appended already does not wait for the token: the log thread writes it.
            drop(appended.take());
            let mut signatures = self.sign(shared, &unsigned, &mut lost);
            if let Claimed::Only(ask) = self.caller.claim(signatures.len()) {
                unsigned = unsigned.into_iter().skip(ask).take(1).collect();
                signatures = signatures.into_iter().skip(ask).take(1).collect();
                tests.clear();
            }
            // All are sealed before the first is appended: else the log thread would write that one alone.
            let sealed: Vec<_> = unsigned
                .drain(..signatures.len())
                .zip(signatures)
                .map(|(Waits { act, unsigned, .. }, signature)| (act, unsigned.seal(signature)))
                .collect();
            appended =
                sealed.into_iter().fold(None, |appended, (act, sealed)| both(appended, act.finish(sealed)));
        }
        for (_, act) in tests {
            drop(appended.take());
            let tested = self.self_test(shared);
            let claimed = self.caller.claim(1);
            appended = act.tested(tested);
            if claimed != Claimed::All {
                break;
            }
        }
        appended
    }

    /// A verified signature for each of the first of these: as many as the token makes in about [`ROUND`], and at least one.
    ///
    /// Once the token is `lost` it is not called again: the process ends, and each call may take as long as the first.
    fn sign(
        &mut self,
        shared: &Shared,
        unsigned: &[Waits<'_, '_>],
        lost: &mut Option<SignError>,
    ) -> Vec<Result<VerifiedSignature, SignError>> {
        let short = |waits: &Waits<'_, '_>| waits.key().pace().is_short();
        let take_turns = unsigned.first().is_some_and(short);
        let turn = take_turns.then(|| shared.turn.take());
        let began = clock::monotonic_nanos();
        let mut signed = Vec::with_capacity(unsigned.len());
        let mut handed_over = false;
        for (ask, waits) in unsigned.iter().enumerate() {
            // Twice: the thread may be interrupted.
            let ends = handed_over || clock::since(began) > 2 * ROUND || short(waits) != take_turns;
            if ends && !signed.is_empty() {
                break;
            }
            let signature = if let Some(error) = &*lost {
                Err(error.clone())
            } else {
                if !take_turns {
                    shared.apart.begin(waits.key().pace(), self.share.threads);
                }
                let (signature, late) = self.call(ask, waits.key(), waits.unsigned.input());
                handed_over = late;
                signature
            };
            *lost = lost
                .take()
                .or_else(|| signature.as_ref().err().filter(|e| Ending::after(e).is_some()).cloned());
            signed.push(signature);
        }
        drop(turn);
        let verify = |(ask, signed): (usize, Result<UnverifiedSignature<'_>, _>)| {
            let signed = signed?;
            let doing = Doing::sign(signed.key().shared_label());
            self.caller.run_for(ask, doing, || self.session.verify(signed)).0
        };
        let keys = unsigned.iter().map(Waits::key);
        signed.into_iter().enumerate().map(verify).zip(keys).map(|(signed, key)| key.note(signed)).collect()
    }

    /// Lets the token sign for the ask with this place; the watch sees how long it takes. Whether the other asks were
    /// handed over meanwhile.
    fn call<'a>(
        &mut self,
        ask: usize,
        key: &'a SigningKey,
        input: &'a [u8],
    ) -> (Result<UnverifiedSignature<'a>, SignError>, bool) {
        let began = clock::monotonic_nanos();
        let doing = Doing::sign(key.key().shared_label());
        let (signed, handed_over) = self.caller.run_for(ask, doing, || self.session.call(key.key(), input));
        if signed.is_ok() {
            key.pace().took(clock::since(began));
        }
        (signed, handed_over)
    }

    fn self_test(&mut self, shared: &Shared) -> Result<(), SignError> {
        for key in shared.keys.signing() {
            let doing = Doing::sign(key.key().shared_label());
            key.note(self.caller.run(1, doing, || self.session.sign(key.key(), SELF_TEST)))?;
        }
        Ok(())
    }
}

/// An ask of a round that waits for its signature.
struct Waits<'s, 'r> {
    /// Among the asks of the round as they came.
    number: usize,
    act: Act<'s, 'r>,
    unsigned: Unsigned<'s>,
}

impl<'s> Waits<'s, '_> {
    const fn key(&self) -> &'s SigningKey {
        self.unsigned.key()
    }
}

/// What two acts have appended.
fn both<'s>(one: Appended<'s>, other: Appended<'s>) -> Appended<'s> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.and(other)),
        (one, other) => one.or(other),
    }
}
