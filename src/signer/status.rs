//! The status that the signer sends each second: its sign of life, and facts about the log.
//!
//! To report one more value to the gateway, add a field to [`SignerStatus`], fill it in [`Beat::status`], and show it
//! in the metrics of `http`.

use super::release::Ticket;
use crate::audit::{Log, OnDisk};
use crate::clock;
use crate::door::message::SignerStatus;
use crate::memory::Lag;
use std::time::Duration;

/// State between two statuses.
#[derive(Default)]
pub(super) struct Beat {
    /// Size of the newest checkpoint, and when it was first seen.
    checkpoint: (u64, u64),
}

impl Beat {
    /// The current status. Does not read the disk: a hanging disk must not delay it.
    pub(super) fn status(&mut self, log: &Log<Ticket>, on_disk: OnDisk, memory: &Lag) -> SignerStatus {
        let now = clock::monotonic_nanos();
        let size = log.newest().map_or(0, |newest| newest.size);
        if size != self.checkpoint.0 || self.checkpoint.1 == 0 {
            self.checkpoint = (size, now);
        }
        SignerStatus {
            clock: log.clock().settled_distance(),
            trouble: log.clock().now().err().map(|doubt| doubt.to_string()),
            log_bytes: on_disk.bytes,
            log_free_bytes: on_disk.free,
            checkpoint_records: size,
            checkpoint_millis: whole_millis(Duration::from_nanos(now.saturating_sub(self.checkpoint.1))),
            oldest_record_millis: whole_millis(log.oldest_write()),
            memory_lag_millis: whole_millis(memory.get()),
        }
    }
}

fn whole_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
