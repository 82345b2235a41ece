//! Callers of introspection: rows 1, 3, 6, 7, 42, 47; B13, B15; D2, D5.

use crate::harness::{Appliance, Settings, Way};

#[test]
fn callers_other_than_resource_servers_learn_nothing_about_a_token() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let token = appliance.token_of_the_case();
    let endpoint = appliance.endpoint("introspect");
    // Also the client that the token was issued to.
    for client in ["shop", "shop-jwt", "teller"] {
        appliance.introspection(client, &token).send().is_refused(403, "unauthorized_client", "row 1");
    }
    for accept in ["application/token-introspection+jwt", "application/json", "*/*"] {
        let anonymous = || appliance.call("POST", &endpoint).form("token", &token).header("accept", accept);
        anonymous().send().is_refused(400, "invalid_request", "row 7, B13, B15");
        anonymous().form("client_id", "accounts-api").send().is_refused(
            400,
            "invalid_request",
            "a name is no proof",
        );
        let bearer = anonymous().header("authorization", &format!("Bearer {token}")).send();
        bearer.is_refused(401, "invalid_token", "row 6: a bearer token identifies no resource server");
    }
    appliance.finish();
}

#[test]
fn the_credentials_of_a_resource_server_are_good_for_introspection_alone() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let token = appliance.token_of_the_case();
    for rs in ["payments-api", "accounts-api"] {
        let issued = appliance.client_credentials(rs, &[]);
        issued.is_refused(400, "unauthorized_client", "row 3");
        appliance.revoke(rs, &token).is_refused(400, "unauthorized_client", "row 3");
        let assertion = appliance.the_case().text();
        appliance.assert(rs, &assertion, &[]).is_refused(400, "unauthorized_client", "row 3");
    }
    assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true);
    appliance.finish();
}
