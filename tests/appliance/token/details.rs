//! `authorization_details` of both types, checked in full: rows 181, 185; P1 to P3, P8, P9, C5; B20.

use crate::harness::{Appliance, PAYMENTS, Settings, Way, contract, payment};
use serde_json::{Value, json};

fn changed(mut detail: Value, change: impl Fn(&mut Value)) -> String {
    change(&mut detail);
    json!([detail]).to_string()
}

fn without(detail: Value, member: &str) -> String {
    changed(detail, |d| drop(d.as_object_mut().unwrap().remove(member)))
}

#[test]
fn details_that_are_not_exactly_of_a_known_type_are_refused() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let iban = |text: &'static str| changed(payment(), move |d| d["creditorAccount"]["iban"] = json!(text));
    let amount = |value: Value| changed(payment(), move |d| d["instructedAmount"]["amount"] = value.clone());
    let hash =
        |text: &'static str| changed(contract(), move |d| d["documentDigests"][0]["hash"] = json!(text));
    let many: Vec<Value> = vec![payment(); 17];
    let table: Vec<(&str, String)> = vec![
        ("P1: no JSON", "[{]".to_owned()),
        ("P1: an object", payment().to_string()),
        ("P1: a text", "\"x\"".to_owned()),
        ("P1: a number", "[1]".to_owned()),
        ("P1: no members", "[{}]".to_owned()),
        ("P1: an empty list", "[]".to_owned()),
        ("P1: type that is no text", "[{\"type\":7}]".to_owned()),
        ("P1: something behind it", format!("{} x", json!([payment()]))),
        ("P3: an unknown type", "[{\"type\":\"account_information\"}]".to_owned()),
        ("P3: a type in other letters", changed(payment(), |d| d["type"] = json!("Payment_Initiation"))),
        ("P2: locations as text", changed(payment(), |d| d["locations"] = json!(PAYMENTS))),
        ("P2: a location that is no URI", changed(payment(), |d| d["locations"] = json!(["payments"]))),
        ("P2: actions as text", changed(payment(), |d| d["actions"] = json!("initiate"))),
        ("P3: an unknown action", changed(payment(), |d| d["actions"] = json!(["initiate", "refund"]))),
        ("P3: no action", changed(payment(), |d| d["actions"] = json!([]))),
        ("P3: an action twice", changed(payment(), |d| d["actions"] = json!(["status", "status"]))),
        ("P3: an unknown member", changed(payment(), |d| d["note"] = json!("x"))),
        ("P3: an unknown member inside", changed(payment(), |d| d["instructedAmount"]["note"] = json!("x"))),
        ("P3: no amount", without(payment(), "instructedAmount")),
        ("P3: no creditor", without(payment(), "creditorName")),
        ("P3: no account", without(payment(), "creditorAccount")),
        ("P3: no actions", without(payment(), "actions")),
        ("P9: an amount that is a number", amount(json!(123.5))),
        ("P9: an exponent", amount(json!("1e2"))),
        ("P9: a sign", amount(json!("-1.00"))),
        ("P9: a comma", amount(json!("123,50"))),
        ("P9: a leading zero", amount(json!("0123.50"))),
        ("P9: digits of another script", amount(json!("\u{0661}\u{0662}.50"))),
        ("P9: an empty amount", amount(json!(""))),
        (
            "a currency in small letters",
            changed(payment(), |d| d["instructedAmount"]["currency"] = json!("eur")),
        ),
        ("P9: an IBAN with a letter that looks like another", iban("D\u{0415}02100100109307118603")),
        ("an IBAN with wrong check digits", iban("DE03100100109307118603")),
        ("an IBAN with spaces", iban("DE02 1001 0010 9307 1186 03")),
        ("an IBAN in small letters", iban("de02100100109307118603")),
        ("a control character", changed(payment(), |d| d["creditorName"] = json!("Merchant\nA"))),
        ("a name that is too long", changed(payment(), |d| d["creditorName"] = json!("x".repeat(141)))),
        ("C5: no digests", without(contract(), "documentDigests")),
        ("C5: an empty list of digests", changed(contract(), |d| d["documentDigests"] = json!([]))),
        ("C5: no algorithm", without(contract(), "hashAlgorithmOID")),
        ("C5: an unknown algorithm", changed(contract(), |d| d["hashAlgorithmOID"] = json!("1.3.14.3.2.26"))),
        ("C5: neither key nor qualifier", without(contract(), "credentialID")),
        ("C5: a digest too short for SHA-256", hash("c2hvcnQ=")),
        ("C5: a digest that is no base64", hash("not base64 at all, and long enough for one.")),
        ("C5: SHA-256 digests called SHA-512", {
            changed(contract(), |d| d["hashAlgorithmOID"] = json!("2.16.840.1.101.3.4.2.3"))
        }),
        ("C5: a digest without label", {
            changed(contract(), |d| drop(d["documentDigests"][0].as_object_mut().unwrap().remove("label")))
        }),
        ("C6: an unknown member", changed(contract(), |d| d["numSignatures"] = json!(1))),
        ("seventeen objects", Value::Array(many).to_string()),
        ("B20: a member twice", {
            json!([payment()]).to_string().replacen(
                "\"creditorName\"",
                "\"creditorName\":\"Other\",\"creditorName\"",
                1,
            )
        }),
        ("B20: a member twice, once escaped", {
            json!([payment()]).to_string().replacen(
                "\"creditorName\"",
                "\"creditor\\u004eame\":\"Other\",\"creditorName\"",
                1,
            )
        }),
        ("33 deep", format!("{}{}", "[".repeat(33), "]".repeat(33))),
        ("half a surrogate", json!([payment()]).to_string().replace("Merchant A", "\\ud800")),
    ];
    for (what, details) in &table {
        let answer = appliance.client_credentials("shop", &[("authorization_details", details)]);
        answer.is_refused(400, "invalid_authorization_details", what);
    }
    for detail in [payment(), contract()] {
        let details = json!([detail]).to_string();
        let answer = appliance.client_credentials("shop", &[("authorization_details", &details)]);
        assert_eq!(answer.json()["authorization_details"], json!([detail]), "and in order they are granted");
    }
    let details = json!([contract()]).to_string();
    let answer = appliance.client_credentials("shop-jwt", &[("authorization_details", &details)]);
    assert_eq!(answer.refusal().0, 400, "P8: not this client's type");
    appliance.finish();
}

