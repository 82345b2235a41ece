//! Records each change of the gateway's configuration before the first answer that uses it.

use super::record::{self, RecordError};
use crate::audit::Entry;
use crate::clock;
use crate::config::ConfigDigest;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Changes in a row, for operators who try settings.
const MOST: u32 = 20;

/// Time until one more change is allowed: a compromised gateway adds at most 1,440 records a day, about 1 MB.
const EACH: Duration = Duration::from_secs(60);

/// The gateway's configuration changes too often for the log.
#[derive(Debug, thiserror::Error)]
#[error(
    "the gateway's configuration changed more than {MOST} times, and each change is recorded: the next may come within {} s",
    EACH.as_secs()
)]
pub(super) struct TooOften;

/// See the file.
pub(super) struct Loaded(Mutex<State>);

struct State {
    /// The configuration in the newest record; `None` before the first gateway of this process, so that any part of the
    /// log from a start on names the configurations of both processes.
    recorded: Option<ConfigDigest>,
    /// Number of allowed changes, as of `counted`.
    left: u32,
    counted: u64,
}

impl Default for Loaded {
    fn default() -> Self {
        Self(Mutex::new(State { recorded: None, left: MOST, counted: clock::monotonic_nanos() }))
    }
}

impl Loaded {
    /// Lets `append` put the record of a change into the log, before this returns; `None` without a change.
    pub(super) fn record<T, E: From<TooOften> + From<RecordError>>(
        &self,
        gateway: ConfigDigest,
        signer: ConfigDigest,
        append: impl FnOnce(Entry) -> Result<T, E>,
    ) -> Result<Option<T>, E> {
        // Held until the record is queued: the changes of two gateways are recorded one after the other.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.recorded == Some(gateway) {
            return Ok(None);
        }
        state.count(clock::monotonic_nanos());
        state.left = state.left.checked_sub(1).ok_or(TooOften)?;
        let appended = append(record::configuration(gateway, state.recorded, signer)?)?;
        state.recorded = Some(gateway);
        Ok(Some(appended))
    }
}

impl State {
    fn count(&mut self, now: u64) {
        let each = u64::try_from(EACH.as_nanos()).unwrap_or(u64::MAX);
        let more = now.saturating_sub(self.counted) / each;
        self.counted += more * each;
        self.left = u32::try_from(more).unwrap_or(MOST).saturating_add(self.left).min(MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Not {
        #[error(transparent)]
        TooOften(#[from] TooOften),
        #[error(transparent)]
        Record(#[from] RecordError),
        #[error("the log took nothing")]
        Log,
    }

    #[test]
    fn only_a_change_is_recorded_and_one_that_was_not_recorded_is_none() {
        let loaded = Loaded::default();
        let record = |digest, appended: bool| {
            let signer = ConfigDigest([9; 32]);
            loaded.record(ConfigDigest([digest; 32]), signer, |_| appended.then_some(()).ok_or(Not::Log))
        };
        assert!(matches!(record(1, false), Err(Not::Log)));
        assert!(matches!(record(1, true), Ok(Some(()))));
        assert!(matches!(record(1, true), Ok(None)));
        assert!(matches!(record(2, true), Ok(Some(()))));
        assert!(matches!(record(1, true), Ok(Some(()))));
    }

    #[test]
    fn a_gateway_that_changes_all_the_time_adds_one_record_a_minute() {
        let loaded = Loaded::default();
        let change = |digest: u32| {
            let digest = ConfigDigest(crate::sha256::sha256(&digest.to_le_bytes()));
            loaded.record(digest, digest, |_| Ok::<_, Not>(()))
        };
        let recorded = (0..1000).filter(|n| matches!(change(*n), Ok(Some(())))).count();
        assert_eq!(recorded, MOST as usize);
        assert!(matches!(change(1000), Err(Not::TooOften(_))));
        let mut state = State { recorded: None, left: 0, counted: 0 };
        for (minute, left) in [(0, 0), (2, 2), (3, 3), (100_000, MOST)] {
            state.count(minute * 60_000_000_000 + 7);
            assert_eq!(state.left, left, "{minute}");
        }
    }
}
