//! Refused assertions: rows 90, 95, 99, 100, 102, 104, 156, 175, 187; RFC 7523 §3, RFC 8725.

use crate::harness::{
    Appliance, FrontServer, Grant, Key, Settings, Way, base64url, from_base64url, now, sha256_hex, unique,
};
use aws_lc_rs::hmac;
use serde_json::{Value, json};

/// The HMAC secret of an attacker that uses a public key as one.
fn with_hmac(appliance: &Appliance, secret: &[u8]) -> String {
    let grant = appliance.the_case().header("alg", json!("HS256"));
    let input = format!(
        "{}.{}",
        base64url(Value::Object(grant.header.clone()).to_string()),
        base64url(grant.named().to_string())
    );
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input.as_bytes());
    format!("{input}.{}", base64url(tag))
}

/// Assertions with one defect each.
fn wrong_assertions(appliance: &Appliance) -> Vec<(&'static str, String)> {
    let case = || appliance.the_case();
    let good = case().text();
    let parts: Vec<&str> = good.split('.').collect();
    let mut flipped = from_base64url(parts[2]);
    flipped[7] ^= 4;
    let none = |alg: &str, signature: &str| {
        let header = base64url(json!({"alg": alg}).to_string());
        format!("{header}.{}.{signature}", base64url(case().named().to_string()))
    };
    let jwks = FrontServer::get().jwks();
    let token = appliance.client_credentials("shop-jwt", &[("scope", "payments:status")]).token();
    let opaque = appliance.token_of_the_case();
    let answer = appliance.introspect("payments-api", &opaque).text;
    let metadata = appliance.metadata().json()["signed_metadata"].as_str().unwrap().to_owned();
    let shop = appliance.settings.party("shop").secret.clone();

    vec![
        ("no JWT", unique()),
        ("three empty parts", "..".to_owned()),
        ("a part more", format!("{good}.")),
        ("padding", format!("{good}=")),
        ("a changed signature", format!("{}.{}.{}", parts[0], parts[1], base64url(&flipped))),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("alg none", none("none", "")),
        ("alg None with a signature", none("None", parts[2])),
        ("row 90: HMAC with the modulus", with_hmac(appliance, &FrontServer::get().modulus())),
        ("row 90: HMAC with the JWK", with_hmac(appliance, jwks["keys"][1].to_string().as_bytes())),
        ("HMAC with the client's secret", with_hmac(appliance, shop.as_bytes())),
        (
            "a stranger's signature",
            FrontServer::get().sign_as_stranger(&Value::Object(case().header.clone()), &case().named()),
        ),
        ("the other key's kid", case().header("kid", json!("login-rsa")).text()),
        ("an algorithm that its key has not", case().header("alg", json!("ES384")).text()),
        ("PS256 with the RS256 key", case().signed_with(Key::Rs256).header("alg", json!("PS256")).text()),
        ("row 102: a path as kid", case().header("kid", json!("../../../../dev/null")).text()),
        ("row 102: SQL as kid", case().header("kid", json!("' OR 1=1 --")).text()),
        ("row 102: 10 kB of kid", case().header("kid", json!("k".repeat(10_000))).text()),
        ("a kid that is no text", case().header("kid", json!(7)).text()),
        ("row 187: crit", case().header("crit", json!(["b64"])).header("b64", json!(true)).text()),
        ("row 104: an access token's typ", case().header("typ", json!("at+jwt")).text()),
        ("row 104: an event's typ", case().header("typ", json!("secevent+jwt")).text()),
        ("row 104: an answer's typ", case().header("typ", json!("token-introspection+jwt")).text()),
        ("row 104: our at+jwt", token),
        ("row 104: our introspection answer", answer),
        ("row 104: our metadata", metadata),
        ("an unknown issuer", case().with("iss", json!("https://login.evil.example")).text()),
        ("the issuer with a slash", case().with("iss", json!("https://login.bank.example/")).text()),
        ("ourselves as issuer", case().with("iss", json!("https://as.bank.example")).text()),
        ("no iss", case().without("iss").text()),
        ("another aud", case().with("aud", json!("https://other.example")).text()),
        ("aud with a slash", case().with("aud", json!("https://as.bank.example/")).text()),
        (
            "aud and somebody else's",
            case().with("aud", json!(["https://as.bank.example", "https://x.example"])).text(),
        ),
        ("an empty aud", case().with("aud", json!([])).text()),
        ("no aud", case().without("aud").text()),
        ("expired", case().with("exp", json!(now() - 1)).text()),
        ("no exp", case().without("exp").text()),
        ("exp as text", case().with("exp", json!((now() + 60).to_string())).text()),
        ("too long a life", case().with("exp", json!(now() + 3_600)).text()),
        ("row 156: iat 61 s ahead", case().with("iat", json!(now() + 61)).text()),
        ("row 49: nbf 61 s ahead", case().with("nbf", json!(now() + 61)).text()),
        ("auth_time ahead", case().with("auth_time", json!(now() + 3_600)).text()),
        ("no jti", case().text_unnamed()),
        ("an empty jti", case().with("jti", json!("")).text()),
        ("no sub", case().without("sub").text()),
        ("sub of a client (row 70)", case().with("sub", json!("shop")).text()),
        ("sub of a resource server", case().with("sub", json!("payments-api")).text()),
        ("row 100: another client's grant", case().with("client_id", json!("shop-jwt")).text()),
        ("a confirmation that we would not keep", case().with("cnf", json!({"jkt": "x"})).text()),
        ("a delegation that we would not keep", case().with("act", json!({"sub": "x"})).text()),
        ("scope as a list", case().with("scope", json!(["payments:status"])).text()),
        ("amr as text", case().with("amr", json!("pin")).text()),
        ("details of an unknown type", case().with("authorization_details", json!([{"type": "x"}])).text()),
        (
            "details that are no list",
            case().with("authorization_details", json!({"type": "credential"})).text(),
        ),
    ]
}

