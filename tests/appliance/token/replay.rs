//! An assertion is valid once, with any failure in between: row 175, B18; the order of effects of issuance.

use crate::harness::{Appliance, Settings, Way};
use serde_json::json;

#[test]
fn an_assertion_is_good_for_one_token_also_after_a_restart_and_a_crash() {
    let mut appliance = Appliance::start(Settings::new(Way::Child));
    let grant = appliance.the_case().with("jti", json!("the-one-and-only"));
    let assertion = grant.text();
    let token = appliance.assert("shop", &assertion, &[]).token();
    appliance.assert("shop", &assertion, &[]).is_refused(400, "invalid_grant", "again");
    // The `jti` is used up, not the text.
    appliance.assert("shop", &grant.clone().with("scope", json!("payments:status")).text(), &[]).is_refused(
        400,
        "invalid_grant",
        "another text of the same name",
    );
    appliance.assert("shop-jwt", &assertion, &[("resource", "https://payments.bank.example")]).is_refused(
        400,
        "invalid_grant",
        "by another client",
    );
    appliance.stop();
    appliance.run();
    appliance.assert("shop", &assertion, &[]).is_refused(400, "invalid_grant", "after a restart");
    appliance.kill();
    appliance.run();
    appliance.assert("shop", &assertion, &[]).is_refused(400, "invalid_grant", "after a crash");
    assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true, "its token is alive");
    let evidence = appliance.finish().evidence;
    assert_eq!(evidence.events("replay-rejected").count(), 5, "each is recorded");
}

#[test]
fn of_many_simultaneous_uses_of_one_assertion_one_succeeds() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let assertion = appliance.the_case().text();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let use_it = || appliance.assert("shop", &assertion, &[]).status;
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(use_it)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 400).count(), 15, "{statuses:?}");
    appliance.finish();
}

#[test]
fn an_assertion_that_was_refused_is_not_used_up() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let assertion = appliance.the_case().text();
    appliance.assert("shop", &assertion, &[("scope", "accounts:read")]).is_refused(
        400,
        "invalid_scope",
        "too much",
    );
    assert_eq!(appliance.assert("shop", &assertion, &[]).status, 200);
    appliance.finish();
}
