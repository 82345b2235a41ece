//! Logs in to the token of the configuration, and remembers a PIN that the token refused.
//!
//! Every process that logs in calls [`open_token`]: the signer, and each command that needs a key. A refused PIN leaves
//! the file `pin-refused` in the signer's state directory. While it exists no start gives the same PIN to the token. It
//! is removed when another PIN was accepted, or by `chancery pin clear`.
//!
//! Its space on the disk is reserved before the PIN is given to the token: a full disk refuses the start, not the file.
//! The reservation is a lock too: of two processes that start at once one tries the PIN and the other finds the file.

use super::calls::{Caller, Doing};
use super::start::StartError;
use super::state::{Reservation, StateDirectory};
use crate::clock;
use crate::config::{Config, PinSource};
use crate::hsm::{self, Hsm, Pin, PinProblem, PinRefused, TokenUri};
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The file of a refused PIN.
const MARK: &str = "pin-refused";

/// Its reserved space until a PIN is refused.
const PLACE: &str = "pin-place";

/// How long to wait for another process's login: longer than a login may take, since a hanging login ends its process.
const OTHERS: Duration = Duration::from_secs(60);

/// Deadlines for opening a token: initialize the module, read every slot, log in.
const CALLS_TO_OPEN: u32 = 3;

/// Facts about a refused PIN. They tell a changed PIN from the same one. Stretched and salted: each guess costs an
/// attacker a good part of a second, and yields only a wrong PIN.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RefusedPin {
    /// Time in RFC 3339.
    time: String,
    /// What the token said.
    problem: String,
    /// Hexadecimal.
    salt: String,
    /// Of the PIN, hexadecimal.
    stretched: String,
}

impl RefusedPin {
    fn new(pin: &Pin, problem: PinProblem) -> Self {
        let salt = crate::random::bytes::<16>();
        Self {
            time: clock::wall_unchecked().to_string(),
            problem: problem.to_string(),
            salt: hex::encode(salt),
            stretched: hex::encode(pin.stretched(&salt)),
        }
    }

    /// Whether it is about this PIN. An unreadable file counts for every PIN.
    fn is_of(&self, pin: &Pin) -> bool {
        let mut salt = [0; 16];
        hex::decode_to_slice(&self.salt, &mut salt).is_err()
            || hex::encode(pin.stretched(&salt)) == self.stretched
    }
}

