//! The log's directory is replaced by an older copy, or a memory is lost (invariant 8).

use crate::harness::{Appliance, Settings, Way, copy, unique, until, verify};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The note of the newest checkpoint that is published.
fn newest(log: &Path) -> Vec<u8> {
    std::fs::read(log.join("published/checkpoint")).unwrap()
}

/// Number of signature lines of notes in the segments: one for each recorded checkpoint.
fn signatures(log: &Path) -> usize {
    let mut found = 0;
    for entry in std::fs::read_dir(log.join("segments")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let line = "\u{2014} as.bank.example/audit/test ".as_bytes();
        found += bytes.windows(line.len()).filter(|window| *window == line).count();
    }
    found
}

/// A service that has answered, was copied, answered again, and is stopped: log and signer's state, old and new.
struct Before {
    token: String,
    audit: PathBuf,
    state: PathBuf,
}

fn copied_and_gone_on(appliance: &mut Appliance) -> Before {
    appliance.token_of_the_case();
    appliance.stop();
    let before = Before {
        token: String::new(),
        audit: appliance.path("old-audit"),
        state: appliance.path("old-state"),
    };
    copy(&appliance.audit(), &before.audit);
    copy(&appliance.path("signer"), &before.state);
    appliance.run();
    let token = appliance.token_of_the_case();
    for _ in 0..30 {
        appliance.introspect("payments-api", &token);
    }
    // Even at an early end, gateway and signer store the checkpoint that covers the last answer.
    appliance.stop();
    appliance.keep_checkpoint();
    Before { token, ..before }
}

/// Moves `real` away and puts `old` in its place.
fn replace(real: &Path, old: &Path) -> PathBuf {
    let away = real.with_extension("away");
    std::fs::rename(real, &away).unwrap();
    copy(old, real);
    away
}

fn put_back(real: &Path, away: &Path) {
    std::fs::remove_dir_all(real).unwrap();
    std::fs::rename(away, real).unwrap();
}

