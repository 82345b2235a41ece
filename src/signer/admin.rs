//! Commands of operators on the same machine, over `admin.sock` in the audit directory: open to the signer's user and
//! root (peer credentials). Each act is recorded before it is done.

use super::record::{self, Identity};
use super::release::Ticket;
use super::service::Service;
use super::watch;
use crate::audit::{Event, Log, LogError, Published};
use crate::config::Config;
use crate::door::bind;
use crate::door::frame::{self, FrameError};
use crate::exit::{self, Status};
use rustix::net::sockopt::socket_peercred;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// An operator's command to a running signer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum AdminAsk {
    /// Show the newest checkpoint. It shows no record, so it is not recorded.
    Status,
    /// Record an export, then make a checkpoint that covers it if one may be signed.
    Export {
        /// The target directory, for the record.
        directory: String,
    },
    /// Make a checkpoint if one may be signed, then record a backup: a copy of the log up to this record includes the
    /// record of the checkpoint.
    Backup {
        /// The target directory, for the record.
        directory: String,
    },
    /// Trust the time to which the clock was set.
    AcceptClock {
        /// The reason, for the record.
        reason: String,
    },
}

/// The answer to a command.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum AdminAnswer {
    /// The newest checkpoint; the published log has everything that it covers.
    Checkpoint {
        /// The signed note.
        note: String,
        /// Number of the record of the act, if it was recorded. The checkpoint covers the record of an export, unless
        /// no checkpoint may be signed yet.
        sequence: Option<u64>,
    },
    /// The clock's time is trusted now.
    ClockAccepted {},
    /// The command failed.
    Failed {
        /// For the operator.
        reason: String,
    },
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// No signer listens.
    #[error("no signer is running")]
    Stopped,
    /// This account has no access to the socket.
    #[error("this account may not reach the signer's socket")]
    Denied,
    /// The signer listens, but does not answer.
    #[error(
        "the signer runs and has not answered in {seconds} s: its process is stopped, or waits for the disk of its log; \
         look at its log lines and at /readyz"
    )]
    Silent {
        /// Time waited.
        seconds: u64,
    },
    /// A broken connection or a malformed answer.
    #[error("the signer's admin socket: {0}")]
    Broken(#[from] FrameError),
}

impl AdminError {
    pub(super) fn of_connect(error: std::io::Error) -> Self {
        use std::io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied};
        match error.kind() {
            NotFound | ConnectionRefused => Self::Stopped,
            PermissionDenied => Self::Denied,
            _ => Self::Broken(error.into()),
        }
    }

    /// The exit status (sysexits(3)).
    pub const fn exit_status(&self) -> Status {
        match self {
            Self::Denied => exit::NO_PERMISSION,
            Self::Stopped | Self::Silent { .. } | Self::Broken(_) => exit::UNAVAILABLE,
        }
    }
}

fn path(config: &Config) -> PathBuf {
    config.audit.directory.join("admin.sock")
}

/// Listens for operators until the process ends.
pub fn listen(config: &Config, service: &Arc<Service>, identity: Identity) -> std::io::Result<()> {
    let listener = bind(&path(config), 0o600)?;
    let service = Arc::downgrade(service);
    std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
        for stream in listener.incoming() {
            let answered =
                stream.map_err(FrameError::from).and_then(|stream| answer(&stream, &service, &identity));
            if let Err(error) = answered {
                tracing::warn!(%error, "an administrative command failed");
                // Without file descriptors the next accept(2) fails at once as well.
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    })?;
    Ok(())
}

fn answer(stream: &UnixStream, service: &Weak<Service>, identity: &Identity) -> Result<(), FrameError> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    let peer = socket_peercred(stream).map_err(std::io::Error::from)?;
    if !peer.uid.is_root() && peer.uid != rustix::process::getuid() {
        let reason = "only the signer's own user and root may command it".to_owned();
        return frame::write_one(stream, &AdminAnswer::Failed { reason });
    }
    let ask: AdminAsk = frame::read_one(stream)?;
    let operator = format!("uid {}", peer.uid);
    let answer = match service.upgrade() {
        Some(service) => match act(service.log(), &ask, &operator, identity) {
            Ok(answer) => answer,
            Err(reason) => AdminAnswer::Failed { reason },
        },
        None => AdminAnswer::Failed { reason: "the signer is stopping".to_owned() },
    };
    frame::write_one(stream, &answer)
}

/// Executes one act, after its record is durable.
fn act(
    log: &Log<Ticket>,
    ask: &AdminAsk,
    operator: &str,
    identity: &Identity,
) -> Result<AdminAnswer, String> {
    match ask {
        AdminAsk::Status => Ok(AdminAnswer::Checkpoint { note: newest(log)?.note.clone(), sequence: None }),
        AdminAsk::AcceptClock { reason } => {
            watch::accept(log, reason, operator).map(|()| AdminAnswer::ClockAccepted {})
        }
        AdminAsk::Export { directory } => {
            let (covering, sequence) = record_export(log, directory, operator, identity)?;
            Ok(AdminAnswer::Checkpoint { note: covering.note.clone(), sequence: Some(sequence) })
        }
        AdminAsk::Backup { directory } => {
            let note = covering(log)?.note.clone();
            let sequence = record_copy(log, Event::Backup, directory, operator, identity)?;
            Ok(AdminAnswer::Checkpoint { note, sequence: Some(sequence) })
        }
    }
}

/// The newest checkpoint.
pub(super) fn newest(log: &Log<Ticket>) -> Result<Arc<Published>, String> {
    log.newest().ok_or_else(|| "the log has no checkpoint".to_owned())
}

/// Records an export; then makes a checkpoint, which covers the record unless none may be signed yet.
pub(super) fn record_export(
    log: &Log<Ticket>,
    reason: &str,
    operator: &str,
    identity: &Identity,
) -> Result<(Arc<Published>, u64), String> {
    let sequence = record_copy(log, Event::Export, reason, operator, identity)?;
    Ok((covering(log)?, sequence))
}

/// Records a copy; returns the number of the record.
fn record_copy(
    log: &Log<Ticket>,
    event: Event,
    reason: &str,
    operator: &str,
    identity: &Identity,
) -> Result<u64, String> {
    let entry = record::copied(event, reason, operator, identity).map_err(|e| e.to_string())?;
    Ok(log.record(entry).map_err(|e| e.to_string())?.sequence())
}

/// A checkpoint over all earlier records, or the newest one if none may be signed yet.
fn covering(log: &Log<Ticket>) -> Result<Arc<Published>, String> {
    match log.checkpoint() {
        Err(LogError::Unconfirmed) => newest(log),
        made => made.map_err(|e| e.to_string()),
    }
}

/// Sends a command to the running signer.
pub fn ask_admin(config: &Config, ask: &AdminAsk) -> Result<AdminAnswer, AdminError> {
    let stream = UnixStream::connect(path(config)).map_err(AdminError::of_connect)?;
    let patience = match ask {
        AdminAsk::Status => Duration::from_secs(5),
        // Time for a record, and for a checkpoint from a slow token.
        _ => Duration::from_secs(60),
    };
    stream.set_read_timeout(Some(patience)).map_err(FrameError::from)?;
    frame::write_one(&stream, ask)?;
    frame::read_one(&stream).map_err(|error| match error {
        FrameError::Io(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            AdminError::Silent { seconds: patience.as_secs() }
        }
        error => AdminError::Broken(error),
    })
}
