//! Client authentication at every endpoint: rows 7, 42, 47, 54, 150, 171; D2.

use crate::harness::{Answer, Appliance, Party, Settings, Way};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

fn basic(text: &str) -> String {
    format!("Basic {}", STANDARD.encode(text))
}

#[test]
fn callers_are_let_in_with_their_own_method_and_secret_alone() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let endpoints = [
        ("introspect", "payments-api", "accounts-api"),
        ("token", "shop", "shop-jwt"),
        ("revoke", "shop", "shop-jwt"),
    ];
    for (endpoint, by_header, by_body) in endpoints {
        let path = appliance.endpoint(endpoint);
        let call = || {
            let call = appliance.call("POST", &path).form("token", "x");
            call.form("grant_type", "client_credentials").form("scope", "payments:status")
        };
        let header = appliance.settings.party(by_header).clone();
        let body = appliance.settings.party(by_body).clone();
        assert_eq!(call().by_party(&header).send().status, 200, "{endpoint}");
        assert_eq!(call().by_party(&body).send().status, 200, "{endpoint}");
        let name_twice = call().by_party(&header).form("client_id", header.id).send();
        assert_eq!(name_twice.status, 200, "some clients repeat their name");

        let challenged = |answer: &Answer, what: &str| {
            answer.is_refused(401, "invalid_client", &format!("{endpoint}: {what}"));
            assert_eq!(answer.header("www-authenticate"), Some("Basic realm=\"chancery\""), "row 171");
        };
        let wrong = Party { secret: body.secret.clone(), ..header.clone() };
        challenged(&call().by_party(&wrong).send(), "somebody else's secret");
        challenged(&call().by_party(&Party { basic: true, ..body.clone() }).send(), "the other method");
        challenged(&call().by_party(&Party { id: "nobody", ..header.clone() }).send(), "an unknown name");
        let upper = Party { secret: header.secret.to_uppercase(), ..header.clone() };
        challenged(&call().by_party(&upper).send(), "the secret in capital letters");
        let hash = Party { secret: crate::harness::sha256_hex(header.secret.as_bytes()), ..header.clone() };
        challenged(&call().by_party(&hash).send(), "the secret's hash");
        challenged(&call().header("authorization", "Digest x").send(), "another scheme");
        let bearer = call().header("authorization", "Bearer x").send();
        if endpoint == "introspect" {
            bearer.is_refused(401, "invalid_token", "row 48");
            let challenge = "Bearer realm=\"chancery\", error=\"invalid_token\"";
            assert_eq!(bearer.header("www-authenticate"), Some(challenge), "RFC 6750 section 3");
        } else {
            challenged(&bearer, "a bearer token");
        }

        let silent = |answer: &Answer, what: &str| {
            answer.is_refused(401, "invalid_client", &format!("{endpoint}: {what}"));
            assert_eq!(answer.header("www-authenticate"), None, "only where the header was used");
        };
        silent(&call().by_party(&Party { basic: false, ..header.clone() }).send(), "the other method");
        silent(
            &call().by_party(&Party { secret: header.secret.clone(), ..body.clone() }).send(),
            "a wrong secret",
        );

        let malformed = |answer: &Answer, what: &str| {
            answer.is_refused(400, "invalid_request", &format!("{endpoint}: {what}"));
        };
        malformed(&call().send(), "row 7: nothing");
        malformed(&call().form("client_id", header.id).send(), "a name alone");
        malformed(
            &call().by_party(&header).form("client_secret", &header.secret).send(),
            "row 54: two methods",
        );
        malformed(&call().by_party(&header).by_party(&header).send(), "two headers");
        malformed(&call().by_party(&header).form("client_id", body.id).send(), "two names");
        malformed(&call().header("authorization", "Basic").send(), "no credentials");
        malformed(&call().header("authorization", "Basic !!!").send(), "no base64");
        malformed(&call().header("authorization", &basic(header.id)).send(), "no colon");
        malformed(&call().header("authorization", &basic("a%zz:b")).send(), "a broken escape");
        malformed(&call().header("authorization", &basic("a\u{1}b:c")).send(), "a control character");
    }
    appliance.finish();
}

#[test]
fn methods_that_are_not_here_are_refused_and_not_ignored() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let call =
        || appliance.call("POST", &appliance.endpoint("token")).form("grant_type", "client_credentials");
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let assertion = appliance.the_case().text();
    let alone = call().form("client_assertion_type", kind).form("client_assertion", &assertion).send();
    assert!(matches!(alone.refusal().0, 400 | 401));
    let both =
        call().by("shop").form("client_assertion_type", kind).form("client_assertion", &assertion).send();
    assert!(matches!(both.refusal().0, 400 | 401), "row 54");
    appliance.finish();
}
