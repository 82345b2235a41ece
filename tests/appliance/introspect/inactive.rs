//! `{"active":false}` without any other member: rows 2, 14, 28, 40, 41, 45, 46, 49, 104; B1, B2, B4, B5, B7.

use crate::harness::{Appliance, Grant, Settings, Way, base64url, from_base64url, now, unique, until};
use serde_json::{Value, json};

#[test]
fn every_token_that_is_not_active_for_the_caller_gets_the_same_inactive_answer() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let opaque = appliance.token_of_the_case();
    let at_jwt = appliance.client_credentials("shop-jwt", &[("scope", "payments:status")]).token();
    let for_accounts = appliance.client_credentials("shop-jwt", &[("scope", "accounts:read")]).token();
    let expired = appliance.client_credentials("hasty", &[]).token();
    let revoked = appliance.token_of_the_case();
    assert_eq!(appliance.revoke("shop", &revoked).status, 200);
    let revoked_jwt = appliance.client_credentials("shop-jwt", &[("scope", "payments:status")]).token();
    assert_eq!(appliance.revoke("shop-jwt", &revoked_jwt).status, 200);
    for live in [&opaque, &at_jwt] {
        assert_eq!(appliance.introspect("payments-api", live).inner()["active"], true);
    }
    let signed_metadata = appliance.metadata().json()["signed_metadata"].as_str().unwrap().to_owned();
    let answer = appliance.introspect("payments-api", &opaque).text;

    let parts: Vec<&str> = at_jwt.split('.').collect();
    let claims: Value = serde_json::from_slice(&from_base64url(parts[1])).unwrap();
    let header: Value = serde_json::from_slice(&from_base64url(parts[0])).unwrap();
    let mut signature = from_base64url(parts[2]);
    signature[20] ^= 1;
    let mut later = claims.clone();
    later["exp"] = json!(now() + 100_000);
    let none = format!("{}.{}.", base64url(json!({"alg": "none", "typ": "at+jwt"}).to_string()), parts[1]);
    let mut untyped = header.clone();
    untyped.as_object_mut().unwrap().remove("typ");
    let front = crate::harness::FrontServer::get();
    until("the end of a token that lives for two seconds", || {
        let jwt = appliance.introspect("payments-api", &expired);
        (jwt.inner()["active"] == false).then_some(())
    });

    let table: Vec<(&str, String)> = vec![
        ("a random text", unique()),
        ("one character", "x".to_owned()),
        ("dots", "...".to_owned()),
        ("a token with something behind it", format!("{opaque}x")),
        ("a token with a space behind it", format!("{opaque} ")),
        ("the hash of a token", crate::harness::sha256_hex(opaque.as_bytes())),
        ("an at+jwt of another audience", for_accounts.clone()),
        ("expired", expired),
        ("revoked", revoked),
        ("revoked at+jwt", revoked_jwt),
        ("a signature with one bit changed", format!("{}.{}.{}", parts[0], parts[1], base64url(&signature))),
        ("the other form of its signature", chancery::jose::other_form(&at_jwt).unwrap()),
        (
            "other claims under the same signature",
            format!("{}.{}.{}", parts[0], base64url(later.to_string()), parts[2]),
        ),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("alg none", none.clone()),
        ("alg none with a signature", format!("{none}{}", parts[2])),
        (
            "another typ, ours otherwise",
            format!("{}.{}.{}", base64url(untyped.to_string()), parts[1], parts[2]),
        ),
        ("our claims, signed by a stranger", front.sign_as_stranger(&header, &claims)),
        ("a front server's assertion", appliance.the_case().text()),
        ("an introspection answer", answer),
        ("signed_metadata", signed_metadata),
        ("a text of 100 kB", "a".repeat(100_000)),
        ("a JWT of 100 kB", format!("{}.{}.{}", parts[0], "a".repeat(100_000), parts[2])),
        ("not ASCII", "t\u{f6}ken".to_owned()),
    ];
    for (what, token) in &table {
        let jwt = appliance.introspect("payments-api", token);
        assert_eq!(*jwt.inner(), json!({"active": false}), "{what}");
    }
    // Other resource servers see none of them, in JSON neither; an at+jwt of their own is the exception.
    for (what, token) in table.iter().filter(|(_, token)| *token != for_accounts) {
        let endpoint = appliance.endpoint("introspect");
        let answer = appliance.call("POST", &endpoint).by("accounts-api").form("token", token).send();
        assert_eq!((answer.status, answer.text()), (200, "{\"active\":false}"), "{what}");
    }
    appliance.finish();
}

