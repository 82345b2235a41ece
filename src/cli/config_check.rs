//! `chancery config check`: reports every mistake at once, each with its line, or else a short summary.
//!
//! The kernel decides what a service may read. Root may read everything, so root's check starts one process for each
//! service, which becomes the service's user first.

use super::fail;
use crate::clock;
use crate::config::{
    Config, HostProblem, Mistakes, PinSource, Process, SignerMode, check_auditors, check_certificate,
    check_host, find_lines, load,
};
use crate::exit::{self, Status};
use nix::unistd::{User, geteuid, initgroups, setgid, setuid};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::ffi::CString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::Command;

/// Names every mistake of a configuration at once, each with its line.
///
/// As root it checks each file as the user of the service that needs it. Ends with status 0 (no mistake), 66 (the file
/// cannot be read) or 78 (mistakes).
#[derive(Debug, clap::Args)]
pub struct ConfigCheck {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Print one JSON object instead of lines.
    #[arg(long)]
    pub json: bool,
    /// Skip this machine's files and directories (JWK sets are part of the configuration and are read).
    #[arg(long)]
    pub file_only: bool,
    /// Become the user of this service and print what it can read, for the process that started this one.
    #[arg(long, hide = true)]
    pub seen_by: Option<Service>,
}

/// One of two services with its own user.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum Service {
    /// `chancery serve`.
    Gateway,
    /// `chancery signer`.
    Signer,
}

/// Result of one process's check of this machine.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Seen {
    problems: Vec<HostProblem>,
    notes: Vec<String>,
}

/// Checks, prints to `out`, and returns the exit status.
///
/// # Errors
/// When `out` cannot be written to, or this program cannot be started for a service.
pub fn run(args: &ConfigCheck, out: &mut impl Write) -> io::Result<Status> {
    let config = match (load(&args.config), args.seen_by) {
        (Ok(config), None) => config,
        (loaded, Some(service)) => return see_as_service(args, loaded, service, out),
        (Err(mistakes), None) => {
            refuse(args, &mistakes, out)?;
            return Ok(mistakes.exit_status());
        }
    };
    let mut seen = if args.file_only { Seen::default() } else { look(args, &config)? };
    find_lines(&args.config, &mut seen.problems);
    // A file that this user may not read is no mistake: another user may.
    let (denied, wrong): (Vec<_>, Vec<_>) = seen.problems.into_iter().partition(|p| p.denied);
    let mut notes = notes(&config, &denied);
    notes.extend(seen.notes);
    if args.json {
        let valid = wrong.is_empty();
        let answer = json!({"file": args.config.display().to_string(), "valid": valid, "mistakes": [], "machine": wrong,
            "notes": notes, "summary": summary_json(&config)});
        writeln!(out, "{answer}")?;
    } else {
        for problem in &wrong {
            writeln!(out, "{}:{}: {problem}", args.config.display(), problem.line)?;
        }
        for note in &notes {
            writeln!(out, "note: {note}")?;
        }
        if wrong.is_empty() {
            summary(&config, out)?;
        }
    }
    Ok(if wrong.is_empty() { 0 } else { exit::CONFIG })
}

/// Checks this machine for the processes of this configuration.
fn look(args: &ConfigCheck, config: &Config) -> io::Result<Seen> {
    match &config.signer {
        SignerMode::Separate { .. } if geteuid().is_root() => {
            let (mut gateway, signer) = (ask(args, "gateway")?, ask(args, "signer")?);
            gateway.problems.extend(signer.problems);
            gateway.notes.extend(signer.notes);
            Ok(gateway)
        }
        _ => Ok(see(config, Process::Both)),
    }
}

/// Checks for `process`, as the current user.
fn see(config: &Config, process: Process) -> Seen {
    let mut seen = Seen { problems: check_host(config, process), notes: Vec::new() };
    if let (Some(tls), Process::Gateway | Process::Both) = (&config.http.tls, process) {
        let (problems, notes) = check_certificate(tls, clock::wall_unchecked().unix_seconds());
        seen.problems.extend(problems);
        seen.notes.extend(notes);
    }
    if let (Some(auditors), Process::Signer | Process::Both) = (&config.auditors, process) {
        seen.problems.extend(check_auditors(auditors));
    }
    if let (PinSource::Credential(name), Process::Signer | Process::Both) = (&config.hsm.pin, process) {
        seen.notes.push(format!(
            "not looked at: hsm.pin_credential = {name}, which systemd hands to the signer's unit alone"
        ));
    }
    seen
}

/// Starts this program for one service, and reads its result.
fn ask(args: &ConfigCheck, service: &str) -> io::Result<Seen> {
    let file = std::path::absolute(&args.config)?;
    let output = Command::new(std::env::current_exe()?)
        .args(["config", "check", "--seen-by", service, "--config"])
        .arg(file)
        .output()?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        io::Error::other(format!("the {service} could not be asked what it sees: {} {said}", output.status))
    })
}

