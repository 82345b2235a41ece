//! Two processes, as child and separate: one of them dies, or they disagree.

use crate::harness::{Appliance, Process, Settings, Way, basic, unique, until};
use nix::sys::signal::Signal;
use serde_json::json;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

/// Asks until the answer is 503; earlier answers are complete.
fn until_unavailable(appliance: &Appliance, token: &str) {
    until("a 503", || {
        let answer = appliance.introspection("payments-api", token).send();
        if answer.status == 200 {
            answer.jwt();
            return None;
        }
        answer.is_unavailable();
        Some(())
    });
}

/// All requests that would be signed or recorded.
fn nothing_is_served(appliance: &Appliance, token: &str) {
    appliance.introspection("payments-api", token).send().is_unavailable();
    let json =
        appliance.call("POST", &appliance.endpoint("introspect")).by("accounts-api").form("token", token);
    json.send().is_unavailable();
    appliance.client_credentials("shop", &[]).is_unavailable();
    appliance.client_credentials("shop-jwt", &[("scope", "payments:status")]).is_unavailable();
    assert!(!appliance.is_ready());
    assert_eq!(appliance.operation("/livez").send().status, 200);
}

#[test]
fn a_child_signer_that_dies_is_replaced_and_callers_get_503_meanwhile() {
    let mut appliance = Appliance::start(Settings::new(Way::Child));
    let token = appliance.token_of_the_case();
    let jwks = appliance.jwks();
    for _ in 0..3 {
        let signer = appliance.signer_id().unwrap();
        // Stopped first, so that no answer comes between the signal and the request.
        crate::harness::send(signer, Signal::SIGKILL);
        until_unavailable(&appliance, &token);
        assert_eq!(appliance.jwks(), jwks, "keys do not vanish with the signer");
        appliance.wait_until_ready();
        assert_ne!(appliance.signer_id(), Some(signer));
        assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true);
    }
    let evidence = appliance.finish().evidence;
    assert!(evidence.events("started").count() >= 4, "each start is recorded");
}

#[test]
fn a_signer_ends_in_order_with_the_gateway_that_started_it() {
    let mut appliance = Appliance::start(Settings::new(Way::Child));
    let token = appliance.token_of_the_case();
    let mut gateway = appliance.gateway.take().unwrap();
    gateway.signal(Signal::SIGKILL);
    // The end of all output: the signer has ended as well.
    gateway.wait_all();
    appliance.ended(&gateway);
    let running = appliance.must(&["audit", "status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&running).unwrap();
    assert_eq!(status["running"], false, "{status}");
    appliance.run();
    assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true);
    let evidence = appliance.finish().evidence;
    assert_eq!(evidence.events("stopped").count(), 2, "both ends were in order");
}

#[test]
fn a_separate_signer_may_die_and_come_back_while_the_gateway_waits() {
    let mut appliance = Appliance::start(Settings::new(Way::Separate));
    let token = appliance.token_of_the_case();
    let mut signer = appliance.signer.take().unwrap();
    signer.signal(Signal::SIGKILL);
    signer.wait_all();
    appliance.ended(&signer);
    until_unavailable(&appliance, &token);
    nothing_is_served(&appliance, &token);
    appliance.run_signer();
    appliance.wait_until_ready();
    assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true);
    appliance.finish();
}

#[test]
fn a_separate_signer_outlives_its_gateway() {
    let mut appliance = Appliance::start(Settings::new(Way::Separate));
    let token = appliance.token_of_the_case();
    let signer = appliance.signer_id().unwrap();
    for _ in 0..2 {
        let mut gateway = appliance.gateway.take().unwrap();
        gateway.signal(Signal::SIGKILL);
        gateway.wait_all();
        appliance.ended(&gateway);
        appliance.run();
        assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true);
        assert_eq!(appliance.signer_id(), Some(signer));
    }
    let evidence = appliance.finish().evidence;
    assert_eq!(evidence.events("started").count(), 1, "one signer all the time");
}

