//! `chancery audit init`: makes the log with its first records.

use super::audit_adopt::of_gateway;
use super::{ConfigFile, fail, load, operator, watched_calls};
use crate::config::Process;
use crate::exit::{self, Status};
use crate::signer::{init_log, log_keys_path, read_log_keys};

/// Prints the verifier key that auditors pin.
pub fn run(args: &ConfigFile) -> Status {
    let config = match load(args, Process::Signer) {
        Ok(config) => config,
        Err(status) => return status,
    };
    // A new log under a known name would be a fork. The signer checks its own checkpoint file.
    if of_gateway(&config).is_some_and(|note| !note.is_empty()) {
        let (origin, state) = (&config.audit.origin, config.store.path.display());
        let found = format!(
            "{state} remembers a log {origin} that is not in its place: put it back, or restore its newest copy; a log that \
             is lost for good keeps its name, so give the new one another audit.origin"
        );
        return fail(&found, exit::CONFIG);
    }
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
