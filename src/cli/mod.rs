//! The commands: one file each, and the only place that connects the rooms.
//!
//! [`crate::exit`] lists the exit statuses.

/// Writes one line to standard output. A closed pipe (`| head`) is no error: the command has done its work.
macro_rules! say {
    ($($words:tt)*) => {
        drop(std::io::Write::write_fmt(&mut std::io::stdout().lock(), format_args!("{}\n", format_args!($($words)*))))
    };
}

/// Writes one line to standard error.
macro_rules! complain {
    ($($words:tt)*) => {
        $crate::cli::complain(&format!($($words)*))
    };
}

pub mod audit_adopt;
pub mod audit_export;
pub mod audit_init;
pub mod audit_status;
pub mod audit_verify;
mod auditor;
pub mod backup;
pub mod clock_accept;
pub mod config_check;
pub mod key_generate;
pub mod pin_clear;
mod reload;
pub mod serve;
pub mod signer;

use crate::config::{self, Config, LogLines};
use crate::exit::{self, Status};
use crate::hsm::leave;
use crate::signer::Calls;
use crate::telemetry::{self, Lines, Telemetry, TelemetryError};
use clap::{Args, Parser, Subcommand};
use rustix::process::DumpableBehavior;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

/// Signed token introspection and access tokens from keys in a PKCS#11 token, with an audit log that proves every
/// answer.
///
/// To begin: write a configuration (config/ in the sources has examples), then
///
///   chancery config check   --config FILE
///   chancery key generate   --config FILE
///   chancery audit init     --config FILE
///   chancery serve          --config FILE
#[derive(Parser)]
#[command(name = "chancery", version, about, long_about, verbatim_doc_comment)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answer clients and resource servers (the gateway); starts its own signer unless [signer] names one
    Serve(ConfigFile),
    /// Sign and record for a gateway (the process that holds PIN, token and log)
    Signer(signer::SignerArgs),
    /// The configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Keys in the token
    #[command(subcommand)]
    Key(KeyCommand),
    /// The PIN of the token
    #[command(subcommand)]
    Pin(PinCommand),
    /// The audit log
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Copy state and log to a new directory while the service runs, or say whether a copy is whole
    Backup(backup::Backup),
    /// The system's clock, as far as it is trusted
    #[command(subcommand)]
    Clock(ClockCommand),
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Name every mistake of the file at once, each with its line
    Check(config_check::ConfigCheck),
}

#[derive(Subcommand)]
enum ClockCommand {
    /// Trust the time that the clock shows now, after it was set by more than 10 s
    Accept(clock_accept::ClockAccept),
}

#[derive(Subcommand)]
enum KeyCommand {
    /// Make each key that the configuration names and the token lacks
    Generate(key_generate::KeyGenerate),
}

#[derive(Subcommand)]
enum PinCommand {
    /// Let a PIN be tried again that the token refused
    Clear(ConfigFile),
}

#[derive(Subcommand)]
enum AuditCommand {
    /// Create the log; refuses if one exists
    Init(ConfigFile),
    /// Show how the log stands
    Status(audit_status::AuditStatus),
    /// Continue a log that was restored from an older copy, or whose known checkpoints are lost
    Adopt(audit_adopt::AuditAdopt),
    /// Export the records under the newest checkpoint to a new directory; members of the group in `[auditors]` may too
    Export(audit_export::AuditExport),
    /// Verify an export offline: needs neither configuration, token nor network
    Verify(audit_verify::Args),
}

/// The one argument of most commands.
#[derive(Args)]
pub struct ConfigFile {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// Parses the arguments, runs the command, and ends the process.
pub fn run() -> ! {
    let status = done();
    telemetry::flush();
    // The reader of the pipe may be gone.
    let _ = std::io::stdout().flush();
    // Not by returning from `main`: a module's destructors must not run while a thread may be inside the module.
    leave(status)
}

fn done() -> Status {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let status = if error.use_stderr() { exit::USAGE } else { 0 };
            // There is no other place to report a closed terminal.
            let _ = error.print();
            return status;
        }
    };
    // Before a command reads a PIN, a key or a secret: no core dump, and no other process of this user can read the
    // memory.
    if let Err(error) = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        return fail(&format!("core files and ptrace cannot be turned off: {error}"), exit::OS);
    }
    match &cli.command {
        Command::Serve(args) => serve::run(args),
        Command::Signer(args) => signer::run(args),
        Command::Config(ConfigCommand::Check(args)) => config_check::run(args, &mut std::io::stdout().lock())
            .unwrap_or_else(|error| fail(&error, exit::IO)),
        Command::Key(KeyCommand::Generate(args)) => key_generate::run(args),
        Command::Pin(PinCommand::Clear(args)) => pin_clear::run(args),
        Command::Backup(args) => backup::run(args),
        Command::Clock(ClockCommand::Accept(args)) => clock_accept::run(args),
        Command::Audit(AuditCommand::Init(args)) => audit_init::run(args),
        Command::Audit(AuditCommand::Status(args)) => audit_status::run(args),
        Command::Audit(AuditCommand::Adopt(args)) => audit_adopt::run(args),
        Command::Audit(AuditCommand::Export(args)) => audit_export::run(args),
        Command::Audit(AuditCommand::Verify(args)) => audit_verify::run(args),
    }
}