#[test]
fn a_token_of_others_looks_exactly_like_an_unknown_one() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let token = appliance.token_of_the_case();
    let unknown = unique();
    let lengths = |token: &str| {
        let answer = appliance.introspection("outsider", token).send();
        assert_eq!(answer.jwt().inner(), &json!({"active": false}));
        answer.body.len()
    };
    assert_eq!(lengths(&token), lengths(&unknown), "D5");
    // B2: no value of the token anywhere in the answer.
    let answer = appliance.introspect("outsider", &token);
    let decoded: String =
        answer.text.split('.').map(|p| String::from_utf8_lossy(&from_base64url(p)).into_owned()).collect();
    for word in ["4711", "shop", "payments", "sign.trust", "psd2", "123.50", "GX01", "exp", "scope"] {
        assert!(!decoded.contains(word), "{word}");
    }
    appliance.finish();
}

#[test]
fn a_hint_that_is_wrong_unknown_or_missing_changes_nothing() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let opaque = appliance.token_of_the_case();
    let at_jwt = appliance.client_credentials("shop-jwt", &[("scope", "payments:status")]).token();
    for token in [opaque, at_jwt, unique()] {
        let expected = appliance.introspect("payments-api", &token).inner().clone();
        for hint in ["access_token", "refresh_token", "foo", ""] {
            let call = appliance.introspection("payments-api", &token).form("token_type_hint", hint);
            assert_eq!(*call.send().jwt().inner(), expected, "row 40, hint {hint:?}");
        }
    }
    appliance.finish();
}

#[test]
fn an_at_jwt_is_introspected_like_any_other_token() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let grant = Grant::of_scope("https://as.bank.example", "payments:status").with("acr", json!("psd2_sca"));
    let token = appliance.assert("shop-jwt", &grant.text(), &[]).token();
    let claims = crate::harness::Jwt::read(&token).claims;
    let inner = appliance.introspect("payments-api", &token).inner().clone();
    for name in ["iss", "aud", "iat", "exp", "scope", "sub", "client_id", "acr"] {
        assert_eq!(inner[name], claims[name], "{name}");
    }
    assert_eq!(inner["active"], true, "B7");
    assert_eq!(inner.get("jti"), None, "D21");
    appliance.finish();
}

#[test]
fn a_token_whose_state_cannot_be_read_gets_no_answer() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let (token, lost) = (appliance.token_of_the_case(), appliance.token_of_the_case());
    let state = rusqlite::Connection::open(appliance.path("state.db")).unwrap();
    state.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    let digest = crate::harness::sha256_hex(lost.as_bytes());
    let damage =
        "UPDATE token SET granted = json_set(granted, '$.scope', 'a  b') WHERE hex(hash) = upper(?1)";
    let damaged = state.execute(damage, [&digest]);
    assert_eq!(damaged.unwrap(), 1);
    // The gateway looks at the file once a second.
    until("row 41: a state that cannot be read", || {
        let answer = appliance.introspection("payments-api", &lost).send();
        (answer.status != 200).then(|| answer.is_unavailable())
    });
    let endpoint = appliance.endpoint("introspect");
    appliance.call("POST", &endpoint).by("accounts-api").form("token", &lost).send().is_unavailable();
    assert_eq!(appliance.introspect("payments-api", &token).inner()["active"], true, "another token");
    appliance.finish();
}
