//! Runs the signer as a child of the gateway, and restarts it after every end.

use super::link::{Backoff, End, Link};
use crate::exit;
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// Limit of time for a child to end after its socket is closed. A child may hang inside the module, where no thread can
/// be ended; it would keep the log's lock, and every later signer would fail.
const CHILD_END: Duration = Duration::from_secs(25);

/// Limit of time for a child that gave no sign of life: it is stopped or hangs as a whole.
const SILENT_CHILD_END: Duration = Duration::from_secs(1);

/// The longest wait before the next start; also the wait after a status that needs an operator.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Starts the signer over a socket pair until the gateway stops. No end of a signer ends the gateway. Each start may
/// append records to the log, even one that serves nothing: so while signers end within a minute of their start the
/// waits double up to a minute, and are a minute at once after a status that needs an operator.
///
/// The socket is the child's standard input: it closes with the gateway, however the gateway ends.
pub async fn keep_child(mut link: Link, config_file: PathBuf) {
    let mut backoff = Backoff::new(LONGEST_WAIT, LONGEST_WAIT);
    loop {
        let began = tokio::time::Instant::now();
        let (mine, running) = match spawn_signer(&config_file) {
            Ok(child) => child,
            Err(error) => {
                tracing::error!(%error, "the signer cannot be started");
                link.client.away(&format!("the signer cannot be started: {error}"), false);
                if link.pause(backoff.wait(began.elapsed())).await {
                    return;
                }
                continue;
            }
        };
        // At the end the socket closes: the child sees the end of its input and ends in order.
        let end = link.serve(mine).await;
        let status =
            running.ended(if matches!(end, End::Silent) { SILENT_CHILD_END } else { CHILD_END }).await;
        if link.is_stopping() {
            return;
        }
        let code = status.and_then(|status| u8::try_from(status.code()?).ok());
        let meaning = match code {
            Some(code) => meaning(code),
            None => "it was killed",
        };
        let lasting = matches!(code, Some(exit::DATA | exit::NO_PERMISSION | exit::CONFIG));
        let reason = match end {
            End::Refused(reason) => reason,
            End::Broken(reason) => {
                let status = status.map_or_else(|| "no status".to_owned(), |status| status.to_string());
                format!("the signer ended ({status}: {meaning}); {reason}")
            }
            End::Silent => "the gateway is stopping".to_owned(),
        };
        let wait = if lasting { LONGEST_WAIT } else { backoff.wait(began.elapsed()) };
        link.client.away(&reason, lasting);
        tracing::error!(%reason, seconds = wait.as_secs_f32(), "the signer ended; a new one is started after a wait");
        if link.pause(wait).await {
            return;
        }
    }
}

/// Meaning of the signer's exit status, as in the README.
const fn meaning(status: exit::Status) -> &'static str {
    match status {
        exit::DATA => "the audit log is damaged or was rolled back",
        exit::SOFTWARE => "a call into the PKCS#11 module did not return",
        exit::OS => "the system refused something that it needs",
        exit::IO => "the disk of the audit log failed",
        exit::TEMPORARY => "the token failed",
        exit::NO_PERMISSION => "the PIN was refused, or must not be tried again",
        exit::CONFIG => "the configuration, the keys or the log are not as they must be",
        _ => "see its log lines",
    }
}

/// Settings of the C library's allocator, read at the start of a program, as in the signer's unit: software tokens and
/// OpenSSL free more small chunks at once than the thread cache's default of 7 for each size.
const ALLOCATOR: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.tcache_count=127");

fn spawn_signer(config_file: &Path) -> std::io::Result<(UnixStream, Running)> {
    let (mine, theirs) = UnixStream::pair()?;
    let (name, value) = ALLOCATOR;
    let child = Command::new("/proc/self/exe")
        // The operator's own settings are kept.
        .env(name, std::env::var_os(name).unwrap_or_else(|| value.into()))
        .args(["signer", "--child", "--config"])
        .arg(config_file)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        // The gateway reports READY=1 and pings the watchdog.
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC")
        .spawn()?;
    Ok((mine, Running::watch(child)?))
}

/// A child, and a thread that waits for its end.
struct Running {
    child: Arc<Mutex<Child>>,
    exited: oneshot::Receiver<ExitStatus>,
}

impl Running {
    fn watch(child: Child) -> std::io::Result<Self> {
        let pid = Pid::from_child(&child);
        let child = Arc::new(Mutex::new(child));
        let waiting = Arc::clone(&child);
        let (sender, exited) = oneshot::channel();
        std::thread::Builder::new().name("signer-exit".to_owned()).spawn(move || {
            // Waits without reaping: the process id stays the child's until the lock is held, so that no other process
            // is killed.
            let leave = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while matches!(waitid(WaitId::Pid(pid), leave), Err(Errno::INTR)) {}
            if let Ok(status) = waiting.lock().unwrap_or_else(PoisonError::into_inner).wait() {
                let _ = sender.send(status);
            }
        })?;
        Ok(Self { child, exited })
    }

    /// Its exit status; kills it after `patience`.
    async fn ended(mut self, patience: Duration) -> Option<ExitStatus> {
        if let Ok(status) = tokio::time::timeout(patience, &mut self.exited).await {
            return status.ok();
        }
        tracing::error!(
            "the signer does not end by itself: it is stopped, or a call into its module hangs; it is killed"
        );
        self.kill();
        (&mut self.exited).await.ok()
    }

    /// Does nothing to a child that was reaped.
    fn kill(&self) {
        if let Err(error) = self.child.lock().unwrap_or_else(PoisonError::into_inner).kill() {
            tracing::error!(%error, "the signer cannot be killed");
        }
    }
}

impl Drop for Running {
    /// Leaves no child behind that keeps the log's lock.
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn running(program: &str, argument: &str) -> Running {
        Running::watch(Command::new(program).arg(argument).spawn().unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_child_that_ends_tells_its_status() {
        let status = running("sh", "-c").ended(Duration::from_secs(30)).await.unwrap();
        assert_eq!(status.code(), Some(2), "sh wants a command");
    }

    #[tokio::test]
    async fn a_child_that_is_not_waited_for_any_more_is_killed() {
        let running = running("sleep", "600");
        let child = Arc::clone(&running.child);
        drop(running);
        loop {
            if let Some(status) = child.lock().unwrap().try_wait().unwrap() {
                return assert_eq!(status.signal(), Some(9));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn a_child_that_does_not_end_is_killed() {
        let status = running("sleep", "600").ended(Duration::from_millis(50)).await.unwrap();
        assert_eq!(status.signal(), Some(9));
    }
}
