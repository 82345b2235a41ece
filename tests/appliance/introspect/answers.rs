//! A resource server's part of a token: rows 5, 8 to 13, 15 to 19, 43, 44, 50.

use crate::harness::{Appliance, Settings, Way, from_base64url, members, now};
use serde_json::json;
use std::time::Duration;

#[test]
fn two_resource_servers_get_two_signed_answers_from_one_token_each_with_its_own_part_alone() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let token = appliance.token_of_the_case();
    let grant = appliance.the_case().claims;
    let details = grant["authorization_details"].clone();

    let answer = appliance.introspection("payments-api", &token).send();
    assert_eq!(answer.header("content-type"), Some("application/token-introspection+jwt"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("vary"), Some("Accept"));
    let bank = answer.jwt();
    bank.verify(&appliance.jwks());
    assert_eq!(members(&bank.header), ["alg", "kid", "typ"]);
    assert_eq!(bank.header["typ"], "token-introspection+jwt");
    assert_eq!(bank.header["alg"], "ES256");
    assert_eq!(members(&bank.claims), ["aud", "iat", "iss", "jti", "token_introspection"]);
    assert_eq!(bank.claims["iss"], "https://as.bank.example");
    assert_eq!(bank.claims["aud"], "payments-api");
    assert!((bank.claims["iat"].as_i64().unwrap() - now()).abs() <= 2);

    let inner = bank.inner();
    let (iat, exp) = (inner["iat"].as_i64().unwrap(), inner["exp"].as_i64().unwrap());
    assert_eq!(exp - iat, 300);
    let auth_time = inner["auth_time"].as_i64().unwrap();
    assert!((now() - 60..now()).contains(&auth_time));
    let expected = json!({
        "active": true, "iss": "https://as.bank.example", "aud": "https://payments.bank.example",
        "iat": iat, "exp": exp, "token_type": "Bearer", "scope": "payments:initiate payments:status",
        "client_id": "shop", "sub": grant["sub"], "acr": "psd2_sca", "auth_time": auth_time,
        "authorization_details": [details[0]],
    });
    assert_eq!(*inner, expected);

    let signing = appliance.introspect("signing-service", &token);
    assert_eq!(signing.claims["aud"], "signing-service");
    let expected = json!({
        "active": true, "iss": "https://as.bank.example", "aud": "https://sign.trust.example",
        "iat": iat, "exp": exp, "token_type": "Bearer", "scope": "credential",
        "sub": grant["sub"], "acr": "psd2_sca", "amr": ["hwk", "pin"], "auth_time": auth_time,
        "given_name": "Aleksandra", "authorization_details": [details[1]],
    });
    assert_eq!(*signing.inner(), expected);

    // Nothing of the other resource server appears in the bytes (P10, D21).
    let decoded = |text: &str| -> String {
        text.split('.').map(|part| String::from_utf8_lossy(&from_base64url(part)).into_owned()).collect()
    };
    for word in
        ["credential", "GX0112348", "Mortgage", "sign.trust", "given_name", "Aleksandra", "hwk", "shoe_size"]
    {
        let found = decoded(&bank.text).replace("customer-4711-aleksandra", "").contains(word);
        assert!(!found, "{word} is not the bank's business");
    }
    for word in ["payment", "DE02", "123.50", "Merchant", "client_id", "\"shop\"", "shoe_size"] {
        assert!(!decoded(&signing.text).contains(word), "{word} is not the signing service's business");
    }
    // The answer has the record's `jti` (row 37), and never the token's own (D21).
    let evidence = appliance.finish().evidence;
    assert_eq!(evidence.record_of(&bank.text)["jti"], bank.claims["jti"]);
    let issued = evidence.events("issued").next().unwrap();
    assert!(!decoded(&bank.text).contains(issued["jti"].as_str().unwrap()));
}

#[test]
fn each_answer_is_made_for_its_request_and_never_served_again() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let token = appliance.token_of_the_case();
    let first = appliance.introspect("payments-api", &token);
    std::thread::sleep(Duration::from_millis(2_100));
    let second = appliance.introspect("payments-api", &token);
    assert_ne!(first.claims["jti"], second.claims["jti"]);
    let later = second.claims["iat"].as_i64().unwrap() - first.claims["iat"].as_i64().unwrap();
    assert!((2..=4).contains(&later), "{later}");
    assert_eq!(first.inner(), second.inner());
    appliance.finish();
}

#[test]
fn audience_and_jti_of_an_answer_are_as_its_resource_server_configured_them() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let token = appliance.client_credentials("shop", &[("scope", "accounts:read")]).token();
    let jwt = appliance.introspect("accounts-api", &token);
    assert_eq!(members(&jwt.claims), ["aud", "iat", "iss", "token_introspection"], "D12");
    assert_eq!(jwt.claims["aud"], "https://accounts.bank.example", "D4");
    // Only members that need no configuration: it may see no claim (D22).
    assert_eq!(members(jwt.inner()), ["active", "aud", "exp", "iat", "iss", "scope", "token_type"]);

    let call = appliance.introspection("accounts-api", &token).header("accept", "application/json;q=1");
    assert_eq!(call.send().jwt().inner(), jwt.inner(), "a tie goes to the JWT");
    let endpoint = appliance.endpoint("introspect");
    let json = appliance.call("POST", &endpoint).by("accounts-api").form("token", &token).send();
    assert_eq!((json.status, json.header("content-type")), (200, Some("application/json")));
    assert_eq!(json.header("vary"), Some("Accept"));
    assert_eq!(json.json(), *jwt.inner(), "RFC 7662 and RFC 9701 say the same");
    appliance.finish();
}
