//! `chancery audit export`: a directory that an auditor verifies offline. The export is a record itself.

use super::{ConfigFile, Status, fail, load, operator};
use crate::clock;
use crate::config::{Config, Process, SignerMode};
use crate::export;
use crate::signer::{
    AdminAnswer, AdminAsk, AdminError, Appliance, Calls, act, ask_admin, log_keys_path, read_log_keys,
};
use crate::store::Store;
use clap::Args;
use serde_json::json;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

/// Records the export, makes a checkpoint that covers the record, and copies everything under that checkpoint.
///
/// The daemon may be running. When it is stopped, this command opens token and log itself.
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

/// The record, durable, and the checkpoint after it; by the running signer or else by this process.
fn record(config: &Arc<Config>, ask: &AdminAsk) -> Result<(), (String, Status)> {
    match ask_admin(config, ask) {
        Ok(AdminAnswer::Checkpoint { .. }) => return Ok(()),
        Ok(AdminAnswer::Failed { reason }) => return Err((reason, 69)),
        Err(AdminError::Stopped) => {}
        Err(error) => return Err((error.to_string(), 69)),
    }
    let (ending, _ended) = std::sync::mpsc::channel();
    let failed = |e: crate::signer::StartError| (e.to_string(), e.exit_status());
    let kept = kept(config)?;
    let calls = Calls::new(config.hsm.deadline);
    let appliance = Appliance::open(Arc::clone(config), &ending, calls).map_err(failed)?;
    appliance.sign_checkpoints(kept.as_deref()).map_err(|e| (e.to_string(), 65))?;
    act(appliance.log(), ask, &operator(), &appliance.identity()).map_err(|e| (e, 74))?;
    appliance.close().map_err(failed)
}

/// The checkpoint that the gateway kept, where its state belongs to the same user: what is signed here must extend it.
fn kept(config: &Config) -> Result<Option<String>, (String, Status)> {
    if !matches!(config.signer, SignerMode::Child) || !config.store.path.exists() {
        return Ok(None);
    }
    Store::checkpoint_in(&config.store.path, &config.audit.origin).map_err(|e| (e.to_string(), 74))
}

/// Does it.
pub fn run(args: &AuditExport) -> Status {
    let config = match load(&args.file, Process::Signer) {
        Ok(config) => config,
        Err(status) => return status,
    };
    if args.out.exists() {
        return fail(
            &format!("{} exists already; an export makes its own directory", args.out.display()),
            73,
        );
    }
    let out = std::path::absolute(&args.out).unwrap_or_else(|_| args.out.clone());
    let ask = AdminAsk::Export { directory: out.display().to_string() };
    if let Err((reason, status)) = record(&config, &ask) {
        return fail(&reason, status);
    }
    let keys = match read_log_keys(&log_keys_path(&config)) {
        Ok(keys) => keys,
        Err(error) => return fail(&error, error.exit_status()),
    };
    let published = config.audit.directory.join("published");
    let show = std::io::stderr().is_terminal() && !args.json;
    let mut progress = |done: u64, of: u64| {
        if show {
            eprint!("\r{done} of {of} records");
        }
    };
    match export::write(&out, &published, &keys, clock::wall_unchecked(), &mut progress) {
        Ok(summary) => {
            if show {
                complain!("");
            }
            let root = hex::encode(summary.root);
            if args.json {
                let shown = json!({"directory": out, "origin": summary.origin, "size": summary.size,
                    "root": root, "files": summary.files, "bytes": summary.bytes});
                say!("{shown}");
            } else {
                say!("exported {} records of {} to {}", summary.size, summary.origin, out.display());
                say!("root {root}");
                say!("verify it anywhere: chancery audit verify {}", out.display());
            }
            0
        }
        Err(error) => fail(&error, 74),
    }
}