/// The process that [`ask`] starts: prints the result for the service's user as one JSON object.
fn see_as_service(
    args: &ConfigCheck,
    loaded: Result<Config, Mistakes>,
    service: Service,
    out: &mut impl Write,
) -> io::Result<Status> {
    let Ok(config) = loaded else { return Ok(exit::CONFIG) };
    let SignerMode::Separate { gateway_user, signer_user, .. } = &config.signer else {
        return Ok(exit::CONFIG);
    };
    let (key, name, process) = match service {
        Service::Gateway => ("signer.gateway_user", gateway_user, Process::Gateway),
        Service::Signer => ("signer.signer_user", signer_user, Process::Signer),
    };
    let mut seen = match become_user(name) {
        // The service reads the configuration and its JWK sets too.
        Ok(true) => match load(&args.config) {
            Ok(config) => see(&config, process),
            Err(mistakes) => Seen { problems: HostProblem::from_mistakes(&mistakes), notes: Vec::new() },
        },
        Ok(false) => Seen { problems: vec![HostProblem::no_user(key, name)], notes: Vec::new() },
        Err(error) => return Ok(fail(&format!("no process becomes the user {name}: {error}"), exit::OS)),
    };
    for problem in &mut seen.problems {
        problem.user = Some(name.clone());
        // This user needs the access.
        problem.denied = false;
    }
    writeln!(out, "{}", serde_json::to_string(&seen)?)?;
    Ok(0)
}

/// Irrevocably, with all groups of the user; false if there is no such user.
fn become_user(name: &str) -> io::Result<bool> {
    let Some(user) = User::from_name(name)? else { return Ok(false) };
    initgroups(&CString::new(name)?, user.gid)?;
    setgid(user.gid)?;
    setuid(user.uid)?;
    Ok(true)
}

fn refuse(args: &ConfigCheck, mistakes: &Mistakes, out: &mut impl Write) -> io::Result<()> {
    if args.json {
        let answer =
            json!({"file": args.config.display().to_string(), "valid": false, "mistakes": mistakes.list()});
        writeln!(out, "{answer}")
    } else {
        writeln!(out, "{mistakes}")
    }
}

/// Warnings, which are no mistakes.
fn notes(config: &Config, denied: &[HostProblem]) -> Vec<String> {
    let mut notes: Vec<String> = denied.iter().map(|p| format!("not looked at: {p}")).collect();
    notes.extend(config.warnings());
    match &config.signer {
        SignerMode::Child => notes.push(
            "without [signer], both processes have one user: convenient, but no security boundary".to_owned(),
        ),
        SignerMode::Separate { gateway_user, signer_user, .. } if gateway_user == signer_user => {
            notes.push(
                "signer.gateway_user is signer.signer_user: one user is no security boundary".to_owned(),
            );
        }
        SignerMode::Separate { .. } => {}
    }
    let servers = config.resource_servers.iter().map(|r| (&r.client_id, &r.authentication.secrets));
    let clients = config.clients.iter().map(|c| (&c.client_id, &c.authentication.secrets));
    for (id, secrets) in servers.chain(clients) {
        // The placeholder hashes of the examples.
        if secrets.0.iter().any(|hash| hash.iter().take(16).all(|b| *b == 0)) {
            notes.push(format!("client_secret_sha256 of {id} is still the example's: nobody can use it"));
        }
    }
    notes
}

fn keys(config: &Config) -> Vec<String> {
    config.keys.iter().map(|k| format!("{} {}", k.purpose, k.algorithm)).collect()
}

fn signer(config: &Config) -> String {
    match &config.signer {
        SignerMode::Child => "started by serve".to_owned(),
        SignerMode::Separate { socket, .. } => socket.display().to_string(),
    }
}

fn summary(config: &Config, out: &mut impl Write) -> io::Result<()> {
    let http = &config.http;
    let scheme = if http.tls.is_some() { "TLS" } else { "plain HTTP" };
    writeln!(out, "configuration     {}", config.digest())?;
    writeln!(out, "issuer            {}", config.issuer)?;
    writeln!(out, "listen            {} ({scheme}), operations {}", http.listen, http.operations_listen)?;
    writeln!(out, "signer            {}", signer(config))?;
    writeln!(out, "token             {} in {}", config.hsm.token, config.hsm.module.display())?;
    writeln!(out, "keys              {}", keys(config).join(", "))?;
    writeln!(out, "audit log         {} in {}", config.audit.origin, config.audit.directory.display())?;
    if let Some(auditors) = &config.auditors {
        writeln!(out, "auditors          group {} at {}", auditors.group, auditors.socket.display())?;
    }
    for issuer in &config.grant_issuers {
        writeln!(out, "grant issuer      {} ({} keys)", issuer.issuer, issuer.keys.len())?;
    }
    for server in &config.resource_servers {
        let signed = if server.require_signed_response { "signed only" } else { "signed or JSON" };
        let (id, alg) = (&server.client_id, server.introspection_alg);
        writeln!(out, "resource server   {id} for {}: {alg}, {signed}", server.resource)?;
    }
    for client in &config.clients {
        let resources: Vec<&str> = client.resources.iter().map(AsRef::as_ref).collect();
        writeln!(out, "client            {} for {}", client.client_id, resources.join(", "))?;
    }
    Ok(())
}

