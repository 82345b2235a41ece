//! A client in its own right (RFC 6749 §4.4): rows 55 to 59, 62, 64 to 66, 69, 101, 160, 170, 180; D20, D23, D26, D27.

use crate::harness::{ACCOUNTS, Appliance, Jwt, PAYMENTS, SIGNING, Settings, Way, contract, members};
use serde_json::json;

#[test]
fn a_client_gets_an_opaque_token_or_an_at_jwt_for_one_resource() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let answer = appliance.client_credentials("shop", &[("scope", "payments:status")]);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"), "row 170");
    assert_eq!(answer.header("pragma"), Some("no-cache"), "row 170");
    let json = answer.json();
    assert_eq!(members(&json), ["access_token", "expires_in", "token_type"]);
    assert_eq!((&json["token_type"], &json["expires_in"]), (&json!("Bearer"), &json!(300)));
    let opaque = answer.token();
    assert!(!opaque.contains('.') && opaque.len() >= 22, "row 160: 128 bits in base64url are 22 characters");
    assert_ne!(appliance.client_credentials("shop", &[("scope", "payments:status")]).token(), opaque);

    let issued = appliance.client_credentials("shop-jwt", &[("resource", PAYMENTS)]);
    assert_eq!(
        issued.json()["scope"],
        "payments:initiate payments:status",
        "a scope that was not asked for is named"
    );
    let jwt = Jwt::read(&issued.token());
    jwt.verify(&appliance.jwks());
    assert_eq!(members(&jwt.header), ["alg", "kid", "typ"]);
    assert_eq!(jwt.header["typ"], "at+jwt", "row 57");
    // Row 58, and no claims of a user (rows 59, 60).
    assert_eq!(members(&jwt.claims), ["aud", "client_id", "exp", "iat", "iss", "jti", "scope", "sub"]);
    assert_eq!(jwt.claims["aud"], PAYMENTS, "row 64");
    assert_eq!((&jwt.claims["sub"], &jwt.claims["client_id"]), (&json!("shop-jwt"), &json!("shop-jwt")));
    assert_eq!(jwt.claims["iss"], "https://as.bank.example");
    assert_eq!(jwt.claims["exp"].as_i64().unwrap() - jwt.claims["iat"].as_i64().unwrap(), 300);
    let other = appliance.client_credentials("shop-jwt", &[("resource", ACCOUNTS)]).token();
    let other = Jwt::read(&other).claims;
    assert_ne!(other["jti"], jwt.claims["jti"]);
    assert_eq!((&other["aud"], &other["scope"]), (&json!(ACCOUNTS), &json!("accounts:read")), "row 62");
    appliance.finish();
}

#[test]
fn scopes_and_resources_must_fit_together_and_several_need_an_opaque_token() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let refused = |client: &str, parameters: &[(&str, &str)], error: &str, row: &str| {
        appliance.client_credentials(client, parameters).is_refused(400, error, row);
    };
    refused("shop", &[("scope", "unheard:of")], "invalid_scope", "unknown");
    refused("teller", &[("scope", "payments:initiate")], "invalid_scope", "not this client's");
    refused("shop", &[("scope", "payments:status  credential")], "invalid_scope", "two spaces");
    refused("shop", &[("scope", "payments:\"status\"")], "invalid_scope", "RFC 6749 section 3.3");
    refused("shop", &[("scope", "payments:status"), ("resource", SIGNING)], "invalid_scope", "row 62");
    refused("shop", &[("resource", "https://outside.example")], "invalid_target", "not this client's");
    refused("shop", &[("resource", "https://unknown.example")], "invalid_target", "row 180");
    refused("shop", &[("resource", &format!("{PAYMENTS}#x"))], "invalid_target", "row 180: fragment");
    refused("shop", &[("resource", "payments")], "invalid_target", "row 180: not absolute");
    refused("shop", &[("resource", &format!("{PAYMENTS}/"))], "invalid_target", "code point by code point");

    // D20, D23: one at+jwt has one audience, whether resources or scopes ask for two.
    let two = [("resource", PAYMENTS), ("resource", ACCOUNTS)];
    let answer = appliance.client_credentials("shop-jwt", &two);
    answer.is_refused(400, "invalid_target", "D20");
    assert!(answer.text().contains("one audience"), "it says why: {}", answer.text());
    refused("shop-jwt", &[("scope", "payments:status accounts:read")], "invalid_target", "D23");
    let token = appliance.client_credentials("shop", &[("scope", "payments:status accounts:read")]).token();
    assert_eq!(appliance.introspect("payments-api", &token).inner()["scope"], "payments:status");
    assert_eq!(appliance.introspect("accounts-api", &token).inner()["scope"], "accounts:read");
    assert_eq!(*appliance.introspect("signing-service", &token).inner(), json!({"active": false}));
    // Row 66: the audience follows from the scope.
    let token = appliance.client_credentials("shop-jwt", &[("scope", "accounts:read")]).token();
    assert_eq!(Jwt::read(&token).claims["aud"], ACCOUNTS);

    // D27: the resource's first format, where the client chose none.
    assert!(!appliance.client_credentials("teller", &[("resource", PAYMENTS)]).token().contains('.'));
    assert!(appliance.client_credentials("teller", &[("resource", ACCOUNTS)]).token().contains('.'));
    appliance.finish();
}

#[test]
fn grant_types_are_those_that_exist_here_and_are_allowed_to_the_client() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    appliance.token("shop", &[]).is_refused(400, "invalid_request", "no grant_type");
    let others = [
        "password",
        "authorization_code",
        "refresh_token",
        "CLIENT_CREDENTIALS",
        "implicit",
        "urn:ietf:params:oauth:grant-type:token-exchange",
        "urn:ietf:params:oauth:grant-type:saml2-bearer",
    ];
    for grant_type in others {
        let answer = appliance.token("shop", &[("grant_type", grant_type)]);
        answer.is_refused(400, "unsupported_grant_type", grant_type);
    }
    let answer = appliance.client_credentials("grants-alone", &[("scope", "payments:status")]);
    answer.is_refused(400, "unauthorized_client", "not allowed to it");
    // The assertion is not parsed.
    for assertion in [appliance.the_case().text(), "no assertion".to_owned()] {
        let answer = appliance.assert("teller", &assertion, &[]);
        answer.is_refused(400, "unauthorized_client", "not allowed to it");
    }
    let twice = [("grant_type", "client_credentials"), ("scope", "a"), ("scope", "b")];
    appliance.token("shop", &twice).is_refused(400, "invalid_request", "row 53");
    for method in ["GET", "PUT"] {
        let answer = appliance.call(method, &appliance.endpoint("token")).by("shop").send();
        answer.is_refused(405, "invalid_request", method);
        assert_eq!(answer.header("allow"), Some("POST"));
    }
    appliance.finish();
}

#[test]
fn a_service_may_sign_with_its_own_credential() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let details = json!([contract()]).to_string();
    let answer = appliance.client_credentials("shop", &[("authorization_details", &details)]);
    assert_eq!(answer.json()["authorization_details"], json!([contract()]), "row 182");
    let inner = appliance.introspect("signing-service", &answer.token()).inner().clone();
    assert_eq!(
        (&inner["authorization_details"], &inner["sub"]),
        (&json!([contract()]), &json!("shop")),
        "D26"
    );
    let answer = appliance.client_credentials("teller", &[("authorization_details", &details)]);
    let (status, error) = answer.refusal();
    assert_eq!(status, 400);
    assert!(
        ["invalid_authorization_details", "invalid_scope"].contains(&error.as_str()),
        "not its type: {error}"
    );
    appliance.finish();
}
