//! `chancery audit status`: the state of the log, from the running signer or else from the published files.

use super::{ConfigFile, auditor, fail, read};
use crate::audit::note::VerifierKey;
use crate::audit::tiles::TileReader;
use crate::config::Config;
use crate::exit::{self, Status};
use crate::signer::{
    AdminAnswer, AdminAsk, AdminError, AuditorAsk, ask_admin, compare_published, log_keys_path, read_log_keys,
};
use clap::Args;
use serde_json::json;

/// Shows the newest checkpoint, verified, and whether a signer runs. It shows no record, so it is not recorded.
#[derive(Args)]
pub struct AuditStatus {
    #[command(flatten)]
    file: ConfigFile,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

struct Newest {
    note: Vec<u8>,
    keys: Vec<VerifierKey>,
    /// Whether the running signer sent it.
    running: bool,
}

fn newest(config: &Config) -> Result<Newest, (String, Status)> {
    let (note, running) = match ask_admin(config, &AdminAsk::Status) {
        Ok(AdminAnswer::Checkpoint { note, .. }) => (note.into_bytes(), true),
        Ok(AdminAnswer::Failed { reason }) => return Err((reason, exit::UNAVAILABLE)),
        Ok(AdminAnswer::ClockAccepted {}) => {
            return Err(("the signer answered something else".to_owned(), exit::UNAVAILABLE));
        }
        Err(AdminError::Denied) => {
            let shown = auditor::ask(config, &AuditorAsk::Status)?;
            return Ok(Newest { note: shown.log.note, keys: shown.keys, running: true });
        }
        Err(AdminError::Stopped) => {
            let published = config.audit.directory.join("published");
            let note =
                TileReader::open(&published).checkpoint().map_err(|e| (e.to_string(), exit::UNAVAILABLE))?;
            let missing = "there is no audit log: restore its newest copy, or for a new installation create it once with \
                `chancery audit init`";
            let note = note.ok_or((missing.to_owned(), exit::UNAVAILABLE))?;
            compare_published(config).map_err(|e| (e.to_string(), e.exit_status()))?;
            (note, false)
        }
        Err(error) => return Err((error.to_string(), error.exit_status())),
    };
    let keys = read_log_keys(&log_keys_path(config)).map_err(|e| (e.to_string(), e.exit_status()))?;
    Ok(Newest { note, keys, running })
}

/// Runs the command.
pub fn run(args: &AuditStatus) -> Status {
    let config = match read(&args.file) {
        Ok(config) => config,
        Err(status) => return status,
    };
    let Newest { note, keys, running } = match newest(&config) {
        Ok(newest) => newest,
        Err((reason, status)) => return fail(&reason, status),
    };
    match VerifierKey::open(&keys, &note) {
        Ok(checkpoint) if args.json => {
            let root = hex::encode(checkpoint.root);
            let shown = json!({"origin": checkpoint.origin, "size": checkpoint.size, "root": root,
                "running": running, "directory": config.audit.directory.display().to_string()});
            say!("{shown}");
            0
        }
        Ok(checkpoint) => {
            say!("log        {}", checkpoint.origin);
            say!("directory  {}", config.audit.directory.display());
            say!("records    {} under the newest checkpoint, whose signature verifies", checkpoint.size);
            say!("root       {}", hex::encode(checkpoint.root));
            say!("signer     {}", if running { "running" } else { "stopped" });
            0
        }
        Err(error) => fail(&format!("the newest checkpoint does not verify: {error}"), exit::DATA),
    }
}
