//! `audit export` and `audit status` for an account that may not enter the audit directory: requests to the running
//! signer over the auditors' socket.

use super::operator;
use crate::audit::note::VerifierKey;
use crate::audit::tiles::{Bundle, TileError};
use crate::config::Config;
use crate::exit::{self, Status};
use crate::export::LogSource;
use crate::signer::{AdminError, AuditorAnswer, AuditorAsk, ask_auditor};
use std::io;

/// The log as the signer shows it to an auditor.
pub(super) struct Shown {
    /// The newest checkpoint; after [`AuditorAsk::Export`] with the records that it covers.
    pub(super) log: LogSource<'static>,
    /// Verifier keys of the log, from the signer.
    pub(super) keys: Vec<VerifierKey>,
    pub(super) sequence: Option<u64>,
}

/// Asks; on failure returns the reason and the exit status.
pub(super) fn ask(config: &Config, ask: &AuditorAsk) -> Result<Shown, (String, Status)> {
    let account = operator();
    let Some(auditors) = &config.auditors else {
        let directory = config.audit.directory.display();
        return Err((
            format!(
                "expected root, the signer's user or a member of auditors.group, found {account}: {directory} is closed to \
                 it, and the configuration has no [auditors]"
            ),
            exit::NO_PERMISSION,
        ));
    };
    let (group, place) = (&auditors.group, auditors.socket.clone());
    let failed = |error: AdminError| {
        let reason = match &error {
            AdminError::Denied => format!(
                "expected root, the signer's user or a member of the group {group} (auditors.group), found {account}: an \
                 operator adds it with `usermod -aG {group} {account}`, and it counts from the next login on"
            ),
            AdminError::Stopped => format!(
                "no signer answers at {}; while it is stopped, root and the signer's user alone can read the log",
                place.display()
            ),
            AdminError::Silent { .. } | AdminError::Broken(_) => format!("{}: {error}", place.display()),
        };
        (reason, error.exit_status())
    };
    let (answer, mut records) = ask_auditor(auditors, ask).map_err(failed)?;
    let (note, log_keys, sequence) = match answer {
        AuditorAnswer::Checkpoint { note, log_keys, sequence } => (note, log_keys, sequence),
        AuditorAnswer::Refused { reason } => return Err((reason, exit::NO_PERMISSION)),
        AuditorAnswer::Later { reason } => return Err((reason, exit::TEMPORARY)),
        AuditorAnswer::Failed { reason } => return Err((reason, exit::UNAVAILABLE)),
    };
    let keys = log_keys.iter().map(|key| VerifierKey::parse(key)).collect::<Result<_, _>>();
    let keys = keys.map_err(|error| (format!("the signer's key of the log: {error}"), exit::UNAVAILABLE))?;
    let path = place.clone();
    let bundle = Box::new(move |index, width| {
        Bundle::read_from(&mut records, width).map_err(|source| TileError::Io {
            action: "read the next records from",
            path: path.clone(),
            source: match source.kind() {
                io::ErrorKind::UnexpectedEof => {
                    io::Error::other(format!("the signer ended in bundle {index} of the export"))
                }
                _ => source,
            },
        })
    });
    Ok(Shown { log: LogSource { place, note: note.into_bytes(), bundle }, keys, sequence })
}
