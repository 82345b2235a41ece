//! The gateway's side of the door: what asks, waits for a signer that is away, and hears of the answer.
//!
//! A connection may end while asks are under way. One whose frame the socket never took as a whole cannot have been
//! read: it is asked again over the next connection, whatever it is. One that was sent may have been recorded; what then
//! may be asked once more, [`Ask::may_repeat`] says.

use super::frame;
use super::line::{Line, Told};
use super::message::{Ask, Outcome, PublishedKey, RequestRef, SignerStatus};
use crate::claims::Purpose;
use crate::clock;
use crate::jose::{PublicKey, PublicKeyError};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

/// Bytes of asks that may wait for a signer that does not read; beyond it an ask fails at once.
pub(super) const MAX_OUT: usize = 64 << 20;

/// What the signer recorded: the only thing that may become the body of a signed or introspection answer. Only this
/// file makes one, from the signer's word that the record is durable.
#[derive(Debug)]
pub struct Recorded {
    body: String,
}

impl Recorded {
    /// The exact bytes that the record covers; empty where nothing is sent.
    pub fn into_body(self) -> String {
        self.body
    }
}

/// Why nothing was recorded, so nothing may leave.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AskError {
    /// Not now.
    #[error("the signer is not available: {reason}")]
    Unavailable {
        /// For the operator.
        reason: String,
    },
    /// The signer's rules forbid it: a defect of the gateway.
    #[error("the signer forbids it: {rule}")]
    Forbidden {
        /// The rule's name.
        rule: String,
    },
}

/// What the gateway publishes, all of it made by the signer or from its keys.
#[derive(Debug)]
pub struct Published {
    /// All generations that the token holds.
    pub keys: Vec<PublishedKey>,
    /// Those that sign or signed `at+jwt`.
    pub access_token_keys: Vec<PublicKey>,
    /// `signed_metadata`; empty without a metadata key.
    pub signed_metadata: String,
}

impl Published {
    /// From what the signer said in the handshake.
    pub(super) fn new(keys: Vec<PublishedKey>, signed_metadata: String) -> Result<Self, PublicKeyError> {
        let access_token_keys = keys
            .iter()
            .filter(|k| k.purpose == Purpose::AccessToken)
            .map(|k| {
                let algorithm = k.jwk.alg.as_deref().and_then(|a| a.parse().ok());
                PublicKey::from_jwk(algorithm.ok_or(PublicKeyError::Encoding)?, &k.jwk)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { keys, access_token_keys, signed_metadata })
    }
}

/// Whether asks have a chance.
#[derive(Clone, Debug)]
pub enum SignerState {
    /// No asks are taken.
    Down(Outage),
    /// Connected and agreed.
    Ready(Arc<Published>),
}

/// Why the signer is away, and since when.
#[derive(Clone, Debug)]
pub struct Outage {
    /// For the operator.
    pub reason: String,
    /// When it went.
    pub since: Instant,
    /// Waiting does not help: an operator has to act. Asks fail at once.
    pub lasting: bool,
}

/// Asks the signer. Cheap to clone.
#[derive(Clone)]
pub struct SignerClient(Arc<Inner>);

pub(super) struct Inner {
    pub(super) line: Mutex<Line>,
    /// Bytes wait to be sent.
    pub(super) wake: Notify,
    pub(super) state: watch::Sender<SignerState>,
    /// What the signer said of itself last.
    pub(super) status: Mutex<Option<SignerStatus>>,
    /// Signers that were connected, and those that were not.
    pub(super) starts: [AtomicU64; 2],
    /// How long asks wait for a signer, from its going.
    patience: Duration,
}

impl SignerClient {
    /// Not yet connected: [`super::keep_child`] or [`super::keep_separate`] sees to that. While a signer has been away
    /// for less than `patience`, asks wait for the next.
    pub fn new(patience: Duration) -> Self {
        let outage = Outage { reason: "not yet connected".to_owned(), since: Instant::now(), lasting: false };
        let (state, _) = watch::channel(SignerState::Down(outage));
        Self(Arc::new(Inner {
            line: Mutex::default(),
            wake: Notify::new(),
            state,
            status: Mutex::default(),
            starts: Default::default(),
            patience,
        }))
    }

