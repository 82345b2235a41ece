//! Watches the signer's clock: logs and records its changes, and accepts a new time for the operator.

use super::record;
use super::release::Ticket;
use crate::audit::Log;
use crate::clock::ClockChange;

/// Limit of bytes of the operator's reason.
const REASON_MAX: usize = 512;

/// Called every second.
pub(super) fn watch(log: &Log<Ticket>) {
    if let Some(change) = log.clock().look() {
        tell(log, &change);
    }
}

/// One log line and one record for each change of the clock.
fn tell(log: &Log<Ticket>, change: &ClockChange) {
    if let ClockChange::Lost(_) = change {
        tracing::error!("{change}; until then nothing that ends at a time is signed");
    } else {
        tracing::warn!("{change}");
    }
    let noted = record::clock(change).map_err(|e| e.to_string());
    if let Err(error) = noted.and_then(|entry| log.note(entry).map_err(|e| e.to_string())) {
        tracing::error!(%error, "a change of the clock was not recorded");
    }
}

/// `chancery clock accept`: trusts the time to which the clock was set, after the record of it is durable. A crash
/// before that leaves the clock in doubt.
pub(super) fn accept(log: &Log<Ticket>, reason: &str, operator: &str) -> Result<(), String> {
    if reason.is_empty() || reason.len() > REASON_MAX || reason.chars().any(char::is_control) {
        return Err(format!("expected a reason of 1 to {REASON_MAX} bytes without control characters"));
    }
    let clock = log.clock();
    if clock.now().is_ok() {
        return Err("the clock is trusted: there is nothing to accept".to_owned());
    }
    let distance = clock.distance();
    let entry = record::clock_accepted(reason, operator).map_err(|e| e.to_string())?;
    let _ = log.record(entry).map_err(|e| e.to_string())?;
    if !clock.accept(distance) {
        return Err("the clock was set once more meanwhile; look at it, and accept again".to_owned());
    }
    // The next start reads the record that the clock is trusted again.
    while let Some(change) = clock.look() {
        tell(log, &change);
    }
    Ok(())
}