#[test]
fn accounts_banks_and_currencies_that_no_registry_has_and_texts_that_hide_something_are_refused() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let table = [
        (
            "an IBAN shorter than its country's",
            changed(payment(), |d| d["creditorAccount"]["iban"] = json!("DE95100000000000")),
        ),
        ("a BIC of digits", changed(payment(), |d| d["creditorAccount"]["bic"] = json!("12345678"))),
        ("no currency of ISO 4217", changed(payment(), |d| d["instructedAmount"]["currency"] = json!("ZZZ"))),
        ("a zero-width space", changed(payment(), |d| d["creditorName"] = json!("Merchant\u{200b} A"))),
        (
            "a right-to-left override",
            changed(payment(), |d| {
                d["remittanceInformationUnstructured"] = json!("Invoice \u{202e}321");
            }),
        ),
        (
            "an isolate in a label",
            changed(contract(), |d| d["documentDigests"][0]["label"] = json!("A\u{2067}")),
        ),
    ];
    for (what, details) in table {
        let answer = appliance.client_credentials("shop", &[("authorization_details", details.as_str())]);
        answer.is_refused(400, "invalid_authorization_details", what);
    }
    appliance.finish();
}

#[test]
fn texts_of_details_are_returned_unchanged() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    for name in ["M\u{fc}ller & S\u{f6}hne \u{1f600} <b>\"x\"</b> \\ ' -- %00", "a\u{308}", "\u{e4}"] {
        let details = changed(payment(), |d| d["creditorName"] = json!(name));
        let token = appliance.client_credentials("shop", &[("authorization_details", &details)]).token();
        let inner = appliance.introspect("payments-api", &token).inner().clone();
        assert_eq!(inner["authorization_details"][0]["creditorName"], name, "row 185");
    }
    appliance.finish();
}
