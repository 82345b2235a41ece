//! The handshake and the waits between connections; connects to a separate signer.

use super::client::{Published, SignerClient};
use super::frame::{self, FrameError};
use super::message::{Hello, PROTOCOL_VERSION, Welcome};
use crate::config::{Config, ConfigDigest};
use crate::memory::{LogMemory, follow};
use rustix::net::sockopt::socket_peercred;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;

/// First wait before another try; doubles up to [`LAST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LAST_WAIT: Duration = Duration::from_secs(5);

/// State of the gateway that its connections share.
pub struct Link {
    /// Serves the connections.
    pub client: SignerClient,
    /// The current configuration.
    pub config: watch::Receiver<Arc<Config>>,
    /// The newest checkpoint: shown in the handshake, replaced by those that the signer sends.
    pub checkpoints: watch::Sender<LogMemory>,
    /// Set to the digest of the signer's rules when they differ.
    pub disagreement: watch::Sender<Option<ConfigDigest>>,
    /// Set when the gateway stops.
    pub stop: watch::Receiver<bool>,
}

#[derive(Debug)]
pub(super) enum End {
    /// It ended or failed.
    Broken(String),
    /// The signer refused it: an operator has to act.
    Refused(String),
    /// The gateway stops, and the signer did not close the connection in time.
    Silent,
}

/// Wait before the next try, with a jitter of up to a half.
fn wait_after(tries: u32, longest: Duration) -> Duration {
    let full = FIRST_WAIT.saturating_mul(1 << tries.min(10)).min(longest);
    let jitter = f64::from(crate::random::bytes::<1>()[0]) / 510.0;
    full.mul_f64(1.0 - jitter)
}

impl Link {
    /// Makes the handshake over a new connection and serves it until it ends.
    pub(super) async fn serve(&mut self, stream: UnixStream) -> End {
        let end = self.serve_told(stream).await;
        self.client.channel().forget_handshake();
        end
    }

    async fn serve_told(&mut self, stream: UnixStream) -> End {
        let welcome = match self.handshake(stream).await {
            Ok(Some((stream, welcome))) => (stream, welcome),
            Ok(None) => return End::Broken("the gateway is stopping".to_owned()),
            Err(error) => {
                self.client.inner().starts[1].fetch_add(1, Ordering::Relaxed);
                return End::Broken(format!("the handshake with the signer failed: {error}"));
            }
        };
        if !matches!(welcome.1, Welcome::Accepted { .. }) {
            self.client.inner().starts[1].fetch_add(1, Ordering::Relaxed);
        }
        match welcome {
            (_, Welcome::Refused { reason }) => {
                End::Refused(format!("the signer refused the gateway: {reason}"))
            }
            (stream, Welcome::Unconfirmed { reason }) => {
                tracing::error!(%reason, "the signer signs nothing until the operator has decided");
                self.client.away(&reason, true);
                self.client.channel().forget_handshake();
                // The signer keeps the connection open until its state changes.
                if let Ok(stream) = tokio::net::UnixStream::from_std(stream) {
                    tokio::select! {
                        _ = stream.readable() => {}
                        () = stopped(&mut self.stop) => {}
                    }
                }
                End::Refused(reason)
            }
            (_, Welcome::OtherRules { rules }) => {
                let mine = self.config.borrow().rules();
                self.disagreement.send_replace(Some(rules));
                End::Refused(format!(
                    "the signer's configuration has other rules ({rules}) than the gateway's ({mine}): after a change of \
                     the file restart the signer; the gateway then follows"
                ))
            }
            (stream, Welcome::Accepted { documents, checkpoint }) => {
                self.disagreement.send_replace(None);
                if let Err(error) = follow(&self.checkpoints, &checkpoint) {
                    return End::Refused(error.to_string());
                }
                let published = match Published::new(documents) {
                    Ok(published) => published,
                    Err(error) => return End::Refused(format!("a key of the signer: {error}")),
                };
                tracing::info!("the signer is connected");
                let end = self.client.serve(stream, published, &self.checkpoints, &mut self.stop).await;
                if matches!(&end, FrameError::Io(error) if error.kind() == std::io::ErrorKind::TimedOut) {
                    return End::Silent;
                }
                let end = format!("the connection to the signer ended: {end}");
                End::Broken(self.client.trouble().unwrap_or(end))
            }
        }
    }

    /// Exchanges two small messages outside the runtime's threads; `None` when the gateway stops meanwhile.
    async fn handshake(&mut self, stream: UnixStream) -> Result<Option<(UnixStream, Welcome)>, FrameError> {
        let kept = self.checkpoints.borrow().note().to_owned();
        let hello = {
            let config = self.config.borrow();
            // The configuration cannot change meanwhile: see [`SignerClient::may_take_over`].
            self.client.channel().begin_handshake();
            Hello {
                version: PROTOCOL_VERSION,
                config: config.digest(),
                rules: config.rules(),
                checkpoint: (!kept.is_empty()).then_some(kept),
            }
        };
        let handshake = tokio::task::spawn_blocking(move || {
            // A signer may take minutes to open a large log; one that has ended closes the socket.
            stream.set_read_timeout(Some(Duration::from_secs(300)))?;
            frame::write_one(&stream, &hello)?;
            let welcome = frame::read_one(&stream)?;
            stream.set_read_timeout(None)?;
            stream.set_nonblocking(true)?;
            Ok((stream, welcome))
        });
        tokio::select! {
            done = handshake => done.map_err(|e| FrameError::Io(std::io::Error::other(e)))?.map(Some),
            () = stopped(&mut self.stop) => Ok(None),
        }
    }

