//! Asks of a hostile gateway, which the rules refuse.

use super::*;
use crate::claims::{ExtraClaims, Scope, TokenHash};
use crate::config::AuthMethod;
use crate::protocol::testing::{NOW, PAYMENTS, SIGNING, bank, client, contract, facts, payment, server};
use crate::protocol::view;
use serde_json::json;

fn context(caller: &str) -> Context {
    Context {
        request_id: "r-1".parse().unwrap(),
        caller: caller.parse().unwrap(),
        method: AuthMethod::ClientSecretBasic,
        peer: None,
    }
}

/// The part of the shop's token that `payments-api` may see.
fn answer(change: impl Fn(&mut IntrospectionAsk, &mut ActiveToken)) -> Result<(), &'static str> {
    let mut ask = asked("payments-api");
    let mut token = *ask.active.take().unwrap();
    change(&mut ask, &mut token);
    ask.active = Some(Box::new(token));
    introspection(&two_clients(), &ask, NOW).map(drop).map_err(Reason::name)
}

fn asked(caller: &str) -> IntrospectionAsk {
    let mut ask = IntrospectionAsk {
        context: context(caller),
        format: AnswerFormat::Jwt,
        token: TokenHash([0; 32]),
        known: true,
        iat: NOW,
        active: None,
        reasons: Vec::new(),
    };
    let (config, caller) = (bank(), caller.parse().unwrap());
    ask.active =
        view(config.resource_server(&caller).unwrap(), &config, Some(&facts()), NOW).active.map(Box::new);
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
fn own_token(change: impl Fn(&mut TokenAsk)) -> Result<(), &'static str> {
    let grant = Grant {
        audience: vec![PAYMENTS.parse().unwrap()],
        scope: "payments:status".parse().unwrap(),
        ..Grant::new("shop".parse().unwrap(), "shop".parse().unwrap(), Origin::OwnRight)
    };
    let mut ask = token(None, grant);
    change(&mut ask);
    access_token(&bank(), &ask, NOW).map(drop).map_err(Reason::name)
}

/// An opaque token of `alice` for both services.
fn opaque(change: impl Fn(&mut TokenAsk)) -> Result<(), &'static str> {
    let mut ask = token(Some(TokenHash([0; 32])), facts().grant);
    change(&mut ask);
    opaque_token(&bank(), &ask, NOW).map_err(Reason::name)
}

fn token(opaque: Option<TokenHash>, grant: Grant) -> TokenAsk {
    let (jti, exp) = ("t-1".parse().unwrap(), NumericDate(NOW.0 + 300));
    TokenAsk { context: context("shop"), opaque, jti, iat: NOW, exp, grant }
}

#[test]
fn a_scope_pattern_holds_for_the_signer_too() {
    let verdict = |scope: &str, servers: &str, clients: &str| {
        let mut config = bank();
        server(&mut config, 0).scopes = servers.parse().unwrap();
        client(&mut config).scope = clients.parse().unwrap();
        let mut ask =
            token(None, Grant::new("shop".parse().unwrap(), "shop".parse().unwrap(), Origin::OwnRight));
        ask.grant.audience = vec![PAYMENTS.parse().unwrap()];
        ask.grant.scope = scope.parse().unwrap();
        access_token(&config, &ask, NOW).map(drop).map_err(Reason::name)
    };
    assert_eq!(verdict("PIS:1", "PIS:*", "PIS:*"), Ok(()));
    assert_eq!(verdict("PIS:*", "PIS:*", "PIS:*"), Err("scope-not-registered"));
    assert_eq!(verdict("PIS:1", "PIS:*", "PIS:2"), Err("scope-not-registered"));
    assert_eq!(verdict("PIS:1", "PIS:2 PIS:3*", "PIS:*"), Err("scope-of-another"));
}

fn extra(name: &str) -> ExtraClaims {
    [(name.parse().unwrap(), "x".into())].into()
}

