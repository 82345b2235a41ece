//! The gateway's client of the signer: sends asks, waits for a signer that is away, and receives the answers.
//!
//! A connection may end while asks are open. If the socket did not take an ask's whole frame, the signer cannot have
//! read it: it is sent again over the next connection. If the frame was sent, its record may exist; [`Ask::may_repeat`]
//! decides whether it is sent again.

use super::channel::{Channel, Completion};
use super::frame;
use super::message::{Ask, Documents, Outcome, RequestRef, SignerStatus};
use crate::claims::{Purpose, Reason};
use crate::clock;
use crate::jose::{PublicKey, PublicKeyError};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

/// Limit of bytes of asks that wait for a signer that does not read; beyond it an ask fails at once.
pub(super) const MAX_OUT: usize = 64 << 20;

/// A recorded answer: the only body of a signed or introspection answer. Only this file makes one, after the signer has
/// reported that the record is durable.
#[derive(Debug)]
pub struct Recorded {
    body: String,
}

impl Recorded {
    /// The exact bytes that the record covers; empty if nothing is sent.
    pub fn into_body(self) -> String {
        self.body
    }
}

/// Why nothing was recorded, so nothing may be sent.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AskError {
    /// Temporary.
    #[error("the signer is not available: {reason}")]
    Unavailable {
        /// For the operator.
        reason: String,
    },
    /// The signer's rules forbid it: a defect of the gateway.
    #[error("the signer forbids it: {}", reason.name())]
    Forbidden {
        /// The rule.
        reason: Reason,
    },
}

/// Documents that the gateway publishes, and the public keys among them that verify its tokens.
#[derive(Debug)]
pub struct Published {
    /// As the signer sent them last.
    pub documents: Documents,
    /// Those that sign or signed `at+jwt`.
    pub access_token_keys: Vec<PublicKey>,
}

impl Published {
    pub(super) fn new(documents: Documents) -> Result<Arc<Self>, PublicKeyError> {
        let access_token_keys = documents
            .keys
            .iter()
            .filter(|k| k.purpose == Purpose::AccessToken)
            .map(|k| {
                let algorithm = k.jwk.alg.as_deref().and_then(|a| a.parse().ok());
                PublicKey::from_jwk(algorithm.ok_or(PublicKeyError::Encoding)?, &k.jwk)
            })
            .collect::<Result<_, _>>()?;
        Ok(Arc::new(Self { documents, access_token_keys }))
    }
}

/// Whether the signer accepts asks.
#[derive(Clone, Debug)]
pub enum SignerState {
    /// Asks are not accepted.
    Down(Outage),
    /// The handshake is done.
    Ready(Arc<Published>),
}

/// Reason and start of an outage.
#[derive(Clone, Debug)]
pub struct Outage {
    /// For the operator.
    pub reason: String,
    /// Start.
    pub since: Instant,
    /// Whether an operator has to act. Asks then fail at once.
    pub lasting: bool,
}

/// The client. Cheap to clone.
#[derive(Clone)]
pub struct SignerClient(Arc<Inner>);

pub(super) struct Inner {
    pub(super) channel: Mutex<Channel>,
    /// Notified when bytes wait to be sent.
    pub(super) wake: Notify,
    pub(super) state: watch::Sender<SignerState>,
    pub(super) status: Mutex<Option<SignerStatus>>,
    /// Successful and failed handshakes.
    pub(super) starts: [AtomicU64; 2],
    /// How long asks wait for a signer, from the start of the outage.
    patience: Duration,
}

impl SignerClient {
    /// Not connected yet: [`super::keep_child`] or [`super::keep_separate`] connects it. For `patience` after a signer
    /// went away, asks wait for the next one.
    pub fn new(patience: Duration) -> Self {
        let outage = Outage { reason: "not yet connected".to_owned(), since: Instant::now(), lasting: false };
        let (state, _) = watch::channel(SignerState::Down(outage));
        Self(Arc::new(Inner {
            channel: Mutex::default(),
            wake: Notify::new(),
            state,
            status: Mutex::default(),
            starts: Default::default(),
            patience,
        }))
    }

    /// Whether asks are accepted, without waiting.
    pub fn state(&self) -> SignerState {
        self.0.state.borrow().clone()
    }

