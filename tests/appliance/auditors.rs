//! Members of the auditors' group: their requests over a socket of their own.

use crate::harness::{Appliance, CHANCERY, Settings, Way, until, verify};
use nix::unistd::{Group, User, getegid, geteuid};
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

/// Limits of `src/signer/auditors.rs`.
const EXPORTS_OF_ONE: usize = 12;
const CONNECTIONS_OF_ONE: usize = 2;

/// An appliance whose auditors are the members of this process's group: it asks as an unprivileged member.
fn with_own_group(way: Way) -> Appliance {
    let mut settings = Settings::new(way);
    settings.auditors = Some(Group::from_gid(getegid()).unwrap().unwrap().name);
    Appliance::start(settings)
}

/// The auditors' socket, once the signer listens.
fn connect(appliance: &Appliance) -> UnixStream {
    let socket = appliance.path("auditors/auditors.sock");
    let stream = until("the auditors' socket", || UnixStream::connect(&socket).ok());
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

fn frame(text: &str) -> Vec<u8> {
    [&u32::try_from(text.len()).unwrap().to_le_bytes(), text.as_bytes()].concat()
}

/// Sends bytes, and reads until the signer closes.
fn sent(appliance: &Appliance, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(appliance);
    // A signer at its limit of connections closes at once.
    let _ = stream.write_all(bytes);
    let mut all = Vec::new();
    // A socket that was closed with unread bytes ends with an error, and so without an answer.
    let _ = stream.read_to_end(&mut all);
    all
}

/// The answer, and the bytes after it.
fn answer(all: &[u8]) -> (Value, &[u8]) {
    let (length, rest) = all.split_first_chunk::<4>().expect("an answer");
    let (body, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
    (serde_json::from_slice(body).unwrap(), rest)
}

/// The answer to an ask; waits while earlier connections end.
fn asked(appliance: &Appliance, ask: &str) -> Value {
    until("a place", || {
        let all = sent(appliance, &frame(ask));
        let (answer, records) = answer(&all);
        let busy =
            answer["later"]["reason"].as_str().is_some_and(|why| why.contains("commands of one account"));
        assert_eq!(records.is_empty(), ask != "\"export\"" || answer["checkpoint"].is_null());
        (!busy).then_some(answer)
    })
}

#[test]
fn an_auditor_cannot_reach_a_call_of_the_operator() {
    let appliance = with_own_group(Way::Separate);
    let calls = [
        json!({"accept-clock": {"reason": "over the auditors' socket"}}).to_string(),
        json!({"export": {"directory": "/tmp/chosen-by-an-auditor"}}).to_string(),
        json!({"backup": {}}).to_string(),
        json!("exports").to_string(),
        "\"status\" ".repeat(20_000),
        String::new(),
    ];
    for call in calls.iter().map(|text| frame(text)).chain([vec![0xff; 64], vec![0xff; 3]]) {
        let mut stream = connect(&appliance);
        let _ = stream.write_all(&call);
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        assert_eq!(all, Vec::<u8>::new(), "an answer to {}", String::from_utf8_lossy(&call));
    }
    let status = asked(&appliance, "\"status\"");
    assert!(status["checkpoint"]["note"].as_str().unwrap().starts_with("as.bank.example/audit/test\n"));
    let finished = appliance.finish();
    assert_eq!(finished.evidence.events("clock-accepted").count(), 0);
    assert_eq!(finished.evidence.events("export").count(), 0);
}

#[test]
fn a_greedy_auditor_is_limited_and_the_service_continues() {
    let appliance = with_own_group(Way::Separate);
    let token = appliance.token_of_the_case();
    let answers: Vec<Value> = (0..EXPORTS_OF_ONE + 20).map(|_| asked(&appliance, "\"export\"")).collect();
    let (made, refused) = answers.split_at(EXPORTS_OF_ONE);
    assert!(made.iter().all(|answer| answer["checkpoint"]["sequence"].is_u64()), "{made:?}");
    for answer in refused {
        let reason = answer["later"]["reason"].as_str().unwrap();
        assert!(reason.contains("12 exports of one account in an hour"), "{reason}");
    }
    assert!(asked(&appliance, "\"status\"")["checkpoint"]["sequence"].is_null());

    // Silent connections use up the limit of their own account for seconds, and nothing else.
    let mut idle: Vec<UnixStream> = (0..CONNECTIONS_OF_ONE).map(|_| connect(&appliance)).collect();
    let all = until("no place is left", || {
        let all = sent(&appliance, &frame("\"status\""));
        (answer(&all).0["later"].is_object()).then_some(all)
    });
    assert!(
        answer(&all).0["later"]["reason"].as_str().unwrap().contains("2 commands of one account at once")
    );
    assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true);
    assert!(asked(&appliance, "\"status\"")["checkpoint"].is_object(), "the places come back by themselves");
    for stream in &mut idle {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, Vec::<u8>::new(), "closed without an answer");
    }
    let finished = appliance.finish();
    assert_eq!(finished.evidence.events("export").count(), EXPORTS_OF_ONE);
}

#[test]
fn while_the_auditors_directory_is_open_to_others_no_auditor_is_answered_and_the_service_continues() {
    let mut appliance = with_own_group(Way::Separate);
    let directory = appliance.path("auditors");
    fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
    let refused = asked(&appliance, "\"export\"");
    let reason = refused["failed"]["reason"].as_str().unwrap();
    assert!(reason.contains("others may not enter") && reason.contains("found mode 0755"), "{reason}");
    let token = appliance.token_of_the_case();
    assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true);
    fs::set_permissions(&directory, Permissions::from_mode(0o710)).unwrap();
    assert!(asked(&appliance, "\"export\"")["checkpoint"].is_object(), "mended without a restart");

    // A missing directory disables the auditors' socket, and nothing else.
    appliance.stop();
    fs::remove_dir_all(&directory).unwrap();
    appliance.run();
    assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true);
    let said = appliance.signer.as_ref().unwrap().said();
    assert!(said.contains("no auditor can reach the signer"), "{said}");
    let finished = appliance.finish();
    assert_eq!(finished.evidence.events("export").count(), 1);
}

