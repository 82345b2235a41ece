//! One signing thread: takes asks from the sockets, checks them, signs, and appends the sealed answers to the log.
//!
//! It processes its share of the waiting asks as one round, so that fixed costs occur once: rules and reserved space
//! for each → signatures → verification → records → sync → release ([`super::release`]). A round is never delayed to
//! fill up: it holds the asks that were waiting. A call that hangs costs its own ask: the others of its round go to
//! other threads ([`Round`]), and this thread finishes only asks that it claims.
//!
//! A thread writes its records by itself if the disk is quick, or if it has nothing to sign; else the log thread writes
//! them.

use super::answer::{Act, Records, Step, Unsigned};
use super::calls::{Caller, Claimed, Doing};
use super::connection::Share;
use super::inbox::{Asks, TakeMode, Taken};
use super::keyring::SigningKey;
use super::pace::ROUND;
use super::round::Round;
use super::service::{Ending, Shared};
use crate::clock;
use crate::door::message::Request;
use crate::hsm::{SignError, SigningSession, UnverifiedSignature, VerifiedSignature};
use std::sync::Arc;
use std::time::Duration;

/// Signed and verified in self-tests: neither a JWS (it has no dots and begins with a NUL) nor a note.
const SELF_TEST: &[u8] = b"\0chancery self-test: no token, no answer, no checkpoint";

/// A slower disk would keep a thread from signing for too long.
const QUICK: Duration = Duration::from_micros(500);

/// One thread with its own session.
pub(super) struct Worker {
    session: SigningSession,
    caller: Caller,
    share: Share,
}

impl Worker {
    /// `threads`: size of the pool.
    pub(super) const fn new(session: SigningSession, caller: Caller, threads: usize) -> Self {
        Self { session, caller, share: Share { most: 1, threads } }
    }

    /// Runs until the inbox is closed and empty.
    pub(super) fn run(mut self, shared: &Shared) {
        let mut next = Taken::Nothing;
        loop {
            let found = match std::mem::replace(&mut next, Taken::Nothing) {
                Taken::Nothing => shared.inbox.take(TakeMode::Block, self.share),
                found => found,
            };
            let records = match found {
                Taken::Asks(asks) => self.round(shared, asks),
                Taken::Nothing => continue,
                Taken::End => return,
                Taken::Broken(error) => {
                    // Not an error of a working epoll; the thread must neither spin nor end silently.
                    let reason = format!("a signing thread cannot wait for requests: {error}");
                    return shared.end(Ending::TokenLost { reason, pin: false });
                }
            };
            if records.is_empty() {
                continue;
            }
            let share = self.share;
            let mut idle = || {
                next = shared.inbox.take(TakeMode::Poll, share);
                matches!(next, Taken::Nothing)
            };
            // With asks that wait and a slow disk, this thread signs and the log thread writes.
            if shared.log.quickest() < QUICK || idle() {
                shared.log.commit(records, idle);
            } else {
                shared.log.hand_over(records);
            }
        }
    }

    /// Does the asks of one round; what it returns is not in the log yet.
    fn round(&mut self, shared: &Shared, asks: Asks) -> Records {
        let mut records = Records::default();
        let requests: Vec<Request> = match asks.iter().map(serde_json::from_slice).collect() {
            Ok(requests) => requests,
            Err(error) => {
                tracing::error!(%error, "the gateway sent what is no request; closing its connection");
                asks.connection.close();
                return records;
            }
        };
        let connection = Arc::clone(&asks.connection);
        let (mut unsigned, mut tests) = (Vec::with_capacity(requests.len()), Vec::new());
        for (number, request) in requests.iter().enumerate() {
            let act = Act::new(shared, &connection, request);
            match act.begin(&mut records) {
                Step::Done => {}
                Step::Sign(waits) => unsigned.push(Waits { number, act, unsigned: waits }),
                Step::SelfTest => tests.push((number, act)),
            }
        }
        if let Some(most) = unsigned.iter().map(|waits| waits.key().pace().round()).min() {
            self.share.most = most;
        }
        // Asks that take turns first: they do not wait for longer calls.
        unsigned.sort_by_cached_key(|waits| !waits.key().pace().is_short());
        if unsigned.len() + tests.len() > 1 {
            let order =
                unsigned.iter().map(|waits| waits.number).chain(tests.iter().map(|(number, _)| *number));
            self.caller.begin(Round::new(asks, order.collect(), Arc::clone(&shared.inbox)));
        }
        let mut lost = None;
        while !unsigned.is_empty() {
            // Records that are ready do not wait for the token: the log thread writes them.
            shared.log.hand_over(std::mem::take(&mut records));
            let mut signatures = self.sign(shared, &unsigned, &mut lost);
            if let Claimed::Only(ask) = self.caller.claim(signatures.len()) {
                unsigned = unsigned.into_iter().skip(ask).take(1).collect();
                signatures = signatures.into_iter().skip(ask).take(1).collect();
                tests.clear();
            }
            for (Waits { act, unsigned, .. }, signature) in unsigned.drain(..signatures.len()).zip(signatures)
            {
                act.finish(&mut records, unsigned, signature);
            }
        }
        for (_, act) in tests {
            shared.log.hand_over(std::mem::take(&mut records));
            let tested = self.self_test(shared);
            let claimed = self.caller.claim(1);
            act.tested(&mut records, tested);
            if claimed != Claimed::All {
                break;
            }
        }
        records
    }

    /// Verified signatures for the first of these: as many as the token makes in about [`ROUND`], and at least one.
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

    /// Lets the token sign for the ask at this index; the watch sees its duration. Returns also whether the other asks
    /// were handed over meanwhile.
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

/// An ask of a round that needs its signature.
struct Waits<'s, 'r> {
    /// Its index in the round.
    number: usize,
    act: Act<'s, 'r>,
    unsigned: Unsigned<'s>,
}

impl<'s> Waits<'s, '_> {
    const fn key(&self) -> &'s SigningKey {
        self.unsigned.key()
    }
}
