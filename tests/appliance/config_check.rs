//! `config check` as root: each file is checked as the user of the service that needs it.

use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

/// A P-256 key (RFC 7517 §A.1).
const KEYS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"1","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}"#;

/// Two users that every Debian has, with a group of their own each.
const GATEWAY: (&str, u32) = ("www-data", 33);
const SIGNER: (&str, u32) = ("backup", 34);

/// The group `games`, which every Debian has.
const AUDITORS: u32 = 60;

/// The example for two services, on a machine in `home` where everything is as it should be.
fn machine(home: &Path) {
    let at = |name: &str| home.join(name);
    let example = include_str!("../../config/chancery.toml")
        .replace("/etc/chancery", home.to_str().unwrap())
        .replace("/var/lib/chancery", at("state").to_str().unwrap())
        .replace("/run/chancery", at("run").to_str().unwrap())
        .replace("/usr/lib/softhsm/libsofthsm2.so", at("module.so").to_str().unwrap())
        .replace("\"chancery\"\n", "\"www-data\"\n")
        .replace("\"chancery-signer\"\n", "\"backup\"\n")
        .replace("\"chancery-auditors\"\n", "\"games\"\n");
    fs::write(at("chancery.toml"), example).unwrap();
    fs::write(at("login.jwks"), KEYS).unwrap();
    fs::write(at("module.so"), "").unwrap();
    let script = "mkdir tls run run-auditors state state/audit state/signer
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 -subj /CN=as.bank.example \
            -keyout tls/server.key -out tls/server.pem";
    let output = Command::new("sh").args(["-ec", script]).current_dir(home).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for (name, mode, owner) in [
        ("", 0o755, None),
        ("chancery.toml", 0o644, None),
        ("login.jwks", 0o644, None),
        ("module.so", 0o644, None),
        ("tls/server.pem", 0o644, None),
        ("tls/server.key", 0o640, Some((0, GATEWAY.1))),
        ("state", 0o1771, Some((0, GATEWAY.1))),
        ("state/audit", 0o700, Some((SIGNER.1, SIGNER.1))),
        ("state/signer", 0o700, Some((SIGNER.1, SIGNER.1))),
        ("run", 0o750, Some((SIGNER.1, GATEWAY.1))),
        ("run-auditors", 0o710, Some((SIGNER.1, AUDITORS))),
    ] {
        fs::set_permissions(at(name), Permissions::from_mode(mode)).unwrap();
        if let Some((user, group)) = owner {
            chown(at(name), Some(user), Some(group)).unwrap();
        }
    }
}

fn check(home: &Path, json: bool) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chancery"));
    command.args(["config", "check", "--config"]).arg(home.join("chancery.toml"));
    let output = command.args(json.then_some("--json")).output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

/// The problems, as `LINE KEY USER`.
fn wrong(home: &Path) -> Vec<String> {
    let (status, out) = check(home, true);
    let answer: Value = serde_json::from_str(&out).unwrap();
    let wrong: Vec<String> = answer["machine"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| {
            format!("{} {} {}", p["line"], p["key"].as_str().unwrap(), p["user"].as_str().unwrap_or("-"))
        })
        .collect();
    assert_eq!(status, if wrong.is_empty() { 0 } else { 78 }, "{out}");
    wrong
}

#[test]
fn root_checks_each_file_as_the_user_of_the_service_that_needs_it() {
    // Only root can become another user.
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    machine(home);
    let key = home.join("tls/server.key");
    assert_eq!(wrong(home), Vec::<String>::new());
    let (_, out) = check(home, false);
    assert!(out.contains("note: not looked at: hsm.pin_credential = pin"), "{out}");

    // Root can read it, the gateway cannot: the service would end with 78.
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    // The signer must be able to write there.
    chown(home.join("state/audit"), Some(0), Some(0)).unwrap();
    let line = |key: &str| {
        let text = fs::read_to_string(home.join("chancery.toml")).unwrap();
        text.lines().position(|l| l.starts_with(key)).unwrap() + 1
    };
    let expected = [
        format!("{} http.tls.key www-data", line("key  ")),
        format!("{} audit.directory backup", line("directory")),
    ];
    assert_eq!(wrong(home), expected);
    let (_, out) = check(home, false);
    let says = format!(
        "chancery.toml:{}: http.tls.key = {}: expected a file that this user can read, found Permission \
        denied (os error 13) (as the user www-data)",
        line("key  "),
        key.display()
    );
    assert!(out.contains(&says), "{out}");

    // Other accounts could enter, and the auditors could not.
    machine_again(home);
    fs::set_permissions(home.join("run-auditors"), Permissions::from_mode(0o701)).unwrap();
    chown(home.join("run-auditors"), None, Some(0)).unwrap();
    let socket = 1 + fs::read_to_string(home.join("chancery.toml"))
        .unwrap()
        .lines()
        .position(|l| l.contains("auditors.sock"))
        .unwrap();
    assert_eq!(wrong(home), vec![format!("{socket} auditors.socket backup"); 2]);
    let (_, out) = check(home, false);
    assert!(
        out.contains("expected a directory of the group games (chgrp games), found one of root"),
        "{out}"
    );
    assert!(out.contains("(chmod g=x,o=), found mode 0701"), "{out}");

    // The configuration itself, hidden from one of the two.
    machine_again(home);
    fs::set_permissions(home.join("login.jwks"), Permissions::from_mode(0o640)).unwrap();
    chown(home.join("login.jwks"), Some(0), Some(GATEWAY.1)).unwrap();
    assert_eq!(wrong(home), [format!("{} grant_issuers[0].jwks_file backup", line("jwks_file"))]);

    // A group and a user that this machine does not have.
    machine_again(home);
    let text = fs::read_to_string(home.join("chancery.toml")).unwrap();
    fs::write(home.join("chancery.toml"), text.replace("\"games\"\n", "\"no-such-group\"\n")).unwrap();
    assert_eq!(wrong(home), [format!("{} auditors.group backup", line("group"))]);
    machine_again(home);
    let text = fs::read_to_string(home.join("chancery.toml")).unwrap();
    fs::write(home.join("chancery.toml"), text.replace("\"backup\"\n", "\"no-such-user\"\n")).unwrap();
    assert_eq!(wrong(home), [format!("{} signer.signer_user no-such-user", line("signer_user"))]);
}

/// As [`machine`], after an earlier part of the test.
fn machine_again(home: &Path) {
    for name in ["tls", "run", "run-auditors", "state"] {
        fs::remove_dir_all(home.join(name)).unwrap();
    }
    machine(home);
}
