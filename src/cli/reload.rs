//! A new configuration for a gateway that runs: because an operator says so (SIGHUP), or because the signer has another.

use crate::config::{self, Config, ConfigDigest};
use crate::signer::{SignerClient, message::Ask};
use crate::systemd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::Signal;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep};

/// How long the signer has to record a new configuration; without the record the gateway does not use it.
const RECORD: Duration = Duration::from_secs(10);

/// Until the gateway ends. `restart` is told when only a restart of the gateway brings it and its signer together.
pub(super) async fn run(
    file: PathBuf,
    client: SignerClient,
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
                    take_over(&client, &current, &new, false).await;
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
                take_over(&client, &current, &new, true).await;
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

/// What a running gateway can take, once the log says so; the log lines say what waits for a restart.
async fn take_over(client: &SignerClient, current: &watch::Sender<Arc<Config>>, new: &Config, rules: bool) {
    let merged = Arc::new(current.borrow().reloaded(new, rules));
    let due = Instant::now() + RECORD;
    loop {
        let told = client.told();
        let recorded = client.ask(&Ask::Configuration(merged.digest()), due).await;
        let taken = current.send_if_modified(|current| {
            // Point of no return: no answer is made with a configuration that the log does not name.
            let may = client.may_take_over(told.filter(|_| recorded.is_ok()));
            if may {
                *current = Arc::clone(&merged);
            }
            may
        });
        match recorded {
            _ if taken => break,
            Err(error) if Instant::now() >= due => {
                tracing::error!(%error, "the new configuration was not recorded, so the one before stays in use; try again");
                return;
            }
            _ => sleep(Duration::from_millis(100)).await,
        }
    }
    let waiting = merged.differences(new);
    if !waiting.is_empty() {
        tracing::warn!(
            keys = waiting.join(", "),
            "these keys of the configuration have changed and wait for a restart: of the signer for what it enforces, \
             else of the process that uses them"
        );
    }
}
