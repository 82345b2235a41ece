//! The rules of a token request.

use super::super::testing::{
    LOGIN, NOW, PAYMENTS, SIGNING, bank, client, contract, grant_issuer, payment, server,
};
use super::super::{Parameters, metadata, verify_assertion};
use super::*;
use crate::claims::{Authentication, ExtraClaims, Scope, TokenFormat};

fn form(pairs: &[(&str, &str)]) -> Parameters {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    Parameters::parse(body.as_bytes(), 100).unwrap()
}

fn wanted(pairs: &[(&str, &str)]) -> Wanted {
    let mut all = vec![("grant_type", "client_credentials")];
    all.extend(pairs);
    match TokenRequest::parse(&bank().clients[0], &form(&all), 32).unwrap() {
        TokenRequest::ClientCredentials(wanted) | TokenRequest::JwtBearer { wanted, .. } => wanted,
    }
}

fn own(config: &Config, pairs: &[(&str, &str)]) -> Result<Issue, OAuthError> {
    client_credentials(config, &config.clients[0], &wanted(pairs), "t-1".parse().unwrap(), NOW)
}

/// Requests a token with a grant of the front server, changed by `changes` (null removes a member).
fn granted(config: &Config, changes: &[(&str, Value)], pairs: &[(&str, &str)]) -> Result<Issue, OAuthError> {
    let mut claims = json!({"iss": "https://login.bank.example", "sub": "alice", "aud": "https://as.bank.example",
        "jti": "g-1", "exp": NOW.0 + 60, "scope": "payments:initiate sign:contracts",
        "authorization_details": [payment(), contract()], "acr": "psd2_sca", "consent_id": "c-1",
        "given_name": "Alice"});
    for (name, value) in changes {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(*name)),
            value => claims[*name] = value.clone(),
        }
    }
    let assertion = verify_assertion(config, &config.clients[0].client_id, &LOGIN.sign(None, &claims), NOW)?;
    jwt_bearer(config, &config.clients[0], &assertion, &wanted(pairs), "t-1".parse().unwrap(), NOW)
}

fn audience(issue: &Issue) -> Vec<&str> {
    issue.facts.grant.audience.iter().map(Resource::as_str).collect()
}

fn refusal(result: Result<Issue, OAuthError>) -> (&'static str, &'static str) {
    let error = result.unwrap_err();
    (error.code.name(), error.rule)
}

fn array(details: &[Value]) -> String {
    Value::from(details).to_string()
}

fn located(detail: Value, places: &[&str]) -> Value {
    let mut detail = detail;
    detail["locations"] = json!(places);
    detail
}

#[test]
fn a_client_that_speaks_for_itself_is_the_subject_and_has_not_signed_in() {
    let issue = own(&bank(), &[("resource", PAYMENTS), ("scope", "payments:status")]).unwrap();
    assert_eq!(issue.facts.grant.subject.as_str(), "shop");
    assert_eq!(issue.facts.grant.origin, Origin::OwnRight);
    assert_eq!(issue.facts.grant.authentication, Authentication::default());
    assert_eq!(issue.facts.grant.extra, ExtraClaims::new());
    assert_eq!(audience(&issue), [PAYMENTS]);
    assert_eq!((issue.facts.issued_at, issue.facts.expires_at), (NOW, NumericDate(NOW.0 + 300)));
    assert_eq!((issue.facts.not_before, issue.facts.revoked, issue.scope_differs), (None, false, false));
    assert_eq!(issue.facts.format, TokenFormat::Opaque);
}

#[test]
fn the_scope_is_the_requested_one_or_everything_for_the_audience() {
    for (pairs, scope, places, differs) in [
        (&[][..], "payments:initiate payments:status sign:contracts", &[PAYMENTS, SIGNING][..], true),
        (&[("resource", SIGNING)], "sign:contracts", &[SIGNING], true),
        (
            &[("resource", SIGNING), ("resource", PAYMENTS), ("scope", "payments:status sign:contracts")],
            "payments:status sign:contracts",
            &[SIGNING, PAYMENTS],
            false,
        ),
        (
            &[("scope", "payments:status payments:initiate")],
            "payments:status payments:initiate",
            &[PAYMENTS],
            false,
        ),
        (
            &[("scope", "sign:contracts payments:status")],
            "sign:contracts payments:status",
            &[PAYMENTS, SIGNING],
            false,
        ),
        (
            &[("resource", PAYMENTS), ("resource", PAYMENTS)],
            "payments:initiate payments:status",
            &[PAYMENTS],
            true,
        ),
    ] {
        let issue = own(&bank(), pairs).unwrap();
        assert_eq!(issue.facts.grant.scope.to_string(), scope, "{pairs:?}");
        assert_eq!(audience(&issue), places, "{pairs:?}");
        assert_eq!(issue.scope_differs, differs, "{pairs:?}");
    }
}

