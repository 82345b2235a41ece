//! Exports for auditors, over a socket of their own outside the private audit directory, without any command of an
//! operator.
//!
//! Two checks decide that a caller is an auditor: the kernel checks the calling process by the modes of the socket's
//! directory, and the signer checks the account by the account database. An export is recorded with that account,
//! covered by a checkpoint, and then sent: the records as published, never a payload. The auditor's own process builds
//! the bundle, so the signer opens no file that an auditor names.
//!
//! The cost of auditors is bounded: connections, time of each, and exports in an hour, since each export adds a record
//! and signs a checkpoint.

use super::admin::{AdminError, newest, record_export};
use super::bounds::{Budget, EXPORTS, EXPORTS_OF_ONE, Within};
use super::checkpoint_key::{log_keys_path, read_log_keys};
use super::record::Identity;
use super::service::Service;
use crate::audit::tiles::{TileReader, WIDTH};
use crate::clock;
use crate::config::{Auditors, Config, check_auditors};
use crate::door::bind;
use crate::door::frame::{self, FrameError};
use nix::unistd::{Group, Uid, User, getgrouplist};
use rustix::net::sockopt::socket_peercred;
use serde::{Deserialize, Serialize};
use std::ffi::CString;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// Open connections, of all auditors and of one account: an export and a status request at once.
const CONNECTIONS: usize = 8;
const CONNECTIONS_OF_ONE: usize = 2;
/// Pause between two connections: at most 50 in a second are accepted.
const PACE: Duration = Duration::from_millis(20);
/// Time to send an ask, and to read an answer.
const ASK_TIME: Duration = Duration::from_secs(5);
/// Time to read 256 records.
const BUNDLE_TIME: Duration = Duration::from_secs(30);
/// Bytes of the longest ask, with its length prefix.
const ASK_BYTES: u64 = 64;
/// Refused accounts are logged at most once in this time.
const TELL: Duration = Duration::from_secs(60);

/// An auditor's request, without any name or text.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum AuditorAsk {
    /// Show the newest checkpoint. It shows no record, so it is not recorded.
    Status,
    /// Record an export, and send all records under a checkpoint that covers it, if one may be signed.
    Export,
}

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum AuditorAnswer {
    /// The newest checkpoint. After an export the covered records follow, each after its length in two bytes,
    /// big-endian, as in the entry bundles of C2SP `tlog-tiles`.
    Checkpoint {
        /// The signed note.
        note: String,
        /// Verifier keys of the log.
        log_keys: Vec<String>,
        /// Number of the record of the export.
        sequence: Option<u64>,
    },
    /// The account is no auditor.
    Refused {
        /// For the auditor.
        reason: String,
    },
    /// Temporary.
    Later {
        /// For the auditor.
        reason: String,
    },
    /// The signer failed.
    Failed {
        /// For the auditor.
        reason: String,
    },
}

/// Listens for auditors until the process ends, if the configuration has any.
pub fn listen_for_auditors(
    config: &Arc<Config>,
    service: &Arc<Service>,
    identity: Identity,
) -> io::Result<()> {
    let Some(auditors) = &config.auditors else { return Ok(()) };
    for problem in check_auditors(auditors) {
        tracing::error!(%problem, "no auditor is answered as long as this holds");
    }
    let listener = bind(&auditors.socket, 0o666)?;
    let desk = Arc::new(Desk {
        auditors: auditors.clone(),
        config: Arc::clone(config),
        service: Arc::downgrade(service),
        identity,
        open: Mutex::default(),
        exports: Mutex::default(),
        told: Mutex::default(),
    });
    std::thread::Builder::new().name("auditors".to_owned()).spawn(move || {
        // At a lower priority than the signing threads; its own threads inherit it.
        let _ = rustix::process::nice(10);
        for stream in listener.incoming() {
            if let Err(error) = stream.map_err(FrameError::from).and_then(|stream| desk.accept(stream)) {
                tracing::warn!(%error, "an auditor was not answered");
            }
            std::thread::sleep(PACE);
        }
    })?;
    Ok(())
}

/// The signer's side of the socket.
struct Desk {
    auditors: Auditors,
    config: Arc<Config>,
    service: Weak<Service>,
    identity: Identity,
    /// Accounts of the open connections.
    open: Mutex<Vec<u32>>,
    exports: Mutex<Budget>,
    /// When a refused account was last logged.
    told: Mutex<Option<u64>>,
}

/// One open connection, counted until it is dropped.
struct OpenConnection {
    desk: Arc<Desk>,
    uid: u32,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let mut open = self.desk.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = open.iter().position(|uid| *uid == self.uid) {
            open.swap_remove(at);
        }
    }
}

impl Desk {
    /// Answers on a thread of its own: account databases and auditors may be slow.
    fn accept(self: &Arc<Self>, stream: UnixStream) -> Result<(), FrameError> {
        let uid = socket_peercred(&stream).map_err(io::Error::from)?.uid.as_raw();
        let Some(place) = self.admit(uid) else {
            let reason = format!(
                "expected at most {CONNECTIONS_OF_ONE} commands of one account at once and {CONNECTIONS} of all, found more"
            );
            // The answer fits into the socket's buffer.
            stream.set_nonblocking(true)?;
            return frame::write_one(&stream, &AuditorAnswer::Later { reason });
        };
        std::thread::Builder::new().name("auditor".to_owned()).spawn(move || {
            if let Err(error) = place.desk.serve(&stream, place.uid) {
                tracing::info!(uid = place.uid, %error, "an auditor's command ended early");
            }
        })?;
        Ok(())
    }