    /// Whether asks have a chance, without waiting.
    pub fn state(&self) -> SignerState {
        self.0.state.borrow().clone()
    }

    /// What the signer said of itself last; `None` before the first time.
    pub fn status(&self) -> Option<SignerStatus> {
        self.0.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many signers were connected, and how many refused the gateway or ended before they were.
    pub fn starts(&self) -> (u64, u64) {
        let [connected, refused] = &self.0.starts;
        (connected.load(Ordering::Relaxed), refused.load(Ordering::Relaxed))
    }

    /// Number of the handshake that told a signer the gateway's configuration, while that signer goes by it.
    pub fn told(&self) -> Option<u64> {
        self.line().told()
    }

    /// Whether the gateway may take over a configuration: no signer goes by another. There is none, and the next one hears
    /// of it in the handshake; or the new one was `recorded` by that of this handshake, which is still there. To be asked
    /// while no handshake can read the configuration.
    pub fn may_take_over(&self, recorded: Option<u64>) -> bool {
        let told = self.told();
        told.is_none() || told == recorded
    }

    /// Changes of [`Self::state`].
    pub fn watch(&self) -> watch::Receiver<SignerState> {
        self.0.state.subscribe()
    }

    /// How long one more ask is likely to take, by what the last ones took and by how many are under way.
    pub fn likely_time(&self) -> Duration {
        self.line().likely_time(clock::monotonic_nanos())
    }

    /// What a signer that takes asks published; waits for one that is away, no longer than until `due`.
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
            // When the time is over, the next look says so.
            drop(tokio::time::timeout_at(until, state.changed()).await);
        }
    }

    /// Asks, and waits until the record is durable; no longer than until `due`.
    pub async fn ask(&self, ask: &Ask, due: Instant) -> Result<Recorded, AskError> {
        let unavailable = |reason: &str| AskError::Unavailable { reason: reason.to_owned() };
        let mut repeated = false;
        loop {
            let Some(answer) = self.begin(ask)? else {
                self.ready(due).await?;
                continue;
            };
            let told = tokio::time::timeout_at(due, answer).await;
            return match told {
                Ok(Ok(Told::Outcome(Outcome::Done { body }))) => Ok(Recorded { body }),
                Ok(Ok(Told::Outcome(Outcome::Forbidden { rule }))) => Err(AskError::Forbidden { rule }),
                Ok(Ok(Told::Outcome(Outcome::Unavailable { reason }))) => {
                    Err(AskError::Unavailable { reason })
                }
                Ok(Ok(Told::Outcome(Outcome::Checkpoint(_) | Outcome::Status(_)))) => {
                    Err(unavailable("the signer answered out of turn"))
                }
                // Point of no return for all others: the record may be durable, and nobody can tell from here.
                Ok(Err(_)) if repeated || !ask.may_repeat() => {
                    Err(unavailable("the connection to the signer ended"))
                }
                Ok(Ok(Told::Unsent)) => continue,
                Ok(Err(_)) => {
                    repeated = true;
                    continue;
                }
                Err(_) => Err(unavailable("the signer did not answer in time")),
            };
        }
    }

    /// Puts an ask on the line; `None` when there is none at the moment.
    fn begin(&self, ask: &Ask) -> Result<Option<oneshot::Receiver<Told>>, AskError> {
        let unavailable = |reason: String| AskError::Unavailable { reason };
        let mut line = self.line();
        if !line.up {
            return Ok(None);
        }
        if line.out.len() > MAX_OUT {
            return Err(unavailable("the signer does not read what it is asked".to_owned()));
        }
        let (told, wake) = line
            .put(|out, number| frame::append(out, &RequestRef { number, ask }))
            .map_err(|error| unavailable(error.to_string()))?;
        drop(line);
        if wake {
            self.0.wake.notify_one();
        }
        Ok(Some(told))
    }

    pub(super) fn line(&self) -> MutexGuard<'_, Line> {
        self.0.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.0
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