#[test]
fn an_answer_holds_only_members_that_its_resource_server_may_see() {
    type Change = fn(&mut IntrospectionAsk, &mut ActiveToken);
    assert_eq!(answer(|_, _| ()), Ok(()));
    let table: [(Change, &str); 24] = [
        (|a, _| a.context.caller = "shop".parse().unwrap(), "caller-is-no-resource-server"),
        (|a, _| a.context.caller = "nobody".parse().unwrap(), "caller-is-no-resource-server"),
        (|a, _| a.context.method = AuthMethod::ClientSecretPost, "method-not-registered"),
        (|a, _| a.format = AnswerFormat::Json, "answer-must-be-signed"),
        (|a, _| a.context.caller = "signing-api".parse().unwrap(), "audience-is-not-the-caller"),
        (|a, _| a.reasons = vec![Reason::Revoked; 65], "too-many-reasons"),
        (|_, t| t.grant.audience = vec![SIGNING.parse().unwrap()], "audience-is-not-the-caller"),
        (|_, t| t.grant.audience.push(SIGNING.parse().unwrap()), "audience-is-not-the-caller"),
        (|_, t| t.exp = NOW, "token-not-in-force"),
        (|_, t| t.iat = NumericDate(NOW.0 + 31), "token-not-in-force"),
        (|_, t| t.nbf = Some(NumericDate(NOW.0 + 1)), "token-not-in-force"),
        (|_, t| t.exp = NumericDate(t.iat.0 + 301), "lifetime-too-long"),
        (|_, t| t.iat = NumericDate(i64::MIN), "lifetime-too-long"),
        (|_, t| t.exp = NumericDate(i64::MAX), "lifetime-too-long"),
        (|_, t| t.grant.client_id = "gone".parse().unwrap(), "token-of-unknown-client"),
        (|_, t| t.grant.scope = "sign:contracts".parse().unwrap(), "scope-of-another"),
        (
            |_, t| t.grant.authorization_details = vec![serde_json::from_value(contract()).unwrap()],
            "type-of-another",
        ),
        (
            |_, t| {
                let detail = t.grant.authorization_details[0].with_locations(vec![SIGNING.parse().unwrap()]);
                t.grant.authorization_details = vec![detail];
            },
            "location-of-another",
        ),
        (
            |_, t| t.grant.authorization_details = vec![t.grant.authorization_details[0].clone(); 17],
            "details-not-valid",
        ),
        (
            |_, t| {
                t.grant.scope = Scope::default();
                t.grant.authorization_details.clear();
            },
            "audience-without-grant",
        ),
        (|_, t| t.grant.authentication.amr = vec!["pwd".parse().unwrap()], "claim-not-configured"),
        (|_, t| t.grant.extra = extra("given_name"), "claim-not-configured"),
        // Configured for this resource server, but no further claims: the JWT would hold them twice.
        (|_, t| t.grant.extra = extra("sub"), "claim-reserved"),
        (|_, t| t.grant.extra = extra("client_id"), "claim-reserved"),
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
            t.grant.client_id = client.parse().unwrap();
            t.exp = NumericDate(t.iat.0 + seconds);
        })
    };
    assert_eq!(lives("shop", 300), Ok(()));
    assert_eq!(lives("shop", 301), Err("lifetime-too-long"), "although a token of batch may live so long");
    assert_eq!(lives("batch", 86_400), Ok(()));
    assert_eq!(lives("batch", 86_401), Err("lifetime-too-long"));
}

#[test]
fn an_answer_shows_subject_and_client_only_to_a_resource_server_whose_entry_names_them() {
    let config = bank();
    let shown = |rs: &str| {
        let ask = asked(rs);
        let rs = introspection(&config, &ask, NOW).unwrap();
        let members = super::super::content::Introspection::new(&config.issuer, rs, &ask);
        serde_json::to_value(members).unwrap()
    };
    assert_eq!(
        shown("payments-api"),
        json!({"active": true, "iss": "https://as.bank.example", "aud": PAYMENTS, "iat": NOW.0 - 10,
            "exp": NOW.0 + 290, "token_type": "Bearer", "scope": "payments:initiate",
            "authorization_details": [payment()], "sub": "alice", "client_id": "shop", "acr": "psd2_sca",
            "auth_time": NOW.0 - 60, "consent_id": "c-1"})
    );
    assert_eq!(
        shown("signing-api"),
        json!({"active": true, "iss": "https://as.bank.example", "aud": SIGNING, "iat": NOW.0 - 10,
            "exp": NOW.0 + 290, "token_type": "Bearer", "scope": "sign:contracts",
            "authorization_details": [contract()], "amr": ["pwd", "otp"], "given_name": "Alice"})
    );
}

#[test]
fn iat_must_be_near_the_clock_for_every_number() {
    for iat in [NOW.0 - 31, NOW.0 + 31, i64::MIN, i64::MIN + NOW.0, i64::MAX, 0, -1] {
        let iat = NumericDate(iat);
        assert_eq!(answer(|a, _| a.iat = iat), Err("iat-away-from-clock"), "{iat:?}");
        assert_eq!(own_token(|a| a.iat = iat), Err("iat-away-from-clock"), "{iat:?}");
        assert_eq!(opaque(|a| a.iat = iat), Err("iat-away-from-clock"), "{iat:?}");
    }
    assert_eq!(answer(|a, _| a.iat = NumericDate(NOW.0 - 30)), Ok(()));
}

