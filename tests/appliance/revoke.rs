//! `POST /revoke` (RFC 7009): rows 172, 174; B7; the order of effects of revocation.

use crate::harness::{Appliance, Settings, Way, unique};
use serde_json::json;

#[test]
fn a_revoked_token_of_either_format_is_inactive_at_once_for_all_resource_servers() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let opaque = appliance.token_of_the_case();
    let at_jwt = appliance.client_credentials("shop-jwt", &[("scope", "payments:status")]).token();
    let bystander = appliance.token_of_the_case();
    for (client, token, audience) in [
        ("shop", &opaque, &["payments-api", "signing-service"][..]),
        ("shop-jwt", &at_jwt, &["payments-api"][..]),
    ] {
        for rs in audience {
            assert_eq!(appliance.introspect(rs, token).inner()["active"], true);
        }
        let answer = appliance.revoke(client, token);
        assert_eq!((answer.status, answer.body.len()), (200, 0), "row 172");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        for rs in audience {
            assert_eq!(*appliance.introspect(rs, token).inner(), json!({"active": false}));
        }
        assert_eq!(appliance.revoke(client, token).status, 200, "twice");
    }
    assert_eq!(
        appliance.introspect("payments-api", &bystander).inner()["active"],
        true,
        "no other token is touched"
    );
    appliance.finish();
}

#[test]
fn unknown_tokens_are_revoked_already_and_those_of_others_are_refused() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let opaque = appliance.token_of_the_case();
    let at_jwt = appliance.client_credentials("shop-jwt", &[("scope", "payments:status")]).token();
    for unknown in
        [unique(), "x".to_owned(), "a.b.c".to_owned(), appliance.the_case().text(), "y".repeat(60_000)]
    {
        assert_eq!(appliance.revoke("shop", &unknown).status, 200, "row 172");
    }
    let path = appliance.endpoint("revoke");
    for hint in ["refresh_token", "foo"] {
        let own = appliance.token_of_the_case();
        let call = appliance.call("POST", &path).by("shop").form("token", &own).form("token_type_hint", hint);
        assert_eq!(call.send().status, 200);
        assert_eq!(
            appliance.introspect("payments-api", &own).inner()["active"],
            false,
            "a wrong hint is ignored"
        );
    }
    appliance.revoke("shop-jwt", &opaque).is_refused(400, "unauthorized_client", "another client's");
    appliance.revoke("shop", &at_jwt).is_refused(400, "unauthorized_client", "another client's");
    for token in [&opaque, &at_jwt] {
        assert_eq!(appliance.introspect("payments-api", token).inner()["active"], true, "and it lives");
    }
    appliance.call("POST", &path).by("shop").send().is_refused(400, "invalid_request", "no token");
    let twice = appliance.call("POST", &path).by("shop").form("token", "a").form("token", "b");
    twice.send().is_refused(400, "invalid_request", "row 53");
    appliance.call("POST", &path).form("token", &opaque).send().is_refused(400, "invalid_request", "nobody");
    let answer = appliance.call("GET", &path).by("shop").send();
    answer.is_refused(405, "invalid_request", "GET");
    assert_eq!(answer.header("allow"), Some("POST"));
    appliance.finish();
}

#[test]
fn a_revocation_outlives_a_crash() {
    let mut appliance = Appliance::start(Settings::new(Way::Child));
    let token = appliance.token_of_the_case();
    assert_eq!(appliance.revoke("shop", &token).status, 200);
    appliance.kill();
    appliance.run();
    assert_eq!(*appliance.introspect("payments-api", &token).inner(), json!({"active": false}));
    appliance.finish();
}
