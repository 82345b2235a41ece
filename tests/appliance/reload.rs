//! A configuration that changes while the service runs.

use crate::harness::{Appliance, Grant, Settings, Way, send, until};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::process::Command;

/// Sends SIGHUP, and waits for the end of the reload.
fn reload(appliance: &mut Appliance, word: &str) {
    let gateway = appliance.gateway.as_ref().unwrap();
    let count = |said: &str| said.lines().filter(|line| line.contains(word)).count();
    let before = count(&gateway.said());
    gateway.signal(Signal::SIGHUP);
    until(word, || (count(&gateway.said()) > before).then_some(()));
}

const TAKEN: &str = "the configuration was taken over";

#[test]
fn a_comment_in_the_configuration_takes_no_process_down_when_the_other_is_restarted() {
    for way in [Way::Child, Way::Separate] {
        let mut appliance = Appliance::start(Settings::new(way));
        let file = appliance.path("chancery.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("# another comment\n{text}\n# and one more\n")).unwrap();
        send(appliance.signer_id().unwrap(), Signal::SIGKILL);
        if let Some(mut signer) = appliance.signer.take() {
            signer.wait_all();
            appliance.ended(&signer);
            appliance.run_signer();
        }
        // The gateway may not have noticed the signer's end yet.
        until("a token", || (appliance.client_credentials("shop", &[]).status == 200).then_some(()));
        appliance.finish();
    }
}

#[test]
fn a_gateway_follows_a_signer_that_was_restarted_with_other_rules() {
    let mut appliance = Appliance::start(Settings::new(Way::Separate));
    let file = appliance.path("chancery.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    // The shop may not request its first resource any more.
    let changed = text.replacen("access_token_lifetime = \"2s\"", "access_token_lifetime = \"7s\"", 1);
    assert_ne!(changed, text);
    std::fs::write(&file, changed).unwrap();
    let lifetime =
        |appliance: &Appliance| appliance.client_credentials("hasty", &[]).json()["expires_in"].as_u64();
    reload(&mut appliance, TAKEN);
    assert_eq!(lifetime(&appliance), Some(2), "the signer would forbid it");
    let said = appliance.gateway.as_ref().unwrap().said();
    assert!(said.contains("access_token_lifetime"), "it says what waits: {said}");
    let mut signer = appliance.signer.take().unwrap();
    signer.signal(Signal::SIGTERM);
    signer.wait_all();
    appliance.ended(&signer);
    appliance.run_signer();
    appliance.wait_until_ready();
    assert_eq!(lifetime(&appliance), Some(7));
    appliance.finish();
}

#[test]
fn sighup_takes_over_secrets_and_key_sets_and_leaves_a_broken_file_alone() {
    let mut appliance = Appliance::start(Settings::new(Way::Child));
    let signer = appliance.signer_id().unwrap();
    let old = appliance.settings.renew_secret("shop");
    let with = |appliance: &Appliance, party: &crate::harness::Party| {
        appliance
            .call("POST", "/token")
            .by_party(party)
            .form("grant_type", "client_credentials")
            .send()
            .status
    };
    let new = appliance.settings.party("shop").clone();
    assert_eq!((with(&appliance, &old), with(&appliance, &new)), (200, 401));
    // A file with mistakes: each is logged, and nothing changes.
    let file = appliance.path("chancery.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("version = 1", "version = 7\nnonsense = 1")).unwrap();
    reload(&mut appliance, "expected 1, found 7");
    assert!(appliance.gateway.as_ref().unwrap().said().contains("nonsense"));
    assert_eq!((with(&appliance, &old), with(&appliance, &new)), (200, 401));
    // The next one is right.
    appliance.write_config();
    reload(&mut appliance, TAKEN);
    assert_eq!((with(&appliance, &old), with(&appliance, &new)), (401, 200));
    // Key sets: without the front server's keys its assertions are refused.
    let jwks = appliance.path("login.jwks");
    let keys = std::fs::read_to_string(&jwks).unwrap();
    let other = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"another","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
    std::fs::write(&jwks, other).unwrap();
    reload(&mut appliance, TAKEN);
    let assertion = appliance.the_case().text();
    appliance.assert("shop", &assertion, &[]).is_refused(400, "invalid_grant", "no key of the set signed it");
    std::fs::write(&jwks, keys).unwrap();
    reload(&mut appliance, TAKEN);
    let token = appliance.token_of_the_case();
    assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true);
    // A SIGHUP to the whole process group reaches the signer too, which logs it and continues.
    send(signer, Signal::SIGHUP);
    let gateway = appliance.gateway.as_mut().unwrap();
    gateway.wait_for("a word of the signer", |line| line.to_string().contains("SIGHUP").then_some(()));
    assert_eq!(appliance.signer_id(), Some(signer));
    appliance.finish();
}

#[test]
fn one_log_line_names_the_settings_that_a_reload_took_over_and_those_that_wait() {
    let mut appliance = Appliance::start(Settings::new(Way::Child));
    let (shop, hasty) = (appliance.settings.renew_secret("shop"), "client_id = \"hasty\"");
    assert_ne!(shop.secret, appliance.settings.party("shop").secret);
    appliance.write_config();
    let file = appliance.path("chancery.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(hasty));
    std::fs::write(&file, text.replace(hasty, "client_id = \"gone\"")).unwrap();
    reload(&mut appliance, TAKEN);
    let said = appliance.gateway.as_ref().unwrap().said();
    let lines: Vec<Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let told =
        |line: &Value, field: &str, key: &str| line[field].as_str().is_some_and(|keys| keys.contains(key));
    let taken: Vec<&Value> = lines.iter().filter(|line| told(line, "message", TAKEN)).collect();
    assert_eq!(taken.len(), 1, "{said}");
    assert_eq!(taken[0]["level"], "WARN");
    assert!(told(taken[0], "taken", "client_secret_sha256"), "{}", taken[0]);
    assert!(
        told(taken[0], "waiting", "client_id") && told(taken[0], "message", "not all of it"),
        "{}",
        taken[0]
    );
    assert_eq!(appliance.client_credentials("hasty", &[]).status, 200, "the client stays until a restart");
    appliance.finish();
}

#[test]
fn a_smaller_json_depth_makes_no_token_unknown_that_was_issued_before() {
    let mut appliance = Appliance::start(Settings::new(Way::Child));
    let deep = (0..8).fold(serde_json::json!("payers"), |inner, _| serde_json::json!([inner]));
    let grant = Grant::of_scope(&appliance.settings.issuer, "payments:status").with("groups", deep);
    let issue = |appliance: &Appliance| appliance.assert("shop-jwt", &grant.text(), &[]).token();
    let (revoked, bystander) = (issue(&appliance), issue(&appliance));
    let active = |appliance: &Appliance, token: &str| {
        appliance.introspect("payments-api", token).inner()["active"] == true
    };
    appliance.settings = appliance.settings.clone().limit("json_depth", "8");
    appliance.write_config();
    reload(&mut appliance, TAKEN);
    let refused = appliance.assert("shop-jwt", &grant.text(), &[]);
    refused.is_refused(400, "invalid_grant", "it is deeper than strangers may write");
    assert!(active(&appliance, &revoked) && active(&appliance, &bystander));
    assert_eq!(appliance.revoke("shop-jwt", &revoked).status, 200);
    assert!(!active(&appliance, &revoked) && active(&appliance, &bystander));
    assert_eq!(appliance.finish().evidence.events("revoked").count(), 1);
}

#[test]
fn sighup_takes_over_a_new_certificate_and_keeps_the_old_one_when_the_key_does_not_fit() {
    let mut appliance = Appliance::start(Settings::new(Way::Child).with_tls());
    let expires = |appliance: &Appliance| appliance.metric("chancery_certificate_expiry_timestamp_seconds");
    let before = expires(&appliance);
    let home = appliance.path("");
    let renew = |days: &str, keys: &str| {
        let script = format!(
            "set -e
            openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {keys} -out new.csr -subj /CN=localhost
            openssl x509 -req -in new.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days {days} -extfile extensions \
                -out server.pem"
        );
        let output = Command::new("sh").args(["-c", &script]).current_dir(&home).output().unwrap();
        assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    };
    renew("30", "other.key");
    reload(&mut appliance, "the certificate was not replaced");
    assert_eq!(expires(&appliance), before);
    let renew_again = || {
        let output =
            Command::new("mv").args(["other.key", "server.key"]).current_dir(&home).output().unwrap();
        assert!(output.status.success());
    };
    renew_again();
    reload(&mut appliance, TAKEN);
    assert!(expires(&appliance) > before + 20 * 86_400);
    // New connections use it.
    assert_eq!(appliance.client_credentials("shop", &[]).status, 200);
    let address = appliance.public.trim_start_matches("https://").to_owned();
    let shown = format!(
        "openssl s_client -connect {address} -servername localhost < /dev/null 2> /dev/null | openssl x509 -noout -checkend 2000000"
    );
    let shown = Command::new("sh").args(["-c", &shown]).output().unwrap();
    assert!(shown.status.success(), "the new certificate lives for weeks: {shown:?}");
    // An expired certificate does not replace a valid one.
    renew("-1", "server.key");
    reload(&mut appliance, "the certificate was not replaced");
    assert!(expires(&appliance) > before + 20 * 86_400 && appliance.is_ready());
    assert!(appliance.gateway.as_ref().unwrap().said().contains("expected certificates that are valid now"));
    // A start with an expired certificate uses it, logs an error, and is not ready until it is replaced.
    let mut gateway = appliance.gateway.take().unwrap();
    gateway.signal(Signal::SIGTERM);
    assert!(gateway.wait_all().success());
    appliance.ended(&gateway);
    appliance.run_gateway();
    appliance.wait_until_unready_because("CN=localhost, expired at ");
    let gateway = appliance.gateway.as_mut().unwrap();
    gateway.wait_for("an error", |line| {
        line.to_string().contains("no client trusts the certificate").then_some(())
    });
    renew("30", "server.key");
    reload(&mut appliance, TAKEN);
    appliance.wait_until_ready();
    appliance.finish();
}

#[test]
fn the_log_names_each_configuration_of_the_gateway_before_the_first_answer_that_is_made_with_it() {
    let mut appliance = Appliance::start(Settings::new(Way::Separate));
    let token = appliance.client_credentials("shop", &[]).token();
    let first = appliance.introspection("payments-api", &token).send().text().to_owned();
    let restart = |appliance: &mut Appliance| {
        let mut gateway = appliance.gateway.take().unwrap();
        gateway.signal(Signal::SIGTERM);
        assert!(gateway.wait_all().success());
        appliance.ended(&gateway);
        appliance.run_gateway();
        appliance.wait_until_ready();
    };
    // Neither another connection nor a reload is a change by itself.
    restart(&mut appliance);
    reload(&mut appliance, TAKEN);
    let before = appliance.introspection("payments-api", &token).send().text().to_owned();
    // A secret, while the gateway runs.
    appliance.settings.renew_secret("payments-api");
    appliance.write_config();
    reload(&mut appliance, TAKEN);
    let renewed = appliance.introspection("payments-api", &token).send().text().to_owned();
    // A key of the gateway alone, by its restart.
    appliance.settings = appliance.settings.clone().limit("signer_wait", "\"1s\"");
    appliance.write_config();
    restart(&mut appliance);
    let restarted = appliance.introspection("payments-api", &token).send().text().to_owned();

    let finished = appliance.finish();
    let evidence = &finished.evidence;
    let digest = |record: &Value, member: &str| record[member].as_str().map(str::to_owned);
    let loaded: Vec<_> = evidence.events("configuration-loaded").collect();
    assert_eq!(loaded.len(), 3, "{loaded:?}");
    let signer = digest(evidence.events("started").next().unwrap(), "config_sha256");
    assert_eq!(digest(loaded[0], "config_sha256"), signer, "both read the same file");
    assert_eq!(digest(loaded[0], "config_before_sha256"), None);
    for (one, next) in loaded.iter().zip(&loaded[1..]) {
        assert_eq!(digest(next, "config_before_sha256"), digest(one, "config_sha256"));
        assert_ne!(digest(next, "config_sha256"), digest(one, "config_sha256"));
    }
    assert!(loaded.iter().all(|record| digest(record, "signer_config_sha256") == signer));
    // Each answer follows the record of its configuration.
    let place = |record: &Value| record["seq"].as_u64().unwrap();
    let answers = [&first, &before, &renewed, &restarted].map(|text| place(evidence.record_of(text)));
    let [a, b, c] = [0, 1, 2].map(|n| place(loaded[n]));
    let order = [a, answers[0], answers[1], b, answers[2], c, answers[3]];
    assert!(order.is_sorted(), "{order:?}");
    // The verifier's output names the configurations in force.
    let (gateway, signer) = (digest(loaded[2], "config_sha256").unwrap(), signer.unwrap());
    let said = String::from_utf8(crate::harness::verify(&evidence.directory, &[]).stdout).unwrap();
    let words = format!("gateway {gateway}, signer {signer}, from record {c} on");
    assert!(said.contains(&words), "{said}");
}

#[test]
fn a_gateway_whose_configuration_changes_constantly_is_refused_and_the_log_does_not_grow() {
    let mut appliance = Appliance::start(Settings::new(Way::Separate));
    // The first was that of the start.
    for change in 1..=20 {
        appliance.settings.renew_secret("outsider");
        appliance.write_config();
        let refused = "the new configuration was not recorded, so the one before stays in use";
        reload(&mut appliance, if change < 20 { TAKEN } else { refused });
    }
    // It keeps its earlier configuration.
    let token = appliance.token_of_the_case();
    assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true);
    let count = appliance.finish().evidence.events("configuration-loaded").count();
    assert_eq!(count, 20);
}