/// A real account beside those of the service; only root can become it.
struct Account {
    user: User,
    gid: u32,
    /// The program at a path where this account may run it.
    program: PathBuf,
    config: PathBuf,
    /// A directory of its own.
    home: PathBuf,
}

impl Account {
    fn of(appliance: &Appliance, name: &str) -> Self {
        let user = User::from_name(name).unwrap().expect("an account of every Debian");
        let program = appliance.path("program");
        if !program.exists() {
            fs::copy(CHANCERY, &program).unwrap();
        }
        let (gid, config) = (user.gid.as_raw(), appliance.path("chancery.toml"));
        let home = appliance.path(name);
        fs::create_dir(&home).unwrap();
        chown(&home, Some(user.uid.as_raw()), Some(gid)).unwrap();
        Self { user, gid, program, config, home }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        command.args(arguments).env_clear().current_dir("/").uid(self.user.uid.as_raw()).gid(self.gid);
        command.output().unwrap()
    }

    fn with_config(&self, arguments: &[&str]) -> Output {
        self.run(&[arguments, &["--config", self.config.to_str().unwrap()]].concat())
    }

    /// Asserts that an export ends with this status and message, and leaves no directory.
    fn exports_nothing(&self, status: i32, words: &str) {
        let out = self.home.join("refused");
        self.is_refused(&["audit", "export", "--out", out.to_str().unwrap()], status, words);
        assert!(!out.exists());
    }

    /// Asserts that the command ends with this status and message.
    fn is_refused(&self, arguments: &[&str], status: i32, words: &str) {
        let output = self.with_config(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}

fn everything_below(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_owned()];
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            found.extend(everything_below(&entry.unwrap().path()));
        }
    }
    found
}

#[test]
fn a_member_of_the_group_makes_an_export_that_verifies_and_other_accounts_make_none() {
    if !geteuid().is_root() {
        eprintln!("skipped: expected root, who alone can become another account");
        return;
    }
    for way in [Way::Separate, Way::Child] {
        let mut settings = Settings::new(way);
        settings.auditors = Some("games".to_owned());
        let mut appliance = Appliance::start(settings);
        fs::set_permissions(appliance.path(""), Permissions::from_mode(0o711)).unwrap();
        fs::set_permissions(appliance.audit(), Permissions::from_mode(0o700)).unwrap();
        let (auditor, stranger) = (Account::of(&appliance, "games"), Account::of(&appliance, "nobody"));
        let token = appliance.token_of_the_case();
        // More than one bundle of 256 records.
        for _ in 0..260 {
            appliance.introspect("payments-api", &token);
        }
        let jwt = auditor.home.join("jwt");
        fs::write(&jwt, appliance.introspect("payments-api", &token).text).unwrap();

        let out = auditor.home.join("export");
        let (out_text, jwt) = (out.to_str().unwrap(), jwt.to_str().unwrap());
        let output = auditor.with_config(&["audit", "export", "--json", "--out", out_text]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(summary["size"].as_u64().unwrap() > 260 && summary["uncovered"] == 0, "{summary}");
        for path in everything_below(&out) {
            let about = fs::metadata(&path).unwrap();
            let mode = if about.is_dir() { 0o700 } else { 0o600 };
            assert_eq!((about.uid(), about.mode() & 0o7777), (auditor.user.uid.as_raw(), mode), "{path:?}");
        }
        let verified =
            auditor.run(&["audit", "verify", out_text, "--key", appliance.log_key(), "--jwt", jwt]);
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
        // The same log as root's, byte by byte, as far as it goes.
        let (own, of_root) = (out.join("checkpoint"), appliance.export("export-of-root"));
        assert!(verify(&of_root, &["--earlier", own.to_str().unwrap()]).status.success());
        let status = auditor.with_config(&["audit", "status", "--json"]);
        let status: Value = serde_json::from_slice(&status.stdout).unwrap();
        assert!(status["running"] == true && status["size"].as_u64() >= summary["size"].as_u64(), "{status}");

        auditor.is_refused(&["clock", "accept", "--reason", "I am an operator"], 77, "may not reach");
        stranger.exports_nothing(77, "a member of the group games (auditors.group), found nobody");
        stranger.is_refused(&["audit", "status"], 77, "usermod -aG games nobody");
        // A process of the group whose account is no member: the directory admits it, the signer refuses it.
        let other = Account { gid: auditor.gid, ..stranger };
        other.exports_nothing(77, "expected a member of the group games (auditors.group), found nobody");
        appliance.keep_checkpoint();
        appliance.stop();
        auditor.exports_nothing(69, "no signer answers");
        let finished = appliance.finish();
        let operators: Vec<&str> =
            finished.evidence.events("export").map(|record| record["operator"].as_str().unwrap()).collect();
        assert_eq!(operators, ["auditor games (uid 5)", "uid 0"]);
    }
}

#[test]
fn without_an_auditors_group_other_accounts_get_that_reason() {
    if !geteuid().is_root() {
        eprintln!("skipped: expected root, who alone can become another account");
        return;
    }
    let appliance = Appliance::start(Settings::new(Way::Separate));
    fs::set_permissions(appliance.path(""), Permissions::from_mode(0o711)).unwrap();
    let stranger = Account::of(&appliance, "nobody");
    stranger.exports_nothing(77, "the configuration has no [auditors]");
    appliance.finish();
}
