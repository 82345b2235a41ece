//! Brute-force search in an export finds no personal value, although records have digests.

use crate::harness::{Appliance, Settings, Way, sha256_hex};
use serde_json::json;

/// Values from other parties: short, with personal data.
const STRANGERS_TOKEN: &str = "customer-4711";
const FRONTS_JTI: &str = "4711/2026-11-27/1";

#[test]
fn correct_guesses_of_personal_values_are_not_found_in_an_export() {
    let appliance = Appliance::start(Settings::new(Way::Child));
    let endpoint = appliance.endpoint("introspect");
    let unsigned = |token: &str| {
        let answer = appliance.call("POST", &endpoint).by("accounts-api").form("token", token).send();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.text().to_owned()
    };
    let token = appliance.client_credentials("shop", &[("scope", "accounts:read")]).token();
    let (active, inactive) = (unsigned(&token), unsigned(STRANGERS_TOKEN));
    assert!(active.contains("\"active\":true"), "{active}");
    appliance.introspect("payments-api", STRANGERS_TOKEN);
    let assertion = appliance.the_case().with("jti", json!(FRONTS_JTI)).text();
    appliance.introspect("payments-api", &appliance.assert("shop", &assertion, &[]).token());
    appliance.assert("shop", &assertion, &[]).is_refused(400, "invalid_grant", "again");

    let evidence = appliance.finish().evidence;
    let records: Vec<String> = evidence.records.iter().map(ToString::to_string).collect();
    let guesses = [
        ("an active answer", active.as_str(), "body"),
        ("an inactive answer", &inactive, "body"),
        ("a stranger's token", STRANGERS_TOKEN, "token"),
        ("the digest of a stranger's token", &sha256_hex(STRANGERS_TOKEN.as_bytes()), "token"),
        ("the name of an assertion", FRONTS_JTI, "jti"),
        ("the subject", crate::harness::CUSTOMER, "sub"),
        ("the account", crate::harness::IBAN, "authorization_details"),
        ("the caller's address", "127.0.0.1", "from"),
    ];
    for (what, guess, name) in guesses {
        let named = [&[u8::try_from(name.len()).unwrap()], name.as_bytes(), guess.as_bytes()].concat();
        let salted_with_nothing = [&[0; 16], named.as_slice()].concat();
        let tries = [
            guess.to_owned(),
            sha256_hex(guess.as_bytes()),
            sha256_hex(&named),
            sha256_hex(&salted_with_nothing),
        ];
        for tried in tries {
            let found = records.iter().find(|record| record.contains(&tried));
            assert_eq!(found, None, "{what}: {tried}");
        }
    }
    // The payloads disclose them.
    let committed = |event: &str, name: &str| {
        evidence.events(event).filter(|record| record["committed"][name].is_string()).count()
    };
    assert_eq!((committed("answered", "body"), committed("answered", "token")), (2, 1));
    assert_eq!((committed("signed", "token"), committed("replay-rejected", "jti")), (1, 1));
}
