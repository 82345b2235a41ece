//! `chancery audit init`: the log with its first records. Creating state is a verb of its own.

use super::{ConfigFile, Status, fail, load, operator, watched_calls};
use crate::config::Process;
use crate::signer::{init_log, log_keys_path, read_log_keys};

/// Does it, and prints the verifier key that auditors pin.
pub fn run(args: &ConfigFile) -> Status {
    let config = match load(args, Process::Signer) {
        Ok(config) => config,
        Err(status) => return status,
    };
    let calls = match watched_calls(&config) {
        Ok(calls) => calls,
        Err(status) => return status,
    };
    if let Err(error) = init_log(&config, &operator(), &calls) {
        return fail(&error, error.exit_status());
    }
    say!("created the audit log {} in {}", config.audit.origin, config.audit.directory.display());
    say!("its verifier key, for auditors to pin:");
    match read_log_keys(&log_keys_path(&config)) {
        Ok(keys) => {
            for key in keys {
                say!("  {key}");
            }
            0
        }
        Err(error) => fail(&error, error.exit_status()),
    }
}
