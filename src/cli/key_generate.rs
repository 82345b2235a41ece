//! `chancery key generate`: makes each configured key that the token lacks.

use super::{ConfigFile, fail, load, operator, watched_calls};
use crate::config::Process;
use crate::exit::Status;
use crate::signer::generate_keys;
use clap::Args;
use serde_json::json;

/// Makes the first generation of each series of keys that the token lacks, with a full template, and proves each.
///
/// `audit init` records keys that were made before it; afterwards the service must be stopped, and each new key is
/// recorded at once. A missing generation that has signed is not made again, since that would be another key: restore
/// it, or make the one after it (--after), which signs in its place.
#[derive(Args)]
pub struct KeyGenerate {
    #[command(flatten)]
    file: ConfigFile,
    /// Make the generation after this one, the newest of its series, and nothing else: it signs from the next start on
    #[arg(long, value_name = "LABEL")]
    after: Option<String>,
    /// Print one JSON object for each key
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &KeyGenerate) -> Status {
    let config = match load(&args.file, Process::Signer) {
        Ok(config) => config,
        Err(status) => return status,
    };
    let mut told = |label: &str, kid: &str, new: bool| {
        if args.json {
            say!("{}", json!({"label": label, "kid": kid, "generated": new}));
        } else {
            say!("{} {label} (kid {kid})", if new { "generated" } else { "found    " });
        }
    };
    let calls = match watched_calls(&config) {
        Ok(calls) => calls,
        Err(status) => return status,
    };
    match generate_keys(&config, args.after.as_deref(), &operator(), &calls, &mut told) {
        Ok(()) => 0,
        Err(error) => fail(&error, error.exit_status()),
    }
}