#[test]
fn a_gateway_with_another_configuration_is_refused() {
    let mut appliance = Appliance::prepare(Settings::new(Way::Separate));
    appliance.run_signer();
    let file = appliance.path("chancery.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    // A lifetime of a day for the shop's tokens, as a compromised gateway might have.
    let changed = text.replacen(
        "access_token_format = \"opaque\"",
        "access_token_lifetime = \"24h\"\naccess_token_format = \"opaque\"",
        1,
    );
    assert_ne!(changed, text);
    std::fs::write(&file, changed).unwrap();
    appliance.run_gateway();
    appliance.wait_until_unready_because("other rules");
    nothing_is_served(&appliance, &unique());
    // When the file equals the signer's again, the gateway follows by itself.
    let gateway = appliance.gateway.as_ref().unwrap().id();
    appliance.write_config();
    appliance.wait_until_ready();
    assert_eq!(appliance.gateway.as_ref().unwrap().id(), gateway);
    assert_eq!(appliance.client_credentials("shop", &[]).status, 200);
    appliance.finish();
}

#[test]
fn a_gateway_of_another_user_is_refused() {
    let mut settings = Settings::new(Way::Separate);
    settings.gateway_user = Some("nobody");
    let mut appliance = Appliance::prepare(settings);
    appliance.run_signer();
    appliance.run_gateway();
    let signer = appliance.signer.as_mut().unwrap();
    signer.wait_for("the refusal", |line| line.to_string().contains("refused").then_some(()));
    nothing_is_served(&appliance, &unique());
    appliance.finish();
}

#[test]
fn a_missing_log_is_an_error_and_never_a_fresh_start() {
    for way in [Way::Child, Way::Separate] {
        let mut appliance = Appliance::prepare(Settings::new(way));
        let (here, away) = (appliance.audit(), appliance.path("away"));
        std::fs::rename(&here, &away).unwrap();
        let said = if way == Way::Child {
            appliance.run_gateway();
            appliance.wait_until_unready_because("");
            until("the signer's end", || {
                appliance.gateway.as_ref().unwrap().said().contains("the signer ended").then_some(())
            });
            nothing_is_served(&appliance, &unique());
            let said = appliance.gateway.as_ref().unwrap().said();
            appliance.stop();
            said
        } else {
            let mut process = appliance.process("signer");
            let status = process.wait_all();
            assert_ne!(status.code(), Some(0), "{}", process.said());
            appliance.ended(&process);
            process.said()
        };
        assert!(said.contains("audit init"), "it says what to do: {said}");
        assert!(!here.exists());
        std::fs::rename(&away, &here).unwrap();
        // An existing log is not created again.
        let again = appliance.output(&["audit", "init"]);
        assert_eq!(again.status.code(), Some(78), "{}", String::from_utf8_lossy(&again.stderr));
        appliance.run();
        appliance.finish();
    }
}

#[test]
fn a_second_gateway_on_the_same_state_and_a_second_signer_on_the_same_log_are_refused() {
    let (gateway, signer) =
        (("serve", "another process holds it"), ("signer", "another process listens there"));
    for (way, refused) in [(Way::Child, vec![gateway]), (Way::Separate, vec![gateway, signer])] {
        let appliance = Appliance::start(Settings::new(way));
        let token = appliance.token_of_the_case();
        let other = Appliance::output(&appliance, &["audit", "init"]);
        assert!(!other.status.success());
        for (command, reason) in refused {
            let mut second: Process = appliance.process(command);
            assert!(!second.wait_all().success());
            assert!(second.said().contains(reason), "{command} in {way:?}: {}", second.said());
        }
        assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true, "the first goes on");
        appliance.finish();
    }
}

#[test]
fn many_callers_at_once_get_their_own_answers() {
    for way in [Way::Child, Way::Separate] {
        let appliance = Appliance::start(Settings::new(way));
        let token = appliance.token_of_the_case();
        std::thread::scope(|scope| {
            for i in 0..16 {
                let (appliance, token) = (&appliance, &token);
                scope.spawn(move || {
                    let rs = ["payments-api", "signing-service", "outsider", "accounts-api"][i % 4];
                    for _ in 0..20 {
                        let jwt = appliance.introspection(rs, token).send().jwt();
                        let audience =
                            if rs == "accounts-api" { "https://accounts.bank.example" } else { rs };
                        assert_eq!(jwt.claims["aud"], json!(audience), "B12");
                        assert_eq!(jwt.inner()["active"], json!(i % 4 < 2));
                    }
                });
            }
        });
        std::thread::sleep(Duration::from_millis(1_200));
        let evidence = appliance.finish().evidence;
        assert!(evidence.events("signed").count() >= 320);
    }
}

#[test]
fn callers_that_go_away_cost_no_other_caller_its_answer() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let token = appliance.token_of_the_case();
    let jwks = appliance.jwks();
    let body = format!("token={token}");
    let ask = format!(
        "POST /introspect HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Accept: application/token-introspection+jwt\r\nAuthorization: {}\r\nContent-Length: {}\r\n\r\n{body}",
        basic("payments-api", &appliance.settings.party("payments-api").secret),
        body.len()
    );
    let address = appliance.public.trim_start_matches("http://");
    std::thread::scope(|scope| {
        for i in 0..64 {
            let (appliance, token, jwks, ask) = (&appliance, &token, &jwks, &ask);
            scope.spawn(move || {
                for round in 0..8_u64 {
                    if i % 2 == 0 {
                        let jwt = appliance.introspection("signing-service", token).send().jwt();
                        jwt.verify(jwks);
                        assert_eq!(jwt.claims["aud"], json!("signing-service"), "B12");
                    } else {
                        let mut stream = TcpStream::connect(address).unwrap();
                        stream.write_all(ask.as_bytes()).unwrap();
                        // At another point before the signature each time.
                        std::thread::sleep(Duration::from_micros(150 * round));
                    }
                }
            });
        }
    });
    let finished = appliance.finish();
    assert!(
        finished.evidence.events("signed").count() > 256,
        "asks of callers that went away were signed too"
    );
    assert!(!finished.said.contains("CKR_"), "{}", finished.said);
}

