//! What a gateway that is not itself asks for, and does not get.

use super::*;
use crate::claims::{Jti, TokenHash, TokenType};
use crate::config::AuthMethod;
use crate::protocol::testing::{NOW, PAYMENTS, SIGNING, bank, contract, payment};
use serde_json::{Value, json};

fn context(caller: &str) -> Context {
    Context {
        request_id: "r-1".parse().unwrap(),
        caller: caller.parse().unwrap(),
        method: AuthMethod::ClientSecretBasic,
        peer: None,
    }
}

fn jti() -> Jti {
    "t-1".parse().unwrap()
}

/// What `payments-api` may be told of a token of the shop.
fn answer(change: impl Fn(&mut IntrospectionAsk, &mut ActiveToken)) -> Verdict {
    let mut ask = asked("payments-api");
    let mut token = *ask.active.take().unwrap();
    change(&mut ask, &mut token);
    ask.active = Some(Box::new(token));
    introspection(&two_clients(), &ask, NOW).map(drop)
}

fn asked(caller: &str) -> IntrospectionAsk {
    let mut ask = IntrospectionAsk {
        context: context(caller),
        format: AnswerFormat::Jwt,
        token: TokenHash([0; 32]),
        known: true,
        iat: NOW,
        active: None,
        rules: Vec::new(),
    };
    let token = ActiveToken {
        aud: PAYMENTS.parse().unwrap(),
        iat: NumericDate(NOW.0 - 10),
        exp: NumericDate(NOW.0 + 290),
        nbf: None,
        token_type: TokenType::Bearer,
        scope: "payments:initiate".parse().unwrap(),
        authorization_details: vec![serde_json::from_value(payment()).unwrap()],
        sub: Some("alice".parse().unwrap()),
        client_id: "shop".parse().unwrap(),
        acr: Some("psd2_sca".parse().unwrap()),
        amr: Vec::new(),
        auth_time: Some(NOW),
        extra: [("consent_id".parse().unwrap(), "c-1".into())].into(),
    };
    ask.active = Some(Box::new(token));
    ask
}

/// The bank with a second client whose tokens live for a day.
fn two_clients() -> Config {
    let mut config = bank();
    let long = std::sync::Arc::get_mut(&mut config.clients[0]).unwrap();
    long.client_id = "batch".parse().unwrap();
    long.access_token_lifetime = std::time::Duration::from_secs(86_400);
    config.clients.extend(bank().clients);
    config
}

/// The shop's own `at+jwt` for the payment API.
fn own_token(change: impl Fn(&mut AccessTokenAsk)) -> Verdict {
    let mut ask = AccessTokenAsk {
        context: context("shop"),
        aud: PAYMENTS.parse().unwrap(),
        sub: "shop".parse().unwrap(),
        grant_issuer: None,
        jti: jti(),
        iat: NOW,
        exp: NumericDate(NOW.0 + 300),
        scope: "payments:status".parse().unwrap(),
        authorization_details: Vec::new(),
        authentication: Authentication::default(),
        extra: ExtraClaims::new(),
    };
    change(&mut ask);
    access_token(&bank(), &ask, NOW).map(drop)
}

/// An opaque token of `alice` for both services.
fn opaque(change: impl Fn(&mut OpaqueTokenAsk)) -> Verdict {
    let details = [payment(), contract()].map(|detail: Value| serde_json::from_value(detail).unwrap());
    let mut ask = OpaqueTokenAsk {
        context: context("shop"),
        token: TokenHash([0; 32]),
        audience: vec![PAYMENTS.parse().unwrap(), SIGNING.parse().unwrap()],
        sub: "alice".parse().unwrap(),
        grant_issuer: Some("https://login.bank.example".parse().unwrap()),
        jti: jti(),
        iat: NOW,
        exp: NumericDate(NOW.0 + 300),
        scope: "payments:initiate sign:contracts".parse().unwrap(),
        authorization_details: details.into(),
        authentication: Authentication::default(),
    };
    change(&mut ask);
    opaque_token(&bank(), &ask, NOW)
}

fn extra(name: &str) -> ExtraClaims {
    [(name.parse().unwrap(), "x".into())].into()
}

