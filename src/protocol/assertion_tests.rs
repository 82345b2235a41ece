//! The rules of a grant (RFC 7523 §3), claim by claim.

use super::super::testing::{LOGIN, NOW, bank, contract, payment};
use super::*;
use crate::jose::Algorithm;
use crate::jose::testing::TestKey;
use serde_json::json;

fn claims() -> Value {
    json!({"iss": "https://login.bank.example", "sub": "alice", "aud": "https://as.bank.example", "jti": "g-1",
        "iat": NOW.0, "exp": NOW.0 + 60, "client_id": "shop", "scope": "payments:initiate sign:contracts",
        "authorization_details": [payment(), contract()], "acr": "psd2_sca", "amr": ["pwd", "otp"],
        "auth_time": NOW.0 - 60, "consent_id": "c-1", "given_name": "Alice", "email": "a@example.com"})
}

fn read(config: &Config, jwt: &str) -> Result<Assertion, OAuthError> {
    verify_assertion(config, &"shop".parse().unwrap(), jwt, NOW)
}

fn verify(claims: &Value) -> Result<Assertion, OAuthError> {
    read(&bank(), &LOGIN.sign(Some("JWT"), claims))
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn rule(claims: &Value) -> &'static str {
    let error = verify(claims).unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidGrant);
    error.rule
}

#[test]
fn a_valid_assertion_is_parsed_completely() {
    let Assertion { issuer, jti, expires_at, grant } = verify(&claims()).unwrap();
    assert_eq!((issuer.as_str(), jti.as_str()), ("https://login.bank.example", "g-1"));
    assert_eq!(expires_at, NumericDate(NOW.0 + 60));
    assert_eq!((grant.subject.as_str(), grant.client_id.as_str()), ("alice", "shop"));
    assert_eq!(grant.origin, Origin::Assertion(issuer));
    assert_eq!(grant.audience, []);
    assert_eq!(grant.scope.to_string(), "payments:initiate sign:contracts");
    assert_eq!(json!(grant.authorization_details), json!([payment(), contract()]));
    assert_eq!(grant.authentication.amr.len(), 2);
    let extra: Vec<_> = grant.extra.keys().map(ClaimName::as_str).collect();
    assert_eq!(extra, ["consent_id", "given_name"], "what no resource server may see is not carried on");
}

#[test]
fn each_required_claim_is_required_and_has_its_type() {
    for (name, values) in [
        (
            "iss",
            vec![json!(7), json!("https://login.bank.example/"), json!("https://else.example"), json!(["x"])],
        ),
        ("sub", vec![json!(""), json!(7), json!("a\u{0}b"), json!("x".repeat(256)), Value::Null]),
        ("jti", vec![json!(""), json!(7), json!("\u{e9}"), json!("x".repeat(256))]),
        ("exp", vec![json!("1795000060"), json!(-1), json!(1e300), json!([1]), Value::Null]),
    ] {
        assert!(verify(&without(name)).is_err(), "without {name}");
        for value in values {
            assert!(verify(&with(name, value.clone())).is_err(), "{name} = {value}");
        }
    }
}

#[test]
fn optional_claims_have_their_types_and_limits_too() {
    let many = |n: usize| json!(vec!["https://payments.bank.example"; n]);
    for (name, bad) in [
        ("client_id", json!(7)),
        ("scope", json!(["a"])),
        ("scope", json!("a  b")),
        (
            "scope",
            json!(
                vec!["x"; 65]
                    .iter()
                    .enumerate()
                    .map(|(i, x)| format!("{x}{i}"))
                    .collect::<Vec<_>>()
                    .join(" ")
            ),
        ),
        ("resource", json!([])),
        ("resource", many(17)),
        ("resource", json!("payments")),
        ("resource", json!([7])),
        ("resource", json!("https://payments.bank.example#f")),
        ("acr", json!(2)),
        ("acr", json!("")),
        ("amr", json!("pwd")),
        ("amr", json!(vec!["pwd"; 17])),
        ("amr", json!([["pwd"]])),
        ("auth_time", json!("yesterday")),
        ("iat", json!("now")),
        ("nbf", json!(true)),
        ("authorization_details", json!({})),
        ("authorization_details", json!([])),
        ("authorization_details", json!([{"type": "account_information"}])),
        ("authorization_details", json!("[]")),
        ("consent_id", json!("x".repeat(1025))),
    ] {
        assert!(verify(&with(name, bad.clone())).is_err(), "{name} = {bad}");
    }
    assert_eq!(verify(&with("resource", many(16))).unwrap().grant.audience.len(), 16);
    assert_eq!(
        verify(&with("resource", json!("https://sign.bank.example"))).unwrap().grant.audience.len(),
        1
    );
    assert!(verify(&with("consent_id", json!("x".repeat(1024)))).is_ok());
    assert!(verify(&with("email", json!("x".repeat(2000)))).is_ok(), "nobody may see it");
    assert_eq!(verify(&with("consent_id", Value::Null)).unwrap().grant.extra.len(), 1, "null is no value");
}

#[test]
fn arrays_and_objects_are_copied_and_ambiguous_values_are_refused() {
    for good in [
        json!(["admins", "payers"]),
        json!([{"value": "g-1", "display": "Payers"}]),
        json!({"a": 1}),
        json!(7),
    ] {
        let grant = verify(&with("consent_id", good.clone())).unwrap();
        assert_eq!(json!(grant.grant.extra)["consent_id"], good);
    }
    for bad in [
        json!(1.5),
        json!([9_007_199_254_740_992_i64]),
        json!({"a": null}),
        json!("a\nb"),
        json!(["x".repeat(1025)]),
    ] {
        assert_eq!(rule(&with("consent_id", bad.clone())), "assertion-extra", "{bad}");
    }
}

