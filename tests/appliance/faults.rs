//! Faults of the token: temporary ones, those that need the operator, and their reports.

use crate::harness::{Appliance, Process, Settings, Way, copy, until};

const HSM: &str = "deadline = \"30s\"";
const WRONG: &str = "00000000000000000000000000000000";

/// A separate signer that ends by itself; its status.
fn signer_ends(appliance: &mut Appliance) -> (Option<i32>, String) {
    let mut signer: Process = appliance.process("signer");
    let status = signer.wait_all().code();
    appliance.ended(&signer);
    (status, signer.said())
}

#[test]
fn a_refused_pin_is_tried_once_by_all_processes_until_it_has_changed() {
    let mut appliance = Appliance::prepare(Settings::new(Way::Separate).with_faults(HSM));
    let right = std::fs::read_to_string(appliance.path("token/pin")).unwrap();
    let (tokens, fresh) = (appliance.path("token/tokens"), appliance.path("token/fresh"));
    copy(&tokens, &fresh);
    std::fs::write(appliance.path("token/pin"), WRONG).unwrap();
    let before = appliance.calls_of("C_Login");
    let (status, said) = signer_ends(&mut appliance);
    assert_eq!(status, Some(77), "{said}");
    // A token that neither counts nor warns: only the file keeps the PIN from it.
    std::fs::remove_dir_all(&tokens).unwrap();
    copy(&fresh, &tokens);
    for _ in 0..2 {
        let (status, said) = signer_ends(&mut appliance);
        assert_eq!(status, Some(77), "{said}");
        assert!(said.contains("chancery pin clear"), "it says what to do: {said}");
    }
    let made = appliance.output(&["key", "generate"]);
    assert_eq!(made.status.code(), Some(77), "{}", String::from_utf8_lossy(&made.stderr));
    assert_eq!(appliance.calls_of("C_Login") - before, 1, "the PIN went to the token once");

    // The operator may allow one more try.
    assert!(appliance.must(&["pin", "clear"]).contains("the token refused the PIN"));
    let (status, _) = signer_ends(&mut appliance);
    assert_eq!((status, appliance.calls_of("C_Login") - before), (Some(77), 2));
    std::fs::remove_dir_all(&tokens).unwrap();
    copy(&fresh, &tokens);
    // Another PIN needs no command, and removes the file.
    std::fs::write(appliance.path("token/pin"), right).unwrap();
    appliance.run();
    assert!(!appliance.path("signer/pin-refused").exists());
    appliance.finish();
}

#[test]
fn a_token_that_warns_of_wrong_pins_is_asked_again_without_a_pin_and_used_when_it_is_calm() {
    let mut appliance = Appliance::prepare(Settings::new(Way::Separate).with_faults(HSM));
    // A wrong PIN given by another tool.
    let pkcs11_tool = |pin: &str| {
        std::process::Command::new("pkcs11-tool")
            .args(["--module", "/usr/lib/softhsm/libsofthsm2.so", "--login", "--pin", pin, "--list-objects"])
            .env("SOFTHSM2_CONF", appliance.path("token/softhsm2.conf"))
            .output()
            .unwrap()
    };
    assert!(!pkcs11_tool("999999").status.success());
    let before = appliance.calls_of("C_Login");
    let mut signer = appliance.process("signer");
    assert_eq!(signer.wait_all().code(), Some(75), "{}", signer.said());
    assert!(signer.said().contains("CKF_USER_PIN_COUNT_LOW"), "{}", signer.said());
    assert_eq!(appliance.calls_of("C_Login"), before);
    let pin = std::fs::read_to_string(appliance.path("token/pin")).unwrap();
    assert!(pkcs11_tool(pin.trim()).status.success());
    appliance.ended(&signer);
    appliance.run();
    appliance.finish();
}

#[test]
fn a_passing_fault_at_the_start_is_a_status_that_is_tried_again() {
    let mut appliance = Appliance::prepare(Settings::new(Way::Separate).with_faults(HSM));
    for (function, fault, status) in [
        ("C_Sign", "lie", 75),
        ("C_FindObjects", "lie", 75),
        ("C_OpenSession", "fail 30", 75),
        ("C_Initialize", "fail 5", 75),
        ("C_Login", "fail 30", 75),
    ] {
        appliance.fault(function, fault);
        let before = appliance.calls_of("C_Login");
        let (ended, said) = signer_ends(&mut appliance);
        assert_eq!(ended, Some(status), "{function} {fault}: {said}");
        appliance.mend(function);
        assert!(appliance.calls_of("C_Login") - before <= 2, "{function} {fault}: the PIN is not spent");
    }
    // One empty search result is confirmed by a second search.
    appliance.fault("C_FindObjects", "lie once");
    appliance.run();
    assert!(appliance.has_come("C_FindObjects"));
    appliance.finish();
}