    /// Waits before the next try; true when the gateway stops.
    pub(super) async fn pause(&mut self, wait: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(wait) => false,
            () = stopped(&mut self.stop) => true,
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }
}

/// Waits that grow while tries fail one after the other.
pub(super) struct Backoff {
    made: u32,
    longest: Duration,
    /// A try that held for this long counts as a success.
    holds: Duration,
}

impl Backoff {
    /// Waits that double up to `longest`, and start again after a try that held for `holds`.
    pub(super) const fn new(longest: Duration, holds: Duration) -> Self {
        Self { made: 0, longest, holds }
    }

    /// The wait after a try that held for `held`.
    pub(super) fn wait(&mut self, held: Duration) -> Duration {
        if held > self.holds {
            self.made = 0;
        }
        let wait = wait_after(self.made, self.longest);
        self.made = self.made.saturating_add(1);
        wait
    }
}

/// Connects to the signer's socket, with back-off, until the gateway stops.
pub async fn keep_separate(mut link: Link, socket: PathBuf, signer_user: String) {
    let mut backoff = Backoff::new(LAST_WAIT, Duration::from_secs(10));
    let mut logged = String::new();
    // Why the last connection ended, which is more useful than the refused connections since.
    let mut ended: Option<String> = None;
    loop {
        let began = tokio::time::Instant::now();
        // A user's name may be looked up over a network: not on a thread that serves requests.
        let (path, user) = (socket.clone(), signer_user.clone());
        let connected = tokio::task::spawn_blocking(move || connect(&path, &user)).await;
        let (reason, lasting, wait) = match connected.unwrap_or_else(|e| Err(e.to_string())) {
            Ok(stream) => {
                let (reason, lasting) = match link.serve(stream).await {
                    End::Broken(reason) => (reason, false),
                    End::Refused(reason) => (reason, true),
                    End::Silent => ("the gateway is stopping".to_owned(), true),
                };
                ended = Some(reason.clone());
                (reason, lasting, backoff.wait(began.elapsed()))
            }
            // Nothing listens: another look costs little, and requests are waiting.
            Err(reason) => {
                let reason =
                    ended.as_ref().map_or(reason.clone(), |ended| format!("{ended}; since then {reason}"));
                (reason, false, FIRST_WAIT)
            }
        };
        link.client.away(&reason, lasting);
        if link.is_stopping() {
            return;
        }
        if reason != logged {
            tracing::warn!(%reason, "no connection to the signer; trying again until there is one");
            logged = reason;
        }
        if link.pause(wait).await {
            return;
        }
    }
}

fn connect(socket: &Path, signer_user: &str) -> Result<UnixStream, String> {
    let stream = UnixStream::connect(socket).map_err(|e| format!("{}: {e}", socket.display()))?;
    check_peer(&stream, signer_user)?;
    Ok(stream)
}

/// Refuses a peer that does not run as `user`.
pub fn check_peer(stream: &UnixStream, user: &str) -> Result<(), String> {
    let peer = socket_peercred(stream).map_err(|e| format!("no peer credentials: {e}"))?;
    let wanted = nix::unistd::User::from_name(user)
        .map_err(|e| format!("user {user}: {e}"))?
        .ok_or_else(|| format!("the user {user} does not exist on this machine"))?;
    if peer.uid.as_raw() == wanted.uid.as_raw() {
        Ok(())
    } else {
        Err(format!("expected the user {user} (uid {}) at the other end, found uid {}", wanted.uid, peer.uid))
    }
}

/// Listens on a socket at `path`, replacing the socket of an earlier process.
pub fn bind(path: &Path, mode: u32) -> std::io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The sender is gone: stop too.
    let _ = stop.wait_for(|s| *s).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_five_seconds_and_never_vanish() {
        assert!(wait_after(0, LAST_WAIT) >= FIRST_WAIT / 2);
        for tries in [6, 10, 11, 1_000, u32::MAX] {
            let wait = wait_after(tries, LAST_WAIT);
            assert!(wait >= LAST_WAIT.mul_f64(0.49) && wait <= LAST_WAIT, "{wait:?}");
        }
    }

    #[test]
    fn waits_grow_to_a_minute_after_short_tries_and_restart_after_a_long_one() {
        let minute = Duration::from_secs(60);
        let mut backoff = Backoff::new(minute, minute);
        // Opening a large log takes time.
        let waits: Vec<_> = (0..12).map(|_| backoff.wait(Duration::from_secs(20))).collect();
        assert!(waits[0] <= FIRST_WAIT && waits[11] >= minute.mul_f64(0.49), "{waits:?}");
        assert!(backoff.wait(Duration::from_secs(61)) <= FIRST_WAIT);
    }
}
