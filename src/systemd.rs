//! What the service manager is told (`sd_notify(3)`). Without a manager (no `NOTIFY_SOCKET`) every call does nothing.

use sd_notify::NotifyState;
use std::time::Duration;

/// `READY=1`: the service does its work from now on. Not to be sent a moment earlier.
pub fn ready() {
    tell(&[NotifyState::Ready, NotifyState::Status("ready")]);
}

/// `STATUS=`: one line for `systemctl status`.
pub fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

/// `STOPPING=1`: no new work is taken.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// `WATCHDOG=1`: still alive. To be sent only by the loop whose life matters.
pub fn watchdog() {
    tell(&[NotifyState::Watchdog]);
}

/// How often [`watchdog`] must be called: half of `WATCHDOG_USEC` (`sd_watchdog_enabled(3)`); `None` if nobody watches.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        // A manager that cannot be reached must not end the service: it will notice by itself.
        tracing::warn!(%error, "the service manager could not be told; check NOTIFY_SOCKET");
    }
}