/// The file; a text if it cannot be read.
fn read_mark(state: &StateDirectory) -> Result<Option<RefusedPin>, String> {
    match state.read(MARK) {
        Ok(None) => Ok(None),
        Ok(Some(bytes)) => serde_json::from_slice(&bytes).map(Some).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether this PIN may be given to the token; `true` if another PIN was refused.
fn may_be_tried(state: &StateDirectory, pin: &Pin) -> Result<bool, StartError> {
    let refused = |why: String| StartError::PinRefused { why, mark: state.path(MARK) };
    match read_mark(state) {
        Ok(None) => Ok(false),
        Ok(Some(mark)) if mark.is_of(pin) => {
            Err(refused(format!("the token refused this PIN at {}: {}", mark.time, mark.problem)))
        }
        Ok(Some(_)) => Ok(true),
        Err(error) => Err(refused(format!("the mark of a refused PIN cannot be read: {error}"))),
    }
}

/// Writes the file durably. It exists from the first step on, and counts for every PIN while it cannot be read:
/// stretching the PIN takes a while.
fn leave_mark(state: &StateDirectory, pin: &Pin, problem: PinProblem) {
    let written = state.take_place(PLACE, MARK).and_then(|()| {
        let mark = serde_json::to_vec(&RefusedPin::new(pin, problem)).map_err(std::io::Error::other)?;
        state.fill_place(MARK, &mark)
    });
    if let Err(error) = written {
        let path = state.path(MARK);
        tracing::error!(%error, path = %path.display(), "the refused PIN leaves no mark: start nothing before the PIN was looked after");
    }
}

/// `chancery pin clear`: removes the file. Returns its content; `None` without one.
pub fn clear_refused_pin(config: &Config) -> std::io::Result<Option<String>> {
    let state = StateDirectory::of(config);
    let said = match read_mark(&state) {
        Ok(None) => return Ok(None),
        Ok(Some(mark)) => format!("the token refused the PIN at {}: {}", mark.time, mark.problem),
        Err(error) => format!("the mark could not be read: {error}"),
    };
    state.remove(MARK)?;
    Ok(Some(said))
}

/// Reserves the file's space, once no other process is about to log in.
fn reserve(state: &StateDirectory) -> Result<Reservation, StartError> {
    let begin = Instant::now();
    loop {
        match state.reserve(PLACE) {
            Err(error) if error.kind() == ErrorKind::WouldBlock && begin.elapsed() < OTHERS => {
                std::thread::sleep(Duration::from_millis(20));
            }
            reserved => {
                return reserved.map_err(|error| StartError::State { path: state.path(PLACE), error });
            }
        }
    }
}

/// The token, logged in.
pub(super) fn open_token(config: &Config, caller: &Caller) -> Result<Hsm, StartError> {
    let pin = match &config.hsm.pin {
        PinSource::File(path) => Pin::from_file(path)?,
        PinSource::Credential(name) => {
            let directory = std::env::var_os("CREDENTIALS_DIRECTORY").ok_or(StartError::NoCredentials)?;
            Pin::from_credential(&PathBuf::from(directory).join(name))?
        }
    };
    let settings =
        hsm::Settings { module: config.hsm.module.clone(), token: config.hsm.token.parse::<TokenUri>()? };
    let state = StateDirectory::of(config);
    may_be_tried(&state, &pin)?;
    let _alone = reserve(&state)?;
    // Again: the other process may have left the file.
    let another_was_refused = may_be_tried(&state, &pin)?;
    let refused: PinRefused = {
        let (state, pin) = (state.clone(), pin.share());
        Box::new(move |problem| leave_mark(&state, &pin, problem))
    };
    let doing = Doing::call("C_Initialize, C_GetTokenInfo or C_Login");
    let hsm = caller.run(CALLS_TO_OPEN, doing, || Hsm::open(&settings, &pin, refused))?;
    if another_was_refused && let Err(error) = state.remove(MARK) {
        tracing::warn!(%error, "the mark of an earlier PIN stays");
    }
    Ok(hsm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_pin_is_known_again_and_another_one_may_be_tried() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDirectory::at(dir.path().join("signer"));
        let (wrong, right) = (Pin::from_bytes(b"1234"), Pin::from_bytes(b"1235"));
        assert!(!may_be_tried(&state, &wrong).unwrap());
        let held = state.reserve(PLACE).unwrap();
        leave_mark(&state, &wrong, PinProblem::Incorrect);
        drop(held);
        let error = may_be_tried(&state, &wrong).unwrap_err();
        assert_eq!(error.exit_status(), 77);
        assert!(error.to_string().contains("chancery pin clear"), "{error}");
        assert!(may_be_tried(&state, &right).unwrap());
        let kept = std::fs::read_to_string(state.path(MARK)).unwrap();
        assert!(!kept.contains("1234"), "{kept}");
    }

    #[test]
    fn a_mark_that_cannot_be_read_counts_for_every_pin() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDirectory::at(dir.path().to_path_buf());
        let pin = Pin::from_bytes(b"1234");
        let held = state.reserve(PLACE).unwrap();
        leave_mark(&state, &pin, PinProblem::Locked);
        drop(held);
        let whole = std::fs::read(state.path(MARK)).unwrap();
        for broken in [&b""[..], b"{}", &whole[..whole.trim_ascii_end().len() - 1]] {
            std::fs::write(state.path(MARK), broken).unwrap();
            assert_eq!(may_be_tried(&state, &pin).unwrap_err().exit_status(), 77);
        }
    }
}
