//! The way to the signer: how many may wait there, what it published, and what a stranger is told when it fails.

use super::front::Turns;
use super::publication::Publication;
use super::reply::Reply;
use crate::config::Config;
use crate::door::message::Ask;
use crate::door::{AskError, Published, Recorded, SignerClient, SignerState};
use crate::memory::Lag;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A record that waits for the disk for so long: the disk is stalled.
const STALLED: Duration = Duration::from_secs(5);

/// A memory of the log that is not kept for so long makes the gateway unready: both follow within two seconds.
const MEMORY_LATE: Duration = Duration::from_secs(10);

/// Neither memory is kept for so long: nothing is answered, since nothing would show that the answers' records were
/// rolled back. As long as the log's own disk may take for one batch.
const MEMORIES_LOST: Duration = Duration::from_secs(30);

/// The one door to everything that is signed or recorded.
pub(super) struct Gate {
    config: watch::Receiver<Arc<Config>>,
    signer: SignerClient,
    memory: Lag,
    places: Arc<Semaphore>,
    most: usize,
    answer_time: Duration,
    last: RwLock<Option<Arc<Publication>>>,
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
    pub(super) fn new(config: watch::Receiver<Arc<Config>>, signer: SignerClient, memory: Lag) -> Self {
        let (most, answer_time) = {
            let limits = &config.borrow().http.limits;
            (limits.in_flight.clamp(1, Semaphore::MAX_PERMITS), limits.answer_time)
        };
        let places = Arc::new(Semaphore::new(most));
        Self { config, signer, memory, places, most, answer_time, last: RwLock::new(None) }
    }

    /// A place at a signer that takes asks, once its caller has a turn; asked for before anything durable is done. A signer that has gone a moment
    /// ago is waited for: the places bound how many requests wait, and the limits of bodies how large they are.
    ///
    /// Refused when the answer would come too late, as far as the last ones tell: what is turned away at once can be
    /// asked elsewhere, and does not make those behind it late.
    pub(super) async fn enter(&self, turns: &Turns) -> Result<(Place, Arc<Published>), Reply> {
        let place = self.place(turns).await?;
        self.remembered()?;
        let published = self.signer.ready(place.due).await.map_err(|_| Reply::unavailable("signer-down"))?;
        if Instant::now() + self.signer.likely_time() > place.due {
            return Err(Reply::unavailable("signer-overloaded"));
        }
        Ok((place, published))
    }

    /// A place at the signer, ready or not, once its caller has a turn. What waits for a turn takes no place.
    pub(super) async fn place(&self, turns: &Turns) -> Result<Place, Reply> {
        let due = Instant::now() + self.answer_time;
        // Most find a turn free, and set no timer. The semaphore hands a returned turn to its first waiter: none is passed.
        let turn = match Arc::clone(&turns.0).try_acquire_owned() {
            Ok(turn) => turn,
            Err(_) => tokio::time::timeout_at(due, Arc::clone(&turns.0).acquire_owned())
                .await
                .ok()
                .and_then(Result::ok)
                .ok_or_else(|| Reply::unavailable("caller-busy"))?,
        };
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(permit) => Ok(Place { _permit: permit, _turn: turn, due }),
            Err(_) => Err(Reply::unavailable("signer-busy")),
        }
    }

    /// Asks, from a place. The reason of a failure is for the operator, never for the caller.
    pub(super) async fn ask(&self, from: &Place, ask: Ask) -> Result<Recorded, Reply> {
        self.remembered()?;
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
        status.trouble.or(stalled).or_else(|| {
            self.memories().are_lost().then(|| "neither memory of the audit log is kept any more".to_owned())
        })
    }

    /// How the two memories of the log are kept.
    pub(super) fn memories(&self) -> Memories {
        let theirs = self.signer.status().map_or(0, |status| status.memory_lag_millis);
        Memories { signer: Duration::from_millis(theirs), gateway: self.memory.get() }
    }

    /// Refuses what would get a record that neither memory covers. Costs next to nothing while the gateway's is kept.
    fn remembered(&self) -> Result<(), Reply> {
        if self.memory.get() > MEMORIES_LOST && self.memories().are_lost() {
            return Err(Reply::unavailable("log-not-remembered"));
        }
        Ok(())
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
        let publication = Arc::new(Publication::new(&self.config.borrow(), published));
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

/// For how long the two memories of the log were not kept; zero for one that follows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memories {
    pub(super) signer: Duration,
    pub(super) gateway: Duration,
}

impl Memories {
    /// Nothing that is recorded now would be missed after a rollback.
    fn are_lost(self) -> bool {
        self.signer.min(self.gateway) > MEMORIES_LOST
    }

    /// Whether both follow the log, in words for the operator.
    pub(super) fn follow(self) -> Result<String, String> {
        let late = [
            ("the signer's (signer.state_directory)", self.signer),
            ("the gateway's (store.url)", self.gateway),
        ];
        let late: Vec<_> = late
            .into_iter()
            .filter(|(_, lag)| *lag > MEMORY_LATE)
            .map(|(whose, lag)| format!("{whose} was not kept for {} s", lag.as_secs()))
            .collect();
        if late.is_empty() {
            return Ok("kept".to_owned());
        }
        Err(format!(
            "of the memories of the audit log {}: a rollback to a time since then may go unnoticed; the log lines of that \
             process say why it cannot write",
            late.join(", and ")
        ))
    }
}

/// What an effect that runs by itself comes to, or 503 when the request's time is over: the effect goes on.
pub(super) async fn reply_by(due: Instant, effect: JoinHandle<Result<Reply, Reply>>) -> Result<Reply, Reply> {
    match tokio::time::timeout_at(due, effect).await {
        Ok(ended) => ended.unwrap_or_else(|_| Err(Reply::unavailable("shutting-down"))),
        Err(_) => Err(Reply::unavailable("too-late")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_memory_that_lags_is_told_and_both_together_end_the_answers() {
        for (signer, gateway, follow, lost) in [
            (0, 0, true, false),
            (10, 2, true, false),
            (11, 0, false, false),
            (0, 600, false, false),
            (31, 31, false, true),
        ] {
            let memories =
                Memories { signer: Duration::from_secs(signer), gateway: Duration::from_secs(gateway) };
            assert_eq!((memories.follow().is_ok(), memories.are_lost()), (follow, lost), "{memories:?}");
        }
    }
}
