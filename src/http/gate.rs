//! The way to the signer: how many may wait there, what it published, and what a stranger is told when it fails.

use super::front::Turns;
use super::reply::Reply;
use super::{jwks, metadata};
use crate::config::Config;
use crate::signer::message::Ask;
use crate::signer::{AskError, Published, Recorded, SignerClient, SignerState};
use axum::body::Bytes;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A record that waits for the disk for so long: the disk is stalled.
const STALLED: Duration = Duration::from_secs(5);

/// The one door to everything that is signed or recorded.
pub(super) struct Gate {
    config: watch::Receiver<Arc<Config>>,
    signer: SignerClient,
    places: Arc<Semaphore>,
    most: usize,
    answer_time: Duration,
    last: RwLock<Option<Arc<Publication>>>,
}

/// What the signer published, and the documents made of it: once for each time that it was published.
pub(super) struct Publication {
    /// From the handshake.
    pub(super) published: Arc<Published>,
    /// What `jwks` serves.
    pub(super) jwks: Bytes,
    /// What `metadata` serves.
    pub(super) metadata: Bytes,
}

/// One of the places of `limits.in_flight`, and a turn of its caller; given back when dropped.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    _turn: OwnedSemaphorePermit,
    due: Instant,
}

impl Place {
    /// When the request's time is over: `limits.answer_time` after it had arrived.
    pub(super) fn due(&self) -> Instant {
        self.due
    }
}

impl Gate {
    /// For at most `limits.in_flight` requests at once.
    pub(super) fn new(config: watch::Receiver<Arc<Config>>, signer: SignerClient) -> Self {
        let (most, answer_time) = {
            let limits = &config.borrow().http.limits;
            (limits.in_flight.clamp(1, Semaphore::MAX_PERMITS), limits.answer_time)
        };
        let places = Arc::new(Semaphore::new(most));
        Self { config, signer, places, most, answer_time, last: RwLock::new(None) }
    }

    /// A place at a signer that takes asks, once its caller has a turn; asked for before anything durable is done. A signer that has gone a moment
    /// ago is waited for: the places bound how many requests wait, and the limits of bodies how large they are.
    ///
    /// Refused when the answer would come too late, as far as the last ones tell: what is turned away at once can be
    /// asked elsewhere, and does not make those behind it late.
    pub(super) async fn enter(&self, turns: &Turns) -> Result<(Place, Arc<Published>), Reply> {
        let place = self.place(turns).await?;
        let published = self.signer.ready(place.due).await.map_err(|_| Reply::unavailable("signer-down"))?;
        if Instant::now() + self.signer.likely_time() > place.due {
            return Err(Reply::unavailable("signer-overloaded"));
        }
        Ok((place, published))
    }

    /// A place at the signer, ready or not, once its caller has a turn. What waits for a turn takes no place.
    pub(super) async fn place(&self, turns: &Turns) -> Result<Place, Reply> {
        let due = Instant::now() + self.answer_time;
        let Ok(Ok(turn)) = tokio::time::timeout_at(due, Arc::clone(&turns.0).acquire_owned()).await else {
            return Err(Reply::unavailable("caller-busy"));
        };
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(permit) => Ok(Place { _permit: permit, _turn: turn, due }),
            Err(_) => Err(Reply::unavailable("signer-busy")),
        }
    }

    /// Asks, from a place. The reason of a failure is for the operator, never for the caller.
    pub(super) async fn ask(&self, from: &Place, ask: Ask) -> Result<Recorded, Reply> {
        self.signer.ask(&ask, from.due).await.map_err(|error| match error {
            AskError::Unavailable { reason } => {
                tracing::debug!(%reason, "the signer could not answer");
                Reply::unavailable("signer-unavailable")
            }
            AskError::Forbidden { rule } => {
                tracing::error!(%rule, "the signer forbade what this gateway asked for: their rules differ");
                Reply::our_fault()
            }
        })
    }

    /// The self-test of every key, for the readiness probe; the text of a failure is for the operator.
    pub(super) async fn self_test(&self, due: Instant) -> Result<(), String> {
        match self.signer.ask(&Ask::SelfTest, due).await {
            Ok(_) => Ok(()),
            Err(AskError::Unavailable { reason }) => Err(reason),
            Err(AskError::Forbidden { rule }) => Err(format!("forbidden by {rule}")),
        }
    }

    /// What keeps the signer.
    pub(super) fn signer(&self) -> &SignerClient {
        &self.signer
    }

    /// Why no answer would be signed and recorded, if that is so.
    pub(super) fn down(&self) -> Option<String> {
        if let SignerState::Down(outage) = self.signer.state() {
            return Some(outage.reason);
        }
        let status = self.signer.status()?;
        let waits = Duration::from_millis(status.oldest_record_millis);
        let stalled = (waits > STALLED)
            .then(|| format!("the disk of the audit log has not taken a record for {} s", waits.as_secs()));
        status.trouble.or(stalled)
    }

    /// What the signer published last: keys do not vanish because it is being restarted. `None` before the first
    /// handshake.
    pub(super) fn published(&self) -> Option<Arc<Publication>> {
        let last = self.last.read().unwrap_or_else(PoisonError::into_inner).clone();
        let SignerState::Ready(published) = self.signer.state() else { return last };
        if let Some(last) = last
            && Arc::ptr_eq(&last.published, &published)
        {
            return Some(last);
        }
        let publication = Arc::new(Publication {
            jwks: jwks::document(&published),
            metadata: metadata::document(&self.config.borrow(), &published),
            published,
        });
        *self.last.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&publication));
        Some(publication)
    }

    /// Open requests.
    pub(super) fn in_flight(&self) -> usize {
        self.most.saturating_sub(self.places.available_permits())
    }

    /// Waits until nobody is inside: effects that began are brought to their end.
    pub(super) async fn empty(&self) {
        let all = u32::try_from(self.most).unwrap_or(u32::MAX);
        drop(self.places.acquire_many(all).await);
    }
}

/// What an effect that runs by itself comes to, or 503 when the request's time is over: the effect goes on.
pub(super) async fn reply_by(due: Instant, effect: JoinHandle<Result<Reply, Reply>>) -> Result<Reply, Reply> {
    match tokio::time::timeout_at(due, effect).await {
        Ok(ended) => ended.unwrap_or_else(|_| Err(Reply::unavailable("shutting-down"))),
        Err(_) => Err(Reply::unavailable("too-late")),
    }
}