#[test]
fn asking_for_more_is_refused_and_not_cut_down() {
    let mut config = bank();
    client(&mut config).scope = "payments:status unowned".parse().unwrap();
    for (pairs, expected) in [
        (&[("scope", "payments:initiate")][..], ("invalid_scope", "scope-not-granted")),
        (&[("scope", "payments:status PAYMENTS:STATUS")], ("invalid_scope", "scope-not-granted")),
        (&[("scope", "unowned")], ("invalid_scope", "scope-without-resource")),
        (&[("scope", "payments:status"), ("resource", SIGNING)], ("invalid_scope", "scope-without-resource")),
        (&[("resource", SIGNING)], ("invalid_scope", "nothing-granted")),
        (&[("resource", "https://else.example")], ("invalid_target", "resource-not-allowed")),
        (&[("resource", "https://payments.bank.example/")], ("invalid_target", "resource-not-allowed")),
        (
            &[("resource", PAYMENTS), ("resource", "https://else.example")],
            ("invalid_target", "resource-not-allowed"),
        ),
        (&[("resource", PAYMENTS), ("resource", SIGNING)], ("invalid_target", "resource-without-grant")),
    ] {
        assert_eq!(refusal(own(&config, pairs)), expected, "{pairs:?}");
    }
    client(&mut config).resources.remove(0);
    assert_eq!(refusal(own(&config, &[("resource", PAYMENTS)])), ("invalid_target", "resource-not-allowed"));
    assert_eq!(
        refusal(own(&config, &[("scope", "payments:status")])),
        ("invalid_scope", "scope-without-resource")
    );
    assert_eq!(refusal(own(&config, &[])), ("invalid_scope", "nothing-granted"));
}

#[test]
fn a_resource_is_no_audience_without_a_scope_or_a_detail_of_its_own() {
    let both = &[("resource", SIGNING), ("resource", PAYMENTS)][..];
    let without = ("invalid_target", "resource-without-grant");
    let none = || ("authorization_details", Value::Null);
    let scope = |scope: &str| ("scope", json!(scope));
    for changes in [
        vec![scope("payments:status"), none()],
        vec![scope("sign:contracts"), none()],
        vec![scope(""), ("authorization_details", json!([payment()]))],
        // The issuer names both resources, but grants nothing at one of them.
        vec![scope("sign:contracts"), none(), ("resource", json!([PAYMENTS, SIGNING]))],
    ] {
        assert_eq!(refusal(granted(&bank(), &changes, both)), without, "{changes:?}");
    }
    let details = array(&[contract()]);
    for (pairs, expected) in [
        (vec![both[0], both[1], ("scope", "sign:contracts"), ("authorization_details", &details)], without),
        (vec![both[1], ("scope", "sign:contracts")], ("invalid_scope", "scope-without-resource")),
    ] {
        assert_eq!(refusal(granted(&bank(), &[], &pairs)), expected, "{pairs:?}");
        assert_eq!(refusal(own(&bank(), &pairs)), expected, "{pairs:?}");
    }
    let changes = [scope("payments:status"), ("authorization_details", json!([contract()]))];
    assert_eq!(audience(&granted(&bank(), &changes, both).unwrap()), [SIGNING, PAYMENTS]);
}

#[test]
fn a_scope_pattern_allows_what_goes_on_and_is_no_scope_itself() {
    let mut config = bank();
    server(&mut config, 1).scopes = "sign:*".parse().unwrap();
    client(&mut config).scope = "payments:status sign:doc-*".parse().unwrap();
    let scope = |issue: Issue| (issue.facts.grant.scope.to_string(), issue.scope_differs);
    assert_eq!(scope(own(&config, &[("scope", "sign:doc-1")]).unwrap()), ("sign:doc-1".to_owned(), false));
    assert_eq!(scope(own(&config, &[]).unwrap()), ("payments:status".to_owned(), true));
    let granted =
        granted(&config, &[("scope", json!("sign:doc-1 sign:doc-* sign:other"))], &[("resource", SIGNING)]);
    assert_eq!(scope(granted.unwrap()), ("sign:doc-1".to_owned(), true));
    for asked in ["sign:doc-*", "sign:*", "sign:doc-", "sign:other", "SIGN:doc-1"] {
        let refused = refusal(own(&config, &[("scope", asked)]));
        assert_eq!(refused, ("invalid_scope", "scope-not-granted"), "{asked}");
    }
    assert!(!metadata(&config)["scopes_supported"].to_string().contains('*'));
}