#[test]
fn only_we_may_be_its_audience() {
    let token = "https://as.bank.example/token";
    for good in
        [json!("https://as.bank.example"), json!(token), json!([token]), json!(["https://as.bank.example"])]
    {
        assert!(verify(&with("aud", good.clone())).is_ok(), "{good}");
    }
    for bad in [
        json!([]),
        json!("https://as.bank.example/"),
        json!("https://AS.bank.example"),
        json!("https://as.bank.example/introspect"),
        json!(["https://as.bank.example", "https://else.example"]),
        json!(["https://as.bank.example", 7]),
        json!({"https://as.bank.example": 1}),
        Value::Null,
    ] {
        assert_eq!(rule(&with("aud", bad)), "assertion-audience");
    }
    assert_eq!(rule(&without("aud")), "assertion-audience");
}

#[test]
fn its_times_are_checked_to_the_second() {
    for (name, from_now, ok) in [
        ("exp", 1, true),
        ("exp", 300, true),
        ("exp", 301, false),
        ("exp", 0, false),
        ("exp", -1, false),
        ("iat", 10, true),
        ("iat", 11, false),
        ("iat", 61, false),
        ("iat", -100_000, true),
        ("nbf", 10, true),
        ("nbf", 11, false),
        ("auth_time", 10, true),
        ("auth_time", 11, false),
    ] {
        assert_eq!(verify(&with(name, json!(NOW.0 + from_now))).is_ok(), ok, "{name} {from_now}");
    }
    assert!(verify(&with("exp", json!(i64::MAX))).is_err());
    assert!(verify(&with("exp", json!(u64::MAX))).is_err());
    #[expect(clippy::cast_precision_loss, reason = "times of this century are exact")]
    let half = |seconds: i64| json!(seconds as f64 + 0.5);
    assert!(verify(&with("exp", half(NOW.0))).is_err(), "rounded down");
    assert_eq!(verify(&with("exp", half(NOW.0 + 7))).unwrap().expires_at, NumericDate(NOW.0 + 7));
    assert!(verify(&with("iat", half(NOW.0 + 10))).is_err(), "rounded up");
    assert!(verify(&without("iat")).is_ok());
}

#[test]
fn another_kind_of_jwt_is_no_grant() {
    let typed = |typ: Option<&str>| read(&bank(), &LOGIN.sign(typ, &claims()));
    for good in [None, Some("JWT"), Some("jwt"), Some("application/jwt")] {
        assert!(typed(good).is_ok(), "{good:?}");
    }
    for bad in [
        "at+jwt",
        "application/at+jwt",
        "token-introspection+jwt",
        "secevent+jwt",
        "logout+jwt",
        "dpop+jwt",
        "oauth-id-jag+jwt",
        "jwk-set+jwt",
        "",
    ] {
        assert_eq!(typed(Some(bad)).unwrap_err().rule, "assertion-type", "{bad}");
    }
    for (name, value) in [
        ("events", json!({})),
        ("token_introspection", json!({"active": true})),
        ("act", json!({"sub": "bob"})),
        ("cnf", json!({"jkt": "x"})),
        ("cnf", Value::Null),
    ] {
        assert_eq!(rule(&with(name, value)), "assertion-unsupported-claim", "{name}");
    }
    assert_eq!(rule(&with("aud", json!("shop"))), "assertion-audience", "an ID token");
}

#[test]
fn only_the_keys_of_its_own_issuer_count() {
    let stranger = TestKey::new(Algorithm::ES256);
    let error = read(&bank(), &stranger.sign(None, &claims())).unwrap_err();
    assert_eq!((error.code, error.rule), (ErrorCode::InvalidGrant, "assertion-signature"));
    let own_kid = json!({"alg": "ES256", "kid": LOGIN.public().kid()}).to_string();
    let forged = stranger.sign_texts(&own_kid, &claims().to_string());
    assert_eq!(read(&bank(), &forged).unwrap_err().rule, "assertion-signature");
    for garbage in ["", "x", "a.b.c", "e30.e30.", &"A".repeat(70_000)] {
        assert_eq!(read(&bank(), garbage).unwrap_err().rule, "assertion-malformed");
    }
}

#[test]
fn a_person_is_never_taken_for_a_client() {
    for name in ["shop", "payments-api", "signing-api"] {
        assert_eq!(rule(&with("sub", json!(name))), "assertion-subject");
    }
}

#[test]
fn too_many_further_claims_are_refused() {
    let mut config = bank();
    let names: Vec<String> = (0..40).map(|i| format!("claim_{i}")).collect();
    let server = super::super::testing::server(&mut config, 0);
    server.claims = names.iter().map(|n| n.parse().unwrap()).collect();
    let mut claims = without("given_name");
    for (i, name) in names.iter().enumerate() {
        claims[name] = json!("x");
        let result = read(&config, &LOGIN.sign(None, &claims));
        assert_eq!(result.is_ok(), i < 32, "{} claims", i + 1);
    }
}

#[test]
fn a_reserved_claim_is_never_carried_on_whatever_is_configured() {
    let mut config = bank();
    super::super::testing::server(&mut config, 0).claims = ClaimName::all_but_further().collect();
    let mut claims = without("given_name");
    for name in ["active", "token_type", "azp", "typ", "may_act"] {
        claims[name] = json!("x");
    }
    assert!(read(&config, &LOGIN.sign(None, &claims)).unwrap().grant.extra.is_empty());
}