#[test]
fn an_answer_holds_what_its_resource_server_may_see_and_nothing_else() {
    type Change = fn(&mut IntrospectionAsk, &mut ActiveToken);
    assert_eq!(answer(|_, _| ()), Ok(()));
    let table: [(Change, Broken); 22] = [
        (|a, _| a.context.caller = "shop".parse().unwrap(), "caller-is-no-resource-server"),
        (|a, _| a.context.caller = "nobody".parse().unwrap(), "caller-is-no-resource-server"),
        (|a, _| a.context.method = AuthMethod::ClientSecretPost, "method-not-registered"),
        (|a, _| a.format = AnswerFormat::Json, "answer-must-be-signed"),
        (|a, _| a.context.caller = "signing-api".parse().unwrap(), "audience-is-not-the-caller"),
        (|_, t| t.aud = SIGNING.parse().unwrap(), "audience-is-not-the-caller"),
        (|_, t| t.exp = NOW, "token-not-in-force"),
        (|_, t| t.iat = NumericDate(NOW.0 + 31), "token-not-in-force"),
        (|_, t| t.nbf = Some(NumericDate(NOW.0 + 1)), "token-not-in-force"),
        (|_, t| t.exp = NumericDate(t.iat.0 + 301), "lifetime-too-long"),
        (|_, t| t.iat = NumericDate(i64::MIN), "lifetime-too-long"),
        (|_, t| t.exp = NumericDate(i64::MAX), "lifetime-too-long"),
        (|_, t| t.client_id = "gone".parse().unwrap(), "token-of-unknown-client"),
        (|_, t| t.scope = "sign:contracts".parse().unwrap(), "scope-of-another"),
        (
            |_, t| t.authorization_details = vec![serde_json::from_value(contract()).unwrap()],
            "type-of-another",
        ),
        (
            |_, t| {
                let detail = t.authorization_details[0].with_locations(vec![SIGNING.parse().unwrap()]);
                t.authorization_details = vec![detail];
            },
            "location-of-another",
        ),
        (|_, t| t.authorization_details = vec![t.authorization_details[0].clone(); 17], "details-not-valid"),
        (
            |_, t| {
                t.scope = Scope::default();
                t.authorization_details.clear();
            },
            "audience-without-grant",
        ),
        (|_, t| t.amr = vec!["pwd".parse().unwrap()], "claim-not-configured"),
        (|_, t| t.extra = extra("given_name"), "claim-not-configured"),
        // Configured for this resource server, and still no further claims: the JWT would hold them twice.
        (|_, t| t.extra = extra("sub"), "claim-reserved"),
        (|_, t| t.extra = extra("client_id"), "claim-reserved"),
    ];
    for (place, (change, broken)) in table.into_iter().enumerate() {
        assert_eq!(answer(change), Err(broken), "line {place}");
    }
    assert_eq!(answer(|_, t| t.iat = NumericDate(NOW.0 + 10)), Ok(()), "the clock was set back a little");
}

#[test]
fn the_life_of_a_token_is_bounded_by_its_own_client_not_by_another() {
    let lives = |client: &'static str, seconds: i64| {
        answer(move |_, t| {
            t.client_id = client.parse().unwrap();
            t.exp = NumericDate(t.iat.0 + seconds);
        })
    };
    assert_eq!(lives("shop", 300), Ok(()));
    assert_eq!(lives("shop", 301), Err("lifetime-too-long"), "although a token of batch may live so long");
    assert_eq!(lives("batch", 86_400), Ok(()));
    assert_eq!(lives("batch", 86_401), Err("lifetime-too-long"));
}

#[test]
fn an_answer_names_the_client_only_to_a_resource_server_whose_entry_says_so() {
    let config = bank();
    let told = |rs: &str| {
        let rs = config.resource_server(&rs.parse().unwrap()).unwrap();
        let ask = asked(rs.client_id.as_str());
        let body = super::super::content::Introspection::new(&config.issuer, rs, &ask);
        serde_json::to_value(body).unwrap()["client_id"].clone()
    };
    assert_eq!(told("payments-api"), json!("shop"));
    assert_eq!(told("signing-api"), Value::Null);
}

#[test]
fn iat_is_near_the_clock_whatever_number_the_gateway_says() {
    for iat in [NOW.0 - 31, NOW.0 + 31, i64::MIN, i64::MIN + NOW.0, i64::MAX, 0, -1] {
        let iat = NumericDate(iat);
        assert_eq!(answer(|a, _| a.iat = iat), Err("iat-away-from-clock"), "{iat:?}");
        assert_eq!(own_token(|a| a.iat = iat), Err("iat-away-from-clock"), "{iat:?}");
        assert_eq!(opaque(|a| a.iat = iat), Err("iat-away-from-clock"), "{iat:?}");
    }
    assert_eq!(answer(|a, _| a.iat = NumericDate(NOW.0 - 30)), Ok(()));
}

