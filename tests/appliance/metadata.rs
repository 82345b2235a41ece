//! `GET /.well-known/oauth-authorization-server` (RFC 8414): rows 27, 67, 72 to 83, 85, 87, 101; D8.

use crate::harness::{Appliance, Jwt, Settings, Way, members};
use serde_json::{Value, json};

#[test]
fn the_metadata_is_true_and_signed() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let answer = appliance.metadata();
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "row 80");
    let metadata = answer.json();
    let methods = json!(["client_secret_basic", "client_secret_post"]);
    let expected = json!({
        "issuer": "https://as.bank.example",
        "token_endpoint": "https://as.bank.example/token",
        "introspection_endpoint": "https://as.bank.example/introspect",
        "revocation_endpoint": "https://as.bank.example/revoke",
        "jwks_uri": "https://as.bank.example/jwks",
        "response_types_supported": ["none"],
        "grant_types_supported": ["client_credentials", "urn:ietf:params:oauth:grant-type:jwt-bearer"],
        "token_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_methods_supported": methods,
        "introspection_signing_alg_values_supported": ["ES256"],
        "scopes_supported": ["accounts:read", "credential", "payments:initiate", "payments:status"],
        "authorization_details_types_supported": ["credential", "payment_initiation"],
    });
    let mut plain = metadata.clone();
    let signed = plain.as_object_mut().unwrap().remove("signed_metadata").expect("row 77");
    let resources = plain.as_object_mut().unwrap().remove("protected_resources").expect("row 85");
    assert_eq!(plain, expected);
    assert_eq!(resources.as_array().unwrap().len(), 4);
    let no_empty_list = |value: &Value| value.as_array().is_none_or(|list| !list.is_empty());
    assert!(metadata.as_object().unwrap().values().all(no_empty_list), "row 80");

    let jwt = Jwt::read(signed.as_str().unwrap());
    jwt.verify(&appliance.jwks());
    assert_eq!(members(&jwt.header), ["alg", "kid", "typ"]);
    assert_eq!(jwt.header["typ"], "oauth-authorization-server-metadata+jwt", "row 103");
    let mut claims = jwt.claims.clone();
    assert_eq!(claims["iss"], metadata["issuer"], "row 77");
    assert_eq!(claims.get("signed_metadata"), None, "row 78");
    let claims_of_its_own = claims.as_object_mut().unwrap();
    claims_of_its_own.remove("iss");
    assert!(claims_of_its_own.remove("iat").is_some_and(|iat| iat.is_i64()), "row 79");
    let mut public = metadata.clone();
    public.as_object_mut().unwrap().remove("signed_metadata");
    assert_eq!(claims, public, "row 79: what is signed is what is said");
    // It is signed when it changes, not for each request.
    for _ in 0..20 {
        assert_eq!(appliance.metadata().body, answer.body);
    }
    let evidence = appliance.finish().evidence;
    assert_eq!(evidence.events("signed").count(), 1);
}

#[test]
fn a_grant_type_that_no_client_may_use_is_announced_nowhere() {
    let appliance = Appliance::start(Settings::new(Way::Child).without_assertions());
    let metadata = appliance.metadata().json();
    assert_eq!(metadata["grant_types_supported"], json!(["client_credentials"]));
    let signed = Jwt::read(metadata["signed_metadata"].as_str().unwrap());
    signed.verify(&appliance.jwks());
    assert_eq!(signed.claims["grant_types_supported"], metadata["grant_types_supported"]);
    appliance.finish();
}

#[test]
fn an_issuer_with_a_path_has_everything_below_it_and_the_metadata_before_it() {
    let mut settings = Settings::new(Way::Child);
    settings.issuer = "https://as.bank.example/tenants/t1".to_owned();
    let appliance = Appliance::start(settings);
    let metadata = appliance.metadata();
    assert_eq!(metadata.status, 200, "row 81");
    assert_eq!(metadata.json()["issuer"], "https://as.bank.example/tenants/t1", "row 82");
    assert_eq!(metadata.json()["token_endpoint"], "https://as.bank.example/tenants/t1/token");
    for wrong in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-authorization-server/tenants",
        "/tenants/t1/.well-known/oauth-authorization-server",
        "/introspect",
        "/token",
        "/jwks",
    ] {
        assert_eq!(appliance.call("GET", wrong).send().status, 404, "{wrong}");
    }
    let token = appliance.token_of_the_case();
    let jwt = appliance.introspect("payments-api", &token);
    assert_eq!((&jwt.claims["iss"], &jwt.inner()["active"]), (&metadata.json()["issuer"], &json!(true)));
    appliance.finish();
}

#[test]
fn the_documents_are_read_and_nothing_else() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    for path in ["/.well-known/oauth-authorization-server", "/jwks"] {
        let head = appliance.call("HEAD", path).send();
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        for method in ["POST", "PUT", "DELETE"] {
            let answer = appliance.call(method, path).send();
            answer.is_refused(405, "invalid_request", method);
            assert_eq!(answer.header("allow"), Some("GET, HEAD"));
        }
        assert_eq!(appliance.call("GET", &format!("{path}?x=y")).send().status, 200);
        assert_eq!(appliance.call("GET", &format!("{path}/")).send().status, 404);
    }
    appliance.finish();
}
