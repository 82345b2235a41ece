//! The way to the signer: how many may wait there, what it published, and what a stranger is told when it fails.

use super::reply::Reply;
use super::{jwks, metadata};
use crate::config::Config;
use crate::signer::message::Ask;
use crate::signer::{AskError, Published, Recorded, SignerClient, SignerState};
use axum::body::Bytes;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The one door to everything that is signed or recorded.
pub(super) struct Gate {
    config: Arc<Config>,
    signer: SignerClient,
    places: Arc<Semaphore>,
    most: usize,
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

/// One of the places of `limits.in_flight`, given back when dropped.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
}

impl Gate {
    /// For at most `limits.in_flight` requests at once.
    pub(super) fn new(config: Arc<Config>, signer: SignerClient) -> Self {
        let most = config.http.limits.in_flight.clamp(1, Semaphore::MAX_PERMITS);
        Self { config, signer, places: Arc::new(Semaphore::new(most)), most, last: RwLock::new(None) }
    }

    /// A place at a signer that is ready, as far as is known; asked for before anything durable is done.
    pub(super) fn enter(&self) -> Result<(Place, Arc<Published>), Reply> {
        let published = match self.signer.state() {
            SignerState::Ready(published) => published,
            SignerState::Down { .. } => return Err(Reply::unavailable("signer-down")),
        };
        Ok((self.place()?, published))
    }

    /// A place at the signer, ready or not.
    pub(super) fn place(&self) -> Result<Place, Reply> {
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(permit) => Ok(Place { _permit: permit }),
            Err(_) => Err(Reply::unavailable("signer-busy")),
        }
    }

    /// Asks, from a place. The reason of a failure is for the operator, never for the caller.
    pub(super) async fn ask(&self, _from: &Place, ask: Ask) -> Result<Recorded, Reply> {
        self.signer.ask(ask).await.map_err(|error| match error {
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
    pub(super) async fn self_test(&self) -> Result<(), String> {
        match self.signer.ask(Ask::SelfTest).await {
            Ok(_) => Ok(()),
            Err(AskError::Unavailable { reason }) => Err(reason),
            Err(AskError::Forbidden { rule }) => Err(format!("forbidden by {rule}")),
        }
    }

    /// Why the signer is down, if it is.
    pub(super) fn down(&self) -> Option<String> {
        match self.signer.state() {
            SignerState::Ready(_) => None,
            SignerState::Down { reason } => Some(reason),
        }
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
            metadata: metadata::document(&self.config, &published),
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
