//! The units as shipped: hardened, valid, and in agreement with what stands around them.
//!
//! `systemd-analyze` works offline, without systemd as PID 1.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The directory of the units.
const UNITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd");

/// Where the package puts the program.
const INSTALLED: &str = "/usr/bin/chancery";

fn unit(name: &str) -> String {
    let path = Path::new(UNITS).join(name);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// All values of one setting, in order.
fn values<'a>(text: &'a str, setting: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.strip_prefix(setting)?.strip_prefix('=')).collect()
}

/// A missing tool is a failure that names the package: a check that did not run has not passed.
fn systemd_analyze(arguments: &[&str], directory: &Path) -> Output {
    Command::new("systemd-analyze")
        .args(arguments)
        .current_dir(directory)
        .env("SYSTEMD_COLORS", "0")
        .output()
        .unwrap_or_else(|e| panic!("systemd-analyze: {e}; install it with: apt-get install systemd"))
}

fn text_of(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Ok if the exposure of `file` is at most `tenths` tenths; else what systemd-analyze says.
fn exposure_at_most(file: &Path, tenths: u32) -> Result<(), String> {
    let (name, directory) = (file.file_name().unwrap().to_str().unwrap(), file.parent().unwrap());
    let threshold = format!("--threshold={tenths}");
    let output = systemd_analyze(
        &["security", "--offline=true", "--no-pager", &threshold, &format!("./{name}")],
        directory,
    );
    let text = text_of(&output);
    assert!(
        text.contains("Overall exposure level"),
        "systemd-analyze security did not look at {name}:\n{text}"
    );
    if output.status.success() { Ok(()) } else { Err(text) }
}

/// Both units and the given drop-in of the signer, in a directory of their own, with the program that was built.
fn installed(drop_in: Option<&str>) -> (tempfile::TempDir, Vec<PathBuf>) {
    let directory = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for name in ["chancery.service", "chancery-signer.service"] {
        let text = unit(name);
        assert!(text.contains(INSTALLED), "{name} starts no {INSTALLED}");
        let file = directory.path().join(name);
        fs::write(&file, text.replace(INSTALLED, env!("CARGO_BIN_EXE_chancery"))).unwrap();
        files.push(file);
    }
    if let Some(name) = drop_in {
        let below = directory.path().join("chancery-signer.service.d");
        fs::create_dir(&below).unwrap();
        fs::write(below.join("drop-in.conf"), unit(name)).unwrap();
    }
    (directory, files)
}

fn drop_ins() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(UNITS)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".conf.example"))
        .collect();
    names.sort();
    names
}