#[test]
fn a_client_that_speaks_for_itself_is_nobody_else() {
    type Change = fn(&mut AccessTokenAsk);
    assert_eq!(own_token(|_| ()), Ok(()));
    let table: [(Change, Broken); 15] = [
        (|a| a.context.caller = "payments-api".parse().unwrap(), "caller-is-no-client"),
        (|a| a.sub = "alice".parse().unwrap(), "subject-is-not-the-client"),
        (|a| a.authentication.acr = Some("psd2_sca".parse().unwrap()), "nobody-signed-in"),
        (|a| a.extra = extra("consent_id"), "nobody-signed-in"),
        (|a| a.extra = extra("client_id"), "nobody-signed-in"),
        (|a| a.grant_issuer = Some("https://other.example".parse().unwrap()), "unknown-grant-issuer"),
        (|a| a.exp = a.iat, "lifetime-too-long"),
        (|a| a.exp = NumericDate(a.iat.0 + 301), "lifetime-too-long"),
        (|a| a.exp = NumericDate(i64::MAX), "lifetime-too-long"),
        (|a| a.exp = NumericDate(i64::MIN), "lifetime-too-long"),
        (|a| a.aud = "https://unknown.example".parse().unwrap(), "resource-not-registered"),
        (|a| a.aud = SIGNING.parse().unwrap(), "scope-of-another"),
        (|a| a.scope = Scope::default(), "audience-without-grant"),
        (|a| a.scope = "admin".parse().unwrap(), "scope-not-registered"),
        (|a| a.authorization_details = vec![serde_json::from_value(contract()).unwrap()], "type-of-another"),
    ];
    for (place, (change, broken)) in table.into_iter().enumerate() {
        assert_eq!(own_token(change), Err(broken), "line {place}");
    }
}

#[test]
fn a_granted_token_carries_no_claim_twice() {
    let granted = |name: &'static str| {
        own_token(move |a| {
            a.grant_issuer = Some("https://login.bank.example".parse().unwrap());
            a.sub = "alice".parse().unwrap();
            a.extra = extra(name);
        })
    };
    assert_eq!(granted("consent_id"), Ok(()));
    for name in ["sub", "client_id", "acr", "auth_time"] {
        assert_eq!(granted(name), Err("claim-reserved"), "{name}");
    }
    assert_eq!(granted("azp"), Err("claim-not-configured"), "no entry can name it");
}

#[test]
fn an_opaque_token_keeps_to_its_audience() {
    type Change = fn(&mut OpaqueTokenAsk);
    assert_eq!(opaque(|_| ()), Ok(()));
    let table: [(Change, Broken); 8] = [
        (|a| a.audience.clear(), "no-audience"),
        (
            |a| {
                a.scope = "payments:initiate".parse().unwrap();
                a.authorization_details.truncate(1);
            },
            "audience-without-grant",
        ),
        (
            |a| {
                a.scope = "sign:contracts".parse().unwrap();
                let place = vec![SIGNING.parse().unwrap()];
                a.authorization_details = vec![a.authorization_details[0].with_locations(place)];
            },
            "audience-without-grant",
        ),
        (|a| a.audience.truncate(1), "scope-of-another"),
        (|a| a.scope = "payments:refund".parse().unwrap(), "scope-not-registered"),
        (
            |a| {
                a.audience.truncate(1);
                a.scope = "payments:initiate".parse().unwrap();
            },
            "type-of-another",
        ),
        (
            |a| {
                let place = "https://elsewhere.example".parse().unwrap();
                a.authorization_details = vec![a.authorization_details[0].with_locations(vec![place])];
            },
            "location-of-another",
        ),
        (|a| a.authentication.amr = vec!["pwd".parse().unwrap(); 17], "claims-too-large"),
    ];
    for (place, (change, broken)) in table.into_iter().enumerate() {
        assert_eq!(opaque(change), Err(broken), "line {place}");
    }
}

#[test]
fn an_ask_that_says_more_than_its_type_is_no_ask() {
    let mut ask = json!({"token": "0".repeat(64), "format": "opaque", "jti": "t-1",
        "context": {"request_id": "r", "caller": "shop", "method": "client_secret_basic", "peer": null}});
    assert!(serde_json::from_value::<crate::door::message::RevocationAsk>(ask.clone()).is_ok());
    ask["context"]["header"] = json!({"alg": "none"});
    assert!(serde_json::from_value::<crate::door::message::RevocationAsk>(ask).is_err());
}
