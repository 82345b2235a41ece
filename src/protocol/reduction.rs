//! Whether requested details stay within the granted ones (RFC 9396 §6.1).
//!
//! Objects are compared by rules of their type. Texts are equal code point by code point or not at all (§12): `123.5`
//! is not `123.50`.

use crate::claims::{AuthorizationDetail, CredentialDetail, DocumentDigest, PaymentInitiation, Resource};

/// Whether every object of `asked` is covered by an object of `granted`, each granted one used at most once: else one
/// granted payment could be requested twice.
pub(super) fn within(asked: &[AuthorizationDetail], granted: &[AuthorizationDetail]) -> bool {
    // Index of the object of `asked` that each object of `granted` covers.
    let mut taken = vec![None; granted.len()];
    (0..asked.len()).all(|i| assign(i, asked, granted, &mut taken, &mut vec![false; granted.len()]))
}

/// Finds a granted object for `asked[i]`, reassigning earlier ones if needed (bipartite matching; both lists hold at
/// most 16 objects). Taking the first match could refuse a request within the grant.
fn assign(
    i: usize,
    asked: &[AuthorizationDetail],
    granted: &[AuthorizationDetail],
    taken: &mut [Option<usize>],
    tried: &mut [bool],
) -> bool {
    let Some(wish) = asked.get(i) else { return false };
    for (j, grant) in granted.iter().enumerate() {
        let Some(seen) = tried.get_mut(j) else { return false };
        if *seen || !covers(grant, wish) {
            continue;
        }
        *seen = true;
        let holder = taken.get(j).copied().flatten();
        if holder.is_none_or(|other| assign(other, asked, granted, taken, tried)) {
            if let Some(place) = taken.get_mut(j) {
                *place = Some(i);
            }
            return true;
        }
    }
    false
}

fn covers(granted: &AuthorizationDetail, asked: &AuthorizationDetail) -> bool {
    match (granted, asked) {
        (AuthorizationDetail::PaymentInitiation(g), AuthorizationDetail::PaymentInitiation(a)) => {
            covers_payment(g, a)
        }
        (AuthorizationDetail::Credential(g), AuthorizationDetail::Credential(a)) => covers_credential(g, a),
        _ => false,
    }
}

/// The same payment, with a subset of its actions and locations.
fn covers_payment(granted: &PaymentInitiation, asked: &PaymentInitiation) -> bool {
    let mut same = asked.clone();
    same.actions.clone_from(&granted.actions);
    same.locations.clone_from(&granted.locations);
    same == *granted
        && asked.actions.iter().all(|action| granted.actions.contains(action))
        && covers_locations(&granted.locations, &asked.locations)
}

/// The same key and digest algorithm, with a subset of the documents in order, and a subset of the locations.
fn covers_credential(granted: &CredentialDetail, asked: &CredentialDetail) -> bool {
    let mut same = asked.clone();
    same.document_digests.clone_from(&granted.document_digests);
    same.locations.clone_from(&granted.locations);
    same == *granted
        && in_order(&asked.document_digests, &granted.document_digests)
        && covers_locations(&granted.locations, &asked.locations)
}

/// Whether `some` is a subsequence of `all`.
fn in_order(some: &[DocumentDigest], all: &[DocumentDigest]) -> bool {
    let mut rest = all.iter();
    some.iter().all(|digest| rest.any(|granted| granted == digest))
}

