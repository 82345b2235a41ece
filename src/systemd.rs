//! Messages to the service manager (`sd_notify(3)`). Without a manager (no `NOTIFY_SOCKET`) every call does nothing.

use listenfd::ListenFd;
use sd_notify::NotifyState;
use std::net::TcpListener;
use std::time::Duration;

/// `READY=1`: the service works. Not sent earlier.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// `STATUS=`: one line for `systemctl status`.
pub fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

/// `STOPPING=1`: no new work is taken.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// `WATCHDOG=1`. Only the supervised loop sends it.
pub fn watchdog() {
    tell(&[NotifyState::Watchdog]);
}

/// Interval for [`watchdog`]: half of `WATCHDOG_USEC` (`sd_watchdog_enabled(3)`); `None` without a watchdog.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

/// `RELOADING=1`: a new configuration is read; [`reloaded`] follows.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the service manager was not told of a reload"),
    }
}

/// `READY=1` after [`reloading`], which leaves the status line as it is.
pub fn reloaded() {
    tell(&[NotifyState::Ready]);
}

/// Whether a service manager started this process and will restart it.
pub fn is_managed() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Listening TCP sockets that the manager passed on (`sd_listen_fds(3)`). To be called once, at start.
pub fn sockets() -> Vec<TcpListener> {
    let mut passed = ListenFd::from_env();
    // Other file descriptors are ignored.
    (0..passed.len()).filter_map(|place| passed.take_tcp_listener(place).ok().flatten()).collect()
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        // An unreachable manager must not end the service: it will notice by itself.
        tracing::warn!(%error, "the service manager could not be told; check NOTIFY_SOCKET");
    }
}