fn nothing_is_answered(appliance: &Appliance) {
    for _ in 0..20 {
        appliance.introspection("payments-api", &unique()).send().is_unavailable();
        appliance.client_credentials("shop", &[]).is_unavailable();
        assert!(!appliance.is_ready());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn rolled_back(way: Way) {
    let mut appliance = Appliance::start(Settings::new(way));
    let before = copied_and_gone_on(&mut appliance);
    let (real, state) = (appliance.audit(), appliance.path("signer"));
    // The whole machine of the signer was restored from a copy: only the gateway's memory is newer.
    let (away, state_away) = (replace(&real, &before.audit), replace(&state, &before.state));
    let said = match way {
        Way::Child => {
            // The gateway stays up, and the signer is restarted after a minute.
            appliance.run_gateway();
            appliance.wait_until_unready_because("rolled back");
            nothing_is_answered(&appliance);
            let said = appliance.gateway.as_ref().unwrap().said();
            appliance.stop();
            said
        }
        Way::Separate => {
            appliance.run_signer();
            appliance.run_gateway();
            let mut refused = appliance.signer.take().unwrap();
            assert_eq!(refused.wait_all().code(), Some(65), "{}", refused.said());
            appliance.ended(&refused);
            nothing_is_answered(&appliance);
            appliance.stop();
            refused.said()
        }
    };
    assert!(said.contains("chancery audit adopt"), "operators are told why and what to do: {said}");
    assert_eq!(newest(&real), newest(&before.audit), "nothing was signed over a log that had lost records");

    // The log that extends the gateway's memory is accepted.
    put_back(&real, &away);
    put_back(&state, &state_away);
    appliance.run();
    assert_eq!(appliance.introspect("payments-api", &before.token).inner()["active"], true);
    until("readiness", || appliance.is_ready().then_some(()));
    appliance.finish();
}

#[test]
fn a_log_that_was_rolled_back_is_refused_when_the_signer_is_a_child() {
    rolled_back(Way::Child);
}

#[test]
fn a_log_that_was_rolled_back_is_refused_when_the_signer_is_separate() {
    rolled_back(Way::Separate);
}

#[test]
fn a_signer_that_remembers_more_than_its_log_holds_does_not_start_and_adds_nothing() {
    let mut appliance = Appliance::start(Settings::new(Way::Separate));
    let before = copied_and_gone_on(&mut appliance);
    let real = appliance.audit();
    let away = replace(&real, &before.audit);
    // No gateway is running.
    let mut refused = appliance.process("signer");
    assert_eq!(refused.wait_all().code(), Some(65), "{}", refused.said());
    assert!(refused.said().contains("chancery audit adopt"), "{}", refused.said());
    appliance.ended(&refused);
    let out = appliance.path("export-of-a-rolled-back-log");
    for command in
        [&["audit", "status"][..], &["audit", "export", "--out", out.to_str().unwrap()], &["key", "generate"]]
    {
        let output = appliance.output(command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(65), "{command:?}: {said}");
        assert!(said.contains("rolled back"), "{command:?}: {said}");
    }
    let segment = "segments/00000000000000000000.seg";
    assert!(std::fs::read(real.join(segment)).unwrap() == std::fs::read(before.audit.join(segment)).unwrap());
    put_back(&real, &away);
    appliance.run();
    appliance.finish();
}

#[test]
fn no_second_log_begins_under_a_name_that_the_gateway_or_the_signer_remembers() {
    let mut appliance = Appliance::start(Settings::new(Way::Child));
    appliance.token_of_the_case();
    appliance.stop();
    let (audit, state) = (appliance.audit(), appliance.path("signer"));
    let away = [audit.with_extension("away"), state.with_extension("away")];
    std::fs::rename(&audit, &away[0]).unwrap();
    let begin = |appliance: &Appliance, memory: &str| {
        let output = appliance.output(&["audit", "init"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains(memory) && said.contains("audit.origin"), "{said}");
        assert!(!audit.join("segments").exists());
    };
    let database = appliance.path("state.db");
    let hidden = database.with_extension("hidden");
    std::fs::rename(&database, &hidden).unwrap();
    begin(&appliance, "signer/checkpoint");
    std::fs::rename(&hidden, &database).unwrap();
    std::fs::rename(&state, &away[1]).unwrap();
    begin(&appliance, "state.db");
    for (from, to) in away.iter().zip([&audit, &state]) {
        let _ = std::fs::remove_dir_all(to);
        std::fs::rename(from, to).unwrap();
    }
    appliance.run();
    appliance.finish();
}

#[test]
fn an_export_beside_a_stopped_service_signs_nothing_and_needs_no_token() {
    let mut appliance = Appliance::start(Settings::new(Way::Child));
    let before = copied_and_gone_on(&mut appliance);
    let real = appliance.audit();
    let away = replace(&real, &before.audit);
    // The signer's memory was restored with the log, so this command cannot detect it.
    let state = appliance.path("signer");
    let state_away = replace(&state, &before.state);
    // Without the token: exports of a rolled-back log must sign no checkpoint.
    let (token, hidden) = (appliance.path("token"), appliance.path("token-away"));
    std::fs::rename(&token, &hidden).unwrap();
    for n in 1..=3 {
        let out = appliance.path(&format!("export-{n}"));
        let said = appliance.must(&["audit", "export", "--json", "--out", out.to_str().unwrap()]);
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        // Each export has a record; behind the checkpoint lies its own record too.
        assert_eq!(said["uncovered"], n + 1, "{said}");
        let verified = verify(&out, &["--key", appliance.log_key()]);
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    }
    assert_eq!(newest(&real), newest(&before.audit), "no checkpoint was signed");
    assert_eq!(signatures(&real), signatures(&before.audit), "not one note was recorded");
    std::fs::rename(&hidden, &token).unwrap();
    put_back(&real, &away);
    put_back(&state, &state_away);

    // With the known log the next start covers the records of exports.
    appliance.export("export-of-the-real-one");
    appliance.run();
    let evidence = appliance.finish().evidence;
    assert_eq!(evidence.events("export").count(), 1);
}

#[test]
fn one_memory_is_enough_and_heals_the_other() {
    for way in [Way::Child, Way::Separate] {
        let mut appliance = Appliance::start(Settings::new(way));
        let token = appliance.token_of_the_case();
        appliance.stop();
        // The signer's memory is lost: the gateway's counts, and becomes the signer's.
        let memory = appliance.path("signer/checkpoint");
        std::fs::remove_file(&memory).unwrap();
        appliance.run();
        assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true);
        appliance.stop();
        assert_eq!(std::fs::read(&memory).unwrap(), newest(&appliance.audit()));
        // The gateway's memory is lost, with all tokens: the signer's counts.
        std::fs::remove_file(appliance.path("state.db")).unwrap();
        appliance.run();
        appliance.token_of_the_case();
        appliance.finish();
    }
}

#[test]
fn a_log_that_nothing_remembers_signs_nothing_until_the_operator_decides() {
    for way in [Way::Child, Way::Separate] {
        let mut appliance = Appliance::start(Settings::new(way));
        appliance.token_of_the_case();
        appliance.stop();
        std::fs::remove_file(appliance.path("signer/checkpoint")).unwrap();
        std::fs::remove_file(appliance.path("state.db")).unwrap();
        let known = newest(&appliance.audit());
        if way == Way::Separate {
            appliance.run_signer();
        }
        appliance.run_gateway();
        until("the reason", || {
            let ready = appliance.operation("/readyz").try_send().ok()?;
            assert_eq!(ready.status, 503);
            ready.text().contains("chancery audit adopt").then_some(())
        });
        let signer = appliance.signer_id();
        for _ in 0..20 {
            appliance.client_credentials("shop", &[]).is_unavailable();
            std::thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(appliance.signer_id(), signer, "it is not started again and again");
        // `audit status` of an operator is answered, and nothing is signed for it.
        appliance.export(&format!("export-{way:?}"));
        appliance.stop();
        assert_eq!(newest(&appliance.audit()), known, "no checkpoint was signed");
        // A memory that the operator restores is valid again.
        std::fs::write(appliance.path("signer/checkpoint"), &known).unwrap();
        appliance.run();
        appliance.finish();
    }
}

/// Output of the gateway's process so far.
fn gateway_said(appliance: &Appliance) -> String {
    appliance.gateway.as_ref().unwrap().said()
}

fn adopted(way: Way) {
    let mut appliance = Appliance::start(Settings::new(way));
    let before = copied_and_gone_on(&mut appliance);
    // Only the old copy of the log is left.
    std::fs::remove_dir_all(appliance.audit()).unwrap();
    copy(&before.audit, &appliance.audit());
    let adopt = ["audit", "adopt", "--reason", "the disk is lost, this is last night's copy"];
    let said = appliance.must(&adopt);
    assert!(said.contains("rolled back") && said.contains("adopted: record"), "{said}");
    appliance.run();
    // The gateway logged why its memory is replaced, and keeps the old one.
    until("a warning", || gateway_said(&appliance).contains("last night's copy").then_some(()));
    assert_eq!(appliance.introspect("payments-api", &before.token).inner()["active"], true);
    appliance.stop();
    // From now on the log extends both memories. The decision covers no further rollback.
    assert!(appliance.must(&adopt).contains("nothing to decide"));
    appliance.run();
    appliance.stop();
    std::fs::remove_dir_all(appliance.audit()).unwrap();
    copy(&before.audit, &appliance.audit());
    if way == Way::Separate {
        let mut refused = appliance.process("signer");
        assert_eq!(refused.wait_all().code(), Some(65), "{}", refused.said());
        appliance.ended(&refused);
    }
    appliance.must(&adopt);
    appliance.run();
    appliance.forget_checkpoints();
    let evidence = appliance.finish_without_answers().evidence;
    let decision = evidence.events("log-adopted").next().unwrap();
    assert!(decision["reason"].as_str().unwrap().contains("last night"), "{decision}");
    let by: Vec<&str> =
        decision["known"].as_array().unwrap().iter().map(|known| known["by"].as_str().unwrap()).collect();
    assert_eq!(by, ["signer", "gateway"], "{decision}");
}

#[test]
fn a_restored_log_continues_after_a_recorded_decision_with_a_child_signer() {
    adopted(Way::Child);
}

#[test]
fn a_restored_log_continues_after_a_recorded_decision_with_a_separate_signer() {
    adopted(Way::Separate);
}