#[test]
fn a_module_that_needs_arguments_is_named_as_the_reason() {
    let mut appliance = Appliance::prepare(Settings::new(Way::Separate).with_faults(HSM));
    appliance.fault("C_Initialize", "fail 7");
    let (status, said) = signer_ends(&mut appliance);
    assert_eq!(status, Some(75), "{said}");
    assert!(said.contains("CKR_ARGUMENTS_BAD to C_Initialize") && said.contains("x-init-reserved"), "{said}");
    assert!(!said.contains("attributes"), "{said}");
    appliance.mend("C_Initialize");
    appliance.run();
    appliance.finish();
}

#[test]
fn the_gateway_shows_why_its_signer_does_not_start() {
    for way in [Way::Child, Way::Separate] {
        let mut appliance = Appliance::prepare(Settings::new(way).with_faults(HSM));
        appliance.fault("C_OpenSession", "fail 30");
        let signer = (way == Way::Separate).then(|| appliance.process("signer"));
        appliance.run_gateway();
        until("the reason in /readyz", || {
            let ready = appliance.operation("/readyz").send();
            assert_eq!(ready.status, 503, "{ready:?}");
            ready.text().contains("CKR_DEVICE_ERROR to C_OpenSession").then_some(())
        });
        appliance.mend("C_OpenSession");
        if let Some(mut signer) = signer {
            assert_eq!(signer.wait_all().code(), Some(75));
            appliance.ended(&signer);
            appliance.run_signer();
        }
        appliance.wait_until_ready();
        appliance.finish();
    }
}

#[test]
fn a_call_that_hangs_ends_a_command_and_no_destructor_runs_under_it() {
    let mut appliance = Appliance::prepare(Settings::new(Way::Separate).with_faults("deadline = \"300ms\""));
    for function in ["C_Login", "C_FindObjects", "C_Sign"] {
        appliance.fault(function, "hang");
        let ended = appliance.output(&["key", "generate"]);
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(70), "{function}: {said}");
        assert!(said.contains(function), "it says where: {said}");
        assert!(!appliance.path("faults/destructed").exists(), "{function}");
        appliance.mend(function);
    }
    appliance.must(&["key", "generate"]);
    assert!(!appliance.path("faults/destructed").exists(), "nor at an end in order");
    appliance.run();
    appliance.finish();
}

#[test]
fn a_key_that_one_run_made_and_did_not_prove_is_not_taken_by_the_next() {
    for (fault, status) in [("lie", 75), ("fail 30", 75), ("hang", 70)] {
        let settings = Settings::new(Way::Separate).with_faults("deadline = \"300ms\"");
        let mut appliance = Appliance::prepare(settings);
        appliance.settings = appliance.settings.clone().with_key("access-token", "ES384");
        appliance.write_config();
        appliance.fault("C_Sign", fault);
        let made = appliance.output(&["key", "generate"]);
        assert_eq!(made.status.code(), Some(status), "{fault}: {}", String::from_utf8_lossy(&made.stderr));
        appliance.mend("C_Sign");
        let refused = appliance.output(&["key", "generate"]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(75), "{fault}: {said}");
        let (ended, signer) = signer_ends(&mut appliance);
        assert_eq!(ended, Some(75), "{fault}: {signer}");
        for said in [said, signer] {
            assert!(
                said.contains("access-token-es384-1") && said.contains("delete both its halves"),
                "{said}"
            );
        }
        // The operator decides.
        let pin = std::fs::read_to_string(appliance.path("token/pin")).unwrap();
        for half in ["privkey", "pubkey"] {
            let deleted = std::process::Command::new("pkcs11-tool")
                .args(["--module", "/usr/lib/softhsm/libsofthsm2.so", "--login", "--pin", pin.trim()])
                .args(["--delete-object", "--type", half, "--label", "access-token-es384-1"])
                .env("SOFTHSM2_CONF", appliance.path("token/softhsm2.conf"))
                .output()
                .unwrap();
            assert!(deleted.status.success(), "{}", String::from_utf8_lossy(&deleted.stderr));
        }
        appliance.must(&["key", "generate"]);
        appliance.run();
        appliance.finish();
    }
}

#[test]
fn a_command_that_holds_the_pin_leaves_no_core_file() {
    let appliance = Appliance::prepare(Settings::new(Way::Separate).with_faults(HSM));
    let aborted = |program: &str, arguments: &[&str]| {
        // As if every process could dump core.
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "ulimit -c unlimited; exec \"$@\"", "sh", program]).args(arguments);
        command.current_dir(appliance.path("")).env("SOFTHSM2_CONF", appliance.path("token/softhsm2.conf"));
        command.env("CHANCERY_FAULTS", appliance.path("faults"));
        command.env("CHANCERY_FAULTS_MODULE", "/usr/lib/softhsm/libsofthsm2.so");
        let mut process = Process::start(&mut command);
        if program != "sleep" {
            let before = appliance.calls_of("C_Login");
            until("the login", || (appliance.calls_of("C_Login") > before).then_some(()));
        }
        process.signal(nix::sys::signal::Signal::SIGABRT);
        std::os::unix::process::ExitStatusExt::core_dumped(&process.wait())
    };
    let config = appliance.path("chancery.toml");
    let generate = ["key", "generate", "--config", config.to_str().unwrap()];
    appliance.fault("C_Login", "hang");
    assert!(!aborted(crate::harness::CHANCERY, &generate));
    appliance.mend("C_Login");
    if !aborted("sleep", &["600"]) {
        eprintln!("this machine leaves no core files at all: nothing was shown");
    }
    appliance.finish();
}

