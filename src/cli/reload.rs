//! Replaces the configuration of a running gateway, at SIGHUP or when the signer has another one.

use crate::config::{self, Config, ConfigDigest};
use crate::door::{SignerClient, message::Ask};
use crate::systemd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::Signal;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep};

/// Limit of time for the signer's record of a new configuration; without the record the gateway does not use it.
const RECORD: Duration = Duration::from_secs(10);

/// The task that takes over new configurations.
pub(super) struct Reload {
    pub(super) file: PathBuf,
    /// Records a new configuration before it is used.
    pub(super) client: SignerClient,
    pub(super) current: watch::Sender<Arc<Config>>,
    /// The one that serves requests; `None` for that of the start.
    pub(super) is_taken_over: watch::Receiver<Option<Arc<Config>>>,
}

impl Reload {
    /// Runs until the gateway ends. `restart` is notified when only a restart of the gateway makes both configurations
    /// equal.
    pub(super) async fn run(
        mut self,
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
                    if let Some(new) = read(&self.file).await {
                        self.take_over(&new, false).await;
                    }
                    systemd::reloaded();
                }
                changed = disagrees.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let Some(theirs) = *disagrees.borrow_and_update() else { continue };
                    // The signer may have read a file that was written a moment ago.
                    let Some(new) = read(&self.file).await.filter(|new| new.rules() == theirs) else { continue };
                    self.take_over(&new, true).await;
                    if self.current.borrow().rules() != theirs && systemd::is_managed() {
                        tracing::error!("the gateway ends, to start again with the configuration that its signer has");
                        let _ = restart.send(());
                        return;
                    }
                }
            }
        }
    }

    /// Takes over the settings that a running gateway can, after the log has recorded it. One log line names these and
    /// the others.
    async fn take_over(&mut self, new: &Config, rules: bool) {
        let before = Arc::clone(&self.current.borrow());
        let merged = Arc::new(before.reloaded(new, rules));
        let due = Instant::now() + RECORD;
        loop {
            let handshake = self.client.handshake();
            let recorded = self.client.ask(&Ask::Configuration(merged.digest()), due).await;
            let taken = self.current.send_if_modified(|current| {
                // Point of no return: no answer is made with a configuration that the log does not name.
                let may = self.client.may_take_over(handshake.filter(|_| recorded.is_ok()));
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
        let in_use =
            |found: &Option<Arc<Config>>| found.as_ref().is_some_and(|found| Arc::ptr_eq(found, &merged));
        if self.is_taken_over.wait_for(in_use).await.is_err() {
            // The gateway ends.
            return;
        }
        let (taken, waiting) = (merged.differences(&before).join(", "), merged.differences(new).join(", "));
        let digest = merged.digest();
        if waiting.is_empty() {
            tracing::info!(%digest, taken, "the configuration was taken over");
        } else {
            tracing::warn!(
                %digest,
                taken,
                waiting,
                "the configuration was taken over, but not all of it: the keys in `waiting` stay as they were until a \
                 restart, of the signer for what it enforces, else of the process that uses them"
            );
        }
    }
}

/// Logs every mistake of a broken file, which changes nothing.
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
