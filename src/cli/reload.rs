//! A new configuration for a gateway that runs: because an operator says so (SIGHUP), or because the signer has another.

use crate::config::{self, Config, ConfigDigest};
use crate::systemd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::signal::unix::Signal;
use tokio::sync::{oneshot, watch};

/// Until the gateway ends. `restart` is told when only a restart of the gateway brings it and its signer together.
pub(super) async fn run(
    file: PathBuf,
    current: watch::Sender<Arc<Config>>,
    mut disagrees: watch::Receiver<Option<ConfigDigest>>,
    mut asked: Signal,
    restart: oneshot::Sender<()>,
) {
    loop {
        tokio::select! {
            heard = asked.recv() => {
                if heard.is_none() {
                    return;
                }
                systemd::reloading();
                if let Some(new) = read(&file).await {
                    take_over(&current, &new, false);
                }
                systemd::reloaded();
            }
            changed = disagrees.changed() => {
                if changed.is_err() {
                    return;
                }
                let Some(theirs) = *disagrees.borrow_and_update() else { continue };
                // The signer may have read a file that was written a moment ago.
                let Some(new) = read(&file).await.filter(|new| new.rules() == theirs) else { continue };
                take_over(&current, &new, true);
                if current.borrow().rules() != theirs && systemd::is_managed() {
                    tracing::error!("the gateway ends, to start again with the configuration that its signer has");
                    let _ = restart.send(());
                    return;
                }
            }
        }
    }
}

/// Every mistake of a broken file is logged, and changes nothing.
async fn read(file: &Path) -> Option<Config> {
    let path = file.to_owned();
    // Not on a thread that serves requests.
    match tokio::task::spawn_blocking(move || config::load(&path)).await {
        Ok(Ok(config)) => Some(config),
        Ok(Err(mistakes)) => {
            // A line each, as `config check` prints them.
            for mistake in mistakes.to_string().lines() {
                tracing::error!(mistake, "the configuration was not taken over; the one before stays in use");
            }
            None
        }
        Err(error) => {
            tracing::error!(%error, "the configuration was not read; the one before stays in use");
            None
        }
    }
}

/// What a running gateway can take; the log says what waits for a restart.
fn take_over(current: &watch::Sender<Arc<Config>>, new: &Config, rules: bool) {
    let merged = current.borrow().reloaded(new, rules);
    let waiting = merged.differences(new);
    if !waiting.is_empty() {
        tracing::warn!(
            keys = waiting.join(", "),
            "these keys of the configuration have changed and wait for a restart: of the signer for what it enforces, \
             else of the process that uses them"
        );
    }
    current.send_replace(Arc::new(merged));
}