#[test]
fn an_assertion_that_is_not_in_order_gets_no_token() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    for (what, assertion) in wrong_assertions(&appliance) {
        appliance.assert("shop", &assertion, &[]).is_refused(400, "invalid_grant", what);
    }
    let case = || appliance.the_case();
    let claims = case().named().to_string();
    let twice = claims.replacen('{', "{\"sub\":\"somebody-else\",", 1);
    appliance.assert("shop", &case().text_of(&twice), &[]).is_refused(
        400,
        "invalid_grant",
        "row 99: a claim twice",
    );
    let deep = claims.replacen('{', &format!("{{\"deep\":{}{},", "[".repeat(40), "]".repeat(40)), 1);
    appliance.assert("shop", &case().text_of(&deep), &[]).is_refused(400, "invalid_grant", "JSON 40 deep");
    appliance.assert("shop", &case().text_of("[]"), &[]).is_refused(
        400,
        "invalid_grant",
        "claims that are a list",
    );
    appliance.assert("shop", "", &[]).is_refused(400, "invalid_request", "no assertion");
    appliance.finish();
}

#[test]
fn an_assertion_may_differ_where_the_specification_lets_it() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let case = || Grant::of_scope("https://as.bank.example", "payments:status");
    let table: Vec<(&str, String)> = vec![
        ("the plainest", case().text()),
        ("typ JWT", case().header("typ", json!("JWT")).text()),
        ("no kid", {
            let mut grant = case();
            grant.header.remove("kid");
            grant.text()
        }),
        ("D3: the token endpoint as aud", case().with("aud", json!("https://as.bank.example/token")).text()),
        ("aud in a list of one", case().with("aud", json!(["https://as.bank.example"])).text()),
        ("no iat", case().without("iat").text()),
        ("row 156: iat 8 s ahead", case().with("iat", json!(now() + 8)).text()),
        ("nbf in the past", case().with("nbf", json!(now() - 5)).text()),
        ("for this client", case().with("client_id", json!("grants-alone")).text()),
        ("jku and x5u, which nobody follows", {
            case()
                .header("jku", json!("http://127.0.0.1:9/jwks"))
                .header("x5u", json!("http://127.0.0.1:9/x"))
                .text()
        }),
        (
            "a key of its own, which nobody believes",
            case().header("jwk", FrontServer::get().jwks()["keys"][0].clone()).text(),
        ),
        ("claims that nobody may see", case().with("address", json!({"street": "x"})).text()),
    ];
    for (what, assertion) in &table {
        let answer = appliance.assert("grants-alone", assertion, &[]);
        assert_eq!(answer.status, 200, "{what}: {}", answer.text());
        assert_eq!(appliance.introspect("payments-api", &answer.token()).inner()["active"], true, "{what}");
    }
    let finished = appliance.finish();
    let digests = table.iter().map(|(_, assertion)| sha256_hex(assertion.as_bytes()));
    assert!(digests.into_iter().all(|digest| !finished.said.contains(&digest)));
}