#[test]
fn a_client_in_its_own_right_has_no_other_subject() {
    type Change = fn(&mut TokenAsk);
    assert_eq!(own_token(|_| ()), Ok(()));
    let table: [(Change, &str); 17] = [
        (|a| a.context.caller = "payments-api".parse().unwrap(), "caller-is-no-client"),
        (|a| a.grant.client_id = "batch".parse().unwrap(), "client-is-not-the-caller"),
        (|a| a.grant.audience.push(SIGNING.parse().unwrap()), "several-audiences"),
        (|a| a.grant.subject = "alice".parse().unwrap(), "subject-is-not-the-client"),
        (|a| a.grant.authentication.acr = Some("psd2_sca".parse().unwrap()), "nobody-signed-in"),
        (|a| a.grant.extra = extra("consent_id"), "nobody-signed-in"),
        (|a| a.grant.extra = extra("client_id"), "nobody-signed-in"),
        (
            |a| a.grant.origin = Origin::Assertion("https://other.example".parse().unwrap()),
            "unknown-grant-issuer",
        ),
        (|a| a.exp = a.iat, "lifetime-too-long"),
        (|a| a.exp = NumericDate(a.iat.0 + 301), "lifetime-too-long"),
        (|a| a.exp = NumericDate(i64::MAX), "lifetime-too-long"),
        (|a| a.exp = NumericDate(i64::MIN), "lifetime-too-long"),
        (|a| a.grant.audience = vec!["https://unknown.example".parse().unwrap()], "resource-not-registered"),
        (|a| a.grant.audience = vec![SIGNING.parse().unwrap()], "scope-of-another"),
        (|a| a.grant.scope = Scope::default(), "audience-without-grant"),
        (|a| a.grant.scope = "admin".parse().unwrap(), "scope-not-registered"),
        (
            |a| a.grant.authorization_details = vec![serde_json::from_value(contract()).unwrap()],
            "type-of-another",
        ),
    ];
    for (place, (change, broken)) in table.into_iter().enumerate() {
        assert_eq!(own_token(change), Err(broken), "line {place}");
    }
}

#[test]
fn a_granted_token_carries_no_claim_twice() {
    let granted = |name: &'static str| {
        own_token(move |a| {
            a.grant.origin = Origin::Assertion("https://login.bank.example".parse().unwrap());
            a.grant.subject = "alice".parse().unwrap();
            a.grant.extra = extra(name);
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
    type Change = fn(&mut TokenAsk);
    assert_eq!(opaque(|_| ()), Ok(()));
    let table: [(Change, &str); 11] = [
        (|a| a.grant.audience.clear(), "no-audience"),
        (
            |a| {
                a.grant.scope = "payments:initiate".parse().unwrap();
                a.grant.authorization_details.truncate(1);
            },
            "audience-without-grant",
        ),
        (
            |a| {
                a.grant.scope = "sign:contracts".parse().unwrap();
                let place = vec![SIGNING.parse().unwrap()];
                a.grant.authorization_details = vec![a.grant.authorization_details[0].with_locations(place)];
            },
            "audience-without-grant",
        ),
        (|a| a.grant.audience.truncate(1), "scope-of-another"),
        (|a| a.grant.scope = "payments:refund".parse().unwrap(), "scope-not-registered"),
        (
            |a| {
                a.grant.audience.truncate(1);
                a.grant.scope = "payments:initiate".parse().unwrap();
            },
            "type-of-another",
        ),
        (
            |a| {
                let place = "https://elsewhere.example".parse().unwrap();
                a.grant.authorization_details =
                    vec![a.grant.authorization_details[0].with_locations(vec![place])];
            },
            "location-of-another",
        ),
        (|a| a.grant.extra = extra("shoe_size"), "claim-not-configured"),
        (|a| a.grant.extra = extra("sub"), "claim-reserved"),
        (
            |a| a.grant.authorization_details = vec![a.grant.authorization_details[0].clone(); 17],
            "details-not-valid",
        ),
        (|a| a.grant.authentication.amr = vec!["pwd".parse().unwrap(); 17], "claims-too-large"),
    ];
    for (place, (change, broken)) in table.into_iter().enumerate() {
        assert_eq!(opaque(change), Err(broken), "line {place}");
    }
}

#[test]
fn an_ask_with_unknown_members_is_refused() {
    let mut ask = json!({"token": "0".repeat(64), "format": "opaque", "jti": "t-1",
        "context": {"request_id": "r", "caller": "shop", "method": "client_secret_basic", "peer": null}});
    assert!(serde_json::from_value::<crate::door::message::RevocationAsk>(ask.clone()).is_ok());
    ask["context"]["header"] = json!({"alg": "none"});
    assert!(serde_json::from_value::<crate::door::message::RevocationAsk>(ask).is_err());
}
