//! `GET /jwks`: rows 74, 91, 161.

use crate::harness::{Appliance, Settings, Way, members};
use std::collections::HashSet;

#[test]
fn the_key_set_holds_the_public_keys_of_today_each_for_one_algorithm() {
    let appliance = Appliance::start(Settings::new(Way::Child).every_algorithm());
    let jwks = appliance.jwks();
    assert_eq!(members(&jwks), ["keys"]);
    let keys = jwks["keys"].as_array().unwrap();
    // Five algorithms for two purposes, and the metadata; the checkpoint key signs no JWT.
    assert_eq!(keys.len(), 11);
    let mut kids = HashSet::new();
    let mut material = HashSet::new();
    for key in keys {
        assert_eq!(key["use"], "sig", "row 74");
        assert!(kids.insert(key["kid"].as_str().unwrap().to_owned()), "row 161");
        let expected: &[&str] = match key["alg"].as_str().unwrap() {
            "ES256" | "ES384" => &["alg", "crv", "kid", "kty", "use", "x", "y"],
            "RS256" | "PS256" => &["alg", "e", "kid", "kty", "n", "use"],
            "EdDSA" => &["alg", "crv", "kid", "kty", "use", "x"],
            other => panic!("{other}"),
        };
        assert_eq!(members(key), expected, "public members alone");
        assert!(
            material.insert((key["x"].to_string(), key["n"].to_string())),
            "row 91: one algorithm for each key"
        );
    }
    assert_eq!(appliance.jwks(), jwks);
    let evidence = appliance.finish().evidence;
    // Each has its record in the log, and so has the checkpoint key (invariant 7).
    let recorded: HashSet<String> =
        evidence.events("key-found").map(|record| record["kid"].as_str().unwrap().to_owned()).collect();
    assert!(kids.iter().all(|kid| recorded.contains(kid)), "{kids:?} {recorded:?}");
    assert_eq!(recorded.len(), 12);
}
