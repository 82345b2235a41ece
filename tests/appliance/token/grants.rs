//! The approved grants of a front server (RFC 7523 §2.1): rows 18, 60, 182, 183; P4 to P7, D20, D21, D25.

use crate::harness::{
    ACCOUNTS, Appliance, Grant, Jwt, Key, PAYMENTS, SIGNING, Settings, Way, contract, payment,
    payment_at_accounts,
};
use serde_json::{Value, json};

#[test]
fn a_grant_becomes_one_token_with_the_granted_members() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    for key in [Key::Es256, Key::Rs256] {
        let answer = appliance.assert("shop", &appliance.the_case().signed_with(key).text(), &[]);
        assert_eq!(answer.status, 200, "{key:?}: {}", answer.text());
        let json = answer.json();
        assert_eq!(json["token_type"], "Bearer");
        assert_eq!(json["authorization_details"], json!([payment(), contract()]), "P5");
        assert_eq!(json["scope"], "payments:initiate payments:status credential");
        let token = answer.token();
        assert_eq!(
            appliance.introspect("payments-api", &token).inner()["authorization_details"],
            json!([payment()])
        );
        assert_eq!(
            appliance.introspect("signing-service", &token).inner()["authorization_details"],
            json!([contract()])
        );
    }
    appliance.finish();
}

#[test]
fn an_at_jwt_of_a_grant_holds_only_members_that_its_audience_may_see() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let grant = Grant::of_the_case(&appliance.settings.issuer);
    let token = appliance.assert("shop-jwt", &grant.text(), &[("resource", PAYMENTS)]).token();
    let jwt = Jwt::read(&token);
    jwt.verify(&appliance.jwks());
    assert_eq!(jwt.claims["authorization_details"], json!([payment()]), "P6, row 183");
    assert_eq!(jwt.claims["aud"], PAYMENTS);
    assert_eq!(jwt.claims["sub"], grant.claims["sub"]);
    assert_eq!(jwt.claims["client_id"], "shop-jwt");
    assert_eq!(jwt.claims["scope"], "payments:initiate payments:status");
    assert_eq!(
        (&jwt.claims["acr"], &jwt.claims["auth_time"]),
        (&grant.claims["acr"], &grant.claims["auth_time"])
    );
    // The bank may see neither (D21, row 18).
    for absent in ["amr", "given_name", "shoe_size", "grant_issuer"] {
        assert_eq!(jwt.claims.get(absent), None, "{absent}");
    }
    appliance.finish();
}

#[test]
fn array_and_object_claims_reach_the_configured_resource_servers_in_both_token_formats() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let groups = json!([{"value": "g-7", "display": "Payers \u{20ac}"}, "staff"]);
    let (roles, entitlements) = (json!(["notary"]), json!({"limit": {"EUR": 5000}, "sepa": true}));
    let grant = || {
        Grant::of_the_case(&appliance.settings.issuer)
            .with("groups", groups.clone())
            .with("roles", roles.clone())
            .with("entitlements", entitlements.clone())
    };
    let token = appliance.assert("shop", &grant().text(), &[]).token();
    let payments = appliance.introspect("payments-api", &token).inner().clone();
    assert_eq!((&payments["groups"], &payments["entitlements"]), (&groups, &entitlements));
    assert_eq!(payments.get("roles"), None);
    let signing = appliance.introspect("signing-service", &token).inner().clone();
    assert_eq!(signing["roles"], roles);
    assert_eq!((signing.get("groups"), signing.get("entitlements")), (None, None));
    let token = appliance.assert("shop-jwt", &grant().text(), &[("resource", PAYMENTS)]).token();
    let jwt = Jwt::read(&token);
    assert_eq!((&jwt.claims["groups"], &jwt.claims["entitlements"]), (&groups, &entitlements));
    assert_eq!(jwt.claims.get("roles"), None);
    let rounded = grant().with("groups", json!([0.1]));
    appliance.assert("shop", &rounded.text(), &[]).is_refused(400, "invalid_grant", "a fraction");
    appliance.finish();
}

