//! Who keeps the connection to the signer: as a child of the gateway's own, or as a service beside it.

use super::client::{Published, SignerClient};
use super::frame::{self, FrameError};
use super::memory::{LogMemory, follow};
use super::message::{Hello, PROTOCOL_VERSION, Welcome};
use crate::config::Config;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// First wait before another try; doubled up to [`LAST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LAST_WAIT: Duration = Duration::from_secs(5);

/// How long a child whose socket is closed may take to end. It may hang inside the module, where no thread can be
/// ended; it would keep the log's lock, and every signer after it would fail.
const LAST_BREATH: Duration = Duration::from_secs(25);

/// Why the link ended for good.
#[derive(Debug)]
pub enum LinkEnd {
    /// The gateway is stopping and the signer has ended.
    Stopped,
    /// The child ended with a status that must not be tried again: 77 (PIN), 78 (configuration), 65 (damaged log).
    Final(u8),
}

/// Wait before the next try, with a jitter of up to a half so that many do not come at once.
fn wait_after(tries: u32) -> Duration {
    let full = FIRST_WAIT.saturating_mul(1 << tries.min(10)).min(LAST_WAIT);
    let jitter = f64::from(crate::random::bytes::<1>()[0]) / 510.0;
    full.mul_f64(1.0 - jitter)
}

/// Says hello over a fresh connection and serves it until it ends.
async fn serve(
    client: &SignerClient,
    config: &Config,
    stream: UnixStream,
    checkpoints: &watch::Sender<LogMemory>,
    stop: &mut watch::Receiver<bool>,
) -> Result<(), String> {
    let text = |e: &dyn std::fmt::Display| e.to_string();
    let kept = checkpoints.borrow().note().to_owned();
    let hello = Hello {
        version: PROTOCOL_VERSION,
        config: hex::encode(config.digest.0),
        checkpoint: (!kept.is_empty()).then_some(kept),
    };
    // The handshake is two small messages; it runs apart from the runtime's threads.
    let handshake = tokio::task::spawn_blocking(move || -> Result<(UnixStream, Welcome), FrameError> {
        // A signer that opens a large log needs its time; one that has ended closes the socket.
        stream.set_read_timeout(Some(Duration::from_secs(300)))?;
        frame::write_one(&stream, &hello)?;
        let welcome = frame::read_one(&stream)?;
        stream.set_read_timeout(None)?;
        stream.set_nonblocking(true)?;
        Ok((stream, welcome))
    });
    let (stream, welcome) = tokio::select! {
        done = handshake => done.map_err(|e| text(&e))?.map_err(|e| text(&e))?,
        () = stopped(stop) => return Err("stopping".to_owned()),
    };
    match welcome {
        Welcome::Refused { reason } => Err(format!("the signer refused the gateway: {reason}")),
        Welcome::Unconfirmed { reason } => {
            tracing::error!(%reason, "the signer signs nothing until the operator has decided");
            client.down(&reason);
            // The signer holds the connection as long as nothing changes.
            let stream = tokio::net::UnixStream::from_std(stream).map_err(|e| text(&e))?;
            tokio::select! {
                _ = stream.readable() => {}
                () = stopped(stop) => {}
            }
            Err(reason)
        }
        Welcome::Accepted { keys, signed_metadata, checkpoint } => {
            follow(checkpoints, &checkpoint).map_err(|e| text(&e))?;
            let published = Published::new(keys, signed_metadata).map_err(|e| text(&e))?;
            tracing::info!("the signer is connected");
            Err(client.serve(stream, Arc::new(published), checkpoints, stop).await.to_string())
        }
    }
}

/// Starts the signer as a child over a socket pair, again and again with back-off, until `stop`.
///
/// The socket is the child's standard input: it closes with the gateway, however the gateway ends.
pub async fn keep_child(
    client: SignerClient,
    config: Arc<Config>,
    config_file: std::path::PathBuf,
    checkpoints: watch::Sender<LogMemory>,
    mut stop: watch::Receiver<bool>,
) -> LinkEnd {
    let mut tries = 0;
    loop {
        let started = tokio::time::Instant::now();
        let (mine, running) = match spawn_signer(&config_file) {
            Ok(child) => child,
            Err(error) => {
                tracing::error!(%error, "the signer cannot be started");
                client.down(&error.to_string());
                if pause(tries, &mut stop).await {
                    return LinkEnd::Stopped;
                }
                tries = tries.saturating_add(1);
                continue;
            }
        };
        // At its end the socket closes: the child sees the end of its input and ends in order.
        let reason = serve(&client, &config, mine, &checkpoints, &mut stop).await.err().unwrap_or_default();
        client.down(&reason);
        let status = running.ended(LAST_BREATH).await;
        if *stop.borrow() {
            return LinkEnd::Stopped;
        }
        tracing::error!(%reason, status = ?status.map(|s| s.to_string()), "the signer ended; a new one is started");
        if let Some(code @ (65 | 77 | 78)) = status.and_then(|s| s.code()) {
            return LinkEnd::Final(u8::try_from(code).unwrap_or(75));
        }
        if started.elapsed() > Duration::from_secs(10) {
            tries = 0;
        }
        if pause(tries, &mut stop).await {
            return LinkEnd::Stopped;
        }
        tries = tries.saturating_add(1);
    }
}

