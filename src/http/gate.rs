//! The way to the signer: how many requests may wait there, what it published, and what a caller is told when it fails.

use super::front::CallerPermits;
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
    permits: Arc<Semaphore>,
    most: usize,
    answer_time: Duration,
    last: RwLock<Option<Arc<Publication>>>,
}

/// One of the `limits.in_flight` requests, and of the `limits.in_flight_per_caller` of its caller; given back when
/// dropped.
pub(super) struct Permit {
    _of_all: OwnedSemaphorePermit,
    _of_the_caller: OwnedSemaphorePermit,
    due: Instant,
}

impl Permit {
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
        let permits = Arc::new(Semaphore::new(most));
        Self { config, signer, memory, permits, most, answer_time, last: RwLock::new(None) }
    }

    /// A permit for a signer that takes asks; asked for before anything durable is done. A signer that has gone a moment ago
    /// is waited for: the permits bound how many requests wait, and the limits of bodies how large they are.
    ///
    /// Refused when the answer would come too late, as far as the last ones tell: what is turned away at once can be
    /// asked elsewhere, and does not make those behind it late.
    pub(super) async fn enter(
        &self,
        of_the_caller: &CallerPermits,
    ) -> Result<(Permit, Arc<Published>), Reply> {
        let permit = self.permit(of_the_caller).await?;
        self.remembered()?;
        let published = self.signer.ready(permit.due).await.map_err(|_| Reply::unavailable("signer-down"))?;
        if Instant::now() + self.signer.likely_time() > permit.due {
            return Err(Reply::unavailable("signer-overloaded"));
        }
        Ok((permit, published))
    }

    /// A permit for the signer, ready or not. A request first waits for one of its caller, and takes none of all meanwhile.
    pub(super) async fn permit(&self, of_the_caller: &CallerPermits) -> Result<Permit, Reply> {
        let due = Instant::now() + self.answer_time;
        // Most find one free, and set no timer. The semaphore gives a returned one to its first waiter: none is passed.
        let of_the_caller = match Arc::clone(&of_the_caller.0).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => tokio::time::timeout_at(due, Arc::clone(&of_the_caller.0).acquire_owned())
                .await
                .ok()
                .and_then(Result::ok)
                .ok_or_else(|| Reply::unavailable("caller-busy"))?,
        };
        match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(of_all) => Ok(Permit { _of_all: of_all, _of_the_caller: of_the_caller, due }),
            Err(_) => Err(Reply::unavailable("signer-busy")),
        }
    }

    /// Asks, with a permit. The reason of a failure is for the operator, never for the caller.
    pub(super) async fn ask(&self, permit: &Permit, ask: Ask) -> Result<Recorded, Reply> {
        self.remembered()?;
        self.signer.ask(&ask, permit.due).await.map_err(|error| match error {
            AskError::Unavailable { reason } => {
                tracing::debug!(%reason, "the signer could not answer");
                Reply::unavailable("signer-unavailable")
            }
            AskError::Forbidden { reason } => {
                tracing::error!(
                    rule = reason.name(),
                    "the signer forbade what this gateway asked for: their rules differ"
                );
                Reply::our_fault()
            }
        })
    }

    /// The self-test of every key, for the readiness probe; the text of a failure is for the operator.
    pub(super) async fn self_test(&self, due: Instant) -> Result<(), String> {
        match self.signer.ask(&Ask::SelfTest, due).await {
            Ok(_) => Ok(()),
            Err(AskError::Unavailable { reason }) => Err(reason),
            Err(AskError::Forbidden { reason }) => Err(format!("forbidden by {}", reason.name())),
        }
    }

    /// The client of the signer.
    pub(super) fn signer(&self) -> &SignerClient {
        &self.signer
    }

    /// Why no answer would be signed and recorded; `None` when one would.
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

    /// For how long each memory of the log was not kept.
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
        self.most.saturating_sub(self.permits.available_permits())
    }

    /// Waits until all permits are back: effects that began are brought to their end.
    pub(super) async fn empty(&self) {
        let all = u32::try_from(self.most).unwrap_or(u32::MAX);
        drop(self.permits.acquire_many(all).await);
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
