//! Both types of details, and their refused forms.

use super::*;
use serde_json::{Value, json};

fn payment() -> Value {
    json!({"type": "payment_initiation", "actions": ["initiate", "status"],
        "locations": ["https://bank.example/payments"],
        "instructedAmount": {"currency": "EUR", "amount": "123.50"},
        "creditorName": "Merchant A", "creditorAccount": {"iban": "DE02100100109307118603"},
        "remittanceInformationUnstructured": "Ref Number Merchant"})
}

fn credential() -> Value {
    json!({"type": "credential", "credentialID": "GX0112348", "hashAlgorithmOID": "2.16.840.1.101.3.4.2.1",
        "documentDigests": [{"hash": "sTOgwOm+474gFj0q0x1iSNspKqbcse4IeiqlDg/HWuI=", "label": "Contract"}]})
}

fn refused(detail: &Value) -> bool {
    parse_authorization_details(&json!([detail]).to_string()).is_err()
}

#[test]
fn both_types_come_back_as_they_were_written() {
    let text = json!([payment(), credential()]).to_string();
    let details = parse_authorization_details(&text).unwrap();
    let again: Value = serde_json::to_value(&details).unwrap();
    assert_eq!(again, serde_json::from_str::<Value>(&text).unwrap());
}

#[test]
fn only_arrays_of_known_objects_are_accepted() {
    for bad in
        ["", "[]", "{}", "\"x\"", "[1]", "[{}]", "[\"x\"]", "[{\"type\":1}]", "[{\"type\":\"sign\"}]", "[["]
    {
        assert!(parse_authorization_details(bad).is_err(), "{bad}");
    }
}

#[test]
fn each_member_of_a_payment_is_checked() {
    assert!(!refused(&payment()));
    for (pointer, value) in [
        ("/actions", json!([])),
        ("/actions", json!(["steal"])),
        ("/actions", json!(["initiate", "initiate"])),
        ("/actions", json!("initiate")),
        ("/locations", json!("https://bank.example")),
        ("/locations", json!(["x"])),
        ("/instructedAmount/amount", json!(123.5)),
        ("/instructedAmount/amount", json!("1e2")),
        ("/instructedAmount/amount", json!("-1")),
        ("/instructedAmount/amount", json!("01.00")),
        ("/instructedAmount/amount", json!("1.")),
        ("/instructedAmount/amount", json!("0")),
        ("/instructedAmount/amount", json!("0.00")),
        ("/instructedAmount/amount", json!("1.005")),
        ("/instructedAmount", json!({"currency": "JPY", "amount": "1.50"})),
        ("/instructedAmount", json!({"currency": "JPY", "amount": "1.0"})),
        ("/instructedAmount", json!({"currency": "KWD", "amount": "1.0005"})),
        ("/instructedAmount/currency", json!("HRK")),
        ("/instructedAmount/currency", json!("eur")),
        ("/instructedAmount/currency", json!("ZZZ")),
        ("/creditorName", json!("")),
        ("/creditorName", json!("a\nb")),
        ("/creditorName", json!("Merchant\u{200b} A")),
        ("/creditorName", json!("x".repeat(141))),
        ("/creditorAccount/iban", json!("DE02100100109307118604")),
        ("/creditorAccount/iban", json!("DE95100000000000")),
        ("/creditorAccount", json!({"iban": "DE02100100109307118603", "bic": "12345678"})),
        ("/remittanceInformationUnstructured", json!("Invoice \u{202e}321")),
        ("/creditorAccount/iban", json!("D\u{415}02100100109307118603")),
        ("/remittanceInformationUnstructured", json!(7)),
    ] {
        let mut bad = payment();
        *bad.pointer_mut(pointer).unwrap() = value.clone();
        assert!(refused(&bad), "{pointer} {value}");
    }
    for (currency, amount) in
        [("JPY", "150"), ("KWD", "0.005"), ("EUR", "0.01"), ("EUR", "7.5"), ("EUR", "7")]
    {
        let mut good = payment();
        good["instructedAmount"] = json!({"currency": currency, "amount": amount});
        assert!(!refused(&good), "{currency} {amount}");
    }
    for member in ["actions", "instructedAmount", "creditorName", "creditorAccount"] {
        let mut bad = payment();
        bad.as_object_mut().unwrap().remove(member);
        assert!(refused(&bad), "without {member}");
    }
    let mut bad = payment();
    bad["surprise"] = json!(1);
    assert!(refused(&bad));
}

#[test]
fn each_member_of_a_credential_is_checked() {
    assert!(!refused(&credential()));
    for (pointer, value) in [
        ("/credentialID", json!("")),
        ("/documentDigests", json!([])),
        ("/documentDigests/0/hash", json!("AAAA")),
        ("/documentDigests/0/hash", json!("***")),
        ("/documentDigests/0/label", json!("")),
        ("/documentDigests/0/label", json!("Contract\u{2066}")),
        ("/credentialID", json!("GX\u{ad}0112348")),
        ("/documentDigests/0", json!({"hash": "x"})),
        ("/hashAlgorithmOID", json!("1.3.14.3.2.26")),
        ("/hashAlgorithmOID", json!("2.16.840.1.101.3.4.2.2")),
    ] {
        let mut bad = credential();
        *bad.pointer_mut(pointer).unwrap() = value.clone();
        assert!(refused(&bad), "{pointer} {value}");
    }
    for member in ["credentialID", "documentDigests", "hashAlgorithmOID"] {
        let mut bad = credential();
        bad.as_object_mut().unwrap().remove(member);
        assert!(refused(&bad), "without {member}");
    }
}

#[test]
fn a_member_that_stands_twice_is_refused() {
    let text = json!([payment()]).to_string();
    for member in
        ["\"type\":\"payment_initiation\"", "\"creditorName\":\"Merchant A\"", "\"amount\":\"123.50\""]
    {
        assert!(text.contains(member));
        let twice = text.replace(member, &format!("{member},{member}"));
        assert!(parse_authorization_details(&twice).is_err(), "{member}");
    }
}