#[test]
fn a_request_may_take_less_than_the_grant_and_never_more() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let asked = |details: &Value| {
        let details = details.to_string();
        appliance.assert("shop", &appliance.the_case().text(), &[("authorization_details", details.as_str())])
    };
    let mut less = payment();
    less["actions"] = json!(["status"]);
    let answer = asked(&json!([less]));
    assert_eq!(answer.json()["authorization_details"], json!([less]), "P4");
    let token = answer.token();
    assert_eq!(appliance.introspect("payments-api", &token).inner()["authorization_details"], json!([less]));
    let mut one_document = contract();
    one_document["documentDigests"].as_array_mut().unwrap().pop();
    assert_eq!(asked(&json!([one_document])).json()["authorization_details"], json!([one_document]));

    let change = |change: &dyn Fn(&mut Value)| {
        let mut detail = payment();
        change(&mut detail);
        json!([detail])
    };
    let more = [
        ("an action more", change(&|d| d["actions"] = json!(["initiate", "status", "cancel"]))),
        ("another amount", change(&|d| d["instructedAmount"]["amount"] = json!("123.51"))),
        (
            "the same amount in other words (P9)",
            change(&|d| d["instructedAmount"]["amount"] = json!("123.5")),
        ),
        ("another currency", change(&|d| d["instructedAmount"]["currency"] = json!("USD"))),
        ("another account", change(&|d| d["creditorAccount"]["iban"] = json!("DE89370400440532013000"))),
        ("another name", change(&|d| d["creditorName"] = json!("Merchant B"))),
        (
            "no locations, which is everywhere",
            change(&|d| drop(d.as_object_mut().unwrap().remove("locations"))),
        ),
        ("another location", change(&|d| d["locations"] = json!([ACCOUNTS]))),
        ("the payment twice", json!([payment(), payment()])),
    ];
    for (what, details) in more {
        asked(&details).is_refused(400, "invalid_authorization_details", what);
    }
    let mut other_document = contract();
    other_document["documentDigests"][0]["hash"] = json!("AAAAwOm+474gFj0q0x1iSNspKqbcse4IeiqlDg/HWuI=");
    asked(&json!([other_document])).is_refused(400, "invalid_authorization_details", "C10");

    let scope = |scope: &str| appliance.assert("shop", &appliance.the_case().text(), &[("scope", scope)]);
    let token = scope("payments:status").token();
    assert_eq!(appliance.introspect("payments-api", &token).inner()["scope"], "payments:status");
    scope("accounts:read").is_refused(400, "invalid_scope", "not granted");
    let resource = appliance.assert("shop", &appliance.the_case().text(), &[("resource", ACCOUNTS)]);
    resource.is_refused(400, "invalid_target", "not granted");
    let one = appliance.assert("shop", &appliance.the_case().text(), &[("resource", SIGNING)]).token();
    assert_eq!(appliance.introspect("signing-service", &one).inner()["active"], true);
    assert_eq!(*appliance.introspect("payments-api", &one).inner(), json!({"active": false}));
    appliance.finish();
}

#[test]
fn details_that_two_of_the_audience_could_mean_are_refused_unless_they_say_where() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let mut nowhere = payment();
    nowhere.as_object_mut().unwrap().remove("locations");
    let both = [("resource", PAYMENTS), ("resource", ACCOUNTS)];
    let ask = |detail: &Value, resources: &[(&str, &str)]| {
        let details = json!([detail]).to_string();
        let parameters = [&[("authorization_details", details.as_str())], resources].concat();
        appliance.client_credentials("shop", &parameters)
    };
    ask(&nowhere, &both).is_refused(400, "invalid_authorization_details", "D25");
    let token = ask(&nowhere, &[("resource", PAYMENTS), ("scope", "payments:status")]).token();
    let inner = appliance.introspect("payments-api", &token).inner().clone();
    assert_eq!(inner["authorization_details"], json!([nowhere]), "one owner is enough");
    let token = ask(&payment_at_accounts(), &both).token();
    let inner = appliance.introspect("accounts-api", &token).inner().clone();
    assert_eq!(inner["authorization_details"], json!([payment_at_accounts()]));
    let inner = appliance.introspect("payments-api", &token).inner().clone();
    assert_eq!(inner.get("authorization_details"), None, "it is the other's");
    // With both locations, each sees its own.
    let mut twofold = payment();
    twofold["locations"] = json!([PAYMENTS, ACCOUNTS]);
    let token = ask(&twofold, &both).token();
    for (rs, place) in [("payments-api", PAYMENTS), ("accounts-api", ACCOUNTS)] {
        let inner = appliance.introspect(rs, &token).inner().clone();
        assert_eq!(inner["authorization_details"][0]["locations"], json!([place]));
    }
    appliance.finish();
}

#[test]
fn a_client_cannot_widen_a_grant_to_a_resource_for_which_nothing_was_granted() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let grant =
        |scope: &str| appliance.the_case().with("scope", json!(scope)).without("authorization_details");
    let ask = |grant: &Grant, resources: &[&str]| {
        let resources: Vec<_> = resources.iter().map(|resource| ("resource", *resource)).collect();
        appliance.assert("shop", &grant.text(), &resources)
    };
    for (scope, own, other) in [("payments:status", PAYMENTS, SIGNING), ("credential", SIGNING, PAYMENTS)] {
        ask(&grant(scope), &[other]).is_refused(400, "invalid_scope", "nothing granted there");
        ask(&grant(scope), &[other, own]).is_refused(400, "invalid_target", "nothing granted at one of them");
        let named = grant(scope).with("resource", json!([own, other]));
        ask(&named, &[own, other]).is_refused(400, "invalid_target", "named, and nothing granted there");
        let token = ask(&named, &[]).token();
        for (rs, resource) in [("payments-api", PAYMENTS), ("signing-service", SIGNING)] {
            let inner = appliance.introspect(rs, &token).inner().clone();
            assert_eq!(inner["active"], resource == own, "{scope} at {rs}");
        }
    }
    // A location that does not own the type is a mistake of the issuer and an error.
    let mut elsewhere = payment();
    elsewhere["locations"] = json!([SIGNING]);
    let grant = appliance.the_case().with("authorization_details", json!([elsewhere]));
    for resources in [&[][..], &[SIGNING], &[SIGNING, PAYMENTS]] {
        ask(&grant, resources).is_refused(400, "invalid_authorization_details", "a place of another type");
    }
    appliance.finish();
}
