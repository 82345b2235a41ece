//! One algorithm for each resource server, one key for each algorithm: rows 22, 23, 27, 91, 94; D1.

use crate::harness::{Appliance, Jwt, Settings, Way};
use std::collections::HashMap;

#[test]
fn every_resource_server_gets_its_own_algorithm_and_three_libraries_verify_the_answers() {
    let settings = Settings::new(Way::Child).every_algorithm();
    let appliance = Appliance::start(settings);
    let jwks = appliance.jwks();
    let token = appliance.client_credentials("everywhere", &[]).token();
    let scratch = tempfile::tempdir().unwrap();
    let mut algorithm_of_kid = HashMap::new();
    let mut received = Vec::new();
    for (algorithm, rs) in crate::harness::ALGORITHMS {
        for _ in 0..3 {
            let jwt = appliance.introspect(rs, &token);
            assert_eq!(jwt.header["alg"], algorithm, "rows 22 and 23: {rs}");
            assert_eq!(jwt.inner()["scope"], rs);
            jwt.verify_with_openssl(&jwks, scratch.path());
            received.push(jwt);
        }
        let resource = format!("https://{rs}.example");
        let issued = appliance.client_credentials("everywhere-jwt", &[("resource", &resource)]).token();
        let jwt = Jwt::read(&issued);
        assert_eq!((&jwt.header["alg"], &jwt.header["typ"]), (&algorithm.into(), &"at+jwt".into()));
        jwt.verify(&jwks);
        jwt.verify_with_openssl(&jwks, scratch.path());
        assert_eq!(appliance.introspect(rs, &issued).inner()["active"], true, "{algorithm}");
        received.push(jwt);
    }
    // One key, one algorithm, one purpose (invariant 4).
    for jwt in &received {
        let kid = jwt.header["kid"].as_str().unwrap().to_owned();
        let use_of_it = (jwt.header["alg"].clone(), jwt.header["typ"].clone());
        let first = algorithm_of_kid.entry(kid).or_insert_with(|| use_of_it.clone());
        assert_eq!(*first, use_of_it, "row 91");
    }
    assert_eq!(algorithm_of_kid.len(), 10);
    let supported = appliance.metadata().json()["introspection_signing_alg_values_supported"].clone();
    for (algorithm, _) in crate::harness::ALGORITHMS {
        assert!(supported.as_array().unwrap().contains(&algorithm.into()), "row 27: {supported}");
    }
    appliance.finish();
}
