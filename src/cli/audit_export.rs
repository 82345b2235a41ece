//! `chancery audit export`: a directory that an auditor verifies offline. The export is a record itself.

use super::auditor::{self, Shown};
use super::{ConfigFile, fail, operator, read};
use crate::clock;
use crate::config::Config;
use crate::exit::{self, Status};
use crate::export;
use crate::signer::{
    AdminAnswer, AdminAsk, AdminError, AuditorAsk, Offline, StartError, ask_admin, compare_published,
    log_keys_path, read_log_keys,
};
use clap::Args;
use serde_json::json;
use std::io::{ErrorKind, IsTerminal};
use std::path::PathBuf;

/// Records the export, and copies everything under the newest checkpoint.
///
/// A running signer first makes a checkpoint that covers the record. If it is stopped, this command appends the record
/// and signs nothing: it needs no token, and prints how many records wait for the next checkpoint.
///
/// For root, for the signer's user and, while the signer runs, for members of the group in `[auditors]`: 12 exports of
/// one account in an hour. The record names the account.
#[derive(Args)]
pub struct AuditExport {
    #[command(flatten)]
    file: ConfigFile,
    /// The directory to make; it must not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The running signer records the export and makes a checkpoint over the record; without it this process records and
/// signs nothing. An auditor needs the running signer.
fn record(config: &Config, directory: &str) -> Result<Shown, (String, Status)> {
    let sequence = match ask_admin(config, &AdminAsk::Export { directory: directory.to_owned() }) {
        Ok(AdminAnswer::Checkpoint { sequence, .. }) => sequence,
        Ok(AdminAnswer::Failed { reason }) => return Err((reason, exit::UNAVAILABLE)),
        Ok(AdminAnswer::ClockAccepted {}) => {
            return Err(("the signer answered something else".to_owned(), exit::UNAVAILABLE));
        }
        Err(AdminError::Denied) => return auditor::ask(config, &AuditorAsk::Export),
        Err(AdminError::Stopped) => {
            let failed = |e: StartError| (e.to_string(), e.exit_status());
            compare_published(config).map_err(failed)?;
            let log = Offline::open(config).map_err(failed)?;
            let sequence = log.record_export(directory, &operator()).map_err(failed)?;
            log.close().map_err(failed)?;
            Some(sequence)
        }
        Err(error) => return Err((error.to_string(), error.exit_status())),
    };
    let keys = read_log_keys(&log_keys_path(config)).map_err(|e| (e.to_string(), e.exit_status()))?;
    let published = config.audit.directory.join("published");
    let log = export::LogSource::published(&published).map_err(|e| (e.to_string(), exit::IO))?;
    Ok(Shown { log, keys, sequence })
}

/// Runs the command.
pub fn run(args: &AuditExport) -> Status {
    let config = match read(&args.file) {
        Ok(config) => config,
        Err(status) => return status,
    };
    let out = std::path::absolute(&args.out).unwrap_or_else(|_| args.out.clone());
    let directory = match export::NewDirectory::make(&out) {
        Ok(directory) => directory,
        Err(export::ExportError::Write { source, .. }) if source.kind() == ErrorKind::AlreadyExists => {
            return fail(
                &format!("{} exists already; an export makes its own directory", out.display()),
                exit::CANNOT_CREATE,
            );
        }
        Err(error) => return fail(&error, exit::IO),
    };
    let Shown { log, keys, sequence } = match record(&config, &out.display().to_string()) {
        Ok(recorded) => recorded,
        Err((reason, status)) => return fail(&reason, status),
    };
    let show = std::io::stderr().is_terminal() && !args.json;
    let mut progress = |done: u64, of: u64| {
        if show {
            eprint!("\r{done} of {of} records");
        }
    };
    match export::write(directory, log, &keys, clock::wall_unchecked(), &mut progress) {
        Ok(summary) => {
            if show {
                complain!("");
            }
            let root = hex::encode(summary.root);
            // Records behind the newest checkpoint, counted up to that of this export.
            let uncovered = sequence.map_or(0, |sequence| (sequence + 1).saturating_sub(summary.size));
            if args.json {
                let shown = json!({"directory": out.display().to_string(), "origin": summary.origin, "size": summary.size,
                    "root": root, "files": summary.files, "bytes": summary.bytes, "uncovered": uncovered});
                say!("{shown}");
            } else {
                say!("exported {} records of {} to {}", summary.size, summary.origin, out.display());
                say!("root {root}");
                if uncovered > 0 {
                    say!(
                        "{uncovered} newer records, that of this export among them, wait for the next checkpoint of a running signer"
                    );
                }
                say!("verify it anywhere: chancery audit verify {}", out.display());
            }
            0
        }
        Err(error) => fail(&error, exit::IO),
    }
}