#[test]
fn a_scope_that_two_resources_own_needs_one_resource() {
    let mut config = bank();
    server(&mut config, 1).scopes = "sign:contracts payments:status".parse().unwrap();
    let both = ("invalid_target", "scope-ambiguous");
    assert_eq!(refusal(own(&config, &[("scope", "payments:status")])), both);
    assert_eq!(refusal(own(&config, &[])), both);
    assert_eq!(refusal(own(&config, &[("resource", PAYMENTS), ("resource", SIGNING)])), both);
    let issue = own(&config, &[("resource", SIGNING), ("scope", "payments:status")]).unwrap();
    assert_eq!(audience(&issue), [SIGNING]);
}

#[test]
fn one_token_has_the_format_that_its_audience_takes() {
    use TokenFormat::{AtJwt, Opaque};
    let both = &[("scope", "payments:status sign:contracts")][..];
    let one = &[("scope", "payments:status")][..];
    let several = Err(("invalid_target", "several-audiences"));
    let not_taken = Err(("invalid_target", "format-not-taken"));
    // The client's choice, the formats of the first and the second resource server, the result for one audience, for
    // both.
    for (choice, first, second, alone, together) in [
        (None, vec![Opaque, AtJwt], vec![AtJwt, Opaque], Ok(Opaque), Ok(Opaque)),
        (None, vec![AtJwt, Opaque], vec![Opaque], Ok(AtJwt), Ok(Opaque)),
        (None, vec![AtJwt], vec![Opaque], Ok(AtJwt), several),
        (None, vec![AtJwt], vec![AtJwt], Ok(AtJwt), several),
        (Some(AtJwt), vec![Opaque, AtJwt], vec![Opaque, AtJwt], Ok(AtJwt), several),
        (Some(AtJwt), vec![Opaque], vec![AtJwt], not_taken, several),
        (Some(Opaque), vec![AtJwt, Opaque], vec![Opaque], Ok(Opaque), Ok(Opaque)),
        (Some(Opaque), vec![AtJwt, Opaque], vec![AtJwt], Ok(Opaque), not_taken),
    ] {
        let mut config = bank();
        client(&mut config).access_token_format = choice;
        server(&mut config, 0).access_token_formats.clone_from(&first);
        server(&mut config, 1).access_token_formats.clone_from(&second);
        for (pairs, expected) in [(one, alone), (both, together)] {
            let found =
                own(&config, pairs).map(|issue| issue.facts.format).map_err(|e| (e.code.name(), e.rule));
            assert_eq!(found, expected, "{choice:?} {first:?} {second:?} {pairs:?}");
        }
    }
}

#[test]
fn a_client_may_have_details_of_its_own_where_its_entry_lists_the_type() {
    let details = array(&[contract()]);
    let issue = own(&bank(), &[("authorization_details", &details)]).unwrap();
    assert_eq!(audience(&issue), [SIGNING]);
    assert_eq!(json!(issue.facts.grant.authorization_details), json!([contract()]));
    assert_eq!(
        issue.facts.grant.scope.to_string(),
        "sign:contracts",
        "and the scopes of that resource by default"
    );
    let mut config = bank();
    client(&mut config).authorization_details_types.clear();
    let expected = ("invalid_authorization_details", "detail-type-not-allowed");
    assert_eq!(refusal(own(&config, &[("authorization_details", &details)])), expected);
}

#[test]
fn details_must_find_their_place() {
    for (details, resource, expected) in [
        (contract(), PAYMENTS, Err("detail-without-resource")),
        (located(payment(), &[PAYMENTS]), PAYMENTS, Ok(PAYMENTS)),
        (located(payment(), &[PAYMENTS]), "", Ok(PAYMENTS)),
        (located(payment(), &[PAYMENTS]), SIGNING, Err("detail-location-unknown")),
        (located(payment(), &[SIGNING]), "", Err("detail-location-unknown")),
        (located(payment(), &[SIGNING, PAYMENTS]), "", Err("detail-location-unknown")),
        (located(payment(), &[PAYMENTS, "https://else.example"]), "", Err("detail-location-unknown")),
        (located(payment(), &["https://else.example"]), PAYMENTS, Err("detail-location-unknown")),
    ] {
        let text = array(std::slice::from_ref(&details));
        let mut pairs = vec![("authorization_details", text.as_str())];
        if !resource.is_empty() {
            pairs.push(("resource", resource));
        }
        match (own(&bank(), &pairs), expected) {
            (Ok(issue), Ok(place)) => assert_eq!(audience(&issue), [place]),
            (found, Err(rule)) => {
                assert_eq!(refusal(found), ("invalid_authorization_details", rule), "{details}");
            }
            (Err(error), Ok(_)) => panic!("{error}: {details}"),
        }
    }
}

