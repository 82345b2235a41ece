//! The request's form: rows 33, 35, 39, 53; D2.

use crate::harness::{Appliance, Settings, Way};

#[test]
fn an_introspection_is_a_post_of_a_form_with_one_token() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let token = appliance.token_of_the_case();
    let path = appliance.endpoint("introspect");
    let post = || appliance.call("POST", &path).by("payments-api");

    post().send().is_refused(400, "invalid_request", "no token");
    post().form("token", "").send().is_refused(400, "invalid_request", "an empty one counts as left out");
    let twice = post().form("token", &token).form("token", &token).send();
    twice.is_refused(400, "invalid_request", "row 53");
    let hints = post().form("token", &token).form("token_type_hint", "a").form("token_type_hint", "a");
    hints.send().is_refused(400, "invalid_request", "row 53");
    // Unknown parameters are ignored (RFC 6749 §3.1), as `resource` is.
    let more =
        post().forms(&[("token", &token), ("foo", "bar"), ("resource", "a"), ("resource", "b")]).send();
    assert_eq!(more.jwt().inner()["active"], true);

    for (kind, body) in [
        ("application/json", format!("{{\"token\":\"{token}\"}}")),
        ("text/plain", format!("token={token}")),
        ("multipart/form-data; boundary=x", String::new()),
    ] {
        let answer = post().header("content-type", kind).body(body).send();
        answer.is_refused(415, "invalid_request", kind);
    }
    let with_charset = post().header("content-type", "application/x-www-form-urlencoded; charset=UTF-8");
    assert_eq!(with_charset.form("token", &token).send().jwt().inner()["active"], true);

    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let answer = appliance.call(method, &format!("{path}?token={token}")).by("payments-api").send();
        answer.is_refused(405, "invalid_request", method);
        assert_eq!(answer.header("allow"), Some("POST"), "row 33");
    }
    let head = appliance.call("HEAD", &path).by("payments-api").send();
    assert_eq!((head.status, head.header("allow"), head.body.len()), (405, Some("POST"), 0));
    // A token in the query is not read (RFC 7662 §2.1).
    let query = appliance.call("POST", &format!("{path}?token={token}")).by("payments-api").send();
    query.is_refused(400, "invalid_request", "the query is not read");
    appliance.call("GET", "/nowhere").send().is_refused(404, "not_found", "no such path");
    appliance.finish();
}

#[test]
fn authentication_is_checked_before_anything_that_it_protects() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let path = appliance.endpoint("introspect");
    let wrong = || appliance.call("POST", &path).header("authorization", "Basic cGF5bWVudHMtYXBpOng=");
    wrong().send().is_refused(401, "invalid_client", "before the missing token");
    let accept = wrong().form("token", "x").header("accept", "application").send();
    accept.is_refused(401, "invalid_client", "before the malformed Accept");
    let known = appliance.call("POST", &path).by("payments-api").header("accept", "application");
    known.send().is_refused(400, "invalid_request", "then the parameters");
    appliance.finish();
}
