//! Opens token and log of a configuration; and, as a separate act, creates the log.

use super::calls::{Calls, Doing};
use super::checkpoint_key::{CheckpointKeys, keep_log_keys, likely_log_keys, log_keys_path};
use super::content::SigningInput;
use super::kept::Memory;
use super::keyring::{Keyring, KeyringError, RefusedKey};
use super::known::KnownKeys;
use super::login::open_token;
use super::record::{self, Identity, RecordError, Signer};
use super::release::{Sealed, Ticket, release_all};
use super::service::Ending;
use super::state::StateDirectory;
use super::unproved::Unproved;
use crate::audit::{
    CheckpointRef, Continuity, CreateError, Digest, Event, Handlers, LockError, Log, LogError, LogLock,
    LogSettings, NewLog, NotExtended, OpenError, Outcome, Recovery, create,
};
use crate::claims::{Issuer, Purpose};
use crate::clock::{TimeSource, Trusted};
use crate::config::Config;
use crate::exit::{self, Status};
use crate::hsm::{
    self, ErrorClass, FindError, GenerateError, Hsm, HsmError, PinFileError, SignError, TokenInfo,
};
use crate::protocol;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

/// Why the signer does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The PIN cannot be read.
    #[error("the PIN: {0}")]
    PinFile(#[from] PinFileError),
    /// `pin_credential` without systemd.
    #[error(
        "pin_credential is configured, but $CREDENTIALS_DIRECTORY is not set: start under systemd with LoadCredential, or use pin_file"
    )]
    NoCredentials,
    /// The token refused this PIN before, so it was not used.
    #[error(
        "{why}; it is not given to the token again: put the right PIN in place, or run chancery pin clear to have this one tried once more ({})",
        mark.display()
    )]
    PinRefused {
        /// Time, and the token's error.
        why: String,
        /// The file `pin-refused`.
        mark: PathBuf,
    },
    /// A file of the signer's state directory.
    #[error("{}: {error}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// The error.
        error: std::io::Error,
    },
    /// `[hsm] token` is not a token URI.
    #[error("[hsm] token: {0}")]
    TokenUri(#[from] hsm::TokenUriError),
    /// No token, or no login.
    #[error(transparent)]
    Open(#[from] hsm::OpenError),
    /// The token failed.
    #[error(transparent)]
    Token(#[from] HsmError),
    /// A key is missing or refused.
    #[error(transparent)]
    Keys(#[from] KeyringError),
    /// A key was not made.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// `--after` names no newest generation.
    #[error("--after {asked}: expected the newest generation of a series that [[keys]] names{}", newest.as_ref().map_or_else(String::new, |newest| format!(", which is {newest}")))]
    After {
        /// The given label.
        asked: String,
        /// The newest generation, if it is of a configured series that has one.
        newest: Option<String>,
    },
    /// The log cannot be opened.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// The log cannot be created.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The first records cannot be written.
    #[error("the start cannot be recorded: {0}")]
    Record(#[from] LogError),
    /// A record that cannot be serialized: a defect.
    #[error("the start cannot be recorded: {0}")]
    Prepare(#[from] RecordError),
    /// The register of checkpoint keys beside the published log.
    #[error("{}: {reason}", path.display())]
    Register {
        /// The file.
        path: PathBuf,
        /// The error.
        reason: String,
    },
    /// The signer's own memory of the log cannot be read or written.
    #[error("the signer's memory of the log, {}: {source}", path.display())]
    Memory {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The log does not extend the signer's memory.
    #[error(
        "the checkpoint that the signer kept in {}: {why}; restore the newest copy of the log, or decide with `chancery audit adopt --config FILE --reason TEXT` that this log goes on",
        path.display()
    )]
    NotExtended {
        /// The signer's memory.
        path: PathBuf,
        /// The difference.
        why: NotExtended,
    },
    /// A log is to be created, but a checkpoint of it is known.
    #[error(
        "{} remembers a log that is not in its place: put it back, or restore its newest copy; a log that is lost for good \
         keeps its name, so give the new one another audit.origin and another state_directory",
        .0.display()
    )]
    Remembered(PathBuf),
    /// The metadata was not signed.
    #[error("signed_metadata: {0}")]
    Metadata(SignError),
    /// A public key that has no verifier key: a defect.
    #[error("the checkpoint key: {0}")]
    NoteKey(String),
    /// The system gave no thread.
    #[error("no thread: {0}")]
    Thread(std::io::Error),
    /// The executable cannot be read for its digest.
    #[error("/proc/self/exe: {0}")]
    Program(std::io::Error),
}

impl StartError {
    /// The exit status (sysexits): 64 for a wrong argument, 77 for a refused PIN, 78 for the configuration or the PIN's
    /// file, 65 for a damaged log, 74 for its disk, 75 for every other state of the token, which may change by itself.
    pub const fn exit_status(&self) -> Status {
        // Every refusal of the PIN: its file `pin-refused` keeps later starts from trying the PIN again.
        if self.is_pin() {
            return exit::NO_PERMISSION;
        }
        match self {
            Self::After { .. } => exit::USAGE,
            Self::NoCredentials
            | Self::PinFile(_)
            | Self::TokenUri(_)
            | Self::Log(OpenError::Missing(_) | OpenError::Settings(_))
            | Self::Create(CreateError::Settings(_) | CreateError::Exists(_))
            | Self::Remembered(_) => exit::CONFIG,
            Self::Log(OpenError::Damage { .. }) => exit::DATA,
            Self::NotExtended { why, .. } if why.is_rollback() => exit::DATA,
            Self::Log(OpenError::Io(_) | OpenError::Lock(LockError::Io(_)) | OpenError::Log(_))
            | Self::Create(CreateError::Io(_) | CreateError::Lock(LockError::Io(_)) | CreateError::Log(_))
            | Self::Record(_)
            | Self::Memory { .. }
            | Self::NotExtended { .. }
            | Self::State { .. }
            | Self::Register { .. } => exit::IO,
            _ => exit::TEMPORARY,
        }
    }

    /// Whether the token is the reason.
    pub const fn is_token(&self) -> bool {
        matches!(
            self,
            Self::PinRefused { .. } | Self::Open(_) | Self::Token(_) | Self::Keys(_) | Self::Metadata(_)
        )
    }

    const fn is_pin(&self) -> bool {
        let class = match self {
            Self::PinRefused { .. } => return true,
            Self::Open(hsm::OpenError::Pin(problem)) => return problem.is_refusal(),
            Self::Token(error)
            | Self::Keys(KeyringError::Token(error))
            | Self::Generate(GenerateError::Call { error, .. }) => error.class(),
            Self::Keys(KeyringError::Find(error)) | Self::Generate(GenerateError::Unproved { error, .. }) => {
                error.class()
            }
            Self::Metadata(error) => error.class(),
            _ => return false,
        };
        matches!(class, ErrorClass::Pin)
    }
}

/// An open token and an open log, ready to sign.
pub struct Appliance {
    pub(super) config: Arc<Config>,
    pub(super) hsm: Hsm,
    pub(super) keys: Keyring,
    pub(super) log: Log<Ticket>,
    pub(super) signed_metadata: String,
    pub(super) calls: Calls,
    /// The proof by the signer's own memory; used once a gateway has shown its checkpoint, or that it has none.
    pub(super) own: Mutex<Option<Continuity>>,
    pub(super) memory: Memory,
    /// Verifier keys of the log.
    pub(super) log_keys: Vec<String>,
    identity: Identity,
}

/// Program and configuration of this process.
pub(super) fn identity(config: &Config) -> Result<Identity, StartError> {
    let program = std::fs::read("/proc/self/exe").map_err(StartError::Program)?;
    Ok(Identity { config: config.digest(), program: crate::sha256::sha256(&program) })
}

/// Settings of the log from the configuration.
pub(super) fn log_settings(config: &Config) -> LogSettings {
    LogSettings {
        directory: config.audit.directory.clone(),
        origin: config.audit.origin.clone(),
        node: config.audit.node.clone(),
        segment_bytes: config.audit.segment_bytes,
        sources: TimeSource::system(),
    }
}

/// `chancery audit init`: creates the log with its first records, among them every configured key with its public key.
pub fn init_log(config: &Config, operator: &str, calls: &Calls) -> Result<(), StartError> {
    // Before the token is used: a signer may be running.
    let place = NewLog::prepare(log_settings(config))?;
    let state = StateDirectory::of(config);
    let mut memory = Memory::of(state.clone());
    if memory.read()?.is_some() {
        return Err(StartError::Remembered(memory.path()));
    }
    let caller = calls.caller();
    let hsm = open_token(config, &caller)?;
    let mut unproved = unproved(config)?;
    let mut known = KnownKeys::read(state)?;
    let keys = Keyring::load(config, &hsm, &caller, &unproved, &known).inspect_err(|error| {
        // Nothing was signed with these keys yet. The next run must not accept a key that this run refused.
        if let KeyringError::Find(FindError::Refused { label, reason }) = error
            && let Err(unwritten) = unproved.add(label, &reason.to_string())
        {
            tracing::error!(error = %unwritten, "the refused key is not remembered");
        }
    })?;
    let signing = CheckpointKeys::of(config, &keys)?;
    let identity = identity(config)?;
    let mut first =
        vec![record::system(Event::LogCreated, Outcome::Success, None, Some(operator), &identity, None)?];
    for (purpose, key) in keys.all() {
        first.push(record::key(Event::KeyFound, purpose.name(), key, &hsm.token_info(), Some(operator))?);
    }
    let verifiers = signing.verifiers();
    let sign = signing.signer(&hsm, caller, |_| ())?;
    let (newest, shown) = create(place, &first, sign)?;
    // Not before: until there is a log, a key may be made again. Not after the memory: keys under its checkpoint are
    // known.
    for (_, key) in keys.all() {
        known.enter(key, None);
    }
    known.keep()?;
    memory.keep(&newest, &shown)?;
    keep_log_keys(&log_keys_path(config), &verifiers)
}

/// Keys that earlier runs left unproved.
pub(super) fn unproved(config: &Config) -> Result<Unproved, StartError> {
    let state = StateDirectory::of(config);
    let path = state.path("keys-unproved");
    Unproved::read(state).map_err(|error| StartError::State { path, error })
}

impl Appliance {
    /// Opens token and log, proves every key, and records the start. A later failure of the log is sent to `ending`.
    ///
    /// `calls` reports a call into the module that hangs. No checkpoint is signed before [`Log::sign_checkpoints`].
    pub fn open(config: Arc<Config>, ending: &Sender<Ending>, calls: Calls) -> Result<Self, StartError> {
        // First of all: a second signer touches neither token nor log. A missing log is an error; it is never created
        // here.
        let lock = LogLock::take(log_settings(&config))?;
        let identity = identity(&config)?;
        let caller = calls.caller();
        let hsm = open_token(&config, &caller)?;
        let state = StateDirectory::of(&config);
        let (memory, mut known) = (Memory::of(state.clone()), KnownKeys::read(state.clone())?);
        let lock = lock.reading_from(known.missing_from(memory.records()?));
        let mut keys = Keyring::load(&config, &hsm, &caller, &unproved(&config)?, &known)?;
        let signing = CheckpointKeys::of(&config, &keys)?;
        let likely = likely_log_keys(&log_keys_path(&config), &signing.verifiers());
        let failed = Mutex::new(ending.clone());
        let handlers = Handlers {
            on_durable: Box::new(release_all),
            on_failure: Box::new(move |error: &LogError| {
                let sender = failed.lock().unwrap_or_else(PoisonError::into_inner);
                let _ = sender.send(Ending::LogFailed(error.to_string()));
            }),
        };
        let lost = Mutex::new(ending.clone());
        let lost = move |error: &SignError| {
            if let Some(ending) = Ending::after(error) {
                let _ = lost.lock().unwrap_or_else(PoisonError::into_inner).send(ending);
            }
        };
        let sign = signing.signer(&hsm, calls.caller(), lost)?;
        let (log, recovery) = Log::open(lock, &likely, sign, handlers)?;
        // Before anything is appended to a log that may not extend the known checkpoint.
        let own = Mutex::new(memory.compare(&log)?);
        for key in &recovery.recorded_keys {
            known.learn(key.clone());
        }
        keys.compare(&known)?;
        // Before their first records, and so before their first use.
        known.enter_all(&keys, &log.clock().reading().time.to_string());
        known.keep()?;
        record_start(&log, &recovery, &identity)?;
        record_keys(&log, &keys, &hsm.token_info(), &identity)?;
        record_recovery(&log, &state)?;
        keep_log_keys(&log_keys_path(&config), &recovery.keys)?;
        let log_keys = recovery.keys.iter().map(ToString::to_string).collect();
        let signed_metadata = caller.run(2, Doing::call("C_Sign with the metadata key"), || {
            sign_metadata(&config, &hsm, &keys, &log)
        })?;
        Ok(Self { config, hsm, keys, log, signed_metadata, calls, own, memory, log_keys, identity })
    }

    /// Program and configuration of this process.
    pub fn identity(&self) -> Identity {
        Identity { config: self.identity.config, program: self.identity.program }
    }
}

/// Records the result of recovery, with the checkpoint before.
fn record_start(log: &Log<Ticket>, recovery: &Recovery, identity: &Identity) -> Result<(), StartError> {
    let checkpoint = log.newest().map(|p| CheckpointRef {
        size: p.size,
        root: Digest(p.root),
        sha256: Digest(crate::sha256::sha256(p.note.as_bytes())),
    });
    let torn = recovery.torn.as_ref().map_or_else(String::new, |torn| {
        format!("; a crash had cut off a write, {} whole records of it were kept", torn.kept)
    });
    let rebuilt = if recovery.rebuilt { "; the published files were made again" } else { "" };
    let found = format!("{} records{torn}{rebuilt}", recovery.size);
    let opened =
        record::system(Event::LogOpened, Outcome::Success, Some(&found), None, identity, checkpoint)?;
    let _ = log.record(opened)?;
    let started = record::system(Event::Started, Outcome::Success, None, None, identity, None)?;
    let _ = log.record(started)?;
    Ok(())
}

/// Records all keys at each start, before their first use: any part of the log from a start on has the public key of
/// every `kid` in it.
fn record_keys(
    log: &Log<Ticket>,
    keys: &Keyring,
    token: &TokenInfo,
    identity: &Identity,
) -> Result<(), StartError> {
    for key in keys.signing() {
        let _ =
            log.record(record::key(Event::KeyActivated, key.purpose().name(), key.key(), token, None)?)?;
    }
    for (purpose, key) in keys.earlier() {
        let _ = log.record(record::key(Event::KeyFound, purpose.name(), key, token, None)?)?;
    }
    for key in keys.remembered() {
        let (label, kid) = (&key.known.label, key.known.public.kid());
        tracing::warn!(%label, kid, why = key.why, "a key is not held; what it signed is verified by its public half");
        let _ = log.record(record::remembered(key, token)?)?;
    }
    for RefusedKey { purpose, error } in keys.refused() {
        let why = format!("{}: {error}", purpose.name());
        let entry = record::system(Event::KeyRefused, Outcome::Refused, Some(&why), None, identity, None)?;
        let _ = log.record(entry)?;
    }
    Ok(())
}

/// File that a process leaves when it loses the token.
const TOKEN_LOST: &str = "token-lost";

/// Limit of its bytes.
const TOKEN_LOST_MAX: usize = 4096;

/// Leaves the reason for the lost token to the start that finds it again. Reasons of earlier runs stay: a key that one
/// of them refused is not accepted silently because the next run failed for another reason.
pub fn remember_lost_token(config: &Config, reason: &str) {
    let state = StateDirectory::of(config);
    let kept = state.read(TOKEN_LOST).and_then(|before| {
        let before = before.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        if before.contains(reason) || before.len() + reason.len() > TOKEN_LOST_MAX {
            return Ok(());
        }
        let then = if before.is_empty() { "" } else { "; then: " };
        state.write(TOKEN_LOST, format!("{before}{then}{reason}").as_bytes())
    });
    if let Err(error) = kept {
        tracing::warn!(%error, "the recovery of the token will not be recorded");
    }
}

fn record_recovery(log: &Log<Ticket>, state: &StateDirectory) -> Result<(), StartError> {
    let unreadable = |error| StartError::State { path: state.path(TOKEN_LOST), error };
    let Some(reason) = state.read(TOKEN_LOST).map_err(unreadable)? else { return Ok(()) };
    let why = format!("the token was lost: {}", String::from_utf8_lossy(&reason));
    let _ = log.record(record::recovered(&why)?)?;
    state.remove(TOKEN_LOST).map_err(unreadable)
}

/// Claims of `signed_metadata` (RFC 8414 §2.1): every member of the plain document, `iss`, and `iat`.
#[derive(Serialize)]
struct MetadataClaims<'a> {
    iss: &'a Issuer,
    iat: i64,
    #[serde(flatten)]
    members: serde_json::Map<String, serde_json::Value>,
}

/// Signed once at each start, recorded before its release, and served from memory: no unauthenticated caller makes the
/// token sign.
fn sign_metadata(
    config: &Config,
    hsm: &Hsm,
    keys: &Keyring,
    log: &Log<Ticket>,
) -> Result<String, StartError> {
    let Some(key) = keys.only(Purpose::Metadata) else { return Ok(String::new()) };
    // In doubt too: a start must not fail for it, and this time is no expiry.
    let time = log.clock().now().map_or_else(|_| log.clock().reading().time, Trusted::timestamp);
    let iat = time.unix_seconds();
    let serial = hsm.token_info().serial;
    let signer = Signer { key: Some(key), serial: &serial, issuer: &config.issuer };
    let prepared = record::metadata(&signer, iat)?;
    let claims = MetadataClaims { iss: &config.issuer, iat, members: protocol::metadata(config) };
    let input = SigningInput::new(key.header(), &claims).map_err(RecordError::from)?;
    let mut session = hsm.session()?;
    let signature = session.sign(key.key(), input.as_bytes()).map_err(StartError::Metadata)?;
    let sealed = Sealed::jws(input, &signature);
    let receipt = log.record(prepared.of_sealed(&sealed)?)?;
    match sealed.release(receipt) {
        Ok(released) => Ok(released.into_string()),
        // The receipt is for other bytes: nothing is released.
        Err(error) => Err(StartError::Record(LogError::Poisoned(error.to_string().into()))),
    }
}

/// Records an event of the running system; logs a failure, which changes nothing else.
pub fn record_event(log: &Log<Ticket>, event: Event, outcome: Outcome, reason: &str, identity: &Identity) {
    let recorded = record::system(event, outcome, Some(reason), None, identity, None)
        .map_err(|e| e.to_string())
        .and_then(|entry| log.record(entry).map_err(|e| e.to_string()));
    if let Err(error) = recorded {
        tracing::error!(%error, ?event, "an event was not recorded");
    }
}
