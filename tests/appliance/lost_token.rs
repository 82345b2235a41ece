//! The token is lost and returns: no signature, no data (row 36), and the service recovers by itself.

use crate::harness::{Appliance, Settings, Way, until};

fn lose(appliance: &Appliance) {
    std::fs::rename(appliance.path("token/tokens"), appliance.path("token/elsewhere")).unwrap();
}

fn find(appliance: &Appliance) {
    std::fs::rename(appliance.path("token/elsewhere"), appliance.path("token/tokens")).unwrap();
}

/// Asks until nothing is signed any more; earlier answers are complete.
fn until_nothing_is_signed(appliance: &Appliance, token: &str) {
    until("the token's loss", || {
        let answer = appliance.introspection("payments-api", token).send();
        if answer.status == 200 {
            answer.jwt().verify(&appliance.jwks());
            return None;
        }
        answer.is_unavailable();
        Some(())
    });
}

#[test]
fn without_the_token_nothing_is_answered_and_with_it_the_service_is_back() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let token = appliance.token_of_the_case();
    for _ in 0..2 {
        lose(&appliance);
        until_nothing_is_signed(&appliance, &token);
        let json = appliance
            .call("POST", &appliance.endpoint("introspect"))
            .by("accounts-api")
            .form("token", &token);
        assert_ne!(json.send().status, 406);
        appliance.client_credentials("shop-jwt", &[("scope", "payments:status")]).is_unavailable();
        until("unreadiness", || (!appliance.is_ready()).then_some(()));
        find(&appliance);
        until("service", || {
            (appliance.introspection("payments-api", &token).send().status == 200).then_some(())
        });
        until("readiness", || appliance.is_ready().then_some(()));
        assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true);
    }
    let evidence = appliance.finish().evidence;
    assert!(evidence.events("token-lost").count() >= 1, "its loss is recorded");
}

#[test]
fn a_separate_signer_without_its_token_ends_with_a_status_that_its_service_manager_restarts() {
    let mut appliance = Appliance::start(Settings::new(Way::Separate));
    let token = appliance.token_of_the_case();
    lose(&appliance);
    until_nothing_is_signed(&appliance, &token);
    let mut signer = appliance.signer.take().unwrap();
    assert_eq!(signer.wait_all().code(), Some(75), "{}", signer.said());
    appliance.ended(&signer);
    let mut early = appliance.process("signer");
    assert_eq!(early.wait_all().code(), Some(75), "too early: {}", early.said());
    appliance.ended(&early);
    find(&appliance);
    appliance.run_signer();
    appliance.wait_until_ready();
    assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true);
    appliance.finish();
}