#[test]
fn a_call_that_hangs_costs_its_own_answer_and_the_other_sessions_go_on() {
    let settings = Settings::new(Way::Child).with_faults("deadline = \"8s\"\nsessions = 4");
    let mut appliance = Appliance::start(settings);
    let token = appliance.token_of_the_case();
    // Threads take turns for calls that were short.
    for _ in 0..10 {
        appliance.introspect("payments-api", &token);
    }
    let signer = appliance.signer_id();
    appliance.fault("C_Sign", "hang once");
    std::thread::scope(|scope| {
        let first = scope.spawn(|| appliance.introspection("payments-api", &token).send().status);
        until("the call that hangs", || appliance.has_come("C_Sign").then_some(()));
        for _ in 0..20 {
            assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true);
        }
        assert_eq!(appliance.signer_id(), signer, "all of it before the deadline");
        // Its own call hung, or that of the log's checkpoint.
        let status = first.join().unwrap();
        assert!(status == 503 || status == 200, "{status}");
    });
    until("another signer", || (appliance.signer_id().is_some_and(|id| Some(id) != signer)).then_some(()));
    appliance.wait_until_ready();
    assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true);
    assert!(!appliance.path("faults/destructed").exists());
    let finished = appliance.finish();
    let reason = |event: &str| {
        let record = finished.evidence.events(event).next().unwrap_or_else(|| panic!("no {event}"));
        record["reason"].as_str().unwrap().to_owned()
    };
    for event in ["token-lost", "token-recovered"] {
        let reason = reason(event);
        assert!(reason.contains("C_Sign with the key") && reason.contains("es256-1"), "{event}: {reason}");
    }
}

#[test]
fn a_call_that_hangs_costs_no_other_request_of_its_round() {
    let settings = Settings::new(Way::Child).with_faults("deadline = \"20s\"\nsessions = 4");
    let appliance = Appliance::start(settings);
    let token = appliance.token_of_the_case();
    let signer = appliance.signer_id();
    // Enough asks at once that each thread takes several of them.
    let issued = std::sync::atomic::AtomicUsize::new(0);
    let refused: usize = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..48)
            .map(|caller| {
                let (appliance, token, issued) = (&appliance, &token, &issued);
                scope.spawn(move || {
                    let mut refused = 0;
                    for round in 0..25 {
                        if caller == 0 && round == 10 {
                            appliance.fault("C_Sign", "hang once");
                        }
                        let answer = if caller % 2 == 0 {
                            appliance.introspection("payments-api", token).send()
                        } else {
                            appliance.client_credentials("shop-jwt", &[("scope", "payments:status")])
                        };
                        match answer.status {
                            200 if caller % 2 == 1 => {
                                issued.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                            }
                            200 => {}
                            _ => {
                                answer.is_unavailable();
                                refused += 1;
                            }
                        }
                    }
                    assert_eq!(appliance.signer_id(), signer, "all of it before the deadline");
                    refused
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).sum()
    });
    assert!(appliance.has_come("C_Sign"), "a call hangs");
    assert!(refused <= 1, "{refused} requests were refused for one call that hangs");
    until("another signer", || (appliance.signer_id().is_some_and(|id| Some(id) != signer)).then_some(()));
    let mut appliance = appliance;
    appliance.wait_until_ready();
    // An ask that was handed over has one record, for one answer.
    let evidence = appliance.finish().evidence;
    let of_a_token = |record: &&serde_json::Value| record["purpose"] == "access-token";
    assert_eq!(evidence.events("signed").filter(of_a_token).count(), issued.into_inner());
}

#[test]
fn a_lasting_fault_is_logged_when_it_begins_and_ends_and_its_end_is_recorded() {
    let mut appliance = Appliance::start(Settings::new(Way::Child).with_faults(HSM));
    let token = appliance.token_of_the_case();
    // CKR_KEY_FUNCTION_NOT_PERMITTED: a key that its owner has suspended.
    appliance.fault("C_Sign", "fail 68");
    for _ in 0..50 {
        appliance.introspection("payments-api", &token).send().is_unavailable();
    }
    appliance.mend("C_Sign");
    until("an answer", || {
        (appliance.introspection("payments-api", &token).send().status == 200).then_some(())
    });
    appliance.wait_until_ready();
    // The end is reported within a second.
    until("the word", || {
        let said = appliance.gateway.as_ref().unwrap().said();
        said.contains("the token signs again").then_some(())
    });
    let finished = appliance.finish();
    let lines: Vec<_> =
        finished.said.lines().filter(|line| line.contains("the token does not sign")).collect();
    assert!((1..=4).contains(&lines.len()), "one for each key at most: {lines:?}");
    assert!(lines[0].contains("CKR_KEY_FUNCTION_NOT_PERMITTED to C_Sign"), "{lines:?}");
    assert_eq!(finished.evidence.events("failed").count(), 50, "each has its record");
    assert!(finished.evidence.events("token-recovered").count() >= 1);
}
