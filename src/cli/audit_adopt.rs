//! `chancery audit adopt`: the operator decides that the log goes on although it does not extend the known checkpoints,
//! or although none is known.

use super::{ConfigFile, fail, operator, read};
use crate::config::Config;
use crate::exit::Status;
use crate::signer::{Offline, Remembered, StartError};
use crate::store::Store;
use clap::Args;

/// Characters of the longest reason.
const REASON_MAX: usize = 400;

/// Decides that the log goes on as it is, although it does not extend the known checkpoints, or none is known.
///
/// For a log that was restored from an older copy, or whose checkpoints outside the log were lost. The service must be
/// stopped. The decision is a record, durable before anything else changes: operator, reason, overridden checkpoints.
/// It overrides these checkpoints and no others; lost records stay lost, and an auditor with a later checkpoint will
/// notice.
#[derive(Args)]
pub struct AuditAdopt {
    #[command(flatten)]
    file: ConfigFile,
    /// Why, for the record: one line
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: String,
}

fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text.chars().count() {
        0 => Err("expected a reason, found none".to_owned()),
        found if found > REASON_MAX => {
            Err(format!("expected at most {REASON_MAX} characters, found {found}"))
        }
        _ if text.chars().any(char::is_control) => {
            Err("expected one line without control characters".to_owned())
        }
        _ => Ok(text.to_owned()),
    }
}

/// Runs the command.
pub fn run(args: &AuditAdopt) -> Status {
    let config = match read(&args.file) {
        Ok(config) => config,
        Err(status) => return status,
    };
    adopt(&config, &args.reason).unwrap_or_else(|error| fail(&error, error.exit_status()))
}

fn adopt(config: &Config, reason: &str) -> Result<Status, StartError> {
    let log = Offline::open(config)?;
    let memories = log.memories(of_gateway(config))?;
    match log.newest() {
        Some(newest) => say!("the log        {} records, root {}", newest.size, hex::encode(newest.root)),
        None => say!("the log        has no checkpoint"),
    }
    for Remembered { known, standing } in &memories {
        let (size, root) = (known.checkpoint.size, hex::encode(known.checkpoint.root.0));
        say!("the {:<10} {size} records, root {root}", known.by);
        match standing {
            Ok(()) => say!("               the log extends it"),
            Err(why) => say!("               {why}"),
        }
    }
    if !memories.is_empty() && memories.iter().all(|memory| memory.standing.is_ok()) {
        log.close()?;
        say!("nothing to decide: the log extends what is known of it");
        return Ok(0);
    }
    if memories.is_empty() {
        say!("nothing is known of the log");
    }
    let known: Vec<_> = memories.into_iter().map(|memory| memory.known).collect();
    let sequence = log.adopt(&operator(), reason, &known)?;
    say!("adopted: record {sequence} holds the decision; start the service");
    Ok(0)
}

/// The checkpoint in the gateway's state, where this user may read it. Else the signer learns it when it refuses the
/// gateway.
pub(super) fn of_gateway(config: &Config) -> Option<String> {
    if !config.store.path.exists() {
        return None;
    }
    match Store::checkpoint_in(&config.store.path, &config.audit.origin) {
        Ok(note) => note,
        Err(error) => {
            complain!("the gateway's memory is not shown: {error}");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_printable_line_of_bounded_length() {
        assert_eq!(reason(" restored from tape 7 ").as_deref(), Ok("restored from tape 7"));
        for bad in ["", "  ", "two\nlines", "\u{1b}[2J", &"x".repeat(REASON_MAX + 1)] {
            assert!(reason(bad).is_err(), "{bad:?}");
        }
    }
}