/// All bytes of the log's segments.
fn segments(appliance: &Appliance) -> Vec<Vec<u8>> {
    let mut files: Vec<_> = std::fs::read_dir(appliance.audit().join("segments"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

#[test]
fn why_a_signer_did_not_start_stays_the_reason_until_one_serves() {
    for way in [Way::Child, Way::Separate] {
        let mut appliance = Appliance::start(Settings::new(way));
        let (pin, away) = (appliance.path("token/pin"), appliance.path("token/away"));
        std::fs::rename(&pin, &away).unwrap();
        crate::harness::send(appliance.signer_id().unwrap(), Signal::SIGKILL);
        if let Some(mut signer) = appliance.signer.take() {
            signer.wait_all();
            appliance.ended(&signer);
            let mut next = appliance.process("signer");
            assert_eq!(next.wait_all().code(), Some(78), "{}", next.said());
            appliance.ended(&next);
            // The system's error is logged at each try of the gateway.
            appliance.wait_until_unready_because("since then");
        }
        appliance.wait_until_unready_because("token/pin");
        std::fs::rename(&away, &pin).unwrap();
        if way == Way::Child {
            // The next start would be a minute later.
            appliance.stop();
            appliance.run();
        } else {
            appliance.run_signer();
            appliance.wait_until_ready();
        }
        appliance.finish();
    }
}

#[test]
fn a_signer_that_no_gateway_could_reach_adds_nothing_to_the_log() {
    let appliance = Appliance::prepare(Settings::new(Way::Child));
    let before = segments(&appliance);
    let output = appliance.output(&["signer"]);
    assert_eq!(output.status.code(), Some(78), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(segments(&appliance) == before);
    appliance.finish();
}

#[test]
fn a_signer_does_not_take_the_socket_of_one_that_serves() {
    let appliance = Appliance::start(Settings::new(Way::Separate));
    let token = appliance.token_of_the_case();
    let (file, home) = (appliance.path("chancery.toml"), appliance.path("other"));
    let text = std::fs::read_to_string(&file).unwrap();
    let other = text
        .replace(&appliance.audit().display().to_string(), &home.join("audit").display().to_string())
        .replace("audit/test", "audit/other");
    assert_ne!(other, text);
    std::fs::create_dir(home).unwrap();
    std::fs::write(&file, other).unwrap();
    appliance.must(&["audit", "init"]);
    let mut second = appliance.process("signer");
    assert_eq!(second.wait_all().code(), Some(75), "{}", second.said());
    assert!(second.said().contains("another process listens there"), "{}", second.said());
    appliance.write_config();
    assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true);
    appliance.finish();
}

/// Stops a process, and waits until none of its threads runs any more.
fn stop(id: u32) {
    crate::harness::send(id, Signal::SIGSTOP);
    until("the stop", || {
        let mut threads = std::fs::read_dir(format!("/proc/{id}/task")).unwrap();
        threads
            .all(|thread| {
                let stat = std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap();
                // proc(5): the state follows the name in parentheses, which may hold anything.
                stat.rsplit_once(") ").unwrap().1.starts_with('T')
            })
            .then_some(())
    });
}

#[test]
fn a_stopped_signer_is_reported_and_neither_outlives_nor_delays_its_gateway() {
    for way in [Way::Child, Way::Separate] {
        let mut appliance = Appliance::start(Settings::new(way));
        let signer = appliance.signer_id().unwrap();
        stop(signer);
        let status = appliance.output(&["audit", "status"]);
        let said = String::from_utf8_lossy(&status.stderr).into_owned();
        assert!(!status.status.success() && said.contains("has not answered in"), "{said}");
        let mut gateway = appliance.gateway.take().unwrap();
        gateway.signal(Signal::SIGTERM);
        assert_eq!(gateway.wait_all().code(), Some(0), "{}", gateway.said());
        assert!(!gateway.said().contains("did not end in"), "it was not waited for: {}", gateway.said());
        appliance.ended(&gateway);
        if way == Way::Separate {
            crate::harness::send(signer, Signal::SIGCONT);
        }
        appliance.run();
        appliance.finish();
    }
}
