//! `chancery backup`: copies state and log in the right order while the service runs, and verifies a copy.

use super::{ConfigFile, fail, operator, read};
use crate::backup::{self, About, BackupError, LogEnd, Paths};
use crate::clock;
use crate::config::Config;
use crate::exit::{self, Status};
use crate::signer::{
    AdminAnswer, AdminAsk, AdminError, Offline, Remembered, StartError, ask_admin, log_keys_path,
};
use crate::store::Store;
use clap::Args;
use serde_json::json;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// Nice value of this process: below the processes that answer requests.
const NICE: i32 = 19;

/// Copies the state of tokens and the audit log to a new directory, while the service runs.
///
/// The state comes first, then a record of the backup, then the log up to that record: a service starts from both
/// without further steps. As root, or as the user of a service that has one. PIN, keys, secrets, configuration and the
/// signer's state directory are not in it. The directory gets its name when it is complete.
///
/// Keep it where only you write: it has personal data, and nothing proves the state in it.
#[derive(Args)]
#[command(group = clap::ArgGroup::new("act").required(true).args(["out", "verify"]))]
pub struct Backup {
    /// The configuration file
    #[arg(long, value_name = "FILE", required_unless_present = "verify", conflicts_with = "verify")]
    config: Option<PathBuf>,
    /// The directory to make; it must not exist
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Say whether the backup in this directory is whole; needs neither configuration nor token
    #[arg(long, value_name = "DIR")]
    verify: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

struct Failed(String, Status);

impl From<BackupError> for Failed {
    fn from(error: BackupError) -> Self {
        Self(error.to_string(), error.exit_status())
    }
}

impl From<StartError> for Failed {
    fn from(error: StartError) -> Self {
        Self(error.to_string(), error.exit_status())
    }
}

/// Runs the command.
pub fn run(args: &Backup) -> Status {
    let done = match (&args.config, &args.out, &args.verify) {
        (Some(config), Some(out), None) => match read(&ConfigFile { config: config.clone() }) {
            Ok(config) => write(&config, out, args.json),
            Err(status) => return status,
        },
        (_, _, Some(directory)) => verify(directory, args.json),
        _ => Err(Failed("expected --config FILE and --out DIR, or --verify DIR".to_owned(), exit::USAGE)),
    };
    match done {
        Ok(()) => 0,
        Err(Failed(reason, status)) => fail(&reason, status),
    }
}

fn write(config: &Config, out: &Path, json: bool) -> Result<(), Failed> {
    // A sandbox may forbid it, without harm.
    let _ = rustix::process::nice(NICE);
    let out = std::path::absolute(out).unwrap_or_else(|_| out.to_path_buf());
    let log_keys = log_keys_path(config);
    let paths =
        Paths { state: &config.store.path, log: &config.audit.directory, log_keys: &log_keys, out: &out };
    let about = About { configuration: config.digest().to_string(), time: clock::wall_unchecked() };
    let made = with_progress(json, |tell| backup::write(paths, &about, || record(config, &out), tell))?;
    let backup::Summary { manifest, bytes } = made;
    if json {
        let shown = json!({"directory": out, "origin": manifest.origin, "records": manifest.records,
            "sequence": manifest.sequence, "size": manifest.size, "root": manifest.root,
            "files": manifest.files.len() + 1, "bytes": bytes});
        say!("{shown}");
    } else {
        say!(
            "copied {} records of {} and the state of tokens to {}",
            manifest.records,
            manifest.origin,
            out.display()
        );
        say!("{} of them are under its checkpoint, root {}", manifest.size, manifest.root);
        say!("look whether it is whole: chancery backup --verify {}", out.display());
    }
    Ok(())
}

/// Records the backup: by the running signer, or else by this process, which signs nothing.
fn record(config: &Config, out: &Path) -> Result<LogEnd, Failed> {
    let directory = out.display().to_string();
    match ask_admin(config, &AdminAsk::Backup { directory: directory.clone() }) {
        Ok(AdminAnswer::Checkpoint { note: checkpoint, sequence: Some(sequence) }) => {
            return Ok(LogEnd { sequence, checkpoint });
        }
        Ok(AdminAnswer::Failed { reason }) => return Err(Failed(reason, exit::UNAVAILABLE)),
        Ok(_) => return Err(Failed("the signer answered something else".to_owned(), exit::UNAVAILABLE)),
        Err(AdminError::Stopped) => {}
        Err(error) => return Err(Failed(error.to_string(), exit::UNAVAILABLE)),
    }
    // Read before the log is opened: root then acts as the log's owner, which may not read the state.
    let of_gateway =
        Store::checkpoint_in(&config.store.path, &config.audit.origin).map_err(BackupError::from)?;
    let log = Offline::open(config)?;
    for Remembered { known, standing } in log.memories(of_gateway)? {
        if let Err(why) = standing {
            let by = known.by;
            let reason =
                format!("the log does not extend what the {by} remembers, so its copy is no backup: {why}");
            return Err(Failed(reason, exit::DATA));
        }
    }
    let newest = log.newest().ok_or_else(|| Failed("the log has no checkpoint".to_owned(), exit::DATA))?;
    let sequence = log.record_backup(&directory, &operator())?;
    log.close()?;
    Ok(LogEnd { sequence, checkpoint: newest.note.clone() })
}

fn verify(directory: &Path, json: bool) -> Result<(), Failed> {
    let backup::Report { manifest, log } = with_progress(json, |tell| backup::verify(directory, tell))?;
    if json {
        let shown = json!({"whole": true, "origin": manifest.origin, "time": manifest.time, "records": log.records,
            "sequence": manifest.sequence, "size": log.covered, "configuration": manifest.configuration,
            "program": manifest.program});
        say!("{shown}");
    } else {
        say!("whole: the backup of {} that was begun at {}", manifest.origin, manifest.time);
        say!(
            "{} records, {} of them under its newest checkpoint; the state fits the log",
            log.records,
            log.covered
        );
    }
    Ok(())
}

/// Shows progress on a terminal.
fn with_progress<T>(json: bool, act: impl FnOnce(backup::Progress<'_>) -> T) -> T {
    const MB: u64 = 1_000_000;
    let show = std::io::stderr().is_terminal() && !json;
    let mut shown = None;
    let done = act(&mut |done, total| {
        if show && shown != Some(done / MB) {
            shown = Some(done / MB);
            eprint!("\r{} of {} MB", done / MB, total / MB);
        }
    });
    if shown.is_some() {
        complain!("");
    }
    done
}
