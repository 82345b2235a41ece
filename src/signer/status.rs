//! What the signer says of itself each second, unasked: its sign of life, and what only it can know about the log.
//!
//! To tell the gateway one thing more, add a field to [`SignerStatus`], fill it in [`Beat::status`], and show it where
//! `http` makes its metrics.

use super::lag::Lag;
use super::worker::Ticket;
use crate::audit::{Log, OnDisk};
use crate::clock;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How the signer and its log are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignerStatus {
    /// Why it can sign nothing at the moment, for the operator.
    pub trouble: Option<String>,
    /// How far the wall clock is from the boot clock, in nanoseconds, while the signer trusts it: what an operator has
    /// accepted there holds for the gateway too ([`crate::clock::Clock::accept`]).
    pub clock: Option<i64>,
    /// Bytes of the log's segments on the disk.
    pub log_bytes: u64,
    /// Bytes that their file system has left.
    pub log_free_bytes: u64,
    /// Records under the newest checkpoint.
    pub checkpoint_records: u64,
    /// Milliseconds since the newest checkpoint was published.
    pub checkpoint_millis: u64,
    /// Milliseconds that the oldest record has waited which is not durable yet; 0 when there is none.
    pub oldest_record_millis: u64,
    /// Milliseconds for which the signer has not kept the newest checkpoint in its state directory; 0 while it has.
    pub memory_lag_millis: u64,
}

/// What has to be remembered from one second to the next.
#[derive(Default)]
pub(super) struct Beat {
    /// Records under the newest checkpoint, and when that was first seen.
    checkpoint: (u64, u64),
}

impl Beat {
    /// As things are now. It asks the disk nothing: a disk that hangs must not keep the signer from saying so.
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