/// Settings of the C library's allocator, which it reads when a program starts; the unit of the signer has the same.
/// Software tokens and OpenSSL free more small pieces at once than the 7 of each size that a thread keeps by itself.
const ALLOCATOR: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.tcache_count=127");

/// The child and its socket.
fn spawn_signer(config_file: &Path) -> std::io::Result<(UnixStream, Running)> {
    let (mine, theirs) = UnixStream::pair()?;
    let (name, value) = ALLOCATOR;
    let child = Command::new("/proc/self/exe")
        // The operator's own stay.
        .env(name, std::env::var_os(name).unwrap_or_else(|| value.into()))
        .args(["signer", "--child", "--config"])
        .arg(config_file)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        // READY and the watchdog are the gateway's to tell.
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
        let pid = Pid::from_raw(i32::try_from(child.id()).map_err(std::io::Error::other)?);
        let child = Arc::new(Mutex::new(child));
        let waiting = Arc::clone(&child);
        let (sender, exited) = oneshot::channel();
        std::thread::Builder::new().name("signer-exit".to_owned()).spawn(move || {
            // Waits without reaping: the number stays the child's until the lock is held, so that nobody else is killed.
            let leave = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
            while waitid(Id::Pid(pid), leave) == Err(nix::errno::Errno::EINTR) {}
            if let Ok(status) = waiting.lock().unwrap_or_else(PoisonError::into_inner).wait() {
                let _ = sender.send(status);
            }
        })?;
        Ok(Self { child, exited })
    }

    /// How it ended; it is killed if it does not within `patience`.
    async fn ended(mut self, patience: Duration) -> Option<ExitStatus> {
        if let Ok(status) = tokio::time::timeout(patience, &mut self.exited).await {
            return status.ok();
        }
        tracing::error!("the signer does not end by itself: a call into its module may hang; it is killed");
        if let Err(error) = self.child.lock().unwrap_or_else(PoisonError::into_inner).kill() {
            tracing::error!(%error, "the signer cannot be killed");
        }
        self.exited.await.ok()
    }
}

/// Connects to the signer's socket, again and again with back-off, until `stop`.
pub async fn keep_separate(
    client: SignerClient,
    config: Arc<Config>,
    socket: std::path::PathBuf,
    signer_user: String,
    checkpoints: watch::Sender<LogMemory>,
    mut stop: watch::Receiver<bool>,
) -> LinkEnd {
    let mut tries = 0;
    loop {
        let started = tokio::time::Instant::now();
        // Names of users may be looked up over a network: not on a thread that serves requests.
        let (path, user) = (socket.clone(), signer_user.clone());
        let connected = tokio::task::spawn_blocking(move || connect(&path, &user)).await;
        let reason = match connected.unwrap_or_else(|e| Err(e.to_string())) {
            Ok(stream) => {
                serve(&client, &config, stream, &checkpoints, &mut stop).await.err().unwrap_or_default()
            }
            Err(reason) => reason,
        };
        client.down(&reason);
        if *stop.borrow() {
            return LinkEnd::Stopped;
        }
        tracing::warn!(%reason, "no connection to the signer; trying again");
        if started.elapsed() > Duration::from_secs(10) {
            tries = 0;
        }
        if pause(tries, &mut stop).await {
            return LinkEnd::Stopped;
        }
        tries = tries.saturating_add(1);
    }
}

fn connect(socket: &Path, signer_user: &str) -> Result<UnixStream, String> {
    let stream = UnixStream::connect(socket).map_err(|e| format!("{}: {e}", socket.display()))?;
    check_peer(&stream, signer_user)?;
    Ok(stream)
}

/// The process at the other end must run as `user`.
pub fn check_peer(stream: &UnixStream, user: &str) -> Result<(), String> {
    let peer = getsockopt(stream, PeerCredentials).map_err(|e| format!("no peer credentials: {e}"))?;
    let wanted = nix::unistd::User::from_name(user)
        .map_err(|e| format!("user {user}: {e}"))?
        .ok_or_else(|| format!("the user {user} does not exist on this machine"))?;
    if peer.uid() == wanted.uid.as_raw() {
        Ok(())
    } else {
        Err(format!(
            "expected the user {user} (uid {}) at the other end, found uid {}",
            wanted.uid,
            peer.uid()
        ))
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that nobody can say stop any more: as good as the word.
    let _ = stop.wait_for(|s| *s).await;
}

/// Waits before the next try; true when it is time to stop.
async fn pause(tries: u32, stop: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        () = tokio::time::sleep(wait_after(tries)) => false,
        () = stopped(stop) => true,
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
    async fn a_child_that_does_not_end_is_killed() {
        let status = running("sleep", "600").ended(Duration::from_millis(50)).await.unwrap();
        assert_eq!(status.signal(), Some(9));
    }

    #[test]
    fn waits_grow_to_five_seconds_and_never_vanish() {
        assert!(wait_after(0) >= FIRST_WAIT / 2);
        for tries in [6, 10, 11, 1_000, u32::MAX] {
            let wait = wait_after(tries);
            assert!(wait >= LAST_WAIT.mul_f64(0.49) && wait <= LAST_WAIT, "{wait:?}");
        }
    }
}
