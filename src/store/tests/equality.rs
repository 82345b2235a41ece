//! Whatever facts go in, the same come out.

use super::{Place, details, opaque};
use crate::claims::{
    Acr, Authentication, Grant, NumericDate, Origin, Resource, Subject, TokenFacts, TokenFormat,
};
use crate::store::TokenKey;
use proptest::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};

fn any_text() -> impl Strategy<Value = String> {
    // Every character that a subject may hold stands in one.
    let held = |c: &char| format!("a{c}a").parse::<Subject>().is_ok();
    let seen = || any::<char>().prop_filter("seen", move |c| *c != ' ' && held(c));
    proptest::collection::vec(seen(), 1..40).prop_map(|chars| chars.into_iter().collect())
}

fn any_words() -> impl Strategy<Value = Vec<Acr>> {
    proptest::collection::vec(any_text().prop_map(|text| text.parse().unwrap()), 0..4)
}

fn any_authentication() -> impl Strategy<Value = Authentication> {
    (any_words(), any_words(), any::<Option<i64>>()).prop_map(|(acr, amr, at)| Authentication {
        acr: acr.into_iter().next(),
        amr,
        auth_time: at.map(NumericDate),
    })
}

fn any_resources() -> impl Strategy<Value = Vec<Resource>> {
    proptest::collection::vec(
        "https://[a-z]{1,10}\\.example/[a-z!']{0,5}".prop_map(|r| r.parse().unwrap()),
        1..4,
    )
}

fn any_value() -> impl Strategy<Value = crate::claims::ClaimValue> {
    let text = "\\PC{0,9}";
    let list = proptest::collection::vec(text, 0..3).prop_map(|list| serde_json::json!({"a": list, "b": 7}));
    prop_oneof![text.prop_map(serde_json::Value::from), list]
        .prop_map(|value| serde_json::from_value(value).unwrap())
}

fn any_facts() -> impl Strategy<Value = TokenFacts> {
    let names = ("[ -~]{1,60}", "[ -~]{1,60}", any_text(), any::<bool>());
    let grant = (any_resources(), "([!#-\\[\\]-~]{1,9}( [!#-\\[\\]-~]{1,9}){0,5})?", 0..3_usize);
    let extra = proptest::collection::btree_map("[a-z:/#.]{1,12}", any_value(), 0..4);
    let dates = (any::<i64>(), any::<Option<i64>>(), any::<i64>(), any::<bool>());
    (names, grant, any_authentication(), extra, dates).prop_map(
        |(names, grant, authentication, extra, dates)| TokenFacts {
            format: if names.3 { TokenFormat::Opaque } else { TokenFormat::AtJwt },
            jti: names.0.parse().unwrap(),
            grant: Grant {
                client_id: names.1.parse().unwrap(),
                subject: names.2.parse().unwrap(),
                origin: if names.3 {
                    Origin::Assertion("https://login.bank.example/x".parse().unwrap())
                } else {
                    Origin::OwnRight
                },
                audience: grant.0,
                scope: grant.1.parse().unwrap(),
                authorization_details: details().into_iter().take(grant.2).collect(),
                authentication,
                extra: extra.into_iter().map(|(name, value)| (name.parse().unwrap(), value)).collect(),
            },
            issued_at: NumericDate(dates.0),
            not_before: dates.1.map(NumericDate),
            expires_at: NumericDate(dates.2),
            revoked: dates.3,
        },
    )
}

#[test]
fn whatever_is_put_in_comes_out_equal() {
    let place = Place::new();
    let store = place.open();
    let count = AtomicU64::new(0);
    let mut runner = proptest::test_runner::TestRunner::default();
    runner
        .run(&any_facts(), |facts| {
            let n = count.fetch_add(1, Ordering::Relaxed);
            // Two cases may draw the same `jti`; tokens of the program never do.
            let jti = format!("{n}{}", facts.jti);
            let facts = TokenFacts { jti: jti.parse().unwrap(), ..facts };
            let key = match facts.format {
                TokenFormat::Opaque => opaque(n),
                TokenFormat::AtJwt => TokenKey::AtJwt(facts.jti.clone()),
            };
            place.runtime.block_on(store.insert(key.clone(), facts.clone(), None)).unwrap();
            prop_assert_eq!(&*store.find(&key).unwrap().unwrap(), &facts);
            // Read before, it is the same.
            prop_assert_eq!(&*store.find(&key).unwrap().unwrap(), &facts);
            Ok(())
        })
        .unwrap();
}
