//! Backups: made under load, complete or refused, and restored.

use crate::harness::{Appliance, Settings, Way, copy, send, sha256_hex, unique, until, verify};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

fn backup(appliance: &Appliance, name: &str) -> (PathBuf, Value) {
    let out = appliance.path(name);
    let said = appliance.must(&["backup", "--json", "--out", out.to_str().unwrap()]);
    (out, serde_json::from_str(&said).unwrap())
}

/// `chancery backup --verify`, which needs no configuration.
fn whole(directory: &Path) -> Output {
    let mut command = std::process::Command::new(crate::harness::CHANCERY);
    command.args(["backup", "--json", "--verify"]).arg(directory).output().unwrap()
}

fn is_whole(directory: &Path) -> Value {
    let output = whole(directory);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The reason why it does not verify.
fn not_whole(directory: &Path) -> String {
    let output = whole(directory);
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(matches!(output.status.code(), Some(65 | 66)), "{}: {why}", output.status);
    why
}

/// How many segments a log has.
fn segments(log: &Path) -> usize {
    files(&log.join("segments")).iter().filter(|name| name.extension().is_some_and(|e| e == "seg")).count()
}

/// Every file below a directory, by its path inside.
fn files(directory: &Path) -> Vec<PathBuf> {
    let output = std::process::Command::new("find").args([".", "-type", "f"]).current_dir(directory).output();
    let found = String::from_utf8(output.unwrap().stdout).unwrap();
    let mut found: Vec<_> = found.lines().map(|line| PathBuf::from(line.trim_start_matches("./"))).collect();
    found.sort();
    found
}

/// Moves the service's state away, the signer's only if the host is lost as well, and restores the backup.
fn come_back(appliance: &Appliance, backup: &Path, host_is_lost: bool) {
    std::fs::remove_dir_all(appliance.audit()).unwrap();
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        let _ = std::fs::remove_file(appliance.path(name));
    }
    if host_is_lost {
        std::fs::remove_dir_all(appliance.path("signer")).unwrap();
    }
    copy(&backup.join("audit"), &appliance.audit());
    copy(&backup.join("state.db"), &appliance.path("state.db"));
}

#[test]
fn a_backup_made_under_load_restores_the_service_on_a_new_host() {
    for way in [Way::Child, Way::Separate] {
        let mut appliance = Appliance::start(Settings::new(way));
        let (token, revoked) = (appliance.token_of_the_case(), appliance.token_of_the_case());
        assert_eq!(appliance.revoke("shop", &revoked).status, 200);
        let before: Vec<String> =
            (0..40).map(|_| appliance.introspect("payments-api", &token).text).collect();
        appliance.keep_checkpoint();

        // Backups under load, over more than one of the small segments.
        let (stop, released) = (AtomicBool::new(false), AtomicUsize::new(0));
        let ask = |_| {
            while !stop.load(Ordering::Relaxed) {
                appliance.introspect("payments-api", &token);
                appliance.token_of_the_case();
                released.fetch_add(1, Ordering::Relaxed);
            }
        };
        let backups: Vec<_> = std::thread::scope(|scope| {
            (0..3).for_each(|n| drop(scope.spawn(move || ask(n))));
            let mut backups = Vec::new();
            for n in 1..=2 {
                until("another segment", || (segments(&appliance.audit()) >= n).then_some(()));
                let seen = released.load(Ordering::Relaxed);
                backups.push(backup(&appliance, &format!("backup-{n}")));
                until("answers meanwhile", || (released.load(Ordering::Relaxed) > seen).then_some(()));
            }
            stop.store(true, Ordering::Relaxed);
            backups
        });
        for (directory, said) in &backups {
            let found = is_whole(directory);
            assert_eq!(found["records"], said["records"]);
            assert!(
                found["size"].as_u64() >= said["size"].as_u64() && said["size"].as_u64() > Some(40),
                "{said}"
            );
            assert!(
                said["sequence"].as_u64() < said["records"].as_u64(),
                "the backup's own record is in it: {said}"
            );
            for file in files(directory) {
                let mode = std::fs::metadata(directory.join(&file)).unwrap().permissions().mode() & 0o777;
                assert_eq!(mode, 0o600, "{}", file.display());
            }
            assert_eq!(std::fs::metadata(directory).unwrap().permissions().mode() & 0o777, 0o700);
        }
        let (directory, said) = backups.last().unwrap();
        assert!(segments(&directory.join("audit")) >= 2, "{:?}", files(directory));
        appliance.stop();

        come_back(&appliance, directory, true);
        appliance.run();
        assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true);
        assert_eq!(appliance.introspect("payments-api", &revoked).inner()["active"], false);
        appliance.token_of_the_case();
        let finished = appliance.finish_without_answers();
        let evidence = &finished.evidence;
        for answer in &before {
            assert_eq!(evidence.record_of(answer)["event"], "signed");
        }
        assert_eq!(evidence.events("log-adopted").count(), 0, "nothing had to be decided");
        let last = evidence.events("backup").last().unwrap();
        assert_eq!(&last["seq"], &said["sequence"]);
        assert_eq!(last["reason"], directory.to_str().unwrap());
        let earlier = checkpoint_of(directory, &evidence.directory);
        let verified = verify(&evidence.directory, &["--earlier", earlier.to_str().unwrap()]);
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    }
}

