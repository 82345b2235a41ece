//! `chancery audit status`: how the log stands, from the running signer or else from the published files.

use super::{ConfigFile, Status, fail, read};
use crate::audit::note::VerifierKey;
use crate::audit::tiles::TileReader;
use crate::config::Config;
use crate::signer::{AdminAnswer, AdminAsk, AdminError, ask_admin, log_keys_path, read_log_keys};
use clap::Args;
use serde_json::json;

/// Shows the newest checkpoint, verified, and whether a signer runs. It shows no record, so it makes none.
#[derive(Args)]
pub struct AuditStatus {
    #[command(flatten)]
    file: ConfigFile,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The newest checkpoint as a note, and whether the signer gave it.
fn newest(config: &Config) -> Result<(Vec<u8>, bool), String> {
    match ask_admin(config, &AdminAsk::Status) {
        Ok(AdminAnswer::Checkpoint { note, .. }) => Ok((note.into_bytes(), true)),
        Ok(AdminAnswer::Failed { reason }) => Err(reason),
        Ok(AdminAnswer::ClockAccepted {}) => Err("the signer answered something else".to_owned()),
        Err(AdminError::Stopped) => {
            let published = config.audit.directory.join("published");
            let note = TileReader::open(&published).checkpoint().map_err(|e| e.to_string())?;
            let missing = "there is no audit log; create it once with `chancery audit init`";
            Ok((note.ok_or(missing)?, false))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Does it.
pub fn run(args: &AuditStatus) -> Status {
    let config = match read(&args.file) {
        Ok(config) => config,
        Err(status) => return status,
    };
    let keys = match read_log_keys(&log_keys_path(&config)) {
        Ok(keys) => keys,
        Err(error) => return fail(&error, error.exit_status()),
    };
    let (note, running) = match newest(&config) {
        Ok(newest) => newest,
        Err(reason) => return fail(&reason, 69),
    };
    match VerifierKey::open(&keys, &note) {
        Ok(checkpoint) if args.json => {
            let root = hex::encode(checkpoint.root);
            let shown = json!({"origin": checkpoint.origin, "size": checkpoint.size, "root": root,
                "running": running, "directory": config.audit.directory});
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
        Err(error) => fail(&format!("the newest checkpoint does not verify: {error}"), 65),
    }
}