/// Calls of a command into the module; a call that hangs ends the command.
pub(crate) fn watched_calls(config: &Config) -> Result<Calls, Status> {
    let hung = |what: String| {
        fail(&what, exit::SOFTWARE);
        leave(exit::SOFTWARE)
    };
    Calls::watch(config.hsm.deadline, hung).map_err(|error| fail(&error, exit::OS))
}

/// The configuration as used; prints every mistake to standard error. For commands that use only the log on this
/// machine.
pub(crate) fn read(file: &ConfigFile) -> Result<Config, Status> {
    config::load(&file.config).map_err(|mistakes| {
        complain!("{mistakes}");
        mistakes.exit_status()
    })
}

/// As [`read`], but everything that the configuration names on this machine must exist.
pub(crate) fn load(file: &ConfigFile, process: config::Process) -> Result<Arc<Config>, Status> {
    usable(file, process).map_err(|unusable| {
        complain(&unusable.mistakes);
        unusable.status
    })
}

pub(crate) struct Unusable {
    /// Every mistake, a line each.
    pub(crate) mistakes: String,
    pub(crate) status: Status,
    /// The configuration, if its only mistakes are missing parts of this machine.
    pub(crate) config: Option<Box<Config>>,
}

/// As [`load`], for a process that reports the mistakes to others.
pub(crate) fn usable(file: &ConfigFile, process: config::Process) -> Result<Arc<Config>, Unusable> {
    let config = config::load(&file.config).map_err(|mistakes| Unusable {
        mistakes: mistakes.to_string(),
        status: mistakes.exit_status(),
        config: None,
    })?;
    let problems = config::check_host(&config, process);
    if problems.is_empty() {
        return Ok(Arc::new(config));
    }
    let lines: Vec<_> =
        problems.iter().map(|problem| format!("{}: {problem}", file.config.display())).collect();
    Err(Unusable { mistakes: lines.join("\n"), status: exit::CONFIG, config: Some(Box::new(config)) })
}

/// Writes to standard error, each line with its syslog priority when the journal reads it.
pub(crate) fn complain(words: &str) {
    let priority = telemetry::priority(tracing::Level::ERROR);
    let text = format!("{priority}{}\n", words.replace('\n', &format!("\n{priority}")));
    // There is no other place to report a closed standard error.
    let _ = Write::write_all(&mut std::io::stderr().lock(), text.as_bytes());
}

/// Prints the reason for an end, and returns the status.
pub(crate) fn fail(error: &dyn std::fmt::Display, status: Status) -> Status {
    complain!("chancery: {error}");
    status
}

/// Writes log lines to standard error until the result is dropped.
pub(crate) fn log_lines(lines: LogLines) -> Result<Telemetry, Status> {
    let lines = if lines.is_json(std::io::stderr().is_terminal()) { Lines::Json } else { Lines::Human };
    let status = |error: &TelemetryError| {
        if matches!(error, TelemetryError::Filter(_)) { exit::CONFIG } else { exit::OS }
    };
    telemetry::init(lines).map_err(|error| fail(&error, status(&error)))
}

/// The account that runs a command, for records of administrative acts. `chancery-once` runs commands as the signer's
/// user and passes the caller's account on. That user could forge it, as it could run any command itself.
pub(crate) fn operator() -> String {
    let uid = nix::unistd::getuid();
    let user = nix::unistd::User::from_uid(uid).ok().flatten().map(|user| user.name);
    account(user.unwrap_or_else(|| format!("uid {uid}")), std::env::var("CHANCERY_OPERATOR").ok())
}

fn account(user: String, given_by: Option<String>) -> String {
    match given_by {
        Some(by)
            if by != user && (1..=64).contains(&by.len()) && by.bytes().all(|b| b.is_ascii_graphic()) =>
        {
            format!("{by} as {user}")
        }
        _ => user,
    }
}

#[cfg(test)]
mod tests {
    use super::account;

    #[test]
    fn a_record_names_the_account_that_gave_the_command() {
        let of = |by: Option<&str>| account("chancery-signer".to_owned(), by.map(str::to_owned));
        assert_eq!(of(Some("alice")), "alice as chancery-signer");
        for none in [
            None,
            Some(""),
            Some("chancery-signer"),
            Some("two words"),
            Some("\u{1b}[2J"),
            Some(&*"x".repeat(65)),
        ] {
            assert_eq!(of(none), "chancery-signer");
        }
    }
}
