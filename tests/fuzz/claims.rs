//! Parts of requests and grants: details, further claims, single words.

use chancery::claims::{
    Acr, ClaimName, ClaimValue, ClientId, Issuer, Jti, RequestId, Resource, Scope, ShownText, Subject,
    TokenHash, parse_authorization_details,
};
use serde_json::Value;
use std::fmt::Display;
use std::str::FromStr;

pub fn details(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(details) = parse_authorization_details(text) else { return };
    assert!((1..=16).contains(&details.len()));
    let again = serde_json::to_string(&details).expect("details are JSON");
    assert_eq!(parse_authorization_details(&again).expect("what was written is read"), details);
    let given: Value = serde_json::from_str(text).expect("what was read is JSON");
    assert_eq!(serde_json::from_str::<Value>(&again).expect("JSON"), without_empty_lists(given));
}

/// `locations: []` means no `locations`; a null member means an absent one.
fn without_empty_lists(mut given: Value) -> Value {
    for detail in given.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        detail.retain(|name, value| {
            !value.is_null() && !(name == "locations" && *value == Value::Array(Vec::new()))
        });
        for account in detail.values_mut().filter_map(Value::as_object_mut) {
            account.retain(|_, value| !value.is_null());
        }
    }
    given
}

pub fn claim(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<ClaimValue>(bytes) else { return };
    let again = serde_json::to_vec(&value).expect("a claim is JSON");
    // Escapes, punctuation and numbers come on top of the bytes that a claim may hold.
    assert!(again.len() <= 16 * 1024, "{} bytes", again.len());
    assert_eq!(serde_json::from_slice::<ClaimValue>(&again).expect("what was written is read"), value);
    let given: Value = serde_json::from_slice(bytes).expect("what was read is JSON");
    assert_eq!(serde_json::to_value(&value).expect("JSON"), given, "carried as it is");
}

fn word<T: FromStr + Display>(text: &str) {
    if let Ok(word) = text.parse::<T>() {
        assert_eq!(word.to_string(), text, "a word is kept as it was given");
    }
}

pub fn words(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    word::<ClientId>(text);
    word::<Issuer>(text);
    word::<Resource>(text);
    word::<Subject>(text);
    word::<Jti>(text);
    word::<Acr>(text);
    word::<ClaimName>(text);
    word::<RequestId>(text);
    if let Ok(scope) = text.parse::<Scope>() {
        // A token that stands twice is kept once.
        assert_eq!(scope.to_string().parse(), Ok(scope));
    }
    word::<ShownText>(text);
    word::<chancery::claims::Iban>(text);
    word::<chancery::claims::Bic>(text);
    word::<chancery::claims::CurrencyCode>(text);
    let _ = text.parse::<TokenHash>();
}
