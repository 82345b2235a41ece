//! Exports while the service runs, and their verification, which finds every change.

use crate::harness::{Appliance, Settings, Way, verify};
use serde_json::Value;
use std::path::{Path, PathBuf};

#[test]
fn an_export_is_made_while_the_service_runs_and_each_extends_the_one_before() {
    for way in [Way::Child, Way::Separate] {
        let mut appliance = Appliance::start(Settings::new(way));
        let token = appliance.token_of_the_case();
        let exports: Vec<PathBuf> = std::thread::scope(|scope| {
            let ask = || (0..150).for_each(|_| drop(appliance.introspect("payments-api", &token)));
            let load = scope.spawn(ask);
            let exports = (0..3).map(|i| appliance.export(&format!("export-{i}"))).collect();
            load.join().unwrap();
            exports
        });
        let mut size = 0;
        for export in &exports {
            let output = verify(export, &["--json"]);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let report: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert!(report["size"].as_u64().unwrap() > size);
            size = report["size"].as_u64().unwrap();
        }
        let earlier = exports[0].join("checkpoint");
        let output = verify(&exports[2], &["--earlier", earlier.to_str().unwrap()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let later = exports[2].join("checkpoint");
        let shorter = verify(&exports[0], &["--json", "--earlier", later.to_str().unwrap()]);
        assert_eq!(kind(&shorter.stdout), "shortened");
        appliance.keep_checkpoint();
        let again = appliance.output(&["audit", "export", "--out", exports[0].to_str().unwrap()]);
        assert_eq!(again.status.code(), Some(73), "an export makes its own directory");
        // An export that cannot be written leaves no record.
        let nowhere = appliance.output(&["audit", "export", "--out", "/nonexistent/export"]);
        assert_eq!(nowhere.status.code(), Some(74));
        let evidence = appliance.finish().evidence;
        assert_eq!(evidence.events("export").count(), 3, "each is recorded");
    }
}

fn kind(stdout: &[u8]) -> String {
    let said: Value = serde_json::from_slice(stdout).unwrap();
    assert_eq!(said["verified"], false, "{said}");
    said["finding"]["kind"].as_str().unwrap().to_owned()
}

/// Every file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

#[test]
fn whatever_is_changed_in_an_export_is_found_and_named() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let token = appliance.token_of_the_case();
    // More than one bundle of 256 records.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope
                .spawn(|| (0..70).for_each(|_| drop(appliance.introspection("payments-api", &token).send())));
        }
    });
    let jwt = appliance.introspect("payments-api", &token).text;
    let finished = appliance.finish();
    let export = &finished.evidence.directory;
    let scratch = tempfile::tempdir().unwrap();
    let copy = || {
        let to = scratch.path().join("copy");
        let _ = std::fs::remove_dir_all(&to);
        crate::harness::copy(export, &to);
        to
    };
    let key = ["--json", "--key", &finished.log_key];

    let all = files(export);
    assert!(all.len() >= 6, "{all:?}");
    for file in &all {
        let name = file.strip_prefix(export).unwrap();
        let length = std::fs::metadata(file).unwrap().len();
        for place in [0, length / 2, length - 1] {
            let changed = copy();
            let mut bytes = std::fs::read(changed.join(name)).unwrap();
            bytes[usize::try_from(place).unwrap()] ^= 1;
            std::fs::write(changed.join(name), bytes).unwrap();
            let output = verify(&changed, &key);
            assert_eq!(output.status.code(), Some(65), "byte {place} of {}", name.display());
            let said: Value = serde_json::from_slice(&output.stdout).unwrap();
            let finding = &said["finding"];
            assert!(finding["file"].is_string() || finding["record"].is_u64(), "it names the place: {said}");
        }
        let without = copy();
        std::fs::remove_file(without.join(name)).unwrap();
        let said = String::from_utf8_lossy(&verify(&without, &key).stdout).into_owned();
        assert!(said.contains("file-missing") && said.contains(name.to_str().unwrap()), "{said}");
        let cut = copy();
        std::fs::OpenOptions::new().write(true).open(cut.join(name)).unwrap().set_len(length - 1).unwrap();
        assert_eq!(verify(&cut, &key).status.code(), Some(65), "{} cut short", name.display());
    }
    let more = copy();
    std::fs::write(more.join("tile/entries/999"), "x").unwrap();
    assert_eq!(kind(&verify(&more, &key).stdout), "file-extra");

    // The message for a person: the defect and its place.
    let words = copy();
    let entries = words.join("tile/entries/000");
    let mut bytes = std::fs::read(&entries).unwrap();
    bytes[5_000] ^= 1;
    std::fs::write(&entries, bytes).unwrap();
    let output = verify(&words, &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("NOT VERIFIED") && (said.contains("record") || said.contains("tile")), "{said}");

    // A JWT that was never made, or changed by a letter, has no record.
    let file = scratch.path().join("jwt");
    std::fs::write(&file, &jwt).unwrap();
    assert!(verify(export, &["--jwt", file.to_str().unwrap()]).status.success());
    // Any holder can make the other form of an ECDSA signature: the record is found, and the form is named.
    std::fs::write(&file, chancery::jose::other_form(&jwt).unwrap()).unwrap();
    let output = verify(export, &["--json", "--jwt", file.to_str().unwrap()]);
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success() && said["answers"][0]["other_form"] == true, "{said}");
    let forged = crate::harness::FrontServer::get().sign_as_stranger(
        &serde_json::json!({"alg": "ES256"}),
        &serde_json::json!({"iss": "https://as.bank.example"}),
    );
    std::fs::write(&file, forged).unwrap();
    let output = verify(export, &["--json", "--jwt", file.to_str().unwrap()]);
    assert_eq!(kind(&output.stdout), "jwt-not-found");
    // Another log's key proves nothing here. Other key settings need another token and log.
    let other = Appliance::prepare(Settings::new(Way::Child).with_key("introspection", "ES384"));
    let other = other.finish();
    let output = verify(export, &["--json", "--key", &other.log_key]);
    assert_eq!(kind(&output.stdout), "checkpoint-invalid");
}

#[test]
fn a_log_on_the_disk_that_was_changed_is_not_opened() {
    let mut appliance = Appliance::start(Settings::new(Way::Child));
    let token = appliance.token_of_the_case();
    for _ in 0..20 {
        appliance.introspect("payments-api", &token);
    }
    appliance.stop();
    let segment = files(&appliance.audit().join("segments")).into_iter().next().unwrap();
    let good = std::fs::read(&segment).unwrap();
    let mut bad = good.clone();
    // In the middle of the first records: below a signed checkpoint.
    bad[6_000] ^= 1;
    std::fs::write(&segment, &bad).unwrap();
    appliance.run_gateway();
    appliance.wait_until_unready_because("the audit log is damaged");
    appliance.introspection("payments-api", &token).send().is_unavailable();
    appliance.stop();
    assert_eq!(std::fs::read(&segment).unwrap(), bad, "nothing was changed");
    std::fs::write(&segment, &good).unwrap();
    appliance.run();
    assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true);
    appliance.finish();
}
