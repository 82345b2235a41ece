//! A start at which the token lacks a used key, or holds another one in its place (invariant 7).

use crate::generations::{forget, kids, make};
use crate::harness::{Appliance, Jwt, Settings, Way};
use std::process::Command;

fn issue(appliance: &Appliance) -> String {
    appliance.client_credentials("shop-jwt", &[("scope", "payments:status")]).token()
}

fn is_active(appliance: &Appliance, token: &str) -> bool {
    appliance.introspect("payments-api", token).inner()["active"] == true
}

fn kid(jwt: &str) -> String {
    Jwt::read(jwt).header["kid"].as_str().unwrap().to_owned()
}

/// Replaces a directory by a copy of another one.
fn copy(appliance: &Appliance, from: &str, to: &str) {
    let _ = std::fs::remove_dir_all(appliance.path(to));
    let copied = Command::new("cp").arg("-a").args([appliance.path(from), appliance.path(to)]).status();
    assert!(copied.unwrap().success());
}

/// Starts the signer, which must end with 75 because of a key.
fn does_not_start(appliance: &mut Appliance, words: &[&str]) {
    let mut signer = appliance.process("signer");
    assert_eq!(signer.wait_all().code(), Some(75), "{}", signer.said());
    for word in words {
        assert!(signer.said().contains(word), "{word}: {}", signer.said());
    }
    appliance.ended(&signer);
}

#[test]
fn a_token_of_a_missing_earlier_generation_stays_active_and_can_be_revoked() {
    let mut appliance = Appliance::start(Settings::new(Way::Separate));
    let (first, second, bystander) = (issue(&appliance), issue(&appliance), issue(&appliance));
    appliance.stop();
    make(&appliance, "access-token-es256-2");
    appliance.run();
    assert_ne!(kid(&issue(&appliance)), kid(&first));
    for (round, token) in [&first, &second].into_iter().enumerate() {
        appliance.stop();
        copy(&appliance, "token/tokens", "token/whole");
        forget(&appliance, "access-token-es256-1");
        if round == 1 {
            // As after an update, or when the signer's state directory was lost: the log has the keys.
            std::fs::remove_file(appliance.path("signer/keys-known")).unwrap();
        }
        appliance.run();
        assert!(kids(&appliance.jwks()).contains(&kid(token).as_str()));
        assert!(is_active(&appliance, token) && is_active(&appliance, &bystander));
        assert_eq!(appliance.revoke("shop-jwt", token).status, 200);
        assert!(!is_active(&appliance, token) && is_active(&appliance, &bystander));
        appliance.stop();
        copy(&appliance, "token/whole", "token/tokens");
        appliance.run();
        assert!(!is_active(&appliance, token) && is_active(&appliance, &bystander), "with the key back");
    }
    let finished = appliance.finish();
    assert!(finished.said.contains("the token does not hold it"), "{}", finished.said);
    let evidence = finished.evidence;
    assert_eq!(evidence.events("revoked").count(), 2);
    let labels: Vec<_> = evidence.events("key-remembered").map(|r| r["key_label"].to_string()).collect();
    assert_eq!(labels, ["\"access-token-es256-1\"", "\"access-token-es256-1\""]);
}

#[test]
fn no_earlier_generation_signs_in_the_place_of_the_newest_one_and_the_next_one_does() {
    let mut appliance = Appliance::start(Settings::new(Way::Separate));
    let oldest = issue(&appliance);
    appliance.stop();
    make(&appliance, "access-token-es256-2");
    appliance.run();
    let token = issue(&appliance);
    appliance.stop();
    copy(&appliance, "token/tokens", "token/whole");
    forget(&appliance, "access-token-es256-2");
    let words = ["the token has no key access-token-es256-2, which has signed since 20", "--after"];
    does_not_start(&mut appliance, &words);
    std::fs::remove_file(appliance.path("signer/keys-known")).unwrap();
    does_not_start(&mut appliance, &words);
    copy(&appliance, "token/whole", "token/tokens");
    appliance.run();
    assert_eq!(kid(&issue(&appliance)), kid(&token));
    appliance.stop();
    // Lost for good.
    forget(&appliance, "access-token-es256-2");
    let refused = appliance.output(&["key", "generate"]);
    assert_eq!(refused.status.code(), Some(75), "no key is made anew without a word");
    let other = appliance.output(&["key", "generate", "--after", "access-token-es256-1"]);
    assert_eq!(other.status.code(), Some(64));
    let said = String::from_utf8(other.stderr).unwrap();
    assert!(said.contains("which is access-token-es256-2"), "{said}");
    let said = appliance.must(&["key", "generate", "--after", "access-token-es256-2"]);
    assert!(said.starts_with("generated access-token-es256-3 ") && said.lines().count() == 1, "{said}");
    appliance.run();
    let new = issue(&appliance);
    assert!(kid(&new) != kid(&token) && kid(&new) != kid(&oldest));
    for token in [&oldest, &token, &new] {
        assert!(is_active(&appliance, token));
    }
    assert_eq!(appliance.revoke("shop-jwt", &token).status, 200);
    assert!(!is_active(&appliance, &token));
    let evidence = appliance.finish().evidence;
    let generated = evidence.events("key-generated").next().expect("a record of the new key");
    assert_eq!(generated["key_label"], "access-token-es256-3");
}

#[test]
fn a_key_that_took_the_label_of_another_one_is_refused() {
    let mut appliance = Appliance::start(Settings::new(Way::Separate));
    let token = appliance.token_of_the_case();
    let answered = appliance.introspect("payments-api", &token);
    appliance.stop();
    copy(&appliance, "token/tokens", "token/whole");
    forget(&appliance, "introspection-es256-1");
    make(&appliance, "introspection-es256-1");
    does_not_start(&mut appliance, &["the key introspection-es256-1 was replaced"]);
    std::fs::remove_file(appliance.path("signer/keys-known")).unwrap();
    does_not_start(&mut appliance, &["the key introspection-es256-1 was replaced"]);
    make(&appliance, "introspection-es256-2");
    appliance.run();
    // The known key is published, the other one is not.
    let jwks = appliance.jwks();
    answered.verify(&jwks);
    assert_eq!(kids(&jwks).len(), 4, "{jwks}");
    appliance.introspect("payments-api", &token).verify(&jwks);
    let evidence = appliance.finish().evidence;
    let refused = evidence.events("key-refused").next().expect("a record of it");
    assert!(refused["reason"].as_str().unwrap().contains("was replaced"), "{refused}");
    let remembered = evidence.events("key-remembered").next().expect("a record of the one before");
    assert_eq!(remembered["kid"], answered.header["kid"]);
}