    fn admit(self: &Arc<Self>, uid: u32) -> Option<OpenConnection> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let own = open.iter().filter(|other| **other == uid).count();
        if open.len() >= CONNECTIONS || own >= CONNECTIONS_OF_ONE {
            return None;
        }
        open.push(uid);
        Some(OpenConnection { desk: Arc::clone(self), uid })
    }

    fn serve(&self, stream: &UnixStream, uid: u32) -> Result<(), FrameError> {
        // Read even before a refusal: a socket that is closed with unread bytes loses its answer.
        let ask = frame::read_one(Within::of(stream, ASK_TIME).take(ASK_BYTES))?;
        let answer = self.account(uid).and_then(|account| match ask {
            AuditorAsk::Status => self.status().map(|answer| (answer, 0)),
            AuditorAsk::Export => self.export(uid, &account),
        });
        match answer {
            Ok((answer, records)) => {
                frame::write_one(Within::of(stream, ASK_TIME), &answer)?;
                self.send(records, stream)
            }
            Err(no) => frame::write_one(Within::of(stream, ASK_TIME), &no),
        }
    }

    /// The account's name for records, if it is an auditor's.
    fn account(&self, uid: u32) -> Result<String, AuditorAnswer> {
        let (group, failed) = (&self.auditors.group, |reason| AuditorAnswer::Failed { reason });
        if let Some(problem) = check_auditors(&self.auditors).first() {
            return Err(failed(problem.to_string()));
        }
        let looked_up = || -> nix::Result<_> {
            let Some(user) = User::from_uid(Uid::from_raw(uid))? else { return Ok(None) };
            let name = CString::new(user.name.as_str()).map_err(|_| nix::errno::Errno::EINVAL)?;
            let wanted = Group::from_name(group)?.map(|group| group.gid);
            let member = getgrouplist(&name, user.gid)?.into_iter().any(|gid| Some(gid) == wanted);
            Ok(Some((user.name, member)))
        };
        let found = match looked_up() {
            Ok(Some((name, true))) => return Ok(format!("auditor {name} (uid {uid})")),
            Ok(Some((name, false))) => name,
            Ok(None) => format!("uid {uid}, which has no account"),
            Err(error) => {
                return Err(failed(format!("the account of uid {uid} cannot be looked up: {error}")));
            }
        };
        self.tell_refused(uid);
        Err(AuditorAnswer::Refused {
            reason: format!("expected a member of the group {group} (auditors.group), found {found}"),
        })
    }

    fn tell_refused(&self, uid: u32) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| clock::since(told) >= TELL) {
            *told = Some(clock::monotonic_nanos());
            tracing::warn!(uid, group = %self.auditors.group, "an account that is no auditor's was refused");
        }
    }

    fn status(&self) -> Result<AuditorAnswer, AuditorAnswer> {
        let newest = newest(self.service()?.log()).map_err(|reason| AuditorAnswer::Failed { reason })?;
        self.checkpoint(&newest.note, None)
    }

    /// Records the export durably first. The answer, and the number of records that follow it.
    fn export(&self, uid: u32, account: &str) -> Result<(AuditorAnswer, u64), AuditorAnswer> {
        let service = self.service()?;
        let mut exports = self.exports.lock().unwrap_or_else(PoisonError::into_inner);
        exports.take(uid, clock::monotonic_nanos()).map_err(|wait| AuditorAnswer::Later {
            reason: format!(
                "expected at most {EXPORTS_OF_ONE} exports of one account in an hour and {EXPORTS} of all, found more; \
                 there is room in {} min",
                wait.as_secs().div_ceil(60)
            ),
        })?;
        drop(exports);
        let (covering, sequence) =
            record_export(service.log(), "over the auditors' socket", account, &self.identity)
                .map_err(|reason| AuditorAnswer::Failed { reason })?;
        Ok((self.checkpoint(&covering.note, Some(sequence))?, covering.size))
    }

    fn checkpoint(&self, note: &str, sequence: Option<u64>) -> Result<AuditorAnswer, AuditorAnswer> {
        let keys = read_log_keys(&log_keys_path(&self.config))
            .map_err(|error| AuditorAnswer::Failed { reason: error.to_string() })?;
        let log_keys = keys.iter().map(ToString::to_string).collect();
        Ok(AuditorAnswer::Checkpoint { note: note.to_owned(), log_keys, sequence })
    }

    fn service(&self) -> Result<Arc<Service>, AuditorAnswer> {
        let stopping = || AuditorAnswer::Failed { reason: "the signer is stopping".to_owned() };
        self.service.upgrade().ok_or_else(stopping)
    }

    /// Sends the first `records` records of the published log.
    fn send(&self, records: u64, stream: &UnixStream) -> Result<(), FrameError> {
        let published = TileReader::open(self.config.audit.directory.join("published"));
        for index in 0..records.div_ceil(WIDTH) {
            let bundle = published
                .bundle(index, (records - index * WIDTH).min(WIDTH))
                .map_err(|error| FrameError::Io(io::Error::other(error)))?;
            Within::of(stream, BUNDLE_TIME).write_all(bundle.as_bytes())?;
        }
        Ok(())
    }
}

/// Sends a request to the running signer over the auditors' socket. The reader gives the bytes after the answer.
pub fn ask_auditor(
    auditors: &Auditors,
    ask: &AuditorAsk,
) -> Result<(AuditorAnswer, BufReader<UnixStream>), AdminError> {
    let stream = UnixStream::connect(&auditors.socket).map_err(AdminError::of_connect)?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).map_err(FrameError::from)?;
    let asked = frame::write_one(&stream, ask);
    let mut stream = BufReader::new(stream);
    // A signer at its limit of connections answers before it reads, and closes.
    match frame::read_one(&mut stream) {
        Ok(answer) => Ok((answer, stream)),
        Err(error) => Err(asked.err().unwrap_or(error).into()),
    }
}