/// The checkpoint in a backup's manifest, as a file.
fn checkpoint_of(backup: &Path, beside: &Path) -> PathBuf {
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(backup.join("manifest.json")).unwrap()).unwrap();
    let path = beside.with_extension("checkpoint");
    std::fs::write(&path, manifest["checkpoint"].as_str().unwrap()).unwrap();
    path
}

#[test]
fn a_signer_that_remembers_more_than_a_backup_holds_wants_a_recorded_decision() {
    for way in [Way::Child, Way::Separate] {
        let mut appliance = Appliance::start(Settings::new(way));
        let token = appliance.token_of_the_case();
        let (directory, said) = backup(&appliance, "backup");
        for _ in 0..20 {
            appliance.introspect("payments-api", &token);
        }
        appliance.stop();
        come_back(&appliance, &directory, false);
        if way == Way::Separate {
            let mut refused = appliance.process("signer");
            assert_eq!(refused.wait_all().code(), Some(65), "{}", refused.said());
            assert!(refused.said().contains("chancery audit adopt"), "{}", refused.said());
            appliance.ended(&refused);
        }
        let out = appliance.path("of-less-than-is-known");
        let output = appliance.output(&["backup", "--out", out.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(65), "{}", String::from_utf8_lossy(&output.stderr));
        let adopted = appliance.must(&["audit", "adopt", "--reason", "the log's disk is lost"]);
        assert!(adopted.contains("rolled back") && adopted.contains("adopted: record"), "{adopted}");
        appliance.run();
        assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true);
        let evidence = appliance.finish_without_answers().evidence;
        let decision = evidence.events("log-adopted").next().unwrap();
        let known = decision["known"].as_array().unwrap();
        assert_eq!(known[0]["by"], "signer", "{decision}");
        assert!(known[0]["size"].as_u64() > said["records"].as_u64(), "it says how much is lost: {decision}");
    }
}

#[test]
fn a_host_without_a_memory_can_record_the_loss_before_its_first_start() {
    let mut appliance = Appliance::start(Settings::new(Way::Separate));
    let token = appliance.token_of_the_case();
    let (directory, _) = backup(&appliance, "backup");
    appliance.introspect("payments-api", &token);
    appliance.stop();
    come_back(&appliance, &directory, true);
    // As for the signer's user, which may not read the state.
    let state = appliance.path("state.db");
    std::fs::rename(&state, appliance.path("state.away")).unwrap();
    let said = appliance.must(&["audit", "adopt", "--reason", "back from the backup of tonight"]);
    assert!(said.contains("nothing is known of the log") && said.contains("adopted: record"), "{said}");
    std::fs::rename(appliance.path("state.away"), &state).unwrap();
    appliance.run();
    assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true);
    let evidence = appliance.finish_without_answers().evidence;
    assert_eq!(evidence.events("log-adopted").count(), 1);
}

#[test]
fn a_backup_beside_a_stopped_service_needs_no_token_and_signs_nothing() {
    let mut appliance = Appliance::start(Settings::new(Way::Child));
    let token = appliance.token_of_the_case();
    appliance.stop();
    let newest = || std::fs::read(appliance.audit().join("published/checkpoint")).unwrap();
    let published = newest();
    let (at, away) = (appliance.path("token"), appliance.path("token-away"));
    std::fs::rename(&at, &away).unwrap();
    let (directory, said) = backup(&appliance, "backup");
    std::fs::rename(&away, &at).unwrap();
    assert_eq!(newest(), published, "no checkpoint was signed");
    assert_eq!(is_whole(&directory)["records"], said["records"]);
    for name in ["state.db-wal", "state.db-shm"] {
        let left =
            std::fs::metadata(appliance.path(name)).map_or(0, |about| about.permissions().mode() & 0o077);
        assert_eq!(left, 0, "{name} is the gateway's alone");
    }
    appliance.run();
    assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true);
    let evidence = appliance.finish().evidence;
    assert_eq!(evidence.events("backup").count(), 1);
}