#[test]
fn a_type_that_two_of_the_audience_own_needs_locations_or_one_resource() {
    let mut config = bank();
    server(&mut config, 1).authorization_details_types = crate::claims::DetailType::ALL.into();
    let bare = array(&[payment()]);
    let ambiguous = ("invalid_authorization_details", "detail-ambiguous");
    assert_eq!(refusal(own(&config, &[("authorization_details", &bare)])), ambiguous);
    assert_eq!(refusal(granted(&config, &[], &[])), ambiguous);
    let one = own(&config, &[("authorization_details", &bare), ("resource", PAYMENTS)]).unwrap();
    assert_eq!(audience(&one), [PAYMENTS]);
    let placed = array(&[located(payment(), &[SIGNING])]);
    assert_eq!(audience(&own(&config, &[("authorization_details", &placed)]).unwrap()), [SIGNING]);
    let both = array(&[located(payment(), &[SIGNING, PAYMENTS])]);
    assert_eq!(audience(&own(&config, &[("authorization_details", &both)]).unwrap()), [PAYMENTS, SIGNING]);
}

#[test]
fn a_grant_gives_everything_when_nothing_is_asked() {
    let issue = granted(&bank(), &[], &[]).unwrap();
    assert_eq!(audience(&issue), [PAYMENTS, SIGNING]);
    assert_eq!(issue.facts.grant.scope.to_string(), "payments:initiate sign:contracts");
    assert_eq!(json!(issue.facts.grant.authorization_details), json!([payment(), contract()]));
    assert_eq!(issue.facts.grant.subject.as_str(), "alice");
    assert_eq!(issue.facts.grant.origin, Origin::Assertion("https://login.bank.example".parse().unwrap()));
    assert_eq!(issue.facts.grant.authentication.acr.as_ref().unwrap().as_str(), "psd2_sca");
    assert_eq!(issue.facts.grant.extra.len(), 2);
    assert!(issue.scope_differs);
}

#[test]
fn a_grant_is_cut_to_the_resource_asked_for() {
    for pairs in [&[("resource", SIGNING)][..], &[("scope", "sign:contracts")]] {
        let issue = granted(&bank(), &[], pairs).unwrap();
        assert_eq!(audience(&issue), [SIGNING]);
        assert_eq!(issue.facts.grant.scope.to_string(), "sign:contracts");
        assert_eq!(json!(issue.facts.grant.authorization_details), json!([contract()]));
        let extra: Vec<_> = issue.facts.grant.extra.keys().map(crate::claims::ClaimName::as_str).collect();
        assert_eq!(extra, ["given_name"], "claims that nobody of the audience may see are not kept");
    }
}

#[test]
fn locations_of_a_grant_are_cut_to_the_audience_and_unknown_ones_are_errors() {
    let details = |places: &[&str]| [("authorization_details", json!([located(payment(), places)]))];
    let mut shared = bank();
    server(&mut shared, 1).authorization_details_types = crate::claims::DetailType::ALL.into();
    let issue = granted(&shared, &details(&[PAYMENTS, SIGNING]), &[("resource", PAYMENTS)]).unwrap();
    assert_eq!(json!(issue.facts.grant.authorization_details), json!([located(payment(), &[PAYMENTS])]));
    let unknown = granted(&bank(), &details(&[PAYMENTS, "https://bank.example/payments"]), &[]);
    assert_eq!(refusal(unknown), ("invalid_authorization_details", "detail-location-unknown"));
    for places in [&[SIGNING][..], &[PAYMENTS, SIGNING]] {
        let not_taken = granted(&bank(), &details(places), &[]);
        assert_eq!(refusal(not_taken), ("invalid_authorization_details", "detail-location-unknown"));
    }
    let elsewhere = granted(&bank(), &details(&[PAYMENTS]), &[("resource", SIGNING)]).unwrap();
    assert_eq!(elsewhere.facts.grant.authorization_details, []);
}