fn summary_json(config: &Config) -> Value {
    json!({
        "digest": config.digest().to_string(),
        "issuer": config.issuer,
        "listen": config.http.listen,
        "operations_listen": config.http.operations_listen,
        "tls": config.http.tls.is_some(),
        "signer": signer(config),
        "keys": keys(config),
        "auditors": config.auditors.as_ref().map(|auditors| &auditors.group),
        "grant_issuers": config.grant_issuers.iter().map(|g| g.issuer.as_str()).collect::<Vec<_>>(),
        "resource_servers": config.resource_servers.iter().map(|r| r.client_id.as_str()).collect::<Vec<_>>(),
        "clients": config.clients.iter().map(|c| c.client_id.as_str()).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, json: bool, file_only: bool) -> (u8, String) {
        let home = tempfile::tempdir().unwrap();
        let config = home.path().join("chancery.toml");
        std::fs::write(&config, text).unwrap();
        let mut out = Vec::new();
        let status = run(&ConfigCheck { config, json, file_only, seen_by: None }, &mut out).unwrap();
        (status, String::from_utf8(out).unwrap())
    }

    const MINIMAL: &str = include_str!("../../config/minimal.toml");

    #[test]
    fn a_right_file_gives_a_summary_and_status_0() {
        let (status, out) = check(MINIMAL, false, true);
        assert_eq!(status, 0, "{out}");
        assert!(out.contains("issuer            http://127.0.0.1:8080\n"), "{out}");
        assert!(out.contains("note: client_secret_sha256 of shop is still the example's"), "{out}");
        let (status, out) = check(MINIMAL, true, true);
        let answer: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(
            (status, &answer["valid"], &answer["summary"]["clients"]),
            (0, &json!(true), &json!(["shop"]))
        );
    }

    #[test]
    fn a_missing_rs256_key_for_introspection_is_a_note_and_the_shipped_example_has_one() {
        let (status, out) = check(MINIMAL, false, true);
        assert_eq!(status, 0);
        assert!(out.contains("note: profile generic without a key for introspection with RS256"), "{out}");
        let key = "[[keys]]\npurpose = \"introspection\"\nalgorithm = \"RS256\"\n";
        let (_, out) = check(&format!("{MINIMAL}\n{key}"), false, true);
        assert!(!out.contains("RS256, which"), "{out}");
        let shipped: toml::Table = include_str!("../../config/chancery.toml").parse().unwrap();
        let named = |key: &toml::Value, name: &str, value: &str| key[name].as_str() == Some(value);
        let keys = shipped["keys"].as_array().unwrap();
        let rs256 = |k: &&toml::Value| named(k, "purpose", "introspection") && named(k, "algorithm", "RS256");
        assert_eq!(keys.iter().filter(rs256).count(), 1);
    }

    #[test]
    fn mistakes_give_status_78_in_lines_and_in_json() {
        let text = MINIMAL.replace("version = 1", "version = 7");
        let (status, out) = check(&text, false, true);
        assert_eq!(status, 78);
        assert!(out.contains("chancery.toml:15: version: expected 1, found 7\n"), "{out}");
        let (status, out) = check(&text, true, true);
        let answer: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(
            (status, &answer["valid"], &answer["mistakes"][0]["line"]),
            (78, &json!(false), &json!(15))
        );
    }

    #[test]
    fn missing_parts_of_the_machine_give_status_78_unless_only_the_file_is_checked() {
        let (status, out) = check(MINIMAL, false, false);
        assert_eq!(status, 78);
        assert!(out.contains("chancery.toml:25: hsm.pin_file = "), "{out}");
        assert!(!out.contains("issuer  "), "no summary of what cannot run: {out}");
    }

    #[test]
    fn a_missing_file_gives_status_66() {
        let mut out = Vec::new();
        let config = "/nonexistent/chancery.toml".into();
        let args = ConfigCheck { config, json: false, file_only: false, seen_by: None };
        assert_eq!(run(&args, &mut out).unwrap(), 66);
        assert!(
            String::from_utf8(out).unwrap().contains("/nonexistent/chancery.toml: expected a readable file")
        );
    }
}