#[test]
fn an_interrupted_backup_never_verifies() {
    let mut appliance = Appliance::start(Settings::new(Way::Separate));
    appliance.token_of_the_case();
    let (out, unfinished) = (appliance.path("backup"), appliance.path("backup.unfinished"));
    let signer = appliance.signer_id().unwrap();
    // It waits for the signer's record after the state was copied.
    send(signer, Signal::SIGSTOP);
    let mut making = appliance.command(&["backup", "--out", out.to_str().unwrap()]).spawn().unwrap();
    until("a copy of the state", || {
        let copied = std::fs::metadata(unfinished.join("state.db")).is_ok_and(|about| about.len() > 0);
        copied.then_some(())
    });
    making.kill().unwrap();
    making.wait().unwrap();
    send(signer, Signal::SIGCONT);
    assert!(!out.exists(), "no backup has this name");
    assert!(not_whole(&unfinished).contains("manifest.json"), "and what is there has no manifest");

    let again = appliance.output(&["backup", "--out", out.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(73));
    assert!(
        String::from_utf8_lossy(&again.stderr).contains("broken off"),
        "the operator is told what lies there"
    );
    std::fs::remove_dir_all(&unfinished).unwrap();
    let (directory, _) = backup(&appliance, "backup");
    is_whole(&directory);
    assert!(!unfinished.exists());

    // An existing directory is never overwritten.
    let there = files(&directory);
    let again = appliance.output(&["backup", "--out", out.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(73));
    assert_eq!(files(&directory), there);

    // If the log cannot record it, there is no backup, and nothing is left.
    appliance.stop();
    let lock = appliance.audit().join("segments");
    let away = appliance.path("segments-away");
    std::fs::rename(&lock, &away).unwrap();
    std::fs::create_dir(&lock).unwrap();
    let failed = appliance.path("failed");
    let output = appliance.output(&["backup", "--out", failed.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!failed.exists() && !appliance.path("failed.unfinished").exists());
    std::fs::remove_dir_all(&lock).unwrap();
    std::fs::rename(&away, &lock).unwrap();
    appliance.finish();
}

#[test]
fn whatever_changes_in_a_backup_is_found_and_named() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let token = appliance.token_of_the_case();
    let (first, _) = backup(&appliance, "first");
    (0..20).for_each(|_| drop(appliance.introspect("payments-api", &token)));
    until("a newer checkpoint in the state", || {
        let (second, _) = backup(&appliance, &unique());
        (size_in_state(&appliance, &second) > manifest_of(&first)["size"].as_u64()).then_some(())
    });
    let (second, _) = backup(&appliance, "second");
    let scratch = appliance.path("scratch");
    let changed = || {
        let _ = std::fs::remove_dir_all(&scratch);
        copy(&first, &scratch);
        scratch.clone()
    };
    for name in files(&first) {
        let shown = name.to_str().unwrap();
        let whole = std::fs::read(first.join(&name)).unwrap();
        for place in [0, whole.len() / 2, whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[place] ^= 1;
            std::fs::write(changed().join(&name), bytes).unwrap();
            let why = not_whole(&scratch);
            assert!(why.contains(shown) || shown == "manifest.json", "byte {place} of {shown}: {why}");
        }
        std::fs::write(changed().join(&name), &whole[..whole.len() - 1]).unwrap();
        not_whole(&scratch);
        std::fs::remove_file(changed().join(&name)).unwrap();
        assert!(not_whole(&scratch).contains(shown));
    }
    std::fs::write(changed().join("audit/more"), "x").unwrap();
    assert!(not_whole(&scratch).contains("audit/more"));

    // The state of a later backup beside the log of an earlier one, with a manifest that fits: the fault that the order
    // of the copies avoids. A service would refuse it as rolled back.
    let state = std::fs::read(second.join("state.db")).unwrap();
    let mut manifest = manifest_of(&first);
    for file in manifest["files"].as_array_mut().unwrap() {
        if file["path"] == "state.db" {
            file["bytes"] = state.len().into();
            file["sha256"] = sha256_hex(&state).into();
        }
    }
    std::fs::write(changed().join("manifest.json"), resealed(manifest)).unwrap();
    std::fs::write(scratch.join("state.db"), &state).unwrap();
    let why = not_whole(&scratch);
    assert!(why.contains("a signed checkpoint"), "{why}");
    appliance.finish();
}

/// A manifest with the digest that fits it, as the program writes it.
fn resealed(manifest: Value) -> Vec<u8> {
    let text = |manifest: &chancery::backup::Manifest| serde_json::to_string_pretty(manifest).unwrap() + "\n";
    let mut manifest: chancery::backup::Manifest = serde_json::from_value(manifest).unwrap();
    manifest.sha256 = String::new();
    manifest.sha256 = sha256_hex(text(&manifest).as_bytes());
    text(&manifest).into_bytes()
}

fn manifest_of(backup: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(backup.join("manifest.json")).unwrap()).unwrap()
}

/// Size of the checkpoint in the state of a backup.
fn size_in_state(appliance: &Appliance, backup: &Path) -> Option<u64> {
    let origin = manifest_of(backup)["origin"].as_str().unwrap().to_owned();
    let note = chancery::store::Store::checkpoint_in(&backup.join("state.db"), &origin).unwrap()?;
    assert!(note.contains(appliance.log_key().split('+').next().unwrap()));
    note.lines().nth(1)?.parse().ok()
}