    /// The signer's last status; `None` before the first one.
    pub fn status(&self) -> Option<SignerStatus> {
        self.0.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts of signers that were connected, and of those that refused the gateway or ended before.
    pub fn starts(&self) -> (u64, u64) {
        let [connected, refused] = &self.0.starts;
        (connected.load(Ordering::Relaxed), refused.load(Ordering::Relaxed))
    }

    /// Number of the handshake in which the signer received the gateway's configuration, while it is in use.
    pub fn handshake(&self) -> Option<u64> {
        self.channel().handshake()
    }

    /// Whether the gateway may take over a configuration: no connected signer uses another one. Either no signer is
    /// connected, and the next one learns it in the handshake; or the signer of the handshake `recorded` has recorded
    /// it and is still connected. Called while no handshake can read the configuration.
    pub fn may_take_over(&self, recorded: Option<u64>) -> bool {
        let handshake = self.handshake();
        handshake.is_none() || handshake == recorded
    }

    /// Changes of [`Self::state`].
    pub fn watch(&self) -> watch::Receiver<SignerState> {
        self.0.state.subscribe()
    }

    /// Estimated time of one more ask, from the last answers and the number of open asks.
    pub fn likely_time(&self) -> Duration {
        self.channel().likely_time(clock::monotonic_nanos())
    }

    /// The signer's published documents; waits for a signer until `due` at the latest.
    pub async fn ready(&self, due: Instant) -> Result<Arc<Published>, AskError> {
        if let SignerState::Ready(published) = &*self.0.state.borrow() {
            return Ok(Arc::clone(published));
        }
        let mut state = self.watch();
        loop {
            let until = match &*state.borrow_and_update() {
                SignerState::Ready(published) => return Ok(Arc::clone(published)),
                SignerState::Down(outage) => {
                    let until = due.min(outage.since + self.0.patience);
                    if outage.lasting || until <= Instant::now() {
                        return Err(AskError::Unavailable { reason: outage.reason.clone() });
                    }
                    until
                }
            };
            // After the timeout the next iteration returns the error.
            drop(tokio::time::timeout_at(until, state.changed()).await);
        }
    }

    /// Sends an ask, and waits until its record is durable; until `due` at the latest.
    pub async fn ask(&self, ask: &Ask, due: Instant) -> Result<Recorded, AskError> {
        let unavailable = |reason: &str| AskError::Unavailable { reason: reason.to_owned() };
        let mut repeated = false;
        loop {
            let Some(answer) = self.begin(ask)? else {
                self.ready(due).await?;
                continue;
            };
            let completed = tokio::time::timeout_at(due, answer).await;
            return match completed {
                Ok(Ok(Completion::Outcome(Outcome::Done { body }))) => Ok(Recorded { body }),
                Ok(Ok(Completion::Outcome(Outcome::Forbidden { reason }))) => {
                    Err(AskError::Forbidden { reason })
                }
                Ok(Ok(Completion::Outcome(Outcome::Unavailable { reason }))) => {
                    Err(AskError::Unavailable { reason })
                }
                Ok(Ok(Completion::Outcome(
                    Outcome::Checkpoint(_) | Outcome::Status(_) | Outcome::Documents(_),
                ))) => Err(unavailable("the signer answered out of turn")),
                // Point of no return for all other asks: the record may be durable, which is unknown here.
                Ok(Err(_)) if repeated || !ask.may_repeat() => {
                    Err(unavailable("the connection to the signer ended"))
                }
                Ok(Ok(Completion::Unsent)) => continue,
                Ok(Err(_)) => {
                    repeated = true;
                    continue;
                }
                Err(_) => Err(unavailable("the signer did not answer in time")),
            };
        }
    }

    /// Queues an ask; `None` without a connection.
    fn begin(&self, ask: &Ask) -> Result<Option<oneshot::Receiver<Completion>>, AskError> {
        let unavailable = |reason: String| AskError::Unavailable { reason };
        let mut channel = self.channel();
        if !channel.up {
            return Ok(None);
        }
        if channel.out.len() > MAX_OUT {
            return Err(unavailable("the signer does not read what it is asked".to_owned()));
        }
        let (completed, wake) = channel
            .put(|out, number| frame::append(out, &RequestRef { number, ask }))
            .map_err(|error| unavailable(error.to_string()))?;
        drop(channel);
        if wake {
            self.0.wake.notify_one();
        }
        Ok(Some(completed))
    }

    pub(super) fn channel(&self) -> MutexGuard<'_, Channel> {
        self.0.channel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.0
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