/// No locations mean every owner of the type, the widest set.
fn covers_locations(granted: &[Resource], asked: &[Resource]) -> bool {
    granted.is_empty() || (!asked.is_empty() && asked.iter().all(|place| granted.contains(place)))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{contract, payment};
    use super::*;
    use serde_json::{Value, json};

    fn details(objects: &[Value]) -> Vec<AuthorizationDetail> {
        crate::claims::parse_authorization_details(&Value::from(objects).to_string()).unwrap()
    }

    /// `base` with the member at each pointer replaced; `null` removes a top-level member.
    fn with(base: Value, changes: &[(&str, Value)]) -> Value {
        let mut object = base;
        for (pointer, value) in changes {
            match (object.pointer_mut(pointer), value) {
                (_, Value::Null) => drop(object.as_object_mut().unwrap().remove(&pointer[1..])),
                (Some(place), value) => *place = value.clone(),
                (None, value) => object[&pointer[1..]] = value.clone(),
            }
        }
        object
    }

    fn fits(granted: &Value, asked: &Value) -> bool {
        within(&details(std::slice::from_ref(asked)), &details(std::slice::from_ref(granted)))
    }

    #[test]
    fn a_payment_may_lose_actions_and_locations_and_change_in_nothing_else() {
        let granted = with(
            payment(),
            &[
                ("/actions", json!(["initiate", "status"])),
                ("/locations", json!(["https://a.example", "https://b.example"])),
            ],
        );
        for (pointer, value, ok) in [
            ("/actions", json!(["status"]), true),
            ("/actions", json!(["status", "initiate"]), true),
            ("/actions", json!(["cancel"]), false),
            ("/actions", json!(["initiate", "status", "cancel"]), false),
            ("/locations", json!(["https://b.example"]), true),
            ("/locations", json!(["https://c.example"]), false),
            ("/locations", json!(["https://a.example", "https://c.example"]), false),
            ("/locations", json!(["https://a.example/"]), false),
            ("/locations", Value::Null, false),
            ("/instructedAmount/amount", json!("123.51"), false),
            ("/instructedAmount/amount", json!("123.5"), false),
            ("/instructedAmount/amount", json!("23.50"), false),
            ("/instructedAmount/currency", json!("USD"), false),
            ("/creditorName", json!("Merchant B"), false),
            ("/creditorName", json!("Merchant \u{410}"), false),
            ("/creditorAccount/iban", json!("DE89370400440532013000"), false),
            ("/remittanceInformationUnstructured", json!("else"), false),
            ("/remittanceInformationUnstructured", Value::Null, false),
            ("/debtorAccount", json!({"iban": "DE89370400440532013000"}), false),
        ] {
            assert_eq!(
                fits(&granted, &with(granted.clone(), &[(pointer, value.clone())])),
                ok,
                "{pointer} {value}"
            );
        }
        assert!(fits(&payment(), &with(payment(), &[("/locations", json!(["https://a.example"]))])));
        assert!(!fits(&payment(), &contract()));
    }

    #[test]
    fn a_credential_may_lose_documents_and_keeps_their_order() {
        let hash = |n: u8| {
            use base64::Engine;
            json!({"hash": base64::engine::general_purpose::STANDARD.encode([n; 32]), "label": format!("d{n}")})
        };
        let documents = |list: &[u8]| {
            let digests: Vec<Value> = list.iter().map(|n| hash(*n)).collect();
            with(contract(), &[("/documentDigests", digests.into())])
        };
        let granted = documents(&[1, 2, 3]);
        for (list, ok) in [
            (&[1, 2, 3][..], true),
            (&[1, 3], true),
            (&[2], true),
            (&[3, 1], false),
            (&[1, 1], false),
            (&[4], false),
            (&[1, 2, 3, 4], false),
        ] {
            assert_eq!(fits(&granted, &documents(list)), ok, "{list:?}");
        }
        for (pointer, value) in [
            ("/documentDigests/0/label", json!("another text")),
            ("/credentialID", json!("another key")),
            ("/signatureQualifier", json!("eu_eidas_qes")),
        ] {
            assert!(!fits(&granted, &with(granted.clone(), &[(pointer, value)])), "{pointer}");
        }
    }

    #[test]
    fn one_granted_object_covers_one_asked_object() {
        let other = with(payment(), &[("/instructedAmount/amount", json!("7.00"))]);
        let granted = details(&[payment(), other.clone()]);
        assert!(within(&details(&[other.clone(), payment()]), &granted));
        assert!(within(&details(std::slice::from_ref(&other)), &granted));
        assert!(!within(&details(&[payment(), payment()]), &granted), "the same payment twice");
        assert!(!within(&details(&[payment()]), &[]));
        assert!(within(&details(&[payment(), payment()]), &details(&[payment(), payment()])));
    }

    #[test]
    fn the_order_of_the_objects_does_not_matter() {
        let narrow = with(payment(), &[("/actions", json!(["initiate"]))]);
        let wide = with(payment(), &[("/actions", json!(["initiate", "status"]))]);
        for granted in [[wide.clone(), narrow.clone()], [narrow.clone(), wide.clone()]] {
            for asked in [[wide.clone(), narrow.clone()], [narrow.clone(), wide.clone()]] {
                assert!(within(&details(&asked), &details(&granted)));
            }
            assert!(!within(&details(&[wide.clone(), wide.clone()]), &details(&granted)));
        }
    }
}