#[test]
fn the_signer_is_exposed_by_at_most_0_5() {
    exposure_at_most(&Path::new(UNITS).join("chancery-signer.service"), 5).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn the_gateway_is_exposed_by_at_most_1_5() {
    exposure_at_most(&Path::new(UNITS).join("chancery.service"), 15).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn a_unit_without_one_of_its_walls_is_found_to_be_too_exposed() {
    for (name, wall, tenths) in [
        ("chancery-signer.service", "CapabilityBoundingSet=", 5),
        ("chancery-signer.service", "PrivateNetwork=yes", 5),
        ("chancery.service", "CapabilityBoundingSet=", 15),
        ("chancery.service", "SystemCallFilter=@system-service", 15),
    ] {
        let (directory, _) = installed(None);
        let (text, file) = (unit(name), directory.path().join(name));
        assert!(text.lines().any(|line| line == wall), "{name} has no line {wall}");
        fs::write(&file, text.lines().filter(|line| *line != wall).collect::<Vec<_>>().join("\n")).unwrap();
        assert!(exposure_at_most(&file, tenths).is_err(), "{name} without {wall} passed");
    }
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units_and_each_drop_in() {
    for drop_in in drop_ins().iter().map(|name| Some(name.as_str())).chain([None]) {
        let (directory, files) = installed(drop_in);
        for file in files {
            let output = systemd_analyze(&["verify", "--man=no", file.to_str().unwrap()], directory.path());
            let text = text_of(&output);
            // Other units of this machine may have faults of their own.
            let ours: Vec<&str> = text.lines().filter(|line| line.contains("chancery")).collect();
            assert!(
                output.status.success() && ours.is_empty(),
                "{} with {drop_in:?}:\n{text}",
                file.display()
            );
        }
    }
}

#[test]
fn a_misspelt_setting_does_not_pass() {
    let (directory, files) = installed(None);
    let file = files.first().unwrap();
    fs::write(file, fs::read_to_string(file).unwrap().replace("ProtectSystem=", "ProtectSytem=")).unwrap();
    let text = text_of(&systemd_analyze(&["verify", "--man=no", file.to_str().unwrap()], directory.path()));
    assert!(text.contains("ProtectSytem"), "{text}");
}

#[test]
fn the_program_has_the_commands_that_the_units_start() {
    for name in ["chancery.service", "chancery-signer.service"] {
        let text = unit(name);
        let command = *values(&text, "ExecStart").first().unwrap();
        let [program, verb, option, _file] = command.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("{name}: expected a program, a command, an option and a file, found {command}");
        };
        let output = Command::new(env!("CARGO_BIN_EXE_chancery")).args([verb, "--help"]).output().unwrap();
        let known = output.status.success() && text_of(&output).contains(option);
        assert!(program == INSTALLED && known, "{name}: {command}: {}", text_of(&output));
    }
}

#[test]
fn a_refused_pin_and_a_wrong_configuration_are_never_tried_again() {
    // The signer reads the log too: one that is damaged stays so. Nothing of the signer's ends the gateway.
    for (name, never) in [("chancery.service", "78"), ("chancery-signer.service", "65 77 78")] {
        let text = unit(name);
        assert_eq!(values(&text, "RestartPreventExitStatus"), [never], "{name}");
        assert_eq!(values(&text, "Restart"), ["always"], "{name}");
        assert_eq!(values(&text, "Type"), ["notify"], "{name}");
        assert!(!values(&text, "WatchdogSec").is_empty(), "{name}");
    }
}

#[test]
fn each_process_sees_the_user_of_the_other() {
    // With PrivateUsers=yes the kernel shows every other user as 65534, and peer credentials say nothing.
    for name in ["chancery.service", "chancery-signer.service"] {
        assert_eq!(values(&unit(name), "PrivateUsers"), ["no"], "{name}");
    }
    let (gateway, signer) = (unit("chancery.service"), unit("chancery-signer.service"));
    assert_ne!(values(&gateway, "User"), values(&signer, "User"), "one user is no boundary");
    let users = unit("chancery.sysusers");
    for text in [&gateway, &signer] {
        let user = *values(text, "User").first().unwrap();
        let declared = |line: &&str| line.split_whitespace().take(2).eq(["u", user]);
        assert!(users.lines().any(|line| declared(&line)), "chancery.sysusers does not make {user}");
    }
}

#[test]
fn every_directory_that_a_unit_writes_is_made_before_it_starts() {
    let made = unit("chancery.tmpfiles");
    for name in ["chancery.service", "chancery-signer.service"] {
        let text = unit(name);
        for path in values(&text, "ReadWritePaths").iter().flat_map(|paths| paths.split_whitespace()) {
            // A leading dash: the unit starts without it too.
            let path = path.trim_start_matches('-');
            let declared = |line: &&str| line.split_whitespace().take(2).eq(["d", path]);
            assert!(
                made.lines().any(|line| declared(&line)),
                "{name} writes {path}, which tmpfiles does not make"
            );
        }
    }
}

#[test]
fn the_auditors_socket_lies_where_their_group_alone_may_enter() {
    let tmpfiles = unit("chancery.tmpfiles");
    let directory = "/run/chancery-auditors";
    let line = tmpfiles.lines().find(|line| line.split_whitespace().nth(1) == Some(directory));
    let fields: Vec<&str> = line.unwrap_or_default().split_whitespace().skip(2).collect();
    assert_eq!(fields, ["0710", "chancery-signer", "chancery-auditors"]);
    assert!(unit("chancery.sysusers").lines().any(|line| line == "g chancery-auditors -"));
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/config/chancery.toml");
    let text = fs::read_to_string(example).unwrap();
    for line in [&format!("socket = \"{directory}/auditors.sock\""), "group  = \"chancery-auditors\""] {
        assert!(text.lines().any(|found| found == line), "{example} has no line {line}");
    }
}

#[test]
fn the_signers_directories_are_made_and_configured_as_its_unit_has_them() {
    let (signer, tmpfiles) = (unit("chancery-signer.service"), unit("chancery.tmpfiles"));
    let (owner, mode) = (values(&signer, "User"), values(&signer, "StateDirectoryMode"));
    let directories: Vec<String> = values(&signer, "StateDirectory")
        .iter()
        .flat_map(|names| names.split_whitespace().map(|name| format!("/var/lib/{name}")))
        .collect();
    assert_eq!(directories, ["/var/lib/chancery/audit", "/var/lib/chancery/signer"]);
    for directory in &directories {
        let line = tmpfiles.lines().find(|line| line.split_whitespace().nth(1) == Some(directory));
        let fields: Vec<&str> = line.unwrap_or_default().split_whitespace().skip(2).take(2).collect();
        assert_eq!(fields, [*mode.first().unwrap(), *owner.first().unwrap()], "{directory}");
    }
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/config/chancery.toml");
    let text = fs::read_to_string(example).unwrap();
    assert!(text.contains(&format!("directory = \"{}\"", directories.first().unwrap())), "{example}");
}

#[test]
fn a_unit_gives_its_process_the_time_that_its_longest_end_takes() {
    use chancery::cli::{serve, signer};
    for (name, longest) in
        [("chancery.service", serve::LONGEST_END), ("chancery-signer.service", signer::LONGEST_END)]
    {
        let text = unit(name);
        let given: Vec<u64> = values(&text, "TimeoutStopSec").iter().map(|v| v.parse().unwrap()).collect();
        let longest = longest.as_secs();
        assert!(
            matches!(given[..], [given] if (longest + 5..=longest + 15).contains(&given)),
            "{name}: {longest} s, {given:?}"
        );
    }
}