#[test]
fn a_request_may_reduce_a_grant_and_not_widen_it() {
    let refused = ("invalid_authorization_details", "details-not-granted");
    let mut more = payment();
    more["instructedAmount"]["amount"] = json!("123.51");
    let payments = array(&[payment()]);
    let issue = granted(&bank(), &[], &[("authorization_details", &payments)]).unwrap();
    assert_eq!(audience(&issue), [PAYMENTS]);
    assert_eq!(json!(issue.facts.grant.authorization_details), json!([payment()]));
    for asked in [vec![more], vec![payment(), payment()]] {
        assert_eq!(refusal(granted(&bank(), &[], &[("authorization_details", &array(&asked))])), refused);
    }
    let none = [("authorization_details", Value::Null)];
    assert_eq!(refusal(granted(&bank(), &none, &[("authorization_details", &payments)])), refused);
    assert_eq!(
        refusal(granted(&bank(), &[], &[("scope", "payments:status")])),
        ("invalid_scope", "scope-not-granted")
    );
}

#[test]
fn every_party_to_a_grant_limits_it() {
    let only_signing = [("resource", json!(SIGNING))];
    assert_eq!(audience(&granted(&bank(), &only_signing, &[]).unwrap()), [SIGNING]);
    let target = ("invalid_target", "resource-not-allowed");
    assert_eq!(refusal(granted(&bank(), &only_signing, &[("resource", PAYMENTS)])), target);

    let mut config = bank();
    grant_issuer(&mut config).resources.remove(0);
    assert_eq!(audience(&granted(&config, &[], &[]).unwrap()), [SIGNING]);
    assert_eq!(refusal(granted(&config, &[], &[("resource", PAYMENTS)])), target);

    let mut config = bank();
    client(&mut config).resources.remove(1);
    client(&mut config).scope = "payments:status".parse().unwrap();
    assert_eq!(refusal(granted(&config, &[], &[("resource", SIGNING)])), target);
    let issue = granted(&config, &[], &[]).unwrap();
    assert_eq!((audience(&issue), issue.facts.grant.scope.is_empty()), (vec![PAYMENTS], true));

    let limits: [fn(&mut Config); 2] = [
        |config| grant_issuer(config).authorization_details_types.clear(),
        |config| client(config).authorization_details_types.clear(),
    ];
    for limit in limits {
        let mut config = bank();
        limit(&mut config);
        let expected = ("invalid_authorization_details", "detail-type-not-allowed");
        assert_eq!(refusal(granted(&config, &[], &[])), expected);
    }
    assert_eq!(
        refusal(granted(&bank(), &[("client_id", json!("other"))], &[])),
        ("invalid_grant", "assertion-other-client")
    );
    let nothing = [("scope", Value::Null), ("authorization_details", Value::Null)];
    assert_eq!(refusal(granted(&bank(), &nothing, &[])), ("invalid_scope", "nothing-granted"));
}

#[test]
fn an_at_jwt_holds_only_members_that_its_audience_may_see() {
    let mut config = bank();
    client(&mut config).access_token_format = Some(TokenFormat::AtJwt);
    assert_eq!(refusal(granted(&config, &[], &[])), ("invalid_target", "several-audiences"));
    let issue = granted(&config, &[("amr", json!(["pwd"]))], &[("resource", SIGNING)]).unwrap();
    let told = at_jwt_grant(&config, &issue.facts.grant).unwrap();
    assert_eq!(
        json!(told),
        json!({"subject": "alice", "client_id": "shop", "origin": {"assertion": "https://login.bank.example"},
            "audience": [SIGNING], "scope": "sign:contracts", "authorization_details": [contract()],
            "authentication": {"amr": ["pwd"]}, "extra": {"given_name": "Alice"}})
    );
    let both = Grant { audience: vec![PAYMENTS.parse().unwrap(), SIGNING.parse().unwrap()], ..told.clone() };
    assert_eq!(at_jwt_grant(&config, &both), None);
    let nothing = Grant { scope: Scope::default(), authorization_details: Vec::new(), ..told };
    assert_eq!(at_jwt_grant(&config, &nothing), None);
}

#[test]
fn the_answer_names_the_granted_scope_and_details() {
    let issue = own(&bank(), &[("scope", "payments:status")]).unwrap();
    let plain = json!({"access_token": "abc", "token_type": "Bearer", "expires_in": 300});
    assert_eq!(token_response(&issue, "abc"), plain);
    let issue = granted(&bank(), &[], &[("resource", SIGNING)]).unwrap();
    let mut full = plain;
    full["scope"] = json!("sign:contracts");
    full["authorization_details"] = json!([contract()]);
    assert_eq!(token_response(&issue, "abc"), full);
}
